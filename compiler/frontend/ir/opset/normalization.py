"""Normalisations of IR: by statistics from training, of layers, and of what is around an element."""

from __future__ import annotations

import numpy as np

from .....ir.core import Value
from .....ir.ops.elementwise import Add, Div, Mul, Pow, Sub
from .....ir.ops.normalization import BatchNorm, GroupNorm, InstanceNorm, LayerNorm, Lrn, RmsNorm
from .....ir.ops.pooling import AveragePool
from .....ir.ops.reduction import ReduceMean, ReduceSumSquare
from .....ir.ops.unary import Sqrt
from .....ir.types import DType
from ...elementwise import scaled
from ...shape import reshape
from ..importer import IrImporter, IrNode, opset


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
        else _ones(node, importer, (extent,))
    )
    return importer.emit_one(RmsNorm(x.type.rank - 1, node.float("epsilon")), x, scale)


def _ones(node: IrNode, importer: IrImporter, shape: tuple[int, ...]) -> Value:
    return importer.described(node, shape, DType.F32, lambda: np.ones(shape, np.float32), "_scale")


@opset("MVN")
def import_mvn(node: IrNode, importer: IrImporter) -> Value:
    """Mean and variance of some dimensions made 0 and 1."""
    x = node.input(0)
    rank = x.type.rank
    if node.opset >= 6:
        axes = tuple(sorted({node.from_front(axis, rank) for axis in node.integers(1, "the axes")}))
    else:
        axes = tuple(range(1 if node.bool("across_channels", False) else 2, rank))
    epsilon, is_scaled = node.float("eps"), node.bool("normalize_variance", True)
    mode = node.word("eps_mode", "inside_sqrt")
    if mode not in ("inside_sqrt", "outside_sqrt"):
        raise node.model_error("unknown eps_mode", expected="inside_sqrt or outside_sqrt", found=repr(mode[:60]))
    return standardized(node, importer, x, axes, epsilon if is_scaled else None, is_inside=mode == "inside_sqrt")


def standardized(
    node: IrNode,
    importer: IrImporter,
    x: Value,
    axes: tuple[int, ...],
    epsilon: float | None,
    *,
    is_inside: bool = True,
) -> Value:
    """``x`` less its mean along ``axes``, over the root of its variance; one op where there is one.

    Args:
        epsilon: ``None`` to leave the variance as it is.
        is_inside: epsilon is added to the variance, else to its root.
    """
    rank = x.type.rank
    if epsilon is not None and is_inside and x.type.dtype is DType.F32:
        if rank > 2 and axes == tuple(range(2, rank)):
            ones = _ones(node, importer, x.type.shape[1:2])
            return importer.emit_one(InstanceNorm(epsilon), x, ones, scaled(importer, ones, 0))
        if axes and axes == tuple(range(axes[0], rank)):
            return importer.emit_one(LayerNorm(axes[0], epsilon), x, _ones(node, importer, x.type.shape[axes[0] :]))
    centred = importer.emit_one(Sub(), x, importer.emit_one(ReduceMean(axes, keepdims=True), x))
    if epsilon is None:
        return centred
    spread = importer.emit_one(ReduceMean(axes, keepdims=True), importer.emit_one(Mul(), centred, centred))
    small = importer.constant(np.array(epsilon, x.type.dtype.numpy), "epsilon")
    if is_inside:
        deviation = importer.emit_one(Sqrt(), importer.emit_one(Add(), spread, small))
    else:
        deviation = importer.emit_one(Add(), importer.emit_one(Sqrt(), spread), small)
    return importer.emit_one(Div(), centred, deviation)


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

    Raises:
        ModelError: there is no such size.
    """
    if size < 1:
        raise node.model_error("size must be at least 1", found=size)
    # The window reaches as far to both sides; of an even size an element is missing, but counts in the mean.
    reach = (size - 1) // 2
    window = 2 * reach + 1
    if axes == {1} and x.type.rank > 1:
        return importer.emit_one(Lrn(window, alpha * window / size, beta, bias), x)
    return _local_response(importer, x, axes, reach, alpha * (window / size) ** len(axes), beta, bias)


def _local_response(
    importer: IrImporter, x: Value, axes: set[int], reach: int, alpha: float, beta: float, bias: float
) -> Value:
    """``x`` / (bias + alpha * m) ^ beta, with m the mean of the squares up to ``reach`` elements away along ``axes``,
    where those outside of ``x`` count as zeros.
    """
    shape, dtype = x.type.shape, x.type.dtype.numpy
    squares = reshape(importer, importer.emit_one(Mul(), x, x), (1, 1, *shape))
    far = tuple(reach if d in axes else 0 for d in range(len(shape)))
    ones, none = (1,) * len(shape), (0,) * len(shape)
    pool = AveragePool(tuple(2 * f + 1 for f in far), ones, far * 2, ones, count_include_pad=True, overhang=none)
    mean = reshape(importer, importer.emit_one(pool, squares), shape)
    base = importer.emit_one(Add(), scaled(importer, mean, alpha), importer.constant(np.array(bias, dtype), "bias"))
    power = importer.emit_one(Pow(), base, importer.constant(np.array(beta, dtype), "beta"))
    return importer.emit_one(Div(), x, power)


@opset("GRN")
def import_grn(node: IrNode, importer: IrImporter) -> Value:
    """x over the root of the sum of squares of its channels."""
    x = node.input(0)
    if x.type.rank < 2:
        raise node.model_error("the data have no channels", found=x.type)
    squares = importer.emit_one(ReduceSumSquare((1,), keepdims=True), x)
    bias = importer.constant(np.array(node.float("bias"), x.type.dtype.numpy), "bias")
    norm = importer.emit_one(Sqrt(), importer.emit_one(Add(), squares, bias))
    return importer.emit_one(Div(), x, norm)
