"""Normalisations of IR: by statistics from training, of layers, and of what is around an element; ScaleShift."""

import math
from dataclasses import asdict

import numpy as np

from .....ir.core import Op, Value
from .....ir.ops.elementwise import Add, Mul, Pow
from .....ir.ops.normalization import BatchNorm, GroupNorm, LayerNorm, LpNorm, Lrn, RmsNorm
from .....ir.ops.pooling import AveragePool
from .....ir.ops.reduction import ReduceL1, ReduceL2, ReduceMean, ReduceSumSquare
from .....ir.ops.unary import Sqrt
from .....ir.types import DType
from ...elementwise import centred, scaled, standardized
from ...expression import Expression
from ...shape import reshape
from ..exporter import IrExporter, Tensor, exports, exports_as
from ..importer import IrImporter, IrNode, channels_of, legacy, opset, weights
from .elementwise import combined
from .reduction import reduced
from .shape import reshaped


@opset("BatchNormInference")
def import_batch_norm(node: IrNode, importer: IrImporter) -> Value:
    # Until version 5 the data stood between the parameters.
    order = (0, 1, 2, 3, 4) if node.opset >= 5 else (2, 0, 1, 3, 4)
    epsilon = node.float("epsilon") if node.has("epsilon") else node.float("eps")
    return importer.emit_one(BatchNorm(epsilon), *(node.input(index) for index in order))


@opset("GroupNormalization")
def import_group_norm(node: IrNode, importer: IrImporter) -> Value:
    operator = GroupNorm(node.int("num_groups"), node.float("epsilon"))
    return importer.emit_one(operator, *(node.input(index) for index in range(3)))


@opset("RMS", "RMSNorm")
def import_rms_norm(node: IrNode, importer: IrImporter) -> Value:
    x = node.input(0)
    extent = x.type.shape[-1]
    scale = (
        reshape(importer, node.input(1), (extent,))
        if node.optional(1) is not None
        else _filled(node, importer, (extent,))
    )
    return importer.emit_one(RmsNorm(x.type.rank - 1, node.float("epsilon")), x, scale)


def _filled(
    node: IrNode, importer: IrImporter, shape: tuple[int, ...], value: float = 1, dtype: DType = DType.F32
) -> Value:
    return importer.described(node, shape, dtype, lambda: np.full(shape, value, dtype.numpy), "_scale")


@opset("MVN")
@legacy("MVN")
def import_mvn(node: IrNode, importer: IrImporter) -> Value:
    """Mean and variance of some dimensions made 0 and 1."""
    x = node.input(0)
    rank = x.type.rank
    if node.is_legacy:
        channels_of(node)
    if node.opset >= 6:
        axes = tuple(sorted({node.from_front(axis, rank) for axis in node.integers(1, "the axes")}))
    else:
        axes = tuple(range(1 if node.bool("across_channels", False) else 2, rank))
    epsilon, is_scaled = node.float("eps", 1e-9 if node.is_legacy else None), node.bool("normalize_variance", True)
    mode = node.choice("eps_mode", ("inside_sqrt", "outside_sqrt"), "inside_sqrt")
    return normalized(node, importer, x, axes, epsilon if is_scaled else None, mode == "inside_sqrt")


def normalized(
    node: IrNode, importer: IrImporter, x: Value, axes: tuple[int, ...], epsilon: float | None, is_inside: bool = True
) -> Value:
    """``x`` less its mean along ``axes``, over the root of its variance; one op where there is one.
    ``epsilon``: ``None`` to leave the variance as it is.
    ``is_inside``: epsilon is added to the variance, else to its root."""
    rank = x.type.rank
    if epsilon is not None and is_inside and x.type.dtype is DType.F32:
        if rank > 2 and axes == tuple(range(2, rank)):
            groups, ones = max(x.type.shape[1], 1), _filled(node, importer, x.type.shape[1:2])
            return importer.emit_one(GroupNorm(groups, epsilon), x, ones, scaled(importer, ones, 0))
        if axes and axes == tuple(range(axes[0], rank)):
            return importer.emit_one(LayerNorm(axes[0], epsilon), x, _filled(node, importer, x.type.shape[axes[0] :]))
    if epsilon is None:
        return centred(importer, x, axes)
    return standardized(importer, x, axes, epsilon, is_inside=is_inside)


@opset("LRN")
def import_lrn(node: IrNode, importer: IrImporter) -> Value:
    x = node.input(0)
    axes = {node.from_front(axis, x.type.rank) for axis in node.integers(1, "the axes")}
    size, alpha, beta, bias = node.int("size"), node.float("alpha"), node.float("beta"), node.float("bias")
    return local_response(node, importer, x, axes, size, alpha, beta, bias)


def local_response(
    node: IrNode, importer: IrImporter, x: Value, axes: set[int], size: int, alpha: float, beta: float, bias: float
) -> Value:
    """``x`` / (bias + alpha * m) ^ beta, with m the mean of the squares of ``size`` elements around along ``axes``,
    where those outside of ``x`` count as zeros; one op where there is one.
    Raises ModelError: there is no such size."""
    if size < 1:
        raise node.model_error("size must be at least 1", found=size)
    # The window reaches as far to both sides; of an even size an element is missing, but counts in the mean.
    reach = (size - 1) // 2
    window = 2 * reach + 1
    if axes == {1} and x.type.rank > 1:
        return importer.emit_one(Lrn(window, alpha * window / size, beta, bias), x)
    alpha *= (window / size) ** len(axes)
    shape = x.type.shape
    squares = reshape(importer, importer.emit_one(Mul(), x, x), (1, 1, *shape))
    far = tuple(reach if d in axes else 0 for d in range(len(shape)))
    ones, none = (1,) * len(shape), (0,) * len(shape)
    pool = AveragePool(tuple(2 * f + 1 for f in far), ones, far * 2, ones, count_include_pad=True, overhang=none)
    mean = Expression(importer, squares).apply(pool).reshape(shape)
    return (x / (mean * alpha + bias).apply(Pow(), beta)).value


@opset("GRN")
def import_grn(node: IrNode, importer: IrImporter) -> Value:
    """x over the root of the sum of squares of its channels."""
    x, _ = Expression(importer, node.input(0)), channels_of(node)
    return (x / (x.apply(ReduceSumSquare((1,), keepdims=True)) + node.float("bias")).apply(Sqrt())).value


exports_as(BatchNorm, "BatchNormInference", opset=5)
exports_as(GroupNorm, "GroupNormalization", "num_groups", "epsilon", opset=12)


def _standardized(exporter: IrExporter, x: Value, first: int, epsilon: float) -> Tensor:
    """Mean and variance of the dimensions from ``first`` on made 0 and 1."""
    axes = exporter.integers(range(first, x.type.rank), "axes")
    settings = {"eps": epsilon, "normalize_variance": True, "eps_mode": "INSIDE_SQRT"}
    return exporter.layer("MVN", [x, axes], x.type, opset=6, **settings)


@exports(LayerNorm)
def export_layer_norm(op: Op[LayerNorm], exporter: IrExporter) -> None:
    x, scale, b = op.operands
    y = _standardized(exporter, x, op.operator.axis, op.operator.epsilon)
    y = combined(exporter, "Multiply", y, scale)
    exporter.define(op, combined(exporter, "Add", y, b) if b is not None else y)


@exports(RmsNorm)
def export_rms_norm(op: Op[RmsNorm], exporter: IrExporter) -> None:
    x, scale = op.operands
    squares = combined(exporter, "Multiply", x, x)
    mean = reduced(exporter, squares, ReduceMean, range(op.operator.axis, x.type.rank))
    total = combined(exporter, "Add", mean, op.operator.epsilon)
    y = combined(exporter, "Divide", x, exporter.layer("Sqrt", [total], total.type))
    exporter.define(op, combined(exporter, "Multiply", y, scale))


@exports(LpNorm)
def export_lp_norm(op: Op[LpNorm], exporter: IrExporter) -> None:
    x = exporter.tensor(op.operands.x)
    norm = reduced(exporter, x, ReduceL1 if op.operator.p == 1 else ReduceL2, [op.operator.axis])
    is_nothing = combined(exporter, "Equal", norm, 0, dtype=DType.BOOL)
    zero = exporter.constant(np.zeros((), x.type.dtype.numpy))
    choice = [is_nothing, zero, combined(exporter, "Divide", x, norm)]
    exporter.define(op, exporter.layer("Select", choice, x.type, auto_broadcast="numpy"))


@exports(Lrn)
def export_lrn(op: Op[Lrn], exporter: IrExporter) -> None:
    """By the layer of that name where OpenVINO means the same by it: an odd size, and a bias of 1."""
    lrn, x = op.operator, exporter.tensor(op.operands.x)
    if lrn.size % 2 and lrn.bias == 1:
        exporter.write_as(op, "LRN", [x, exporter.integers([1], "axes")], **asdict(lrn))
        return
    batch, channels, *spatial = x.type.shape
    columns = (batch, 1, channels, math.prod(spatial))
    before = (lrn.size - 1) // 2
    mean = exporter.layer(
        "AvgPool",
        [reshaped(exporter, combined(exporter, "Multiply", x, x), columns)],
        x.type.with_shape(columns),
        kernel=(lrn.size, 1),
        strides=(1, 1),
        pads_begin=(before, 0),
        pads_end=(lrn.size - 1 - before, 0),
        rounding_type="floor",
        auto_pad="explicit",
        **{"exclude-pad": False},
    )
    mean = combined(exporter, "Multiply", reshaped(exporter, mean, x.type.shape), lrn.alpha)
    power = combined(exporter, "Power", combined(exporter, "Add", mean, lrn.bias), lrn.beta)
    exporter.define(op, combined(exporter, "Divide", x, power))


@legacy("ScaleShift")
def import_legacy_scale_shift(node: IrNode, importer: IrImporter) -> Value:
    """x times the weights plus the biases of its channel; each may be missing, or be one for all channels."""
    x, channels = node.input(0), channels_of(node)
    y = x
    found = 0
    for name, index, operator in (("weights", 1, Mul), ("biases", 2, Add)):
        blob, given = node.layer.blobs.get(name), node.optional(index)
        if blob is None and given is None:
            continue
        count = 1 if (blob.size if blob is not None else node.input(index).type.elements) == 1 else channels
        shape = (count, *[1] * (x.type.rank - 2))
        y = importer.emit_one(operator(), y, weights(node, importer, shape, name, index))
        found += 1
    if not found:
        raise node.model_error("the layer has neither 'weights' nor 'biases'")
    return y


@legacy("BatchNormalization")
def import_legacy_batch_norm(node: IrNode, importer: IrImporter) -> Value:
    """(x - mean) / sqrt(variance + epsilon): the blob ``weights`` is the variance, ``biases`` the mean."""
    channels = channels_of(node)
    variance = weights(node, importer, (channels,))
    mean = weights(node, importer, (channels,), "biases", 2)
    scale, shift = (_filled(node, importer, (channels,), value, node.input(0).type.dtype) for value in (1, 0))
    return importer.emit_one(BatchNorm(node.float("epsilon", 1e-5)), node.input(0), scale, shift, mean, variance)


@legacy("LRN", "Norm")
def import_legacy_lrn(node: IrNode, importer: IrImporter) -> Value:
    """x / (k + alpha * mean of squares) ^ beta over ``local-size`` channels, or so many pixels along each axis."""
    x = node.input(0)
    size = node.int("local-size", node.int("local_size", 5))
    alpha, beta, k = node.float("alpha", 1e-4), node.float("beta", 0.75), node.float("k", 1.0)
    region = node.choice("region", ("across", "same", "within"), "across")
    axes = {1} if region == "across" else set(range(2, x.type.rank))
    return local_response(node, importer, x, axes, size, alpha, beta, k)


legacy("GRN")(import_grn)
