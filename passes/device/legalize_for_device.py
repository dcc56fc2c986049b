"""Bring ops on quantised types into the forms that the accelerator has. All rules are exact."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ...ir.annotations import MACS
from ...ir.core import Constant, Module, Op, Value, is_op
from ...ir.feature_map import MAP_RANKS
from ...ir.ops.convolution import Conv
from ...ir.ops.elementwise import Add, Max, Min, Mul, Sub
from ...ir.ops.indexing import Gather
from ...ir.ops.matmul import MatMul
from ...ir.ops.movement import Concat, Pad, Slice, Transpose
from ...ir.ops.pooling import GlobalAveragePool, GlobalMaxPool, GlobalPool, MaxPool
from ...ir.ops.shape import Reshape
from ...ir.ops.skip_normalization import SkipLayerNorm
from ...ir.quantized import EIGHT_BIT, limits, stored
from ...ir.types import TensorType
from ...runtime.machines.machine import DILATION_LIMIT, KERNEL_LIMIT, MAP_EXTENT_LIMIT, POOL_KERNEL_LIMIT, STRIDE_LIMIT
from ..base import PLAIN, UNPLANNED, Pass, Record
from ..pattern import Const, Driver, Match, Rule, node, on_quantized
from ..quantization import integer_rules
from ..simplify import movement_rules, window_rules
from .legalize import attention_forms, head_forms, movement_forms, pixel_views, row_forms, volume_forms
from .legalize.movement_forms import is_quantized

COPIES_LIMIT = 16
"""So many copies of a map are made for parts of windows at most."""


class LegalizeForDevice(Pass):
    """Products with constant matrices become convolutions, with a kernel as large as the map that was flattened before;
    padding goes into windows, parts of too long ones into channels, and dilations that are too large into columns;
    choices of channels copy a channel that has several kernels of its own or stands beside many; movements, what is
    between products, heads, attention, volumes, and tensors whose channels come last get the forms of
    :mod:`tilewright.passes.device.legalize`; clamps that saturation does anyway go; constants get the shape of maps.
    No output changes by a bit, and ops in floating point keep their form but for movements that cancel.

    Comes after the ops have quantised types and before they get their places."""

    requires = (PLAIN, UNPLANNED)
    ensures = (PLAIN,)

    def apply(self, module: Module, record: Record) -> bool:
        stages = head_forms.RULES, RULES, MOVED, pixel_views.LAST, pixel_views.RULES
        found = [Driver(rules).run(module, record) for rules in stages]
        return any(found)


# Products


def _batched_product(found: Match[MatMul]) -> Value | None:
    """[…, M, K] times one matrix is one product of all rows."""
    matmul, x, y = found.root.operator, found["x"], found.root.result.type
    if x.type.rank < 3 or found["w"].type.rank != 2 or matmul.transpose_a:
        return None
    rows, inner = math.prod(x.type.shape[:-1]), x.type.shape[-1]
    flat = found.emit(Reshape((rows, inner)), x)
    product_type = y.with_shape((rows, y.shape[-1]))
    product = found.emit(matmul, flat, *found.root.operands[1:], result_types=[product_type])
    return found.emit(Reshape(y.shape), product)


def _product_as_convolution(found: Match[MatMul]) -> Value | None:
    """A matrix is a kernel that covers what was flattened into the rows: a whole map, or one line of it, as networks
    for speech flatten channels and bands of each step; or else one pixel."""
    matmul, x, y = found.root.operator, found["x"], found.root.result.type
    w, b = found.constant("w"), found.root.operands.b
    if x.type.rank != 2 or matmul.transpose_a or w.type.rank != 2 or not isinstance(b, (Constant, type(None))):
        return None
    flattened = _flattened_map(x) or (found.emit(Reshape((*x.type.shape, 1, 1)), x), (0,), (1, 2, 3))
    source, apart, inside = flattened
    shape, rank = source.type.shape, source.type.rank
    # Rows of the matrix run over the dimensions of the map in the order in which they were flattened.
    rows = w.array if matmul.transpose_b else w.array.T
    extents = [shape[axis] if axis in inside else 1 for axis in range(1, rank)]
    kernel = rows.reshape(len(rows), *(shape[axis] for axis in inside))
    kernel = kernel.transpose(0, *(1 + inside.index(axis) for axis in sorted(inside))).reshape(len(rows), *extents)
    quant = w.type.quant
    if quant is not None and quant.axis is not None:
        quant = replace(quant, axis=0)
    kernel_type = TensorType(kernel.shape, w.type.dtype, quant)
    weights = found.add_constant(w.name, kernel, kernel_type)
    ones = (1,) * (rank - 2)
    conv = Conv(ones, (0,) * 2 * len(ones), ones, 1, matmul.act, matmul.act_args)
    pixels = (shape[axis] if axis in apart else 1 for axis in range(2, rank))
    product = found.emit(conv, source, weights, b, result_types=[y.with_shape((shape[0], len(rows), *pixels))])
    if len(apart) > 1:
        product = found.emit(Transpose((*apart, *sorted({*inside} - {1}), 1)), product)
    return found.emit(Reshape(y.shape), product)


def _flattened_map(x: Value) -> tuple[Value, tuple[int, ...], tuple[int, ...]] | None:
    """The map [N, C, …] that ``x`` [M, K] is the flat form of, and the dimensions of which M and K are, in the order in
    which they were taken: N first of all, or with C some pixels in K, as rows of whole pixels have another form, and so
    has what was rows itself, as heads whose channels look at each other."""
    op = x.producer
    if op is None or not isinstance(op.operator, Reshape):
        return None
    source = op.inputs[0]
    order = tuple(range(source.type.rank))
    if source.producer is not None and isinstance(source.producer.operator, Transpose):
        order = source.producer.operator.perm
        source = source.producer.inputs[0]
    shape = source.type.shape
    if len(shape) not in (3, 4):
        return None
    for count in range(1 + order.index(0), order.index(1) + 1):
        apart, inside = order[:count], order[count:]
        extents = [shape[axis] for axis in inside if axis > 1]
        sizes = tuple(math.prod(shape[axis] for axis in axes) for axes in (apart, inside))
        if sizes == x.type.shape and max(extents, default=1) <= KERNEL_LIMIT:
            is_line = math.prod(extents) > 1 and not is_op(source.producer, Reshape)
            return (source, apart, inside) if apart == (0,) or is_line else None
    return None


def _multiplied_depthwise(found: Match[Conv]) -> Value | None:
    """Several kernels for each channel: one for each of as many copies of it. Kernels of one or two elements cost less
    as parts of a product of all channels."""
    conv, (x, w, *others) = found.root.operator, found.root.operands
    outputs, inputs = w.type.shape[:2]
    if conv.group == 1 or inputs != 1 or outputs == conv.group or math.prod(w.type.shape[2:]) < 3:
        return None
    order = np.arange(outputs) // (outputs // conv.group)
    copies = found.emit(Gather(1), x, found.add_constant(f"{found.root.result.name}.channels", order))
    return found.emit(replace(conv, group=outputs), copies, w, *others, result_types=[found.root.result.type])


# Windows


def _far_taps(found: Match[Conv]) -> Value | None:
    """Taps that lie further apart than the device has dilations, of a map of one row or column: of pixels in rows of as
    many columns they are neighbours, one below the other."""
    conv, w, y = found.root.operator, found.constant("w"), found.root.result.type
    (*batch, length), (*outer, taps), outputs = (
        (*shape[:2], math.prod(shape[2:])) for shape in (found["x"].type.shape, w.type.shape, y.shape)
    )
    axis = max(range(len(conv.dilations)), key=conv.dilations.__getitem__)
    step, before = conv.dilations[axis], conv.pads[axis]
    is_line = (length, taps) == (found["x"].type.shape[2 + axis], w.type.shape[2 + axis])
    is_plain = set(conv.strides) == {1} and len(found.root.inputs) < 4 and outputs[2] == y.shape[2 + axis]
    if step <= DILATION_LIMIT or taps < 2 or not is_line or not is_plain or not y.elements:
        return None
    lead, top = before % step, before // step
    height = -(-(lead + length) // step)
    line = found.emit(Reshape((*batch, length)), found["x"])
    line = found.emit(Pad((0, 0, lead, 0, 0, height * step - lead - length)), line)
    rows = found.emit(Reshape((*batch, height, step)), line)
    below = max(0, -(-outputs[2] // step) + taps - 1 - top - height)
    kernel = found.add_constant(w.name, w.array.reshape(*outer, taps, 1), w.type.with_shape((*outer, taps, 1)))
    windows = replace(conv, strides=(1, 1), dilations=(1, 1), pads=(top, 0, below, 0))
    columns = (*outputs[:2], height + top + below - taps + 1, step)
    product = found.emit(windows, rows, kernel, *found.root.operands[2:3], result_types=[y.with_shape(columns)])
    line = found.emit(Reshape((*outputs[:2], columns[2] * step)), product)
    return found.emit(Reshape(y.shape), found.emit(Slice((0, 0, 0), outputs, (1, 1, 1)), line))


def _long_windows(found: Match[Conv]) -> Value | None:
    """Windows that are too long, or too far apart, read blocks of as many neighbours as divide their distance, each as
    the channels of one pixel: spectra of sounds, and patches of images."""
    conv, w, y, dims = found.root.operator, found.constant("w"), found.root.result.type, found.root.result.type.rank - 2
    kernel, shape = w.type.shape[2:], found["x"].type.shape
    blocks: list[int] = []
    for taps, step in zip(kernel, conv.strides, strict=True):
        sizes = (b for b in range(-(-step // STRIDE_LIMIT), min(step, MAP_EXTENT_LIMIT) + 1) if step % b == 0)
        blocks.append(next((b for b in sizes if -(-taps // b) <= KERNEL_LIMIT), 0))
    zeros = {*(w.type.quant.zero_point if w.type.quant is not None else ())}
    if max(blocks) < 2 or not all(blocks) or conv.group > 1 or {*conv.dilations} != {1} or len(zeros) != 1:
        return None
    # What is padded is in memory here.
    if not y.elements or any(pad >= k for pad, k in zip(conv.pads, (*kernel, *kernel), strict=True)):
        return None
    taps = [-(-k // b) for k, b in zip(kernel, blocks, strict=True)]
    strides = tuple(s // b for s, b in zip(conv.strides, blocks, strict=True))
    pixels = [(n - 1) * s + k for n, s, k in zip(y.shape[2:], strides, taps, strict=True)]
    # Up to the end of the last window; what is beyond is read by none.
    read = [n * b - p for n, b, p in zip(pixels, blocks, conv.pads, strict=False)]
    kept = (*shape[:2], *(min(e, r) for e, r in zip(shape[2:], read, strict=True)))
    x = found.emit(Slice((0,) * len(shape), kept, (1,) * len(shape)), found["x"])
    behind = (r - e for r, e in zip(read, kept[2:], strict=True))
    x = found.emit(Pad((0, 0, *conv.pads[:dims], 0, 0, *behind)), x)
    inside = tuple(2 + 2 * i for i in range(dims))
    perm = (0, *(axis + 1 for axis in inside), 1, *inside)
    apart = [each for pair in zip(pixels, blocks, strict=True) for each in pair]
    x = found.emit(Transpose(perm), found.emit(Reshape((*shape[:2], *apart)), x))
    x = found.emit(Reshape((shape[0], shape[1] * math.prod(blocks), *pixels)), x)
    ends = [(0, 0), (0, 0), *((0, t * b - k) for t, b, k in zip(taps, blocks, kernel, strict=True))]
    array = np.pad(w.array, ends, constant_values=zeros.pop())
    array = array.reshape(*w.type.shape[:2], *(each for pair in zip(taps, blocks, strict=True) for each in pair))
    array = array.transpose(perm).reshape(len(array), -1, *taps)
    weights = found.add_constant(w.name, array, w.type.with_shape(array.shape))
    windows = replace(conv, strides=strides, pads=(0,) * 2 * dims)
    return found.emit(windows, x, weights, *found.root.operands[2:], result_types=[y])


def _is_of_channels(op: Op) -> bool:
    return is_quantized(op) and op.inputs[0].type.shape[1] > 1


def _tall_windows(found: Match[Conv]) -> Value | None:
    """Windows that are too long along one dimension and close to each other: parts of them read as many copies of the
    map, each further on by a part, as channels beside each other."""
    conv, x, w, y = found.root.operator, found["x"], found.constant("w"), found.root.result.type
    axis = max(range(len(conv.strides)), key=lambda each: w.type.shape[2 + each])
    taps, step, length = w.type.shape[2 + axis], conv.strides[axis], x.type.shape[2 + axis]
    zeros = {*(w.type.quant.zero_point if w.type.quant is not None else ())}
    is_plain = conv.dilations[axis] == 1 and len(zeros) == 1 and x.type.dtype in EIGHT_BIT and y.elements
    count = -(-taps // KERNEL_LIMIT)
    # The other dimension has its turn afterwards.
    copies = math.prod(-(-extent // KERNEL_LIMIT) for extent in w.type.shape[2:])
    # What is padded is in memory here.
    is_padded = max(conv.pads[axis :: len(conv.strides)]) >= taps
    if not 1 < count <= copies <= COPIES_LIMIT or step > STRIDE_LIMIT or not is_plain or is_padded:
        return None
    each, dims = -(-taps // count), len(conv.strides)
    reach = (y.shape[2 + axis] - 1) * step + each
    before, whole = conv.pads[axis], reach + (count - 1) * each

    def along(number: int, rest: Sequence[int]) -> tuple[int, ...]:
        return (*rest[: 2 + axis], number, *rest[3 + axis :])

    none, ones = (0,) * (2 + dims), (1,) * (2 + dims)
    x = found.emit(Slice(none, along(min(length, whole - before), x.type.shape), ones), x)
    x = found.emit(Pad((*along(before, none), *along(whole - before - x.type.shape[2 + axis], none))), x)
    begins = (along(part * each, none) for part in range(count))
    copies = [found.emit(Slice(begin, along(reach, x.type.shape), ones), x) for begin in begins]
    joined = found.emit(Concat(1), *copies)
    inputs = w.type.shape[1]
    order = np.arange(count * conv.group * inputs).reshape(count, conv.group, inputs).transpose(1, 0, 2).reshape(-1)
    if conv.group > 1:
        joined = found.emit(Gather(1), joined, found.add_constant(f"{w.name}.channels", order))
    ends = [(0, count * each - taps if d == 2 + axis else 0) for d in range(2 + dims)]
    array = np.pad(w.array, ends, constant_values=zeros.pop())
    array = array.reshape(*array.shape[: 2 + axis], count, each, *array.shape[3 + axis :])
    array = np.moveaxis(array, 2 + axis, 1).reshape(len(array), -1, *along(each, w.type.shape)[2:])
    weights = found.add_constant(w.name, array, w.type.with_shape(array.shape))
    sides = (p if d % dims != axis else 0 for d, p in enumerate(conv.pads))
    product = found.emit(replace(conv, pads=(*sides,)), joined, weights, *found.root.operands[2:], result_types=[y])
    assert product.producer is not None
    MACS.set(product.producer, found.root.macs)
    return product


def _pad_into_max_pool(found: Match[MaxPool]) -> Value | None:
    """Padding with the smallest stored integer wins nowhere, as padding of the pool does not."""
    pool, x = window_rules.padded(found), found["x"]
    if pool is None or stored(found.op("pad", Pad).operator.value, x.type) != limits(x.type)[0]:
        return None
    return found.emit(pool, x, result_types=[found.root.result.type])


def _pool_of_other_rows(found: Match[GlobalAveragePool | GlobalMaxPool]) -> Value | None:
    """More rows or columns than a window may have, taken as another number of rows: their order does not matter."""
    x, y, most = found["x"], found.root.result.type, POOL_KERNEL_LIMIT
    pixels = math.prod(x.type.shape[2:])
    rows = next((rows for rows in range(-(-pixels // most), most + 1) if not pixels % max(rows, 1)), 0)
    if not rows or max(x.type.shape[2:]) <= most:
        return None
    map = found.emit(Reshape((*x.type.shape[:2], rows, pixels // rows)), x)
    pooled = found.emit(found.root.operator, map, result_types=[y.with_shape((*y.shape[:2], 1, 1))])
    return found.emit(Reshape(y.shape), pooled)


# Constants


def _constant_as_map(found: Match) -> Value | None:
    """A constant operand gets the rank of the result and all its channels, as the device broadcasts over pixels."""
    shape = found.root.result.type.shape
    constant = found.constant("c")
    if len(shape) not in MAP_RANKS or constant.type.quant is None or constant.type.quant.axis is not None:
        return None
    extents = [1] * (len(shape) - constant.type.rank) + list(constant.type.shape)
    extents[1] = shape[1]
    if tuple(extents) == constant.type.shape:
        return None
    array = np.broadcast_to(constant.array, extents)
    widened = found.add_constant(constant.name, array, constant.type.with_shape(extents))
    operands = [widened if value is constant else value for value in found.root.operands]
    return found.emit(found.root.operator, *operands, result_types=[found.root.result.type])


def _has_channels_first(op: Op | None) -> bool:
    """Whether an op is one of maps, also where these have three dimensions."""
    return is_op(op, Conv, GlobalPool) or (is_op(op, SkipLayerNorm) and op.operator.axis == 1)


def _channels_repeated(found: Match) -> Value | None:
    """A map of one channel beside one of many, as the gates of places have it, gets copies of its channel."""
    y = found.root.result
    shape, beside = y.type.shape, (*y.users, *(value.producer for value in found.root.inputs))
    # Of three dimensions it may be rows, channels last.
    is_map = len(shape) == 4 or (len(shape) == 3 and any(map(_has_channels_first, beside)))
    if not is_map or shape[1] == 1 or any(value.type.rank != len(shape) for value in found.root.inputs):
        return None
    operands = [
        found.emit(Gather(1), value, found.add_constant(f"{value.name}.channels", np.zeros(shape[1], np.int64)))
        if value.type.shape[1] == 1 and not isinstance(value, Constant)
        else value
        for value in found.root.inputs
    ]
    if operands == [*found.root.inputs]:
        return None
    return found.emit(found.root.operator, *operands, result_types=[found.root.result.type])


def _named(rules: tuple[Rule, ...], *names: str) -> tuple[Rule, ...]:
    by_name = {rule.name: rule for rule in rules}
    return tuple(by_name[name] for name in names)


RULES: tuple[Rule, ...] = (
    *_named(
        movement_rules.RULES,
        "reshape_to_same_shape",
        "slice_of_everything",
        "pad_by_nothing",
        "transpose_without_effect",
        "transpose_of_transpose",
        "reshape_of_reshape",
        "slice_of_slice",
    ),
    *_named(integer_rules.RULES, "redundant_activation", "activation_into_product"),
    *_named(window_rules.RULES, "pad_into_conv", "pad_into_average_pool"),
    *row_forms.RULES,
    *on_quantized(
        Rule(
            "pad_into_quantized_max_pool",
            node(MaxPool, node(Pad, "x", name="pad"), where=is_quantized),
            _pad_into_max_pool,
        ),
        Rule(
            "pool_of_other_rows", node((GlobalAveragePool, GlobalMaxPool), "x", where=is_quantized), _pool_of_other_rows
        ),
        # Neighbours as channels move no byte only where there is one channel.
        Rule("tall_windows_of_maps", node(Conv, "x", Const("w"), where=_is_of_channels), _tall_windows),
        Rule("long_windows", node(Conv, "x", Const("w"), where=is_quantized), _long_windows),
        Rule("tall_windows", node(Conv, "x", Const("w"), where=is_quantized), _tall_windows),
        Rule("far_taps", node(Conv, "x", Const("w"), where=is_quantized), _far_taps),
        Rule("product_of_batches", node(MatMul, "x", Const("w"), where=is_quantized), _batched_product),
        Rule("product_as_convolution", node(MatMul, "x", Const("w"), where=is_quantized), _product_as_convolution),
        Rule("multiplied_depthwise", node(Conv, "x", where=is_quantized), _multiplied_depthwise),
        Rule(
            "constant_as_map",
            node((Add, Sub, Mul, Max, Min), "x", Const("c"), where=is_quantized, commutative=True),
            _constant_as_map,
        ),
        Rule("channels_repeated", node((Add, Sub, Mul, Max, Min), where=is_quantized), _channels_repeated),
    ),
    *volume_forms.RULES,
    # Zeros around tensors whose channels come last may yet go around maps.
    *(rule for rule in movement_forms.RULES if rule.name != "pad_as_convolution"),
)
"""In the order in which they are tried at each op."""

MOVED: tuple[Rule, ...] = (
    *_named(RULES, "reshape_to_same_shape", "transpose_without_effect", "transpose_of_transpose", "reshape_of_reshape"),
    *_named(RULES, "before_any_transposition", "constant_as_map", "channels_repeated"),
    *attention_forms.RULES,
    *pixel_views.MOVED,
    *movement_forms.RULES,
)
"""For what these have left: those that bring ops to rows would undo it."""
