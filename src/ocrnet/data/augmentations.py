"""Augmentation beyond the published recipes: one warp (rotation, shift, scale), and changes of a crop's pixels.

image: (H, W, 3) uint8 RGB; label: (H, W) uint8, 255 ignored. What is off draws no random number, so the samples of
a run without these options stay the same. The work is done by OpenCV, which releases Python's lock: data threads run in
parallel.
"""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.random import Generator

from ocrnet.config import AugmentConfig, CutoutConfig
from ocrnet.data.images import WindowedImage
from ocrnet.errors import UserError
from ocrnet.formats.label_values import IGNORED

_MAX_SIDE = 32766  # OpenCV's warpAffine has 16-bit coordinates


class Warp(NamedTuple):
    """An affine map from the pixels of a canvas to those of an image file, and the size of the canvas.

    It contains the random resize: the file's pixels are interpolated once.
    """

    matrix: np.ndarray
    """(2, 3) float64: [x, y] in the file = matrix @ [x, y, 1] in the canvas. Pixel centres are whole numbers."""
    size: tuple[int, int]
    """(height, width) of the canvas."""


def random_warp(shape: tuple[int, int], size: tuple[int, int], config: AugmentConfig, rng: Generator) -> Warp | None:
    """Returns a random warp of an image of `shape` that is resized to `size` (both height, width), or None for none.

    Rotation and scale are about the centre; positive angles are counter-clockwise. The canvas has the resized image's
    size, with height and width exchanged if the angle is closer to 90 or 270 degrees than to 0 or 180. So a rotation by
    90 degrees equals np.rot90.

    Raises:
        UserError: the image is too large for OpenCV.
    """
    degrees, scale, shift = 0.0, 1.0, np.zeros(2)
    warped = False
    if config.rotate90 and rng.random() < config.rotate90:
        degrees, warped = 90.0 * rng.integers(1, 4), True
    if config.rotation and rng.random() < config.rotation.probability:
        degrees, warped = degrees + rng.uniform(-config.rotation.degrees, config.rotation.degrees), True
    if config.shift_scale and rng.random() < config.shift_scale.probability:
        scale, warped = rng.uniform(*config.shift_scale.scale), True
        shift = rng.uniform(-config.shift_scale.shift, config.shift_scale.shift, 2)
    if not warped:
        return None
    canvas = size[::-1] if round(degrees / 90) % 2 else size
    if max(*shape, *canvas) > _MAX_SIDE:
        raise UserError(
            f"data.augment: an image of {shape[1]} x {shape[0]} pixels, resized to {size[1]} x {size[0]}, cannot be "
            f"warped: at most {_MAX_SIDE} pixels per side. Split it into tiles, or lower data.scale_range",
        )
    return Warp(_matrix(shape, size, canvas, degrees, scale, shift), canvas)


def _matrix(
    shape: tuple[int, int],
    size: tuple[int, int],
    canvas: tuple[int, int],
    degrees: float,
    scale: float,
    shift: np.ndarray,
) -> np.ndarray:
    """Returns `Warp.matrix`. In coordinates [x, y] whose pixel centres are at 0.5, 1.5, ...:

    file = resize @ (centre of the resized image + rotation @ (canvas - centre of the canvas - shift) / scale)
    """
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    resize = np.diag([shape[1] / size[1], shape[0] / size[0]])
    linear = resize @ np.array([[cosine, -sine], [sine, cosine]]) / scale
    centre, sides = np.array(size[::-1]) / 2, np.array(canvas[::-1])
    offset = resize @ centre - linear @ (sides / 2 + shift * sides - 0.5) - 0.5
    return np.column_stack([linear, offset])


def warp_label(label: np.ndarray, warp: Warp) -> np.ndarray:
    """Returns the label of the whole canvas, by nearest neighbour. It is ignored beyond the image."""
    flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(label, warp.matrix, warp.size[::-1], flags=flags, borderValue=IGNORED)


def warp_window(
    image: WindowedImage, warp: Warp, window: tuple[slice, slice], fill: tuple[int, int, int]
) -> np.ndarray:
    """Returns `window` of the canvas, interpolated bilinearly from those pixels of the image that it needs.

    Pixels beyond the image have the colour `fill`.
    """
    rows, columns = window
    corners = np.array([[x, y, 1] for x in (columns.start, columns.stop - 1) for y in (rows.start, rows.stop - 1)])
    ends = warp.matrix @ corners.T  # (2, 4)
    limits = np.array(image.shape[1::-1])
    first = np.clip(np.floor(ends.min(axis=1)).astype(int) - 1, 0, limits - 1)
    last = np.clip(np.ceil(ends.max(axis=1)).astype(int) + 1, 0, limits - 1)
    source = image[first[1] : last[1] + 1, first[0] : last[0] + 1]
    matrix = warp.matrix.copy()
    matrix[:, 2] += warp.matrix[:, :2] @ [columns.start, rows.start] - first
    size = (columns.stop - columns.start, rows.stop - rows.start)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(source, matrix, size, flags=flags, borderValue=fill)


def degrade(
    image: np.ndarray, label: np.ndarray, config: AugmentConfig, fill: tuple[int, int, int], rng: Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Applies blur, noise, JPEG artefacts, and cutout with the colour `fill`, in a camera's order."""
    if config.blur and rng.random() < config.blur.probability:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(*config.blur.sigma))
    if config.noise and rng.random() < config.noise.probability:
        image = add_noise(image, rng.uniform(*config.noise.std), seed=int(rng.integers(2**31)))
    if config.jpeg and rng.random() < config.jpeg.probability:
        low, high = config.jpeg.quality
        image = compress(image, int(rng.integers(low, high + 1)))
    if config.cutout and rng.random() < config.cutout.probability:
        image, label = cut_out(image, label, config.cutout, fill, rng)
    return image, label


def add_noise(image: np.ndarray, std: float, seed: int) -> np.ndarray:
    """Adds Gaussian noise of standard deviation `std`, rounded and clipped to 0 to 255."""
    noise = np.empty((image.shape[0], 3 * image.shape[1]), np.int16)  # for 3 channels OpenCV takes 3 deviations
    cv2.setRNGSeed(seed)  # each thread has its own generator
    cv2.randn(noise, 0, std)
    return cv2.add(image, noise.reshape(image.shape), dtype=cv2.CV_8U)


def compress(image: np.ndarray, quality: int) -> np.ndarray:
    """Encodes an image as JPEG and decodes it again."""
    stored = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", stored, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)


def cut_out(
    image: np.ndarray, label: np.ndarray, config: CutoutConfig, fill: tuple[int, int, int], rng: Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Fills random rectangles of the image with `fill`, and of the label with 255 if `ignore_label`.

    The rectangles lie in the image as a whole, as in albumentations' CoarseDropout.
    """
    image, label = image.copy(), label.copy()
    low, high = config.holes
    for _ in range(rng.integers(low, high + 1)):
        height, width = (max(1, round(side * rng.uniform(*config.size))) for side in label.shape)
        top, left = rng.integers(label.shape[0] - height + 1), rng.integers(label.shape[1] - width + 1)
        hole = slice(top, top + height), slice(left, left + width)
        image[hole] = fill
        if config.ignore_label:
            label[hole] = IGNORED
    return image, label
