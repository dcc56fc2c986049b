"""Pooling operators of ONNX. Rounding up the number of windows becomes explicit padding."""

from __future__ import annotations

from typing import Any

import numpy as np

from tilewright.errors import UnsupportedError

from .....ir.core import Op, Value
from .....ir.ops.pooling import (
    AveragePool,
    GlobalAveragePool,
    GlobalLpPool,
    GlobalMaxPool,
    LpPool,
    MaxPool,
    Pool,
    lowest,
)
from ..exporter import Exporter, exports
from ..importer import Importer, Node, imports
from ..one_to_one import exports_as, one_to_one
from .convolution import Integers, window

_WINDOW = ("kernel_shape", "strides", "pads", "dilations")

one_to_one("GlobalAveragePool", GlobalAveragePool)
one_to_one("GlobalMaxPool", GlobalMaxPool)
one_to_one("GlobalLpPool", GlobalLpPool, p=2)
exports_as("LpPool", LpPool, *_WINDOW, "p")

Window = tuple[Integers, Integers, Integers, Integers]
"""Kernel, strides, pads and dilations, in the order in which operators take them."""


def _slack(extent: int, begin: int, end: int, reach: int, stride: int) -> int:
    """How far the last window reaches beyond the end padding where the number of windows is rounded up."""
    room = extent + begin + end - reach
    last = -(-room // stride) * stride
    if last >= extent + begin:
        # A window that would start in the end padding is dropped.
        last -= stride
    return last - room


def _window(node: Node, x: Value) -> tuple[Window, Integers]:
    """The window of a pooling node, and what rounding up adds behind the end padding."""
    extents = x.type.shape[2:]
    kernel = node.ints("kernel_shape")
    spatial = len(extents)
    if len(kernel) != spatial:
        raise node.model_error("kernel_shape does not match the input", expected=f"{spatial} extents", found=kernel)
    strides, pads, dilations = window(node, extents, kernel)
    begins, ends = list(pads[:spatial]), list(pads[spatial:])
    overhang = [0] * spatial
    if node.int("ceil_mode", 0):
        for d in range(spatial):
            reach = dilations[d] * (kernel[d] - 1) + 1
            slack = _slack(extents[d], begins[d], ends[d], reach, strides[d])
            overhang[d] = max(0, slack)
            # A dropped window may leave padding that would make it again.
            ends[d] += slack if slack <= -strides[d] else 0
    return (kernel, strides, (*begins, *ends), dilations), tuple(overhang)


def _padded_window(node: Node, x: Value) -> Window:
    """The window of a node to whose operator padding and what rounding up adds are the same."""
    (kernel, strides, pads, dilations), overhang = _window(node, x)
    widened = (pad + extra for pad, extra in zip(pads, (0,) * len(kernel) + overhang, strict=True))
    return kernel, strides, tuple(widened), dilations


@imports("MaxPool")
def import_max_pool(node: Node, importer: Importer) -> Value:
    if len(node.wanted) > 1 and node.wanted[1]:
        raise node.unsupported("the output 'Indices' is not supported")
    x = node.input(0)
    return importer.emit_one(MaxPool(*_padded_window(node, x)), x)


def average_pool(node: Node, x: Value) -> AveragePool:
    """The operator with the attributes of the node."""
    if node.bool("count_include_pad", 0):
        padded, overhang = _window(node, x)
        return AveragePool(*padded, count_include_pad=True, overhang=overhang)
    return AveragePool(*_padded_window(node, x), count_include_pad=False, overhang=(0,) * (x.type.rank - 2))


@imports("AveragePool")
def import_average_pool(node: Node, importer: Importer) -> Value:
    x = node.input(0)
    return importer.emit_one(average_pool(node, x), x)


@imports("LpPool")
def import_lp_pool(node: Node, importer: Importer) -> Value:
    x = node.input(0)
    return importer.emit_one(LpPool(*_padded_window(node, x), p=node.int("p", 2)), x)


@exports(MaxPool)
def export_max_pool(op: Op[MaxPool], exporter: Exporter) -> None:
    pool = op.operator
    x, pads = exporter.name(op.operands.x), pool.pads
    if any(pad >= extent for pad, extent in zip(pads, pool.kernel * 2, strict=True)):
        # onnxruntime refuses padding as large as the kernel, even where dilation makes the window larger.
        spatial = len(pool.kernel)
        wide = np.array([0, 0, *pads[:spatial], 0, 0, *pads[spatial:]], np.int64)
        fill = exporter.constant(lowest(op.result.type.dtype.numpy), "lowest")
        x, pads = exporter.node("Pad", [x, exporter.constant(wide, "pads"), fill]), (0,) * len(pads)
    exporter.write_as(op, "MaxPool", [x], **{**window_attributes(pool), "pads": pads})


@exports(AveragePool)
def export_average_pool(op: Op[AveragePool], exporter: Exporter) -> None:
    pool = op.operator
    if any(pool.overhang):
        for d, extent in enumerate(op.operands.x.type.shape[2:]):
            reach = pool.dilations[d] * (pool.kernel[d] - 1) + 1
            end = pool.pads[len(pool.kernel) + d]
            if max(0, _slack(extent, pool.pads[d], end, reach, pool.strides[d])) != pool.overhang[d]:
                raise UnsupportedError(
                    "an overhang that rounding up does not make has no ONNX form", stage="export", op=op.name
                )
    attributes = {**window_attributes(pool), "count_include_pad": int(pool.count_include_pad)}
    exporter.write_as(op, "AveragePool", op.operands, **attributes, ceil_mode=int(any(pool.overhang)))


def window_attributes(pool: Pool) -> dict[str, Any]:
    """What ONNX writes of the window of a pooling operator."""
    return dict(zip(_WINDOW, (pool.kernel, pool.strides, pool.pads, pool.dilations), strict=True))
