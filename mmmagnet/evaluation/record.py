"""What is kept of a scoring beside the numbers: enough to know, years later, what they mean."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any


def score_record(
    config: str,
    checkpoint: str,
    checkpoint_sha256: str,
    split: str,
    swap_expressions: bool,
    metrics: dict[str, float],
    report: dict[str, dict[str, Any]],
) -> dict[str, Any]:
    """One split's scores with all they depend on, plain values for JSON.

    Args:
        config: Its file.
        checkpoint: Its file.
        checkpoint_sha256: Of that file.
        split: ``val``, ``testA`` ...
        swap_expressions: Whether each object had the expression of another.
        metrics: Name -> value, as the test loop returns them.
        report: `ReferringSegMetric.report`; empty where another metric scored.
    """
    import mmmagnet

    return {
        'metrics': {name: round(float(value), 4) for name, value in metrics.items()},
        'config': config,
        'checkpoint': checkpoint,
        'checkpoint_sha256': checkpoint_sha256,
        'split': split,
        'pairs': next((account['scores']['pairs'] for account in report.values()), None),
        'resolution': next(iter(report), 'unknown'),  # of the names in `metrics` that do not say another
        'resolutions': _rounded(report),
        'swap_expressions': swap_expressions,
        'date': time.strftime('%Y-%m-%dT%H:%M:%S%z'),
        'mmmagnet': mmmagnet.__version__,
    }


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file, in hexadecimal.

    Raises:
        OSError: If it cannot be read.
    """
    digest = hashlib.sha256()
    with Path(path).open('rb') as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a file whole or not at all, its folder included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f'{path.name}.{os.getpid()}.tmp')
    try:
        partial.write_text(json.dumps(content, indent=2) + '\n', encoding='utf-8')
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _rounded(value: Any) -> Any:
    """The same with floats of four digits."""
    if isinstance(value, dict):
        return {name: _rounded(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(part) for part in value]
    return round(value, 4) if isinstance(value, float) else value
