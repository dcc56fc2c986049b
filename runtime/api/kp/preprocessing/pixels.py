"""From the bytes of an image to the pixels of an input: planes of red, green, blue and alpha, or of grey, where they go
in the input, and how they get that size, larger or smaller, in integers.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ..enums import ApiReturnCode, ImageFormat, PaddingMode, ResizeMode
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
    """The bytes that an image takes. Raises Refusal: `KP_ERROR_INVALID_PARAM_12`, the format has none."""
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
    Raises Refusal: `KP_ERROR_IMAGE_ODD_WIDTH_23` or `KP_ERROR_IMAGE_INVALID_HEIGHT_45`."""
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
    ``data``: uint8[bytes], as many as `bytes_of_image` says.
    ``box``: which part; it lies inside.
    ``channels``: 1 for grey, 3 for red, green, blue, or 4 with alpha.
    Returns uint8[channels, box.height, box.width] in memory of its own."""
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
    ``image``: what is left after cropping.
    ``target``: the input of the network.
    ``most``: rows or columns that the device can pad on a side.
    Raises Refusal: `KP_FW_IMAGE_SIZE_NOT_MATCH_MODEL_INPUT_107`, the sizes differ and it must not be resized;
    `KP_FW_NOT_SUPPORT_PREPROCESSING_108`, it takes more padding than the device can do."""
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
    ``planes``: uint8[channels, rows, columns].
    Returns uint8[channels, height, width]."""
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
