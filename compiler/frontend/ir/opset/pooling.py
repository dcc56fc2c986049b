"""Pooling layers of IR. Rounding up the number of windows becomes explicit padding."""

from __future__ import annotations

from .....ir.core import Value
from .....ir.ops.pooling import AveragePool, MaxPool
from .....ir.ops.reduction import ReduceMax, ReduceMean
from ...movement import join, slice_of
from ...shape import reshape
from ...windows import Integers, Window, rounded_up, widened
from ..importer import IrImporter, IrNode, opset
from .convolution import explicit_pads


def _window(node: IrNode, x: Value) -> tuple[Window, Integers]:
    """The window of a pooling layer, and how far the last one reaches beyond the end padding."""
    extents = x.type.shape[2:]
    spatial = len(extents)
    kernel = node.ints("kernel")
    if len(kernel) != spatial:
        raise node.model_error("the kernel does not match the data", expected=f"{spatial} extents", found=list(kernel))
    strides, dilations = (node.ints(name, (1,) * spatial) for name in ("strides", "dilations"))
    window = kernel, strides, explicit_pads(node, extents, kernel, strides, dilations), dilations
    rounding = node.word("rounding_type", "floor")
    if rounding not in ("floor", "ceil", "ceil_torch"):
        raise node.model_error("unknown rounding_type", expected="floor, ceil or ceil_torch", found=repr(rounding[:60]))
    if rounding == "floor":
        return window, (0,) * spatial
    return rounded_up(extents, window, drop=rounding == "ceil_torch")


@opset("MaxPool")
def import_max_pool(node: IrNode, importer: IrImporter) -> list[Value | None]:
    """Positions of the largest elements, which MaxPool gives since version 8, are not supported."""
    x = node.input(0)
    return [importer.emit_one(MaxPool(*widened(*_window(node, x))), x), None]


@opset("AvgPool")
def import_average_pool(node: IrNode, importer: IrImporter) -> Value:
    x = node.input(0)
    return importer.emit_one(average_pool(*_window(node, x), is_padding_counted=not node.bool("exclude-pad", False)), x)


def average_pool(window: Window, overhang: Integers, *, is_padding_counted: bool) -> AveragePool:
    """The mean of each window.

    Where there is padding and it counts, what lies behind it counts, too, as openvino does it; else it does not.
    """
    none = (0,) * len(overhang)
    counts = is_padding_counted and any(window[2])
    return AveragePool(*widened(window, overhang), count_include_pad=counts, overhang=none)


@opset("AdaptiveAvgPool", "AdaptiveMaxPool")
def import_adaptive_pool(node: IrNode, importer: IrImporter) -> list[Value | None]:
    """Dimension by dimension, each cut into parts that may overlap where their number does not divide the extent."""
    y = node.input(0)
    wanted = node.integers(1, "the output shape")
    if len(wanted) != y.type.rank - 2 or min(wanted, default=0) < 1:
        raise node.model_error(
            "wrong output shape", expected=f"{y.type.rank - 2} extents of at least 1", found=list(wanted)
        )
    reduction = ReduceMean if node.op_type == "AdaptiveAvgPool" else ReduceMax
    for axis, parts in enumerate(wanted, 2):
        extent = y.type.shape[axis]
        if extent % parts == 0:
            shape = (*y.type.shape[:axis], parts, extent // parts, *y.type.shape[axis + 1 :])
            y = importer.emit_one(reduction((axis + 1,), keepdims=False), reshape(importer, y, shape))
            continue
        importer.unroll(node, parts)
        pieces: list[Value] = []
        for part in range(parts):
            begin, end = part * extent // parts, -(-(part + 1) * extent // parts)
            begins, extents = [0] * y.type.rank, list(y.type.shape)
            begins[axis], extents[axis] = begin, end - begin
            piece = slice_of(importer, y, begins, extents, [1] * y.type.rank)
            pieces.append(importer.emit_one(reduction((axis,), keepdims=True), piece))
        y = join(importer, pieces, axis)
    return [y, None]
