"""Architectures and weights of transformers' text encoders, for encoders that are split into stages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mmengine.logging import print_log
from safetensors import SafetensorError
from torch import Tensor, nn

from mmmagnet.utils import resolve_model_path
from mmmagnet.utils.checkpoint import load_checked
from mmmagnet.utils.errors import CheckpointError


def drop_later_layers(settings: Any, stage_ends: Sequence[int]) -> None:
    """Reduce an encoder's configuration to the layers up to the end of the last stage.

    Raises:
        ValueError: If the stages do not follow one another, or the encoder has too few layers.
    """
    available = settings.num_hidden_layers
    rising = list(stage_ends) == sorted(stage_ends)
    if not stage_ends or not rising or stage_ends[0] < 0 or stage_ends[-1] > available:
        raise ValueError(f'stage_ends={tuple(stage_ends)}: must not fall, and the encoder has {available} layers')
    settings.num_hidden_layers = stage_ends[-1]


def read_weights(pretrained: str, from_pretrained: Callable[..., Any], **options: Any) -> dict[str, Tensor]:
    """Weights that a folder or a model of the hub really holds; transformers invents missing ones.

    Args:
        pretrained: Name or folder.
        from_pretrained: Of the model's class.
        options: For it.

    Raises:
        CheckpointError: If they cannot be found or read.
    """
    try:
        source, report = from_pretrained(
            resolve_model_path(pretrained), output_loading_info=True, trust_remote_code=False, **options
        )
    except (OSError, ValueError, SafetensorError) as error:
        raise CheckpointError(
            f'text_encoder.pretrained={pretrained!r}: {str(error).splitlines()[0]}; give the folder of a '
            'downloaded model, or None to start from random weights'
        ) from error
    return {name: value for name, value in source.state_dict().items() if name not in report['missing_keys']}


def fill_encoder(encoder: nn.Module, weights: dict[str, Tensor], pretrained: str, partial: bool) -> None:
    """Load weights into an encoder of the same names.

    Args:
        encoder: The encoder.
        weights: Of at least the layers that it has.
        pretrained: Name or folder of the weights, for messages.
        partial: Accept weights that leave some of the encoder untouched.

    Raises:
        CheckpointError: If the weights belong to an encoder of another size.
    """
    own = encoder.state_dict()
    missing = load_checked(
        encoder,
        {name: value for name, value in weights.items() if name in own},  # the layers that the stages leave out
        f'text_encoder.pretrained={pretrained!r}',
        'leave out text_encoder.config, or set partial=True to take what fits',
        partial=partial,
    )
    left = f', {len(missing)} left as they were: {", ".join(missing)}' if missing else ''
    print_log(f'text encoder: {len(own) - len(missing)} weights from {pretrained}{left}', logger='current')
