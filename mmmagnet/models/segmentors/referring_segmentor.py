"""The whole network: two encoders, the alignment modules between them, a decode head and the heads of training."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from mmengine.structures import PixelData
from mmseg.models import BaseSegmentor
from torch import Tensor

from mmmagnet.registry import MODELS

from ..aux_heads import AuxiliaryHeads
from ..backbones import build_image_encoder
from ..builder import build_part


class Features(NamedTuple):
    """What the bridged encoders give.

    Attributes:
        maps: Decoder features (B, C_i, H_i, W_i), one for each stage, fine to coarse.
        image: The image encoder's map after the last alignment module, (B, H_4, W_4, C_4).
        words: The words after the last alignment module, (B, L, D).
    """

    maps: list[Tensor]
    image: Tensor
    words: Tensor


@MODELS.register_module()
class ReferringSegmentor(BaseSegmentor):
    """Segments the one thing an expression refers to.

    Widths are discovered: a part whose constructor names `in_channels`, `image_channels`, `text_channels`,
    `feat_channels`, `vocab_size` or `mask_token_id` gets it from the others where its config leaves it out.

    Args:
        backbone: Staged image encoder, or any backbone that `StagedBackbone` cuts into one.
        text_encoder: Staged text encoder with as many stages.
        neck: Alignment modules between them.
        decode_head: Feature maps -> foreground logits; `MagNetHead` or any mmseg decode head.
        auxiliary_head: Heads of training (`AuxiliaryHeads`); one without `requires` is an mmseg head on the feature
            maps. What a decode head of mmseg lacks, mask features, is the neck's finest map.
        data_preprocessor: Normalises images and stacks the batch.
        train_cfg: Handed to mmseg heads.
        test_cfg: Handed to mmseg heads.
        compile: Options of `torch.compile` for both encoders and their alignment modules, such as ``dict(mode='max-autotune')`` or
            ``{}``; None runs them as they are.
        init_cfg: As of every MMEngine module.
    """

    def __init__(
        self,
        backbone: dict,
        text_encoder: dict,
        neck: dict,
        decode_head: dict,
        auxiliary_head: dict | list[dict] | None = None,
        data_preprocessor: dict | None = None,
        train_cfg: dict | None = None,
        test_cfg: dict | None = None,
        compile: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        needed = {'backbone': backbone, 'text_encoder': text_encoder, 'neck': neck, 'decode_head': decode_head}
        for name, part in needed.items():
            if part is None:
                raise ValueError(
                    f'{name}=None: a ReferringSegmentor has a backbone, text_encoder, neck and decode_head'
                )
        self.backbone: Any = build_image_encoder(backbone)
        self.text_encoder: Any = MODELS.build(text_encoder)
        if self.backbone.num_stages != self.text_encoder.num_stages:
            raise ValueError(
                f'backbone has {self.backbone.num_stages} stages and text_encoder {self.text_encoder.num_stages}: '
                'set as many stage_ends'
            )
        known: dict[str, Any] = {
            'image_channels': self.backbone.out_channels,
            'text_channels': self.text_encoder.out_channels,
            'vocab_size': self.text_encoder.vocab_size,
            'mask_token_id': self.text_encoder.mask_token_id,
        }
        self.neck: Any = build_part(neck, known)
        known['in_channels'] = self.neck.out_channels
        known['image_channels'] = self.backbone.out_channels[-1]
        self.decode_head: Any = build_part(decode_head, known)
        if getattr(self.decode_head, 'num_classes', 2) not in (1, 2):
            raise ValueError(
                f'decode_head: num_classes={self.decode_head.num_classes}, but pixels are foreground or not; set 2'
            )
        known['feat_channels'] = getattr(self.decode_head, 'feat_channels', self.neck.out_channels[0])
        self.auxiliary_head: Any = AuxiliaryHeads(auxiliary_head, known)
        self.train_cfg = train_cfg
        self.test_cfg = test_cfg or {}
        if getattr(self.neck, 'official_compat', False):  # the release's statistics are over pads, too
            self.data_preprocessor.trim_words = False
        if compile is not None:
            # as a partial, so that a copy of the network runs with the copy's weights
            encoders = torch.compile(type(self).extract_feat, **compile)
            self.extract_feat = partial(encoders, self)  # type: ignore[method-assign]

    def extract_feat(self, inputs: Tensor, input_ids: Tensor, word_mask: Tensor) -> Features:
        """Run both encoders with their alignment modules.

        Args:
            inputs: Normalised images (B, 3, H, W).
            input_ids: Token ids (B, L).
            word_mask: (B, L), 1 = real word.
        """
        maps = []
        image, words = self.backbone.stem(inputs), self.text_encoder.stem(input_ids, word_mask)
        for stage in range(self.backbone.num_stages):
            image, words = (
                self.backbone.forward_stage(stage, image),
                self.text_encoder.forward_stage(stage, words, word_mask),
            )
            feature, image, words = self.neck.fuse(stage, image, words, word_mask)
            maps.append(feature)
            image = self.backbone.downsample(stage, image)
        return Features(maps, image, words)

    def loss(self, inputs: Tensor, data_samples: list) -> dict[str, Tensor]:
        """Losses of a batch.

        Args:
            inputs: Normalised images (B, 3, H, W).
            data_samples: With `input_ids`, `word_mask` and `gt_sem_seg` of the input's size.
        """
        input_ids, word_mask = stack_words(data_samples)
        masked = self.auxiliary_head.mask_words(input_ids, word_mask)
        if masked is None:
            features = grounded = self.extract_feat(inputs, input_ids, word_mask)
        elif not self.auxiliary_head.extra_masked_pass:
            features = grounded = self.extract_feat(inputs, masked.input_ids, word_mask)
        else:  # both passes as one batch: no part of the encoders mixes samples, unless it has a BatchNorm
            both = self.extract_feat(
                inputs.repeat(2, 1, 1, 1), torch.cat([input_ids, masked.input_ids]), word_mask.repeat(2, 1)
            )
            size = len(inputs)
            features = Features([feature[:size] for feature in both.maps], both.image[:size], both.words[:size])
            grounded = Features([feature[size:] for feature in both.maps], both.image[size:], both.words[size:])

        tensors: dict[str, Any] = {
            'words': features.words,
            'word_mask': word_mask,
            'image': features.image,
            'gt_masks': torch.stack([sample.gt_sem_seg.data for sample in data_samples]),
            'masked_words': masked,
            'grounded_words': grounded.words,
            'grounded_image': grounded.image,
            'mask_features': features.maps[0],
        }
        own = hasattr(self.decode_head, 'feat_channels')  # a head whose mask features others may read
        if not own or not all(hasattr(head, 'requires') for head in self.auxiliary_head):
            for sample in data_samples:  # the losses of mmseg ask for int64
                sample.gt_sem_seg.data = sample.gt_sem_seg.data.long()
        losses: dict[str, Tensor] = {}
        if own:
            decoded = self.decode_head(features.maps)
            tensors['mask_features'] = decoded.mask_features
            losses.update(add_prefix('decode', self.decode_head.loss_by_feat(decoded, data_samples)))
        else:
            losses.update(add_prefix('decode', self.decode_head.loss(features.maps, data_samples, self.train_cfg)))
        for index, head in enumerate(self.auxiliary_head):
            if not hasattr(head, 'requires'):  # a decode head of mmseg
                losses.update(add_prefix(f'aux_{index}', head.loss(features.maps, data_samples, self.train_cfg)))
        losses.update(self.auxiliary_head.loss(**tensors))
        # what leaves the last alignment module may have no reader; kept in the graph so that DDP sees its gradient (zero)
        first = next(name for name in losses if 'loss' in name)
        losses[first] = losses[first] + 0 * (features.words.float().mean() + features.image.float().mean())
        return losses

    def predict(self, inputs: Tensor, data_samples: list) -> list:
        """Masks of a batch.

        Args:
            inputs: Normalised images (B, 3, H, W).
            data_samples: With `input_ids`, `word_mask` and the metainfo `img_shape` and `ori_shape`.

        Returns:
            The data samples with ``seg_logits`` (PixelData, (1, H, W): foreground logits at the input's size) and
            ``pred_sem_seg`` (PixelData, (1, H_0, W_0) uint8 at the original size: 1 where the probability is over 0.5),
            and, of a head that tells whether there is a target, ``target_score`` (float, its probability).
        """
        logits = self.encode_decode(inputs, data_samples)
        for sample, logit in zip(data_samples, logits, strict=True):
            size = sample.metainfo.get('ori_shape', logit.shape[1:])
            # the squash maps pixel areas onto each other: corners are not aligned
            full = F.interpolate(logit[None], tuple(size[:2]), mode='bilinear', align_corners=False)[0]
            sample.set_data(
                {
                    'seg_logits': PixelData(data=logit),
                    'pred_sem_seg': PixelData(data=(full > 0).to(torch.uint8)),
                }
            )
        return data_samples

    def encode_decode(self, inputs: Tensor, batch_data_samples: list) -> Tensor:
        """Foreground logits (B, 1, H, W) at the input's size, in fp32; `target_score` goes to the data samples."""
        features = self._features_of(inputs, batch_data_samples)
        metas = [{**sample.metainfo, 'img_shape': tuple(inputs.shape[2:])} for sample in batch_data_samples]
        if getattr(self.decode_head, 'no_target', False):
            decoded = self.decode_head(features.maps)
            for sample, score in zip(batch_data_samples, self.decode_head.target_scores(decoded).tolist(), strict=True):
                sample.set_data({'target_score': score})
            return self.decode_head.predict_by_feat(decoded, metas).float()
        logits = self.decode_head.predict(features.maps, metas, self.test_cfg).float()
        return logits if logits.shape[1] == 1 else logits[:, 1:2] - logits[:, 0:1]

    def _forward(self, inputs: Tensor, data_samples: list | None = None) -> Any:
        """What the decode head makes of a batch, without post-processing."""
        return self.decode_head(self._features_of(inputs, data_samples).maps)

    def _features_of(self, inputs: Tensor, data_samples: list | None) -> Features:
        return self.extract_feat(inputs, *stack_words(data_samples))


def stack_words(data_samples: list | None) -> tuple[Tensor, Tensor]:
    """Token ids and word masks of a batch, each (B, L).

    Raises:
        ValueError: If a sample has none.
    """
    if not data_samples or any('input_ids' not in sample or 'word_mask' not in sample for sample in data_samples):
        raise ValueError(
            'data_samples carry no input_ids and word_mask: TokenizeExpression and PackReferringInputs are missing in '
            'the pipeline'
        )
    return (
        torch.stack([sample.input_ids for sample in data_samples]),
        torch.stack([sample.word_mask for sample in data_samples]),
    )


def add_prefix(prefix: str, losses: dict[str, Tensor]) -> dict[str, Tensor]:
    """Put `prefix.` before the names of some losses."""
    return {f'{prefix}.{name}': value for name, value in losses.items()}
