"""What layers of neural networks make of tensors whose extents the data decide.

Windows see what they would see at the end of what is there: zeros in place of filler, as padding is, and in a maximum
the lowest number.
"""

from collections.abc import Sequence

import numpy as np

from .....ir.core import Value
from .....ir.op import Operator
from .....ir.ops import reduction
from .....ir.ops.convolution import Col2Im, Conv, ConvTranspose
from .....ir.ops.detection.region_pooling import RoiAlign
from .....ir.ops.elementwise import Add, Div, Mul
from .....ir.ops.integer_products import MatMulInteger
from .....ir.ops.matmul import MatMul
from .....ir.ops.movement import DepthToSpace, SpaceToDepth
from .....ir.ops.normalization import BatchNorm, GroupNorm, LayerNorm, Lrn, RmsNorm
from .....ir.ops.pooling import AveragePool, GlobalAveragePool, GlobalMaxPool, GlobalPool, MaxPool, Pool
from .....ir.ops.resize import Resize
from .....ir.ops.sampling import GridSample
from ...elementwise import standardized
from ...shape import reshape
from .intervals import Count, Extent, room
from .open_rules import end_of
from .open_shapes import OpenShapes, of_open_shapes


@of_open_shapes(LayerNorm, RmsNorm)
def trailing_norm(open: OpenShapes, operator: LayerNorm | RmsNorm, x: Value, *parameters: Value | None) -> list[Value]:
    open.check_closed(operator.name, parameters)
    if any(axis >= operator.axis for axis in open.axes(x)):
        raise open.refusal(operator.name, [x, *parameters])
    return [open.opened(open.apply_one(operator, x, *parameters), open.shape(x))]


@of_open_shapes(GlobalPool, GroupNorm, DepthToSpace, SpaceToDepth, Resize, Col2Im)
def image_by_image(open: OpenShapes, operator: Operator, x: Value, *parameters: Value | None) -> list[Value]:
    """What computes each image of a batch by itself."""
    open.check_closed(operator.name, parameters)
    results = open.apply(operator, x, *parameters)
    if open.axes(x) != [0] or any(y.type.shape[0] != x.type.shape[0] for y in results):
        raise open.refusal(operator.name, [x, *parameters])
    return [open.opened(y, (open.shape(x)[0], *y.type.shape[1:])) for y in results]


@of_open_shapes(BatchNorm, Lrn)
def place_by_place(open: OpenShapes, operator: Operator, x: Value, *parameters: Value | None) -> list[Value]:
    """What computes each position by itself."""
    open.check_closed(operator.name, parameters)
    if 1 in open.axes(x):
        raise open.refusal(operator.name, [x])
    return [open.opened(open.apply_one(operator, x, *parameters), open.shape(x))]


@of_open_shapes(GlobalAveragePool, GlobalMaxPool)
def pooled_whole(open: OpenShapes, operator: GlobalPool, x: Value) -> Sequence[Value]:
    cls = reduction.ReduceMax if isinstance(operator, GlobalMaxPool) else reduction.ReduceMean
    return open.builder.emit(cls(tuple(range(2, x.type.rank)), keepdims=True), x)


@of_open_shapes(GroupNorm)
def group_norm(open: OpenShapes, operator: GroupNorm, x: Value, scale: Value, b: Value) -> Sequence[Value]:
    """By the means of what is there, where positions are open."""
    spatial = [axis for axis in open.axes(x) if axis > 1]
    if not spatial:
        return image_by_image(open, operator, x, scale, b)
    if 1 in open.axes(x):
        raise open.refusal(operator.name, [x])
    open.check_closed(operator.name, [scale, b])
    builder, shape, rank = open.builder, x.type.shape, x.type.rank
    groups = (shape[0], operator.groups, shape[1] // operator.groups, *shape[2:])
    axes = tuple(range(2, rank + 1))
    y = standardized(builder, reshape(builder, x, groups), axes, operator.epsilon, is_inside=True)
    scale, b = (reshape(builder, value, (shape[1], *[1] * (rank - 2))) for value in (scale, b))
    y = builder.emit_one(Mul(), reshape(builder, y, shape), scale)
    return builder.emit(Add(), y, b)


def windowed(open: OpenShapes, own: Extent, stride: int, beyond: int) -> Extent:
    """How many windows there are along a dimension that begin ``stride`` apart and, but for its padding, reach
    ``beyond`` where they begin."""
    whole = open.divide(open.larger(open.add(own, stride - 1 - beyond), 0), stride)
    assert whole is not None
    return whole


@of_open_shapes(Pool)
def pooled(open: OpenShapes, operator: Pool, x: Value) -> list[Value]:
    """Means are divided by those of a mask, where only what is there counts."""
    own, axes = open.shape(x), [axis for axis in open.axes(x) if axis > 1]
    filler = end_of(x.type.dtype, lowest=True) if isinstance(operator, MaxPool) else 0
    y = open.apply_one(operator, open.filled(x, filler, axes))
    if isinstance(operator, AveragePool) and axes and not operator.count_include_pad:
        ones = open.constant(np.ones((1, 1, *x.type.shape[2:])), x.type.dtype, "ones")
        there = open.filled(open.opened(ones, (1, 1, *own[2:])))
        y = open.apply_one(Div(), y, open.apply_one(operator, there))
    shape = [*own[:2], *y.type.shape[2:]]
    for axis in axes:
        d, spatial = axis - 2, len(operator.kernel)
        beyond = operator.dilations[d] * (operator.kernel[d] - 1) - sum(operator.pads[d::spatial])
        shape[axis] = windowed(open, own[axis], operator.strides[d], beyond)
    return [open.opened(open.cut(y, [*map(room, shape)]), shape)]


@of_open_shapes(Conv, ConvTranspose)
def convolved(
    open: OpenShapes, operator: Conv | ConvTranspose, x: Value, w: Value, *others: Value | None
) -> list[Value]:
    """Filler counts as zeros, as padding does: where there is something to see, windows see the same."""
    open.check_closed(operator.name, [w, *others])
    own, axes = open.shape(x), open.axes(x)
    if 1 in axes:
        raise open.refusal(operator.name, [x, w])
    y = open.apply_one(operator, open.filled(x, 0, [axis for axis in axes if axis > 1]), w, *others)
    shape = [own[0], *y.type.shape[1:]]
    for d, stride in enumerate(operator.strides):
        if d + 2 not in axes:
            continue
        beyond = operator.dilations[d] * (w.type.shape[d + 2] - 1) - sum(operator.pads[d :: len(operator.strides)])
        if isinstance(operator, ConvTranspose):
            last = open.product([open.add(own[d + 2], -1), stride])
            extent = open.add(last, 1 + beyond + operator.output_padding[d])
        else:
            extent = windowed(open, own[d + 2], stride, beyond)
        shape[d + 2] = open.larger(extent, 0)
    return [open.opened(open.cut(y, [*map(room, shape)]), shape)]


@of_open_shapes(RoiAlign)
def aligned(open: OpenShapes, operator: RoiAlign, x: Value, regions: Value, images: Value) -> list[Value]:
    open.check_closed(operator.name, [x])
    count = open.same(open.shape(regions)[0], open.shape(images)[0])
    regions, images = (open.cut(open.filled(v), (room(count), *v.type.shape[1:])) for v in (regions, images))
    y = open.apply_one(operator, x, regions, images)
    return [open.opened(y, (count, *y.type.shape[1:]))]


@of_open_shapes(GridSample)
def sampled(open: OpenShapes, operator: GridSample, x: Value, grid: Value) -> list[Value]:
    """Each image at places of its own."""
    if any(axis > 0 for value in (x, grid) for axis in open.axes(value)):
        raise open.refusal(operator.name, [x, grid])
    count = open.same(open.shape(x)[0], open.shape(grid)[0])
    x, grid = (open.cut(value, (room(count), *value.type.shape[1:])) for value in (x, grid))
    y = open.apply_one(operator, x, grid)
    return [open.opened(y, (count, *y.type.shape[1:]))]


@of_open_shapes(MatMul, MatMulInteger)
def product(
    open: OpenShapes, operator: MatMul | MatMulInteger, x: Value, w: Value, *others: Value | None
) -> list[Value]:
    open.check_closed(operator.name, others)
    is_integer = isinstance(operator, MatMulInteger)
    a, b = (False, False) if is_integer else (operator.transpose_a, operator.transpose_b)
    left, right = (list(open.shape(value)) for value in (x, w))
    rows, inner = (left[-1], left[-2]) if a else (left[-2], left[-1])
    other, columns = (right[-1], right[-2]) if b else (right[-2], right[-1])
    inner = open.same(inner, other)
    if isinstance(inner, Count):
        if is_integer and any(others):
            # What is missing would be the zero point.
            raise open.refusal(operator.name, [x, w])
        x = open.filled(x, 0, [x.type.rank - (2 if a else 1)])
        w = open.filled(w, 0, [w.type.rank - (1 if b else 2)])
    batch = open.broadcast([tuple(left[:-2]), tuple(right[:-2])])
    x = open.fitted(x, (*batch, inner, rows) if a else (*batch, rows, inner))
    w = open.fitted(w, (*batch, columns, inner) if b else (*batch, inner, columns))
    return [open.opened(open.apply_one(operator, x, w, *others), (*batch, rows, columns))]
