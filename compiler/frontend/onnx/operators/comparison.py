"""Comparison and logic operators of ONNX, and Where."""

from __future__ import annotations

from .....ir.ops.comparison import And, Equal, Greater, GreaterOrEqual, Less, LessOrEqual, Or, Where, Xor
from ..one_to_one import one_to_one

for _operator in (Equal, Less, LessOrEqual, Greater, GreaterOrEqual, And, Or, Xor, Where):
    one_to_one(_operator.__name__, _operator)
