"""The checkpoint that a training resumes from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmmagnet.utils.checkpoint import load_file
from mmmagnet.utils.config import config_from_text
from mmmagnet.utils.errors import CheckpointError, ConfigError
from mmmagnet.utils.latest_checkpoint import latest_checkpoint


def set_resume(config: Config, checkpoint: str | Path | None) -> None:
    """Let a training resume from a checkpoint; from the newest whole one in its work dir; or start if there is none.

    MMEngine restores the seed and the schedule of the checkpoint. Its own search for the newest one trusts a note that
    may be missing.

    Args:
        config: Config of the training; its `resume` and `load_from` are set.
        checkpoint: The file. None takes the newest one in `work_dir`.

    Raises:
        FileNotFoundError: If the checkpoint is not there.
        CheckpointError: If it cannot be read, or holds weights alone.
        ConfigError: If the config's schedule or optimizer differs from the checkpoint's, as resuming ignores it.

    Example:
        >>> config = Config(dict(work_dir='work_dirs/new'))
        >>> set_resume(config, None)
        >>> config.resume
        False
    """
    latest = latest_checkpoint(config.work_dir) if checkpoint is None else (Path(checkpoint), load_file(checkpoint))
    config.resume = latest is not None
    if latest is None:
        return
    found, content = latest
    config.load_from = str(found)
    meta = content.get('meta') or {} if isinstance(content, dict) else {}
    if 'optimizer' not in content or not {'epoch', 'iter'} <= meta.keys():
        raise CheckpointError(
            f'{found}: has weights but no state of a training (as best_*.pth): resume from an epoch_*.pth, or start '
            f'anew from these weights with --cfg-options load_from={found}'
        )
    if 'cfg' not in meta:
        return
    ours, theirs = _restored(config), _restored(config_from_text(meta['cfg'], source=f'{found} (meta.cfg)'))
    for name, value in ours.items():
        if value != theirs[name]:
            raise ConfigError(
                f'{found}: was trained with another {name}, and --resume keeps that one: remove the change, or '
                f'start anew from its weights with --cfg-options load_from={found}'
            )


def _restored(config: Config) -> dict[str, Any]:
    """Settings that a resume takes from the checkpoint; ``fused`` only chooses a kernel."""
    wrapper = config.get('optim_wrapper') or {}
    optimizer = {name: value for name, value in (wrapper.get('optimizer') or {}).items() if name != 'fused'}
    return {
        'param_scheduler': config.get('param_scheduler') or [],
        'optim_wrapper.optimizer': optimizer,
        'optim_wrapper.paramwise_cfg': wrapper.get('paramwise_cfg') or {},
    }
