"""Sets as CRIS prepared them, and after it ETRIS and DETRIS: JSON files beside mask images."""

from __future__ import annotations

from pathlib import Path

from mmmagnet.utils.errors import DataError
from mmmagnet.utils.masks import encode_mask

from .layouts import layout_hint
from .objects import ObjectSet, read_mask
from .output import Conversion
from .reading import read_json, refuse_flags, short, take, take_name

SPLITS = ('train', 'val', 'test', 'testA', 'testB')


def convert_cris(root: Path, dataset: str, out: Path, images: Path, overwrite: bool = False) -> Conversion:
    """Convert ``<root>/anns/<dataset>/<split>.json`` and ``<root>/masks/<dataset>/*.png`` to a prepared folder.

    An entry has ``segment_id`` (the name of its mask image, and of REFER's ref), ``img_name``, ``cat`` and
    ``sentences``. A pixel above 0 is in the mask. Their lmdb files hold pickles and are not read.

    Example:
        >>> convert_cris(Path('datasets'), 'refcoco', Path('data/refcoco_unc'), images=Path('train2014'))

    Args:
        root: Folder that holds ``anns`` and ``masks``.
        dataset: ``refcoco``, ``refcoco+``, ``refcocog_u`` ...
        out: The prepared folder.
        images: Folder of the images, to which ``images`` links.
        overwrite: Replace a prepared folder that is there.

    Raises:
        DataError: If a file is missing or damaged, or of another layout.
        OSError: If `out` cannot be written or replaced.
    """
    folder, masks = root / 'anns' / dataset, root / 'masks' / dataset
    files = [folder / f'{split}.json' for split in SPLITS if (folder / f'{split}.json').is_file()]
    if not files or not masks.is_dir():
        hint = '' if (root / 'anns').is_dir() else layout_hint(root)
        lacks = f'{folder}/<split>.json' if not files else f'{masks}/<segment_id>.png'
        raise DataError(f'{lacks}: no such file{hint or ": give the folder that holds anns/ and masks/ as ROOT"}')
    found = ObjectSet()
    for file in files:
        records = read_json(file)
        if not isinstance(records, list) or not all(isinstance(entry, dict) for entry in records):
            raise DataError(f'{file}: not a list of entries{layout_hint(file, records) or ": download it again"}')
        for number, entry in enumerate(records):
            where = f'{file}, entry {number}'
            if 'segment_id' not in entry:
                raise DataError(f'{where}: field segment_id is missing{layout_hint(file, records)}')
            refuse_flags(entry, (), where)
            mask = read_mask(masks / f'{take(entry, "segment_id", int, where)}.png', where)
            height, width = mask.shape
            image = found.image(take_name(entry, 'img_name', where), width, height, where)
            category = None if entry.get('cat') is None else short(entry['cat'])
            known = found.object(image, encode_mask(mask), category)
            sentences = []
            for sentence in take(entry, 'sentences', list, where):
                if not isinstance(sentence, dict):
                    raise DataError(f'{where}: a sentence is {short(sentence)}; expected a dict: download it again')
                refuse_flags(sentence, (), where)
                sentences.append({name: sentence[name] for name in ('raw', 'sent') if name in sentence})
            found.express(file.stem, image, [known], sentences, where)
    conversion = found.write(files[0], out, images, overwrite)
    conversion.warnings.append(
        "CRIS's files hold the refs' own objects only, and masks without their outlines: overlap='odd' changes nothing"
    )
    return conversion
