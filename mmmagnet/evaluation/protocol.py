"""How a config scores: what a number depends on beside the network."""

from __future__ import annotations

from typing import Any

from mmmagnet.utils.config import dataset_configs


def scoring_protocol(config: Any, threshold: float | None = None) -> dict[str, Any]:
    """What the first test dataset of a config and its network settle about scores.

    Args:
        config: With `test_dataloader`.
        threshold: Probability above which the network puts a pixel into the mask, if known.

    Returns:
        ``image_size`` (side or (W, H), pixels), ``resize`` (``squash``, ``keep ratio`` or ``letterbox``), ``text``
        (field of a sentence), ``words`` (most tokens), ``overlap`` (of outlines) and ``threshold``. What the config
        leaves open is left out.
    """
    dataset = next(dataset_configs(config['test_dataloader']['dataset']))
    found: dict[str, Any] = {}
    for step in dataset.get('pipeline', []):
        kind = str(step['type']).rpartition('.')[2]
        if kind == 'Resize':
            found |= {'image_size': step.get('scale'), 'resize': 'keep ratio' if step.get('keep_ratio') else 'squash'}
        elif kind == 'Letterbox':
            found |= {'image_size': step.get('size'), 'resize': 'letterbox'}
        elif kind == 'LoadReferringMask':
            found['overlap'] = step.get('overlap', 'union')
        elif kind == 'TokenizeExpression':
            found['words'] = step.get('max_length', 20)
    found['text'] = dataset.get('text_field', 'raw')
    return found if threshold is None else {**found, 'threshold': threshold}


def describe_protocol(protocol: dict[str, Any]) -> str:
    """One line for people.

    Example:
        >>> describe_protocol({'image_size': 416, 'resize': 'letterbox', 'text': 'sent', 'threshold': 0.35})
        'image 416 x 416, letterbox; text sent; threshold 0.35'
    """
    size = protocol.get('image_size')
    width, height = size if isinstance(size, (list, tuple)) else (size, size)
    parts = []
    if size is not None:
        parts.append(f'image {width} x {height}, {protocol["resize"]}')
    text = f'text {protocol["text"]}'
    parts.append(f'{text}, {protocol["words"]} tokens at most' if 'words' in protocol else text)
    if 'overlap' in protocol:
        parts.append(f'overlapping outlines: {protocol["overlap"]}')
    if 'threshold' in protocol:
        parts.append(f'threshold {protocol["threshold"]:g}')
    return '; '.join(parts)
