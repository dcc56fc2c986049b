"""Reduce*, ArgMax, ArgMin, TopK, CumSum and CumProd of ONNX: axes that moved from attributes to inputs."""

from .....ir.core import Value
from .....ir.ops import REGISTRY
from .....ir.ops.reduction import ArgMax, ArgMin, CumProd, CumSum, Reduce, TopK
from ..importer import Importer, Node, imports
from ..one_to_one import exports_as, one_to_one
from ..open_extents import open_operators
from ..open_extents.intervals import Extent

for _operator in (ArgMax, ArgMin):
    one_to_one(_operator.__name__, _operator, axis=0, keepdims=1, select_last_index=0)
exports_as("TopK", TopK, inputs=("k",))
for _operator in (CumSum, CumProd):
    exports_as(_operator.__name__, _operator, inputs=("axis",))

_REDUCTIONS = {cls.__name__: cls for cls in REGISTRY.values() if issubclass(cls, Reduce)}
for _op_type, _reduction in _REDUCTIONS.items():
    exports_as(_op_type, _reduction, inputs=("axes",), noop_with_empty_axes=1)


@imports(*_REDUCTIONS)
def import_reduce(node: Node, importer: Importer) -> Value:
    x = node.input(0)
    axes = node.attribute_or_input("axes", 1)
    if not axes:
        axes = () if node.int("noop_with_empty_axes", 0) else range(x.type.rank)
    axes = tuple(sorted({node.from_front(a, x.type.rank) for a in axes}))
    return importer.emit_one(_REDUCTIONS[node.op_type](axes, node.bool("keepdims", 1)), x)


@imports("TopK")
def import_top_k(node: Node, importer: Importer) -> list[Value]:
    x = node.input(0)
    axis = node.axis(x.type.rank, -1)
    if importer.open.decides(node.optional(1)) or axis in importer.open.axes(x):
        count: Extent = node.int("k") if node.has("k") else open_operators.scalar_extent(node, importer.open, 1, "k")
        return open_operators.best(node, importer.open, x, axis, count, largest=node.bool("largest", 1))
    given = node.attribute_or_input("k", 1) if not node.has("k") else (node.int("k"),)
    if not given:
        raise node.model_error("k is missing")
    return list(importer.emit(TopK(axis, given[0], node.bool("largest", 1)), x))


@imports("CumSum", "CumProd")
def import_cumulative(node: Node, importer: Importer) -> Value:
    x, cls = node.input(0), CumSum if node.op_type == "CumSum" else CumProd
    axis = node.from_front(node.scalar(1, "the axis"), x.type.rank)
    return importer.emit_one(cls(axis, node.bool("exclusive", 0), node.bool("reverse", 0)), x)
