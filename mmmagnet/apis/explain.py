"""What a network sees in a sample: attention to words, the predictions of its decoder, guesses of masked words."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mmmagnet.datasets.transforms.expression import TokenizeExpression, load_tokenizer
from mmmagnet.models.decode_heads.magnet_head import MagNetDecoded
from mmmagnet.models.necks.cross_modal_alignment_module import AlignmentModule
from mmmagnet.utils.images import loaded_image


def pack_sample(
    pipeline: Callable[[dict[str, Any]], dict[str, Any]],
    pixels: np.ndarray,
    expression: str,
    mask: np.ndarray | None = None,
) -> dict[str, Any]:
    """An image and an expression as a dataset gives them.

    Args:
        pipeline: The test pipeline without the steps that read files, such as `ReferringInferencer.pipeline`.
        pixels: RGB, (H_0, W_0, 3) uint8.
        expression: The expression.
        mask: The truth, (H_0, W_0) bool; None leaves it out.

    Returns:
        ``inputs``, (3, H, W) uint8, and ``data_samples``, with ``gt_sem_seg`` where there is a mask.
    """
    results = {**loaded_image(pixels), 'sentences': [expression]}
    if mask is not None:
        results |= {'gt_seg_map': mask.astype(np.uint8), 'seg_fields': ['gt_seg_map']}
    return pipeline(results)


def tokens_of(pipeline: Any, sample: dict[str, Any]) -> tuple[list[str], Any]:
    """The real tokens of a sample, and the function from an id to a token."""
    name = next(step.tokenizer for step in pipeline.transforms if isinstance(step, TokenizeExpression))
    vocabulary = load_tokenizer(name).convert_ids_to_tokens
    item = sample['data_samples']
    return vocabulary(item.input_ids[item.word_mask.bool()].tolist()), vocabulary


@torch.no_grad()
def word_attention(model: Any, sample: dict[str, Any]) -> Tensor | None:
    """How much each place of the image reads from each word, after every stage of the encoders.

    Args:
        model: A segmentor in evaluation mode. It is not compiled.
        sample: As `pack_sample` makes it.

    Returns:
        (stages, L, h, w): shares that sum to 1 over the L real words, [CLS] and [SEP] included, at the size of the
        first stage's map. None of a model whose neck has no `AlignmentModule`.

    Example:
        >>> inferencer = ReferringInferencer('work_dirs/tiny/epoch_3.pth')
        >>> sample = pack_sample(inferencer.pipeline, read_image('image.png'), 'the red circle')
        >>> word_attention(inferencer.model, sample).shape
        torch.Size([4, 5, 16, 16])
    """
    stages: list[Tensor] = []

    def keep(module: AlignmentModule, given: tuple[Tensor, Tensor, Tensor]) -> None:
        image, words, word_mask = given
        shares = module.attention.shares(image.flatten(1, 2), words, word_mask)
        stages.append(shares[0].T[word_mask[0].bool()].unflatten(1, image.shape[1:3]))

    modules = [module for module in model.neck.modules() if isinstance(module, AlignmentModule)]
    handles = [module.register_forward_pre_hook(keep) for module in modules]
    try:
        model(**_batch_of(model, sample), mode='tensor')
    finally:
        for handle in handles:
            handle.remove()
    if not stages:
        return None
    size = stages[0].shape[1:]
    return torch.cat([F.interpolate(stage[None], size, mode='bilinear', align_corners=False) for stage in stages])


@torch.no_grad()
def decoder_predictions(model: Any, sample: dict[str, Any]) -> Tensor | None:
    """What every layer of MagNet's decoder predicts.

    Args:
        model: As for `word_attention`.
        sample: As `pack_sample` makes it.

    Returns:
        Probabilities of the foreground (K, H, W) at the network's input size: one prediction before the first layer
        and one after each. None of a decode head that makes a single one.
    """
    batch = _batch_of(model, sample)
    decoded = model(**batch, mode='tensor')
    if not isinstance(decoded, MagNetDecoded):
        return None
    logits = torch.cat([prediction.masks for prediction in decoded.predictions], dim=1)
    return model.decode_head.resize(logits.float(), batch['inputs'].shape[2:])[0].sigmoid()


@torch.no_grad()
def masked_word_probabilities(model: Any, sample: dict[str, Any]) -> tuple[Tensor, Tensor] | None:
    """What Mask Grounding guesses for each word when that word alone is masked.

    Args:
        model: As for `word_attention`, built with its auxiliary heads.
        sample: As `pack_sample` makes it. Without a mask in it, the place of the predicted mask is used.

    Returns:
        Probabilities (W, V) of the vocabulary for each of the W words between [CLS] and [SEP], and the mask that was
        used, (H, W) bool at the network's input size. None of a model without a `MaskGroundingHead`.
    """
    head = model.auxiliary_head.grounding
    if head is None:
        return None
    batch = _batch_of(model, sample)
    inputs, given = batch['inputs'], batch['data_samples'][0]
    input_ids, word_mask = given.input_ids[None], given.word_mask[None]
    if 'gt_sem_seg' in given:
        mask = given.gt_sem_seg.data[None] >= 0.5
    else:
        logits = model.encode_decode(inputs, batch['data_samples'])
        threshold = model.decode_head.threshold
        mask = logits > math.log(threshold / (1 - threshold))
    count = max(int(word_mask.sum()) - 2, 0)
    words = torch.arange(count, device=inputs.device)
    masked = input_ids.repeat(count, 1)
    masked[words, words + 1] = head.mask_token_id
    word_mask = word_mask.repeat(count, 1)
    features = model.extract_feat(inputs.repeat(count, 1, 1, 1), masked, word_mask)
    hidden = head.predict_words(features.words, word_mask, features.image, mask.long().repeat(count, 1, 1, 1))
    return head.classifier(hidden[words, words + 1]).float().softmax(1), mask[0, 0]


def _batch_of(model: Any, sample: dict[str, Any]) -> dict[str, Any]:
    """A sample as a batch of one, normalised and on the model's device."""
    return model.data_preprocessor({name: [value] for name, value in sample.items()}, False)
