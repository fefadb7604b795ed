"""A training of one linear layer, for tests of hooks."""

import itertools

import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmseg.structures import SegDataSample

COUNT = itertools.count()
EPOCHS, STEPS = 3, 4


class Lines(torch.utils.data.Dataset):
    """Items of two numbers; `broken` items hold NaN."""

    def __init__(self, broken=()):
        self.broken = broken

    def __len__(self):
        return 2 * STEPS

    def __getitem__(self, item):
        values = torch.tensor([item / 10, float('nan') if item in self.broken else 1.0])
        sample = SegDataSample(metainfo=dict(img_path=f'images/{item}.png', ref_id=item, sent_id=10 * item))
        return {'inputs': values, 'data_samples': sample}


class Line(BaseModel):
    """Losses of a linear layer with dropout; one of them may be infinite where its gradients are finite."""

    def __init__(self, constant=0.0):
        super().__init__()
        self.layer = torch.nn.Linear(2, 3)
        self.constant = constant

    def forward(self, inputs, data_samples=None, mode='tensor'):
        values = torch.nn.functional.dropout(self.layer(torch.stack(list(inputs))), 0.3, self.training)
        if mode == 'predict':
            return [values.detach().sum()] * len(inputs)
        return {'loss_line': (values - torch.rand(3)).square().mean(), 'loss_constant': values.mean() + self.constant}


class Scores(BaseMetric):
    """Gives these scores, one for each validation."""

    def __init__(self, scores):
        super().__init__()
        self.scores = iter(scores)

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        score = next(self.scores)
        if isinstance(score, BaseException):
            raise score
        return {'score': score}


@pytest.fixture
def make_runner(tmp_path):
    """Make a runner of a short training on the CPU, with these hooks."""

    def make(
        hooks,
        resume=None,
        scores=None,
        model=None,
        broken=(),
        work_dir='run',
        launcher='none',
        max_epochs=EPOCHS,
    ):
        init_default_scope('mmseg')
        torch.manual_seed(0)
        loader = dict(batch_size=2, sampler=dict(type='DefaultSampler', shuffle=False), dataset=Lines(broken))
        validation = dict(
            val_dataloader=dict(loader, dataset=Lines()), val_cfg=dict(), val_evaluator=[Scores(scores or [])]
        )
        return Runner(
            model=model or Line(),
            work_dir=str(tmp_path / work_dir),
            train_dataloader=loader,
            train_cfg=dict(by_epoch=True, max_epochs=max_epochs),
            optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.01)),
            **(validation if scores else {}),
            default_hooks=hooks,
            load_from=str(resume) if resume else None,
            resume=resume is not None,
            randomness=dict(seed=0, diff_rank_seed=True),
            experiment_name=f'hooks_{next(COUNT)}',
            launcher=launcher,
            cfg=Config(dict(model_wrapper_cfg=dict(type='MMDistributedDataParallel', device_ids=None))),
            log_level='WARNING',
            default_scope='mmseg',
        )

    return make
