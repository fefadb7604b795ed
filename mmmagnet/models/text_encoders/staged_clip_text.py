"""CLIP's text transformer, split into stages so that fusion can sit between them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from mmmagnet.registry import MODELS
from mmmagnet.utils import resolve_model_path

from ..clip_checkpoint import read_clip, rename, text_rules, unstack_text
from ..layers import TextAdapter, checkpointed
from .pretrained import drop_later_layers, fill_encoder, read_weights

OWN = ('adapters.', 'mask_embedding')
"""Beginnings of the entries that no CLIP has."""


@MODELS.register_module()
class StagedClipText(BaseModule):
    """CLIP's text transformer as `stem` and `forward_stage`: a word sees those before it only.

    Its final norm belongs to the last layer: it acts at the end of the first stage that has run all layers.

    Args:
        config: The architecture: keywords of a transformers `CLIPTextConfig` (``{}`` for the text encoder of ViT-B), or
            the name or folder of a CLIP model (``package://module/folder`` for one inside an installed package).
        stage_ends: Number of layers that have run at the end of each stage; the last is the number of layers used.
        mask_token_id: Id of the token that Mask Grounding puts in the place of words. CLIP's vocabulary has no [MASK]:
            by default an id is added behind it, whose embedding is learnt from nothing and never predicted.
        pretrained: Name or folder of pretrained weights of a CLIP model or of its text encoder, or a file (``.pth`` or
            ``.pt``) of CLIP's own state dict. Read by `init_weights` only, so the model builds without files and
            without a network when `config` holds keywords.
        partial: Accept `pretrained` weights that leave some of the encoder untouched. By default that is an error.
        sentence_channels: E, width of the expression's state that `sentence` gives. Default: there is no `sentence`.
        hide_pads: Whether padded words are hidden from the others. CLIP itself hides nothing: a real word sees no pad
            all the same, as pads stand behind it, unless adapters mix neighbours.
        adapter_width: Inner channels of the adapters (DETRIS). With adapters the encoder's own weights are frozen, but
            for an added [MASK].
        adapter_layers: Layers with an adapter, from 0.
        with_cp: Activation checkpointing of its layers: they run again in the backward pass.
        init_cfg: MMEngine initialisation config.

    Raises:
        ValueError: If the encoder has too few layers.

    Example:
        >>> encoder = StagedClipText({}, stage_ends=(3, 6, 9, 12))
        >>> word_mask = torch.ones(1, 4, dtype=torch.long)
        >>> words = encoder.stem(torch.tensor([[49406, 320, 2368, 49407]]), word_mask)
        >>> encoder.forward_stage(0, words, word_mask).shape
        torch.Size([1, 4, 512])
    """

    def __init__(
        self,
        config: dict[str, Any] | str,
        stage_ends: Sequence[int] = (3, 6, 9, 12),
        mask_token_id: int | None = None,
        pretrained: str | None = None,
        partial: bool = False,
        sentence_channels: int | None = None,
        hide_pads: bool = True,
        adapter_width: int = 64,
        adapter_layers: Sequence[int] = (),
        with_cp: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if isinstance(config, str):
            settings = CLIPTextConfig.from_pretrained(resolve_model_path(config))
        else:
            settings = CLIPTextConfig(**config)
        drop_later_layers(settings, stage_ends)
        settings._attn_implementation = 'sdpa'
        model = CLIPTextModel(settings)
        text = getattr(model, 'text_model', model)
        self.embeddings = text.embeddings
        self.layers = text.encoder.layers
        self.final_layer_norm = text.final_layer_norm
        self.stage_ends = tuple(stage_ends)
        self.num_stages = len(stage_ends)
        self.out_channels: int = settings.hidden_size
        self.vocab_size: int = settings.vocab_size
        self.max_tokens: int = settings.max_position_embeddings
        if mask_token_id is None:
            mask_token_id = self.vocab_size
            self.mask_embedding = nn.Parameter(0.02 * torch.randn(self.out_channels))
        self.mask_token_id = mask_token_id
        self.hide_pads = hide_pads
        self.reads_padding = not hide_pads
        self.sentence_channels = sentence_channels
        if sentence_channels is not None:
            self.text_projection = nn.Linear(self.out_channels, sentence_channels, bias=False)
        self.adapters = nn.ModuleDict(
            {str(layer): TextAdapter(self.out_channels, adapter_width) for layer in adapter_layers}
        )
        if adapter_layers:
            for name, parameter in self.named_parameters():
                parameter.requires_grad_(name.startswith(OWN))
        self.pretrained = pretrained
        self.partial = partial
        self.with_cp = with_cp

    def init_weights(self) -> None:
        """Load `pretrained`, where it is given; an added [MASK] and adapters stay as they are.

        Raises:
            CheckpointError: If the weights cannot be loaded, or belong to an encoder of another size.
        """
        super().init_weights()
        if self.pretrained is None:
            return
        if self.pretrained.endswith(('.pt', '.pth')):
            entries = unstack_text(read_clip(self.pretrained))
            weights = rename(entries, text_rules('', ''))
        else:
            projected = self.sentence_channels is not None
            source = CLIPTextModelWithProjection if projected else CLIPTextModel
            weights = read_weights(self.pretrained, source.from_pretrained)
            weights = {
                name.removeprefix('text_model.').removeprefix('encoder.'): value for name, value in weights.items()
            }
        weights |= {name: value for name, value in self.state_dict().items() if name.startswith(OWN)}
        fill_encoder(self, weights, self.pretrained, self.partial)

    def stem(self, input_ids: Tensor, word_mask: Tensor) -> Tensor:
        """Token ids (B, L) and word mask (B, L) -> embedded words (B, L, D)."""
        table = self.embeddings.token_embedding
        if self.mask_token_id < self.vocab_size:
            return self.embeddings(inputs_embeds=table(input_ids))
        masked = input_ids == self.mask_token_id  # an id that the table does not have
        words = torch.where(masked[..., None], self.mask_embedding, table(input_ids.masked_fill(masked, 0)))
        return self.embeddings(inputs_embeds=words)

    def forward_stage(self, stage: int, words: Tensor, word_mask: Tensor) -> Tensor:
        """Run stage 0..3.

        Args:
            stage: Which one.
            words: (B, L, D).
            word_mask: (B, L), 1 = real word; padded words are not attended to.

        Returns:
            (B, L, D).
        """
        first, last = self.stage_ends[stage - 1] if stage else 0, self.stage_ends[stage]
        attended = causal_mask(words.shape[1], words.device)[None, None]
        if self.hide_pads:
            attended = attended & word_mask[:, None, None, :].bool()
        for index in range(first, last):
            words = checkpointed(partial(self._layer, index), words, attended, active=self.with_cp)
        return self.final_layer_norm(words) if first < last == len(self.layers) else words

    def _layer(self, index: int, words: Tensor, attended: Tensor) -> Tensor:
        layer = self.layers[index]
        read = layer.self_attn(layer.layer_norm1(words), attention_mask=attended)[0]
        words = words + read
        update = layer.mlp(layer.layer_norm2(words))
        if str(index) in self.adapters:
            update = update + 0.2 * self.adapters[str(index)](words)
        return words + update

    def sentence(self, words: Tensor, word_mask: Tensor) -> Tensor:
        """The expression's state: its end token, projected as CLIP does.

        Args:
            words: After the last layer, (B, L, D).
            word_mask: (B, L), 1 = real word; the last real word is the end token.

        Returns:
            (B, E), not normalised.
        """
        end = (word_mask.sum(1) - 1).clamp(min=0)
        return self.text_projection(words[torch.arange(words.shape[0], device=words.device), end])


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # kept for training, where autograd refuses to save a tensor of inference mode
def causal_mask(length: int, device: torch.device) -> Tensor:
    """(L, L) bool: whether a word, row, reads another, column: itself and those before it."""
    return torch.ones(length, length, dtype=torch.bool, device=device).tril()
