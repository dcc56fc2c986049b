"""From an image in memory to the input of a network, and the account of what was done on the way."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..enums import ImageFormat, NormalizeMode, PaddingMode, ResizeMode
from ..refusal import Refusal
from ..return_codes import ApiReturnCode
from .normalization import normalize
from .pixels import Box, check_parity, planes_of
from .placement import Placement, Size, place
from .resampling import resample


class Picture(NamedTuple):
    """An image as it was sent, with what is to be done to it.

    Attributes:
        data: uint8[bytes].
        crops: the parts to take, each for an inference of its own; without any, the whole.
    """

    data: np.ndarray
    format: ImageFormat
    size: Size
    resize: ResizeMode
    padding: PaddingMode
    normalize: NormalizeMode
    crops: tuple[Crop, ...]


class Crop(NamedTuple):
    """A part of an image, and the number that its result carries."""

    number: int
    box: Box


class Abilities(NamedTuple):
    """What preprocessing a product can do.

    Attributes:
        width_multiple: what the width of an image must be a multiple of.
        padding: rows or columns that it can pad on a side.
    """

    width_multiple: int
    padding: int


class Prepared(NamedTuple):
    """An input, and how it was made.

    Attributes:
        values: int8[1, channels, rows, columns].
        taken: the part of the image.
        placement: where it went.
    """

    values: np.ndarray
    taken: Box
    placement: Placement


def prepare(picture: Picture, crop: Crop | None, shape: tuple[int, int, int, int], abilities: Abilities) -> Prepared:
    """Crop, resize, pad with 0, normalise.

    Args:
        shape: of the input: 1, channels, rows and columns.

    Raises:
        Refusal: with the code of the device's firmware. In order: `KP_ERROR_IMAGE_ODD_WIDTH_23`, the width does not
            suit the device or the format; `KP_ERROR_IMAGE_INVALID_HEIGHT_45`; `KP_FW_INVALID_INPUT_CROP_PARAM_112`, the
            part lies outside the image; `KP_FW_NOT_SUPPORT_PREPROCESSING_108`, the network takes no images;
            `KP_FW_IMAGE_SIZE_NOT_MATCH_MODEL_INPUT_107` and again `KP_FW_NOT_SUPPORT_PREPROCESSING_108`, as `place`.
    """
    _, channels, height, width = shape
    _check_width(picture, abilities.width_multiple)
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


def _check_width(picture: Picture, multiple: int) -> None:
    if picture.size.width % multiple:
        raise Refusal(
            ApiReturnCode.KP_ERROR_IMAGE_ODD_WIDTH_23,
            "the width of the image does not suit this device",
            expected=f"a multiple of {multiple}",
            found=picture.size.width,
        )
    check_parity(picture.format, *picture.size)


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
