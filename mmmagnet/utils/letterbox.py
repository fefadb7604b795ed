"""The geometry of a letterbox: an image shrunk or enlarged into the middle of a square."""

from __future__ import annotations

import cv2
import numpy as np


def letterbox_matrices(height: int, width: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Matrices of a letterbox and of its way back, which map pixel indices (x, y) [O].

    Each is solved from three pairs of float32 points, as CRIS does, so they are exact to about 1e-6 only.

    Args:
        height: H_0 of the image, pixels.
        width: W_0 of the image, pixels.
        size: Side S of the square, pixels.

    Returns:
        (2, 3) float64 from the image to the square, and the same back.

    Example:
        >>> forward, back = letterbox_matrices(height=50, width=100, size=200)
        >>> forward.round(4).tolist()
        [[2.0, 0.0, 0.0], [0.0, 2.0, 50.0]]
    """
    scale = min(size / height, size / width)
    left, top = (size - scale * width) / 2, (size - scale * height) / 2
    image = np.array([[0, 0], [width, 0], [0, height]], np.float32)
    square = np.array([[left, top], [scale * width + left, top], [left, scale * height + top]], np.float32)
    return cv2.getAffineTransform(image, square), cv2.getAffineTransform(square, image)
