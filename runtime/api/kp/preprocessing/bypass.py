"""Inputs that programs have prepared themselves, in the layouts that the devices read."""

from __future__ import annotations

import numpy as np

from ..refusal import Refusal
from ..return_codes import ApiReturnCode

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

    Args:
        data: uint8[bytes].
        shape: of the input: 1, channels, rows and columns.

    Returns:
        int8[1, channels, rows, columns] in memory of its own.

    Raises:
        Refusal: `KP_FW_IMAGE_SIZE_NOT_MATCH_MODEL_INPUT_107`, it has another size.
    """
    _, channels, height, width = shape
    values = data.view(np.int8)
    found = None
    if channels > 4:
        blocks = -(-channels // 16)
        if len(values) == blocks * height * width * 16:
            blocked = values.reshape(blocks, height, width, 16).transpose(0, 3, 1, 2)
            found = blocked.reshape(blocks * 16, height, width)[:channels]
    elif channels == 1 and len(values) == height * _up(width, 16):
        found = values.reshape(1, height, -1)[..., :width]
    else:
        for row in (_up(width, alignment) for alignment in _ALIGNMENTS):
            if len(values) == height * row * 4:
                found = values.reshape(height, row, 4)[:, :width, :channels].transpose(2, 0, 1)
    if found is None:
        raise Refusal(
            ApiReturnCode.KP_FW_IMAGE_SIZE_NOT_MATCH_MODEL_INPUT_107,
            "the buffer is not of the size of the network's input",
            expected=" or ".join(f"{size} bytes" for size in _sizes(channels, height, width)),
            found=len(values),
        )
    return np.array(found[None], order="C")


def _up(extent: int, alignment: int) -> int:
    return -(-extent // alignment) * alignment


def _sizes(channels: int, height: int, width: int) -> list[int]:
    if channels > 4:
        return [_up(channels, 16) * height * width]
    sizes = [height * _up(width, alignment) * 4 for alignment in _ALIGNMENTS]
    return sorted({*sizes, *([height * _up(width, 16)] if channels == 1 else [])})
