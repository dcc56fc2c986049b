"""Calls of other functions of the module: how the parts that the accelerator runs stand in ``main``."""

from typing import ClassVar

from tilewright.errors import IRError

from ..core import Value
from ..op import Operator, operator
from ..types import ResultTypes, TensorType, Types


@operator("call")
class Call(Operator[tuple[Value, ...]]):
    """Apply another function of the module.

    Operands: one for each parameter of the function, of its type. Results: those of the function. They are given with
    the op, since an operator knows no module; :func:`tilewright.ir.verify.verify` compares both with the function.

    With ``shares`` above 1 the function is applied to so many shares of the operands: those with so many times the
    extent of the parameter along the first dimension are cut there, all others go to every share as they are. Results
    are joined along the first dimension.

    There are no samples, and no form in ONNX: a call means nothing without the module that holds its function.
    :func:`tilewright.ir.interp.run_op` follows it.
    ``callee``: name of the function, any but ``main``; calls form no circle.
    ``shares``: how often the function is applied."""

    GIVEN_RESULTS: ClassVar[bool] = True

    callee: str
    shares: int = 1

    def check_quantized(self, operand_types: Types, result_types: ResultTypes) -> str | None:
        return None


def joined(part: TensorType, shares: int) -> TensorType:
    """The type of so many tensors joined along the first dimension.
    Raises IRError: several scalars, which have none."""
    if shares == 1:
        return part
    if not part.rank:
        raise IRError("scalars cannot be joined", found=part)
    return part.with_shape((part.shape[0] * shares, *part.shape[1:]))
