"""A checkpoint alone is enough, of its own model only, and nothing in it is run."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from PIL import Image

from mmmagnet.apis import ReferringInferencer, read_image
from mmmagnet.registry import MODELS
from mmmagnet.utils.errors import CheckpointError, ConfigError, DataError

TINY = {
    'model.backbone.embed_dims': 8,
    'model.backbone.num_heads': (1, 1, 1, 1),
    'model.text_encoder.config.hidden_size': 16,
    'model.text_encoder.config.intermediate_size': 16,
    'model.decode_head.feat_channels': 16,
    'model.decode_head.pixel_decoder_layers': 1,
    'model.decode_head.decoder_layers': 1,
}
MANY_WORDS = 'the red square ' * 10


def tiny_config(**changes: object) -> Config:
    config = Config.fromfile(str(Path(__file__).parents[2] / 'configs' / 'magnet_tiny_synthetic.py'))
    config.merge_from_dict({**TINY, **changes})
    return config


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory) -> Path:
    """What a training leaves: auxiliary heads, config text, a pretrained file that is not there."""
    config = tiny_config(**{'model.backbone.pretrained': 'not/there.pth'})
    init_default_scope('mmseg')
    torch.manual_seed(0)
    model = MODELS.build(config.model)
    path = tmp_path_factory.mktemp('inferencer') / 'epoch_1.pth'
    torch.save({'meta': {'cfg': config.pretty_text}, 'state_dict': model.state_dict()}, path)
    return path


@pytest.fixture(scope='module')
def inferencer(checkpoint) -> ReferringInferencer:
    return ReferringInferencer(checkpoint, device='cpu', batch_size=2)


@pytest.fixture(scope='module')
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (40, 70, 3)).astype(np.uint8)


def rewritten(checkpoint: Path, folder: Path, **parts: object) -> Path:
    path = folder / 'other.pth'
    torch.save({**torch.load(checkpoint), **parts}, path)
    return path


def test_kinds_of_images_and_texts(inferencer, pixels, tmp_path):
    file = tmp_path / 'image.png'
    Image.fromarray(pixels).save(file)
    texts = ['the red square', 'blue circle on the left', 'the thing']
    expected = inferencer(pixels, texts)
    assert [result.expression for result in expected] == texts
    for image in (file, str(file), Image.fromarray(pixels), Image.fromarray(pixels).convert('RGBA')):
        for result, other in zip(expected, inferencer(image, texts), strict=True):
            assert np.array_equal(result.mask, other.mask)
            assert result.score == other.score
    alone = inferencer(pixels, texts[1])
    assert len(alone) == 1
    assert (alone[0].mask != expected[1].mask).mean() < 0.01  # batches may differ in the last bit


def test_result(inferencer, pixels):
    (result,) = inferencer(pixels, 'the red square')
    assert result.mask.shape == pixels.shape[:2]
    assert result.mask.dtype == bool
    assert result.area_fraction == result.mask.mean()
    if result.box is None:
        assert (result.area_fraction, result.score) == (0, 0)
    else:
        left, top, right, bottom = result.box
        rows, columns = np.nonzero(result.mask)
        assert (left, top, right, bottom) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert 0.5 <= result.score <= 1


def test_score_and_box_of_known_logits(inferencer, pixels, monkeypatch):
    logits = torch.full((1, 1, 64, 64), -2.0)
    logits[..., 16:32, 32:48] = 3.0
    for value, box in ((logits, (35, 10, 53, 20)), (logits.clamp(max=-1), None)):
        monkeypatch.setattr(inferencer.model.decode_head, 'predict_by_feat', lambda *_, value=value: value)
        (result,) = inferencer(pixels, 'x')
        if box is None:
            assert result.box is None
            assert result.score == 0
            assert not result.mask.any()
        else:
            assert np.abs(np.subtract(result.box, box)).max() <= 1
            assert 0.85 < result.score < torch.sigmoid(torch.tensor(3.0))


def test_target_score(inferencer, pixels, tmp_path):
    assert inferencer(pixels, 'x')[0].target_score is None
    config = tiny_config(**{'model.decode_head.no_target': True, 'model.decode_head.target_threshold': 2.0})
    torch.save(inferencer.model.state_dict(), tmp_path / 'plain.pth')
    (result,) = ReferringInferencer(tmp_path / 'plain.pth', config, device='cpu')(pixels, 'x')
    assert 0 < result.target_score < 1
    assert (result.mask.any(), result.box, result.score) == (False, None, 0)
    assert inferencer.draw(pixels, result).shape[2] == 3


def test_image_is_turned_upright(inferencer, pixels, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / 'turned.png'
    Image.fromarray(pixels).save(path, exif=exif)
    assert inferencer(path, 'x')[0].mask.shape == (70, 40)
    assert np.array_equal(read_image(path), np.rot90(pixels, -1))


def test_long_expression_is_truncated_with_a_warning(inferencer, pixels):
    with pytest.warns(UserWarning, match='32 tokens is truncated to 20'):
        inferencer(pixels, MANY_WORDS)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        inferencer(pixels, 'the red square')


@pytest.mark.parametrize('text', ['', '  ', ['a', ' ']])
def test_empty_expression(inferencer, pixels, text):
    with pytest.raises(DataError, match='is empty'):
        inferencer(pixels, text)


def test_an_image_that_is_too_large(inferencer, pixels, tmp_path, monkeypatch):
    Image.fromarray(pixels).save(tmp_path / 'a.png')
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 100)
    with pytest.raises(DataError, match=r'a\.png: too large \(.*; give a smaller copy'):
        inferencer(tmp_path / 'a.png', 'x')


def test_wrong_images(inferencer, pixels, tmp_path):
    with pytest.raises(FileNotFoundError, match='no such image file'):
        inferencer(tmp_path / 'none.png', 'x')
    text, half = tmp_path / 'a.png', tmp_path / 'b.png'
    text.write_text('no image')
    Image.fromarray(pixels).save(half)
    half.write_bytes(half.read_bytes()[:2000])
    for path in (text, half):
        with pytest.raises(DataError, match=f'{path}: not a whole image'):
            inferencer(path, 'x')
    Image.fromarray(pixels[..., 0].astype(np.uint16) * 257).save(tmp_path / 'deep.png')
    with pytest.raises(DataError, match=r'deep\.png: has more than 8 bits'):
        inferencer(tmp_path / 'deep.png', 'x')
    for array in (pixels[..., 0], pixels / 255):
        with pytest.raises(DataError, match=r'give RGB \(height, width, 3\) of uint8'):
            inferencer(array, 'x')


def test_pipeline_of_testing(checkpoint, tmp_path):
    """The one that is scored with counts, whatever the variable it came from holds."""
    config = tiny_config(**{'test_dataloader.dataset.pipeline.1.scale': (64, 96)})
    path = rewritten(checkpoint, tmp_path, meta={'cfg': config.pretty_text})
    assert config.test_pipeline[1].scale == (64, 64)
    assert ReferringInferencer(path, device='cpu').pipeline.transforms[0].scale == (64, 96)


def test_save(inferencer, pixels, tmp_path):
    results = inferencer(pixels, ['The red / square!', '\u7ea2\u8272'])
    written = inferencer.save(pixels, results, tmp_path / 'new')
    names = [path.name for pair in written for path in pair]
    stems = ['image_0_the_red_square', 'image_1']
    assert names == [f'{stem}_{kind}.png' for stem in stems for kind in ('overlay', 'mask')]
    assert np.array_equal(np.asarray(Image.open(written[0][1])) == 255, results[0].mask)
    assert inferencer.draw(pixels, results[0]).shape[1] > 2 * pixels.shape[1]


def test_weights_without_auxiliary_heads(checkpoint, inferencer, pixels, tmp_path):
    weights = {name: value for name, value in torch.load(checkpoint)['state_dict'].items() if 'auxiliary' not in name}
    torch.save(weights, tmp_path / 'plain.pth')
    other = ReferringInferencer(tmp_path / 'plain.pth', tiny_config(), device='cpu')
    assert np.array_equal(other(pixels, 'x')[0].mask, inferencer(pixels, 'x')[0].mask)
    with pytest.raises(CheckpointError, match=r'plain\.pth: stores no config .*--config'):
        ReferringInferencer(tmp_path / 'plain.pth')


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda w: w.pop('backbone.patch_embed.proj.bias'), r'it lacks backbone\.patch_embed\.proj\.bias \(1 of'),
        (lambda w: w.update({'decode_head.new': torch.zeros(1)}), r'makes no decode_head\.new \(1 entries too many\)'),
        (
            lambda w: w.update({'backbone.patch_embed.proj.bias': torch.zeros(3)}),
            r'proj\.bias has shape \(3,\), the config makes \(8,\)',
        ),
    ],
)
def test_checkpoint_of_another_model(checkpoint, tmp_path, change, message):
    weights = torch.load(checkpoint)['state_dict']
    change(weights)
    path = rewritten(checkpoint, tmp_path, state_dict=weights)
    with pytest.raises(CheckpointError, match=r'other\.pth: is of another model: .*' + message):
        ReferringInferencer(path, device='cpu')


@pytest.mark.parametrize(
    ('find', 'replace', 'message'),
    [
        ('model = dict(', "import os\nos.system('touch {canary}')\nmodel = dict(", r"'import os' is more than values"),
        ("type='StagedSwin'", "type='os.system', command='touch {canary}'", "type='os.system' is no registered part"),
        ("type='PackReferringInputs'", "type='os.system', command='touch {canary}'", "type='os.system' is no"),
        ('test_', 'renamed_', 'has neither a `test_dataloader` nor a `test_pipeline`'),
        ('model = ', 'renamed = ', 'has no `model`'),
    ],
)
def test_config_in_a_checkpoint_is_not_run(checkpoint, tmp_path, find, replace, message):
    canary = tmp_path / 'canary'
    text = torch.load(checkpoint)['meta']['cfg']
    assert find in text
    path = rewritten(checkpoint, tmp_path, meta={'cfg': text.replace(find, replace.format(canary=canary))})
    with pytest.raises(ConfigError, match=rf'other\.pth \(meta\.cfg\).*{message}'):
        ReferringInferencer(path, device='cpu')
    assert not canary.exists()


@pytest.mark.parametrize(
    ('device', 'message'), [('nonsense', 'knows no such device'), ('cuda', 'sees no GPU'), ('meta', 'cannot be used')]
)
def test_device(checkpoint, device, message, monkeypatch):
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    with pytest.raises(ConfigError, match=message):
        ReferringInferencer(checkpoint, device=device)
