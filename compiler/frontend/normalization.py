"""Normalisation operators of ONNX, in the form of inference."""

from __future__ import annotations

import numpy as np

from ...ir.core import Op, Value
from ...ir.ops.normalization import BatchNorm, GroupNorm, InstanceNorm, LayerNorm, LpNorm, Lrn, RmsNorm
from ...ir.ops.shape import Expand
from .onnx.exporter import Exporter, exports
from .onnx.importer import Importer, Node, imports
from .shape import normalize_axis, reshape


@imports("BatchNormalization")
def import_batch_norm(node: Node, importer: Importer) -> Value:
    if node.int("training_mode", 0):
        raise node.unsupported("training mode is not supported", hint="Export the model in inference mode.")
    x = node.input(0)
    if not node.int("spatial", 1) and x.type.rank > 2:
        raise node.unsupported("statistics for each element (spatial=0) are not supported")
    operator = BatchNorm(node.float("epsilon", 1e-5))
    return importer.emit_one(operator, x, *(node.input(index) for index in range(1, 5)))


@exports(BatchNorm)
def export_batch_norm(op: Op, exporter: Exporter) -> None:
    assert isinstance(op.operator, BatchNorm)
    exporter.define(op, exporter.node("BatchNormalization", op.operands, epsilon=op.operator.epsilon))


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


@imports("LayerNormalization")
def import_layer_norm(node: Node, importer: Importer) -> Value:
    x = node.input(0)
    axis = normalize_axis(node, node.int("axis", -1), x.type.rank)
    shape = x.type.shape[axis:]
    scale, b = _fitted(importer, node.input(1), shape), _fitted(importer, node.optional(2), shape)
    return importer.emit_one(LayerNorm(axis, node.float("epsilon", 1e-5)), x, scale, b)


@exports(LayerNorm)
def export_layer_norm(op: Op, exporter: Exporter) -> None:
    norm = op.operator
    assert isinstance(norm, LayerNorm)
    exporter.define(op, exporter.node("LayerNormalization", op.operands, axis=norm.axis, epsilon=norm.epsilon))


@imports("RMSNormalization", "SimplifiedLayerNormalization")
def import_rms_norm(node: Node, importer: Importer) -> Value:
    x = node.input(0)
    axis = normalize_axis(node, node.int("axis", -1), x.type.rank)
    scale = _fitted(importer, node.input(1), x.type.shape[axis:])
    return importer.emit_one(RmsNorm(axis, node.float("epsilon", 1e-5)), x, scale)


@exports(RmsNorm)
def export_rms_norm(op: Op, exporter: Exporter) -> None:
    norm = op.operator
    assert isinstance(norm, RmsNorm)
    # The operator of the standard is younger than the version that is written; onnxruntime's own is older.
    y = exporter.node("SimplifiedLayerNormalization", op.operands, axis=norm.axis, epsilon=norm.epsilon)
    exporter.define(op, y)


@imports("InstanceNormalization")
def import_instance_norm(node: Node, importer: Importer) -> Value:
    operator = InstanceNorm(node.float("epsilon", 1e-5))
    return importer.emit_one(operator, node.input(0), node.input(1), node.input(2))


@exports(InstanceNorm)
def export_instance_norm(op: Op, exporter: Exporter) -> None:
    assert isinstance(op.operator, InstanceNorm)
    exporter.define(op, exporter.node("InstanceNormalization", op.operands, epsilon=op.operator.epsilon))


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


@exports(GroupNorm)
def export_group_norm(op: Op, exporter: Exporter) -> None:
    norm = op.operator
    assert isinstance(norm, GroupNorm)
    exporter.define(op, exporter.node("GroupNormalization", op.operands, num_groups=norm.groups, epsilon=norm.epsilon))


@imports("LRN")
def import_lrn(node: Node, importer: Importer) -> Value:
    operator = Lrn(node.int("size"), node.float("alpha", 1e-4), node.float("beta", 0.75), node.float("bias", 1.0))
    return importer.emit_one(operator, node.input(0))


@exports(Lrn)
def export_lrn(op: Op, exporter: Exporter) -> None:
    norm = op.operator
    assert isinstance(norm, Lrn)
    y = exporter.node("LRN", op.operands, size=norm.size, alpha=norm.alpha, beta=norm.beta, bias=norm.bias)
    exporter.define(op, y)


@imports("LpNormalization")
def import_lp_norm(node: Node, importer: Importer) -> Value:
    x = node.input(0)
    axis = normalize_axis(node, node.int("axis", -1), x.type.rank)
    return importer.emit_one(LpNorm(axis, node.int("p", 2)), x)


@exports(LpNorm)
def export_lp_norm(op: Op, exporter: Exporter) -> None:
    assert isinstance(op.operator, LpNorm)
    exporter.define(op, exporter.node("LpNormalization", op.operands, axis=op.operator.axis, p=op.operator.p))
