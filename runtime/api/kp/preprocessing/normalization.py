"""Normalisation as the hardware does it: on bytes, without multiplication.

How a network's input is quantised makes values of these bytes: with radix 8, x - 128 stands for x/256 - 0.5 (Kneron);
with radix 7, x - 128 for x/128 - 1 (TensorFlow) and floor(x/2) for x/256 (YOLO).
"""

from __future__ import annotations

import numpy as np

from ..enums import NormalizeMode

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

    Args:
        pixels: uint8 of any shape, in memory of their own: it is overwritten.

    Returns:
        int8 of the same shape.
    """
    if mode in _SUBTRACT_128:
        pixels ^= 0x80
        signed = pixels.view(np.int8)
        if mode in _HALVE:
            signed >>= 1
        return signed
    if mode in _HALVE:
        pixels >>= 1
    return pixels.view(np.int8)
