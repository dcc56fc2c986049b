"""Pooling operators of ONNX. Rounding up the number of windows becomes explicit padding."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

import numpy as np

from tilewright.errors import UnsupportedError

from ......ir.core import Op, Value
from ......ir.ops.indexing import ScatterElements
from ......ir.ops.pooling import (
    AveragePool,
    GlobalAveragePool,
    GlobalLpPool,
    GlobalMaxPool,
    LpPool,
    MaxPool,
    MaxPoolWithIndices,
    Windowed,
    lowest,
)
from ....movement import padded, transpose
from ....shape import reshape
from ....windows import Integers, Window, rounded_up, slack, widened
from ...exporter import Exporter, exports
from ...importer import Importer, Node, imports
from ...one_to_one import exports_as, one_to_one
from .convolution import check_padding, window

_WINDOW = ("kernel_shape", "strides", "pads", "dilations")

one_to_one("GlobalAveragePool", GlobalAveragePool)
one_to_one("GlobalMaxPool", GlobalMaxPool)
one_to_one("GlobalLpPool", GlobalLpPool, p=2)
exports_as("LpPool", LpPool, *_WINDOW, "p")


def _window(node: Node, importer: Importer, x: Value) -> tuple[Window, Integers]:
    """The window of a pooling node, and what rounding up adds behind the end padding."""
    extents = x.type.shape[2:]
    kernel = node.ints("kernel_shape")
    spatial = len(extents)
    if len(kernel) != spatial:
        raise node.model_error("kernel_shape does not match the input", expected=f"{spatial} extents", found=kernel)
    strides, pads, dilations = window(node, extents, kernel)
    check_padding(node, importer, x, strides)
    full = kernel, strides, pads, dilations
    return rounded_up(extents, full) if node.int("ceil_mode", 0) else (full, (0,) * spatial)


@imports("MaxPool")
def import_max_pool(node: Node, importer: Importer) -> Sequence[Value]:
    x, column_major = node.input(0), node.bool("storage_order", 0)
    window = widened(*_window(node, importer, x))
    has_indices = len(node.wanted) > 1 and node.wanted[1]
    return importer.emit(MaxPoolWithIndices(*window, column_major) if has_indices else MaxPool(*window), x)


@imports("MaxUnpool")
def import_max_unpool(node: Node, importer: Importer) -> Value:
    """Indices count the elements of what the window makes of x; what is larger than that ends in zeros."""
    x, indices = node.input(0), node.input(1)
    kernel, spatial = node.ints("kernel_shape"), x.type.rank - 2
    strides, pads = node.ints("strides", (1,) * spatial), node.ints("pads", (0,) * 2 * spatial)
    if not len(kernel) == len(strides) == len(pads) / 2 == spatial or indices.type.shape != x.type.shape:
        raise node.model_error("window, indices and x do not fit", found=f"{kernel}, {indices.type}, {x.type}")
    lost = [before + after for before, after in zip(pads[:spatial], pads[spatial:], strict=True)]
    sides = zip(x.type.shape[2:], strides, kernel, lost, strict=True)
    shape = (*x.type.shape[:2], *((extent - 1) * stride + side - less for extent, stride, side, less in sides))
    y = _unpooled(node, importer, shape)
    wanted = node.integers(2, "the shape of the result") if node.optional(2) is not None else shape
    if len(wanted) != len(shape):
        raise node.model_error("the shape does not fit x", expected=f"{len(shape)} extents", found=list(wanted))
    after = [new - old for new, old in zip(wanted, shape, strict=True)]
    return padded(node, importer, y, [0] * len(shape), after, "constant", None)


@imports("MaxUnpool", domain="com.mathworks")
def import_max_unpool_of_matlab(node: Node, importer: Importer) -> Value:
    """Indices count the elements of the result, whose shape is the third input."""
    x, indices, shape = node.input(0), node.input(1), node.integers(2, "the shape of the result")
    if indices.type.shape != x.type.shape or len(shape) != x.type.rank or min(shape, default=0) < 0:
        raise node.model_error("indices, shape and x do not fit", found=f"{indices.type}, {list(shape)}, {x.type}")
    return _unpooled(node, importer, shape)


def _unpooled(node: Node, importer: Importer, shape: tuple[int, ...]) -> Value:
    count, dtype = math.prod(shape), node.input(0).type.dtype
    zeros = importer.described(node, (count,), dtype, lambda: np.zeros(count, dtype.numpy), "_zeros")
    flat = (reshape(importer, value, (value.type.elements,)) for value in (node.input(1), node.input(0)))
    return reshape(importer, importer.emit_one(ScatterElements(), zeros, *flat), shape)


def average_pool(node: Node, importer: Importer, x: Value) -> AveragePool:
    """The operator with the attributes of the node; onnxruntime's of integers counts what overhangs as padding."""
    counts = node.bool("count_include_pad", 0)
    if counts and not node.domain:
        padded, overhang = _window(node, importer, x)
        return AveragePool(*padded, count_include_pad=True, overhang=overhang)
    return AveragePool(
        *widened(*_window(node, importer, x)), count_include_pad=counts, overhang=(0,) * (x.type.rank - 2)
    )


def channels_last(node: Node, importer: Importer, make: Callable[[Node, Importer], Value]) -> Value:
    """What ``make`` makes of a node, where its input and its result have their channels behind the positions."""
    x, last = node.input(0), node.input(0).type.rank - 1
    inputs = transpose(importer, x, (0, last, *range(1, last))), *node.inputs[1:]
    y = make(replace(node, inputs=inputs, attributes=node.attributes | {"channels_last": 0}), importer)
    return transpose(importer, y, (0, *range(2, last + 1), 1))


@imports("AveragePool")
def import_average_pool(node: Node, importer: Importer) -> Value:
    x = node.input(0)
    return importer.emit_one(average_pool(node, importer, x), x)


@imports("LpPool")
def import_lp_pool(node: Node, importer: Importer) -> Value:
    x = node.input(0)
    return importer.emit_one(LpPool(*widened(*_window(node, importer, x)), p=node.int("p", 2)), x)


@exports(MaxPool)
def export_max_pool(op: Op[MaxPool], exporter: Exporter) -> None:
    pool = op.operator
    x, pads, extents = exporter.name(op.operands.x), pool.pads, list(op.operands.x.type.shape)
    if any(pad >= extent for pad, extent in zip(pads, pool.kernel * 2, strict=True)):
        # onnxruntime refuses padding as large as the kernel, even where dilation makes the window larger.
        spatial = len(pool.kernel)
        wide = np.array([0, 0, *pads[:spatial], 0, 0, *pads[spatial:]], np.int64)
        fill = exporter.constant(lowest(op.result.type.dtype.numpy), "lowest")
        x, pads = exporter.node("Pad", [x, exporter.constant(wide, "pads"), fill]), (0,) * len(pads)
        extents = [e + a + b for e, a, b in zip(extents, wide[: spatial + 2], wide[spatial + 2 :], strict=True)]
    _write_pool(op, exporter, x, replace(pool, pads=pads), extents)


def _write_pool(
    op: Op[MaxPool | AveragePool], exporter: Exporter, x: str, pool: Windowed, extents: Sequence[int], **attributes: Any
) -> None:
    """The node of a pooling operator. onnxruntime pools along three dimensions at most: of more, neighbours along
    which windows are single elements are one."""
    op_type, count = type(op.operator).__name__, len(pool.kernel)
    windows = enumerate(zip(pool.kernel, pool.strides, pool.pads[:count], pool.pads[count:], strict=True), 2)
    pooled = {axis for axis, window in windows if window != (1, 1, 0, 0)}
    merged = [[*axes] for _, axes in groupby(range(1, count + 2), lambda axis: axis if axis in pooled else 0)]
    if count <= 3 or not pooled:
        exporter.write_as(op, op_type, [x], **window_attributes(pool), **attributes)
        return
    kept = [axes[0] - 2 for axes in merged[1:]]
    kernel, strides, dilations = (tuple(e[i] for i in kept) for e in (pool.kernel, pool.strides, pool.dilations))
    pads = tuple(pool.pads[i] for i in (*kept, *(i + count for i in kept)))
    few = replace(pool, kernel=kernel, strides=strides, pads=pads, dilations=dilations)
    shape = extents[0], *(math.prod(extents[axis] for axis in axes) for axes in merged)
    y = exporter.node("Reshape", [x, exporter.integers(shape, "shape")])
    y = exporter.node(op_type, [y], **window_attributes(few), **attributes)
    exporter.write_as(op, "Reshape", [y, exporter.integers(op.result.type.shape, "shape")])


@exports(MaxPoolWithIndices)
def export_max_pool_with_indices(op: Op[MaxPoolWithIndices], exporter: Exporter) -> None:
    attributes = window_attributes(op.operator)
    exporter.write_as(op, "MaxPool", op.operands, **attributes, storage_order=int(op.operator.column_major))


@exports(AveragePool)
def export_average_pool(op: Op[AveragePool], exporter: Exporter) -> None:
    pool = op.operator
    if any(pool.overhang):
        for d, extent in enumerate(op.operands.x.type.shape[2:]):
            reach = pool.dilations[d] * (pool.kernel[d] - 1) + 1
            end = pool.pads[len(pool.kernel) + d]
            if max(0, slack(extent, pool.pads[d], end, reach, pool.strides[d])) != pool.overhang[d]:
                raise UnsupportedError(
                    "an overhang that rounding up does not make has no ONNX form", stage="export", op=op.name
                )
    attributes = {"count_include_pad": int(pool.count_include_pad), "ceil_mode": int(any(pool.overhang))}
    x = op.operands.x
    _write_pool(op, exporter, exporter.name(x), pool, x.type.shape, **attributes)


def window_attributes(pool: Windowed) -> dict[str, Any]:
    """What ONNX writes of the window of a pooling operator."""
    # onnxruntime makes integer averages an operator that has no dilations, and refuses those of 1 as well.
    dilations = pool.dilations if max(pool.dilations) > 1 else ()
    parts = zip(_WINDOW, (pool.kernel, pool.strides, pool.pads, dilations), strict=True)
    return {name: values for name, values in parts if values}
