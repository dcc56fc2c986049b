"""Stored integers as the device holds them: everything on chip is i8, so that u8 has a zero point 128 less there."""

import numpy as np

from ....ir.core import Value
from ....ir.quantized import parameters
from ....ir.tile.transfer import FLIP
from ....ir.types import DType, TensorType


def chip_offset(type: TensorType) -> int:
    """What is added to a stored integer to get what the device holds."""
    return -128 if type.dtype is DType.U8 else 0


def on_chip(type: TensorType, stored: int) -> int:
    """A stored integer as the device holds it."""
    return stored + chip_offset(type)


def chip_zero(value: Value) -> int:
    """Zero point of a feature map as the device holds it."""
    return on_chip(value.type, parameters(value.type)[1])


def as_on_chip(array: np.ndarray) -> np.ndarray:
    """Stored integers, i8 or u8, as the i8 that the device holds; read-only, as constants are."""
    found = array.view() if array.dtype == np.int8 else (array ^ FLIP).view(np.int8)
    found.flags.writeable = False
    return found
