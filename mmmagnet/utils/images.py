"""Images of every kind of source as RGB pixels, bounded in size, or refused in one line that names the source."""

from __future__ import annotations

import io
import os
import time
import urllib.request
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from .errors import DataError

ImageLike = str | Path | np.ndarray | Image.Image

FORMATS = ('AVIF', 'BMP', 'GIF', 'JPEG', 'JPEG2000', 'MPO', 'PNG', 'PPM', 'TIFF', 'WEBP')  # EPS would run a program
SUFFIXES = ('.avif', '.bmp', '.gif', '.jp2', '.jpeg', '.jpg', '.pgm', '.png', '.ppm', '.tif', '.tiff', '.webp')
MAX_PIXELS = 89_478_485  # above which Pillow warns of a decompression bomb
MAX_SIDE = 32_766  # of OpenCV's warps
MAX_BYTES = 2**26  # of an image from the web
SECONDS = 20  # for an image from the web


def read_image(image: ImageLike) -> np.ndarray:
    """An image as RGB (H_0, W_0, 3) uint8.

    It is turned upright by its EXIF orientation, laid on white where it is transparent, and of several frames the first
    is taken, with a warning.

    Args:
        image: File, http(s) address, PIL image, or RGB array (H_0, W_0, 3) uint8, which is returned as it is.

    Raises:
        FileNotFoundError: If the file is not there.
        DataError: If it is no whole image of a common format, is too large, or has more than 8 bits a channel in grey.

    Example:
        >>> read_image(Image.new('CMYK', (4, 2))).shape
        (2, 4, 3)
    """
    if isinstance(image, np.ndarray):
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise DataError(f'image array {image.shape} {image.dtype}: give RGB (height, width, 3) of uint8')
        _check_size(image.shape[1], image.shape[0], 'image array')
        return image
    if isinstance(image, Image.Image):
        with _naming('image'):
            return _rgb(image, 'image')
    if not isinstance(image, (str, Path)):
        raise DataError(f'image of type {type(image).__name__}: give a file, an RGB array or a PIL image')
    name = str(image)
    if is_address(image):
        content = io.BytesIO(_download(name))
    elif os.path.isfile(image):  # noqa: PTH113, since Path.is_file raises for a name that is too long
        content = None
    else:
        raise FileNotFoundError(f'{name}: no such image file')
    with _naming(name), Image.open(content or name) as opened:
        if opened.format not in FORMATS:
            raise DataError(f'{name}: is {opened.format}; convert it to PNG or JPEG')
        return _rgb(opened, name)


def loaded_image(pixels: np.ndarray, source: str = '') -> dict[str, Any]:
    """What a pipeline's first step would give for an image that is in memory, with what a test item adds.

    Args:
        pixels: RGB, (H_0, W_0, 3) uint8.
        source: Name of the image, for messages.
    """
    height, width = size = pixels.shape[:2]
    return {
        'img': np.ascontiguousarray(pixels[..., ::-1]),  # BGR, as mmcv loads files
        'img_path': source,
        'img_shape': size,
        'ori_shape': size,
        'height': height,
        'width': width,
        'sample_idx': 0,
    }


def image_files(folder: str | Path) -> list[Path]:
    """The images of a folder, by name, without those of its subfolders.

    Raises:
        DataError: If there is none.
    """
    found = sorted(path for path in Path(folder).iterdir() if path.suffix.lower() in SUFFIXES)
    if not found:
        raise DataError(f'{folder}: has no image ({", ".join(SUFFIXES)})')
    return found


def is_address(image: object) -> bool:
    """Whether this is an address of the web."""
    return isinstance(image, str) and image.lower().startswith(('http://', 'https://'))


def is_folder(path: object) -> bool:
    """Whether this names a folder; False of what is no path."""
    return isinstance(path, (str, Path)) and os.path.isdir(path)  # noqa: PTH112, since Path.is_dir may raise


@contextmanager
def _naming(source: str) -> Iterator[None]:
    """Turn whatever a decoder raises into one line that names the image."""
    try:
        yield
    except (DataError, MemoryError, PermissionError):
        raise
    except Image.DecompressionBombError as error:
        raise DataError(f'{source}: is too large ({error}); reduce it') from error
    except Exception as error:
        raise DataError(f'{source}: not a whole image ({error}); give a PNG, JPEG or another image file') from error


def _rgb(image: Image.Image, source: str) -> np.ndarray:
    _check_size(*image.size, source)
    if image.mode[0] in 'IF':  # Pillow would clip them at 255
        raise DataError(f'{source}: has more than 8 bits a pixel (mode {image.mode}); convert it to 8 bits')
    if getattr(image, 'is_animated', False) and image.format != 'MPO':  # a photograph and its thumbnail
        warnings.warn(f'{source}: has several frames; one of them is segmented', stacklevel=2)
    upright = ImageOps.exif_transpose(image)
    if upright.has_transparency_data:
        upright = upright.convert('RGBA')
        upright = Image.alpha_composite(Image.new('RGBA', upright.size, 'white'), upright)
    return np.asarray(upright.convert('RGB'))


def _check_size(width: int, height: int, source: str) -> None:
    if not 0 < width * height <= MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise DataError(
            f'{source}: {width} x {height} pixels; give 1 to {MAX_PIXELS} in all and at most {MAX_SIDE} a side'
        )


def _download(address: str) -> bytes:
    content, deadline = bytearray(), time.monotonic() + SECONDS
    try:
        with urllib.request.urlopen(address, timeout=SECONDS) as answer:
            while block := answer.read1(2**16):
                content += block
                if len(content) > MAX_BYTES or time.monotonic() > deadline:
                    raise DataError(f'{address}: over {MAX_BYTES} bytes or {SECONDS} seconds; download it yourself')
    except (OSError, ValueError, HTTPException) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f'{address}: cannot be downloaded ({error})') from error
    return bytes(content)
