"""Mask Grounding: predict masked words from the rest of the expression, the image and the place of the mask."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from mmengine.dist import all_reduce, get_world_size
from mmengine.logging import MessageHub
from torch import Tensor, nn

from mmmagnet.registry import MODELS

from ..layers import sine_positions_1d, sine_positions_2d
from .auxiliary_head import AuxiliaryHead, AuxiliaryInputs, MaskedWords

MAX_WORDS = 128
"""Learned positions of words."""

MAP_SIDE = 15
"""Side of the map that has a learned position for each place: stage 4 of a 480 x 480 image. Others are interpolated."""


@MODELS.register_module()
class MaskGroundingHead(AuxiliaryHead):
    """The paper's Mask Grounding [P]; numbers marked there are [R].

    It exists in training only and works on any text and image tokens: `mask_words` before the text encoder, `loss`
    after it.

    Args:
        text_channels: D, width of the words.
        image_channels: C_4, width of the image tokens.
        vocab_size: Size of the vocabulary that is predicted.
        mask_token_id: Id of [MASK], whose embedding in the text encoder is the learnable masked word.
        mask_prob: Probability of choosing each real word [R].
        unmasked_prob: Probability of leaving a chosen word as it is [R].
        extra_masked_pass: Whether masked words run through the encoders in a second pass, for this head alone.
            Otherwise they run in the only pass and also drive the segmentation [R].
        num_layers: Transformer layers of the predictor [A].
        num_heads: Heads of each [A].
        width: Width of the predictor; None is D, without a projection of the words [A].
        ffn_width: Hidden width of its FFNs; None is `width` [A].
        bert_style: Whether positions are learned, norms have BERT's eps, and BERT's prediction head guesses the words
            [A]. Otherwise positions are sines and one linear layer guesses them.
        dropout: Dropout of the predictor [A].
        loss_weight: Factor of the loss.
        loss_weight_warmup_iters: Steps over which the factor grows linearly to `loss_weight`, counted by the runner.
        init_cfg: MMEngine initialisation config.

    Raises:
        ValueError: If `mask_token_id` is None, or a probability or a weight is out of range.

    Example:
        >>> head = MaskGroundingHead(text_channels=768, image_channels=1024, vocab_size=30522, mask_token_id=103)
        >>> masked = head.mask_words(input_ids, word_mask)
        >>> words, image = encoders(inputs, masked.input_ids, word_mask)
        >>> given = dict(words=words, word_mask=word_mask, image=image, gt_masks=gt_masks, masked_words=masked)
        >>> losses = head.loss(AuxiliaryInputs(**given))
    """

    reads_image = True
    reads_words = True

    def __init__(
        self,
        text_channels: int,
        image_channels: int,
        vocab_size: int,
        mask_token_id: int | None,
        mask_prob: float = 0.15,
        unmasked_prob: float = 0.1,
        extra_masked_pass: bool = False,
        num_layers: int = 8,
        num_heads: int = 8,
        width: int | None = 512,
        ffn_width: int | None = 3072,
        bert_style: bool = True,
        dropout: float = 0.1,
        loss_weight: float = 1.0,
        loss_weight_warmup_iters: int = 0,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if mask_token_id is None:
            raise ValueError('MaskGroundingHead: the vocabulary has no known [MASK]; set mask_token_id of text_encoder')
        for name, ratio in (('mask_prob', mask_prob), ('unmasked_prob', unmasked_prob)):
            if not 0 <= ratio <= 1:
                raise ValueError(f'{name}={ratio}: expected a probability, 0 to 1')
        self.mask_token_id = mask_token_id
        self.mask_prob, self.unmasked_prob = mask_prob, unmasked_prob
        self.extra_masked_pass = extra_masked_pass
        if loss_weight < 0 or loss_weight_warmup_iters < 0:
            raise ValueError(
                f'loss_weight={loss_weight}, loss_weight_warmup_iters={loss_weight_warmup_iters}: '
                'expected numbers from 0'
            )
        self.loss_weight = loss_weight
        self.loss_weight_warmup_iters = loss_weight_warmup_iters
        self.text_proj = nn.Identity() if width is None else nn.Linear(text_channels, width)
        width = width or text_channels
        self.mask_encoder = nn.Sequential(nn.Linear(2, width), nn.LayerNorm(width), nn.Linear(width, width), nn.GELU())
        self.image_proj = nn.Linear(image_channels, width)
        self.type_embed = nn.Parameter(0.02 * torch.randn(3, width))  # text, image, mask
        eps = 1e-12 if bert_style else 1e-5
        layer = nn.TransformerEncoderLayer(
            width, num_heads, ffn_width or width, dropout, activation='gelu', layer_norm_eps=eps, batch_first=True
        )
        self.predictor = nn.TransformerEncoder(layer, num_layers, enable_nested_tensor=False)
        self.classifier: nn.Module = nn.Linear(width, vocab_size)
        self.bert_style = bert_style
        if bert_style:
            self.word_position_embeddings = nn.Parameter(0.02 * torch.randn(MAX_WORDS, width))
            self.image_position_embeddings = nn.Parameter(0.02 * torch.randn(1, width, MAP_SIDE, MAP_SIDE))
            transform = [nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width, eps=eps)]
            self.classifier = nn.Sequential(*transform, self.classifier)

    def mask_words(self, input_ids: Tensor, word_mask: Tensor) -> MaskedWords:
        """Choose real words and mask most of them; [CLS], [SEP] and pads are never chosen.

        Args:
            input_ids: (B, L), each row [CLS] words [SEP] pads. In a row that was
                truncated to L, and so lost its [SEP], the last word is not chosen either.
            word_mask: (B, L), 1 = real word.
        """
        chosen, word = choose_words(input_ids, word_mask, self.mask_prob)
        kept = (torch.rand(chosen.shape) < self.unmasked_prob).to(input_ids.device, non_blocking=True)
        original = input_ids.flatten()[chosen]
        masked = input_ids.flatten().scatter(
            0, chosen, torch.where(word & ~kept, torch.full_like(original, self.mask_token_id), original)
        )
        return MaskedWords(
            input_ids=masked.view_as(input_ids), positions=chosen, target=original.masked_fill(~word, -100)
        )

    def loss(self, inputs: AuxiliaryInputs) -> dict[str, Tensor]:
        """Cross-entropy of the chosen words.

        Args:
            inputs: With `masked_words`; with `extra_masked_pass` the words and the image map of that pass, too.

        Returns:
            ``loss_grounding``: scalar, weighted. Its average over all processes is the mean over the chosen words of
            the whole batch. Without a chosen word it is zero, and every parameter still gets a gradient, of zeros.
            ``acc_grounding``: percentage of this process's chosen words that are guessed right.

        Raises:
            TypeError: If no words were masked, or the extra pass was left out.
        """
        masked_words, words, image = inputs.masked_words, inputs.words, inputs.image
        if masked_words is None:
            raise TypeError('MaskGroundingHead reads masked_words: hand what mask_words returned to AuxiliaryInputs')
        if self.extra_masked_pass:
            if inputs.grounded_words is None or inputs.grounded_image is None:
                raise TypeError(
                    'extra_masked_pass=True: hand grounded_words and grounded_image of the pass on the masked words to '
                    'AuxiliaryInputs, or set extra_masked_pass=False'
                )
            words, image = inputs.grounded_words, inputs.grounded_image
        hidden = self.predict_words(words, inputs.word_mask, image, inputs.gt_masks)
        logits = self.classifier(hidden.flatten(0, 1)[masked_words.positions]).float()
        target = masked_words.target
        count = (target >= 0).sum().float()
        correct = (logits.argmax(1) == target).sum()
        scored = count.clone()
        if get_world_size() > 1:
            all_reduce(scored, 'mean')  # so that the mean over processes is the mean over words
        loss = F.cross_entropy(logits, target, ignore_index=-100, reduction='sum') / scored.clamp(
            min=1 / get_world_size()
        )
        weight = self.loss_weight
        if self.loss_weight_warmup_iters:
            done = MessageHub.get_current_instance().get_info(
                'iter', self.loss_weight_warmup_iters
            )  # steps of the runner
            weight *= min(1, (done + 1) / self.loss_weight_warmup_iters)
        return {
            'loss_grounding': weight * loss,
            'acc_grounding': 100 * correct / count.clamp(min=1),
        }

    def predict_words(self, words: Tensor, word_mask: Tensor, image: Tensor, gt_masks: Tensor) -> Tensor:
        """Hidden states (B, L, D) from which masked words are predicted; see `AuxiliaryInputs` for the arguments."""
        length, (height, map_width) = words.shape[1], image.shape[1:3]
        word_positions, image_positions = self._positions(length, height, map_width, words.device)
        words = self.text_proj(words) + word_positions + self.type_embed[0]
        pixels = self.image_proj(image.flatten(1, 2)) + image_positions + self.type_embed[1]
        place = self.mask_encoder(mask_centre(gt_masks)).unsqueeze(1) + self.type_embed[2]
        tokens = torch.cat([words, pixels.to(words.dtype), place.to(words.dtype)], dim=1)
        hidden_tokens = F.pad(word_mask == 0, (0, tokens.shape[1] - length))
        return self.predictor(tokens, src_key_padding_mask=hidden_tokens)[:, :length]

    def _positions(self, length: int, height: int, map_width: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Positions of words (L, D) and of the image map (H_4 * W_4, D)."""
        if not self.bert_style:
            width = self.type_embed.shape[1]
            words, image = sine_positions_1d(length, width, device), sine_positions_2d(height, map_width, width, device)
            return words, image
        if length > MAX_WORDS:
            raise ValueError(f'MaskGroundingHead: {length} words; it has positions for {MAX_WORDS}')
        table: Tensor = self.image_position_embeddings
        if (height, map_width) != (MAP_SIDE, MAP_SIDE):
            table = F.interpolate(table, (height, map_width), mode='bicubic', align_corners=False)
        return self.word_position_embeddings[:length], table[0].flatten(1).T


def choose_words(input_ids: Tensor, word_mask: Tensor, probability: float) -> tuple[Tensor, Tensor]:
    """Positions (K,) in the flattened (B * L) batch, and for each whether it is a real word: not [CLS], [SEP], a pad.

    They are drawn on the CPU: the choice does not depend on the device, and scoring them alone later needs no wait for
    it.

    Args:
        input_ids: (B, L), each row [CLS] words [SEP] pads.
        word_mask: (B, L), 1 = real word.
        probability: Probability of choosing each position.
    """
    chosen = (torch.rand(input_ids.shape) < probability).flatten().nonzero().squeeze(1)
    chosen = chosen.to(input_ids.device, non_blocking=True)
    # the first token is [CLS]; a word is followed by another real token, [SEP] is not
    return chosen, F.pad(word_mask[:, 2:], (1, 1)).flatten()[chosen].bool()


def mask_centre(masks: Tensor) -> Tensor:
    """Mean pixel position of masks.

    Args:
        masks: (B, 1, H, W), 1 in the mask.

    Returns:
        (B, 2) float32: x / W and y / H, in 0..1; (0, 0) for a mask without pixels.
    """
    inside = (masks[:, 0] == 1).float()
    height, width = inside.shape[1:]
    pixels = inside.sum((1, 2)).clamp(min=1)
    # sums of products instead of matrix products, which autocast would take out of fp32
    x = (inside.sum(1) * torch.arange(width, device=masks.device)).sum(1) / pixels / width
    y = (inside.sum(2) * torch.arange(height, device=masks.device)).sum(1) / pixels / height
    return torch.stack([x, y], dim=1)
