"""The orders in which the two encoders can be run."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..structures import Features


def encode_interleaved(
    backbone: Any, text_encoder: Any, neck: Any, inputs: Tensor, input_ids: Tensor, word_mask: Tensor
) -> Features:
    """Stage by stage, with a fusion after each: MagNet, LAVT, ReLA."""
    maps = []
    image, words = backbone.stem(inputs), text_encoder.stem(input_ids, word_mask)
    for stage in range(backbone.num_stages):
        image = backbone.forward_stage(stage, image)
        words = text_encoder.forward_stage(stage, words, word_mask)
        feature, image, words = neck.fuse(stage, image, words, word_mask)
        maps.append(feature)
        image = backbone.downsample(stage, image)
    return Features(maps, image, words, word_mask)


def encode_image_first(
    backbone: Any, text_encoder: Any, neck: Any, inputs: Tensor, input_ids: Tensor, word_mask: Tensor
) -> Features:
    """The image, then the words beside prompts that tell of the image: CARIS."""
    maps, prompts = neck.prompt(backbone(inputs))
    words = text_encoder.stem(input_ids, word_mask)
    length = words.shape[1]
    words = torch.cat([words, prompts.to(words.dtype)], dim=1)
    attended = F.pad(word_mask, (0, prompts.shape[1]), value=1)
    for stage in range(text_encoder.num_stages):
        words = text_encoder.forward_stage(stage, words, attended)
    return Features(maps, maps[-1].permute(0, 2, 3, 1), words[:, :length], word_mask)


def encode_text_first(
    backbone: Any, text_encoder: Any, neck: Any, inputs: Tensor, input_ids: Tensor, word_mask: Tensor
) -> Features:
    """The words and the state of the expression, then the image, which may read the words: CRIS, DETRIS."""
    words = text_encoder.stem(input_ids, word_mask)
    for stage in range(text_encoder.num_stages):
        words = text_encoder.forward_stage(stage, words, word_mask)
    sentence = text_encoder.sentence(words, word_mask)
    maps = backbone(inputs, words) if backbone.reads_words else backbone(inputs)
    return Features(neck(maps, sentence), maps[-1].permute(0, 2, 3, 1), words, word_mask, sentence)


ENCODINGS = {
    'interleaved': encode_interleaved,
    'image_first': encode_image_first,
    'text_first': encode_text_first,
}
