"""Pooling layers of IR. Rounding up the number of windows becomes explicit padding.

In versions 2 to 7 Caffe's names stand for attributes as well.
"""

from typing import Any

import numpy as np

from tilewright.errors import IRError

from .....ir.core import Op, Value
from .....ir.ops import pooling
from .....ir.ops.reduction import ReduceMax, ReduceMean, ReduceSum
from .....ir.types import DType, TensorType
from ...movement import cut, join
from ...shape import reshape
from ...windows import Integers, Window, rounded_up, widened
from ..exporter import IrExporter, Tensor, exports
from ..importer import IrImporter, IrNode, legacy, opset
from .convolution import (
    check_positive,
    explicit_pads,
    legacy_auto_pad,
    numbers,
    pad_attributes,
    spatial_extents,
    window,
)
from .elementwise import combined
from .reduction import reduced


def _window(node: IrNode, x: Value) -> tuple[Window, Integers]:
    """The window of a pooling layer, and how far the last one reaches beyond the end padding."""
    extents = x.type.shape[2:]
    spatial = len(extents)
    kernel = node.ints("kernel")
    if len(kernel) != spatial:
        raise node.model_error("the kernel does not match the data", expected=f"{spatial} extents", found=list(kernel))
    strides, dilations = (node.ints(name, (1,) * spatial) for name in ("strides", "dilations"))
    window = kernel, strides, explicit_pads(node, extents, kernel, strides, dilations), dilations
    rounding = node.choice("rounding_type", ("floor", "ceil", "ceil_torch"), "floor")
    if rounding == "floor":
        return window, (0,) * spatial
    return rounded_up(extents, window, drop=rounding == "ceil_torch")


@opset("MaxPool")
def import_max_pool(node: IrNode, importer: IrImporter) -> list[Value | None]:
    """Positions of the largest elements, which MaxPool gives since version 8, are not supported."""
    x = node.input(0)
    return [importer.emit_one(pooling.MaxPool(*widened(*_window(node, x))), x), None]


@opset("AvgPool")
def import_average_pool(node: IrNode, importer: IrImporter) -> Value:
    x = node.input(0)
    return importer.emit_one(average_pool(*_window(node, x), is_padding_counted=not node.bool("exclude-pad", False)), x)


def average_pool(window: Window, overhang: Integers, *, is_padding_counted: bool) -> pooling.AveragePool:
    """The mean of each window.

    Where there is padding and it counts, what lies behind it counts, too, as openvino does it; else it does not."""
    none = (0,) * len(overhang)
    counts = is_padding_counted and any(window[2])
    return pooling.AveragePool(*widened(window, overhang), count_include_pad=counts, overhang=none)


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
            piece = cut(importer, y, axis, begin, end - begin)
            pieces.append(importer.emit_one(reduction((axis,), keepdims=True), piece))
        y = join(importer, pieces, axis)
    return [y, None]


def _window_attributes(pool: pooling.Pool) -> dict[str, Any]:
    return {"kernel": pool.kernel, "strides": pool.strides, **pad_attributes(pool.pads), "rounding_type": "floor"}


def _widened(exporter: IrExporter, x: Tensor, pads: Integers, value: np.ndarray | float) -> Tensor:
    """Feature maps within pads of their own: layers refuse those in which whole windows would lie."""
    spatial = x.type.rank - 2
    before, after = (0, 0, *pads[:spatial]), (0, 0, *pads[spatial:])
    shape = tuple(b + e + a for b, e, a in zip(before, x.type.shape, after, strict=True))
    fill = exporter.constant(np.asarray(value, x.type.dtype.numpy))
    inputs = [x, exporter.integers(before, "pads_begin"), exporter.integers(after, "pads_end"), fill]
    return exporter.layer("Pad", inputs, x.type.with_shape(shape), pad_mode="constant")


@exports(pooling.MaxPool)
def export_max_pool(op: Op[pooling.MaxPool], exporter: IrExporter) -> None:
    pool, x = op.operator, exporter.tensor(op.operands.x)
    attributes = _window_attributes(pool)
    if any(pad >= extent for pad, extent in zip(pool.pads, pool.kernel * 2, strict=True)):
        x = _widened(exporter, x, pool.pads, pooling.lowest(x.type.dtype.numpy))
        attributes |= pad_attributes((0,) * len(pool.pads))
    if all(dilation == 1 for dilation in pool.dilations):
        exporter.write_as(op, "MaxPool", [x], **attributes)
        return
    positions = TensorType(op.result.type.shape, DType.I64)
    attributes |= {"dilations": pool.dilations, "index_element_type": "i64", "axis": 0}
    y, _ = exporter.layers("MaxPool", [x], [op.result.type, positions], opset=8, **attributes)
    # What has an output besides cannot have the name of the op.
    exporter.define(op, exporter.identity(y))


@exports(pooling.AveragePool)
def export_average_pool(op: Op[pooling.AveragePool], exporter: IrExporter) -> None:
    """Where the layer would count otherwise, as a sum over windows divided by what counts."""
    pool, x = op.operator, exporter.tensor(op.operands.x)
    spatial = len(pool.kernel)
    is_wide = any(pad >= extent for pad, extent in zip(pool.pads, pool.kernel * 2, strict=True))
    if not is_wide and not any(pool.overhang) and all(dilation == 1 for dilation in pool.dilations):
        excluded = {"exclude-pad": not pool.count_include_pad}
        exporter.write_as(op, "AvgPool", [x], **_window_attributes(pool), **excluded)
        return
    beyond = [pad + more for pad, more in zip(pool.pads, (0,) * spatial + pool.overhang, strict=True)]
    sums = _sums(exporter, op, _widened(exporter, x, tuple(beyond), 0))
    counts = pool.counts(x.type.shape[2:]).astype(x.type.dtype.numpy)
    exporter.define(op, combined(exporter, "Divide", sums, exporter.constant(counts)))


def _sums(exporter: IrExporter, op: Op[pooling.AveragePool] | Op[pooling.LpPool], x: Tensor) -> Tensor:
    """Sums over the windows of feature maps that were padded: a convolution of each channel with ones."""
    pool, channels = op.operator, x.type.shape[1]
    ones = exporter.constant(np.ones((channels, 1, 1, *pool.kernel), x.type.dtype.numpy))
    window = {"strides": pool.strides, "dilations": pool.dilations, **pad_attributes((0,) * len(pool.pads))}
    return exporter.layer("GroupConvolution", [x, ones], op.result.type, **window)


@exports(pooling.LpPool)
def export_norm_pool(op: Op[pooling.LpPool], exporter: IrExporter) -> None:
    pool, x = op.operator, exporter.tensor(op.operands.x)
    powers = combined(exporter, "Power", exporter.layer("Abs", [x], x.type), float(pool.p))
    sums = _sums(exporter, op, _widened(exporter, powers, pool.pads, 0))
    exporter.define(op, combined(exporter, "Power", sums, 1 / pool.p))


@exports(pooling.GlobalAveragePool, pooling.GlobalMaxPool)
def export_global_pool(op: Op[pooling.GlobalPool], exporter: IrExporter) -> None:
    reduction = ReduceMean if isinstance(op.operator, pooling.GlobalAveragePool) else ReduceMax
    exporter.define(op, reduced(exporter, op.operands.x, reduction, range(2, op.operands.x.type.rank)))


@exports(pooling.GlobalLpPool)
def export_global_norm_pool(op: Op[pooling.GlobalLpPool], exporter: IrExporter) -> None:
    x = exporter.tensor(op.operands.x)
    powers = combined(exporter, "Power", exporter.layer("Abs", [x], x.type), float(op.operator.p))
    sums = reduced(exporter, powers, ReduceSum, range(2, x.type.rank))
    exporter.define(op, combined(exporter, "Power", sums, 1 / op.operator.p))


_METHODS = {"max": "max", "0": "max", "avg": "avg", "ave": "avg", "1": "avg"}


@legacy("Pooling")
def import_legacy_pooling(node: IrNode, importer: IrImporter) -> Value:
    extents, word = spatial_extents(node), node.word("pool-method", node.text("pool", "max"))
    if (method := _METHODS.get(word)) is None:
        raise node.unsupported("unknown pooling method", expected="max or avg", found=repr(word[:60]))
    if node.bool("global_pooling", False):
        return importer.emit_one(
            pooling.GlobalMaxPool() if method == "max" else pooling.GlobalAveragePool(), node.input(0)
        )
    full = window(node, extents, numbers(node, "kernel", "kernel", len(extents)))
    overhang = (0,) * len(extents)
    if legacy_auto_pad(node) == "explicit":
        full, overhang = _rounded(node, extents, full)
    if method == "max":
        return importer.emit_one(pooling.MaxPool(*widened(full, overhang)), node.input(0))
    operator = average_pool(full, overhang, is_padding_counted=not node.bool("exclude-pad", False))
    return importer.emit_one(operator, node.input(0))


def _rounded(node: IrNode, extents: Integers, full: Window) -> tuple[Window, Integers]:
    """The window with as many positions as the layer has, and how far the last one reaches beyond its padding.

    Converters differ in whether a window may start in the padding, and some files do not say how to round; the shapes
    of the file tell."""
    word = node.choice("rounding_type", ("ceil", "floor", "any"), "any")
    check_positive(node, full[1])
    ways = [False] * (word != "ceil") + [True] * (word != "floor")
    stated, wanted = node.layer.inputs[0].shape[2:], node.output_shape()[2:]
    for is_up in ways if len(stated) == len(extents) else ():
        for drop in (True, False) if is_up else (True,):
            try:
                found = rounded_up(stated, full, drop=drop) if is_up else (full, (0,) * len(stated))
                if tuple(axis.output for axis in pooling.MaxPool(*widened(*found)).windows(stated)) == wanted:
                    return rounded_up(extents, full, drop=drop) if is_up else (full, (0,) * len(extents))
            except IRError:
                continue
    return rounded_up(extents, full) if ways[0] else (full, (0,) * len(extents))
