"""Record of an evaluation: the scores, and all they depend on."""

from __future__ import annotations

import time
from typing import Any


def score_record(
    config: str,
    checkpoint: str,
    checkpoint_sha256: str,
    split: str,
    swap_expressions: bool,
    metrics: dict[str, float],
    report: dict[str, dict[str, Any]],
    protocol: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Scores of one split with all they depend on, plain values for JSON.

    Args:
        config: Config file.
        checkpoint: Checkpoint file.
        checkpoint_sha256: SHA-256 of the checkpoint file.
        split: Name of the split, such as ``val``.
        swap_expressions: Whether each object was given the expression of another.
        metrics: Name -> value, as the test loop returns them.
        report: `ReferringSegMetric.report`, or an empty dict if another metric was used.
        protocol: What `scoring_protocol` returned.

    Returns:
        Names -> plain values, with floats rounded to four digits.
    """
    import mmmagnet

    return {
        'metrics': {name: round(float(value), 4) for name, value in metrics.items()},
        'config': config,
        'checkpoint': checkpoint,
        'checkpoint_sha256': checkpoint_sha256,
        'split': split,
        'pairs': next((account['scores']['pairs'] for account in report.values()), None),
        'resolution': next(iter(report), 'unknown'),  # that of names in `metrics` without one of their own
        'resolutions': _rounded(report),
        'protocol': protocol or {},
        'swap_expressions': swap_expressions,
        'date': time.strftime('%Y-%m-%dT%H:%M:%S%z'),
        'mmmagnet': mmmagnet.__version__,
    }


def _rounded(value: Any) -> Any:
    """The same value with floats rounded to four digits."""
    if isinstance(value, dict):
        return {name: _rounded(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(part) for part in value]
    return round(value, 4) if isinstance(value, float) else value
