"""The orders in which the two encoders can be run.

Several expressions may share an image: `image_index` names the image of each, and what no text has reached yet is
computed once for an image.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..structures import Features


def encode_interleaved(
    backbone: Any,
    text_encoder: Any,
    neck: Any,
    inputs: Tensor,
    input_ids: Tensor,
    word_mask: Tensor,
    image_index: Tensor | None = None,
) -> Features:
    """Stage by stage, with a fusion after each: MagNet, LAVT, ReLA. Images share the stem and the first stage."""
    maps = []
    image, words = backbone.stem(inputs), text_encoder.stem(input_ids, word_mask)
    for stage in range(backbone.num_stages):
        image = backbone.forward_stage(stage, image)
        if stage == 0:
            image = per_expression(image, image_index)
        words = text_encoder.forward_stage(stage, words, word_mask)
        feature, image, words = neck.fuse(stage, image, words, word_mask)
        maps.append(feature)
        image = backbone.downsample(stage, image)
    return Features(maps, image, words, word_mask)


def encode_image_first(
    backbone: Any,
    text_encoder: Any,
    neck: Any,
    inputs: Tensor,
    input_ids: Tensor,
    word_mask: Tensor,
    image_index: Tensor | None = None,
) -> Features:
    """The image, then the words beside prompts that tell of the image: CARIS. Images share their encoder and neck."""
    maps, prompts = neck.prompt(backbone(inputs))
    maps, prompts = [per_expression(image, image_index) for image in maps], per_expression(prompts, image_index)
    words = text_encoder.stem(input_ids, word_mask)
    length = words.shape[1]
    words = torch.cat([words, prompts.to(words.dtype)], dim=1)
    attended = F.pad(word_mask, (0, prompts.shape[1]), value=1)
    for stage in range(text_encoder.num_stages):
        words = text_encoder.forward_stage(stage, words, attended)
    return Features(maps, maps[-1].permute(0, 2, 3, 1), words[:, :length], word_mask)


def encode_text_first(
    backbone: Any,
    text_encoder: Any,
    neck: Any,
    inputs: Tensor,
    input_ids: Tensor,
    word_mask: Tensor,
    image_index: Tensor | None = None,
) -> Features:
    """The words and the state of the expression, then the image: CRIS, DETRIS.

    Images share their encoder, unless it reads the words, as DETRIS's does.
    """
    words = text_encoder.stem(input_ids, word_mask)
    for stage in range(text_encoder.num_stages):
        words = text_encoder.forward_stage(stage, words, word_mask)
    sentence = text_encoder.sentence(words, word_mask)
    if backbone.reads_words:
        maps = backbone(per_expression(inputs, image_index), words)
    else:
        maps = [per_expression(image, image_index) for image in backbone(inputs)]
    return Features(neck(maps, sentence), maps[-1].permute(0, 2, 3, 1), words, word_mask, sentence)


def per_expression(images: Tensor, image_index: Tensor | None) -> Tensor:
    """What is known of M images, (M, ...), for each of B expressions, (B, ...).

    Args:
        images: Images, maps or tokens.
        image_index: Each expression's image, (B,) int64; None where expression i has image i.
    """
    return images if image_index is None else images[image_index]


ENCODINGS = {
    'interleaved': encode_interleaved,
    'image_first': encode_image_first,
    'text_first': encode_text_first,
}
