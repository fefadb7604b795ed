"""Sets as SeqTR prepared them, and after it SimVG, C3VG and DeRIS: one JSON file with all splits."""

from __future__ import annotations

from pathlib import Path

from mmmagnet.utils.errors import DataError

from .layouts import layout_hint
from .objects import ObjectSet
from .output import Conversion
from .reading import read_json, refuse_flags, short, take


def convert_seqtr(file: Path, out: Path, images: Path, overwrite: bool = False) -> Conversion:
    """Convert a SeqTR-style JSON file to a prepared folder.

    The file has a list for each split, of entries ``image_id, width, height, expressions, mask`` (polygons or RLE).
    Images are named ``COCO_train2014_<12 digits>.jpg`` unless an entry has ``file_name``. Equal outlines on an image
    are one object, and objects and refs are numbered.

    Example:
        >>> convert_seqtr(Path('refcoco-unc/instances.json'), Path('data/refcoco_unc'), images=Path('train2014'))

    Args:
        file: With all splits.
        out: The prepared folder.
        images: Folder of the images, to which ``images`` links.
        overwrite: Replace a prepared folder that is there.

    Raises:
        DataError: If the file is missing or damaged, or of another layout.
        OSError: If `out` cannot be written or replaced.
    """
    content = read_json(file)
    splits = {name: each for name, each in content.items() if isinstance(each, list)} if type(content) is dict else {}
    entries = [entry for each in splits.values() for entry in each]
    if not entries or not all(isinstance(entry, dict) for entry in entries) or 'expressions' not in entries[0]:
        fix = layout_hint(file, content) or ': splits with lists of entries with expressions are needed'
        raise DataError(f"{file}: not a file of SeqTR's layout{fix}")
    found = ObjectSet()
    for split, records in splits.items():
        for number, entry in enumerate(records):
            where = f'{file}, {split}[{number}]'
            refuse_flags(entry, (), where)
            image_id = take(entry, 'image_id', int, where)
            file_name = take({'file_name': f'COCO_train2014_{image_id:012d}.jpg', **entry}, 'file_name', str, where)
            width, height = (take(entry, name, int, where) for name in ('width', 'height'))
            image = found.image(file_name, width, height, where)
            outline = take(entry, 'mask', (list, dict), where)
            category = entry.get('category_id')
            known = found.object(image, outline, None if category is None else short(category))
            texts = take(entry, 'expressions', list, where)
            sentences = [{'raw': take({'expressions': text}, 'expressions', str, where)} for text in texts]
            found.express(split, image, [known], sentences, where)
    conversion = found.write(file, out, images, overwrite)
    conversion.warnings.append(
        "SeqTR's files hold the refs' own objects only, and no ids of refs: expressions of one object are one ref"
    )
    return conversion
