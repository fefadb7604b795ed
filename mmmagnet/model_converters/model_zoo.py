"""Models by name: found in the metafiles, brought from the Hugging Face hub, checked, converted and kept."""

from __future__ import annotations

import difflib
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

import mmmagnet
from mmmagnet.utils.errors import CheckpointError
from mmmagnet.utils.io import atomic_write, file_sha256
from mmmagnet.utils.paths import package_root

from .release import convert_release


@dataclass(frozen=True)
class ReleasedModel:
    """A released checkpoint that can be downloaded, as a ``metafile.yaml`` states it under ``Converted From``.

    Attributes:
        name: Such as ``magnet_swin-b_refcoco``.
        config: Config file of its network.
        kind: Name of its converter.
        repository: Owner and name on the hub.
        revision: Branch or commit there.
        filename: Path of the file there.
        licence: What its authors say of its use.
        image_size: That it is scored at, such as ``480 x 480``.
        sha256: Its SHA-256, or as many of its first digits as are known; empty if none is.
        size: Bytes; None if not known.

    Example:
        >>> find_model('magnet_swin-b_refcoco').filename
        'magnet_refcoco.pth'
    """

    name: str
    config: Path
    kind: str
    repository: str
    revision: str
    filename: str
    licence: str
    image_size: str
    sha256: str = ''
    size: int | None = None

    @property
    def converted(self) -> Path:
        """File that the converted checkpoint is kept in."""
        cache = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
        home = Path(os.environ.get('MMMAGNET_HOME') or Path(cache) / 'mmmagnet').expanduser()
        return home / f'{self.name}-{self.sha256[:12] or "unchecked"}-{mmmagnet.__version__}.pth'


def is_model_name(text: Any) -> bool:
    """Whether a text can only be the name of a model: no file is there, and it looks like none.

    Example:
        >>> is_model_name('magnet_swin-b_refcoco'), is_model_name('work_dirs/epoch_3.pth')
        (True, False)
    """
    return isinstance(text, str) and Path(text).name == text and not Path(text).suffix and not Path(text).exists()


def list_models() -> list[ReleasedModel]:
    """All models that `fetch` takes."""
    return [_released(entry) for entry in _entries() if 'Converted From' in entry]


def find_model(name: str) -> ReleasedModel:
    """The model of a name.

    Raises:
        CheckpointError: If there is none, or its weights cannot be downloaded.
    """
    entries = {entry['Name']: entry for entry in _entries()}
    if name not in entries:
        near = difflib.get_close_matches(name, entries, n=3, cutoff=0.5)
        hint = f'did you mean {" or ".join(near)}?' if near else 'tools/infer.py --list-models names them'
        raise CheckpointError(f'{name}: no file and no model; {hint}')
    if 'Converted From' not in entries[name]:
        known = ', '.join(model.name for model in list_models())
        raise CheckpointError(f'{name}: no weights are known that can be downloaded, only those of {known}')
    return _released(entries[name])


def fetch(name: str) -> tuple[Path, Path]:
    """Config and checkpoint of a model, which is downloaded and converted once; later calls need no network.

    `huggingface_hub` downloads: a broken download resumes, and ``HF_ENDPOINT``, ``HF_HOME`` and ``HF_HUB_OFFLINE`` act
    as elsewhere. Nothing in the file is run. The result goes to ``MMMAGNET_HOME``, by default ``~/.cache/mmmagnet``,
    and what the user should know, such as the licence, to stderr.

    Args:
        name: One of `list_models`.

    Returns:
        The config file of the network, and the checkpoint, which stores the same config.

    Raises:
        CheckpointError: If there is no such model, the hub has no such file, or it is not what it should be.
        ConnectionError: If the hub cannot be reached, or the download broke off.
        OSError: If a file cannot be written.

    Example:
        >>> config, checkpoint = fetch('magnet_swin-b_refcoco')
        >>> config.name
        'magnet_swin_b_official.py'
    """
    model = find_model(name)
    if not model.converted.is_file():
        _show_licence(model)
        source = _download(model)
        _check(model, source)
        convert_release(source, model.converted, model.config, model.kind)
        _say(f'{name}: converted to {model.converted}')
    return model.config, model.converted


def _entries() -> list[dict[str, Any]]:
    """The models of all metafiles."""
    files = sorted((package_root() / 'configs').rglob('metafile.yaml'))
    return [entry for file in files for entry in yaml.safe_load(file.read_text(encoding='utf-8'))['Models']]


def _released(entry: dict[str, Any]) -> ReleasedModel:
    source = entry['Converted From']
    owner, repository, _, revision, filename = urlsplit(source['Weights']).path.strip('/').split('/', 4)
    return ReleasedModel(
        name=entry['Name'],
        config=package_root() / source['Config'],
        kind=entry['In Collection'].lower(),
        repository=f'{owner}/{repository}',
        revision=revision,
        filename=unquote(filename),
        licence=source['License'],
        image_size=entry['Metadata']['Image Size'],
        sha256=source.get('SHA256', ''),
        size=source.get('Size'),
    )


def _show_licence(model: ReleasedModel) -> None:
    """Say once on whose terms the weights come."""
    shown = model.converted.parent / 'licences' / model.repository.replace('/', '--')
    if not shown.is_file() or shown.read_text(encoding='utf-8') != model.licence:
        _say(f"{model.name}: the weights of {model.repository} come under their authors' terms: {model.licence}")
        with atomic_write(shown) as file:
            file.write(model.licence)


def _download(model: ReleasedModel) -> Path:
    """The released file in the hub's cache."""
    from huggingface_hub import constants, errors, hf_hub_download

    source = f'{model.name}: {model.filename} of {model.repository} at {constants.ENDPOINT}'
    try:
        return Path(hf_hub_download(model.repository, model.filename, revision=model.revision))
    except errors.LocalEntryNotFoundError as error:
        fix = 'check the network, the proxy and HF_ENDPOINT'
        if constants.HF_HUB_OFFLINE:
            fix = 'HF_HUB_OFFLINE is set: unset it for the first call'
        raise ConnectionError(f'{source}: the hub cannot be reached; {fix}') from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.EntryNotFoundError) as error:
        raise CheckpointError(f'{source}: not there, its authors may have moved it; give a file instead') from error
    except (OSError, RuntimeError) as error:  # of the disk, which has a number, or of requests and hf_xet
        if getattr(error, 'errno', None) is not None:
            place = f'cannot be written to {constants.HF_HUB_CACHE}'
            raise OSError(f'{source}: {place} ({error}); HF_HOME names another folder') from error
        raise ConnectionError(f'{source}: the download broke off ({error}); call again to resume it') from error


def _check(model: ReleasedModel, source: Path) -> None:
    """Compare what was downloaded with the metafile; remove it if it is something else."""
    size, digest = source.stat().st_size, file_sha256(source)
    if size != (model.size or size) or not digest.startswith(model.sha256):
        for path in (source.resolve(), source):  # the hub's cache links to what it keeps
            path.unlink(missing_ok=True)
        known = f'{model.size or "any number of"} bytes and SHA-256 {model.sha256}'
        raise CheckpointError(
            f'{model.name}: {model.filename} has {size} bytes and SHA-256 {digest}, expected {known}: it was '
            'damaged on its way or changed by its authors; it is removed, call again'
        )
    if len(model.sha256) < len(digest):
        known = f'only the first {len(model.sha256)} digits are known, and agree' if model.sha256 else 'none is known'
        _say(f'{model.name}: SHA-256 {digest}; {known}')


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
