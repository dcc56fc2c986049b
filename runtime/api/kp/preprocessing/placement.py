"""Where an image goes in the input of a network."""

from __future__ import annotations

from typing import NamedTuple

from ..enums import PaddingMode, ResizeMode
from ..refusal import Refusal
from ..return_codes import ApiReturnCode


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
