"""torchrun, whose failures are one line: `_launch.sh` starts it. What the processes print comes before."""

from __future__ import annotations

import os
import signal
import sys

import torch.distributed
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import main


def run() -> int:
    """Run it; returns the exit status."""
    try:
        main()
    except SignalException as error:
        print(f'error: stopped by {signal.Signals(error.sigval).name}', file=sys.stderr)
        return 128 + error.sigval
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        status = failure.exitcode
        how = f'ended with exit status {status}' if status >= 0 else f'was ended by {signal.Signals(-status).name}'
        print(f'error: process {rank} of this run {how}; the others were stopped', file=sys.stderr)
        return status if status > 0 else 128 - status
    except torch.distributed.DistNetworkError as error:
        if 'EADDRINUSE' not in str(error):
            raise
        print(
            f'error: port {os.environ.get("PORT", "29500")} of this computer is in use; set PORT to another',
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(run())
