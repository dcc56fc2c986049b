"""Pooling layers of IR. Rounding up the number of windows becomes explicit padding."""

from __future__ import annotations

from .....ir.core import Value
from .....ir.ops.pooling import AveragePool, MaxPool
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
    window, overhang = _window(node, x)
    none = (0,) * len(overhang)
    if node.bool("exclude-pad", False):
        return importer.emit_one(AveragePool(*widened(window, overhang), count_include_pad=False, overhang=none), x)
    return importer.emit_one(AveragePool(*window, count_include_pad=True, overhang=overhang), x)
