"""Download data sets and pretrained weights to where the converters and configs look for them.

download.json has the addresses. Example:
    python tools/download.py refcoco train2014 swin-b bert-base-uncased
    python tools/download.py --list
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import json
import shlex
import shutil
import sys
import tarfile
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

TIMEOUT = 30  # seconds without a byte
LIMIT = 20 * 10**9  # bytes of a download, and of what an archive unpacks to; train2014 has 13

NAMES_CLASH = (FileExistsError, IsADirectoryError, NotADirectoryError)  # in a new folder: a file is a folder, too


class AddressError(OSError):
    """An address that gives nothing, or nothing that can be used."""


@dataclass(frozen=True)
class Source:
    """Something to download. A checksum is ``ALGORITHM:DIGEST``, where DIGEST may be its beginning, or empty.

    Attributes:
        about: Size and terms.
        place: File or folder it becomes; ``{root}`` is the folder of the sets. Empty: the hub's own cache.
        addresses: Their checksums, in order of trust. ``hub:KIND:NAME:REVISION`` is a repository of the hub.
        files: Checksums of what the folder must hold, compared if the archive has none. Empty: it is a file.
        next_command: What to run with it.
    """

    about: str
    place: str
    addresses: dict[str, str]
    files: dict[str, str]
    next_command: str

    def is_there(self, root: Path) -> bool:
        """Whether it is at its place; the hub looks into its cache itself."""
        place = self.place.format(root=root)
        return place != '' and all(Path(place, name).is_file() for name in self.files or [''])


TABLE = json.loads(Path(__file__).with_suffix('.json').read_text(encoding='utf-8'))
SOURCES = {name: Source(**entry) for name, entry in TABLE.items()}


def download(name: str, root: Path) -> None:
    """Bring a source to its place, from the first address that works.

    Raises:
        AddressError: If no address works.
        OSError: If a file cannot be written, or the folder is there without the files.
    """
    source = SOURCES[name]
    place = Path(source.place.format(root=root))
    if source.is_there(root):
        print(f'{place}: already there')
        return
    new = next((path for path in (*reversed(place.parents), place) if not path.exists()), None)
    for address in source.addresses:
        print(f'{name}: from {address}', flush=True)
        get = fetch_from_hub if address.startswith('hub:') else fetch
        try:
            print(f'wrote {get(address, source, place)}')
            return
        except AddressError as error:
            print(f'{address}: {error}', file=sys.stderr)
        except OSError as error:
            raise OSError(error.errno, error.strerror or str(error), error.filename or str(place)) from error
    if new is not None:
        remove_unused(new)
    raise AddressError(f'{name}: no address works; docs/data.md names other copies')


def remove_unused(folder: Path) -> None:
    """Remove a folder without files; those that the hub's client leaves beside a download do not count."""
    files = [path.relative_to(folder) for path in folder.rglob('*') if path.is_file()]
    if all('.cache' in path.parts and path.suffix != '.incomplete' for path in files):
        shutil.rmtree(folder, ignore_errors=True)


def fetch(address: str, source: Source, place: Path) -> Path:
    """Download and check, unpack an archive, and only then give it its name."""
    if place.exists():
        raise FileExistsError(17, f'is there without {" and ".join(source.files)}; move it away', str(place))
    place.parent.mkdir(parents=True, exist_ok=True)
    name = PurePosixPath(address).name
    part, folder = place.with_name(f'{name}.part'), place.with_name(f'{place.name}.unpacking')
    receive(address, part)
    check(part, name, source.addresses[address])
    if not source.files:
        return part.replace(place)
    shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed
    try:
        unpack(part, folder)
        found = next((path.parent for path in folder.rglob(next(iter(source.files)))), folder)
        for file, checksum in source.files.items():
            if not (found / file).is_file():
                raise AddressError(f'{name} lacks {file}')
            if not source.addresses[address]:
                check(found / file, file, checksum)
        found.rename(place)
    except AddressError:
        part.unlink()
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    part.unlink()
    return place


def receive(address: str, part: Path) -> None:
    """Download to the end of `part`, again as long as it grows."""
    part.touch()
    while True:
        before = part.stat().st_size
        try:
            request(address, part, before)
            return
        except AddressError as error:
            if part.stat().st_size <= before:
                if part.stat().st_size == 0:
                    part.unlink()
                raise
            print(f'{address}: {error}; resuming', file=sys.stderr)


def request(address: str, part: Path, start: int) -> None:
    """One request for the bytes from `start`; the answer replaces `part` if the server cannot resume."""
    headers = {'User-Agent': 'mmmagnet', **({'Range': f'bytes={start}-'} if start else {})}
    try:
        response = urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not start:
            raise AddressError(f'HTTP {error.code} {error.reason}') from error
        if error.headers.get('Content-Range') != f'bytes */{start}':  # else it is whole
            request(address, part, 0)
        return
    except (OSError, http.client.HTTPException) as error:
        raise AddressError(f'no answer ({getattr(error, "reason", error)})') from error
    with response:
        if response.headers.get_content_type() == 'text/html':
            raise AddressError('a web page, not the file')
        if response.status != 206 or not response.headers.get('Content-Range', '').startswith(f'bytes {start}-'):
            start = 0
        total = None if response.length is None else start + response.length
        if total is not None and total > LIMIT:
            raise AddressError(f'{total} bytes, more than {LIMIT}; refused')
        done, shown = start, time.monotonic()
        with part.open('ab' if start else 'wb') as file:
            while block := read_block(response):
                file.write(block)
                done += len(block)
                if done > LIMIT:
                    file.truncate(0)
                    raise AddressError(f'more than {LIMIT} bytes; refused')
                if time.monotonic() > shown + 5:
                    shown = time.monotonic()
                    print(f'  {done / 1e6:.0f} MB' + (f' of {total / 1e6:.0f}' if total else ''), flush=True)
    if not done or (total and done < total):
        raise AddressError(f'the connection ended after {done} of {total} bytes')


def read_block(response: http.client.HTTPResponse) -> bytes:
    """Some bytes of an answer, none at its end; only reading fails as an address, writing as a disk."""
    try:
        return response.read(2**18)
    except (OSError, http.client.HTTPException) as error:
        raise AddressError(f'the connection broke ({error or type(error).__name__})') from error


def check(path: Path, name: str, checksum: str) -> None:
    """Compare a file with its checksum, or say that none is known; a wrong file is removed."""
    if not checksum:
        print(f'{name}: not compared, as no checksum is known')
        return
    algorithm, _, expected = checksum.partition(':')
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with path.open('rb') as file:
        while block := file.read(2**20):
            digest.update(block)
    if not digest.hexdigest().startswith(expected):
        path.unlink()
        raise AddressError(f'{name} has the {algorithm} {digest.hexdigest()}, not {expected}; removed')
    print(f'{name}: {algorithm} is right')


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip or tar of plain files that stay inside and have at most `LIMIT` bytes.

    Raises:
        AddressError: If it is damaged or holds anything else.
    """
    folder.mkdir()
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                check_members((member.filename, member.file_size, True) for member in opened.infolist())
                opened.extractall(folder)  # which makes no links
        else:
            with tarfile.open(archive, 'r:') as opened:
                check_members((member.name, member.size, member.isfile() or member.isdir()) for member in opened)
                opened.extraction_filter = getattr(tarfile, 'data_filter', None)
                opened.extractall(folder)
    except Exception as error:  # zipfile, tarfile and zlib raise a dozen kinds on a damaged file
        if isinstance(error, OSError) and not isinstance(error, NAMES_CLASH):
            raise  # of the disk, or refused
        raise AddressError(f'a damaged archive ({error})') from error


def check_members(members: Iterable[tuple[str, int, bool]]) -> None:
    """Refuse an archive by its members: name, bytes, and whether it is a plain file or folder."""
    total = 0
    for name, size, plain in members:
        if size < 0:  # Python's tarfile would read it again and again
            raise tarfile.ReadError(f'{name!r} has {size} bytes')
        total += size
        if not plain or name.startswith('/') or '..' in PurePosixPath(name).parts:
            raise AddressError(f'an archive with a link or a path outside, {name!r}; refused')
        if total > LIMIT:
            raise AddressError(f'an archive of more than {LIMIT} bytes; refused')


def fetch_from_hub(address: str, source: Source, place: Path) -> Path:
    """Download by huggingface_hub, to the place or to the hub's cache."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.utils import logging

    logging.set_verbosity_error()  # it warns of each of its five tries
    _, kind, name, revision = address.split(':')
    folder = place if source.place else None
    for file, checksum in source.files.items():
        try:
            path = Path(hf_hub_download(name, file, repo_type=kind, revision=revision, local_dir=folder))
        except OSError as error:
            if error.errno is not None:  # of the disk
                raise
            raise AddressError(f'{file}: {" ".join(str(error).split())}') from error
        check(path, file, checksum)
    return path.parent


def next_commands(names: list[str], root: Path) -> list[str]:
    """What to run next: converters, once the images are there."""
    images = SOURCES['train2014'].is_there(root)
    wanted = [name for name in SOURCES if name in names or ('train2014' in names and SOURCES[name].is_there(root))]
    commands = [SOURCES[name].next_command.format(root=shlex.quote(str(root))) for name in wanted]
    if not images and any('{root}' in SOURCES[name].next_command for name in names):
        commands.insert(0, f'python tools/download.py train2014 --root {shlex.quote(str(root))}')
    return [command for command in dict.fromkeys(commands) if command]


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    lines = []
    for name, source in SOURCES.items():
        lines.append(f'{name}: {source.about}')
        of_files = ', '.join(f'{file} {checksum}' for file, checksum in source.files.items() if checksum)
        for address, checksum in source.addresses.items():
            lines.append(f'    {address}  {checksum or of_files or "no checksum known"}')
    parser = argparse.ArgumentParser(
        description='Download data sets and pretrained weights, check and unpack them.',
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument('names', nargs='+', metavar='NAME', choices=SOURCES, help=', '.join(SOURCES))
    parser.add_argument('--root', type=Path, default='data/refer', help='folder of the sets (default: data/refer)')
    parser.add_argument('--list', action='version', version='\n'.join(lines), help='print sizes, terms and addresses')
    args = parser.parse_args(argv)
    from mmmagnet.utils.cli import run_command

    def command() -> int:
        for name in args.names:
            download(name, args.root)
        print('\n'.join(['next:', *next_commands(args.names, args.root)]))
        return 0

    return run_command(command)


if __name__ == '__main__':
    sys.exit(main())
