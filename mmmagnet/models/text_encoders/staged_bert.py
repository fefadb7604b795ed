"""A BERT-type encoder of transformers, cut into stages so that a bridge can sit between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModule
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoConfig, AutoModel

from mmmagnet.registry import MODELS
from mmmagnet.utils import resolve_model_path
from mmmagnet.utils.checkpoint import CheckpointError


@MODELS.register_module()
class StagedBert(BaseModule):
    """BERT and its kin as `stem` and `stage`.

    Args:
        config: The architecture: keywords of a transformers configuration with its ``model_type``, or the name or
            folder of one (``package://module/folder`` for a folder inside an installed package).
        stage_ends: Number of layers that have run at the end of each stage; the last is the number of layers used. With
            the same number for all, the whole encoder runs before the first bridge, as LAVT has it.
        mask_token_id: Id of [MASK] in the vocabulary. Mask Grounding replaces words by it.
        pretrained: Name or folder of pretrained weights. Read by `init_weights` only (MMEngine calls it when a training
            starts), so the model builds without files and without a network when `config` holds keywords.
        partial: Accept `pretrained` weights that leave some of the tower untouched. By default that is an error.
        init_cfg: As of every MMEngine module.

    Raises:
        ValueError: If the encoder has no ``embeddings`` and ``encoder.layer``, or too few layers.
    """

    def __init__(
        self,
        config: dict[str, Any] | str,
        stage_ends: Sequence[int] = (3, 6, 9, 12),
        mask_token_id: int = 103,
        pretrained: str | None = None,
        partial: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if isinstance(config, str):
            settings = AutoConfig.from_pretrained(resolve_model_path(config), trust_remote_code=False)
        else:
            settings = AutoConfig.for_model(**config)
        available = settings.num_hidden_layers
        rising = list(stage_ends) == sorted(stage_ends)
        if not stage_ends or not rising or stage_ends[0] < 0 or stage_ends[-1] > available:
            raise ValueError(f'stage_ends={tuple(stage_ends)}: must not fall, and the encoder has {available} layers')
        settings.num_hidden_layers = stage_ends[-1]
        unfit = f'text encoder {settings.model_type!r}: expected a BERT-type model (embeddings, encoder.layer)'
        try:
            # without the pooler: nothing reads it, and a parameter without gradient stops DDP
            bert = AutoModel.from_config(settings, add_pooling_layer=False, attn_implementation='sdpa')
        except TypeError as error:  # models of other kinds do not know the pooler's keyword
            raise ValueError(unfit) from error
        if not hasattr(bert, 'embeddings') or not hasattr(getattr(bert, 'encoder', None), 'layer'):
            raise ValueError(unfit)
        self.embeddings = bert.embeddings
        self.layers = bert.encoder.layer
        self.stage_ends = tuple(stage_ends)
        self.num_stages = len(stage_ends)
        self.out_channels: int = settings.hidden_size
        self.vocab_size: int = settings.vocab_size
        self.mask_token_id = mask_token_id
        self.pretrained = pretrained
        self.partial = partial

    def init_weights(self) -> None:
        """Load `pretrained`, where it is given.

        Raises:
            CheckpointError: If the weights are not to be had, or belong to an encoder of another size.
        """
        super().init_weights()
        if self.pretrained is None:
            return
        try:
            source, report = AutoModel.from_pretrained(
                resolve_model_path(self.pretrained),
                add_pooling_layer=False,
                output_loading_info=True,
                trust_remote_code=False,
            )
        except (OSError, ValueError, SafetensorError) as error:
            raise CheckpointError(
                f'text_encoder.pretrained={self.pretrained!r}: {str(error).splitlines()[0]}; give the folder of a '
                'downloaded model, or None to start from random weights'
            ) from error
        weights = {
            name.replace('encoder.layer.', 'layers.', 1): value
            for name, value in source.state_dict().items()
            if name not in report['missing_keys']  # transformers makes up what a file lacks
        }
        own = self.state_dict()
        missing = [name for name in own if name not in weights]
        wrong = [name for name in own if name in weights and weights[name].shape != own[name].shape]
        if wrong or len(missing) == len(own) or (missing and not self.partial):
            first = (wrong or missing)[0]
            there = (
                f'{tuple(weights[first].shape)} there' if wrong else 'is missing there; partial=True takes what fits'
            )
            raise CheckpointError(
                f'text_encoder.pretrained={self.pretrained!r} does not fit text_encoder.config: {first} has shape '
                f'{tuple(own[first].shape)} here and {there}'
            )
        self.load_state_dict({name: weights[name] for name in own if name in weights}, strict=False)
        left = f', {len(missing)} left as they were: {", ".join(missing)}' if missing else ''
        print_log(f'text tower: {len(own) - len(missing)} weights from {self.pretrained}{left}', logger='current')

    def stem(self, input_ids: Tensor, word_mask: Tensor) -> Tensor:
        """Token ids (B, L) and word mask (B, L) -> embedded words (B, L, D)."""
        return self.embeddings(input_ids=input_ids)

    def stage(self, stage: int, words: Tensor, word_mask: Tensor) -> Tensor:
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
        for layer in self.layers[first : self.stage_ends[stage]]:
            output = layer(words, attended)
            words = output if isinstance(output, torch.Tensor) else output[0]  # transformers 5 returns the tensor
        return words
