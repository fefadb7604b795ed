"""The contract of decode heads: one that reads words, one that is not sure of a target, and one of mmseg."""

import pytest
import torch
from mmengine.registry import init_default_scope
from mmseg.models.decode_heads import FCNHead
from torch import nn

from mmmagnet.models import Decoded, Features
from mmmagnet.models.decode_heads import MMSegDecodeHead, ReferringDecodeHead
from mmmagnet.models.losses import BCEDiceLoss
from mmmagnet.registry import MODELS
from mmmagnet.utils.errors import ConfigError


@MODELS.register_module(force=True)
class KernelOfTheExpression(ReferringDecodeHead):
    """One map times a vector of the first word; whether there is a target is read off it, too."""

    reads_words = True

    def __init__(self, in_channels, text_channels):
        super().__init__(in_channels, in_channels[-1])
        self.reads_maps = (3,)
        self.kernel = nn.Linear(text_channels, in_channels[-1])
        self.target = nn.Linear(text_channels, 1)
        self.loss_decode = BCEDiceLoss()

    def forward(self, inputs):
        features = self.features(inputs)
        word = features.words[:, 0]
        logits = torch.einsum('bchw,bc->bhw', features.maps[3], self.kernel(word)).unsqueeze(1)
        score = self.target(word).squeeze(1).sigmoid()
        return Decoded(logits=logits, mask_features=features.maps[3], target_score=score)

    def loss_by_feat(self, decoded, gt_masks):
        losses = self.loss_decode(self.resize(decoded.logits.float(), gt_masks.shape[2:]), gt_masks)
        return {**losses, 'loss_target': -decoded.target_score.log().mean()}


@pytest.mark.parametrize('auxiliary', [False, True])
def test_head_that_reads_words(auxiliary, tiny_config, tiny_batch):
    """Words after the last fusion reach it, other maps are frozen, and no other file knows it."""
    tiny_config['decode_head'] = dict(type='KernelOfTheExpression')
    if not auxiliary:
        tiny_config['auxiliary_head'] = None
    model = MODELS.build(tiny_config)
    inputs, samples = tiny_batch()
    losses = model.loss(inputs, samples)
    assert {'decode.loss_bce', 'decode.loss_target'} <= losses.keys()
    sum(value for name, value in losses.items() if 'loss' in name).backward()
    without = {name for name, weight in model.named_parameters() if weight.grad is None}
    assert without == {name for name, weight in model.named_parameters() if not weight.requires_grad}
    assert any(name.startswith('neck.stages.0.mixer') for name in without)
    assert not any(name.startswith('neck.stages.3.text_gate') for name in without)
    assert any(name.startswith('neck.stages.3.gate') for name in without) != auxiliary

    for threshold, empty in ((0.0, False), (1.0, True)):
        model.decode_head.target_threshold = threshold
        with torch.no_grad():
            for sample in model.eval().predict(*tiny_batch()):
                assert 0 < sample.target_score < 1
                assert (sample.seg_logits.data == -20).all() == empty
                assert not (empty and (sample.pred_sem_seg.data.any() or sample.score))


def test_features_without_words():
    maps = [torch.rand(2, 4, 8, 8), torch.rand(2, 6, 4, 4)]
    features = Features.of_maps(maps)
    assert features.image.shape == (2, 4, 4, 6)
    assert features.words.shape == (2, 0, 0)
    assert features.word_mask.shape == (2, 0)
    half = features.of_samples(slice(1, None))
    assert half.maps[1].equal(maps[1][1:]) and half.image.equal(features.image[1:]) and len(half.word_mask) == 1


@pytest.mark.parametrize(('index', 'finest'), [(1, 1), (-1, 2), ((0, 2), 0)])
def test_head_of_mmseg(index, finest):
    """It is given the maps; the finest that it reads are the mask features."""
    init_default_scope('mmseg')
    channels = (4, 6, 8)
    several = isinstance(index, tuple)
    head = FCNHead(
        in_channels=[channels[i] for i in index] if several else channels[index],
        in_index=index,
        input_transform='resize_concat' if several else None,
        channels=4,
        num_classes=2,
    )
    adapted = MMSegDecodeHead(head, channels)
    maps = [torch.rand(2, width, 16 // 2**i, 16 // 2**i) for i, width in enumerate(channels)]
    decoded = adapted.eval()(Features.of_maps(maps))
    assert decoded.logits.equal(head(maps))
    assert decoded.mask_features is maps[finest]
    assert adapted.feat_channels == channels[finest]
    masks = torch.randint(0, 2, (2, 1, 32, 32), dtype=torch.uint8)
    assert adapted.loss_by_feat(decoded, masks).keys() == {'loss_ce', 'acc_seg'}
    assert masks.dtype == torch.uint8


@pytest.mark.parametrize(
    ('head', 'message'),
    [
        (nn.Conv2d(1, 1, 1), 'Conv2d is neither a ReferringDecodeHead nor an AuxiliaryHead nor a decode head of mmseg'),
        (FCNHead(in_channels=4, in_index=0, channels=4, num_classes=19), 'num_classes=19, but pixels are foreground'),
    ],
)
def test_heads_that_do_not_fit(head, message):
    with pytest.raises(ConfigError, match=message):
        MMSegDecodeHead(head, (4, 6))
