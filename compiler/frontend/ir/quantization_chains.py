"""Chains of plain layers that mean quantisation, as one operator each.

IR has no layers that quantise and dequantise. What it has instead is a division, a rounding and a clamp before a
conversion to integers, and a conversion to real numbers before a difference and a product. As one operator each, they
are what passes know from ONNX, and the network runs on integers.
"""

import math

import numpy as np

from ....ir.core import Constant, Module, Value, is_op
from ....ir.ops.activation import Clip
from ....ir.ops.convolution import Conv
from ....ir.ops.elementwise import Add, Div, Mul, Sub
from ....ir.ops.matmul import MatMul
from ....ir.ops.quantization import STORED, DequantizeLinear, QuantizeLinear
from ....ir.ops.shape import Cast, Reshape
from ....ir.ops.unary import Round
from ....ir.types import DType
from ....passes.base import Record
from ....passes.pattern import Driver, Match, OpPattern, Rule, node
from ....passes.simplify.activation_rules import BOUNDS
from ....passes.simplify.movement_rules import NEUTRAL
from ..builder import FOLD_ELEMENTS

_LENGTH = 8
"""Operators of the chains of constants that are followed: those that converters write are shorter."""

_WORK = 16 * FOLD_ELEMENTS
"""What one of them may cost, in steps: they convert and scale."""


def known(value: Value) -> np.ndarray | None:
    """The elements of a value, if it is a constant, or few operators make it of constants and it is small."""
    if isinstance(value, Constant):
        return value.array
    arrays: dict[Value, np.ndarray] = {}
    chain = _chain(value)
    for each in reversed(chain or ()):
        producer = each.producer
        assert producer is not None
        given = [x.array if isinstance(x, Constant) else arrays[x] for x in producer.inputs]
        arrays[each] = producer.evaluate(given)[producer.results.index(each)]
    return arrays.get(value)


def _chain(value: Value) -> list[Value] | None:
    """What must be computed for a value, itself first, each before what it reads; ``None`` where that is not small."""
    order: list[Value] = []
    steps = 0

    def visit(each: Value) -> bool:
        nonlocal steps
        if each.type.elements > FOLD_ELEMENTS:
            return False
        if isinstance(each, Constant) or each in order:
            return True
        steps, producer = steps + 1, each.producer
        if steps > _LENGTH or producer is None or producer.work > _WORK or len(producer.inputs) > _LENGTH:
            return False
        if len(producer.inputs) < len(producer.operands) or not all(map(visit, producer.inputs)):
            return False
        order.append(each)
        return True

    return order[::-1] if visit(value) else None


def recognise_quantization(module: Module) -> None:
    """Replace the chains; comes before constants are folded, because integers of weights must still be there."""
    record = Record("recognise_quantization")
    Driver(RULES).run(module, record)
    if any(is_op(op, QuantizeLinear) for op in module.ops):
        # Minimum of Maximum is what newer converters make of a Clip, which may be part of an integer product; and they
        # multiply product and bias of a Gemm with its factors also where these are 1. After the chains, whose scales
        # may be 1 as well.
        Driver((*BOUNDS, *NEUTRAL, _BIAS)).run(module, record)


def parameters(x: Value, *values: Value) -> tuple[list[np.ndarray], int | None] | None:
    """Elements of these, which broadcast against ``x``: one of each for the whole of it, or one along an axis.
    Returns flat arrays of equal length, and the axis; ``None`` where there is no such form."""
    arrays = [known(value) for value in values]
    axis: int | None = None
    for array in arrays:
        if array is None or array.ndim > x.type.rank or not array.size:
            return None
        places = [x.type.rank - array.ndim + d for d, extent in enumerate(array.shape) if extent > 1]
        if len(places) > 1 or (places and axis not in (None, places[0])):
            return None
        axis = places[0] if places else axis
    count = 1 if axis is None else x.type.shape[axis]
    flat = [array.reshape(-1) for array in arrays if array is not None]
    if any(array.size not in (1, count) for array in flat):
        return None
    return [np.broadcast_to(array, (count,)).copy() for array in flat], axis


def _scale_and_zero(found: Match, x: Value, dtype: DType) -> tuple[int | None, Constant, Constant | None] | None:
    """Axis, scale and zero point of a chain, as constants; ``None`` where they are others than quantisation has."""
    has_zero = "zero" in found
    given = parameters(x, found["scale"], *([found["zero"]] if has_zero else []))
    if given is None:
        return None
    (scale, *zeros), axis = given
    if scale.dtype != np.float32 or not (np.isfinite(scale) & (scale > 0)).all():
        return None
    limits = np.iinfo(dtype.numpy)
    shape = () if axis is None else scale.shape
    zero = None
    if zeros:
        if not ((zeros[0] == np.rint(zeros[0])) & (zeros[0] >= limits.min) & (zeros[0] <= limits.max)).all():
            return None
        if zeros[0].any():
            zero = found.add_constant("zero_point", zeros[0].astype(dtype.numpy).reshape(shape))
    return axis, found.add_constant("scale", scale.reshape(shape)), zero


def _quantize(found: Match[Cast]) -> Value | None:
    to, clip = found.root.operator.to, found.op("clip", Clip).operator
    if to not in STORED or (clip.min, clip.max) != (np.iinfo(to.numpy).min, np.iinfo(to.numpy).max):
        return None
    x = found["x"]
    is_alike = x.type.dtype is DType.F32 and x.type.shape == found.root.results[0].type.shape
    given = _scale_and_zero(found, x, to) if is_alike else None
    if given is None:
        return None
    axis, scale, zero = given
    return found.emit(QuantizeLinear(to, axis), x, scale, zero)


def _dequantize(found: Match[Mul]) -> Value | None:
    x, type = found["x"], found.root.result.type
    if x.type.dtype not in (*STORED, DType.I32) or type.dtype is not DType.F32 or x.type.shape != type.shape:
        return None
    given = _scale_and_zero(found, x, x.type.dtype)
    if given is None:
        return None
    axis, scale, zero = given
    if x.type.dtype is DType.I32 and zero is not None:
        # Single precision does not hold all differences of 32 bits.
        return None
    return found.emit(DequantizeLinear(axis), x, scale, zero)


def _integers(found: Match[Cast]) -> Value | None:
    """Integers that were converted to real numbers only to be converted back."""
    dequantize = found.op("dequantize", DequantizeLinear)
    integers, scale, zero_point = dequantize.operands
    scales, zeros = known(scale), np.zeros(1) if zero_point is None else known(zero_point)
    if scales is None or zeros is None or (scales != 1).any() or zeros.any():
        return None
    return integers if integers.type.dtype is found.root.operator.to else None


def _reshaped(found: Match[Reshape]) -> Value | None:
    """Weights in groups have a dimension more, or less."""
    dequantize, shape = found.op("dequantize", DequantizeLinear), found.root.operator.shape
    x, scale, zero_point = dequantize.operands
    axis = dequantize.operator.axis
    if not isinstance(x, Constant):
        return None
    if axis is not None:
        old, before = x.type.shape, math.prod(x.type.shape[:axis])
        places = [d for d, extent in enumerate(shape) if extent == old[axis] and math.prod(shape[:d]) == before]
        if not places:
            return None
        axis = places[0]
    integers = found.add_constant(x.name, x.array.reshape(shape))
    return found.emit(DequantizeLinear(axis), integers, scale, zero_point)


def _biased(found: Match[Add]) -> Value | None:
    """A bias of integers becomes part of its product: passes add it to the accumulators. So does one of real numbers,
    as converters write it, where the weights are integers."""
    product, bias = found.op("product", Conv, MatMul), found["bias"]
    x, w, b, residual = product.operands
    if b is not None or residual is not None:
        return None
    dequantize, type = bias.producer, product.result.type
    behind = type.rank - 2 if isinstance(product.operator, Conv) else 0
    channels = type.shape[-1 - behind]
    is_along = bias.type.elements == channels and bias.type.shape[-1 - behind :] == (channels, *(1,) * behind)
    if isinstance(bias, Constant) and is_along and is_op(w.producer, DequantizeLinear):
        flat = found.add_constant(bias.name, bias.array.reshape(channels))
        return found.emit(product.operator, x, w, flat)
    if not is_op(dequantize, DequantizeLinear) or not isinstance(dequantize.operands.x, Constant) or not is_along:
        return None
    integers, scale, zero_point = dequantize.operands
    flat = found.add_constant(integers.name, dequantize.operands.x.array.reshape(channels))
    axis = None if dequantize.operator.axis is None else 0
    return found.emit(product.operator, x, w, found.emit(DequantizeLinear(axis), flat, scale, zero_point))


def _rounded(zero: bool) -> OpPattern[Clip]:
    whole = node(Round, node(Div, "x", "scale"))
    return node(Clip, node(Add, whole, "zero", commutative=True) if zero else whole, name="clip")


_BIAS = Rule("bias", node(Add, node((Conv, MatMul), name="product"), "bias", commutative=True), _biased)

RULES: tuple[Rule, ...] = (
    Rule("quantize_with_zero_point", node(Cast, _rounded(zero=True)), _quantize),
    Rule("quantize", node(Cast, _rounded(zero=False)), _quantize),
    Rule(
        "dequantize_with_zero_point",
        node(Mul, node(Sub, node(Cast, "x"), "zero"), "scale", commutative=True),
        _dequantize,
    ),
    Rule("dequantize", node(Mul, node(Cast, "x"), "scale", commutative=True), _dequantize),
    Rule("integers_of_integers", node(Cast, node(DequantizeLinear, name="dequantize", single_use=False)), _integers),
    Rule("reshaped_integers", node(Reshape, node(DequantizeLinear, name="dequantize")), _reshaped),
    _BIAS,
)
