"""Pooling operators of ONNX. Rounding up the number of windows becomes explicit padding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tilewright.errors import UnsupportedError

from ...ir.core import Op, Value
from ...ir.ops.pooling import (
    AveragePool,
    GlobalAveragePool,
    GlobalLpPool,
    GlobalMaxPool,
    LpPool,
    MaxPool,
    Pool,
    lowest,
)
from .convolution import window_pads
from .onnx.exporter import Exporter, exports
from .onnx.importer import Importer, Node, imports
from .onnx.one_to_one import one_to_one

one_to_one("GlobalAveragePool", GlobalAveragePool)
one_to_one("GlobalMaxPool", GlobalMaxPool)
one_to_one("GlobalLpPool", GlobalLpPool, p=2)


@dataclass(frozen=True)
class _Window:
    """The window of a pooling node; ``overhang`` is what rounding up adds behind the end padding."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    begins: tuple[int, ...]
    ends: tuple[int, ...]
    dilations: tuple[int, ...]
    overhang: tuple[int, ...]

    @property
    def merged_pads(self) -> tuple[int, ...]:
        """Pads for operators to which padding and overhang are the same."""
        return (*self.begins, *(e + o for e, o in zip(self.ends, self.overhang, strict=True)))


def _slack(extent: int, begin: int, end: int, reach: int, stride: int) -> int:
    """How far the last window reaches beyond the end padding where the number of windows is rounded up."""
    room = extent + begin + end - reach
    last = -(-room // stride) * stride
    if last >= extent + begin:
        # A window that would start in the end padding is dropped.
        last -= stride
    return last - room


def _window(node: Node, x: Value) -> _Window:
    extents = x.type.shape[2:]
    kernel = node.ints("kernel_shape")
    spatial = len(extents)
    if len(kernel) != spatial:
        raise node.model_error("kernel_shape does not match the input", expected=f"{spatial} extents", found=kernel)
    strides = node.ints("strides", (1,) * spatial)
    dilations = node.ints("dilations", (1,) * spatial)
    pads = window_pads(node, extents, kernel, strides, dilations)
    begins, ends = list(pads[:spatial]), list(pads[spatial:])
    overhang = [0] * spatial
    if node.int("ceil_mode", 0):
        for d in range(spatial):
            reach = dilations[d] * (kernel[d] - 1) + 1
            slack = _slack(extents[d], begins[d], ends[d], reach, strides[d])
            overhang[d] = max(0, slack)
            # A dropped window may leave padding that would make it again.
            ends[d] += slack if slack <= -strides[d] else 0
    return _Window(kernel, strides, tuple(begins), tuple(ends), dilations, tuple(overhang))


@imports("MaxPool")
def import_max_pool(node: Node, importer: Importer) -> Value:
    if len(node.wanted) > 1 and node.wanted[1]:
        raise node.unsupported("the output 'Indices' is not supported")
    x = node.input(0)
    window = _window(node, x)
    return importer.emit_one(MaxPool(window.kernel, window.strides, window.merged_pads, window.dilations), x)


def average_pool(node: Node, x: Value) -> AveragePool:
    """The operator with the attributes of the node."""
    window = _window(node, x)
    is_counting = node.bool("count_include_pad", 0)
    return AveragePool(
        window.kernel,
        window.strides,
        (*window.begins, *window.ends) if is_counting else window.merged_pads,
        window.dilations,
        is_counting,
        window.overhang if is_counting else (0,) * len(window.kernel),
    )


@imports("AveragePool")
def import_average_pool(node: Node, importer: Importer) -> Value:
    x = node.input(0)
    return importer.emit_one(average_pool(node, x), x)


@imports("LpPool")
def import_lp_pool(node: Node, importer: Importer) -> Value:
    x = node.input(0)
    window = _window(node, x)
    operator = LpPool(window.kernel, window.strides, window.merged_pads, window.dilations, node.int("p", 2))
    return importer.emit_one(operator, x)


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
    exporter.define(op, _export_window(exporter, "MaxPool", x, pool, pads))


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
    y = _export_window(
        exporter,
        "AveragePool",
        exporter.name(op.operands.x),
        pool,
        pool.pads,
        count_include_pad=int(pool.count_include_pad),
        ceil_mode=int(any(pool.overhang)),
    )
    exporter.define(op, y)


@exports(LpPool)
def export_lp_pool(op: Op[LpPool], exporter: Exporter) -> None:
    pool = op.operator
    exporter.define(op, _export_window(exporter, "LpPool", exporter.name(op.operands.x), pool, pool.pads, p=pool.p))


def _export_window(
    exporter: Exporter, op_type: str, x: str, pool: Pool, pads: tuple[int, ...], **attributes: Any
) -> str:
    return exporter.node(
        op_type,
        [x],
        kernel_shape=pool.kernel,
        strides=pool.strides,
        pads=pads,
        dilations=pool.dilations,
        **attributes,
    )
