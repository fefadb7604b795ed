"""Released files: read without running anything in them, told apart by their entries, and made into ours."""

from __future__ import annotations

import argparse
import reprlib
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.registry import init_default_scope
from torch import Tensor

from mmmagnet.registry import MODELS
from mmmagnet.utils.checkpoint import load_file
from mmmagnet.utils.config import load_config
from mmmagnet.utils.errors import CheckpointError, ConfigError
from mmmagnet.utils.io import atomic_write, file_sha256
from mmmagnet.utils.paths import package_root

from .caris import CARIS
from .converter import Converter
from .cris import CRIS
from .detris import DETRIS
from .lavt import LAVT
from .magnet import MAGNET
from .rela import RELA

CONVERTERS = (MAGNET, LAVT, RELA, CARIS, CRIS, DETRIS)

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
INTEGERS = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


class Release(NamedTuple):
    """What a released file holds.

    Attributes:
        converter: Of its method.
        entries: State dict by released names, without ``module.``; a text encoder of its own under ``text_encoder.``.
        options: The training options in the file, if any.
    """

    converter: Converter
    entries: dict[str, Tensor]
    options: dict[str, Any]


def find_converter(names: Iterable[str], source: str | Path) -> Converter:
    """The converter of the method that released names are of.

    Raises:
        CheckpointError: If they are of none.
    """
    names = list(names)
    for converter in CONVERTERS:
        if converter.matches(names):
            return converter
    known = ', '.join(f'{converter.kind} ({converter.marker})' for converter in CONVERTERS)
    raise CheckpointError(
        f'{source}: begins with {next(iter(names), "nothing")} and has no entry of {known}: '
        'give a checkpoint as its authors release it'
    )


def read_release(path: str | Path) -> Release:
    """Read a released checkpoint. Its tensors stay in the file until they are used, so it must not change meanwhile.

    Args:
        path: A file with ``model`` (or ``state_dict``), and ``bert_model`` where the text encoder is kept apart, as in
            LAVT's first variant.

    Raises:
        FileNotFoundError: If `path` is not there.
        CheckpointError: If the file cannot be read, is damaged, holds objects that could run code, or is of another
            network.
    """
    content = load_file(path, allowed=[argparse.Namespace], mmap=True)
    if zipfile.is_zipfile(path):
        check_archive(Path(path))
    if not isinstance(content, dict):
        raise CheckpointError(f'{path}: holds a {type(content).__name__}, expected a released checkpoint with `model`')
    if {'state_dict', 'meta'} <= content.keys():
        raise CheckpointError(f'{path}: is a checkpoint of MMEngine, not a released one: use it as it is')
    wrapper = next((name for name in ('model', 'state_dict') if name in content), None)
    entries = _tensors(content[wrapper] if wrapper else content, f'{path}: {wrapper or "the file"}')
    if content.get('bert_model') is not None:
        if any(name.startswith(('text_encoder.', 'image_model.')) for name in entries):
            raise CheckpointError(f'{path}: has two text encoders, one in model and one in bert_model')
        text = _tensors(content['bert_model'], f'{path}: bert_model')
        entries |= {f'text_encoder.{name}': value for name, value in text.items()}
    options = content.get('args')
    if isinstance(options, argparse.Namespace):
        options = vars(options)
    return Release(find_converter(entries, path), entries, options if isinstance(options, dict) else {})


def check_archive(path: Path) -> None:
    """Check the checksums of an archive, which `torch.load` does not.

    Raises:
        CheckpointError: If one is wrong, or the archive cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except Exception as error:  # zipfile raises several kinds on an index that PyTorch passes over
        raise CheckpointError(f'{path}: its index is damaged ({error}): get the file again') from error
    if damaged:
        raise CheckpointError(f'{path}: {damaged} in it has a wrong checksum: the file is damaged, get it again')


def _tensors(entries: Any, source: str) -> dict[str, Tensor]:
    """Plain tensors by name, without ``module.``."""
    if not isinstance(entries, dict):
        raise CheckpointError(f'{source} is a {type(entries).__name__}, expected a state dict (name -> tensor)')
    plain: dict[str, Tensor] = {}
    for name, value in entries.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise CheckpointError(f'{source}: the entry {reprlib.repr(name)} is no tensor')
        if value.layout != torch.strided or value.device.type != 'cpu' or value.dtype not in FLOATS + INTEGERS:
            stored = f'{value.layout}, {value.dtype}, on {value.device}'
            raise CheckpointError(f'{source}: {name} is not a plain tensor of numbers but {stored}')
        if not value.numel() or value.untyped_storage().nbytes() < value.numel() * value.element_size():
            raise CheckpointError(f'{source}: {name} of shape {tuple(value.shape)} has no numbers in the file')
        short = name.removeprefix('module.')
        if short in plain:
            raise CheckpointError(f'{source}: {short} is there twice, with and without module.: keep one')
        plain[short] = value
    return plain


def convert_release(
    source: str | Path, out: str | Path, config: str | Path | None = None, kind: str | None = None
) -> tuple[str, int, int]:
    """Write one of our checkpoints, config included, from a released one, whose tensors are read as they are written.

    Args:
        source: Released file.
        out: File to write, whole or not at all.
        config: Config file of its network, which is run. Default: the method's published one.
        kind: Method that the file must be of. Default: any.

    Returns:
        The method, and how many entries were written and how many of `source` have no effect on masks.

    Raises:
        FileNotFoundError: If `source` or `config` is not there.
        CheckpointError: If `source` is damaged, of another method, or does not fit the network.
        ConfigError: If `config` makes no such network.
        OSError: If `out` cannot be written.
    """
    converter, entries, options = read_release(source)
    if kind not in (None, converter.kind):
        raise CheckpointError(f'{source}: holds a network of {converter.kind}, expected one of {kind}')
    path = config or package_root() / 'configs' / converter.config
    settings = load_config(path)
    if not {'backbone', 'text_encoder', 'neck', 'decode_head'} <= settings.get('model', {}).keys():
        raise ConfigError(f'{path}: has no model of backbone, text_encoder, neck and decode_head')
    settings.model = converter.apply_options(settings.model.to_dict(), options, str(source))
    init_default_scope('mmseg')
    try:
        with torch.device('meta'):  # names and shapes suffice
            own = MODELS.build(settings.model).state_dict()
    except ValueError as error:
        raise ConfigError(f'{path}: no network can be built with the options of {source}: {error}') from error
    weights, unused = converter.convert(entries, own, source)
    note = {
        'from': Path(source).name,
        'sha256': file_sha256(source),
        'network': converter.kind,
        'converter': 'mmmagnet.model_converters.convert_release',
        'unused': unused,
    }
    try:
        with atomic_write(out, 'wb') as file:
            torch.save({'meta': {'cfg': settings.pretty_text, 'official': note}, 'state_dict': weights}, file)
    except (OSError, RuntimeError) as error:  # PyTorch's own of a disk that fills in the middle
        cause = error.strerror if isinstance(error, OSError) else error
        raise OSError(f'{out}: cannot be written, is the disk full? ({cause})') from error
    return converter.kind, len(weights), len(unused)
