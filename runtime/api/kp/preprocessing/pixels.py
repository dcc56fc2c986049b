"""Pixel formats: from the bytes of an image to planes of red, green, blue and alpha, or of grey."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from ..enums import ApiReturnCode, ImageFormat
from ..exceptions import Refusal


class Box(NamedTuple):
    """A part of an image, in pixels."""

    x: int
    y: int
    width: int
    height: int


Chroma = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Y, Cb and Cr of every pixel, uint8[rows, columns]."""

_YUYV = "Y0CBY1CR"

_ORDERS: Mapping[ImageFormat, tuple[str, ...]] = {
    member: tuple(re.findall("CB|CR|Y0|Y1", _YUYV if member is ImageFormat.KP_IMAGE_FORMAT_YUYV else member.name[-8:]))
    for member in ImageFormat
    if member is ImageFormat.KP_IMAGE_FORMAT_YUYV or "YCBCR422" in member.name
}
"""The four bytes of two neighbouring pixels, in the order in which the names of the formats tell them."""

_BITS = 22
"""Of fraction: as many as leave room for the sums of 32 bits."""


def bytes_of_image(format: ImageFormat, width: int, height: int) -> int:
    """The bytes that an image takes.

    Raises:
        Refusal: `KP_ERROR_INVALID_PARAM_12`, the format has none.
    """
    if format == ImageFormat.KP_IMAGE_FORMAT_YUV420:
        return width * height * 3 // 2
    if format == ImageFormat.KP_IMAGE_FORMAT_RAW8:
        return width * height
    if format == ImageFormat.KP_IMAGE_FORMAT_RGBA8888:
        return width * height * 4
    if format == ImageFormat.KP_IMAGE_FORMAT_RGB565 or format in _ORDERS:
        return width * height * 2
    raise Refusal(
        ApiReturnCode.KP_ERROR_INVALID_PARAM_12,
        "the image has no known format",
        expected="one of ImageFormat other than KP_IMAGE_FORMAT_UNKNOWN",
        found=repr(format),
    )


def check_parity(format: ImageFormat, width: int, height: int) -> None:
    """Refuse sizes at which formats that share colours between pixels would share them with pixels outside.

    Raises:
        Refusal: `KP_ERROR_IMAGE_ODD_WIDTH_23` or `KP_ERROR_IMAGE_INVALID_HEIGHT_45`.
    """
    shared = format in _ORDERS or format == ImageFormat.KP_IMAGE_FORMAT_YUV420
    if shared and width % 2:
        raise Refusal(
            ApiReturnCode.KP_ERROR_IMAGE_ODD_WIDTH_23,
            "two neighbouring pixels of this format share their colour",
            expected="an even width",
            found=width,
        )
    if format == ImageFormat.KP_IMAGE_FORMAT_YUV420 and height % 2:
        raise Refusal(
            ApiReturnCode.KP_ERROR_IMAGE_INVALID_HEIGHT_45,
            "two rows of this format share their colours",
            expected="an even height",
            found=height,
        )


def planes_of(data: np.ndarray, format: ImageFormat, width: int, height: int, box: Box, channels: int) -> np.ndarray:
    """Part of an image as planes.

    RGB565 is two bytes, low byte first, of red 5 bits, green 6 and blue 5; what 8 bits have more is filled with zeros.
    RGBA8888 is a byte of each, in this order; an alpha that the format lacks is 255. The bytes of YCbCr 4:2:2 stand in
    the order of the format's name; YUV420 is a plane of Y, then one of Cb and one of Cr at half the width and height.
    Y, Cb and Cr are those of full-range BT.601 as in JFIF (ITU-T T.871), with fractions of 22 bits, rounded to nearest,
    then clipped. A pixel takes the colour that it shares. Grey is Y: that of the image, or that of its red, green and
    blue.

    Args:
        data: uint8[bytes], as many as `bytes_of_image` says.
        box: which part; it lies inside.
        channels: 1 for grey, 3 for red, green, blue, or 4 with alpha.

    Returns:
        uint8[channels, box.height, box.width] in memory of its own.
    """
    if format == ImageFormat.KP_IMAGE_FORMAT_RAW8:
        return _of_grey(_cut(data.reshape(height, width), box), channels)
    if format == ImageFormat.KP_IMAGE_FORMAT_RGB565:
        return _of_colours(_rgb565(_cut(data.reshape(height, width, 2), box)), channels)
    if format == ImageFormat.KP_IMAGE_FORMAT_RGBA8888:
        return _of_colours(_cut(data.reshape(height, width, 4), box).transpose(2, 0, 1), channels)
    if format == ImageFormat.KP_IMAGE_FORMAT_YUV420:
        return _of_chroma(_yuv420(data, width, height, box), channels)
    return _of_chroma(_ycbcr422(data.reshape(height, width * 2), _ORDERS[format], box), channels)


def _cut(pixels: np.ndarray, box: Box) -> np.ndarray:
    return pixels[box.y : box.y + box.height, box.x : box.x + box.width]


def _rgb565(pixels: np.ndarray) -> np.ndarray:
    low, high = pixels[..., 0], pixels[..., 1]
    found = np.empty((3, *low.shape), np.uint8)
    np.bitwise_and(high, 0xF8, out=found[0])
    np.bitwise_or(high << 5, (low >> 3) & 0x1C, out=found[1])
    np.left_shift(low, 3, out=found[2])
    return found


def _ycbcr422(rows: np.ndarray, order: tuple[str, ...], box: Box) -> Chroma:
    first = box.x // 2 * 2
    last = -(-(box.x + box.width) // 2) * 2
    pairs = rows[box.y : box.y + box.height, first * 2 : last * 2].reshape(box.height, -1, 4)
    luma = np.stack([pairs[..., order.index(name)] for name in ("Y0", "Y1")], axis=-1).reshape(box.height, -1)
    inside = slice(box.x - first, box.x - first + box.width)
    cb, cr = (np.repeat(pairs[..., order.index(name)], 2, axis=1)[:, inside] for name in ("CB", "CR"))
    return luma[:, inside], cb, cr


def _yuv420(data: np.ndarray, width: int, height: int, box: Box) -> Chroma:
    luma = _cut(data[: width * height].reshape(height, width), box)
    columns, rows = np.arange(box.x, box.x + box.width) // 2, np.arange(box.y, box.y + box.height) // 2
    cb, cr = data[width * height : width * height * 3 // 2].reshape(2, height // 2, width // 2)
    return luma, cb[np.ix_(rows, columns)], cr[np.ix_(rows, columns)]


def _of_grey(grey: np.ndarray, channels: int) -> np.ndarray:
    found = np.empty((channels, *grey.shape), np.uint8)
    found[:3] = grey
    found[3:] = 255
    return found


def _of_colours(colours: np.ndarray, channels: int) -> np.ndarray:
    """From planes of red, green, blue and perhaps alpha."""
    if channels == 1:
        red, green, blue = (
            _times(factor)[plane] for factor, plane in zip((0.299, 0.587, 0.114), colours, strict=False)
        )
        return ((red + green + blue + (1 << (_BITS - 1))) >> _BITS).astype(np.uint8)[None]
    found = np.empty((channels, *colours.shape[1:]), np.uint8)
    found[3:] = 255
    found[: len(colours)] = colours[:channels]
    return found


def _of_chroma(chroma: Chroma, channels: int) -> np.ndarray:
    luma, cb, cr = chroma
    if channels == 1:
        return luma.copy()[None]
    found = np.empty((channels, *luma.shape), np.uint8)
    found[3:] = 255
    wide = luma.astype(np.int16)
    np.clip(wide + _rounded(_from_128(1.402))[cr], 0, 255, out=found[0], casting="unsafe")
    green = _from_128(-0.344136286)[cb] + _from_128(-0.714136286)[cr]
    np.clip(wide + _rounded(green), 0, 255, out=found[1], casting="unsafe")
    np.clip(wide + _rounded(_from_128(1.772))[cb], 0, 255, out=found[2], casting="unsafe")
    return found


def _times(factor: float) -> np.ndarray:
    """The multiples of a factor for 0 to 255, with their bits of fraction."""
    return np.arange(256, dtype=np.int32) * round(factor * (1 << _BITS))


def _from_128(factor: float) -> np.ndarray:
    """The same for -128 to 127."""
    return np.arange(-128, 128, dtype=np.int32) * round(factor * (1 << _BITS))


def _rounded(values: np.ndarray) -> np.ndarray:
    return ((values + (1 << (_BITS - 1))) >> _BITS).astype(np.int16)
