"""A hook for `test_distributed_training`: each process writes down its losses, the first one its final weights too."""

import json
import os
from pathlib import Path

import torch
from mmengine.dist import get_rank, is_main_process
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper

from mmmagnet.registry import HOOKS


@HOOKS.register_module()
class LossRecorder(Hook):
    """Collects every loss of every iteration."""

    def __init__(self):
        self.folder = Path(os.environ['LOSS_FOLDER'])
        self.losses = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses.append({name: float(value) for name, value in outputs.items() if 'loss' in name})

    def after_train(self, runner):
        (self.folder / f'losses_{get_rank()}.json').write_text(json.dumps(self.losses))
        if is_main_process():
            model = runner.model.module if is_model_wrapper(runner.model) else runner.model
            torch.save(model.state_dict(), self.folder / 'weights.pth')
