"""Reduce*, ArgMax, ArgMin, TopK and CumSum of ONNX: axes that moved from attributes to inputs."""

from __future__ import annotations

from ...ir.core import Op, Value
from ...ir.ops.reduction import (
    ArgExtreme,
    ArgMax,
    ArgMin,
    CumSum,
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
from .onnx.exporter import Exporter, exports
from .onnx.importer import Importer, Node, imports
from .shape import attribute_or_input, normalize_axis

REDUCTIONS: dict[str, type[Reduce]] = {
    "ReduceL1": ReduceL1,
    "ReduceL2": ReduceL2,
    "ReduceLogSum": ReduceLogSum,
    "ReduceLogSumExp": ReduceLogSumExp,
    "ReduceMax": ReduceMax,
    "ReduceMean": ReduceMean,
    "ReduceMin": ReduceMin,
    "ReduceProd": ReduceProd,
    "ReduceSum": ReduceSum,
    "ReduceSumSquare": ReduceSumSquare,
}
ONNX_NAMES = {cls: name for name, cls in REDUCTIONS.items()}


@imports(*REDUCTIONS)
def import_reduce(node: Node, importer: Importer) -> Value:
    x = node.input(0)
    axes = attribute_or_input(node, "axes", 1)
    if not axes:
        if node.int("noop_with_empty_axes", 0):
            axes = ()
        else:
            axes = tuple(range(x.type.rank))
    axes = tuple(sorted({normalize_axis(node, a, x.type.rank) for a in axes}))
    return importer.emit_one(REDUCTIONS[node.op_type](axes, bool(node.int("keepdims", 1))), x)


@exports(*REDUCTIONS.values())
def export_reduce(op: Op, exporter: Exporter) -> None:
    reduce = op.operator
    assert isinstance(reduce, Reduce)
    axes = exporter.integers(reduce.axes, "axes")
    name = ONNX_NAMES[type(reduce)]
    inputs = [op.operands[0], axes]
    exporter.define(op, exporter.node(name, inputs, keepdims=int(reduce.keepdims), noop_with_empty_axes=1))


@imports("ArgMax", "ArgMin")
def import_arg_extreme(node: Node, importer: Importer) -> Value:
    x = node.input(0)
    operator = ArgMax if node.op_type == "ArgMax" else ArgMin
    axis = normalize_axis(node, node.int("axis", 0), x.type.rank)
    last = bool(node.int("select_last_index", 0))
    return importer.emit_one(operator(axis, bool(node.int("keepdims", 1)), last), x)


@exports(ArgMax, ArgMin)
def export_arg_extreme(op: Op, exporter: Exporter) -> None:
    arg = op.operator
    assert isinstance(arg, ArgExtreme)
    y = exporter.node(
        "ArgMax" if isinstance(arg, ArgMax) else "ArgMin",
        op.operands,
        axis=arg.axis,
        keepdims=int(arg.keepdims),
        select_last_index=int(arg.select_last_index),
    )
    exporter.define(op, y)


@imports("TopK")
def import_top_k(node: Node, importer: Importer) -> list[Value]:
    x = node.input(0)
    given = attribute_or_input(node, "k", 1) if not node.has("k") else (node.int("k"),)
    if not given:
        raise node.model_error("k is missing")
    axis = normalize_axis(node, node.int("axis", -1), x.type.rank)
    return list(importer.emit(TopK(axis, given[0], bool(node.int("largest", 1))), x))


@exports(TopK)
def export_top_k(op: Op, exporter: Exporter) -> None:
    top = op.operator
    assert isinstance(top, TopK)
    k = exporter.integers([top.k], "k")
    names = exporter.nodes_of("TopK", [op.operands[0], k], 2, axis=top.axis, largest=int(top.largest), sorted=1)
    exporter.define(op, *names)


@imports("CumSum")
def import_cum_sum(node: Node, importer: Importer) -> Value:
    x = node.input(0)
    axis = normalize_axis(node, int(node.constant(1, "the axis").reshape(-1)[0]), x.type.rank)
    return importer.emit_one(CumSum(axis, bool(node.int("exclusive", 0)), bool(node.int("reverse", 0))), x)


@exports(CumSum)
def export_cum_sum(op: Op, exporter: Exporter) -> None:
    sums = op.operator
    assert isinstance(sums, CumSum)
    axis = exporter.integers([sums.axis], "axis")
    inputs = [op.operands[0], axis]
    exporter.define(op, exporter.node("CumSum", inputs, exclusive=int(sums.exclusive), reverse=int(sums.reverse)))
