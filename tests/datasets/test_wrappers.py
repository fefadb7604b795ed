"""MMEngine's wrappers around our datasets: plain indices work, `EpochSampler` refuses them (test_samplers.py)."""

import pytest
from mmengine.dataset import ClassBalancedDataset, DefaultSampler
from torch.utils.data import DataLoader

from mmmagnet.datasets import RefCOCODataset
from mmmagnet.registry import DATASETS
from mmmagnet.utils.errors import ConfigError

TRAIN = [dict(type='SampleExpression')]


class Balanced(RefCOCODataset):
    """A dataset that knows categories, as ClassBalancedDataset asks."""

    def get_cat_ids(self, idx):
        return [idx]


@pytest.mark.parametrize(
    ('wrap', 'order'),
    [
        (lambda part: dict(type='RepeatDataset', dataset=part, times=2), [0, 1, 2, 0, 1, 2]),
        (lambda part: dict(type='ConcatDataset', datasets=[part, part]), [0, 1, 2, 0, 1, 2]),
        (lambda part: dict(type='ClassBalancedDataset', dataset=part, oversample_thr=1.0), [0, 0, 1, 1, 2, 2]),
    ],
)
def test_wrappers_give_items_by_plain_indices(prepared, wrap, order):
    part = dict(type=Balanced, data_root=str(prepared), split='train', pipeline=TRAIN)
    dataset, plain = DATASETS.build(wrap(part)), DATASETS.build(part)
    loader = DataLoader(dataset, 2, sampler=DefaultSampler(dataset, shuffle=False), collate_fn=list)
    for _ in range(2):
        seen = [(item['ref_id'], item['expression']) for batch in loader for item in batch]
        assert seen == [(place, plain[place]['expression']) for place in order]


@pytest.mark.parametrize('mixed', [False, True])
def test_there_are_no_classes_to_balance(prepared, mixed):
    part = dict(type='RefCOCODataset', data_root=str(prepared), split='train', pipeline=TRAIN)
    dataset = dict(type='MixedReferringDataset', datasets=[part]) if mixed else part
    with pytest.raises(ConfigError, match=r'ClassBalancedDataset: .* nothing to balance'):
        ClassBalancedDataset(dataset, oversample_thr=1.0)
