"""Reductions of IR, TopK, ArgMax and CumSum."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .....ir.core import Op, Value
from .....ir.ops.indexing import GatherElements
from .....ir.ops.reduction import (
    ArgExtreme,
    ArgMax,
    ArgMin,
    CumSum,
    Cumulative,
    Reduce,
    ReduceL1,
    ReduceL2,
    ReduceLogSum,
    ReduceLogSumExp,
    ReduceMax,
    ReduceMean,
    ReduceMin,
    ReduceProd,
    ReduceSum,
    ReduceSumSquare,
    TopK,
)
from .....ir.types import DType, TensorType
from ...movement import join
from ...shape import cast, reshape
from ..exporter import IrExporter, Tensor, exports
from ..importer import IrImporter, IrNode, legacy, opset
from .elementwise import combined, stated, truth
from .shape import converted, reshaped, type_of


@opset("TopK")
def import_top_k(node: IrNode, importer: IrImporter) -> list[Value]:
    x = node.input(0)
    k = node.scalar(1, "k")
    axis, mode, sort = node.from_front(node.int("axis"), x.type.rank), node.word("mode"), node.word("sort", "none")
    if mode not in ("max", "min") or sort not in ("value", "index", "none"):
        raise node.model_error(
            "unknown mode or order", expected="max or min, by value, index or none", found=f"{mode:.30}, {sort:.30}"
        )
    values, indices = selected(importer, x, TopK(axis, k, mode == "max"), is_by_index=sort == "index")
    return [values, cast(importer, indices, type_of(node, "index_element_type", "i32"))]


def selected(importer: IrImporter, x: Value, operator: TopK, *, is_by_index: bool) -> tuple[Value, Value]:
    """The elements of ``x`` that the operator selects and their indices, in the order of either."""
    values, indices = importer.emit(operator, x)
    if is_by_index:
        indices = importer.emit(TopK(operator.axis, operator.k, largest=False), indices)[0]
        values = importer.emit_one(GatherElements(operator.axis), x, indices)
    return values, indices


@opset("CumSum")
def import_cum_sum(node: IrNode, importer: IrImporter) -> Value:
    x = node.input(0)
    axis = node.from_front(node.scalar(1, "the axis"), x.type.rank)
    return importer.emit_one(CumSum(axis, node.bool("exclusive", False), node.bool("reverse", False)), x)


_TYPES: dict[type[Reduce], tuple[str, int]] = {
    **{cls: (cls.__name__, 4) for cls in (ReduceL1, ReduceL2)},
    **{cls: (cls.__name__, 1) for cls in (ReduceMax, ReduceMean, ReduceMin, ReduceProd, ReduceSum)},
}
"""Type of layer and operator set."""

_OF_TRUTH: dict[type[Reduce], str] = {ReduceMax: "ReduceLogicalOr", ReduceMin: "ReduceLogicalAnd"}

_REDUCTIONS = {type: cls for cls, (type, _) in _TYPES.items()} | {type: cls for cls, type in _OF_TRUTH.items()}


@opset(*_REDUCTIONS)
def import_reduction(node: IrNode, importer: IrImporter) -> Value:
    x = node.input(0)
    axes = tuple(sorted({node.from_front(axis, x.type.rank) for axis in node.integers(1, "the axes")}))
    return importer.emit_one(_REDUCTIONS[node.op_type](axes, node.bool("keep_dims", False)), x)


def reduced(
    exporter: IrExporter, x: Value | Tensor, operator: type[Reduce], axes: Sequence[int], *, keepdims: bool = True
) -> Tensor:
    """A reduction that is one layer."""
    tensor = exporter.tensor(x)
    if not axes:
        # OpenVINO does not take it for what it is, a reduction of each element.
        keeps_sign = operator not in (ReduceL1, ReduceL2)
        return exporter.identity(tensor) if keeps_sign else exporter.layer("Abs", [tensor], tensor.type)
    type, opset = _TYPES[operator]
    if tensor.type.dtype is DType.BOOL:
        type, opset = _OF_TRUTH[operator], 1
    result = operator(tuple(axes), keepdims).infer(tensor.type)
    inputs = [tensor, exporter.integers(list(axes), "axes")]
    return exporter.layer(type, inputs, result, opset=opset, keep_dims=keepdims)


@exports(*_TYPES)
def export_reduction(op: Op[Reduce], exporter: IrExporter) -> None:
    operator = op.operator
    exporter.define(op, reduced(exporter, op.operands.x, operator.__class__, operator.axes, keepdims=operator.keepdims))


@exports(ReduceSumSquare)
def export_sum_of_squares(op: Op[Reduce], exporter: IrExporter) -> None:
    squares = combined(exporter, "Multiply", op.operands.x, op.operands.x)
    exporter.define(op, reduced(exporter, squares, ReduceSum, op.operator.axes, keepdims=op.operator.keepdims))


@exports(ReduceLogSum)
def export_logarithm_of_sum(op: Op[Reduce], exporter: IrExporter) -> None:
    total = _real(
        exporter, reduced(exporter, op.operands.x, ReduceSum, op.operator.axes, keepdims=op.operator.keepdims)
    )
    exporter.define(op, converted(exporter, exporter.layer("Log", [total], total.type), op.result.type.dtype))


@exports(ReduceLogSumExp)
def export_logarithm_of_exponentials(op: Op[Reduce], exporter: IrExporter) -> None:
    """Of the distances to the largest element, so that nothing overflows."""
    x, axes = _real(exporter, op.operands.x), op.operator.axes
    largest = reduced(exporter, x, ReduceMax, axes)
    distances = combined(exporter, "Subtract", x, largest)
    total = reduced(exporter, exporter.layer("Exp", [distances], x.type), ReduceSum, axes)
    result = combined(exporter, "Add", exporter.layer("Log", [total], total.type), largest)
    result = converted(exporter, result, op.result.type.dtype)
    exporter.define(op, reshaped(exporter, result, op.result.type.shape))


def _real(exporter: IrExporter, x: Value | Tensor) -> Tensor:
    """Integers as floats: OpenVINO rounds logarithms of integers, which are to lose their fraction."""
    tensor = exporter.tensor(x)
    return tensor if tensor.type.dtype.is_float else converted(exporter, tensor, DType.F32)


def first_extreme(exporter: IrExporter, x: Tensor, axis: int, *, is_largest: bool) -> Tensor:
    """Where the first of the extremes along ``axis`` is; i64, with an extent of 1 there."""
    shape = (*x.type.shape[:axis], 1, *x.type.shape[axis + 1 :])
    return exporter.layers(
        "TopK",
        [x, exporter.integers(1, "k")],
        [x.type.with_shape(shape), TensorType(shape, DType.I64)],
        opset=11,
        **_top_k_attributes(axis, is_largest),
    )[1]


def _top_k_attributes(axis: int, is_largest: bool) -> dict[str, Any]:
    """Of a layer ``TopK`` whose elements come in order, and of equal ones the first one first."""
    mode = "max" if is_largest else "min"
    return {"axis": axis, "mode": mode, "sort": "value", "index_element_type": "i64", "stable": True}


@exports(ArgMax, ArgMin)
def export_position(op: Op[ArgExtreme], exporter: IrExporter) -> None:
    x, operator = exporter.tensor(op.operands.x), op.operator
    is_largest = isinstance(operator, ArgMax)
    if operator.select_last_index:
        # The largest of the indices at which the element is the extreme.
        extreme = reduced(exporter, x, ReduceMax if is_largest else ReduceMin, [operator.axis])
        place = combined(exporter, "Equal", x, extreme, dtype=DType.BOOL)
        extent = x.type.shape[operator.axis]
        line = [extent if d == operator.axis else 1 for d in range(x.type.rank)]
        indices = exporter.constant(np.arange(extent, dtype=np.int64).reshape(line))
        choice, type = [place, indices, exporter.integers(-1)], TensorType(x.type.shape, DType.I64)
        candidates = exporter.layer("Select", choice, type, auto_broadcast="numpy")
        found = reduced(exporter, candidates, ReduceMax, [operator.axis])
    else:
        found = first_extreme(exporter, x, operator.axis, is_largest=is_largest)
        # What has an output besides cannot have the name of the op.
        found = exporter.identity(found) if operator.keepdims else found
    exporter.define(op, reshaped(exporter, found, op.result.type.shape))


@exports(TopK)
def export_top_k(op: Op[TopK], exporter: IrExporter) -> None:
    operator = op.operator
    inputs = [op.operands.x, exporter.integers(operator.k, "k")]
    exporter.write_as(op, "TopK", inputs, opset=11, **_top_k_attributes(operator.axis, operator.largest))


@exports(CumSum)
def export_cum_sum(op: Op[Cumulative], exporter: IrExporter) -> None:
    operator = op.operator
    inputs = [op.operands.x, exporter.integers(operator.axis, "axis")]
    exporter.write_as(op, "CumSum", inputs, opset=3, exclusive=operator.exclusive, reverse=operator.reverse)


_ARITHMETIC = (ReduceL1, ReduceL2, ReduceLogSum, ReduceLogSumExp, ReduceMean, ReduceProd, ReduceSum, ReduceSumSquare)
_BY_LOWER_NAME: dict[str, type[Reduce]] = {cls.__name__.lower(): cls for cls in (*_ARITHMETIC, ReduceMax, ReduceMin)}
_LOGIC: dict[str, type[Reduce]] = {"reduceand": ReduceMin, "reduceor": ReduceMax}


@legacy(*_BY_LOWER_NAME, *_LOGIC)
def import_legacy_reduce(node: IrNode, importer: IrImporter) -> Value:
    x, kind = node.input(0), node.op_type.lower()
    axes = tuple(sorted({node.from_front(axis, x.type.rank) for axis in node.integers(1, "the axes")}))
    keeps = node.bool("keep_dims", True)
    if kind in _BY_LOWER_NAME:
        return importer.emit_one(_BY_LOWER_NAME[kind](axes, keeps), x)
    # Truth values have no extremes that kernels know of; what stands for them in bytes has.
    whether = cast(importer, truth(importer, x), DType.U8)
    return stated(node, importer, importer.emit_one(_LOGIC[kind](axes, keeps), whether))


@legacy("TopK")
def import_legacy_top_k(node: IrNode, importer: IrImporter) -> list[Value]:
    """The k largest or smallest elements along ``axis`` and their indices, in the order of either."""
    x = node.input(0)
    axis = node.from_front(node.int("axis", -1), x.type.rank)
    given = node.integers(1, "k")
    mode, sort = node.word("mode", "max"), node.word("sort", "index")
    if len(given) != 1 or mode not in ("max", "min") or sort not in ("value", "index", "none"):
        raise node.model_error(
            "unknown selection", expected="one k; max or min; value, index or none", found=f"{given}, {mode}, {sort}"
        )
    operator = TopK(axis, given[0], mode == "max")
    values, indices = selected(importer, x, operator, is_by_index=sort == "index")
    return [values, stated(node, importer, indices, 1)]


@legacy("ArgMax")
def import_legacy_arg_max(node: IrNode, importer: IrImporter) -> Value:
    """Indices of the ``top_k`` largest elements as numbers: along ``axis``, or without it of each image.

    With ``out_max_val`` the elements: alone with an axis, behind the indices without."""
    x, k, wants_values = node.input(0), node.int("top_k", 1), node.bool("out_max_val", False)
    if node.has("axis"):
        values, indices = importer.emit(TopK(node.from_front(node.int("axis"), x.type.rank), k), x)
        return values if wants_values else cast(importer, indices, DType.F32)
    if not x.type.rank:
        raise node.model_error("a scalar has no batch")
    batch = x.type.shape[0]
    flat = reshape(importer, x, (batch, 1, math.prod(x.type.shape[1:])))
    values, indices = importer.emit(TopK(2, k), flat)
    indices = cast(importer, indices, DType.F32)
    result = join(importer, [indices, values], 1) if wants_values else indices
    # Of ranks up to 3 the result has three dimensions; of more, ones follow.
    ones = (1,) * (len(node.output_shape()) - 3)
    return reshape(importer, result, (*result.type.shape, *ones))
