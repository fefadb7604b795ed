"""CARIS's released checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .converter import Converter, Rules, resize_model, taps
from .filling import make_boxes, make_inputs
from .lavt import BERT_UNUSED, SWIN, SWIN_UNUSED, image_encoder

GRADIENT = 'grad/'
"""Beginning of the arrays that hold gradients; a released entry follows."""

WIDE = '(words_read_image|words_self|image_reads_words)'

DECODER: Rules = [
    (r'^pixel_decoder\.input_convs\.(\d)\.conv\.', r'decode_head.two_way_decoder.projections.\1.0.'),
    (r'^pixel_decoder\.input_convs\.(\d)\.gn\.', r'decode_head.two_way_decoder.projections.\1.1.'),
    (r'^pixel_decoder\.encoder\.', 'decode_head.two_way_decoder.layers.'),
    (r'\.v2l_cross_attn\.', '.words_read_image.'),
    (r'\.lang_self_attn\.', '.words_self.'),
    (r'\.l2v_cross_attn\.', '.image_reads_words.'),
    (r'\.vis_self_attn\.', '.image_self.'),
    (rf'\.{WIDE}\.q_proj\.', r'.\1.query.'),
    (rf'\.{WIDE}\.k_proj\.', r'.\1.key.'),
    (rf'\.{WIDE}\.v_proj\.', r'.\1.value.'),
    (rf'\.{WIDE}\.out_proj\.', r'.\1.out.'),
    (r'\.lang_mlp\.fc1\.', '.words_mlp.0.'),
    (r'\.lang_mlp\.fc2\.', '.words_mlp.2.'),
    (r'\.vis_mlp\.fc1\.', '.image_mlp.0.'),
    (r'\.vis_mlp\.fc2\.', '.image_mlp.2.'),
    (r'\.l_norm1\.', '.words_norms.0.'),
    (r'\.l_norm2\.', '.words_norms.1.'),
    (r'\.l_norm3\.', '.words_norms.2.'),
    (r'\.v_norm2\.', '.image_norms.0.'),  # in the order in which they run
    (r'\.v_norm1\.', '.image_norms.1.'),
    (r'\.v_norm3\.', '.image_norms.2.'),
    (r'\.gamma_v2l$', '.words_scale'),
    (r'\.gamma_l2v$', '.image_scale'),
    (r'^pixel_decoder\.level_encoding\.weight$', 'decode_head.two_way_decoder.level_embed'),
    (r'^pixel_decoder\.lang_in_linear\.', 'decode_head.two_way_decoder.word_proj.0.'),
    (r'^pixel_decoder\.lang_in_norm\.', 'decode_head.two_way_decoder.word_proj.1.'),
    (r'^pixel_decoder\.vis_prompts\.weight$', 'decode_head.two_way_decoder.prompts'),
    (r'^pixel_decoder\.lateral_convs\.0\.', 'decode_head.finest.lateral.'),
    (r'^pixel_decoder\.output_convs\.0\.', 'decode_head.finest.output.'),
    (r'^pixel_decoder\.mask_feature\.', 'decode_head.mask_features.'),
    (r'^pixel_decoder\.lang_embed\.', 'decode_head.class_embed.'),
]


def prepare(entries: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Released entries with the factors gamma, (1, 1, E), as vectors."""
    return {name: value.flatten() if '.gamma_' in name else value for name, value in entries.items()}


def resize(model: dict[str, Any], sizes: Mapping[str, Any]) -> dict[str, Any]:
    """CARIS at other sizes."""
    sizes = {'num_layers' if name == 'decoder_layers' else name: value for name, value in sizes.items()}
    parts = {'backbone': SWIN, 'decode_head': ('feat_channels', 'num_layers')}
    return resize_model(model, sizes, parts)


def arrays(model: Any, settings: Mapping[str, Any]) -> dict[str, Tensor]:
    """What a parity case of CARIS expects; gradients of the entries that ``settings['arrays']`` names."""
    head, decoder = model.decode_head, model.decode_head.two_way_decoder
    first = decoder.layers[0]
    image, input_ids, word_mask = make_inputs(settings)
    boxes = [[(slice(top, bottom), slice(left, right))] for top, left, bottom, right in settings['mask_boxes']]
    watched = {
        'prompts': model.neck.prompt_norm,
        'text_features': model.text_encoder.layers[-1],
        'class_embeddings': head.class_embed,
        'first_words_read_image': first.words_norms[0],
        'first_words_self': first.words_norms[1],
        'first_image_read_words': first.image_norms[0],
        'first_image_self': first.image_norms[1],
        **{f'layer_{index}': layer for index, layer in enumerate(decoder.layers, start=1)},
    }
    given: list[tuple] = []
    handle = first.register_forward_pre_hook(lambda _, inputs: given.append(inputs))
    model.zero_grad()
    try:
        with taps(watched) as seen:
            features = model.extract_feat(image, input_ids, word_mask)
            decoded = head(features)
    finally:
        handle.remove()
    loss = torch.stack([*head.loss_by_feat(decoded, make_boxes(settings, boxes)).values()]).sum()
    loss.backward()
    (text,) = seen['text_features']
    text = text if isinstance(text, Tensor) else text[0]  # a tuple before transformers 5
    layers = [given[0][:2], *(seen[f'layer_{index}'][0] for index in range(1, len(decoder.layers) + 1))]
    found = {
        **{f'image_s{stage}': part[:, :16] for stage, part in enumerate(features.maps, start=1)},
        'prompts': seen['prompts'][0][:, :, ::8],
        'text_features': text[:, :, ::8],
        'positions': given[0][3][None, :, ::8],
        **{f'decoder_image_{index}': tokens[:, :, ::8] for index, (tokens, _) in enumerate(layers)},
        **{f'decoder_words_{index}': words[:, :, ::8] for index, (_, words) in enumerate(layers)},
        **{name: parts[0][:, :, ::8] for name, parts in seen.items() if name.startswith('first_')},
        'mask_features': decoded.mask_features[:, ::8],
        'class_embeddings': seen['class_embeddings'][0],
        'logits': decoded.logits,
        'logits_input_size': head.resize(decoded.logits, image.shape[2:])[:, :, ::5, ::5],
        'loss': loss,
        **gradients(model, settings['arrays']),
    }
    return {name: value.detach() for name, value in found.items()}


def gradients(model: Any, names: list[str]) -> dict[str, Tensor]:
    """Gradients by the names of arrays, in the shapes of the released entries."""
    weights = dict(model.named_parameters())
    found = {}
    for name in names:
        entry = CARIS.rename(name.removeprefix(GRADIENT))
        if name.startswith(GRADIENT) and entry in weights:
            gradient = weights[entry].grad
            found[name] = gradient[None, None] if '.gamma_' in name else gradient
    return found


CARIS = Converter(
    kind='caris',
    config='caris/caris_swin_b_refcoco.py',
    marker=r'backbone\.vis_encoder\.',
    rules=[
        *image_encoder(r'backbone\.vis_encoder'),
        (r'^backbone\.vis_encoder\.norm(\d)\.', r'neck.norms.\1.'),
        (r'^backbone\.lang_encoder\.encoder\.layer\.', 'text_encoder.layers.'),
        (r'^backbone\.lang_encoder\.', 'text_encoder.'),
        (r'^backbone\.conditional_prompts\.in_linears\.(\d)\.', r'neck.prompters.\1.0.'),
        (r'^backbone\.conditional_prompts\.out_linears\.(\d)\.', r'neck.prompters.\1.2.'),
        (r'^backbone\.conditional_prompts\.lang_prompts\.weight$', 'neck.prompts'),
        (r'^backbone\.conditional_prompts\.lang_prompts_norm\.', 'neck.prompt_norm.'),
        *DECODER,
    ],
    # a checkpoint of MaskRIS has the mask token, a trained network the loss's class weights
    unused=rf'backbone\.vis_encoder\.({SWIN_UNUSED}|mask_token)|backbone\.lang_encoder\.{BERT_UNUSED}|criterion\..*',
    resize=resize,
    arrays=arrays,
    tolerance=5e-5,
    tolerances={r'loss$': 1e-5, GRADIENT: 2e-2},
    prepare=prepare,
)
