"""A folder of results: overlays, masks and one JSON file."""

from __future__ import annotations

import re
from collections import Counter
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

from mmmagnet.utils.images import ImageLike, is_address
from mmmagnet.utils.io import atomic_write, write_json

from .referring_result import ReferringResult

_STEM_BYTES = 100  # of an image's name, so that a file's name stays below 255


class ResultFolder:
    """Writes results to a folder, which is made at the first: ``NAME_overlay.png``, ``NAME_mask.png``, results.json.

    A name has the image's, the number of the expression and its words. Nothing is written outside the folder, and no
    result replaces another of this object.

    Args:
        folder: Folder to write to.

    Example:
        >>> with ResultFolder('outputs') as folder:  # doctest: +SKIP
        ...     folder.add('photo.jpg', inferencer('photo.jpg', 'the man in red'))
        PosixPath('outputs/photo_0_the_man_in_red_overlay.png')
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.entries: list[dict[str, Any]] = []
        self._expressions: Counter[str] = Counter()  # of each image
        self._taken: set[str] = set()

    def add(self, image: ImageLike, result: ReferringResult) -> Path:
        """Write overlay and mask (255 = referred) of a result.

        Args:
            image: The image as it was given; its name becomes part of the files'.
            result: Of that image.

        Returns:
            The overlay's file.

        Raises:
            OSError: If a file cannot be written.
        """
        source = str(image) if isinstance(image, (str, Path)) else None
        name = self._name(source, result.expression)
        files = {'overlay': result.draw(), 'mask': result.mask.astype(np.uint8) * 255}
        for kind, pixels in files.items():
            with atomic_write(self.folder / f'{name}_{kind}.png', 'wb') as file:
                Image.fromarray(pixels).save(file, 'PNG')
        box = result.box and [*result.box[:2], result.box[2] - result.box[0], result.box[3] - result.box[1]]
        self.entries.append(
            {
                'image': source,
                'expression': result.expression,
                'segmentation': result.rle,
                'bbox': box,
                'score': result.score,
                'target_score': result.target_score,
                **{kind: f'{name}_{kind}.png' for kind in files},
            }
        )
        return self.folder / f'{name}_overlay.png'

    def write_json(self) -> None:
        """Write results.json: a list with an entry for each result, masks as COCO's RLE, boxes as x, y, width, height.

        Raises:
            OSError: If the file cannot be written.
        """
        if self.entries:
            write_json(self.folder / 'results.json', self.entries)

    def __enter__(self) -> ResultFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self.write_json()

    def _name(self, source: str | None, expression: str) -> str:
        """A new name without anything that a path could be made of."""
        stem = 'image' if source is None else Path(urlsplit(source).path if is_address(source) else source).stem
        stem = (
            re.sub(r'[^\w.-]', '_', stem.encode(errors='replace')[:_STEM_BYTES].decode(errors='ignore')).lstrip('.')
            or 'image'
        )
        words = re.sub(r'[^a-z0-9]+', '_', expression[:200].lower()).strip('_')[:40]
        number = self._expressions[source or stem]
        self._expressions[source or stem] += 1
        plain = name = '_'.join(part for part in (stem, str(number), words) if part)
        again = count(2)
        while name.lower() in self._taken:
            name = f'{plain}_{next(again)}'
        self._taken.add(name.lower())
        return name
