"""Expressions that share an image have the masks that they have alone, and share what no text reaches."""

from __future__ import annotations

import copy

import pytest
import torch
from networks import build_small, small_batch

from mmmagnet.evaluation import ReferringSegMetric
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


@pytest.mark.parametrize('name', ['caris/caris_swin_b_refcoco.py', 'cris/cris_r101_refcoco.py'])
def test_scores_of_shared_images(name):
    """Test items of one image run it once, and no pixel of any mask changes."""
    torch.manual_seed(0)
    model = build_small(name).eval()
    assert model.data_preprocessor.share_images
    inputs, samples = small_batch(2)['inputs'], small_batch(len(INDEX))['data_samples']
    for number, sample in enumerate(samples):
        sample.set_metainfo(dict(sample_idx=number, img_path=f'{INDEX[number]}.jpg', ref_id=number, split='val'))
    scores, counts = [], []
    model.backbone.register_forward_pre_hook(lambda _, given: counts.append(len(given[0])))
    for model.data_preprocessor.share_images in (True, False):
        batch = {'inputs': [inputs[place].clone() for place in INDEX], 'data_samples': copy.deepcopy(samples)}
        metric = ReferringSegMetric(resolution='input')
        with torch.no_grad():
            metric.process(None, [sample.to_dict() for sample in model.test_step(batch)])
        scores.append((metric.results, metric.evaluate(len(INDEX))))
    assert counts == [2, 5]
    assert scores[0] == scores[1]


@pytest.mark.parametrize('name', ['magnet_swin_b.py', 'caris/caris_swin_b_grounding.py', 'cris/cris_r50_maskris.py'])
def test_training_with_several_expressions(name):
    """Two images of three expressions have the losses, and all weights the gradients, of six repeated images."""
    samples = small_batch(6)['data_samples']
    for number, sample in enumerate(samples):
        sample.gt_sem_seg = samples[number // 3 * 3].gt_sem_seg
    images = small_batch(2)['inputs']
    several = [sample.clone() for sample in samples[::3]]
    for number, sample in enumerate(several):
        own = samples[3 * number : 3 * number + 3]
        sample.set_data({key: torch.stack([one.get(key) for one in own]) for key in ('input_ids', 'word_mask')})
    repeated = [image for image in images for _ in range(3)]
    torch.manual_seed(0)
    model = build_small(name).train()
    for module in model.modules():  # what draws or mixes for each image, and not for each expression
        if isinstance(module, torch.nn.Dropout) or 'DropPath' in type(module).__name__:
            module.eval()
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.eval()
    if model.self_distillation is not None:
        model.self_distillation.mask_image = lambda inputs: inputs
    found = []
    for inputs, given in ((images, several), (repeated, samples)):
        torch.manual_seed(0)
        data = model.data_preprocessor({'inputs': inputs, 'data_samples': given}, training=True)
        losses = model.loss(**data)
        model.zero_grad()
        sum(value for key, value in losses.items() if 'loss' in key).backward()
        gradients = {key: weight.grad for key, weight in model.named_parameters() if weight.grad is not None}
        found.append((len(data['inputs']), losses, gradients))
    assert (found[0][0], found[1][0]) == (2, 6)
    for mine, expected in zip(found[0][1:], found[1][1:], strict=True):
        assert mine.keys() == expected.keys()
        for key, value in expected.items():
            torch.testing.assert_close(mine[key], value, rtol=1e-3, atol=1e-5, msg=lambda text, key=key: key + text)
