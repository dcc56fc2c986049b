"""Reductions of IR, TopK and CumSum."""

from __future__ import annotations

from .....ir.core import Value
from .....ir.ops.indexing import GatherElements
from .....ir.ops.reduction import (
    CumSum,
    Reduce,
    ReduceL1,
    ReduceL2,
    ReduceMax,
    ReduceMean,
    ReduceMin,
    ReduceProd,
    ReduceSum,
    TopK,
)
from ...shape import cast
from ..importer import IrImporter, IrNode, opset
from .shape import type_of

_REDUCTIONS: dict[str, type[Reduce]] = {
    "ReduceL1": ReduceL1,
    "ReduceL2": ReduceL2,
    "ReduceLogicalAnd": ReduceMin,
    "ReduceLogicalOr": ReduceMax,
    "ReduceMax": ReduceMax,
    "ReduceMean": ReduceMean,
    "ReduceMin": ReduceMin,
    "ReduceProd": ReduceProd,
    "ReduceSum": ReduceSum,
}


@opset(*_REDUCTIONS)
def import_reduction(node: IrNode, importer: IrImporter) -> Value:
    x = node.input(0)
    axes = tuple(sorted({node.from_front(axis, x.type.rank) for axis in node.integers(1, "the axes")}))
    return importer.emit_one(_REDUCTIONS[node.op_type](axes, node.bool("keep_dims", False)), x)


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
