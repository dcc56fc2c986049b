"""What convolution and matrix product share: the operands of a product with weights."""

from __future__ import annotations

from typing import NamedTuple

from ..core import Value


class LinearOperands(NamedTuple):
    """The bias and the residual, of the result's type, are added in this order before the activation."""

    x: Value
    w: Value
    b: Value | None = None
    residual: Value | None = None
