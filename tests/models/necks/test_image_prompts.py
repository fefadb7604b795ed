"""Prompts of the image: their order, their formula, and what the text encoder does with them."""

import pytest
import torch

from mmmagnet.models.necks import ImagePrompts
from mmmagnet.registry import MODELS

CHANNELS, TEXT = (3, 4, 5, 6), 7


def maps(size=8):
    return [torch.randn(2, channels, size >> stage, size >> stage) for stage, channels in enumerate(CHANNELS)]


@pytest.mark.parametrize(('pool_sizes', 'size'), [((1, 2), 16), ((1, 2), 24), ((2,), 16), ((1,), 8)])
def test_formula(pool_sizes, size):
    neck, inputs = ImagePrompts(CHANNELS, TEXT, pool_sizes), maps(size)
    for norm in neck.norms:
        torch.nn.init.normal_(norm.weight)
    features, prompts = neck.prompt(inputs)
    for norm, feature, image in zip(neck.norms, features, inputs, strict=True):
        torch.testing.assert_close(feature[1, :, 0, 0], norm(image[1, :, 0, 0]))
    coarse, tokens = features[-1], []
    for pooled, prompter in zip(pool_sizes, neck.prompters, strict=True):
        side = coarse.shape[2]
        for row in range(pooled):
            for column in range(pooled):
                rows = slice(row * side // pooled, -(-(row + 1) * side // pooled))
                columns = slice(column * side // pooled, -(-(column + 1) * side // pooled))
                tokens.append(prompter(coarse[:, :, rows, columns].mean((2, 3))))
    torch.testing.assert_close(prompts, neck.prompt_norm(torch.stack(tokens, 1) + neck.prompts))


def test_first_values():
    neck = ImagePrompts((64, 64, 64, 64), 64)
    for linear in (neck.prompters[0][0], neck.prompters[1][2]):
        assert 0.018 < linear.weight.std() < 0.022 and not linear.bias.any()
    assert 0.8 < neck.prompts.std() < 1.2


def test_words_see_the_image(tiny_config, tiny_batch):
    """Another image changes the words, and where it lies in it; prompts take no place of theirs."""
    tiny_config |= dict(encoding='image_first', auxiliary_head=None)
    tiny_config['neck'] = dict(type='ImagePrompts')
    tiny_config['decode_head'] = dict(type='CARISHead', feat_channels=32, num_layers=1, num_groups=8, num_heads=4)
    model = MODELS.build(tiny_config).eval()
    inputs, samples = tiny_batch()
    ids, mask = (torch.stack([sample.get(name) for sample in samples]) for name in ('input_ids', 'word_mask'))
    with torch.no_grad():
        one, mirrored = model.extract_feat(inputs, ids, mask), model.extract_feat(inputs.flip(3), ids, mask)
    assert one.words.shape == (*ids.shape, 32)
    assert (one.words - mirrored.words).abs().max() > 1e-4
    assert one.image.equal(one.maps[-1].permute(0, 2, 3, 1))
