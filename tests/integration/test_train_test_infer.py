"""Train, resume, score and infer on four images, through the command lines."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from PIL import Image

from mmmagnet.utils.checkpoint import load_file
from mmmagnet.utils.io import file_sha256

ROOT = Path(__file__).parents[2]
CONFIG = str(ROOT / 'configs' / 'magnet_tiny_synthetic.py')
OPTIONS = [
    *(f'{name}_dataloader.num_workers=0' for name in ('train', 'val', 'test')),
    *(f'{name}_dataloader.persistent_workers=False' for name in ('train', 'val', 'test')),
    'train_dataloader.batch_size=2',
    'default_hooks.logger.interval=1',
    'model.backbone.embed_dims=8',
    'model.backbone.num_heads=(1,1,1,1)',
    'model.text_encoder.config.hidden_size=16',
    'model.text_encoder.config.intermediate_size=16',
    'model.decode_head.feat_channels=16',
    'model.decode_head.pixel_decoder_layers=1',
    'model.decode_head.decoder_layers=1',
]


def main_of(name: str):
    """The main function of a tool."""
    spec = importlib.util.spec_from_file_location(f'tool_{Path(name).stem}', ROOT / 'tools' / name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def write_set(root: Path) -> Path:
    """Write four images, each with a light rectangle at the left and one at the right, in three splits."""
    refs, images, annotations = [], [], []
    (root / 'images').mkdir(parents=True)
    for index in range(4):
        image = np.full((48, 64, 3), 40, np.uint8)
        images.append({'id': index, 'file_name': f'{index}.png', 'width': 64, 'height': 48})
        for side, left in enumerate((4, 40)):
            image[10:30, left : left + 20] = 200
            ann = 2 * index + side
            polygon = [left, 10, left + 20, 10, left + 20, 30, left, 30]
            annotations.append({'id': ann, 'image_id': index, 'category_id': 1, 'segmentation': [polygon]})
            sentence = {'sent_id': ann, 'raw': f'the {("left", "right")[side]} square'}
            for split in ('train', 'val', 'testA'):
                ref = {'ref_id': len(refs), 'image_id': index, 'ann_ids': [ann], 'category_id': 1}
                refs.append({**ref, 'split': split, 'sentences': [sentence]})
        Image.fromarray(image).save(root / 'images' / f'{index}.png')
    (root / 'instances.json').write_text(
        json.dumps({'images': images, 'annotations': annotations, 'categories': [{'id': 1, 'name': 'square'}]})
    )
    (root / 'refs.jsonl').write_text(''.join(json.dumps(ref) + '\n' for ref in refs))
    return root


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """Data folder, and work dir of a training of one epoch."""
    folder = tmp_path_factory.mktemp('tools')
    data, work = write_set(folder / 'data'), folder / 'work'
    status = main_of('train.py')(
        [
            *(CONFIG, '--data-root', str(data), '--work-dir', str(work), '--seed', '3'),
            *('--cfg-options', *OPTIONS, 'train_cfg.max_epochs=1'),
        ]
    )
    assert status == 0
    return data, work


def test_resume_keeps_the_seed_of_the_checkpoint(trained):
    data, work = trained
    first = load_file(work / 'epoch_1.pth')
    assert first['meta']['seed'] == 3
    status = main_of('train.py')(
        [
            *(CONFIG, '--data-root', str(data), '--work-dir', str(work), '--resume', '--cfg-options', *OPTIONS),
            'train_cfg.max_epochs=2',
        ]
    )
    assert status == 0
    second = load_file(work / 'epoch_2.pth')
    assert (second['meta']['epoch'], second['meta']['iter']) == (2, 2 * first['meta']['iter'])
    assert second['meta']['seed'] == 3


def test_score_several_splits(trained, tmp_path, capsys):
    data, work = trained
    arguments = [CONFIG, str(work / 'epoch_1.pth'), '--data-root', str(data), '--work-dir', str(tmp_path / 'w')]
    arguments += ['--split', 'val', 'testA', '--resolution', 'original', '--metrics-out', str(tmp_path / 'scores.json')]
    arguments += ['--out', str(tmp_path / 'pairs.jsonl'), '--show-dir', str(tmp_path / 'show'), '--show-limit', '3']
    assert main_of('test.py')([*arguments, '--cfg-options', *OPTIONS]) == 0
    scores = json.loads((tmp_path / 'scores.json').read_text())
    assert list(scores) == ['val', 'testA']
    for split, entry in scores.items():
        assert entry['metrics']['ref/pairs'] == 8
        expected = {'split': split, 'resolution': 'original', 'swap_expressions': False, 'config': CONFIG}
        assert expected.items() <= entry.items()
        assert len((tmp_path / f'pairs_{split}.jsonl').read_text().splitlines()) == 8
        assert len(list((tmp_path / 'show').glob(f'{split}*.png'))) == 3
    sheet = [str(tmp_path / 'pairs_val.jsonl'), '--data-root', str(data), '--out', str(tmp_path / 'sheet.png')]
    assert main_of('analysis_tools/contact_sheet.py')(sheet) == 0
    assert scores['val']['metrics'] == scores['testA']['metrics']  # the same images
    printed = capsys.readouterr().out
    assert 'val (original resolution): oIoU ' in printed
    assert 'pairs 8' in printed


def test_a_split_that_is_not_there_ends_it_first(trained, tmp_path, capsys):
    data, work = trained
    arguments = [CONFIG, str(work / 'epoch_1.pth'), '--data-root', str(data), '--work-dir', str(tmp_path / 'w')]
    arguments += ['--split', 'val', 'testC', '--metrics-out', str(tmp_path / 's.json'), '--cfg-options', *OPTIONS]
    assert main_of('test.py')(arguments) == 2
    assert "split 'testC' has no refs; splits there: testA, train, val" in capsys.readouterr().err
    assert not (tmp_path / 's.json').exists()


def test_swapped_expressions_at_input_size(trained, tmp_path):
    data, work = trained
    arguments = [CONFIG, str(work / 'epoch_1.pth'), '--data-root', str(data), '--work-dir', str(tmp_path / 'w')]
    arguments += ['--swap-expressions', '--metrics-out', str(tmp_path / 's.json')]
    arguments += ['--out', str(tmp_path / 'pairs.jsonl'), '--cfg-options', *OPTIONS]
    assert main_of('test.py')(arguments) == 0
    entry = json.loads((tmp_path / 's.json').read_text())['testA']
    assert entry['swap_expressions'] is True
    assert entry['resolution'] == 'input'
    pairs = [json.loads(line) for line in (tmp_path / 'pairs.jsonl').read_text().splitlines()]
    assert pairs[0]['expression'] == 'the right square'
    assert pairs[0]['mask']['size'] == [64, 64]


def test_both_resolutions_with_all_they_depend_on(trained, tmp_path, capsys):
    data, work = trained
    arguments = [CONFIG, str(work / 'epoch_1.pth'), '--data-root', str(data), '--work-dir', str(tmp_path / 'w')]
    arguments += ['--resolution', 'both', '--breakdown', '--metrics-out', str(tmp_path / 's.json')]
    assert main_of('test.py')([*arguments, '--out', str(tmp_path / 'd.jsonl'), '--cfg-options', *OPTIONS]) == 0
    entry = json.loads((tmp_path / 's.json').read_text())['testA']
    assert entry['checkpoint_sha256'] == file_sha256(work / 'epoch_1.pth')
    assert entry['pairs'] == 8
    assert list(entry['resolutions']) == ['input', 'original']
    for resolution, account in entry['resolutions'].items():
        assert account['protocol'].startswith('masks at the size of the ')
        assert account['breakdown']['position']['said']['pairs'] == 8
        for name, (low, high) in account['intervals'].items():
            assert low <= account['scores'][name] <= high
        before = '' if resolution == 'input' else 'original/'
        assert {f'ref/{before}{name}': score for name, score in account['scores'].items()}.items() <= (
            entry['metrics'].items()
        )
    printed = capsys.readouterr().out
    assert 'testA (input resolution): oIoU ' in printed
    assert 'testA (original resolution): oIoU ' in printed
    dump = str(tmp_path / 'd.jsonl')
    assert main_of('analysis_tools/compare_scores.py')([dump, dump, '--resamples', '20']) == 0
    assert 'testA, original resolution: 8 pairs in 4 images' in capsys.readouterr().out


def test_checkpoint_of_another_model(trained, tmp_path, capsys):
    data, work = trained
    arguments = [CONFIG, str(work / 'epoch_1.pth'), '--data-root', str(data), '--work-dir', str(tmp_path / 'w')]
    assert main_of('test.py')([*arguments, '--cfg-options', *OPTIONS, 'model.backbone.embed_dims=16']) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith(f'error: {work / "epoch_1.pth"}: is of another model: backbone.')
    assert 'use the config this checkpoint was trained with' in error
    arguments = [CONFIG, '--data-root', str(data), '--work-dir', str(tmp_path / 'w'), '--cfg-options', *OPTIONS]
    arguments += ['model.auxiliary_head=None', '--resume', str(work / 'epoch_1.pth')]
    assert main_of('train.py')(arguments) == 2
    assert 'the config makes no auxiliary_head.' in capsys.readouterr().err


def test_start_from_a_checkpoint(trained, tmp_path, capsys):
    """`load_from` may leave entries as they are, which is said; it may not leave all."""
    data, work = trained
    torch.save({'state_dict': {'conv.weight': torch.zeros(1)}}, tmp_path / 'other.pth')
    arguments = [CONFIG, '--data-root', str(data), '--work-dir', str(tmp_path / 'w'), '--cfg-options', *OPTIONS]
    assert main_of('train.py')([*arguments, f'load_from={tmp_path / "other.pth"}']) == 2
    assert 'other.pth: is of another model: no entry fits' in capsys.readouterr().err
    arguments += ['train_cfg.max_epochs=1', 'model.decode_head.decoder_layers=2']
    assert main_of('train.py')([*arguments, f'load_from={work / "epoch_1.pth"}']) == 0
    assert re.search(r'epoch_1\.pth: \d+ of \d+ entries are loaded; the others start', capsys.readouterr().out)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['none.py'], 'error: none.py: no such config file'),
        ([CONFIG, '--data-root', 'none'], 'refs.jsonl: no prepared set there'),
        (
            [CONFIG, '--cfg-options', 'modle.type=x'],
            "error: --cfg-options modle.type: the config has no setting 'modle'",
        ),
        ([CONFIG, '--cfg-options', 'model.neck.type=Nothing'], "error: model.neck.type='Nothing' is not registered"),
        ([CONFIG, '--resume', 'none.pth'], 'error: none.pth: no such checkpoint file'),
        ([CONFIG, '--amp', '--device', 'cpu'], 'error: optim_wrapper.type=AmpOptimWrapper: '),
    ],
)
def test_errors_of_training_are_one_line(arguments, message, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
    monkeypatch.setattr('mmengine.device.utils.DEVICE', 'cpu')
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    options = [] if '--cfg-options' in arguments else ['--cfg-options', *OPTIONS]
    assert main_of('train.py')([*arguments, '--work-dir', str(tmp_path), *options]) == 2
    error = capsys.readouterr().err
    assert message in error.strip().splitlines()[-1]
    assert 'Traceback' not in error


def test_infer(trained, tmp_path, capsys):
    data, work = trained
    image = str(data / 'images' / '0.png')
    arguments = [image, '--text', 'the left square', '--text', 'the right square', '--device', 'cpu']
    arguments += ['--checkpoint', str(work / 'epoch_1.pth'), '--out-dir', str(tmp_path)]
    assert main_of('infer.py')(arguments) == 0
    lines = capsys.readouterr().out.strip().splitlines()[-2:]
    for index, (side, line) in enumerate(zip(('left', 'right'), lines, strict=True)):
        stem = f'0_{index}_the_{side}_square'
        assert line.startswith(f'{tmp_path / stem}_overlay.png: ')
        assert line.endswith(f'"the {side} square"')
        mask = np.asarray(Image.open(tmp_path / f'{stem}_mask.png'))
        assert mask.shape == (48, 64)
        assert set(np.unique(mask)) <= {0, 255}
        assert f'{100 * (mask > 0).mean():.1f} % of the pixels' in line


def test_browse(trained, tmp_path, capsys):
    data, _ = trained
    arguments = [CONFIG, '--data-root', str(data), '--out', str(tmp_path), '--number', '3']
    for split in ('train', 'val'):
        assert main_of('analysis_tools/browse_dataset.py')([*arguments, '--split', split]) == 0
        assert f'3 of 8 samples of {split}' in capsys.readouterr().out
        assert len(list(tmp_path.glob(f'{split}_*.png'))) == 4
        assert (tmp_path / f'{split}_sheet.png').is_file()


def test_probe_grounding(trained, tmp_path, capsys):
    data, work = trained
    arguments = [CONFIG, str(work / 'epoch_1.pth'), '--data-root', str(data), '--device', 'cpu']
    arguments += ['--batches', '2', '--json', str(tmp_path / 'found.json'), '--cfg-options', *OPTIONS]
    probe = main_of('analysis_tools/ablation/probe_grounding.py')
    assert probe(arguments) == 0
    found = json.loads((tmp_path / 'found.json').read_text())
    assert found['batches'] == 2
    assert list(found['loss']) == ['own', 'image of another', 'place of another']
    assert list(found['gradients']) == ['backbone', 'text_encoder', 'neck']
    printed = capsys.readouterr().out
    assert '2 batches of 2' in printed and f'{found["loss"]["own"]:.3f}' in printed
    assert probe([*arguments, 'model.auxiliary_head.0.num_layers=1']) == 2
    assert 'is of another model' in capsys.readouterr().err


def test_image_of_the_hook_is_not_turned(trained, tmp_path):
    from mmseg.structures import SegDataSample

    from mmmagnet.engine.hooks import ReferringVisualizationHook

    class Loader:
        sampler = range(1)

    class Seen:
        def add_datasample(self, name: str, image: np.ndarray, **rest: object) -> None:
            self.name, self.shape = name, image.shape

    class Runner:
        test_dataloader, visualizer = Loader(), Seen()

    path = tmp_path / 'turned.jpg'
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new('RGB', (40, 20)).save(path, exif=exif)
    sample = SegDataSample(metainfo={'img_path': str(path), 'split': 'val', 'ref_id': 7, 'sent_id': 9})
    hook = ReferringVisualizationHook()
    assert isinstance(hook, Hook)
    hook.after_test_iter(Runner, 0, None, [sample])
    assert Runner.visualizer.shape == (20, 40, 3)
    assert Runner.visualizer.name == 'val_turned_ref7_sent9'


def test_help(capsys):
    for name in ('train.py', 'test.py', 'infer.py', 'analysis_tools/browse_dataset.py'):
        with pytest.raises(SystemExit) as left:
            main_of(name)(['--help'])
        assert left.value.code == 0
        assert 'usage' in capsys.readouterr().out
