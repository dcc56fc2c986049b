"""Random layers that move elements, change shapes, resample, quantise or recur: see the module openvino_layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from openvino_layers import Layers, maker


def _shape(layers: Layers, low: int = 1, high: int = 4) -> list[int]:
    return layers.integers(1, 5, layers.pick(*range(low, high + 1)))


@maker
def reshape(layers: Layers) -> Sequence[Any]:
    ops, x = layers.opset(1), layers.input([2, 3, 4])
    shapes = [[0, -1], [6, 4], [0, 0, 2, -1], [-1], [4, 0, 2]]
    results = [ops.reshape(x, layers.pick(*shapes), True)]
    results.append(ops.reshape(x, layers.pick([2, 12], [-1, 8], [1, 24, 1]), False))
    axes = sorted(layers.rng.choice(4, 2, replace=False).tolist())
    wide = ops.unsqueeze(x, np.array(axes[: layers.pick(1, 2)]))
    thin = ops.squeeze(ops.unsqueeze(x, np.array([0, -1])), np.array([layers.pick(0, -1)]))
    return [*results, wide, thin, layers.opset(15).squeeze(wide, np.array([0, 1]), True)]


@maker
def broadcast(layers: Layers) -> Sequence[Any]:
    ops, x = layers.opset(3), layers.input([3, 1])
    picture = layers.input([3])
    return [
        ops.broadcast(x, [2, 3, 5]),
        ops.broadcast(x, layers.pick([1, 4], [2, 1, 1], [4]), broadcast_spec="BIDIRECTIONAL"),
        ops.broadcast(picture, [2, 3, 4], np.array([1]), "EXPLICIT"),
    ]


@maker
def shape_chain(layers: Layers) -> Sequence[Any]:
    """What converters write where a shape depends on the input's."""
    ops, x = layers.opset(8), layers.input([2, 3, 4, 5])
    shape = layers.opset(3).shape_of(x, layers.pick("i64", "i32"))
    zero = np.array(0, np.int64)
    batch = ops.gather(shape, np.array([0]), zero)
    rest = layers.opset(1).reduce_prod(ops.gather(shape, np.array([1, 2, 3]), zero), zero, True)
    target = layers.opset(1).concat([batch, rest], 0)
    count = layers.opset(1).squeeze(batch, zero)
    numbers = layers.opset(4).range(np.array(0, np.int64), layers.opset(1).convert(count, "i64"), np.array(1))
    numbers = layers.opset(1).convert(numbers, "f32")
    flat = layers.opset(1).reshape(x, target, False)
    return [layers.opset(1).multiply(flat, layers.opset(1).unsqueeze(numbers, np.array([1])))]


@maker
def conversion(layers: Layers) -> Sequence[Any]:
    ops, x = layers.opset(1), layers.input([3, 4])
    whole = layers.input([3, 4], np.int32)
    return [
        ops.convert(x, layers.pick("i32", "i64", "i8")),
        ops.convert(whole, layers.pick("f32", "boolean", "i64")),
        ops.convert_like(whole, x),
    ]


@maker
def transpose(layers: Layers) -> Sequence[Any]:
    shape = _shape(layers)
    order = layers.rng.permutation(len(shape)) if layers.pick(True, False) else np.zeros(0, np.int64)
    return [layers.opset(1).transpose(layers.input(shape), order)]


@maker
def joins(layers: Layers) -> Sequence[Any]:
    ops, x = layers.opset(1), layers.input([2, 6, 4])
    parts = ops.split(x, np.array(layers.pick(1, -2)), layers.pick(2, 3))
    varied = ops.variadic_split(x, np.array(layers.pick(1, -2)), np.array(layers.pick([1, -1], [2, 0, 4], [3, 1, 2])))
    joined = ops.concat([layers.input([2, 1, 4]), x], layers.pick(1, -2))
    return [*parts.outputs(), *(each for each in varied.outputs() if each.get_shape()[1]), joined]


@maker
def slices(layers: Layers) -> Sequence[Any]:
    ops, x = layers.opset(8), layers.input([5, 6, 7])
    starts, ends = layers.integers(-8, 8, 2), layers.integers(-8, 8, 2)
    steps = [layers.pick(1, 2, -1, -3) for _ in range(2)]
    axes = layers.pick([0, 1], [2, 0], [-1, 1])
    found = ops.slice(x, np.array(starts), np.array(ends), np.array(steps), np.array(axes))
    return [found] if 0 not in found.get_output_shape(0) else [ops.relu(x)]


@maker
def strided_slices(layers: Layers) -> Sequence[Any]:
    ops, x = layers.opset(1), layers.input([4, 5, 6])
    count = layers.pick(1, 2, 3)
    begins, ends = layers.integers(-4, 3, count), layers.integers(-4, 6, count)
    steps = [layers.pick(1, 1, 2, -1) for _ in range(count)]
    masks = {name: layers.integers(0, 1, count) for name in ("begin_mask", "end_mask")}
    added, dropped, ellipses = ([int(layers.rng.integers(4) == 0) for _ in range(count)] for _ in range(3))
    for position in range(count):
        ellipses[position] &= not any(ellipses[:position])
        added[position] &= not ellipses[position]
        # Not beside new dimensions: OpenVINO reads outside x then.
        dropped[position] &= not (any(added) or ellipses[position])
        if dropped[position]:
            steps[position], ends[position] = 1, begins[position] + 1
            masks["begin_mask"][position] = 0
    masks |= {"new_axis_mask": added, "shrink_axis_mask": dropped, "ellipsis_mask": ellipses}
    found = ops.strided_slice(x, np.array(begins), np.array(ends), np.array(steps), **masks)
    return [found] if 0 not in found.get_output_shape(0) else [ops.relu(x)]


@maker
def pads(layers: Layers) -> Sequence[Any]:
    x, mode = layers.input([2, 4, 5]), layers.pick("constant", "edge", "reflect", "symmetric")
    before, after = (np.array(layers.integers(0, 1, 1) + layers.integers(0, 3, 2)) for _ in range(2))
    value = np.float32(layers.pick(0, 1.5)) if mode == "constant" else None
    cut = np.array([layers.pick(-1, 0, 2) for _ in range(3)])
    crop = layers.opset(12).pad(x, np.array([0, -1, 1]), cut, "constant", np.float32(2))
    return [layers.opset(1).pad(x, before, after, mode, value), crop]


@maker
def tiles(layers: Layers) -> Sequence[Any]:
    x = layers.input([2, 3])
    shift = layers.opset(7).roll(x, np.array(layers.integers(-5, 5, 2)), np.array(layers.pick([0, 1], [1, -2])))
    return [layers.opset(1).tile(x, np.array(layers.integers(1, 3, layers.pick(1, 2, 3)))), shift]


@maker
def blocks(layers: Layers) -> Sequence[Any]:
    ops, b = layers.opset(1), layers.pick(1, 2)
    rank = layers.pick(1, 2, 3)
    mode = layers.pick("blocks_first", "depth_first")
    deep = layers.input([2, 3 * b**rank, *layers.integers(1, 3, rank)])
    flat = layers.input([2, 3, *(b * extent for extent in layers.integers(1, 3, rank))])
    return [
        ops.depth_to_space(deep, mode, b),
        ops.space_to_depth(flat, mode, b),
        layers.opset(3).shuffle_channels(layers.input([2, 6, 4]), layers.pick(1, -2), layers.pick(1, 2, 3)),
    ]


@maker
def batches(layers: Layers) -> Sequence[Any]:
    ops = layers.opset(2)
    space = layers.input([2, 4, 6, 3])
    sizes = np.array([1, layers.pick(1, 2), layers.pick(1, 2, 3), 1])
    before, after = np.array([0, 0, 3, 0]), np.array([0, 2, 3, 1])
    batch = layers.input([12, 2, 3, 2])
    crops = np.array([0, 0, 1, 0]), np.array([0, 1, 1, 0])
    lengths = np.array(layers.integers(1, 6, 2))
    return [
        ops.space_to_batch(space, sizes, before, after),
        ops.batch_to_space(batch, np.array([1, layers.pick(1, 2), 3, 1]), *crops),
        layers.opset(1).reverse_sequence(layers.input([2, 6, 3]), lengths, 0, 1),
    ]


@maker
def gathers(layers: Layers) -> Sequence[Any]:
    x = layers.input([2, 3, 4, 5])
    axis, version = layers.pick(1, 2, 3, -1), layers.pick(1, 7, 8)
    low = -3 if version == 8 else 0
    indices = layers.input(layers.pick([], [2], [2, 3]), layers.pick(np.int32, np.int64), low, 2)
    results = [layers.opset(version).gather(x, indices, np.array(axis))]
    shared = layers.pick(1, 2)
    by_batch = layers.input([2, 3, *layers.pick([], [2])], np.int32, 0, 2)
    results.append(layers.opset(8).gather(x, by_batch, np.array(layers.pick(2, 3)), shared))
    extents = [2, 3, 4, 5]
    extents[axis] = 6
    results.append(layers.opset(6).gather_elements(x, layers.input(extents, np.int32, 0, 2), axis))
    pairs = layers.input([2, 3, 2], np.int32, 0, 1)
    return [*results, layers.opset(8).gather_nd(x, pairs, layers.pick(0, 1, 2)), layers.opset(5).gather_nd(x, pairs, 2)]


@maker
def scatters(layers: Layers) -> Sequence[Any]:
    x, axis = layers.input([4, 5, 6]), layers.pick(0, 1, 2, -1)
    extents = [2, 2, 2]
    distinct = np.zeros(extents, np.int64) + np.arange(2).reshape([2 if d == axis % 3 else 1 for d in range(3)])
    updates = layers.input(extents)
    results = [layers.opset(3).scatter_elements_update(x, distinct, updates, np.array(axis))]
    reduction = layers.pick("sum", "prod", "min", "max")
    places = layers.input(extents, np.int64, 0, 3)
    results.append(layers.opset(12).scatter_elements_update(x, places, updates, np.array(axis), reduction))
    shape = [4, 5, 6]
    slices = layers.input([*shape[: axis % 3], 2, *shape[axis % 3 + 1 :]])
    results.append(layers.opset(3).scatter_update(x, np.array(layers.pick([0, 2], [3, 1])), slices, np.array(axis)))
    points = np.array([[0, 1], [3, 4], [2, 2]])
    results.append(layers.opset(4).scatter_nd_update(x, points, layers.input([3, 6])))
    reduction = layers.pick("sum", "sub", "prod", "min", "max")
    return [*results, layers.opset(15).scatter_nd_update(x, points, layers.input([3, 6]), reduction)]


@maker
def one_hot(layers: Layers) -> Sequence[Any]:
    indices = layers.input([2, 3], layers.pick(np.int32, np.int64), -2, 6)
    ends = np.float32(layers.pick(1, 2.5)), np.float32(layers.pick(0, -1))
    return [layers.opset(1).one_hot(indices, np.array(5), *ends, layers.pick(0, 1, 2, -1))]


@maker
def interpolate(layers: Layers) -> Sequence[Any]:
    x, axes = layers.input([1, 2, 5, 4]), np.array([2, 3])
    mode = layers.pick("nearest", "linear", "linear_onnx", "cubic")
    coordinates = layers.pick("half_pixel", "pytorch_half_pixel", "asymmetric", "tf_half_pixel_for_nn", "align_corners")
    nearest = layers.pick("round_prefer_floor", "round_prefer_ceil", "floor", "ceil", "simple")
    rules = coordinates, nearest, False, layers.pick(-0.75, -0.5), axes
    scales = np.array([layers.pick(0.5, 2, 1.25), layers.pick(0.75, 1.5, 3)], np.float32)
    borders = [0, 0, layers.pick(0, 1), 0], [0, 0, 0, layers.pick(0, 2)]
    sizes = np.array(layers.integers(2, 11, 2))
    return [
        layers.opset(11).interpolate(x, scales, mode, "scales", None, None, *rules),
        layers.opset(11).interpolate(x, sizes, mode, "sizes", *borders, *rules),
        layers.opset(10).interpolate(x, sizes, np.ones(2, np.float32), mode, "sizes", None, None, *rules),
    ]


@maker
def old_interpolate(layers: Layers) -> Sequence[Any]:
    x = layers.input([1, 2, 5, 4])
    mode = layers.pick("nearest", "linear")
    attributes = {"axes": [2, 3], "mode": mode, "align_corners": layers.pick(True, False), "antialias": False}
    attributes |= {"pads_begin": [0], "pads_end": [0]}
    return [layers.opset(1).interpolate(x, np.array(layers.integers(2, 11, 2)), attributes)]


@maker
def fake_quantize(layers: Layers) -> Sequence[Any]:
    x = layers.input([2, 3, 4, 5])
    levels = layers.pick(2, 16, 255, 256, 256)
    shape = layers.pick([], [1, 1, 1, 1], [1, 3, 1, 1])
    low = -layers.rng.uniform(0.5, 2, shape).astype(np.float32)
    high = layers.rng.uniform(0.5, 2, shape).astype(np.float32)
    if levels == 256 or layers.pick(True, False):
        # OpenVINO moves the others so that they hold 0.
        step = np.float32(2.0**-6)
        low, high = np.float32(-step * (levels // 2)) + 0 * low, step * (levels - 1 - levels // 2) + 0 * high
    # Halfway between two levels, engines may differ by one.
    outer = layers.pick((low, high), (low * 2, high * 2), (0 * low, 1 + 0 * high))
    return [layers.opset(1).fake_quantize(x, low, high, *(each.astype(np.float32) for each in outer), levels)]


@maker
def recurrent_cell(layers: Layers) -> Sequence[Any]:
    x, h, c = layers.input([2, 3]), layers.input([2, 4]), layers.input([2, 4])

    def parameters(gates: int, extra: int = 0) -> list[np.ndarray]:
        return [layers.array(gates * 4, 3), layers.array(gates * 4, 4), layers.array((gates + extra) * 4)]

    late, clip = layers.pick(False, True), layers.pick(0.0, 0.4)
    lstm = layers.opset(4).lstm_cell(x, h, c, *parameters(4), 4, clip=clip)
    gru = layers.opset(3).gru_cell(x, h, *parameters(3, late), 4, linear_before_reset=late, clip=clip)
    rnn = layers.opset(3).rnn_cell(x, h, *parameters(1), 4, [layers.pick("tanh", "relu", "sigmoid")], [], [], clip)
    return [*lstm.outputs(), gru, rnn]


@maker
def recurrent_sequence(layers: Layers) -> Sequence[Any]:
    direction = layers.pick("forward", "reverse", "bidirectional")
    ways, batch, steps = 2 if direction == "bidirectional" else 1, 2, layers.pick(1, 3)
    x, h, c = (layers.input(shape) for shape in ([batch, steps, 3], [batch, ways, 4], [batch, ways, 4]))
    lengths = np.full(batch, steps, np.int64)

    def parameters(gates: int, extra: int = 0) -> list[np.ndarray]:
        shapes = (gates * 4, 3), (gates * 4, 4), ((gates + extra) * 4,)
        return [layers.array(ways, *shape) for shape in shapes]

    late = layers.pick(False, True)
    lstm = layers.opset(5).lstm_sequence(x, h, c, lengths, *parameters(4), 4, direction)
    gru = layers.opset(5).gru_sequence(x, h, lengths, *parameters(3, late), 4, direction, linear_before_reset=late)
    rnn = layers.opset(5).rnn_sequence(x, h, lengths, *parameters(1), 4, direction)
    return [*lstm.outputs(), *gru.outputs(), *rnn.outputs()]
