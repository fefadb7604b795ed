"""One seed for all data, and an interrupted training sees the same samples, expressions and weights."""

import itertools
import json
import multiprocessing
import os
import socket

import numpy as np
import pytest
import torch
from mmcv.transforms import BaseTransform
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.model import BaseDataPreprocessor, BaseModel
from mmengine.registry import init_default_scope
from mmengine.runner import Runner, loops

import mmmagnet  # noqa: F401
from mmmagnet.engine.distributed import closing_distributed, setup_distributed
from mmmagnet.registry import MODELS, TRANSFORMS
from mmmagnet.utils.errors import ConfigError

ITEMS, EPOCHS = 11, 3


@TRANSFORMS.register_module()
class PackSpoken(BaseTransform):
    """Item, expression and a number that follows from seed, epoch and index."""

    def transform(self, results):
        number = results['rng'].random()
        said = f'{results["sample_idx"]} {results["expression"]} {number}'
        return {'inputs': torch.tensor([len(said) + number]), 'data_samples': said}


@MODELS.register_module()
class SeededPreprocessor(BaseDataPreprocessor):
    """A preprocessor with random numbers of its own."""

    seed = 99


@MODELS.register_module()
class OneNumber(BaseModel):
    """A network of one weight."""

    def __init__(self, data_preprocessor=None):
        super().__init__(data_preprocessor)
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, inputs, data_samples=None, mode='tensor'):
        return {'loss': ((torch.stack(list(inputs)) - self.weight) ** 2).mean()}


class StoppedError(Exception):
    """The training is stopped."""


class Recorder(Hook):
    """Keeps what each iteration sees, and interrupts."""

    def __init__(self, stop):
        self.stop = stop
        self.seen: list[tuple[int, int, list[str]]] = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.stop:
            raise StoppedError
        self.seen.append((runner.epoch, runner.iter, data_batch['data_samples']))


@pytest.fixture
def data_root(tmp_path):
    """A set of refs with sentences of different lengths, without images."""
    folder = tmp_path / 'set'
    folder.mkdir()
    refs = [
        {
            'ref_id': ref,
            'image_id': 1,
            'ann_ids': [],
            'split': 'train',
            'sentences': [{'sent_id': 5 * ref + k, 'raw': f'{ref}' + 'x' * (ref + k)} for k in range(5)],
        }
        for ref in range(ITEMS)
    ]
    (folder / 'refs.jsonl').write_text(''.join(json.dumps(ref) + '\n' for ref in refs))
    image = {'id': 1, 'file_name': '1.png', 'width': 1, 'height': 1}
    (folder / 'instances.json').write_text(json.dumps({'images': [image], 'annotations': []}))
    return folder


def config_of(data_root, work_dir, workers=0, loop='epoch', batch=2, launcher='none', seed=3):
    part = dict(type='RefCOCODataset', data_root=str(data_root), split='train')
    pipeline = [dict(type='SampleExpression'), dict(type='PackSpoken')]
    by_epoch = dict(type='EpochBasedTrainLoop', max_epochs=EPOCHS)
    by_iteration = dict(type='IterBasedTrainLoop', max_iters=EPOCHS * 6)
    return Config(
        dict(
            model=dict(type='OneNumber'),
            work_dir=str(work_dir),
            train_dataloader=dict(
                batch_size=batch,
                num_workers=workers,
                persistent_workers=workers > 0,
                sampler=dict(type='EpochSampler', infinite=loop == 'epoch'),  # wrongly: the hook knows the loop
                dataset=dict(type='MixedReferringDataset', datasets=[dict(part, pipeline=pipeline)]),
            ),
            train_cfg=by_epoch if loop == 'epoch' else by_iteration,
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.5)),
            param_scheduler=[dict(type='PolyLR', begin=0, end=EPOCHS, by_epoch=True, convert_to_iter_based=True)]
            if loop == 'epoch'
            else [dict(type='PolyLR', begin=0, end=EPOCHS * 6, by_epoch=False)],
            default_hooks=dict(
                sampler_seed=dict(type='EpochSamplerHook'),
                checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=1),
            ),
            default_scope='mmseg',
            custom_imports=dict(imports=['mmmagnet']),
            launcher=launcher,
            randomness=dict(seed=seed, diff_rank_seed=True),
            log_level='ERROR',
        )
    )


def train(config, stop=None, resume=None):
    """Seen samples and the trained weight."""
    init_default_scope('mmseg')
    if resume is not None:
        config.update(resume=True, load_from=str(resume))
    config.experiment_name = f'run_{next(COUNT)}'
    setup_distributed(config)
    runner = Runner.from_cfg(config)
    recorder = Recorder(stop)
    runner.register_hook(recorder)
    try:
        with closing_distributed():
            runner.train()
    except StoppedError:
        return recorder.seen, None
    finally:
        if runner.train_dataloader._iterator is not None:  # workers that are left to the garbage collector end late
            runner.train_dataloader._iterator._shutdown_workers()
    return recorder.seen, next(runner.model.parameters()).item()


COUNT = itertools.count()


def expected_samples(data_root, seed, epoch):
    """What an epoch shows, by the rule alone."""
    lines = [json.loads(line) for line in (data_root / 'refs.jsonl').read_text().splitlines()]
    found = []
    for index in np.random.default_rng((seed, epoch)).permutation(ITEMS):
        rng = np.random.default_rng((seed, epoch, index))
        sentence = lines[index]['sentences'][rng.integers(5)]
        found.append(f'{index} {sentence["raw"]} {rng.random()}')
    return found


@pytest.mark.parametrize('loop', ['epoch', 'iteration'])
@pytest.mark.parametrize('workers', [0, 1, 4])
@pytest.mark.filterwarnings('ignore')
def test_a_resumed_epoch_equals_a_whole_one(data_root, tmp_path, loop, workers):
    whole, weight = train(config_of(data_root, tmp_path / 'whole', workers, loop))
    assert len(whole) == EPOCHS * 6
    seen = [sample for _, _, batch in whole for sample in batch]
    assert seen[: 2 * ITEMS] == expected_samples(data_root, 3, 0) + expected_samples(data_root, 3, 1)
    # in the first and in a later epoch, in their middle and at their end; the last has nothing left
    for stop in (2, 6, 9, 18) if workers == 0 else (8,):
        folder = tmp_path / f'stopped_{stop}'
        first, _ = train(config_of(data_root, folder, workers, loop), stop=stop)
        # the checkpoint's seed is resumed, whatever the config says
        rest, resumed = train(config_of(data_root, folder, workers, loop, seed=8), resume=folder / f'iter_{stop}.pth')
        assert first == whole[:stop]
        assert rest == whole[stop:]
        assert resumed == weight


@pytest.mark.parametrize('seed', [0, 5])
def test_the_seed_reaches_all_data(data_root, tmp_path, seed):
    config = config_of(data_root, tmp_path, seed=seed)
    config.model.update(data_preprocessor=dict(type='SeededPreprocessor'))
    runner = Runner.from_cfg(config)
    runner.register_hook(Recorder(stop=6))
    with pytest.raises(StoppedError):
        runner.train()
    loader = runner.train_dataloader
    parts = loader.sampler, loader.dataset, runner.model.data_preprocessor
    assert [part.seed for part in parts] == [seed] * 3


def test_workers_of_upstream_start_again_with_the_seed(data_root, tmp_path, monkeypatch):
    """MMEngine before its forks starts the workers of the iteration-based loop when the loop is built."""
    expected, _ = train(config_of(data_root, tmp_path / 'lazy', 1, 'iteration'), stop=5)

    def eager(self, dataloader):
        self._dataloader, self._epoch, self._iterator = dataloader, 0, iter(dataloader)

    monkeypatch.setattr(loops._InfiniteDataloaderIterator, '__init__', eager)
    assert train(config_of(data_root, tmp_path / 'eager', 1, 'iteration'), stop=5)[0] == expected


@pytest.mark.parametrize('sampler', ['DefaultSampler', 'InfiniteSampler'])
@pytest.mark.parametrize('wrap', [dict, lambda part: dict(type='RepeatDataset', dataset=part, times=2)])
def test_samplers_without_epochs_are_refused(data_root, tmp_path, sampler, wrap):
    config = config_of(data_root, tmp_path)
    part = config.train_dataloader.dataset.datasets[0]
    config.train_dataloader = {**config.train_dataloader, 'sampler': dict(type=sampler), 'dataset': wrap(part)}
    with pytest.raises(ConfigError, match=f"a {sampler} gives no epochs, .* use dict\\(type='EpochSampler'\\)"):
        train(config)


def test_a_second_seed_is_refused(data_root, tmp_path):
    config = config_of(data_root, tmp_path)
    config.train_dataloader.sampler.seed = 4
    with pytest.raises(ConfigError, match=r'sampler\.seed=4, but randomness\.seed=3: state the seed once'):
        train(config)


def test_twice_interrupted(data_root, tmp_path):
    whole, weight = train(config_of(data_root, tmp_path / 'whole'))
    config = config_of(data_root, tmp_path / 'stopped')
    seen = []
    for stop in (8, 10, None):
        part, resumed = train(
            config.copy(), stop, resume=tmp_path / 'stopped' / f'iter_{len(seen)}.pth' if seen else None
        )
        seen += part
    assert seen == whole and resumed == weight


def test_checkpoints_of_epochs_and_weights_start_an_epoch(data_root, tmp_path):
    whole, _ = train(config_of(data_root, tmp_path / 'whole'))
    config = config_of(data_root, tmp_path / 'epochs')
    config.default_hooks.checkpoint.by_epoch = True
    train(config.copy())
    rest, _ = train(config.copy(), resume=tmp_path / 'epochs' / 'epoch_2.pth')
    assert rest == whole[12:]
    config.load_from = str(tmp_path / 'whole' / 'iter_9.pth')  # not resumed
    assert train(config.copy())[0] == whole


def run_process(rank, port, folder, config, stop, resume):
    """One of two processes; writes what it saw."""
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE='2', MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port)
    )
    torch.set_num_threads(1)
    seen, _ = train(config, stop, resume)
    (folder / f'rank_{rank}.json').write_text(json.dumps(seen))


def train_two(folder, config, stop=None, resume=None):
    """What two processes see, batch by batch."""
    folder.mkdir()
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context('fork')
    processes = [
        context.Process(target=run_process, args=(rank, port, folder, config, stop, resume)) for rank in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        process.kill()  # one that hangs
    assert [process.exitcode for process in processes] == [0, 0]
    return [json.loads((folder / f'rank_{rank}.json').read_text()) for rank in range(2)]


def in_order(seen):
    """What processes saw together, in the order of the sampler."""
    steps = zip(*seen, strict=True)
    return [
        sample
        for step in steps
        for group in itertools.zip_longest(*(batch for _, _, batch in step))
        for sample in group
    ]


@pytest.mark.filterwarnings('ignore')
def test_two_processes(data_root, tmp_path):
    config = config_of(data_root, tmp_path / 'run', workers=1, launcher='pytorch')
    whole = train_two(tmp_path / 'whole', config.copy())
    assert [len(seen) for seen in whole] == [EPOCHS * 3] * 2
    first = train_two(tmp_path / 'first', config.copy(), stop=4)
    checkpoint = tmp_path / 'run' / 'iter_4.pth'
    rest = train_two(tmp_path / 'rest', config.copy(), resume=checkpoint)
    assert [seen[:4] for seen in whole] == first
    assert [seen[4:] for seen in whole] == rest
    # one process goes on where two stopped, with what was left of the epoch; two repeat one
    alone, _ = train(config_of(data_root, tmp_path / 'alone', batch=4), resume=checkpoint)
    left = [sample for _, _, batch in alone for sample in batch]
    together = in_order(rest)
    assert left[:7] == together[:7]
    assert left[7 : 7 + ITEMS] == together[8 : 8 + ITEMS]
