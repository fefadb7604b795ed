"""Expressions that share an image have the masks that they have alone, and share what no text reaches."""

from __future__ import annotations

import copy

import pytest
import torch
from networks import build_small, small_batch

from mmmagnet.registry import MODELS

INDEX = (1, 0, 0, 1, 0)  # the images of five expressions
# config -> images of a batch in the first and in the last layer of the image encoder
METHODS = {
    'magnet_swin_b.py': (2, 5),
    'lavt_swin_b.py': (2, 5),
    'rela/rela_swin_b_refcoco.py': (2, 5),
    'caris/caris_swin_b_refcoco.py': (2, 2),
    'cris/cris_r101_refcoco.py': (2, 2),
    'detris/detris_vitb_refcoco.py': (5, 5),  # whose words enter at the second block
}


def grouped():
    """Two images and five expressions, and the same as five batches of one."""
    images = small_batch(2)['inputs']
    samples = small_batch(len(INDEX))['data_samples']
    alone = [{'inputs': [images[i]], 'data_samples': [copy.deepcopy(s)]} for i, s in zip(INDEX, samples, strict=True)]
    for sample, place in zip(samples, INDEX, strict=True):
        sample.image_index = torch.tensor(place)
    return {'inputs': images, 'data_samples': samples}, alone


@pytest.fixture(params=METHODS)
def network(request):
    torch.manual_seed(0)
    model = build_small(request.param).eval()
    with torch.no_grad():
        for weight in model.parameters():  # gates and the like start at zero: let words matter
            if not weight.any():
                weight.normal_(0, 0.1)
    return model, METHODS[request.param]


def test_prediction(network):
    model, images = network
    batch, alone = grouped()
    lengths = []
    layers = [part for part in model.backbone.modules() if isinstance(part, torch.nn.Conv2d | torch.nn.Linear)]
    for layer in (layers[0], layers[-1]):
        layer.register_forward_hook(lambda _, inputs, output: lengths.append(len(output)))
    with torch.no_grad():
        found = model.test_step(copy.deepcopy(batch))
        counts, expected = list(lengths), [model.test_step(one)[0] for one in alone]
    assert tuple(counts) == images
    for sample, other in zip(found, expected, strict=True):
        torch.testing.assert_close(sample.probability.data, other.probability.data, rtol=1e-5, atol=1e-5)
        assert sample.pred_sem_seg.shape == (50, 70)
    logits = [sample.seg_logits.data for sample in found]
    assert not any(torch.allclose(logits[0], other, atol=1e-4) for other in logits[1:])


@pytest.mark.parametrize('extra_masked_pass', [False, True])
def test_loss(extra_masked_pass, tiny_config, tiny_batch):
    """Losses of expressions that share images are those of repeated images."""
    tiny_config['auxiliary_head'][0]['extra_masked_pass'] = extra_masked_pass
    model = MODELS.build(tiny_config)
    images, _ = tiny_batch(2)
    _, samples = tiny_batch(len(INDEX))
    losses = []
    for shared in (True, False):
        torch.manual_seed(0)
        if shared:
            for sample, place in zip(samples, INDEX, strict=True):
                sample.image_index = torch.tensor(place)
        else:
            for sample in samples:
                del sample.image_index
        losses.append(model.loss(images if shared else images[list(INDEX)], samples))
    assert losses[0].keys() == losses[1].keys()
    for name, value in losses[0].items():
        torch.testing.assert_close(value, losses[1][name], rtol=1e-4, atol=1e-5)
