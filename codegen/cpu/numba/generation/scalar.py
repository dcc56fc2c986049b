"""Formulas on one element, as Python statements that numba compiles; half floats are computed with as float32."""

import math
from collections.abc import Sequence

from tilewright.immutable import Immutable

from .....ir.types import DType
from ...element import Arithmetic, Element
from ...formulas import ACTIVATIONS

_TRUTHS = frozenset(("equal", "less", "less_or_equal", "greater", "greater_or_equal", "is_nan", "not"))

_LIBRARY = (
    *("exp", "expm1", "log", "log1p", "sqrt", "erf", "sin", "cos", "tan", "asin", "acos", "atan"),
    *("sinh", "cosh", "asinh", "acosh", "atanh"),
)

_FUNCTIONS: dict[str, str] = {
    "add": "{0} + {1}",
    "sub": "{0} - {1}",
    "mul": "{0} * {1}",
    "div": "{0} / {1}",
    "multiply_add": "{0} * {1} + {2}",
    "fmod": "np.fmod({0}, {1})",
    "pow": "{0} ** {type}({1})",
    "min": "smaller({0}, {1})",
    "max": "larger({0}, {1})",
    "at_least": "larger({0}, {1})",
    "at_most": "smaller({0}, {1})",
    "neg": "-{0}",
    "abs": "abs({0})",
    "sign": "{0} if {0} != {0} else {type}(1) if {0} > 0 else {type}(-1) if {0} < 0 else {type}(0)",
    **{name: f"math.{name}({{0}})" for name in _LIBRARY},
    "sigmoid": "{type}(1) / (math.exp(-{0}) + {type}(1))",
    "tanh": "{type}(hyperbolic_tangent(np.float64({0})))",
    "floor": "np.floor({0})",
    "ceil": "np.ceil({0})",
    "round": "np.rint({0})",
    "is_nan": "{0} != {0}",
    "equal": "{0} == {1}",
    "less": "{0} < {1}",
    "less_or_equal": "{0} <= {1}",
    "greater": "{0} > {1}",
    "greater_or_equal": "{0} >= {1}",
    "and": "{0} & {1}",
    "or": "{0} | {1}",
    "xor": "{0} != {1}",
    "not": "not {0}",
    "where": "{1} if {0} else {2}",
}
_OF_INTEGERS: dict[str, str] = {
    "div": "cut_quotient({0}, {1}, {quotient})",
    "mod": "remainder({0}, {1}, {quotient})",
    "fmod": "truncated_remainder({0}, {1}, {quotient})",
    "pow": "to_{kind}(np.float64({0}) ** np.float64({1}))",
    "bitwise_not": "~{0}",
    "bitwise_and": "{0} & {1}",
    "bitwise_or": "{0} | {1}",
    "bitwise_xor": "{0} ^ {1}",
    "left_shift": "{type}({0} << {1}) if 0 <= {1} < {bits} else {type}(0)",
    "right_shift": "{type}({0} >> {1}) if 0 <= {1} < {bits} else ~{type}(0) if {0} < 0 else {type}(0)",
}

_LONG_QUOTIENTS = {DType.I64: "divide_long({0}, {1})", DType.U64: "divide_integers({0}, {1})"}
"""Of integers that double precision does not hold; of others it is computed there, several at a time."""


def number(value: float, dtype: DType) -> str:
    """A constant of an element type as Python source; of half floats, as float32."""
    if dtype.is_float:
        kind = "np.float64" if dtype is DType.F64 else "np.float32"
        return f"{kind}(np.nan)" if math.isnan(value) else f"{kind}({float(value)!r})".replace("inf", "np.inf")
    return f"np.{dtype.numpy.name}({int(value)})"


class Scalar(Immutable):
    """A variable or constant as Python source, and the element type that it is computed in."""

    text: str
    dtype: DType


class ScalarArithmetic(Arithmetic[Scalar]):
    """Collects statements that define variables."""

    def __init__(self) -> None:
        self.statements: list[str] = []

    def variable(self, text: str, dtype: DType) -> Scalar:
        """A new variable for the value of an expression."""
        name = f"e{len(self.statements)}"
        self.statements.append(f"{name} = {text}")
        return Scalar(name, DType.F32 if dtype is DType.F16 else dtype)

    def dtype(self, value: Scalar) -> DType:
        return value.dtype

    def number(self, like: Scalar, value: float) -> Scalar:
        return Scalar(number(value, like.dtype), like.dtype)

    def apply(self, function: str, operands: Sequence[Scalar]) -> Scalar:
        first = operands[0].dtype
        template = (first.is_integer and _OF_INTEGERS.get(function)) or _FUNCTIONS[function]
        kind = first.numpy.name
        texts = [operand.text for operand in operands]
        quotient = _LONG_QUOTIENTS.get(first, f"np.{kind}(real_quotient({{0}}, {{1}}))")
        template = template.replace("{quotient}", quotient)
        text = template.format(*texts, type=f"np.{kind}", kind=kind, bits=8 * first.bytes)
        return self.variable(text, DType.BOOL if function in _TRUTHS else operands[function == "where"].dtype)

    def cast(self, value: Scalar, to: DType) -> Scalar:
        x, source = value.text, value.dtype
        if to is DType.BOOL:
            return self.variable(f"{x} != 0", to)
        if to is DType.F16:
            # Rounded when the result is stored.
            return value if source is DType.F64 else self.variable(f"np.float32({x})", to)
        if source.is_float and to.is_integer:
            kind = "uint64" if to is DType.U64 else "int32" if to.bytes < 4 or to is DType.I32 else "int64"
            x = f"to_{kind}({x})"
        return self.variable(f"np.{to.numpy.name}({x})", to)

    def bit_cast(self, value: Scalar, to: DType) -> Scalar:
        x, source = value.text, value.dtype.numpy.name
        if value.dtype is DType.F32 and to.bytes == 2:
            x, source = f"single_to_half({x})", "uint16"
        bits = f"np.{source}({x}).view(np.{'uint16' if to is DType.F16 else to.numpy.name})"
        return self.variable(f"half_to_single({bits})" if to is DType.F16 else bits, to)


def load(tensor: str, position: str, dtype: DType) -> str:
    """An element as the variable that expressions compute with."""
    element = f"{tensor}[{position}]"
    if dtype is DType.BOOL:
        return f"{element} != 0"
    return f"half_to_single({element})" if dtype is DType.F16 else element


def store(tensor: str, position: str, value: str, dtype: DType, computed: DType) -> str:
    """A statement that stores a value that was computed in another element type, perhaps."""
    if dtype is DType.F16:
        value = f"{'double_to_half' if computed is DType.F64 else 'single_to_half'}({value})"
    if dtype is DType.BOOL:
        value = f"np.uint8({value})"
    return f"{tensor}[{position}] = {value}"


def activation_statement(name: str, args: Sequence[float], dtype: DType) -> str:
    """A statement that replaces the variable ``v`` by the activation of it."""
    arithmetic = ScalarArithmetic()
    result = ACTIVATIONS[name](Element(arithmetic, Scalar("v", dtype)), *args).value
    return "; ".join([*arithmetic.statements, f"v = {result.text}"])
