"""Formulas in Python's operators, as the importers of all formats emit them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ...ir.core import Value
from ...ir.op import Operator
from ...ir.ops.comparison import And, Equal, Greater, GreaterOrEqual, Less, LessOrEqual, Or, Where
from ...ir.ops.elementwise import Add, Div, Mul, Sub
from ...ir.ops.matmul import MatMul
from ...ir.ops.unary import Abs, Neg
from ...ir.types import DType
from .builder import ModuleBuilder
from .shape import cast, reshape


def _infix(operator: type[Operator]) -> Callable[[Expression, Operand], Expression]:
    return lambda x, y: x.apply(operator(), y)


def _reflected(operator: type[Operator]) -> Callable[[Expression, Operand], Expression]:
    return lambda y, x: Expression(y.importer, y.operand(x)).apply(operator(), y)


class Expression:
    """A value that Python computes with: ``(x - mean) / 2`` emits two ops, ``x @ w`` a product of matrices. Numbers
    become constants of its element type."""

    __array_ufunc__ = None
    """Arrays of NumPy leave it to this class to compute with both."""

    def __init__(self, importer: ModuleBuilder, value: Value) -> None:
        self.importer, self.value = importer, value

    def operand(self, other: Operand) -> Value:
        """What stands beside this in a formula, as a value."""
        if isinstance(other, Value):
            return other
        if isinstance(other, Expression):
            return other.value
        return self.importer.constant(np.asarray(other, self.value.type.dtype.numpy))

    def apply(self, operator: Operator, *others: Operand) -> Expression:
        """The result of an operator whose first operand this is."""
        return Expression(self.importer, self.importer.emit_one(operator, self.value, *map(self.operand, others)))

    def where(self, condition: Operand, x: Operand, y: Operand) -> Expression:
        """``x`` where a condition holds, else ``y``; numbers as beside this."""
        operands = map(self.operand, (condition, x, y))
        return Expression(self.importer, self.importer.emit_one(Where(), *operands))

    def equals(self, other: Operand) -> Expression:
        return self.apply(Equal(), other)

    def cast(self, to: DType) -> Expression:
        return Expression(self.importer, cast(self.importer, self.value, to))

    def reshape(self, shape: Sequence[int]) -> Expression:
        return Expression(self.importer, reshape(self.importer, self.value, tuple(shape)))

    def __neg__(self) -> Expression:
        return self.apply(Neg())

    def __abs__(self) -> Expression:
        return self.apply(Abs())

    __add__, __radd__ = _infix(Add), _reflected(Add)
    __sub__, __rsub__ = _infix(Sub), _reflected(Sub)
    __mul__, __rmul__ = _infix(Mul), _reflected(Mul)
    __truediv__, __rtruediv__ = _infix(Div), _reflected(Div)
    __matmul__ = _infix(MatMul)
    __lt__, __le__, __gt__, __ge__ = _infix(Less), _infix(LessOrEqual), _infix(Greater), _infix(GreaterOrEqual)
    __and__, __or__ = _infix(And), _infix(Or)


Operand = Expression | Value | np.ndarray | float
"""What formulas are made of."""
