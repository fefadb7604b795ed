"""CARIS's decode head: words and image read each other; a class embedding for each of two classes reads the mask."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmmagnet.registry import MODELS

from ..layers import LateralStep, TwoWayDecoder
from ..structures import Decoded, Features
from .referring_decode_head import ReferringDecodeHead


@MODELS.register_module()
class CARISHead(ReferringDecodeHead):
    """Decode head of CARIS (doi 10.1145/3581783.3612117 [O]).

    Background is what the learned prompts mean after they have read the image, foreground what the word [CLS] means.

    Args:
        in_channels: Channels C_i of the feature maps, fine to coarse.
        text_channels: D, width of the words.
        feat_channels: E, width of the decoder.
        num_layers: Number of two-way layers.
        num_heads: Heads of all attentions.
        num_points: Points of the deformable attention per head and scale.
        num_prompts: Number of learned prompts.
        num_groups: Groups of the GroupNorms.
        loss_decode: Loss of the logits. Default: `CEDiceLoss` without Dice.
        init_cfg: MMEngine initialisation config.

    Example:
        >>> head = CARISHead(in_channels=(32, 64, 128, 256), text_channels=48, feat_channels=64, num_layers=2)
        >>> maps = [torch.rand(2, 32 * 2**i, 16 // 2**i, 16 // 2**i) for i in range(4)]
        >>> words, word_mask = torch.rand(2, 7, 48), torch.ones(2, 7, dtype=torch.long)
        >>> head(Features(maps, maps[-1].permute(0, 2, 3, 1), words, word_mask)).logits.shape
        torch.Size([2, 2, 16, 16])
    """

    reads_words = True

    def __init__(
        self,
        in_channels: Sequence[int],
        text_channels: int,
        feat_channels: int = 256,
        num_layers: int = 6,
        num_heads: int = 8,
        num_points: int = 4,
        num_prompts: int = 5,
        num_groups: int = 32,
        loss_decode: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(in_channels, feat_channels, init_cfg)
        width = feat_channels
        self.two_way_decoder = TwoWayDecoder(
            in_channels[1:], text_channels, width, num_layers, num_heads, num_points, num_prompts, num_groups
        )
        self.finest = LateralStep(in_channels[0], width, num_groups)
        convolutions = [nn.Conv2d(width, width, 1) for _ in range(3)]
        self.mask_features = nn.Sequential(convolutions[0], nn.ReLU(), convolutions[1], nn.ReLU(), convolutions[2])
        linears = [nn.Linear(width, width) for _ in range(3)]
        self.class_embed = nn.Sequential(linears[0], nn.ReLU(), linears[1], nn.ReLU(), linears[2])
        self.loss_decode = MODELS.build(loss_decode or dict(type='CEDiceLoss'))

    def forward(self, inputs: Features | Sequence[Tensor]) -> Decoded:
        """Decode features."""
        features = self.features(inputs)
        maps, words, prompts = self.two_way_decoder(features.maps[1:], features.words, features.word_mask)
        mask_features = self.mask_features(self.finest(features.maps[0], maps[-1]))
        classes = self.class_embed(torch.stack([prompts.mean(1), words[:, 0]], dim=1))  # background, foreground
        logits = torch.einsum('bce,behw->bchw', classes, mask_features)
        return Decoded(logits=logits, mask_features=mask_features)

    def loss_by_feat(self, decoded: Decoded, gt_masks: Tensor) -> dict[str, Tensor]:
        """Loss of the logits, at the size of the ground truth."""
        return self.loss_decode(self.resize(decoded.logits.float(), gt_masks.shape[2:]), gt_masks)
