"""Losses that are not finite: weights stay finite, samples are named, and too many in a row end the training."""

import multiprocessing
import os
import socket

import pytest
import torch
from mmseg.structures import SegDataSample

from mmmagnet.utils.errors import TrainingError

# conftest.py: 8 items, batches of 2, three epochs of 4 steps


def hooks(**settings):
    return dict(logger=None, checkpoint=None, finite_loss=dict(type='SkipNonFiniteHook', **settings))


def weights_of(runner):
    model = getattr(runner.model, 'module', runner.model)
    return torch.cat([value.detach().flatten() for value in model.parameters()])


def test_nothing_changes_where_all_is_finite(make_runner):
    trained = []
    for chosen in (hooks(), dict(logger=None, checkpoint=None)):
        runner = make_runner(chosen, work_dir=f'run_{len(trained)}')
        runner.train()
        trained.append(weights_of(runner))
    assert torch.equal(*trained)


@pytest.mark.parametrize('interval', [1, 3, 100])
def test_a_broken_sample_is_skipped_and_named(make_runner, capfd, interval):
    runner = make_runner(hooks(max_skips=1, interval=interval), broken=[5])
    before = weights_of(runner)
    runner.train()
    after = weights_of(runner)
    assert after.isfinite().all() and not torch.equal(before, after)
    lines = [line for line in ''.join(capfd.readouterr()).splitlines() if 'not finite in step' in line]
    assert [line.split('step ')[1].split(',')[0] for line in lines] == ['3', '7', '11']
    assert all('4_ref4_sent40' in line and '5_ref5_sent50' in line and 'ref3' not in line for line in lines)


@pytest.mark.parametrize('constant', [float('nan'), float('inf'), float('-inf')])
@pytest.mark.parametrize('sound', [0, 2])
def test_the_training_ends(make_runner, constant, sound):
    """All losses are broken after `sound` steps."""
    runner = make_runner(hooks(max_skips=2, interval=1))
    steps = []

    def count(module, *_):
        steps.append(weights_of(runner))
        module.constant = constant if len(steps) > sound else 0.0

    runner.model.register_forward_pre_hook(count)
    with pytest.raises(TrainingError, match=rf'in step {sound + 3}, .* 3 steps in a row .*max_skips=2') as caught:
        runner.train()
    first = (4 + 2 * sound) % 8
    assert f'batch was {first}_ref{first}_sent{10 * first}, {first + 1}_ref' in str(caught.value)
    assert 'load_from=CHECKPOINT' in str(caught.value)
    assert len(steps) == sound + 3 and weights_of(runner).isfinite().all()


def test_a_broken_step_moves_nothing(make_runner):
    """Without momentum, and but for weight decay."""
    runner = make_runner(hooks(max_skips=3), broken=range(8), max_epochs=1)
    before = weights_of(runner)
    with pytest.raises(TrainingError, match='in step 4, '):
        runner.train()
    assert torch.allclose(before, weights_of(runner), atol=1e-3)


@pytest.mark.parametrize('fused', [False, True])
def test_overflows_of_a_loss_scale_do_not_count(fused):
    from mmmagnet.engine.hooks import SkipNonFiniteHook

    layer, hook, scaler = torch.nn.Linear(1, 1), SkipNonFiniteHook(), torch.amp.GradScaler('cpu', init_scale=2.0**127)
    optimizer = torch.optim.AdamW(layer.parameters(), fused=fused)
    optimizer.register_step_pre_hook(hook._zero_gradients)
    before = layer.weight.clone()
    scaler.scale(8 * layer(torch.ones(1, 1)).sum()).backward()
    assert layer.weight.grad.isinf().all()
    scaler.step(optimizer)
    scaler.update()
    assert hook.skipped is None and torch.equal(layer.weight, before) and scaler.get_scale() == 2.0**126


def test_expressions_are_named():
    from mmmagnet.engine.hooks.skip_non_finite_hook import batch_names

    sample = SegDataSample(metainfo=dict(img_path='train_7.png', split='train', ref_id=3, expression='red circle'))
    assert batch_names({'data_samples': [sample]}) == ["train_7_ref3 ('red circle')"]


def test_settings():
    from mmmagnet.engine.hooks import SkipNonFiniteHook

    for settings in (dict(max_skips=-1), dict(interval=0)):
        with pytest.raises(ValueError, match='SkipNonFiniteHook'):
            SkipNonFiniteHook(**settings)


def run_process(rank, port, make_runner, queue):
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE='2', MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port)
    )
    torch.set_num_threads(1)
    torch.distributed.init_process_group('gloo')
    # the first process gets the even items, 2 and 6 always in its second batch
    for broken, max_skips in (([2], 1), ([0, 2, 4, 6], 3)):
        runner = make_runner(
            hooks(max_skips=max_skips, interval=2), broken=broken, work_dir=f'run_{rank}', launcher='pytorch'
        )
        try:
            runner.train()
            error = None
        except TrainingError as caught:
            error = str(caught)
        queue.put((rank, error, weights_of(runner).tolist()))


@pytest.mark.filterwarnings('ignore')
def test_two_processes_agree(make_runner):
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context('fork')
    queue = context.Queue()
    processes = [
        context.Process(target=run_process, args=(rank, port, make_runner, queue), daemon=True) for rank in range(2)
    ]
    for process in processes:
        process.start()
    results = [queue.get(timeout=60) for _ in range(4)]
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0, 0]
    for first, second in zip(
        *([result[1:] for result in results if result[0] == rank] for rank in range(2)), strict=True
    ):
        assert first == second
        assert torch.tensor(first[1]).isfinite().all()
    (one, *_), (all_of_them, *_) = [result[1:] for result in results if result[0] == 1]
    assert one is None
    assert 'in step 4,' in all_of_them and '4_ref4' in all_of_them and '5_ref5' not in all_of_them
