"""Pooling of IR of versions 2 to 7, whose attributes Caffe's names stand for as well."""

from __future__ import annotations

from tilewright.errors import IRError

from .....ir.core import Value
from .....ir.ops.pooling import GlobalAveragePool, GlobalMaxPool, MaxPool
from ...windows import Integers, Window, rounded_up, widened
from ..importer import IrImporter, IrNode, legacy
from ..opset.pooling import average_pool
from .windows import auto_pad, check_positive, numbers, spatial_extents, window

_METHODS = {"max": "max", "0": "max", "avg": "avg", "ave": "avg", "1": "avg"}


def _method(node: IrNode) -> str:
    word = node.word("pool-method", node.text("pool", "max"))
    if word not in _METHODS:
        raise node.unsupported("unknown pooling method", expected="max or avg", found=repr(word[:60]))
    return _METHODS[word]


@legacy("Pooling")
def import_pooling(node: IrNode, importer: IrImporter) -> Value:
    extents, method = spatial_extents(node), _method(node)
    if node.bool("global_pooling", False):
        return importer.emit_one(GlobalMaxPool() if method == "max" else GlobalAveragePool(), node.input(0))
    full = window(node, extents, numbers(node, "kernel", "kernel", len(extents)))
    overhang = (0,) * len(extents)
    if auto_pad(node) == "explicit":
        full, overhang = _rounded(node, extents, full)
    if method == "max":
        return importer.emit_one(MaxPool(*widened(full, overhang)), node.input(0))
    operator = average_pool(full, overhang, is_padding_counted=not node.bool("exclude-pad", False))
    return importer.emit_one(operator, node.input(0))


def _rounded(node: IrNode, extents: Integers, full: Window) -> tuple[Window, Integers]:
    """The window with as many positions as the layer has, and how far the last one reaches beyond its padding.

    Converters differ in whether a window may start in the padding, and some files do not say how to round; the shapes
    of the file tell.

    Raises:
        ModelError: it says it in no way that there is.
    """
    word = node.word("rounding_type", "any")
    if word not in ("ceil", "floor", "any"):
        raise node.model_error("unknown rounding_type", expected="ceil or floor", found=repr(word[:60]))
    check_positive(node, full[1])
    ways = [False] * (word != "ceil") + [True] * (word != "floor")
    stated, wanted = node.layer.inputs[0].shape[2:], node.output_shape()[2:]
    for is_up in ways if len(stated) == len(extents) else ():
        for drop in (True, False) if is_up else (True,):
            try:
                found = rounded_up(stated, full, drop=drop) if is_up else (full, (0,) * len(stated))
                if _outputs(widened(*found), stated) == wanted:
                    return rounded_up(extents, full, drop=drop) if is_up else (full, (0,) * len(extents))
            except IRError:
                continue
    return rounded_up(extents, full) if ways[0] else (full, (0,) * len(extents))


def _outputs(full: Window, extents: Integers) -> Integers:
    return tuple(axis.output for axis in MaxPool(*full).windows(extents))
