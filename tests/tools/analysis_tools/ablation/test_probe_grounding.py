"""The probe of Mask Grounding against direct calls of its head, and against autograd."""

import pytest
import torch
from probe_grounding import probe_grounding
from torch.nn.utils import parameters_to_vector

from mmmagnet.models.aux_heads import AuxiliaryHeads, AuxiliaryInputs
from mmmagnet.registry import MODELS
from mmmagnet.utils.errors import ConfigError


@pytest.fixture(params=[False, True])
def model(request, tiny_config):
    tiny_config['auxiliary_head'][0].update(extra_masked_pass=request.param, loss_weight=0.1, dropout=0.2)
    torch.manual_seed(0)
    return MODELS.build(tiny_config)


def gradient(part, loss):
    weights = [weight for weight in part.parameters() if weight.requires_grad]
    found = torch.autograd.grad(loss, weights, retain_graph=True, allow_unused=True)
    return parameters_to_vector(torch.zeros_like(w) if g is None else g for w, g in zip(weights, found, strict=True))


def given(features, masks, drawn):
    words, image = features.words, features.image
    own = dict(words=words, word_mask=features.word_mask, image=image, grounded_words=words, grounded_image=image)
    return AuxiliaryInputs(**own, gt_masks=masks, masked_words=drawn)


def test_against_reference(model, tiny_batch):
    inputs, samples = tiny_batch(batch=3)
    torch.manual_seed(5)
    found = probe_grounding(model, [dict(inputs=inputs, data_samples=samples)])

    head = model.auxiliary_head[0]
    head.loss_weight = 1.0
    torch.manual_seed(5)
    ids, real = (torch.stack([sample.get(name) for sample in samples]) for name in ('input_ids', 'word_mask'))
    masks = torch.stack([sample.gt_sem_seg.data for sample in samples])
    drawn = head.mask_words(ids, real)
    assert (drawn.target >= 0).any()
    other = [2, 0, 1]
    with torch.no_grad():
        features = model.extract_feat(inputs, drawn.input_ids, real)
        others = model.extract_feat(inputs[other], drawn.input_ids, real)
        expected = {
            'own': head.loss(given(features, masks, drawn)),
            'image of another': head.loss(given(others, masks, drawn)),
            'place of another': head.loss(given(features, masks[other], drawn)),
        }
    assert found['batches'] == 1
    for name, result in expected.items():
        assert found['loss'][name] == pytest.approx(result['loss_grounding'].item(), rel=1e-4)
        assert found['accuracy'][name] == pytest.approx(result['acc_grounding'].item(), rel=1e-4)
    assert len(set(found['loss'].values())) == 3

    head.loss_weight = 0.1
    torch.manual_seed(5)
    losses = model.loss(inputs, samples)
    rest = sum(loss for name, loss in losses.items() if 'loss' in name and name != 'loss_grounding')
    assert found['gradients'].keys() == {'backbone', 'text_encoder', 'neck'}
    for name, part in found['gradients'].items():
        ours, theirs = (gradient(getattr(model, name), loss) for loss in (losses['loss_grounding'], rest))
        assert part['grounding'] == pytest.approx(ours.norm().item(), rel=1e-3)
        assert part['rest'] == pytest.approx(theirs.norm().item(), rel=1e-3)
        assert part['cosine'] == pytest.approx(torch.cosine_similarity(ours, theirs, dim=0).item(), abs=1e-3)


def test_the_head_is_left_as_it_was(model, tiny_batch):
    inputs, samples = tiny_batch()
    probe_grounding(model, [dict(inputs=inputs, data_samples=samples)] * 2)
    head = model.auxiliary_head[0]
    assert head.loss_weight == 0.1
    assert all(weight.grad is None for weight in model.parameters())


@pytest.mark.parametrize(
    ('batch', 'count', 'grounding', 'message'),
    [(1, 1, True, 'no batch of two'), (2, 0, True, 'no batch of two'), (2, 1, False, 'no MaskGroundingHead')],
)
def test_errors(batch, count, grounding, message, model, tiny_batch):
    if not grounding:
        model.auxiliary_head = AuxiliaryHeads(None)
    inputs, samples = tiny_batch(batch=batch)
    with pytest.raises(ConfigError, match=message):
        probe_grounding(model, [dict(inputs=inputs, data_samples=samples)] * count)
