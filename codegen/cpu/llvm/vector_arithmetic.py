"""Formulas on vector registers: single precision, in which half floats are computed, and truth values; 32-bit integers
can be added and converted."""

from collections.abc import Callable, Sequence

from tilewright.immutable import Immutable

from ....ir.types import DType
from ..element import Arithmetic
from . import trigonometry
from . import vector_math as vm
from .builder import FunctionBuilder
from .types import BF16, F16, F32, F64, I16, I32, Register, constant, poison

DTYPES = (DType.F32, DType.F16, DType.BOOL)
"""Element types that formulas work on."""


def half_to_single(b: FunctionBuilder, bits: Register) -> Register:
    """Half floats, given as integers, in single precision."""
    lanes = bits.type.lanes
    return b.convert("fpext", b.convert("bitcast", bits, F16.of(lanes)), F32.of(lanes))


def single_to_half(b: FunctionBuilder, value: Register) -> Register:
    """The nearest half floats, as integers."""
    lanes = value.type.lanes
    return b.convert("bitcast", b.convert("fptrunc", value, F16.of(lanes)), I16.of(lanes))


def narrow_to_single(b: FunctionBuilder, bits: Register) -> Register:
    """Numbers in bfloat16, given as integers, in single precision."""
    lanes = bits.type.lanes
    return b.convert("fpext", b.convert("bitcast", bits, BF16.of(lanes)), F32.of(lanes))


def single_to_narrow(b: FunctionBuilder, numbers: Register) -> Register:
    """The nearest numbers in bfloat16, ties to even, as integers."""
    words, bits = I16.of(numbers.type.lanes), I32.of(numbers.type.lanes)
    if "avx512bf16" in b.target.features:
        name = "llvm.x86.avx512bf16.cvtneps2bf16.512"
        return b.convert("bitcast", b.intrinsic(name, BF16.of(numbers.type.lanes), [numbers]), words)
    stored, half = b.convert("bitcast", numbers, bits), constant(bits, 16)
    upper = b.binary("lshr", stored, half)
    odd = b.binary("and", upper, constant(bits, 1))
    rounded = b.binary("lshr", b.binary("add", stored, b.binary("add", odd, constant(bits, 0x7FFF))), half)
    quiet = b.binary("or", upper, constant(bits, 0x40))
    return b.convert("trunc", b.select(b.compare("uno", numbers, numbers), quiet, rounded), words)


Instruction = Callable[..., Register]
"""From a builder and the operands to the result."""


def _binary(operation: str) -> Instruction:
    return lambda b, x, y: b.binary(operation, x, y)


def _compare(relation: str) -> Instruction:
    return lambda b, x, y: b.compare(relation, x, y)


def _intrinsic(name: str) -> Instruction:
    return lambda b, x: b.unary_intrinsic(name, x)


def _extreme(name: str) -> Instruction:
    """The larger or smaller number; NaN if one is NaN."""

    def instruction(b: FunctionBuilder, x: Register, y: Register) -> Register:
        pick = b.larger if name == "max" else b.smaller
        # pick gives its second argument where one is NaN; where the first is, that is put right.
        is_number = b.compare("ord", x, x)
        return b.select(is_number, pick(x, y), x)

    return instruction


def _sign(b: FunctionBuilder, x: Register) -> Register:
    ones = vm.with_sign(b, vm.number(x, 1), x)
    is_zero_or_nan = b.compare("ueq", x, vm.number(x, 0))
    return b.select(is_zero_or_nan, x, ones)


def _per_lane(symbol: str) -> Instruction:
    """A function of the C library for each lane by itself."""

    def instruction(b: FunctionBuilder, *operands: Register) -> Register:
        type = operands[0].type
        b.declare(symbol, type.element, [type.element] * len(operands))
        result = poison(type)
        for lane in range(type.lanes):
            result = b.insert(result, b.call(symbol, type.element, [b.extract(x, lane) for x in operands]), lane)
        return result

    return instruction


def _circular(name: str) -> Instruction:
    """A function of angles; of those too large to be reduced as vectors, lane by lane."""
    function, of_lanes = getattr(trigonometry, name), _per_lane(f"{name}f")

    def instruction(b: FunctionBuilder, x: Register) -> Register:
        near = function(b, x)
        is_far = b.compare("ogt", b.unary_intrinsic("fabs", x), vm.number(x, trigonometry.REDUCED))
        return vm.rarely(b, is_far, lambda: of_lanes(b, x), near)

    return instruction


def _fmod(b: FunctionBuilder, x: Register, y: Register) -> Register:
    """Exact in double precision where the quotient is short; else, and of infinite divisors, lane by lane."""
    wide, divisor = (b.convert("fpext", each, F64.of(each.type.lanes)) for each in (x, y))
    quotient = b.unary_intrinsic("trunc", b.binary("fdiv", wide, divisor))
    rest = b.binary("fsub", wide, b.binary("fmul", quotient, divisor))
    is_far = b.compare("uge", b.unary_intrinsic("fabs", quotient), vm.number(quotient, 2**23))
    is_far = b.binary("or", is_far, b.compare("uno", rest, rest))
    rest = vm.with_sign(b, b.convert("fptrunc", rest, x.type), x)
    return vm.rarely(b, is_far, lambda: _per_lane("fmodf")(b, x, y), rest)


_INVERSE_OR_HYPERBOLIC = ("asin", "acos", "atan", "sinh", "cosh", "asinh", "acosh", "atanh")

_INSTRUCTIONS: dict[str, Instruction] = {
    "add": _binary("fadd"),
    "sub": _binary("fsub"),
    "mul": _binary("fmul"),
    "div": _binary("fdiv"),
    "multiply_add": lambda b, x, y, z: b.fma(x, y, z),
    "min": _extreme("min"),
    "max": _extreme("max"),
    "at_least": lambda b, x, bound: b.larger(bound, x),
    "at_most": lambda b, x, bound: b.smaller(bound, x),
    "neg": lambda b, x: b.negate(x),
    "abs": _intrinsic("fabs"),
    "sqrt": _intrinsic("sqrt"),
    "floor": _intrinsic("floor"),
    "ceil": _intrinsic("ceil"),
    "round": _intrinsic("rint"),
    "pow": _per_lane("powf"),
    "fmod": _fmod,
    **{name: _circular(name) for name in ("sin", "cos", "tan")},
    **{name: getattr(trigonometry, name) for name in _INVERSE_OR_HYPERBOLIC},
    "sign": _sign,
    "exp": vm.exp,
    "expm1": vm.expm1,
    "log": vm.log,
    "log1p": vm.log1p,
    "sigmoid": vm.sigmoid,
    "tanh": vm.tanh,
    "erf": vm.erf,
    "is_nan": lambda b, x: b.compare("uno", x, x),
    "equal": lambda b, x, y: b.compare("oeq" if x.type.is_float else "eq", x, y),
    "less": _compare("olt"),
    "less_or_equal": _compare("ole"),
    "greater": _compare("ogt"),
    "greater_or_equal": _compare("oge"),
    "and": _binary("and"),
    "or": _binary("or"),
    "xor": _binary("xor"),
    "not": lambda b, x: b.binary("xor", x, constant(x.type, True)),
    "where": lambda b, condition, x, y: b.select(condition, x, y),
}


class VectorArithmetic(Immutable, Arithmetic[Register]):
    """Writes instructions of a function."""

    b: FunctionBuilder

    def dtype(self, value: Register) -> DType:
        return DType.F32 if value.type.is_float else DType.I32 if value.type.bits == 32 else DType.BOOL

    def number(self, like: Register, value: float) -> Register:
        return constant(like.type, value)

    def apply(self, function: str, operands: Sequence[Register]) -> Register:
        if function == "add" and not operands[0].type.is_float:
            return self.b.binary("add", *operands)
        return _INSTRUCTIONS[function](self.b, *operands)

    def cast(self, value: Register, to: DType) -> Register:
        assert to in DTYPES
        if to is DType.BOOL:
            return self.b.compare("une", value, constant(value.type, 0)) if value.type.is_float else value
        if not value.type.is_float:
            conversion = "sitofp" if self.dtype(value) is DType.I32 else "uitofp"
            return self.b.convert(conversion, value, value.type.as_scalar("float"))
        return half_to_single(self.b, single_to_half(self.b, value)) if to is DType.F16 else value

    def bit_cast(self, value: Register, to: DType) -> Register:
        # Of the types here none is as wide as another.
        assert self.dtype(value) is to
        return value
