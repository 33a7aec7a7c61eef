"""Weights and inputs generated from names instead of stored. NumPy only, because the peers' environments import it."""

import zlib

import numpy as np


def draw(key: str) -> np.random.Generator:
    """Returns a Philox generator seeded with the CRC-32 of `key`."""
    return np.random.Generator(np.random.Philox(key=zlib.crc32(key.encode())))


def formula(name: str, shape: tuple[int, ...], kind: str, scale: float) -> np.ndarray:
    """Returns the values of a tensor: zero-mean filters for convolutions, BatchNorm scales in 0.5 .. 1.5."""
    if kind == "count":
        return np.zeros(shape, np.int64)
    if kind in ("bn_weight", "bn_var"):
        return 0.5 + draw(name).random(shape, dtype=np.float32)
    value = draw(name).standard_normal(shape, dtype=np.float32)
    if kind == "conv":
        return (value - value.mean(axis=tuple(range(1, value.ndim)), keepdims=True)) * np.float32(scale)
    return value * np.float32(0.1)


def odd_input(size: tuple[int, int]) -> np.ndarray:
    """Returns (1, 3, height, width) float32 for a (height, width) `size`."""
    return draw("odd {}x{}".format(*size)).standard_normal((1, 3, *size), dtype=np.float32)


def odd_image(size: tuple[int, int]) -> np.ndarray:
    """Returns (height, width, 3) uint8: coloured squares of 8 x 8 pixels with noise."""
    squares = draw("squares {}x{}".format(*size)).integers(0, 200, (-(-size[0] // 8), -(-size[1] // 8), 3))
    large = squares.repeat(8, 0).repeat(8, 1)[: size[0], : size[1]]
    return (large + draw("noise {}x{}".format(*size)).integers(0, 56, (*size, 3))).astype(np.uint8)
