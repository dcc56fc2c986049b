"""Normalisations of IR of versions 2 to 7, and ScaleShift."""

from __future__ import annotations

import numpy as np

from .....ir.core import Value
from .....ir.ops.elementwise import Add, Div, Mul, Pow, Sub
from .....ir.ops.normalization import BatchNorm, GroupNorm, InstanceNorm, Lrn
from .....ir.ops.pooling import AveragePool
from .....ir.ops.reduction import ReduceMean, ReduceSum
from .....ir.ops.unary import Sqrt
from ..importer import IrImporter, IrNode, legacy
from .weights import weights


def _number(importer: IrImporter, x: Value, value: float, name: str) -> Value:
    return importer.constant(np.array(value, x.type.dtype.numpy), name)


def _filled(importer: IrImporter, node: IrNode, channels: int, value: float) -> Value:
    """One number for each channel."""
    dtype = node.input(0).type.dtype
    return importer.described(node, (channels,), dtype, lambda: np.full(channels, value, dtype.numpy))


def _channels(node: IrNode) -> int:
    x = node.input(0)
    if x.type.rank < 2:
        raise node.model_error("the input has no channels", found=x.type)
    return x.type.shape[1]


@legacy("ScaleShift")
def import_scale_shift(node: IrNode, importer: IrImporter) -> Value:
    """x times the weights plus the biases of its channel; each may be missing, or be one for all channels."""
    x, channels = node.input(0), _channels(node)
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
def import_batch_norm(node: IrNode, importer: IrImporter) -> Value:
    """(x - mean) / sqrt(variance + epsilon): the blob ``weights`` is the variance, ``biases`` the mean."""
    channels = _channels(node)
    variance = weights(node, importer, (channels,))
    mean = weights(node, importer, (channels,), "biases", 2)
    scale, shift = _filled(importer, node, channels, 1), _filled(importer, node, channels, 0)
    return importer.emit_one(BatchNorm(node.float("epsilon", 1e-5)), node.input(0), scale, shift, mean, variance)


@legacy("LRN", "Norm")
def import_lrn(node: IrNode, importer: IrImporter) -> Value:
    """x / (k + alpha * mean of squares) ^ beta over ``local-size`` channels, or so many pixels along each axis."""
    x = node.input(0)
    size = node.int("local-size", node.int("local_size", 5))
    alpha, beta, k = node.float("alpha", 1e-4), node.float("beta", 0.75), node.float("k", 1.0)
    region = node.word("region", "across")
    if region not in ("across", "same", "within"):
        raise node.model_error("unknown region", expected="across or same", found=repr(region[:60]))
    if size < 1:
        raise node.model_error("attribute 'local-size' is out of range", expected="at least 1", found=size)
    if region == "across":
        return importer.emit_one(Lrn(size, alpha, beta, k), x)
    spatial = max(1, x.type.rank - 2)
    ones = (1,) * spatial
    pads = (*((size - 1) // 2,) * spatial, *(size // 2,) * spatial)
    mean = importer.emit_one(
        AveragePool((size,) * spatial, ones, pads, ones, count_include_pad=True, overhang=(0,) * spatial),
        importer.emit_one(Mul(), x, x),
    )
    base = importer.emit_one(Mul(), mean, _number(importer, x, alpha, "alpha"))
    base = importer.emit_one(Add(), base, _number(importer, x, k, "k"))
    return importer.emit_one(Mul(), x, importer.emit_one(Pow(), base, _number(importer, x, -beta, "beta")))


@legacy("GRN")
def import_grn(node: IrNode, importer: IrImporter) -> Value:
    """x over the root of ``bias`` and the sum of squares of all channels at its place."""
    x = node.input(0)
    _channels(node)
    total = importer.emit_one(ReduceSum((1,)), importer.emit_one(Mul(), x, x))
    root = importer.emit_one(Sqrt(), importer.emit_one(Add(), total, _number(importer, x, node.float("bias"), "bias")))
    return importer.emit_one(Div(), x, root)


@legacy("MVN")
def import_mvn(node: IrNode, importer: IrImporter) -> Value:
    """x less the mean of its channel, or image, and over the root of the variance."""
    x, channels = node.input(0), _channels(node)
    is_across = node.bool("across_channels", False)
    if not node.bool("normalize_variance", True):
        axes = tuple(range(1 if is_across else 2, x.type.rank))
        return importer.emit_one(Sub(), x, importer.emit_one(ReduceMean(axes), x))
    epsilon = node.float("eps", 1e-9)
    operator = GroupNorm(1, epsilon) if is_across else InstanceNorm(epsilon)
    return importer.emit_one(operator, x, _filled(importer, node, channels, 1), _filled(importer, node, channels, 0))
