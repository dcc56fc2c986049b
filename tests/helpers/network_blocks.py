"""Makers of random graphs that append whole blocks of published networks: branches, gates, pyramids, windows, heads."""

from __future__ import annotations

from attention_blocks import attend
from random_graphs import Builder, Maker, squeeze_and_excite

from tilewright.ir.core import Value
from tilewright.ir.ops.activation import Clip, Gelu, HardSigmoid, HardSwish, Relu, Sigmoid
from tilewright.ir.ops.convolution import Conv
from tilewright.ir.ops.elementwise import Add, Mul
from tilewright.ir.ops.matmul import MatMul
from tilewright.ir.ops.movement import Concat, Slice, Transpose
from tilewright.ir.ops.normalization import LayerNorm
from tilewright.ir.ops.pooling import AveragePool, GlobalAveragePool, MaxPool
from tilewright.ir.ops.reduction import ReduceMax, ReduceMean
from tilewright.ir.ops.resize import Resize
from tilewright.ir.ops.shape import Reshape
from tilewright.ir.ops.softmax import Softmax


def _is_map(x: Value) -> bool:
    return x.type.rank == 4 and min(x.type.shape) > 0 and x.type.elements <= 8192


def _some(g: Builder) -> int:
    return g.choose(3, 5, 8, 12, 16, 16, 17, 24, 40)


def _act(g: Builder, x: Value) -> Value:
    if g.chance(0.2):
        return g.commuted(Mul(), x, g.op(Sigmoid(), x))
    return g.op(g.choose(Relu(), Relu(), Clip(0.0, 6.0), HardSwish(), Gelu()), x) if g.chance(0.8) else x


def _convolve(
    g: Builder,
    x: Value,
    outputs: int,
    kernel: tuple[int, int] = (1, 1),
    *,
    stride: int = 1,
    group: int = 1,
    dilation: int = 1,
    with_act: bool = True,
) -> Value:
    """Rows and columns stay as they are but for the stride, with one pad more behind where the window is even."""
    pads = [dilation * (extent - 1) for extent in kernel]
    begins = [pad // 2 for pad in pads]
    padded = (*begins, *(pad - begin for pad, begin in zip(pads, begins, strict=True)))
    conv = Conv((stride, stride), padded, (dilation, dilation), group)
    bias = g.constant(outputs) if g.chance(0.6) else None
    y = g.op(conv, x, g.weights(outputs, x.type.shape[1] // group, *kernel), bias)
    return _act(g, y) if with_act else y


def _part(g: Builder, x: Value, axis: int, begin: int, end: int, step: int = 1) -> Value:
    begins, extents, steps = [0] * x.type.rank, list(x.type.shape), [1] * x.type.rank
    begins[axis], extents[axis], steps[axis] = begin, -(-(end - begin) // step), step
    return g.op(Slice(tuple(begins), tuple(extents), tuple(steps)), x)


def _resized(g: Builder, x: Value, rows: int, columns: int) -> Value:
    images, channels, height, width = x.type.shape
    scales = (1.0, 1.0, rows / height, columns / width)
    extents = (images, channels, rows, columns)
    if g.chance(0.5):
        return g.op(Resize(extents, scales, "nearest", g.choose("asymmetric", "half_pixel"), "floor"), x)
    return g.op(Resize(extents, scales, "linear", g.choose("half_pixel", "align_corners", "pytorch_half_pixel")), x)


def _bottlenecks(g: Builder, x: Value) -> Value:
    """Half of the channels go by, the others through bottlenecks, and all that these make is joined."""
    half = g.choose(4, 8, 9, 16)
    y = _convolve(g, x, 2 * half)
    parts = [_part(g, y, 1, 0, half), _part(g, y, 1, half, 2 * half)]
    for _ in range(g.choose(1, 2)):
        inner = _convolve(g, _convolve(g, parts[-1], half, (3, 3)), half, (3, 3))
        parts.append(g.commuted(Add(), inner, parts[-1]) if g.chance(0.6) else inner)
    return _convolve(g, g.op(Concat(1), *parts), _some(g))


def _pools_in_a_row(g: Builder, x: Value) -> Value:
    parts, size = [_convolve(g, x, _some(g))], g.choose(3, 5)
    for _ in range(g.choose(2, 3)):
        parts.append(g.op(MaxPool((size, size), (1, 1), (size // 2,) * 4, (1, 1)), parts[-1]))
    return _convolve(g, g.op(Concat(1), *parts), _some(g))


def _branches(g: Builder, x: Value) -> Value:
    """Windows of one pixel, of a row and then a column, of squares, and a pool."""
    size = g.choose(3, 5, 7)
    window = ((3, 3), (1, 1), (1, 1, 1, 1), (1, 1))
    parts = [
        _convolve(g, x, _some(g)),
        _convolve(g, _convolve(g, _convolve(g, x, _some(g)), _some(g), (1, size)), _some(g), (size, 1)),
        _convolve(g, _convolve(g, x, _some(g)), _some(g), (3, 3)),
        g.op(g.choose(AveragePool(*window, g.chance(0.5), (0, 0)), MaxPool(*window)), x),
    ]
    return _convolve(g, g.op(Concat(1), *parts), _some(g))


def _dilated_branches(g: Builder, x: Value) -> Value:
    """Windows of one pixel, of pixels ever further apart, and the mean of all pixels, spread out again."""
    outputs = _some(g)
    far = [_convolve(g, x, outputs, (3, 3), dilation=dilation) for dilation in (2, g.choose(3, 4, 6))]
    mean = _resized(g, _convolve(g, g.op(GlobalAveragePool(), x), outputs), *x.type.shape[2:])
    return _convolve(g, g.op(Concat(1), _convolve(g, x, outputs), *far, mean), _some(g))


def _pyramid(g: Builder, x: Value) -> Value:
    """Half as many rows and columns, and all of them again, beside what was there."""
    small = _convolve(g, x, _some(g), (3, 3), stride=2)
    large = _resized(g, small, *x.type.shape[2:])
    if g.chance(0.5):
        return _convolve(g, g.op(Concat(1), large, x), _some(g), (3, 3))
    return g.commuted(Add(), large, _convolve(g, x, large.type.shape[1], with_act=False))


def _channels_last(g: Builder, x: Value) -> Value:
    """A wide depthwise convolution, a normalisation and two products of rows of channels, added to what they read."""
    channels = x.type.shape[1]
    y = _convolve(g, x, channels, g.choose((7, 7), (5, 3)), group=channels, with_act=False)
    y = g.op(Transpose((0, 2, 3, 1)), y)
    if channels > 3:
        y = g.op(LayerNorm(3, 1e-3), y, g.constant(channels, low=0.5, high=1.5), g.constant(channels))
    inner = g.choose(2 * channels, 17)
    y = g.op(Gelu(), g.op(Add(), g.op(MatMul(), y, g.weights(channels, inner)), g.constant(inner)))
    y = g.op(Mul(), g.op(MatMul(), y, g.weights(inner, channels)), g.constant(channels))
    return g.commuted(Add(), g.op(Transpose((0, 3, 1, 2)), y), x)


def _windows(g: Builder, x: Value) -> Value | None:
    """Attention within windows of rows and columns, which may have been rolled around the border."""
    images, channels, height, width = x.type.shape
    rows = g.choose(*(n for n in (1, 2, 3, 4) if height % n == 0))
    columns = g.choose(*(n for n in (2, 3, 4, 1) if width % n == 0))
    if rows * columns < 2 or channels < 4:
        return None
    y, shift = g.op(Transpose((0, 2, 3, 1)), x), g.choose(0, 0, height // 2)
    if shift:
        y = g.op(Concat(1), _part(g, y, 1, shift, height), _part(g, y, 1, 0, shift))
    apart = (images, height // rows, rows, width // columns, columns, channels)
    y = g.op(Transpose((0, 1, 3, 2, 4, 5)), g.op(Reshape(apart), y))
    y = g.op(Reshape((images * apart[1] * apart[3], rows * columns, channels)), y)
    y = attend(g, y, g.choose(1, 2, 3), g.choose(8, 16, 12), None)
    y = g.op(Reshape((images, apart[1], apart[3], rows, columns, channels)), y)
    y = g.op(Reshape((images, height, width, channels)), g.op(Transpose((0, 1, 3, 2, 4, 5)), y))
    if shift:
        y = g.op(Concat(1), _part(g, y, 1, height - shift, height), _part(g, y, 1, 0, height - shift))
    return g.commuted(Add(), g.op(Transpose((0, 3, 1, 2)), y), x)


def _gate_by_pixel(g: Builder, x: Value) -> Value:
    """One factor for each pixel, of the mean and the largest of its channels."""
    both = g.op(Concat(1), g.op(ReduceMean((1,), True), x), g.op(ReduceMax((1,), True), x))
    gate = _convolve(g, both, 1, g.choose((3, 3), (7, 7)), with_act=False)
    return g.commuted(Mul(), x, g.op(Sigmoid(), gate))


def _gates_by_row_and_column(g: Builder, x: Value) -> Value:
    _, channels, height, width = x.type.shape
    rows, turned = g.op(ReduceMean((3,), True), x), g.op(Transpose((0, 1, 3, 2)), g.op(ReduceMean((2,), True), x))
    y = _convolve(g, g.op(Concat(2), rows, turned), g.choose(4, 5, 8))
    rows = _convolve(g, _part(g, y, 2, 0, height), channels, with_act=False)
    turned = _convolve(g, _part(g, y, 2, height, height + width), channels, with_act=False)
    columns = g.op(Transpose((0, 1, 3, 2)), turned)
    return g.op(Mul(), g.op(Mul(), x, g.op(g.choose(Sigmoid(), HardSigmoid(0.2, 0.5)), rows)), g.op(Sigmoid(), columns))


def _every_second_pixel(g: Builder, x: Value) -> Value | None:
    if x.type.shape[2] % 2 or x.type.shape[3] % 2:
        return None
    rows, columns = x.type.shape[2:]
    quarters = [_part(g, _part(g, x, 2, i, rows, 2), 3, j, columns, 2) for i, j in ((0, 0), (1, 0), (0, 1), (1, 1))]
    return _convolve(g, g.op(Concat(1), *quarters), _some(g), (3, 3))


def _linear_attention(g: Builder, x: Value) -> Value:
    """Keys times values first, behind softmax of channels and of pixels."""
    images, channels, height, width = x.type.shape
    depth, pixels = g.choose(4, 8, 16), height * width
    q, k, v = (g.op(Reshape((images, depth, pixels)), _convolve(g, x, depth, with_act=False)) for _ in range(3))
    context = g.op(MatMul(), g.op(Softmax(2), k), g.op(Transpose((0, 2, 1)), v))
    y = g.op(MatMul(), g.op(Transpose((0, 2, 1)), context), g.op(Softmax(1), q))
    return _convolve(g, g.op(Reshape((images, depth, height, width)), y), channels, with_act=False)


def _boxes(g: Builder, x: Value) -> Value:
    """What a detector ends with: numbers for each anchor of each pixel, the first of which are scaled and squared."""
    images, _, height, width = x.type.shape
    anchors, numbers = g.choose(1, 2, 3), g.choose(5, 6, 9, 20)
    y = _convolve(g, x, anchors * numbers, with_act=False)
    y = g.op(Transpose((0, 1, 3, 4, 2)), g.op(Reshape((images, anchors, numbers, height, width)), y))
    y = g.op(Sigmoid(), y)
    size, rest = _part(g, y, 4, 2, 4), _part(g, y, 4, 4, numbers)
    centre = g.op(Add(), g.op(Mul(), _part(g, y, 4, 0, 2), g.scalar(2.0)), g.scalar(-0.5))
    y = g.op(Concat(4), centre, g.op(Mul(), size, size), rest)
    return g.op(Reshape((images, anchors * height * width, numbers)), y)


def _chosen_windows(g: Builder, x: Value) -> Value:
    """Two windows, weighed for each channel by a softmax of their means."""
    images, outputs = x.type.shape[0], _some(g)
    near, far = _convolve(g, x, outputs, (3, 3)), _convolve(g, x, outputs, (3, 3), dilation=2)
    means = _convolve(g, g.op(GlobalAveragePool(), g.op(Add(), near, far)), g.choose(4, 8))
    logits = g.op(Reshape((images, 2, outputs, 1)), _convolve(g, means, 2 * outputs, with_act=False))
    weights = g.op(Softmax(1), logits)
    first, second = (g.op(Reshape((images, outputs, 1, 1)), _part(g, weights, 1, i, i + 1)) for i in range(2))
    return g.op(Add(), g.op(Mul(), near, first), g.op(Mul(), far, second))


def _of_maps(block: Maker) -> Maker:
    return lambda g, x: block(g, x) if _is_map(x) else None


OF_BLOCKS: tuple[Maker, ...] = tuple(
    _of_maps(block)
    for block in (
        *(squeeze_and_excite, _bottlenecks, _pools_in_a_row, _branches, _dilated_branches, _pyramid, _channels_last),
        *(_windows, _gate_by_pixel, _gates_by_row_and_column, _every_second_pixel, _linear_attention, _boxes),
        _chosen_windows,
    )
)
"""What networks for images are made of today."""
