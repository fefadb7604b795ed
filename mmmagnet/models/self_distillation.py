"""MaskRIS: what the network sees of a masked image is trained towards what it sees of the whole one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmmagnet.registry import MODELS

from .aux_heads.mask_grounding_head import choose_words
from .decode_heads.referring_decode_head import foreground_logit


@MODELS.register_module()
class MaskRIS:
    """Self-distillation on a masked image and masked words ("MaskRIS", arXiv 2411.19067) [O].

    Each step runs the network twice: on the batch as it is, against the ground truth, and on a masked image with masked
    words, against the foreground that the first run predicted. Beside Mask Grounding, that head's masked words are used
    and its loss reads the second run. It costs twice the time of a step, and holds the activations of both runs.

    Args:
        vocab_size: Number of token ids, from which random words are drawn.
        mask_token_id: Id of [MASK]; None is right for `word_ratio=0` alone.
        patch_size: Side of the square patches that are masked, pixels [O].
        image_ratio: Share of the patches of an image that become 0, its mean colour [O].
        word_ratio: Probability of choosing each real word [O].
        masked_share: Share of the chosen words that become [MASK] [O].
        random_share: Share of the chosen words that become a random id; the rest stays [O].
        seg_weight: Factor of the decode head's losses; 1 less this is the factor of the distillation [O].
        class_weight: Weights of background and foreground in the distillation [O].

    Raises:
        ValueError: If a ratio, a share or a weight is out of range, or [MASK] is not known.

    Example:
        >>> model = dict(type='ReferringSegmentor', self_distillation=dict(type='MaskRIS', image_ratio=0.75))
    """

    def __init__(
        self,
        vocab_size: int,
        mask_token_id: int | None,
        patch_size: int = 32,
        image_ratio: float = 0.75,
        word_ratio: float = 0.15,
        masked_share: float = 0.8,
        random_share: float = 0.1,
        seg_weight: float = 0.5,
        class_weight: tuple[float, float] = (0.9, 1.1),
    ) -> None:
        ratios = dict(image_ratio=image_ratio, word_ratio=word_ratio, masked_share=masked_share)
        ratios |= dict(random_share=random_share, seg_weight=seg_weight)
        for name, ratio in ratios.items():
            if not 0 <= ratio <= 1:
                raise ValueError(f'MaskRIS: {name}={ratio}: expected 0 to 1')
        if masked_share + random_share > 1:
            raise ValueError(
                f'MaskRIS: masked_share={masked_share} and random_share={random_share}: expected a sum of at most 1'
            )
        if word_ratio and mask_token_id is None:
            raise ValueError('MaskRIS: the vocabulary has no known [MASK]; set mask_token_id of text_encoder')
        self.vocab_size, self.mask_token_id = vocab_size, mask_token_id
        self.patch_size, self.image_ratio = patch_size, image_ratio
        self.word_ratio, self.masked_share, self.random_share = word_ratio, masked_share, random_share
        self.seg_weight, self.class_weight = seg_weight, class_weight

    def mask_image(self, inputs: Tensor) -> Tensor:
        """Images (B, 3, H, W) with `image_ratio` of the patches of each set to 0.

        Raises:
            ValueError: If `patch_size` does not divide H and W.
        """
        height, width = inputs.shape[2:]
        size = self.patch_size
        if height % size or width % size:
            raise ValueError(f'MaskRIS: patch_size={size} does not divide the image of {height} x {width} pixels')
        rows, columns = height // size, width // size
        kept = int(rows * columns * (1 - self.image_ratio))
        order = torch.rand(len(inputs), rows * columns).argsort(1).to(inputs.device, non_blocking=True)
        visible = (order < kept).view(-1, 1, rows, columns).to(inputs.dtype)
        return inputs * F.interpolate(visible, scale_factor=size, mode='nearest')

    def mask_words(self, input_ids: Tensor, word_mask: Tensor) -> Tensor:
        """Token ids (B, L), some of them [MASK] or random; [CLS], [SEP] and pads stay.

        Args:
            input_ids: (B, L).
            word_mask: (B, L), 1 = real word.
        """
        chosen, word = choose_words(input_ids, word_mask, self.word_ratio)
        share = torch.rand(chosen.shape).to(input_ids.device, non_blocking=True)
        drawn = torch.randint(self.vocab_size, chosen.shape).to(input_ids.device, non_blocking=True)
        original = input_ids.flatten()[chosen]
        mask_token = torch.full_like(original, self.mask_token_id or 0)
        changed = torch.where(share < self.masked_share, mask_token, drawn.to(original.dtype))
        stays = ~word | (share >= self.masked_share + self.random_share)
        return input_ids.flatten().scatter(0, chosen, torch.where(stays, original, changed)).view_as(input_ids)

    def loss(self, losses: dict[str, Tensor], teacher: Tensor, student: Tensor) -> dict[str, Tensor]:
        """Losses of the whole batch, weighted, and the distillation.

        Args:
            losses: The decode head's losses in the first run.
            teacher: Logits (B, 1 or 2, h, w) of the first run, taken as constant.
            student: Logits of the second run, alike.
        """
        weighted = {name: self.seg_weight * value if 'loss' in name else value for name, value in losses.items()}
        one, other = (foreground_logit(logits.float()) for logits in (teacher.detach(), student))
        target = one.sigmoid()
        background, foreground = self.class_weight
        # log softmax of two classes is the log-sigmoid of their difference; the mean is over pixels, not weights [O]
        distillation = -(
            foreground * target * F.logsigmoid(other) + background * (1 - target) * F.logsigmoid(-other)
        ).mean()
        return weighted | {'loss_distillation': (1 - self.seg_weight) * distillation}


@contextmanager
def running_statistics_kept(module: nn.Module) -> Iterator[None]:
    """Batch norms use the batch's statistics, but do not move their running ones towards masked images."""
    norms = [norm for norm in module.modules() if isinstance(norm, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
