"""Normalisation operators of ONNX, in the form of inference."""

from __future__ import annotations

import numpy as np

from .....ir.core import Value
from .....ir.ops.normalization import BatchNorm, GroupNorm, InstanceNorm, LayerNorm, LpNorm, Lrn, RmsNorm
from .....ir.ops.shape import Expand
from ...shape import reshape
from ..importer import Importer, Node, imports
from ..one_to_one import exports_as, one_to_one

one_to_one("InstanceNormalization", InstanceNorm, epsilon=1e-5)
one_to_one("LRN", Lrn, size=None, alpha=1e-4, beta=0.75, bias=1.0)
one_to_one("LpNormalization", LpNorm, axis=-1, p=2)
exports_as("BatchNormalization", BatchNorm)
exports_as("LayerNormalization", LayerNorm)
exports_as("GroupNormalization", GroupNorm, "num_groups", "epsilon")
# The operator of the standard is younger than the version that is written; onnxruntime's own is older.
exports_as("SimplifiedLayerNormalization", RmsNorm)


@imports("BatchNormalization")
def import_batch_norm(node: Node, importer: Importer) -> Value:
    if node.int("training_mode", 0):
        raise node.unsupported("training mode is not supported", hint="Export the model in inference mode.")
    x = node.input(0)
    if not node.int("spatial", 1) and x.type.rank > 2:
        raise node.unsupported("statistics for each element (spatial=0) are not supported")
    operator = BatchNorm(node.float("epsilon", 1e-5))
    return importer.emit_one(operator, x, *(node.input(index) for index in range(1, 5)))


def _fitted(importer: Importer, parameter: Value | None, shape: tuple[int, ...]) -> Value | None:
    """A parameter, which ONNX lets broadcast, in the full shape of what is normalised."""
    if parameter is None:
        return None
    if parameter.type.elements == np.prod(shape):
        return reshape(importer, parameter, shape)
    given = parameter.type.shape
    leading = len(given) - len(shape)
    if leading > 0 and set(given[:leading]) == {1}:
        parameter = reshape(importer, parameter, given[leading:])
    return importer.emit_one(Expand(shape), parameter)


@imports("LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization")
def import_layer_norm(node: Node, importer: Importer) -> Value:
    x = node.input(0)
    axis, epsilon = node.axis(x.type.rank, -1), node.float("epsilon", 1e-5)
    scale = _fitted(importer, node.input(1), x.type.shape[axis:])
    if node.op_type != "LayerNormalization":
        return importer.emit_one(RmsNorm(axis, epsilon), x, scale)
    b = _fitted(importer, node.optional(2), x.type.shape[axis:])
    return importer.emit_one(LayerNorm(axis, epsilon), x, scale, b)


@imports("GroupNormalization")
def import_group_norm(node: Node, importer: Importer) -> Value:
    x, scale, b = node.input(0), node.input(1), node.input(2)
    groups = node.int("num_groups")
    if node.opset < 21:
        # Until opset 21 there was one scale and one bias for each group.
        scale, b = (_per_channel(importer, p, groups, x.type.shape[1]) for p in (scale, b))
    return importer.emit_one(GroupNorm(groups, node.float("epsilon", 1e-5)), x, scale, b)


def _per_channel(importer: Importer, parameter: Value, groups: int, channels: int) -> Value:
    column = reshape(importer, parameter, (groups, 1))
    repeated = importer.emit_one(Expand((groups, channels // groups)), column)
    return reshape(importer, repeated, (groups * (channels // groups),))
