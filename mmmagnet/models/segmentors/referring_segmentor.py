"""The whole network: two encoders, the fusion between them, a decode head and auxiliary heads."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.structures import PixelData
from mmseg.models import BaseSegmentor
from torch import Tensor

from mmmagnet.registry import MODELS
from mmmagnet.utils.errors import ConfigError

from ..aux_heads import AuxiliaryHeads, AuxiliaryInputs
from ..backbones import build_image_encoder
from ..builder import build_part
from ..data_preprocessor import ReferringPreProcessor
from ..decode_heads import MMSegDecodeHead, ReferringDecodeHead
from ..necks import FusionNeck
from ..self_distillation import MaskRIS, running_statistics_kept
from ..structures import Decoded, Features
from .encoding import ENCODINGS
from .restoring import restore_letterboxed


@MODELS.register_module()
class ReferringSegmentor(BaseSegmentor):
    """Segments the one thing an expression refers to.

    Widths are discovered: a part whose constructor names `in_channels`, `image_channels`, `text_channels`,
    `sentence_channels`, `feat_channels`, `vocab_size` or `mask_token_id` gets it from the others where its config
    leaves it out.

    Args:
        backbone: Staged image encoder, or any backbone that `StagedBackbone` can split into stages.
        text_encoder: Staged text encoder with as many stages.
        neck: Fusion of the two after each stage, a `FusionNeck`.
        decode_head: A `ReferringDecodeHead`, or a decode head of mmseg, which is given the maps.
        auxiliary_head: Heads that exist in training only (`AuxiliaryHeads`).
        encoding: Order in which the encoders are run: ``'interleaved'`` (MagNet, LAVT, ReLA), ``'image_first'`` (CARIS)
            or ``'text_first'`` (CRIS, DETRIS).
        self_distillation: A `MaskRIS`, which also trains on a second, masked run of each batch.
        data_preprocessor: Normalises images and stacks the batch.
        compile: Options of `torch.compile` for both encoders and the neck, such as ``dict(mode='max-autotune')`` or
            ``{}``; None runs them as they are.
        init_cfg: MMEngine initialisation config.
        pretrained: None, to which mmseg's `init_model` sets it. Each encoder has a `pretrained` of its own.
        train_cfg: None, likewise.

    Raises:
        ValueError: If a part is missing, `pretrained` or `train_cfg` is given, or the encoders have different numbers
            of stages.

    Example:
        >>> init_default_scope('mmseg')
        >>> config = Config.fromfile('configs/magnet_tiny_synthetic.py')
        >>> model = MODELS.build(config.model)
        >>> losses = model.loss(inputs, data_samples)
        >>> masks = [sample.pred_sem_seg.data for sample in model.predict(inputs, data_samples)]
    """

    def __init__(
        self,
        backbone: dict,
        text_encoder: dict,
        neck: dict,
        decode_head: dict,
        auxiliary_head: dict | list[dict] | None = None,
        encoding: str = 'interleaved',
        self_distillation: dict | None = None,
        data_preprocessor: dict | None = None,
        compile: dict | None = None,
        init_cfg: dict | None = None,
        pretrained: None = None,
        train_cfg: None = None,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        if pretrained is not None or train_cfg is not None:
            raise ValueError(
                f'pretrained={pretrained!r}, train_cfg={train_cfg!r}: set model.backbone.pretrained or '
                'model.text_encoder.pretrained; a training is set by train_cfg outside the model'
            )
        needed = {'backbone': backbone, 'text_encoder': text_encoder, 'neck': neck, 'decode_head': decode_head}
        for name, part in needed.items():
            if part is None:
                raise ValueError(
                    f'{name}=None: a ReferringSegmentor has a backbone, text_encoder, neck and decode_head'
                )
        if encoding not in ENCODINGS:
            raise ValueError(f'encoding={encoding!r}: expected one of {", ".join(ENCODINGS)}')
        self.encode = ENCODINGS[encoding]
        interleaved = encoding == 'interleaved'
        text: Any = MODELS.build(text_encoder)  # before the backbone, which may read words
        known: dict[str, Any] = {
            'text_channels': text.out_channels,
            'sentence_channels': text.sentence_channels,
            'vocab_size': text.vocab_size,
            'mask_token_id': text.mask_token_id,
        }
        self.backbone: Any = build_image_encoder(backbone) if interleaved else build_part(backbone, known)
        self.text_encoder = text
        if interleaved and self.backbone.num_stages != text.num_stages:
            raise ValueError(
                f'backbone has {self.backbone.num_stages} stages and text_encoder {text.num_stages}: '
                'set as many stage_ends'
            )
        known['image_channels'] = self.backbone.out_channels
        self.neck: Any = build_part(neck, known)
        known['in_channels'] = self.neck.out_channels
        known['image_channels'] = self.backbone.out_channels[-1]
        head = build_part(decode_head, known)
        if not isinstance(head, ReferringDecodeHead):
            head = MMSegDecodeHead(head, self.neck.out_channels)
        self.decode_head: ReferringDecodeHead = head
        known['feat_channels'] = self.decode_head.feat_channels
        self.auxiliary_head = AuxiliaryHeads(auxiliary_head, known)
        self.self_distillation: MaskRIS | None = None
        if self_distillation is not None:
            self.self_distillation = build_part(self_distillation, known)
            if self.auxiliary_head.grounding is not None and not self.auxiliary_head.extra_masked_pass:
                raise ValueError('self_distillation has a masked run: set extra_masked_pass=True of MaskGroundingHead')
        heads = [self.decode_head, *self.auxiliary_head]
        if isinstance(self.neck, FusionNeck):
            self.neck.freeze_unread(
                maps={index for head in heads for index in head.reads_maps},
                image=any(head.reads_image for head in heads),
                words=any(head.reads_words for head in heads),
            )
        self._check_padding()
        if compile is not None:
            # as a partial, so that a copy of the network runs with the copy's weights
            encoders = torch.compile(type(self).extract_feat, **compile)
            self.extract_feat = partial(encoders, self)  # type: ignore[method-assign]

    def extract_feat(
        self, inputs: Tensor, input_ids: Tensor, word_mask: Tensor, image_index: Tensor | None = None
    ) -> Features:
        """Run both encoders and their fusion, in the order of `encoding` (encoding.py).

        Args:
            inputs: Normalised images (M, 3, H, W).
            input_ids: Token ids (B, L).
            word_mask: (B, L), 1 = real word.
            image_index: Each expression's image, (B,) int64 from 0 to M - 1. None where M = B, in the same order.

        Returns:
            Features of B expressions.
        """
        return self.encode(self.backbone, self.text_encoder, self.neck, inputs, input_ids, word_mask, image_index)

    def loss(self, inputs: Tensor, data_samples: list) -> dict[str, Tensor]:
        """Losses of a batch.

        Args:
            inputs: Normalised images (M, 3, H, W).
            data_samples: B, with `input_ids`, `word_mask`, `gt_sem_seg` of the input's size and, where M < B,
                `image_index`.
        """
        input_ids, word_mask = stack_words(data_samples)
        index = stack_image_index(data_samples)
        masked = self.auxiliary_head.mask_words(input_ids, word_mask)
        distillation, student = self.self_distillation, None
        if distillation is not None:
            features = self.extract_feat(inputs, input_ids, word_mask, index)
            masked_ids = distillation.mask_words(input_ids, word_mask) if masked is None else masked.input_ids
            with running_statistics_kept(self):
                grounded = self.extract_feat(distillation.mask_image(inputs), masked_ids, word_mask, index)
                student = self.decode_head(grounded)
        elif masked is None:
            features = grounded = self.extract_feat(inputs, input_ids, word_mask, index)
        elif not self.auxiliary_head.extra_masked_pass:
            features = grounded = self.extract_feat(inputs, masked.input_ids, word_mask, index)
        else:  # both passes as one batch: no part of the encoders mixes samples, unless it has a BatchNorm
            both = self.extract_feat(
                inputs.repeat(2, 1, 1, 1),
                torch.cat([input_ids, masked.input_ids]),
                word_mask.repeat(2, 1),
                None if index is None else torch.cat([index, index + len(inputs)]),
            )
            features, grounded = both.of_samples(slice(len(input_ids))), both.of_samples(slice(len(input_ids), None))
        gt_masks = torch.stack([sample.gt_sem_seg.data for sample in data_samples])
        decoded: Decoded = self.decode_head(features)
        losses = {f'decode.{name}': value for name, value in self.decode_head.loss_by_feat(decoded, gt_masks).items()}
        if distillation is not None and student is not None:
            losses = distillation.loss(losses, decoded.logits, student.logits)
        losses |= self.auxiliary_head.loss(
            AuxiliaryInputs(
                words=features.words,
                word_mask=word_mask,
                image=features.image,
                gt_masks=gt_masks,
                mask_features=decoded.mask_features,
                masked_words=masked,
                grounded_words=grounded.words,
                grounded_image=grounded.image,
                maps=features.maps,
            )
        )
        return losses

    def predict(self, inputs: Tensor, data_samples: list) -> list:
        """Masks of a batch.

        Args:
            inputs: Normalised images (M, 3, H, W).
            data_samples: B, with `input_ids`, `word_mask`, the metainfo `img_shape` and `ori_shape` and, where M < B,
                `image_index` (scalar int64 tensor, the place of its image in `inputs`). Expressions of an image then
                share what no text reaches.

        Returns:
            The data samples with ``seg_logits`` (PixelData, (1, H, W): foreground logits at the input's size),
            ``probability`` (PixelData, (1, H_0, W_0) at the original size, of the foreground), ``pred_sem_seg``
            (PixelData, (1, H_0, W_0) uint8: 1 where the probability is over the decode head's threshold), ``score``
            (scalar tensor, mean foreground probability inside that mask, 0 where it is empty) and, of a head that tells
            whether there is a target, ``target_score`` (scalar tensor, its probability).
        """
        decoded: Decoded = self.decode_head(self._features_of(inputs, data_samples))
        head = self.decode_head
        logits = head.predict_by_feat(decoded, inputs.shape[2:])
        for index, (sample, logit) in enumerate(zip(data_samples, logits, strict=True)):
            logit = without_padding(logit, sample.metainfo)
            size = sample.metainfo.get('ori_shape', logit.shape[1:])
            if square := sample.metainfo.get('letterbox'):
                own = head.predict_by_feat(decoded, decoded.logits.shape[2:])[index]
                probability = restore_letterboxed(own, square, size)
                mask = probability > head.threshold
            else:
                # the squash maps pixel areas onto each other: corners are not aligned
                full = F.interpolate(logit[None], tuple(size[:2]), mode='bilinear', align_corners=False)[0]
                probability = full.sigmoid()
                mask = full > math.log(head.threshold / (1 - head.threshold))
            sample.set_data(
                {
                    'seg_logits': PixelData(data=logit),
                    'probability': PixelData(data=probability),
                    'pred_sem_seg': PixelData(data=mask.to(torch.uint8)),
                    'score': (probability * mask).sum() / mask.sum().clamp(min=1),
                }
            )
            if decoded.target_score is not None:
                sample.set_data({'target_score': decoded.target_score[index]})
        return data_samples

    def encode_decode(self, inputs: Tensor, batch_data_samples: list) -> Tensor:
        """Foreground logits (B, 1, H, W) at the input's size, in fp32."""
        decoded = self.decode_head(self._features_of(inputs, batch_data_samples))
        return self.decode_head.predict_by_feat(decoded, inputs.shape[2:])

    def _forward(self, inputs: Tensor, data_samples: list | None = None) -> Decoded:
        """What the decode head makes of a batch, without post-processing."""
        return self.decode_head(self._features_of(inputs, data_samples))

    def _check_padding(self) -> None:
        """Refuse a preprocessor that cuts padded words off where a part reads them."""
        if not (isinstance(self.data_preprocessor, ReferringPreProcessor) and self.data_preprocessor.trim_words):
            return
        for name in ('text_encoder', 'neck', 'decode_head'):
            if getattr(self, name).reads_padding:
                raise ValueError(f'{name} reads padded words: set model.data_preprocessor.trim_words=False')

    def _features_of(self, inputs: Tensor, data_samples: list | None) -> Features:
        words = stack_words(data_samples)
        return self.extract_feat(inputs, *words, stack_image_index(data_samples))


def stack_words(data_samples: list | None) -> tuple[Tensor, Tensor]:
    """Token ids and word masks of a batch, each (B, L).

    Raises:
        ConfigError: If a sample has none.
    """
    if not data_samples or any('input_ids' not in sample or 'word_mask' not in sample for sample in data_samples):
        raise ConfigError(
            'data_samples carry no input_ids and word_mask: TokenizeExpression and PackReferringInputs are missing in '
            'the pipeline'
        )
    return (
        torch.stack([sample.input_ids for sample in data_samples]),
        torch.stack([sample.word_mask for sample in data_samples]),
    )


def stack_image_index(data_samples: list | None) -> Tensor | None:
    """Place of each expression's image in the batch, (B,) int64; None where sample i has image i."""
    if not data_samples or 'image_index' not in data_samples[0]:
        return None
    return torch.stack([sample.image_index for sample in data_samples])


def without_padding(logit: Tensor, meta: dict[str, Any]) -> Tensor:
    """Logits (1, H, W) less what a preprocessor padded at test time, as (left, right, top, bottom) pixels."""
    left, right, top, bottom = meta.get('img_padding_size', meta.get('padding_size', (0, 0, 0, 0)))
    height, width = logit.shape[1:]
    return logit[:, top : height - bottom, left : width - right]
