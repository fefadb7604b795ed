"""Every network trains under DDP without `find_unused_parameters`: each weight that requires a gradient gets one."""

import socket
import traceback

import pytest
import torch
import torch.multiprocessing as mp
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from networks import build_small, network_names, small_batch

pytestmark = pytest.mark.slow


def train(rank, port, names, failures):
    """Two steps of each network, of which the second fails where a gradient was missing in the first."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group('gloo', f'tcp://127.0.0.1:{port}', rank=rank, world_size=2)
    for name in names:
        torch.manual_seed(0)
        model = MMDistributedDataParallel(build_small(name).train(), find_unused_parameters=False)
        wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=1e-3))
        torch.manual_seed(rank)
        try:
            for _ in range(2):
                losses = model.train_step(small_batch(), wrapper)
            assert losses['loss'].isfinite()
        except Exception:
            failures.put(f'{name}: {traceback.format_exc()[-600:]}')
            break
    torch.distributed.destroy_process_group()


def test_two_processes():
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    context = mp.get_context('spawn')
    failures = context.SimpleQueue()
    mp.spawn(train, (port, network_names(), failures), nprocs=2)
    assert failures.empty(), failures.get()
