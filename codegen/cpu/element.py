"""Arithmetic on elements as formulas write it, whatever it becomes: vector instructions, or Python for numba."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Generic, TypeVar

from tilewright.immutable import Immutable

from ...ir.types import DType

Value = TypeVar("Value")

OPERATORS = frozenset(
    (
        *("add", "sub", "mul", "div", "min", "max", "pow", "neg", "abs", "sign", "sqrt", "floor", "ceil", "round"),
        *("exp", "log", "erf", "tanh", "sin", "cos", "tan", "asin", "acos", "atan"),
        *("sinh", "cosh", "asinh", "acosh", "atanh"),
        *("equal", "less", "less_or_equal", "greater", "greater_or_equal", "is_nan"),
        *("and", "or", "xor", "not", "where", "bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_not"),
    )
)
"""Operators that every arithmetic knows by name, on the element types that it works with."""


class Arithmetic(ABC, Generic[Value]):
    """What makes the code; its values are what it computes with."""

    @abstractmethod
    def dtype(self, value: Value) -> DType:
        """The element type that a value is computed in: float32 for half floats."""

    @abstractmethod
    def number(self, like: Value, value: float) -> Value:
        """A constant of the type of another value."""

    @abstractmethod
    def apply(self, function: str, operands: Sequence[Value]) -> Value:
        """The result of one of :data:`OPERATORS`, or of

        - ``at_least``, ``at_most``: x not below (above) a constant; NaN stays;
        - ``multiply_add``: x * y + z, rounded once where that is as quick;
        - ``expm1``, ``log1p``: exp(x) - 1 for x up to 88, log(1 + x) for x >= 0, both exact near zero;
        - ``sigmoid``: 1 / (1 + exp(-x));
        - ``fmod``: the remainder with the sign of x, in C;
        - ``left_shift``, ``right_shift``: of integers."""

    @abstractmethod
    def cast(self, value: Value, to: DType) -> Value:
        """The value as the operator ``cast`` converts it."""

    @abstractmethod
    def bit_cast(self, value: Value, to: DType) -> Value:
        """The value as the operator ``bit_cast`` reads it."""


class Element(Immutable, Generic[Value]):
    """An element of a tensor, or as many neighbours as a register holds. Numbers stand for constants of its type."""

    arithmetic: Arithmetic[Value]
    value: Value

    @property
    def dtype(self) -> DType:
        return self.arithmetic.dtype(self.value)

    def number(self, value: float) -> Element[Value]:
        return Element(self.arithmetic, self.arithmetic.number(self.value, value))

    def apply(self, function: str, *others: Element[Value] | float) -> Element[Value]:
        """A function of :meth:`Arithmetic.apply`, of this element and others."""
        elements = [other if isinstance(other, Element) else self.number(other) for other in others]
        operands = [self.value, *(element.value for element in elements)]
        return Element(self.arithmetic, self.arithmetic.apply(function, operands))

    def cast(self, to: DType) -> Element[Value]:
        return Element(self.arithmetic, self.arithmetic.cast(self.value, to))

    def bit_cast(self, to: DType) -> Element[Value]:
        return Element(self.arithmetic, self.arithmetic.bit_cast(self.value, to))

    def __add__(self, other: Element[Value] | float) -> Element[Value]:
        return self.apply("add", other)

    def __sub__(self, other: Element[Value] | float) -> Element[Value]:
        return self.apply("sub", other)

    def __mul__(self, other: Element[Value] | float) -> Element[Value]:
        return self.apply("mul", other)

    def __truediv__(self, other: Element[Value] | float) -> Element[Value]:
        return self.apply("div", other)

    def __rtruediv__(self, other: float) -> Element[Value]:
        return self.number(other) / self

    def __neg__(self) -> Element[Value]:
        return self.apply("neg")

    def __abs__(self) -> Element[Value]:
        return self.apply("abs")

    def __lt__(self, other: Element[Value] | float) -> Element[Value]:
        return self.apply("less", other)

    def __gt__(self, other: Element[Value] | float) -> Element[Value]:
        return self.apply("greater", other)


def where(condition: Element[Value], x: Element[Value], y: Element[Value] | float) -> Element[Value]:
    """x where the condition holds, else y; both are computed."""
    return condition.apply("where", x, y if isinstance(y, Element) else x.number(y))
