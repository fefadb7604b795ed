"""Heads of CARIS and ReLA: what their classes are read from, what is emptied, and their losses."""

import pytest
import torch
from torch.nn.functional import cross_entropy, interpolate

from mmmagnet.models.decode_heads import CARISHead, ReLAHead
from mmmagnet.models.decode_heads.rela_head import minimap_target
from mmmagnet.models.structures import Features

CHANNELS, TEXT = (8, 16, 24, 32), 6
SIZES = dict(in_channels=CHANNELS, text_channels=TEXT, feat_channels=16, num_heads=4, num_groups=4)


def features():
    maps = [torch.randn(2, channels, 16 >> i, 16 >> i) for i, channels in enumerate(CHANNELS)]
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    return Features(maps, maps[-1].permute(0, 2, 3, 1), torch.randn(2, 4, TEXT), mask)


def weighted(logits, labels):
    return cross_entropy(logits, labels, torch.tensor([0.9, 1.1]))


def truth():
    masks = torch.zeros(2, 1, 40, 40, dtype=torch.long)
    masks[0, 0, :20, 10:40] = 1
    return masks  # nothing in the second


def test_classes_of_caris():
    head, given = CARISHead(**SIZES, num_layers=1), features()
    decoded = head(given)
    decoder = head.two_way_decoder(given.maps[1:], given.words, given.word_mask)
    background, foreground = head.class_embed(decoder[2].mean(1)), head.class_embed(decoder[1][:, 0])
    for index, embed in enumerate((background, foreground)):
        expected = (embed[:, :, None, None] * decoded.mask_features).sum(1)
        torch.testing.assert_close(decoded.logits[:, index], expected)
    assert decoded.target_score is None
    expected = weighted(interpolate(decoded.logits, (40, 40), mode='bilinear', align_corners=True), truth()[:, 0])
    losses = head.loss_by_feat(decoded, truth())
    assert losses.keys() == {'loss_ce'}
    torch.testing.assert_close(losses['loss_ce'], expected)


def test_losses_of_rela():
    head = ReLAHead(**SIZES, num_queries=16, decoder_layers=2, decoder_ffn=8, pixel_decoder_layers=1)
    decoded = head(features())
    losses = head.loss_by_feat(decoded, truth())
    masks = interpolate(decoded.logits, (40, 40), mode='bilinear', align_corners=False)
    covered = torch.zeros(2, 4, 4, dtype=torch.long)
    covered[0, :2, 1:] = 1
    prediction = decoded.prediction
    torch.testing.assert_close(losses['loss_ce'], 5 * weighted(masks, truth()[:, 0]))
    torch.testing.assert_close(
        losses['loss_minimap'], 0.5 * weighted(prediction.minimap.flatten(0, 1), covered.flatten())
    )
    torch.testing.assert_close(losses['loss_target'], 0.5 * weighted(prediction.no_target, torch.tensor([0, 1])))


@pytest.mark.parametrize('threshold', [0.0, 0.5, 1.0])
def test_masks_without_a_target(threshold):
    head = ReLAHead(**SIZES, num_queries=4, decoder_layers=1, pixel_decoder_layers=1, target_threshold=threshold)
    decoded = head(features())
    decoded.target_score = torch.tensor([0.6, 0.2])
    logits = head.predict_by_feat(decoded, (40, 40))
    empty = [bool((sample == -20).all()) for sample in logits]
    assert empty == [score < threshold for score in (0.6, 0.2)]


@pytest.mark.parametrize(
    ('size', 'side', 'rows', 'expected'),
    [
        (480, 10, (0, 240), 5),  # cell a reads rows 48a + 23 and 48a + 24
        (480, 10, (24, 240), 4),
        (480, 10, (23, 25), 1),
        (480, 10, (23, 24), 0),
        (96, 10, (0, 96), 10),  # all ones stay ones, whatever rounding does
    ],
)
def test_minimap_target(size, side, rows, expected):
    masks = torch.zeros(1, 1, size, size, dtype=torch.long)
    masks[:, :, rows[0] : rows[1]] = 1
    target = minimap_target(masks, side).view(side, side)
    assert target.sum(0).tolist() == [expected] * side


def test_number_of_regions():
    with pytest.raises(ValueError, match='num_queries=50 is no square number'):
        ReLAHead(**SIZES, num_queries=50)
