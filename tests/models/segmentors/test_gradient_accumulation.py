"""The recipe for one GPU of 24 GB: it builds, and several small batches make a step of a large one."""

from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.optim.optimizer import amp_optimizer_wrapper
from mmengine.registry import init_default_scope

from mmmagnet.registry import MODELS

CONFIG = Path(__file__).parents[3] / 'configs/magnet_swin_b_24gb.py'


def test_config(monkeypatch):
    monkeypatch.setattr(amp_optimizer_wrapper, 'is_cuda_available', lambda: True)
    monkeypatch.setattr(amp_optimizer_wrapper, 'GradScaler', lambda: None)  # MMEngine's warns without a GPU
    config = Config.fromfile(CONFIG)
    init_default_scope('mmseg')
    with torch.device('meta'):
        model = MODELS.build(config.model)
    assert all(part.with_cp for part in (model.backbone, model.text_encoder, model.neck))
    assert model.decode_head.pixel_decoder.with_cp
    wrapper = build_optim_wrapper(model, config.optim_wrapper)
    assert wrapper.cast_dtype == torch.bfloat16
    assert config.train_dataloader.batch_size * wrapper._accumulative_counts == 32


def test_parts_of_a_batch_make_its_step(tiny_config, tiny_batch):
    """Under the mask losses, which are means over the batch; the mean over masked words is one over each part."""
    del tiny_config['auxiliary_head']
    inputs, samples = tiny_batch(batch=4)
    weights = []
    for parts in (1, 2):
        torch.manual_seed(0)
        model = MODELS.build(tiny_config)
        wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.01), accumulative_counts=parts)
        wrapper.initialize_count_status(model, 0, parts)
        for part in range(parts):
            rows = slice(part * 4 // parts, (part + 1) * 4 // parts)
            model.train_step({'inputs': inputs[rows], 'data_samples': samples[rows]}, wrapper)
        weights.append(model.state_dict())
    for name, expected in weights[0].items():
        torch.testing.assert_close(weights[1][name], expected, rtol=1e-4, atol=1e-5, msg=name)
