"""gRefCOCO, whose expressions refer to several objects, one, or none."""

from __future__ import annotations

from pathlib import Path

from mmmagnet.utils.errors import DataError

from .layouts import layout_hint
from .output import Conversion
from .refer import convert_records, list_of_refs, usual_images


def convert_grefcoco(
    root: Path, split_by: str, out: Path, images: Path | None = None, overwrite: bool = False
) -> Conversion:
    """Convert ``<root>/grefcoco/grefs(<split_by>).json`` and ``instances.json`` to a prepared folder.

    A ref without target has ``ann_ids: []``; one without sentences, of which the published file has some, is left out
    and counted. A failed or interrupted conversion leaves no part of it.

    Example:
        >>> convert_grefcoco(Path('refer/data'), 'unc', Path('data/grefcoco_unc'))

    Args:
        root: Folder that holds ``grefcoco``, or that folder itself.
        split_by: ``unc``.
        out: The prepared folder.
        images: Folder of the images, to which ``images`` links. Default: ``<root>/images/mscoco/images/train2014``, or
            ``<root>/images/train2014``.
        overwrite: Replace a prepared folder that is there.

    Raises:
        DataError: If a file is missing or damaged, or a ref names what is not there.
        OSError: If `out` cannot be written or replaced.
    """
    name = f'grefs({split_by}).json'
    places = [root / 'grefcoco' / name, root / name]
    refs_file = next((place for place in places if place.is_file()), None)
    if refs_file is None:
        fix = layout_hint(root) or ': give the folder that holds grefcoco/ as ROOT'
        raise DataError(f'{places[0]}: no such file, nor {places[1]}{fix}')
    if images is None:
        images = usual_images(refs_file.parent.parent)  # ROOT may be grefcoco/ itself
    return convert_records(list_of_refs(refs_file), refs_file, out, images, overwrite, leave_crowds=True)
