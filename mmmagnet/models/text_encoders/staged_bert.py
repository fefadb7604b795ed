"""A BERT-type encoder of transformers, split into stages so that fusion can sit between them."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn
from transformers import MODEL_MAPPING, AutoConfig, AutoModel

from mmmagnet.registry import MODELS
from mmmagnet.utils import resolve_model_path

from ..layers import checkpointed, freeze
from .pretrained import drop_later_layers, fill_encoder, read_weights

# id of [MASK] in the published vocabularies of each kind
_MASK_TOKENS = {'bert': 103, 'electra': 103, 'roberta': 50264, 'xlm-roberta': 250001}


@MODELS.register_module()
class StagedBert(BaseModule):
    """BERT and its kin (MiniLM, RoBERTa, ELECTRA) as `stem` and `forward_stage`.

    Args:
        config: The architecture: keywords of a transformers configuration with its ``model_type``, or the name or
            folder of one (``package://module/folder`` for a folder inside an installed package).
        stage_ends: Number of layers that have run at the end of each stage; the last is the number of layers used. With
            the same number for all, the whole encoder runs before the first fusion, as in LAVT.
        mask_token_id: Id of [MASK] in the vocabulary. Mask Grounding replaces words by it. Default: that of the
            published vocabularies of the ``model_type``; None where there is none or `config` has fewer words.
        pretrained: Name or folder of pretrained weights. Read by `init_weights` only (MMEngine calls it when a training
            starts), so the model builds without files and without a network when `config` holds keywords.
        partial: Accept `pretrained` weights that leave some of the encoder untouched. By default that is an error.
        trained_layers: Train only the first so many layers, and not the embeddings, as ReLA does. Default: train all.
        with_cp: Activation checkpointing of its layers: they run again in the backward pass.
        init_cfg: MMEngine initialisation config.

    Raises:
        ValueError: If the encoder is not ``embeddings`` and ``encoder.layer`` alone, or has too few layers, or
            `mask_token_id` is not in its vocabulary.

    Example:
        >>> sizes = dict(hidden_size=32, num_hidden_layers=4, num_attention_heads=4, intermediate_size=64)
        >>> encoder = StagedBert(dict(model_type='bert', **sizes), stage_ends=(1, 2, 3, 4))
        >>> word_mask = torch.ones(1, 5, dtype=torch.long)
        >>> words = encoder.stem(torch.tensor([[101, 1996, 2417, 2482, 102]]), word_mask)
        >>> encoder.forward_stage(0, words, word_mask).shape
        torch.Size([1, 5, 32])
    """

    def __init__(
        self,
        config: dict[str, Any] | str,
        stage_ends: Sequence[int] = (3, 6, 9, 12),
        mask_token_id: int | None = None,
        pretrained: str | None = None,
        partial: bool = False,
        trained_layers: int | None = None,
        with_cp: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if isinstance(config, str):
            settings = AutoConfig.from_pretrained(resolve_model_path(config), trust_remote_code=False)
        else:
            settings = AutoConfig.for_model(**config)
        drop_later_layers(settings, stage_ends)
        bert = AutoModel.from_config(settings, **_without_pooler(settings))
        parts = ('embeddings.', 'embeddings_project.', 'encoder.layer.')
        others = [name for name, _ in bert.named_parameters() if not name.startswith(parts)]
        if others or not hasattr(bert, 'embeddings') or not hasattr(getattr(bert, 'encoder', None), 'layer'):
            raise ValueError(
                f'text encoder {settings.model_type!r}: expected a BERT-type model (embeddings, encoder.layer)'
                + (f'; it has {others[0]} beside them' if others else '')
            )
        self.embeddings = bert.embeddings
        # ELECTRA's embeddings may be narrower than its layers
        self.embeddings_project = getattr(bert, 'embeddings_project', nn.Identity())
        self.layers = bert.encoder.layer
        if trained_layers is not None:
            freeze(self.embeddings, self.embeddings_project, *self.layers[trained_layers:])
        self.sentence_channels: int | None = None
        self.reads_padding = False
        self.stage_ends = tuple(stage_ends)
        self.num_stages = len(stage_ends)
        self.out_channels: int = settings.hidden_size
        self.vocab_size: int = settings.vocab_size
        places = getattr(self.embeddings, 'position_embeddings', None)
        unused = 0 if places is None or places.padding_idx is None else places.padding_idx + 1  # RoBERTa's first two
        self.max_tokens: int | None = None if places is None else places.num_embeddings - unused
        if mask_token_id is None:
            published = _MASK_TOKENS.get(settings.model_type)
            mask_token_id = published if published is not None and published < self.vocab_size else None
        elif not 0 <= mask_token_id < self.vocab_size:
            raise ValueError(f'mask_token_id={mask_token_id}: the vocabulary has {self.vocab_size} words')
        self.mask_token_id = mask_token_id
        self._options = _without_pooler(settings)
        # ELECTRA's attention, before transformers 5, adds the mask to the similarities
        self._adds_mask = bert.config._attn_implementation == 'eager'
        self.pretrained = pretrained
        self.partial = partial
        self.with_cp = with_cp

    def init_weights(self) -> None:
        """Load `pretrained`, where it is given.

        Raises:
            CheckpointError: If the weights cannot be loaded, or belong to an encoder of another size.
        """
        super().init_weights()
        if self.pretrained is not None:
            weights = read_weights(self.pretrained, AutoModel.from_pretrained, **self._options)
            weights = {name.replace('encoder.layer.', 'layers.', 1): value for name, value in weights.items()}
            fill_encoder(self, weights, self.pretrained, self.partial)

    def stem(self, input_ids: Tensor, word_mask: Tensor) -> Tensor:
        """Token ids (B, L) and word mask (B, L) -> embedded words (B, L, D)."""
        return self.embeddings_project(self.embeddings(input_ids=input_ids))

    def forward_stage(self, stage: int, words: Tensor, word_mask: Tensor) -> Tensor:
        """Run stage 0..3.

        Args:
            stage: Which one.
            words: (B, L, D).
            word_mask: (B, L), 1 = real word; padded words are not attended to.

        Returns:
            (B, L, D).
        """
        first = self.stage_ends[stage - 1] if stage else 0
        attended = word_mask[:, None, None, :].bool()
        if self._adds_mask:
            attended = words.new_zeros(attended.shape).masked_fill(~attended, torch.finfo(words.dtype).min)
        for layer in self.layers[first : self.stage_ends[stage]]:
            output = checkpointed(layer, words, attended, active=self.with_cp)
            words = output if isinstance(output, torch.Tensor) else output[0]  # transformers 5 returns the tensor
        return words


def _without_pooler(settings: Any) -> dict[str, bool]:
    """Build without the pooler, where there may be one: nothing reads it, and unused parameters stop DDP."""
    model = MODEL_MAPPING[type(settings)]
    known = 'add_pooling_layer' in inspect.signature(model.__init__).parameters
    return {'add_pooling_layer': False} if known else {}
