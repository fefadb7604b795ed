"""Staged Swin: patches and their merging written out, and the whole encoder against mmseg's."""

import pytest
import torch
from mmseg.models.backbones import SwinTransformer
from torch.nn.functional import layer_norm

from mmmagnet.models.backbones import StagedSwin
from mmmagnet.models.backbones.staged_swin import PatchEmbedding, PatchMerging

SIZES = dict(embed_dims=8, depths=(1, 2, 1), num_heads=(1, 2, 4), window_size=3)


def stages(backbone, image):
    """What each stage gives, and what the last downsampling makes of it."""
    outputs, image = [], backbone.stem(image)
    for stage in range(backbone.num_stages):
        image = backbone.forward_stage(stage, image)
        outputs.append(image)
        image = backbone.downsample(stage, image)
    return outputs, image


@pytest.mark.parametrize(('height', 'width'), [(8, 4), (6, 7), (3, 9)])
def test_patch_embedding(height, width, randomised):
    layer = randomised(PatchEmbedding(3, 5, 4))
    image = torch.randn(2, 3, height, width, dtype=torch.float64)
    result = layer(image)
    assert result.shape == (2, -(-height // 4), -(-width // 4), 5)
    for row, column in torch.cartesian_prod(*(torch.arange(n) for n in result.shape[1:3])).tolist():
        patch = torch.zeros(2, 3, 4, 4, dtype=torch.float64)
        part = image[:, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
        patch[:, :, : part.shape[2], : part.shape[3]] = part
        token = patch.flatten(1) @ layer.proj.weight.flatten(1).T + layer.proj.bias
        torch.testing.assert_close(result[:, row, column], layer_norm(token, (5,), layer.norm.weight, layer.norm.bias))


@pytest.mark.parametrize(('height', 'width'), [(2, 4), (3, 4), (5, 3), (1, 1)])
def test_patch_merging(height, width, randomised):
    layer = randomised(PatchMerging(3))
    image = torch.randn(2, height, width, 3, dtype=torch.float64)
    result = layer(image)
    assert result.shape == (2, -(-height // 2), -(-width // 2), 6)
    nothing = torch.zeros(2, 3, dtype=torch.float64)
    for row, column in torch.cartesian_prod(*(torch.arange(n) for n in result.shape[1:3])).tolist():
        places = [(2 * row + y, 2 * column + x) for y, x in ((0, 0), (1, 0), (0, 1), (1, 1))]
        token = torch.cat([image[:, y, x] if y < height and x < width else nothing for y, x in places], dim=1)
        token = layer_norm(token, (12,), layer.norm.weight, layer.norm.bias)
        torch.testing.assert_close(result[:, row, column], token @ layer.reduction.weight.T)


def test_stages_are_the_modules_one_after_another():
    backbone = StagedSwin(**SIZES).eval()
    image = torch.randn(1, 3, 30, 18)
    outputs, last = stages(backbone, image)
    tokens = backbone.patch_embed(image)
    for stage, output in enumerate(outputs):
        for block in backbone.stages[stage]:
            tokens = block(tokens)
        torch.testing.assert_close(output, tokens)
        assert output.shape[3] == backbone.out_channels[stage] == 8 * 2**stage
        if stage < 2:
            tokens = backbone.downsamples[stage](tokens)
    assert last is outputs[-1]


def test_odd_blocks_shift_and_paths_drop_more_and_more():
    backbone = StagedSwin(**{**SIZES, 'depths': (2, 3, 1)}, drop_path_rate=0.5)
    blocks = [block for stage in backbone.stages for block in stage]
    assert [block.attn.shift_size for block in blocks] == [0, 1, 0, 1, 0, 0]
    rates = [getattr(block.drop_path, 'drop_prob', 0.0) for block in blocks]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])


@pytest.mark.parametrize('size', [(24, 36), (30, 22), (9, 50)])
def test_same_as_mmseg(size, tmp_path, randomised):
    """With mmseg's weights loaded, its norms put behind our stages give its outputs."""
    theirs = randomised(SwinTransformer(**SIZES, out_indices=(0, 1, 2), drop_path_rate=0.0), scale=0.3)
    theirs.eval()
    torch.save({'state_dict': theirs.state_dict()}, tmp_path / 'swin.pth')
    ours = StagedSwin(**SIZES, pretrained=str(tmp_path / 'swin.pth')).double().eval()
    ours.init_weights()
    image = torch.randn(2, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        for index, (own, their) in enumerate(zip(stages(ours, image)[0], theirs(image), strict=True)):
            norm = getattr(theirs, f'norm{index}')
            torch.testing.assert_close(norm(own).permute(0, 3, 1, 2), their)
