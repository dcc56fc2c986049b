"""Reduce*, TopK and ArgMax of IR of versions 2 to 7."""

from __future__ import annotations

import math

from .....ir.core import Value
from .....ir.ops.reduction import (
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
from .....ir.types import DType
from ...movement import join
from ...shape import cast, reshape
from ..importer import IrImporter, IrNode, legacy
from ..opset.reduction import selected
from .truth import stated, truth

_ARITHMETIC = (ReduceL1, ReduceL2, ReduceLogSum, ReduceLogSumExp, ReduceMean, ReduceProd, ReduceSum, ReduceSumSquare)
_REDUCTIONS: dict[str, type[Reduce]] = {cls.__name__.lower(): cls for cls in (*_ARITHMETIC, ReduceMax, ReduceMin)}
_LOGIC: dict[str, type[Reduce]] = {"reduceand": ReduceMin, "reduceor": ReduceMax}


@legacy(*_REDUCTIONS, *_LOGIC)
def import_reduce(node: IrNode, importer: IrImporter) -> Value:
    x, kind = node.input(0), node.op_type.lower()
    axes = tuple(sorted({node.from_front(axis, x.type.rank) for axis in node.integers(1, "the axes")}))
    keeps = node.bool("keep_dims", True)
    if kind in _REDUCTIONS:
        return importer.emit_one(_REDUCTIONS[kind](axes, keeps), x)
    # Truth values have no extremes that kernels know of; what stands for them in bytes has.
    whether = cast(importer, truth(importer, x), DType.U8)
    return stated(node, importer, importer.emit_one(_LOGIC[kind](axes, keeps), whether))


@legacy("TopK")
def import_top_k(node: IrNode, importer: IrImporter) -> list[Value]:
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
def import_arg_max(node: IrNode, importer: IrImporter) -> Value:
    """Indices of the ``top_k`` largest elements as numbers: along ``axis``, or without it of each image.

    With ``out_max_val`` the elements: alone with an axis, behind the indices without.
    """
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
