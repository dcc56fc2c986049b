"""Precisions of the Inference Engine API, and the NumPy types of the arrays that programs see."""

from __future__ import annotations

import numpy as np

from .errors import WrongSettingError

DTYPES: dict[str, np.dtype] = {
    "FP64": np.dtype(np.float64),
    "FP32": np.dtype(np.float32),
    "FP16": np.dtype(np.float16),
    "Q78": np.dtype(np.int16),
    "I64": np.dtype(np.int64),
    "I32": np.dtype(np.int32),
    "I16": np.dtype(np.int16),
    "I8": np.dtype(np.int8),
    "U64": np.dtype(np.uint64),
    "U32": np.dtype(np.uint32),
    "U16": np.dtype(np.uint16),
    "U8": np.dtype(np.uint8),
    "BOOL": np.dtype(np.bool_),
}
"""The element type of a blob of each precision. Original: arrays of FP16 showed the bits, as 16-bit integers."""

supported_precisions = list(DTYPES)
"""The names of all precisions."""


def checked_precision(precision: object) -> str:
    """The name of a precision in capitals.

    Raises:
        WrongSettingError: there is none of that name.
    """
    name = precision.upper() if isinstance(precision, str) else None
    if name not in DTYPES:
        expected = ", ".join(supported_precisions)
        raise WrongSettingError("unsupported precision", expected=expected, found=f"{precision!r:.60}")
    return name
