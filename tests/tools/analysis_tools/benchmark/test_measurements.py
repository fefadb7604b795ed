"""The benchmark on tiny networks: what it counts, and that it leaves them unchanged."""

import measurements as module
import pytest
import torch
from measurements import auxiliary_share, benchmark
from mmengine.config import ConfigDict
from mmseg.models import BaseSegmentor
from networks import build_small

from mmmagnet.models.aux_heads import AuxiliaryHead, AuxiliaryHeads
from mmmagnet.registry import MODELS

NETWORK = {'image encoder', 'text encoder', 'alignment modules', 'decode head', 'all'}
DECODER = {'decode head: pixel decoder', 'decode head: query decoder'}
TRAINING = {'decode head: loss', 'MaskGroundingHead 0', 'AlignmentHead 1', 'backward', 'optimizer'}


@pytest.fixture(autouse=True)
def _small_product(monkeypatch):
    monkeypatch.setattr(module, '_SIDE', 64)


@pytest.fixture
def measure(tiny_config, monkeypatch):
    monkeypatch.setattr(torch, 'compile', lambda function: function)

    def run(train=False, precision='fp32', load=None, **changes):
        torch.manual_seed(0)
        model = MODELS.build({**tiny_config, **changes})
        optimizer = torch.optim.AdamW(model.parameters()) if train else None
        result = benchmark(model, optimizer, 1, (64, 64), 6, precision, 'cpu', 1, load)
        assert not any(name in vars(part) for part in model.children() for name in ('forward_stage', 'fuse', 'forward'))
        return model, result

    return run


@pytest.mark.parametrize('precision', ['fp32', 'bf16'])
def test_prediction(precision, measure):
    _, result = measure(precision=precision)
    assert result.mode == 'predict'
    assert result.parts.keys() == NETWORK | DECODER
    assert result.activation_mb is None and result.auxiliary_share is None
    assert result.ratio_to_limit > 0
    assert {'seconds', 'gflops', 'matmul_gflops_per_s', 'ratio_to_limit', 'peak_memory_mb'} <= result.as_dict().keys()


def test_training(measure):
    model, result = measure(train=True)
    assert result.mode == 'train'
    assert result.parts.keys() == NETWORK | DECODER | TRAINING
    assert len(model.auxiliary_head) == 2
    assert result.auxiliary_share is not None
    assert result.gflops > 2 * measure()[1].gflops


@pytest.mark.parametrize(('heads', 'share'), [([1.0], 0.25), ([1.0, 5.0], 2 / 3), ([0.0], 0.0)])
def test_share_of_auxiliary_heads_of_known_cost(heads, share, monkeypatch):
    """A step takes 3 seconds, and each head as many as it says."""
    clock = [0.0]
    monkeypatch.setattr(module.time, 'perf_counter', lambda: clock[0])

    class Head(AuxiliaryHead):
        def __init__(self, seconds):
            super().__init__()
            self.seconds = seconds

        def loss(self, inputs):
            return {}

    class Model:
        auxiliary_head = AuxiliaryHeads([Head(seconds) for seconds in heads])

    def step():
        clock[0] += 3 + sum(head.seconds for head in model.auxiliary_head)

    model = Model()
    before = model.auxiliary_head
    assert auxiliary_share(model, step, 3) == pytest.approx(share)
    assert model.auxiliary_head is before


def decode_head(own, tiny_config):
    if own:
        return {**tiny_config['decode_head'], 'in_channels': (8, 16, 32, 64)}
    loss = dict(type='CrossEntropyLoss')
    return dict(type='FCNHead', in_channels=64, channels=8, num_classes=2, norm_cfg=dict(type='BN'), loss_decode=loss)


@pytest.mark.parametrize('own', [False, True])
@pytest.mark.parametrize('train', [False, True])
def test_a_network_without_text(train, own, tiny_config):
    config = ConfigDict(
        type='EncoderDecoder',
        backbone=dict(type='ResNetV1c', depth=18, base_channels=8, stem_channels=8, init_cfg=None),
        decode_head=decode_head(own, tiny_config),
        train_cfg={},
        test_cfg=dict(mode='whole'),
    )
    model = MODELS.build(config)
    optimizer = torch.optim.AdamW(model.parameters()) if train else None
    result = benchmark(model, optimizer, 2, (64, 64), 6, repetitions=1)
    assert {'image encoder', 'decode head', 'all'} | (DECODER if own else set()) <= result.parts.keys()
    assert result.auxiliary_share is None


def test_parts_of_a_compiled_network(measure):
    model, result = measure(compile={})
    assert result.parts.keys() == {'encoders and alignment modules', 'decode head', 'all'} | DECODER
    assert model.extract_feat.args == (model,)


def test_data_is_a_part_beside_the_others(measure):
    loaded = []
    _, result = measure(load=lambda: loaded.append(1))
    assert result.parts.keys() == NETWORK | DECODER | {'data'}
    assert len(loaded) == 1 + 3


class Plain(BaseSegmentor):
    """A segmentor without any part that has a name."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Conv2d(3, 1, 1)

    def loss(self, inputs, data_samples):
        return {'loss': self.layer(inputs).square().mean()}

    def predict(self, inputs, data_samples):
        return self.layer(inputs)

    extract_feat = encode_decode = _forward = predict


@pytest.mark.parametrize('train', [False, True])
def test_a_network_of_other_parts(train):
    model = Plain()
    result = benchmark(model, torch.optim.SGD(model.parameters()) if train else None, 1, (64, 64), 6, repetitions=1)
    assert result.parts.keys() == ({'backward', 'optimizer', 'all'} if train else {'all'})


@pytest.mark.parametrize('name', ['caris/caris_swin_b_refcoco.py', 'cris/cris_r101_refcoco.py', 'lavt_swin_b.py'])
def test_expressions_of_an_image(name):
    model = build_small(name)
    one, three = (benchmark(model, None, 1, (64, 64), 6, repetitions=1, expressions=count) for count in (1, 3))
    assert three.parts.keys() == {'image encoder', 'text encoder', 'alignment modules', 'decode head', 'all'}
    assert one.gflops < three.gflops < 2.95 * one.gflops
