"""Pooling of IR of versions 2 to 7, whose attributes Caffe's names stand for as well."""

from __future__ import annotations

from tilewright.errors import IRError

from .....ir.core import Value
from .....ir.ops.pooling import AveragePool, GlobalAveragePool, GlobalMaxPool, MaxPool
from ...windows import Integers, Window, rounded_up, widened
from ..importer import IrImporter, IrNode, legacy
from .windows import auto_pad, numbers, spatial_extents, window

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
    if auto_pad(node) == "explicit" and _rounds_up(node, full):
        full, overhang = rounded_up(extents, full)
    if method == "max":
        return importer.emit_one(MaxPool(*widened(full, overhang)), node.input(0))
    if node.bool("exclude-pad", False):
        operator = AveragePool(*widened(full, overhang), count_include_pad=False, overhang=(0,) * len(extents))
    else:
        operator = AveragePool(*full, count_include_pad=True, overhang=overhang)
    return importer.emit_one(operator, node.input(0))


def _rounds_up(node: IrNode, full: Window) -> bool:
    """Whether the number of windows is rounded up; where no attribute says so, whether the shapes of the file do."""
    if node.has("rounding_type"):
        word = node.word("rounding_type")
        if word not in ("ceil", "floor"):
            raise node.model_error("unknown rounding_type", expected="ceil or floor", found=repr(word[:60]))
        return word == "ceil"
    stated = node.layer.inputs[0].shape[2:]
    found = node.output_shape()[2:]
    if len(stated) != len(full[0]) or min(stated) < 1 or min(full[1]) < 1:
        return False
    try:
        return _outputs(full, stated) != found == _outputs(widened(*rounded_up(stated, full)), stated)
    except IRError:
        return False


def _outputs(full: Window, extents: Integers) -> Integers:
    return tuple(axis.output for axis in MaxPool(*full).windows(extents))
