"""Where an image goes in the input of a network, and how it gets that size, larger or smaller, in integers."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ..enums import ApiReturnCode, PaddingMode, ResizeMode
from ..exceptions import Refusal


class Size(NamedTuple):
    """Of an image, in pixels."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


class Placement(NamedTuple):
    """How an image fills an input: resized to ``size``, with that many rows and columns of padding around it."""

    size: Size
    top: int
    bottom: int
    left: int
    right: int


def place(image: Size, target: Size, resize: ResizeMode, padding: PaddingMode, most: int) -> Placement:
    """Where the image goes.

    With ``DISABLE`` for padding, it is stretched to the input. Otherwise the side that needs it is made as long as the
    input's and the other one keeps the aspect, rounded down; ``CORNER`` pads to the right and below, ``SYMMETRIC`` on
    both sides, the odd row or column to the right and below.

    Args:
        image: what is left after cropping.
        target: the input of the network.
        most: rows or columns that the device can pad on a side.

    Raises:
        Refusal: `KP_FW_IMAGE_SIZE_NOT_MATCH_MODEL_INPUT_107`, the sizes differ and it must not be resized;
            `KP_FW_NOT_SUPPORT_PREPROCESSING_108`, it takes more padding than the device can do.
    """
    if resize == ResizeMode.KP_RESIZE_DISABLE and image != target:
        raise Refusal(
            ApiReturnCode.KP_FW_IMAGE_SIZE_NOT_MATCH_MODEL_INPUT_107,
            "the image is not of the size of the network's input, and resizing is disabled",
            expected=target,
            found=image,
            hint="Set resize_mode to KP_RESIZE_ENABLE.",
        )
    if resize == ResizeMode.KP_RESIZE_DISABLE or padding == PaddingMode.KP_PADDING_DISABLE:
        return Placement(target, 0, 0, 0, 0)
    if image.width * target.height >= image.height * target.width:
        size = Size(target.width, max(1, image.height * target.width // image.width))
    else:
        size = Size(max(1, image.width * target.height // image.height), target.height)
    across, down = target.width - size.width, target.height - size.height
    symmetric = padding == PaddingMode.KP_PADDING_SYMMETRIC
    left, top = (across // 2, down // 2) if symmetric else (0, 0)
    found = Placement(size, top, down - top, left, across - left)
    if max(found[1:]) > most:
        raise Refusal(
            ApiReturnCode.KP_FW_NOT_SUPPORT_PREPROCESSING_108,
            "the device cannot pad as much as keeping the aspect takes",
            expected=f"at most {most} rows or columns on a side",
            found=f"{max(found[1:])}, for {image} in an input of {target}",
            hint="Set padding_mode to KP_PADDING_DISABLE to stretch the image, or cut it.",
        )
    return found


FRACTION_BITS = 8
"""Bits of a weight: the two of a position add up to 256."""


class _Axis(NamedTuple):
    """Which two source positions each position is made of, and the weight of the second in 1/256."""

    first: np.ndarray
    second: np.ndarray
    weight: np.ndarray


def resample(planes: np.ndarray, height: int, width: int) -> np.ndarray:
    """Pictures of another size, each value made of the four nearest ones.

    Position i of an axis lies at (i + 1/2) * source / target - 1/2 of the source, where pixels are squares with their
    values in the middle; what lies outside is as the nearest edge. Weights are rounded to 1/256, halves to even;
    nothing is rounded between the two axes, and halves go up at the end. This is OpenCV's ``INTER_LINEAR_EXACT`` to the
    bit, and no value is further than 1 from its ``INTER_LINEAR``. What the hardware does between pixels is not
    published.

    Args:
        planes: uint8[channels, rows, columns].

    Returns:
        uint8[channels, height, width].
    """
    rows, columns = planes.shape[1:]
    if (rows, columns) == (height, width):
        return planes
    down, across = _axis(rows, height), _axis(columns, width)
    # Rows that nothing is made of cost nothing.
    used, places = np.unique(np.concatenate((down.first, down.second)), return_inverse=True)
    if len(used) < rows:
        planes = planes[:, used]
        first, second = places.reshape(2, -1)
    else:
        first, second = down.first, down.second
    found = np.empty((len(planes), height, width), np.uint8)
    for plane, target in zip(planes, found, strict=True):
        target[...] = _resample_plane(plane, first, second, down.weight, across)
    return found


def _resample_plane(
    plane: np.ndarray, first: np.ndarray, second: np.ndarray, weight: np.ndarray, across: _Axis
) -> np.ndarray:
    # 255 * 256 fits sixteen bits, and that times 256 thirty-two.
    wide = plane.astype(np.uint16)
    lines = wide[:, across.first]
    lines *= 256 - across.weight
    lines += wide[:, across.second] * across.weight
    below = weight.astype(np.uint32)[:, None]
    found = lines[first] * (256 - below)
    found += lines[second] * below
    found += 1 << (2 * FRACTION_BITS - 1)
    found >>= 2 * FRACTION_BITS
    return found


@lru_cache(maxsize=64)
def _axis(source: int, target: int) -> _Axis:
    # All in halves of a target position, so that every number is whole.
    position = (2 * np.arange(target, dtype=np.int64) + 1) * source - target
    first, remainder = np.divmod(position, 2 * target)
    weight, half = np.divmod((remainder << (FRACTION_BITS + 1)) + 2 * target, 4 * target)
    weight -= (half == 0) & (weight & 1 == 1)
    weight[(first < 0) | (first >= source - 1)] = 0
    first = np.clip(first, 0, source - 1)
    return _Axis(first, np.minimum(first + 1, source - 1), weight.astype(np.uint16))
