"""Normalisation operators of ONNX."""

import math
from functools import partial

import numpy as np

from ......ir.core import Op, Value
from ......ir.ops.elementwise import Add, Mul
from ......ir.ops.normalization import BatchNorm, GroupNorm, LayerNorm, LpNorm, Lrn, NormalizeL2, RmsNorm
from ......ir.ops.reduction import ReduceMean
from ......ir.ops.shape import Expand
from ......ir.ops.skip_normalization import SkipLayerNorm
from ......ir.types import DType
from ....elementwise import centred, standardized
from ....expression import Expression
from ....shape import cast, reshape
from ...exporter import OPENVINO, Exporter, exports
from ...importer import Importer, Node, imports
from ...one_to_one import exports_as, one_to_one

one_to_one("LRN", Lrn, size=None, alpha=1e-4, beta=0.75, bias=1.0)
one_to_one("LpNormalization", LpNorm, axis=-1, p=2)
exports_as("BatchNormalization", BatchNorm)
exports_as("LayerNormalization", LayerNorm)
# The operator of the standard is younger than the version that is written; onnxruntime's own is older.
exports_as("SimplifiedLayerNormalization", RmsNorm)


@imports("BatchNormalization")
def import_batch_norm(node: Node, importer: Importer) -> list[Value]:
    """In training mode, which older versions tell by a second output, by the mean and variance of its input; then also
    what the running ones become."""
    x, *statistics = (node.input(index) for index in range(5))
    shape, of_each = x.type.shape, statistics[0].type.shape
    if not node.int("spatial", 1) and x.type.rank > 2:
        # Each element of an item is a channel.
        for each in statistics:
            if each.type.shape != shape[1:]:
                what = "statistics of each element (spatial=0) need the shape of one item"
                raise node.model_error(what, expected=list(shape[1:]), found=list(each.type.shape))
        x = reshape(importer, x, (shape[0], math.prod(of_each)))
        statistics = [reshape(importer, each, (math.prod(of_each),)) for each in statistics]
    # What has one dimension is a batch of one channel.
    if x.type.rank == 1:
        x = reshape(importer, x, (*shape, 1))
    scale, b, *running = statistics
    operator = BatchNorm(node.float("epsilon", 1e-5))
    is_older = node.opset < 14 and node.output_count > 1 and not node.int("is_test", 0)
    if not is_older and not node.int("training_mode", 0):
        return [reshape(importer, importer.emit_one(operator, x, scale, b, *running), shape)]
    axes, wide = (0, *range(2, x.type.rank)), cast(importer, x, running[0].type.dtype)
    difference = Expression(importer, centred(importer, wide, axes))
    mean = importer.emit_one(ReduceMean(axes, False), wide)
    variance = (difference * difference).apply(ReduceMean(axes, False)).value
    y = reshape(importer, importer.emit_one(operator, x, scale, b, mean, variance), shape)
    share = node.float("momentum", 0.9)
    pairs = zip(*(map(partial(Expression, importer), each) for each in (running, (mean, variance))), strict=True)
    return [y, *(reshape(importer, (old * share + new * (1 - share)).value, of_each) for old, new in pairs)]


@imports("MeanVarianceNormalization")
def import_mean_variance(node: Node, importer: Importer) -> Value:
    """In single precision at least, whose constants the body of the schema has; without axes that are not there, as
    onnxruntime has it, since the default ones are those of pictures."""
    x, rank = node.input(0), node.input(0).type.rank
    axes = tuple(node.from_front(axis, rank) for axis in node.ints("axes", (0, 2, 3)) if axis < rank)
    wide = x if x.type.dtype is DType.F64 else cast(importer, x, DType.F32)
    y = standardized(importer, wide, axes, 1e-9, is_inside=False)
    return cast(importer, y, x.type.dtype)


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
    shape, scale, b = x.type.shape[axis:], node.input(1), node.optional(2)
    operator = (LayerNorm if node.op_type == "LayerNormalization" else RmsNorm)(axis, epsilon)
    if any(each and set(each.type.shape[: -len(shape)]) - {1} for each in (scale, b)):
        # Parameters that differ between rows follow the normalisation.
        ones = importer.constant(np.ones(shape, scale.type.dtype.numpy))
        y = importer.emit_one(Mul(), importer.emit_one(operator, x, ones), scale)
        return importer.emit_one(Add(), y, b) if b else y
    fitted = [_fitted(importer, each, shape) for each in (scale, b)]
    return importer.emit_one(operator, x, *fitted[: 2 if node.op_type == "LayerNormalization" else 1])


@imports("InstanceNormalization")
def import_instance_norm(node: Node, importer: Importer) -> Value:
    x, scale, b = node.input(0), node.input(1), node.input(2)
    return importer.emit_one(GroupNorm(max(scale.type.elements, 1), node.float("epsilon", 1e-5)), x, scale, b)


@exports(GroupNorm)
def export_group_norm(op: Op[GroupNorm], exporter: Exporter) -> None:
    groups, epsilon = op.operator.groups, op.operator.epsilon
    if groups == op.result.type.shape[1]:
        exporter.write_as(op, "InstanceNormalization", op.operands, epsilon=epsilon)
    else:
        exporter.write_as(op, "GroupNormalization", op.operands, num_groups=groups, epsilon=epsilon)


@imports("GroupNormalization")
def import_group_norm(node: Node, importer: Importer) -> Value:
    x, scale, b = node.input(0), node.input(1), node.input(2)
    groups = node.int("num_groups")
    if node.opset < 21 and groups > 0 and x.type.rank > 1:
        # Until opset 21 there was one scale and one bias for each group.
        for name, parameter in (("scale", scale), ("bias", b)):
            if parameter.type.elements != groups:
                message, found = f"{name} needs one element for each group", list(parameter.type.shape)
                raise node.model_error(message, expected=[groups], found=found)
        scale, b = (_per_channel(importer, p, groups, x.type.shape[1]) for p in (scale, b))
    return importer.emit_one(GroupNorm(groups, node.float("epsilon", 1e-5)), x, scale, b)


def _per_channel(importer: Importer, parameter: Value, groups: int, channels: int) -> Value:
    column = reshape(importer, parameter, (groups, 1))
    repeated = importer.emit_one(Expand((groups, channels // groups)), column)
    return reshape(importer, repeated, (groups * (channels // groups),))


@imports("Normalize", domain=OPENVINO)
def import_normalize(node: Node, importer: Importer) -> Value:
    x, weights = node.input(0), node.input(1)
    if x.type.rank < 2:
        raise node.model_error("x has no channels", expected="at least 2 dimensions", found=list(x.type.shape))
    axes = range(1, x.type.rank) if node.bool("across_spatial", 0) else (1,)
    y = importer.emit_one(NormalizeL2(tuple(axes), node.float("eps", 0.0)), x)
    channels = 1 if node.bool("channel_shared", 0) else x.type.shape[1]
    return importer.emit_one(Mul(), y, reshape(importer, weights, (1, channels, *(1,) * (x.type.rank - 2))))


@exports(NormalizeL2)
def export_normalize_l2(op: Op[NormalizeL2], exporter: Exporter) -> None:
    operator, x = op.operator, op.operands.x
    # Of no axes the standard would reduce, or do nothing.
    total = exporter.node("Mul", [x, x])
    if operator.axes:
        total = exporter.node("ReduceSum", [total, exporter.integers(operator.axes, "axes")])
    epsilon = exporter.constant(np.asarray(operator.epsilon, x.type.dtype.numpy), "epsilon")
    total = exporter.node("Add" if operator.epsilon_mode == "add" else "Max", [total, epsilon])
    exporter.write_as(op, "Div", [x, exporter.node("Sqrt", [total])])


@exports(SkipLayerNorm)
def export_skip_layer_norm(op: Op[SkipLayerNorm], exporter: Exporter) -> None:
    operator, (x, factor, scale, b, skip, skip_factor) = op.operator, op.operands
    order = [axis for axis in range(x.type.rank) if axis != operator.axis] + [operator.axis]

    def scaled(value: Value, by: Value) -> str:
        return exporter.node("Mul", [exporter.node("Transpose", [value], perm=order), by])

    total = scaled(x, factor)
    if skip is not None and skip_factor is not None:
        total = exporter.node("Add", [total, scaled(skip, skip_factor)])
    back = np.argsort(order).tolist()
    if operator.groups and not operator.by_pixel:
        y, groups = [exporter.node("Transpose", [total], perm=back), scale, b], operator.groups
        exporter.write_as(op, "GroupNormalization", y, num_groups=groups, epsilon=operator.epsilon)
        return
    if operator.groups:
        whole = [x.type.shape[axis] for axis in order]
        size = whole[-1] // operator.groups
        apart = exporter.integers((*whole[:-1], operator.groups, size), "groups")
        ones = exporter.constant(np.ones(size, x.type.dtype.numpy), "ones")
        kind = "LayerNormalization" if operator.centred else "SimplifiedLayerNormalization"
        y = exporter.node("Reshape", [total, apart])
        y = exporter.node(kind, [y, ones], axis=-1, epsilon=operator.epsilon)
        y = exporter.node("Mul", [exporter.node("Reshape", [y, exporter.integers(whole, "shape")]), scale])
        y = exporter.node("Add", [y, b])
    elif operator.centred:
        y = exporter.node("LayerNormalization", [total, scale, b], axis=-1, epsilon=operator.epsilon)
    else:
        y = exporter.node("SimplifiedLayerNormalization", [total, scale], axis=-1, epsilon=operator.epsilon)
        y = exporter.node("Add", [y, b])
    exporter.write_as(op, "Transpose", [y], perm=back)
