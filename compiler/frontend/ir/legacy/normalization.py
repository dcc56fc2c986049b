"""Normalisations of IR of versions 2 to 7, and ScaleShift."""

from __future__ import annotations

import numpy as np

from .....ir.core import Value
from .....ir.ops.elementwise import Add, Mul
from .....ir.ops.normalization import BatchNorm
from ..importer import IrImporter, IrNode, legacy
from ..opset.normalization import import_grn, local_response, standardized
from .weights import weights


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
    axes = {1} if region == "across" else set(range(2, x.type.rank))
    return local_response(node, importer, x, axes, size, alpha, beta, k)


legacy("GRN")(import_grn)


@legacy("MVN")
def import_mvn(node: IrNode, importer: IrImporter) -> Value:
    """x less the mean of its channel, or image, and over the root of the variance."""
    x = node.input(0)
    _channels(node)
    axes = tuple(range(1 if node.bool("across_channels", False) else 2, x.type.rank))
    epsilon = node.float("eps", 1e-9) if node.bool("normalize_variance", True) else None
    return standardized(node, importer, x, axes, epsilon)
