"""Every network trains under DDP without `find_unused_parameters`: each weight that requires a gradient gets one."""

import faulthandler

import pytest
import torch
import torch.multiprocessing as mp
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from networks import build_small, network_names, small_batch

from mmmagnet.engine.distributed import closing_distributed

pytestmark = pytest.mark.slow


def train(rank, folder, names):
    """Two steps of each network, of which the second fails where a gradient was missing in the first."""
    faulthandler.dump_traceback_later(600, exit=True)  # a process that waits for the other one says where
    torch.set_num_threads(1)
    torch.distributed.init_process_group('gloo', f'file://{folder}/rendezvous', rank=rank, world_size=2)
    with closing_distributed():
        for name in names:
            torch.manual_seed(0)
            model = MMDistributedDataParallel(build_small(name).train(), find_unused_parameters=False)
            wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=1e-3))
            torch.manual_seed(rank)
            try:
                for _ in range(2):
                    losses = model.train_step(small_batch(), wrapper)
                assert losses['loss'].isfinite()
            except Exception as error:
                raise AssertionError(name) from error


def test_two_processes(tmp_path):
    mp.spawn(train, (tmp_path, network_names()), nprocs=2)
