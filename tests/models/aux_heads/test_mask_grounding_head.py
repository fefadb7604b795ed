"""Mask Grounding: which words are masked, and what guessing them costs."""

import math

import pytest
import torch
from mmengine.logging import MessageHub
from torch.nn.functional import cross_entropy

from mmmagnet.models.aux_heads import AuxiliaryInputs, MaskGroundingHead
from mmmagnet.models.aux_heads.mask_grounding_head import mask_centre

WIDTH, IMAGE_WIDTH, VOCABULARY, MASK = 8, 6, 30, 4
CLASSIFY, SEPARATOR, PAD = 2, 3, 0
LENGTHS = (7, 4, 2, 3)  # of the expressions with [CLS] and [SEP]; the third has no words


def head(**arguments):
    given = dict(num_layers=2, num_heads=2, width=None, ffn_width=None, bert_style=False, dropout=0.0)
    return MaskGroundingHead(WIDTH, IMAGE_WIDTH, VOCABULARY, MASK, **{**given, **arguments})


def expressions(lengths, length=7):
    ids = torch.full((len(lengths), length), PAD)
    for row, length in zip(ids, lengths, strict=True):
        row[:length] = torch.tensor([CLASSIFY, *torch.randint(5, VOCABULARY, (length - 2,)), SEPARATOR])
    return ids, (ids != PAD).long()


def inputs(lengths=LENGTHS):
    ids, mask = expressions(lengths)
    batch = len(lengths)
    truth = torch.zeros(batch, 1, 8, 8, dtype=torch.uint8)
    for index in range(batch):
        truth[index, 0, index : index + 3, 2:5] = 1
    return ids, mask, torch.randn(batch, 7, WIDTH), torch.randn(batch, 2, 3, IMAGE_WIDTH), truth


def given(words, mask, image, truth, masked):
    return AuxiliaryInputs(words=words, word_mask=mask, image=image, gt_masks=truth, masked_words=masked)


def within(count, trials, probability):
    """Whether a binomial count lies within five standard deviations."""
    return abs(count - trials * probability) <= 5 * math.sqrt(trials * probability * (1 - probability))


@pytest.mark.parametrize(('mask_prob', 'unmasked_prob'), [(0.15, 0.1), (0.5, 0.3), (1, 0), (1, 1), (0, 0.1)])
def test_which_words_are_masked(mask_prob, unmasked_prob):
    ids, mask = expressions(LENGTHS * 1000)
    masked = head(mask_prob=mask_prob, unmasked_prob=unmasked_prob).mask_words(ids, mask)
    chosen = masked.positions[masked.target >= 0]
    original, result = ids.flatten(), masked.input_ids.flatten()
    maskable = original > MASK
    assert len(chosen.unique()) == len(chosen)
    assert maskable[chosen].all(), 'only words, never [CLS], [SEP] or a pad'
    assert within(len(chosen), int(maskable.sum()), mask_prob)
    assert within(int((result[chosen] == original[chosen]).sum()), len(chosen), unmasked_prob)
    assert set(result[chosen][result[chosen] != original[chosen]].tolist()) <= {MASK}
    assert masked.target[masked.target >= 0].equal(original[chosen])
    assert set(masked.target[masked.target < 0].tolist()) <= {-100}
    elsewhere = torch.ones_like(original, dtype=torch.bool)
    elsewhere[chosen] = False
    assert result[elsewhere].equal(original[elsewhere])


def test_every_word_can_be_masked_in_a_full_row():
    ids, mask = expressions((7,), length=7)
    masked = head(mask_prob=1, unmasked_prob=0).mask_words(ids, mask)
    assert masked.input_ids.tolist() == [[CLASSIFY, *[MASK] * 5, SEPARATOR]]


def test_ids_are_not_changed_in_place():
    ids, mask = expressions(LENGTHS)
    before = ids.clone()
    head(mask_prob=1).mask_words(ids, mask)
    assert ids.equal(before)


def test_loss_is_the_cross_entropy_of_the_chosen_words():
    model = head(mask_prob=1, unmasked_prob=0.5, loss_weight=0.3).eval()
    ids, mask, words, image, truth = inputs()
    masked = model.mask_words(ids, mask)
    losses = model.loss(given(words, mask, image, truth, masked))
    logits = model.classifier(model.predict_words(words, mask, image, truth))
    chosen = ids > MASK
    assert losses['loss_grounding'].item() == pytest.approx(0.3 * cross_entropy(logits[chosen], ids[chosen]).item())
    right = (logits[chosen].argmax(1) == ids[chosen]).float().mean()
    assert losses['acc_grounding'].item() == pytest.approx(100 * right.item())


def test_the_weight_grows(monkeypatch):
    hub = MessageHub('grounding')
    monkeypatch.setattr(MessageHub, 'get_current_instance', classmethod(lambda cls: hub))
    model = head(mask_prob=1, loss_weight_warmup_iters=4).eval()
    ids, mask, words, image, truth = inputs()
    masked, found = model.mask_words(ids, mask), []
    for step in (None, 0, 2, 3, 9):  # None: no runner counts
        if step is not None:
            hub.update_info('iter', step)
        found.append(model.loss(given(words, mask, image, truth, masked))['loss_grounding'].item())
    assert [value / found[0] for value in found] == pytest.approx([1, 1 / 4, 3 / 4, 1, 1])


@pytest.mark.parametrize('lengths', [LENGTHS, (2, 2)], ids=['ratio 0', 'only [CLS] and [SEP]'])
def test_no_word_chosen(lengths):
    """Zero, with a gradient of zeros on every parameter: under DDP each must take part in every step."""
    model = head(mask_prob=0 if lengths is LENGTHS else 1)
    ids, mask, words, image, truth = inputs(lengths)
    words.requires_grad_()
    losses = model.loss(given(words, mask, image, truth, model.mask_words(ids, mask)))
    losses['loss_grounding'].backward()
    assert losses['loss_grounding'].item() == 0
    assert losses['acc_grounding'].item() == 0
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.equal(torch.zeros_like(parameter)), name
    assert words.grad.equal(torch.zeros_like(words))


def test_every_parameter_learns():
    model = head(mask_prob=1)
    ids, mask, words, image, truth = inputs()
    model.loss(given(words, mask, image, truth, model.mask_words(ids, mask)))['loss_grounding'].backward()
    assert [name for name, parameter in model.named_parameters() if not parameter.grad.any()] == []


def test_guess_reads_words_image_and_place_and_no_pads():
    model = head().eval()
    _, mask, words, image, truth = inputs()
    real = mask.bool()
    before = model.predict_words(words, mask, image, truth)
    without_pads = model.predict_words(torch.where(real[..., None], words, 1e3), mask, image, truth)
    torch.testing.assert_close(without_pads[real], before[real])
    shorter = model.predict_words(words[1:2, :4], mask[1:2, :4], image[1:2], truth[1:2])
    torch.testing.assert_close(shorter, before[1:2, :4])
    for changed in (
        (words + torch.randn(WIDTH), image, truth),
        (words, image * 2, truth),
        (words, image, truth.flip(2)),
    ):
        other = model.predict_words(changed[0], mask, *changed[1:])
        assert ((other - before)[real].abs().amax(1) > 1e-6).all()


def test_guess_depends_on_the_place_of_words_and_pixels():
    model = head().eval()
    _, mask, words, image, truth = inputs((7,))
    before = model.predict_words(words, mask, image, truth)
    assert not torch.allclose(model.predict_words(words.flip(1), mask, image, truth).flip(1), before, atol=1e-4)
    assert not torch.allclose(model.predict_words(words, mask, image.flip(2), truth), before, atol=1e-4)


def test_mask_centre():
    masks = torch.zeros(5, 1, 4, 6, dtype=torch.uint8)
    masks[0, 0, 1:3, 2:5] = 1
    masks[1, 0, 3, 0] = masks[1, 0, 0, 5] = 1
    masks[2] = 1
    masks[3, 0, 2, 4] = 1
    masks[3, 0, 0, 0] = 255  # unknown, not the mask
    expected = [[3 / 6, 1.5 / 4], [2.5 / 6, 1.5 / 4], [2.5 / 6, 1.5 / 4], [4 / 6, 2 / 4], [0, 0]]
    torch.testing.assert_close(mask_centre(masks), torch.tensor(expected))


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(mask_prob=15), 'mask_prob=15: expected a probability'),
        (dict(unmasked_prob=-0.1), 'unmasked_prob=-0.1: expected a probability'),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        head(**arguments)


def test_a_predictor_of_its_own_width():
    """BERT's style: every weight learns, also at another map size, and pads change nothing."""
    model = head(width=12, ffn_width=20, bert_style=True, mask_prob=1.0).eval()
    ids, mask, words, image, truth = inputs()
    masked = model.mask_words(ids, mask)
    loss = model.loss(given(words, mask, image, truth, masked))['loss_grounding']
    loss.backward()
    assert [name for name, weight in model.named_parameters() if weight.grad is None] == []
    assert model.word_position_embeddings.grad[:7].any() and not model.word_position_embeddings.grad[7:].any()
    longer = torch.cat([words, torch.randn(len(words), 5, WIDTH)], dim=1)
    hidden = model.predict_words(words, mask, image, truth)
    padded = model.predict_words(longer, torch.nn.functional.pad(mask, (0, 5)), image, truth)
    torch.testing.assert_close(padded[:, :7], hidden, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match='129 words; it has positions for 128'):
        model.predict_words(torch.randn(1, 129, WIDTH), torch.ones(1, 129), image[:1], truth[:1])


def test_the_authors_sizes():
    """docs [A]: 8 layers of width 512 with 8 heads and FFNs of 3072, and BERT's prediction head."""
    with torch.device('meta'):
        model = MaskGroundingHead(768, 1024, 30522, 103)
    assert len(model.predictor.layers) == 8
    layer = model.predictor.layers[0]
    assert (layer.self_attn.embed_dim, layer.self_attn.num_heads, layer.linear1.out_features) == (512, 8, 3072)
    assert (layer.norm1.eps, layer.dropout.p) == (1e-12, 0.1)
    assert [type(part).__name__ for part in model.classifier] == ['Linear', 'GELU', 'LayerNorm', 'Linear']
