"""Checkpoints without frozen encoder weights: written, read back, and refused beside other pretrained files."""

import copy

import pytest
import torch
from mmengine.model import BaseModule
from torch import nn

from mmmagnet.utils.checkpoint import inference_model, load_weights
from mmmagnet.utils.errors import CheckpointError
from mmmagnet.utils.trainable_checkpoint import drop_frozen


class Pretrained(BaseModule):
    """A frozen layer beside a trained one; `pretrained` stands for the number in a file."""

    def __init__(self, pretrained):
        super().__init__()
        self.pretrained = pretrained
        self.frozen, self.adapter = nn.Linear(2, 2).requires_grad_(False), nn.Linear(2, 2)

    def init_weights(self):
        super().init_weights()
        if self.pretrained is not None:
            nn.init.constant_(self.frozen.weight, self.pretrained)
            nn.init.zeros_(self.frozen.bias)


class Network(BaseModule):
    def __init__(self, pretrained):
        super().__init__()
        self.backbone, self.text_encoder = Pretrained(pretrained), Pretrained(pretrained)
        self.neck = nn.Linear(2, 2).requires_grad_(False)  # random where nothing reads it: it must be kept


@pytest.fixture
def saved(tmp_path):
    """A network after training, and its checkpoint."""
    model = Network(pretrained=3.0)
    model.init_weights()
    checkpoint = {'state_dict': copy.deepcopy(model.state_dict())}
    drop_frozen(model, checkpoint)
    torch.save(checkpoint, tmp_path / 'w.pth')
    return model, tmp_path / 'w.pth'


def test_frozen_weights_come_from_the_pretrained_file(saved):
    model, path = saved
    names = torch.load(path)['state_dict'].keys()
    assert 'neck.weight' in names and 'backbone.adapter.bias' in names and 'backbone.frozen.bias' not in names
    other = Network(pretrained=3.0)
    load_weights(other, path)
    for name, value in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name


@pytest.mark.parametrize('pretrained', [None, 4.0])
def test_other_pretrained_weights_are_refused(saved, pretrained):
    with pytest.raises(CheckpointError, match=r'leaves out 4 frozen weights.*set model.backbone.pretrained'):
        load_weights(Network(pretrained), saved[1])


def test_inference_keeps_pretrained_files_of_such_a_checkpoint_alone(saved, tmp_path):
    config = dict(
        backbone=dict(type='X', pretrained='x.pth'), auxiliary_head=[], self_distillation=dict(type='MaskRIS')
    )
    assert inference_model(config, saved[1]) == dict(backbone=dict(type='X', pretrained='x.pth'))
    torch.save({'state_dict': saved[0].state_dict()}, tmp_path / 'all.pth')
    assert inference_model(config, tmp_path / 'all.pth') == inference_model(config) == dict(backbone=dict(type='X'))
