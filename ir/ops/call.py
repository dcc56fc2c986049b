"""Calls of other functions of the module: how the parts that the accelerator runs stand in ``main``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..core import Value
from ..op import Operator, operator
from ..types import ResultTypes, Types


@operator("call")
@dataclass(frozen=True)
class Call(Operator[tuple[Value, ...]]):
    """Apply another function of the module.

    Operands: one for each parameter of the function, of its type. Results: those of the function. They are given with
    the op, since an operator knows no module; :func:`tilewright.ir.verify.verify` compares both with the function.

    There are no samples, and no form in ONNX: a call means nothing without the module that holds its function.
    :func:`tilewright.ir.interp.run_op` follows it.

    Attributes:
        callee: name of the function, any but ``main``; calls form no circle.
    """

    GIVEN_RESULTS: ClassVar[bool] = True

    callee: str

    def check_quantized(self, operand_types: Types, result_types: ResultTypes) -> str | None:
        return None
