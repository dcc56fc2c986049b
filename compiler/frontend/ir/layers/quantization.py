"""FakeQuantize of IR, and how IR spells what quantises: as plain layers, which importing puts together again.

FakeQuantize brings x to ``levels`` numbers between the ends of its input range, evenly apart, and these to those of its
output range: k = round((x - in_low) / (in_high - in_low) * (levels - 1)), k / (levels - 1) * (out_high - out_low) +
out_low, halves to even; x below the range gives its low end, x above it the high one.
"""

import numpy as np

from tilewright.immutable import Immutable

from .....ir.core import Constant, Op, Value
from .....ir.ops.elementwise import Max, Min
from .....ir.ops.quantization import (
    STORED,
    DequantizeLinear,
    DynamicQuantizeLinear,
    FakeQuantize,
    QuantizeLinear,
    along,
)
from .....ir.ops.unary import Round
from .....ir.types import DType, TensorType
from ...expression import Expression
from ..exporter import IrExporter, Tensor, element_type, exports
from ..importer import IrImporter, IrNode, legacy, opset
from .elementwise import combined
from .shape import converted, reshaped

_OFF_GRID = 1e-3
"""Of a step, how far zero may lie from a multiple of it: single precision of the ends leaves less."""


class Grid(Immutable):
    """Numbers scale * (integer - zero), the integers from ``lowest`` on.
    ``scale``, ``zero``: flat, one for the tensor or one for each index along an axis."""

    scale: np.ndarray
    zero: np.ndarray


def grid(low: np.ndarray, high: np.ndarray, lowest: int, levels: int) -> Grid | None:
    """The grid of integers whose ends are these, in single precision; ``None`` where zero is no number of it."""
    wide = (high.astype(np.float64) - low) / (levels - 1)
    if not (np.isfinite(wide) & (wide > np.finfo(np.float32).tiny)).all():
        return None
    zero = lowest - low / wide
    if (np.abs(zero - np.rint(zero)) > _OFF_GRID).any():
        return None
    zero = np.rint(zero)
    scale = wide.astype(np.float32)
    # Ends were rounded when they were made of the scale, which is one of its neighbours.
    for step in (1, -1):
        near = np.nextafter(scale, np.float32(step * np.inf))
        is_better = _misses(near, zero, low, high, lowest, levels) < _misses(scale, zero, low, high, lowest, levels)
        scale = np.where(is_better, near, scale)
    return Grid(scale, zero)


def _misses(
    scale: np.ndarray, zero: np.ndarray, low: np.ndarray, high: np.ndarray, lowest: int, levels: int
) -> np.ndarray:
    """How many of the two ends such a scale does not give exactly."""
    ends = [scale * (lowest - zero).astype(np.float32), scale * (lowest + levels - 1 - zero).astype(np.float32)]
    return (ends[0] != low).astype(np.int64) + (ends[1] != high)


@opset("FakeQuantize")
def import_fake_quantize(node: IrNode, importer: IrImporter) -> Value:
    """On 256 levels that hold zero, integers between two conversions, which the accelerator computes with."""
    x, levels = node.input(0), node.int("levels")
    if levels < 2:
        raise node.model_error("there are at least two levels", found=levels)
    if x.type.dtype is not DType.F32:
        raise node.unsupported("only numbers of single precision are supported", found=x.type)
    ranges = [_range(node, index) for index in range(1, 5)]
    low, high, *_ = ranges
    if (low >= high).any() and not isinstance(x, Constant):
        raise node.unsupported("a range of inputs is empty or upside down", found=f"{low.min()} to {high.max()}")
    if isinstance(x, Constant):
        return _constant(node, importer, x, ranges, levels)
    flat = _flat(x.type, ranges)
    if flat is not None and levels == 256:
        (in_low, in_high, out_low, out_high), axis = flat
        to = DType.U8 if (out_low == 0).all() and (out_high == 255).all() else DType.I8
        limits = np.iinfo(to.numpy)
        inner, outer = (grid(*ends, limits.min, levels) for ends in ((in_low, in_high), (out_low, out_high)))
        if inner is not None and outer is not None and _holds(limits, inner.zero) and _holds(limits, outer.zero):
            integers = importer.emit_one(QuantizeLinear(to, axis), x, *_parameters(importer, inner, to, axis))
            return importer.emit_one(DequantizeLinear(axis), integers, *_parameters(importer, outer, to, axis))
    return _real(importer, x, ranges, levels)


def _range(node: IrNode, index: int) -> np.ndarray:
    """One end of a range."""
    found = node.constant(index, "the ends of ranges")
    shape = node.input(0).type.shape
    if np.broadcast_shapes(found.shape, shape) != shape:
        raise node.model_error("the ends of ranges must broadcast to x", expected=list(shape), found=list(found.shape))
    return np.asarray(found, np.float32)


def _flat(x: TensorType, ranges: list[np.ndarray]) -> tuple[list[np.ndarray], int | None] | None:
    """Ranges of the whole of x, or along one axis, as flat arrays of one length."""
    shape = np.broadcast_shapes(*(each.shape for each in ranges))
    axes = [d for d, extent in enumerate(shape) if extent > 1]
    if len(axes) > 1:
        return None
    flat = [np.broadcast_to(each, shape).reshape(-1) for each in ranges]
    return flat, x.rank - len(shape) + axes[0] if axes else None


def _holds(limits: np.iinfo, zero: np.ndarray) -> bool:
    return bool(((zero >= limits.min) & (zero <= limits.max)).all())


def _parameters(importer: IrImporter, found: Grid, to: DType, axis: int | None) -> tuple[Constant, Constant]:
    """Scale and zero point."""
    shape = () if axis is None else found.scale.shape
    scale, zero = found.scale.reshape(shape), found.zero.astype(to.numpy).reshape(shape)
    return importer.constant(scale, "scale"), importer.constant(zero, "zero_point")


def _levels(x: np.ndarray, ranges: list[np.ndarray], levels: int) -> np.ndarray:
    """The number of the level of each element, from 0."""
    low, high = ranges[:2]
    with np.errstate(all="ignore"):
        inside = np.rint((x - low) / (high - low) * np.float32(levels - 1))
    return np.where(x <= np.minimum(low, high), 0, np.where(x > np.maximum(low, high), levels - 1, inside))


def _constant(node: IrNode, importer: IrImporter, x: Constant, ranges: list[np.ndarray], levels: int) -> Value:
    """Weights: as integers where there are such, otherwise what they become."""
    number = _levels(x.array, ranges, levels)
    flat = _flat(x.type, ranges)
    if flat is not None and levels <= 256:
        (_, _, low, high), axis = flat
        lowest = -(levels // 2)
        # Channels that are all 0, which have no range, are so on any grid.
        is_zero = (ranges[2] == 0) & (ranges[3] == 0)
        number = np.where(is_zero, -lowest, number)
        is_zero = (low == 0) & (high == 0)
        low, high = np.where(is_zero, lowest, low), np.where(is_zero, lowest + levels - 1, high)
        outer = grid(low.astype(np.float32), high.astype(np.float32), lowest, levels)
        if outer is not None and _holds(np.iinfo(np.int8), outer.zero):
            integers = importer.constant((number + lowest).astype(np.int8), x.name)
            return importer.emit_one(DequantizeLinear(axis), integers, *_parameters(importer, outer, DType.I8, axis))
    low, high = ranges[2:]
    real = number.astype(np.float32) / np.float32(levels - 1) * (high - low) + low
    return importer.constant(np.broadcast_to(real, x.type.shape).astype(np.float32), x.name)


def _real(importer: IrImporter, x: Value, ranges: list[np.ndarray], levels: int) -> Value:
    """The definition, in real numbers."""
    low, high, out_low, out_high = ranges
    inside = Expression(importer, x).apply(Max(), low).apply(Min(), high)
    number = ((inside - low) / (high - low) * (levels - 1)).apply(Round())
    return (number / (levels - 1) * (out_high - out_low) + out_low).value


def _shaped(exporter: IrExporter, parameter: Value, axis: int | None, rank: int) -> Tensor:
    """A scale or zero point as it broadcasts against a tensor."""
    shape = () if axis is None else (parameter.type.elements, *(1,) * (rank - 1 - axis))
    return reshaped(exporter, parameter, shape)


def _integers(exporter: IrExporter, x: Tensor, scale: Tensor, zero: Tensor | None, to: DType) -> Tensor:
    """round(x / scale) + zero, within the integers and converted to them."""
    type = x.type
    y = exporter.layer("Round", [combined(exporter, "Divide", x, scale)], type, opset=5, mode="half_to_even")
    if zero is not None:
        y = combined(exporter, "Add", y, converted(exporter, zero, type.dtype))
    limits = np.iinfo(to.numpy)
    y = exporter.layer("Clamp", [y], type, min=float(limits.min), max=float(limits.max))
    return exporter.layer("Convert", [y], type.with_dtype(to), destination_type=element_type(to))


def _zero(exporter: IrExporter, zero: Value | None, axis: int | None, rank: int, dtype: DType) -> Tensor | None:
    """A zero point that changes anything, shaped to broadcast, in real numbers where it is known."""
    if zero is None or (isinstance(zero, Constant) and not zero.array.any()):
        return None
    if isinstance(zero, Constant):
        return exporter.constant(along(zero.array, axis, rank).astype(dtype.numpy))
    return _shaped(exporter, zero, axis, rank)


@exports(QuantizeLinear)
def export_quantize(op: Op[QuantizeLinear], exporter: IrExporter) -> None:
    quantize, (x, scale, zero) = op.operator, op.operands
    rank, axis = x.type.rank, quantize.axis
    shift = _zero(exporter, zero, axis, rank, x.type.dtype)
    scales = _shaped(exporter, scale, axis, rank)
    exporter.define(op, _integers(exporter, exporter.tensor(x), scales, shift, quantize.to))


@exports(DequantizeLinear)
def export_dequantize(op: Op[DequantizeLinear], exporter: IrExporter) -> None:
    x, scale, zero = op.operands
    rank, axis, type = x.type.rank, op.operator.axis, op.result.type
    # Differences of 32 bits are those of integers.
    is_exact = x.type.dtype in STORED
    inner = type if is_exact else x.type
    y = converted(exporter, x, inner.dtype)
    shift = _zero(exporter, zero, axis, rank, inner.dtype)
    if shift is not None:
        y = combined(exporter, "Subtract", y, converted(exporter, shift, inner.dtype))
    y = converted(exporter, y, type.dtype)
    exporter.define(op, combined(exporter, "Multiply", y, _shaped(exporter, scale, axis, rank)))


@exports(DynamicQuantizeLinear)
def export_dynamic_quantize(op: Op[DynamicQuantizeLinear], exporter: IrExporter) -> None:
    x = exporter.tensor(op.operands.x)
    number = TensorType((), DType.F32)
    zero, one, most = (exporter.constant(np.asarray(value, np.float32)) for value in (0, 1, 255))
    axes = exporter.integers(list(range(x.type.rank)), "axes")
    low, high = (
        combined(exporter, kind, exporter.layer(reduction, [x, axes], number, keep_dims=False), zero)
        for kind, reduction in (("Minimum", "ReduceMin"), ("Maximum", "ReduceMax"))
    )
    span = combined(exporter, "Divide", combined(exporter, "Subtract", high, low), most)
    is_wide = combined(exporter, "Greater", high, low, DType.BOOL)
    scale = exporter.layer("Select", [is_wide, span, one], number, auto_broadcast="numpy")
    shift = combined(exporter, "Divide", exporter.layer("Negative", [low], number), scale)
    shift = combined(exporter, "Minimum", shift, most)
    shift = exporter.layer("Round", [shift], number, opset=5, mode="half_to_even")
    y = _integers(exporter, x, scale, shift, DType.U8)
    exporter.define(op, y, scale, converted(exporter, shift, DType.U8))


@exports(FakeQuantize)
def export_fake_quantize(op: Op[FakeQuantize], exporter: IrExporter) -> None:
    x, scale, low, high = op.operands
    type = op.result.type
    whole = exporter.layer("Round", [combined(exporter, "Divide", x, scale)], type, opset=5, mode="half_to_even")
    above = combined(exporter, "Maximum", combined(exporter, "Multiply", whole, scale), low)
    exporter.define(op, combined(exporter, "Minimum", above, high))


legacy("FakeQuantize", "Quantize")(import_fake_quantize)
