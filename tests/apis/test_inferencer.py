"""A checkpoint alone is enough, of its own model only, and nothing in it is run."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from trained import small_settings, write_checkpoint

from mmmagnet.apis import ReferringInferencer, ReferringResult
from mmmagnet.utils.errors import CheckpointError, ConfigError, DataError

MANY_WORDS = 'the red square ' * 10


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp('inferencer'))


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
            assert_same(result, other)
    alone = inferencer(pixels, texts[1])
    assert isinstance(alone, ReferringResult)
    assert_same(alone, expected[1])


def test_several_images(inferencer, pixels, tmp_path):
    """Lists, folders and pairs, in batches across images, give what each image gives alone."""
    images = [pixels, np.ascontiguousarray(pixels[:, ::-1]), np.ascontiguousarray(pixels[:30])]
    for index, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f'{index}.png')
    (tmp_path / 'notes.txt').write_text('no image')
    texts = ['the red square', 'the blue circle', 'the thing']
    expected = [[inferencer(image, text) for text in texts] for image in images]
    for inputs in (images, iter(images), tmp_path, str(tmp_path)):
        for alone, found in zip(expected, inferencer(inputs, texts), strict=True):
            for result, other in zip(alone, found, strict=True):
                assert_same(result, other)
    pairs = [(images[0], texts[0]), (tmp_path / '1.png', texts[1:])]
    one, two = inferencer(pair for pair in pairs)
    for result, other in ((expected[0][0], one), (expected[1][1], two[0]), (expected[1][2], two[1])):
        assert_same(result, other)


def test_batches(inferencer, pixels, monkeypatch):
    """An image takes one place in a batch. Requests are read no further than a batch needs."""
    sizes, read = [], []
    predict = inferencer.model.predict
    monkeypatch.setattr(
        inferencer.model,
        'predict',
        lambda inputs, samples: sizes.append((len(inputs), len(samples))) or predict(inputs, samples),
    )
    monkeypatch.setattr(inferencer, 'batch_size', 4)
    monkeypatch.setattr('mmmagnet.apis.inferencer.read_image', lambda image: read.append(1) or image)
    answers = inferencer.stream((pixels, ['a', 'b', 'c']) for _ in range(10))
    next(answers)
    assert (sizes, len(read)) == ([(2, 4)], 2)
    assert len(list(answers)) == 9
    assert sizes == [(2, 4), (2, 4), (2, 4)] * 2 + [(2, 4), (1, 2)]
    sizes.clear()
    monkeypatch.setattr('mmmagnet.apis.inferencer.MAX_PIXELS', 2 * pixels[..., 0].size)
    assert len(inferencer(pixels, ['a', 'b', 'c'])) == 3
    assert sizes == [(1, 2), (1, 1)]


def test_data_samples(inferencer, pixels):
    sample, result = (inferencer(pixels, 'the red square', return_datasamples=given) for given in (True, False))
    assert np.array_equal(sample.pred_sem_seg.data[0].numpy() == 1, result.mask)
    assert float(sample.score) == result.score


def test_errors_in_the_place_of_results(inferencer, pixels, tmp_path):
    requests = [(pixels, ['a', '', 'b']), (tmp_path / 'none.png', ['a', 'b']), (pixels, 'c'), 5, (pixels, []), (5, 'a')]
    found = list(inferencer.stream(requests, raise_errors=False))
    kinds = [[type(each).__name__ for each in (answer if isinstance(answer, list) else [answer])] for answer in found]
    result = 'ReferringResult'
    assert kinds == [[result, 'DataError', result], 2 * ['FileNotFoundError'], [result], *[['DataError']] * 3]
    assert str(found[0][1]) == 'image: expression 2 of 3 is empty: say what to segment'
    answers = inferencer.stream([(pixels, 'a'), (pixels, ''), (pixels, 'b')])
    assert isinstance(next(answers), ReferringResult)  # what came before is not lost
    with pytest.raises(DataError, match='expression 1 of 1 is empty'):
        next(answers)
    Image.fromarray(pixels).save(tmp_path / 'a.png')
    for wrong in (pixels, 'a.png', 5, tmp_path):
        with pytest.raises(DataError, match='no expression is given'):
            inferencer(wrong)


def assert_same(result: ReferringResult, other: ReferringResult) -> None:
    """Batches may differ in the last bit."""
    assert result.expression == other.expression
    assert np.array_equal(result.image, other.image)
    assert (result.mask != other.mask).mean() < 0.01
    assert result.score == pytest.approx(other.score, abs=1e-5)


def test_result(inferencer, pixels):
    result = inferencer(pixels, 'the red square')
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
        result = inferencer(pixels, 'x')
        if box is None:
            assert result.box is None
            assert result.score == 0
            assert not result.mask.any()
        else:
            assert np.abs(np.subtract(result.box, box)).max() <= 1
            assert 0.85 < result.score < torch.sigmoid(torch.tensor(3.0))


def test_target_score(inferencer, pixels, tmp_path):
    assert inferencer(pixels, 'x').target_score is None
    config = small_settings(**{'model.decode_head.no_target': True, 'model.decode_head.target_threshold': 2.0})
    torch.save(inferencer.model.state_dict(), tmp_path / 'plain.pth')
    result = ReferringInferencer(config, tmp_path / 'plain.pth', 'cpu')(pixels, 'x')
    assert 0 < result.target_score < 1
    assert (result.mask.any(), result.box, result.score) == (False, None, 0)
    assert result.draw().shape[2] == 3


def test_image_is_turned_upright(inferencer, pixels, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / 'turned.png'
    Image.fromarray(pixels).save(path, exif=exif)
    result = inferencer(path, 'x')
    assert result.mask.shape == (70, 40)
    assert np.array_equal(result.image, np.rot90(pixels, -1))


def test_warnings(inferencer, pixels):
    with pytest.warns(UserWarning, match='expression 2 of 2 has 32 tokens and is truncated to 20'):
        inferencer(pixels, ['a', MANY_WORDS])
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        inferencer(pixels, 'the red square')


def test_pipeline_of_testing(checkpoint, tmp_path):
    """The one that is scored with counts, whatever the variable it came from holds."""
    config = small_settings(**{'test_dataloader.dataset.pipeline.1.scale': (64, 96)})
    path = rewritten(checkpoint, tmp_path, meta={'cfg': config.pretty_text})
    assert config.test_pipeline[1].scale == (64, 64)
    assert ReferringInferencer(path, device='cpu').pipeline.transforms[0].scale == (64, 96)


def test_weights_without_auxiliary_heads(checkpoint, inferencer, pixels, tmp_path):
    weights = {name: value for name, value in torch.load(checkpoint)['state_dict'].items() if 'auxiliary' not in name}
    torch.save(weights, tmp_path / 'plain.pth')
    other = ReferringInferencer(small_settings(), tmp_path / 'plain.pth', 'cpu')
    assert np.array_equal(other(pixels, 'x').mask, inferencer(pixels, 'x').mask)
    with pytest.raises(CheckpointError, match=r'plain\.pth: stores no config .*--config'):
        ReferringInferencer(tmp_path / 'plain.pth')
    with pytest.raises(ConfigError, match='give a checkpoint with it'):
        ReferringInferencer(small_settings())


def test_a_segmentor_that_takes_an_image_for_each_expression(inferencer, pixels, monkeypatch):
    """One of another class, or one whose preprocessor pads, gets repeated images."""
    monkeypatch.setattr(inferencer, '_share_images', False)
    sizes = []
    predict = inferencer.model.predict
    monkeypatch.setattr(inferencer.model, 'predict', lambda *given: sizes.append(len(given[0])) or predict(*given))
    inferencer(pixels, ['a', 'b'])
    assert sizes == [2]


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
