"""From an image in memory to the input of a network, and the account of what was done on the way.

Normalisation is that of the hardware: on bytes, without multiplication. How a network's input is quantised makes values
of these bytes: with radix 8, x - 128 stands for x/256 - 0.5 (Kneron); with radix 7, x - 128 for x/128 - 1 (TensorFlow)
and floor(x/2) for x/256 (YOLO).
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ..enums import ApiReturnCode, ImageFormat, NormalizeMode, PaddingMode, ResizeMode
from ..exceptions import Refusal
from .pixels import Box, Placement, Size, check_parity, place, planes_of, resample


class Picture(NamedTuple):
    """An image as it was sent, with what is to be done to it.
    ``data``: uint8[bytes].
    ``crops``: the parts to take, each for an inference of its own; without any, the whole."""

    data: np.ndarray
    format: ImageFormat
    size: Size
    resize: ResizeMode
    padding: PaddingMode
    normalize: NormalizeMode
    crops: "tuple[Crop, ...]"


class Crop(NamedTuple):
    """A part of an image, and the number that its result carries."""

    number: int
    box: Box


class Abilities(NamedTuple):
    """What preprocessing a product can do.
    ``width_multiple``: what the width of an image must be a multiple of.
    ``padding``: rows or columns that it can pad on a side."""

    width_multiple: int
    padding: int


class Prepared(NamedTuple):
    """An input, and how it was made.
    ``values``: int8[1, channels, rows, columns].
    ``taken``: the part of the image.
    ``placement``: where it went."""

    values: np.ndarray
    taken: Box
    placement: Placement


def prepare(picture: Picture, crop: Crop | None, shape: tuple[int, int, int, int], abilities: Abilities) -> Prepared:
    """Crop, resize, pad with 0, normalise.
    ``shape``: of the input: 1, channels, rows and columns.
    Raises Refusal: with the code of the device's firmware. In order: `KP_ERROR_IMAGE_ODD_WIDTH_23`, the width does not
    suit the device or the format; `KP_ERROR_IMAGE_INVALID_HEIGHT_45`; `KP_FW_INVALID_INPUT_CROP_PARAM_112`, the part
    lies outside the image; `KP_FW_NOT_SUPPORT_PREPROCESSING_108`, the network takes no images;
    `KP_FW_IMAGE_SIZE_NOT_MATCH_MODEL_INPUT_107` and again `KP_FW_NOT_SUPPORT_PREPROCESSING_108`, as `place`."""
    _, channels, height, width = shape
    if picture.size.width % abilities.width_multiple:
        raise Refusal(
            ApiReturnCode.KP_ERROR_IMAGE_ODD_WIDTH_23,
            "the width of the image does not suit this device",
            expected=f"a multiple of {abilities.width_multiple}",
            found=picture.size.width,
        )
    check_parity(picture.format, *picture.size)
    taken = Box(0, 0, *picture.size) if crop is None else _inside(crop.box, picture.size)
    if channels not in (1, 3, 4):
        raise Refusal(
            ApiReturnCode.KP_FW_NOT_SUPPORT_PREPROCESSING_108,
            "images do not become inputs of this network",
            expected="a network of 1, 3 or 4 channels",
            found=channels,
            hint="Send its input with the calls that bypass preprocessing.",
        )
    target = Size(width, height)
    placement = place(Size(taken.width, taken.height), target, picture.resize, picture.padding, abilities.padding)
    planes = planes_of(picture.data, picture.format, *picture.size, taken, channels)
    planes = resample(planes, placement.size.height, placement.size.width)
    if placement.size != target:
        padded = np.zeros((channels, height, width), np.uint8)
        bottom, right = height - placement.bottom, width - placement.right
        padded[:, placement.top : bottom, placement.left : right] = planes
        planes = padded
    return Prepared(normalize(planes, picture.normalize)[None], taken, placement)


def _inside(box: Box, size: Size) -> Box:
    whole = box.x >= 0 and box.y >= 0 and box.x + box.width <= size.width and box.y + box.height <= size.height
    if not whole or box.width < 1 or box.height < 1:
        raise Refusal(
            ApiReturnCode.KP_FW_INVALID_INPUT_CROP_PARAM_112,
            "the crop box does not lie in the image",
            expected=f"at least one pixel of {size}",
            found=f"{box.width}x{box.height} from ({box.x}, {box.y})",
        )
    return box


_SUBTRACT_128 = {
    NormalizeMode.KP_NORMALIZE_KNERON,
    NormalizeMode.KP_NORMALIZE_TENSOR_FLOW,
    NormalizeMode.KP_NORMALIZE_CUSTOMIZED_SUB128,
    NormalizeMode.KP_NORMALIZE_CUSTOMIZED_SUB128_DIV2,
}
_HALVE = {
    NormalizeMode.KP_NORMALIZE_YOLO,
    NormalizeMode.KP_NORMALIZE_CUSTOMIZED_DIV2,
    NormalizeMode.KP_NORMALIZE_CUSTOMIZED_SUB128_DIV2,
}


def normalize(pixels: np.ndarray, mode: NormalizeMode) -> np.ndarray:
    """What the network takes for pixels of 0 to 255.

    ``DISABLE`` and ``CUSTOMIZED_DEFAULT`` leave the bytes alone; the network reads those above 127 as negative numbers.
    Halves are rounded down.
    ``pixels``: uint8 of any shape, in memory of their own: it is overwritten.
    Returns int8 of the same shape."""
    if mode in _SUBTRACT_128:
        pixels ^= 0x80
        signed = pixels.view(np.int8)
        if mode in _HALVE:
            signed >>= 1
        return signed
    if mode in _HALVE:
        pixels >>= 1
    return pixels.view(np.int8)


_ALIGNMENTS = (16, 4)
"""Pixels that rows of RGBA are filled up to; the first is that of KL520, the second that of KL720."""


def input_of(data: np.ndarray, shape: tuple[int, int, int, int]) -> np.ndarray:
    """The input that a buffer holds.

    Which layout it has follows from its size:

    - up to four channels: the four int8 of each pixel together, rows filled up to a multiple of 16 or of 4 pixels
      (``4W4C8B``);
    - one channel: also rows filled up to a multiple of 16 (``16W1C8B``);
    - more channels: blocks of 16 channels, the 16 int8 of each pixel together (``1W16C8B``).

    What rows or blocks are filled up with is not read.
    ``data``: uint8[bytes].
    ``shape``: of the input: 1, channels, rows and columns.
    Returns int8[1, channels, rows, columns] in memory of its own.
    Raises Refusal: `KP_FW_IMAGE_SIZE_NOT_MATCH_MODEL_INPUT_107`, it has another size."""
    _, channels, height, width = shape
    values = data.view(np.int8)
    layouts: dict[int, Callable[[], np.ndarray]] = {}
    if channels > 4:
        blocked = (_up(channels, 16) // 16, height, width, 16)
        layouts[math.prod(blocked)] = lambda: (
            values.reshape(blocked).transpose(0, 3, 1, 2).reshape(-1, height, width)[:channels]
        )
    for row in (_up(width, alignment) for alignment in _ALIGNMENTS if channels <= 4):
        layouts[height * row * 4] = lambda row=row: values.reshape(height, row, 4)[:, :width, :channels].transpose(
            2, 0, 1
        )
    if channels == 1:
        layouts[height * _up(width, 16)] = lambda: values.reshape(1, height, -1)[..., :width]
    if len(values) not in layouts:
        raise Refusal(
            ApiReturnCode.KP_FW_IMAGE_SIZE_NOT_MATCH_MODEL_INPUT_107,
            "the buffer is not of the size of the network's input",
            expected=" or ".join(f"{size} bytes" for size in sorted(layouts)),
            found=len(values),
        )
    return np.array(layouts[len(values)]()[None], order="C")


def _up(extent: int, alignment: int) -> int:
    return -(-extent // alignment) * alignment
