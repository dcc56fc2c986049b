"""Make convolutions of images of those of volumes."""

import math
from dataclasses import replace
from itertools import chain
from typing import Union

import numpy as np

from ...ir.core import Constant, Module, Op, Value, is_op
from ...ir.layout import CHANNEL_BLOCK
from ...ir.ops.activation import Activation
from ...ir.ops.convolution import Conv
from ...ir.ops.indexing import Gather
from ...ir.ops.integer_products import ConvInteger
from ...ir.ops.matmul import MatMul
from ...ir.ops.movement import Concat, Pad, Slice, Transpose
from ...ir.ops.shape import Expand, Reshape
from ...ir.types import DType
from ..base import UNPLANNED, Pass, Record
from ..pattern import Driver, Match, Rule, node, on_quantized
from ..simplify import movement_rules

Volume = Op[Union[Conv, ConvInteger]]

_SWAPPED = (0, 2, 1, 3, 4)
_FEW_CHANNELS, _MANY_OUTPUTS = 8, 32
_MOST_PLANES = 64
"""So many are copied one by one at most."""


class VolumeConvolutions(Pass):
    """Replaces convolutions of three dimensions by such of two, for which the fast kernels are, and the accelerator.

    Windows of one pixel in each plane make the planes one dimension. Of others each plane of the result becomes an
    image of a batch, whose channels are those of all planes that it sees: these are copied once for each tap along the
    depth. Where windows share no number, as the patches of a video do not, each is a row of a matrix, times the
    weights: lines of so few pixels as there are patches fill few registers. An activation behind the convolution moves
    along. Few channels in single steps, and groups that see several planes and make few or no whole blocks of channels,
    stay: there the kernels for rows of pixels are as fast. On integers all become images, and these groups, of parts of
    a map that has a row for each plane; but what sees more than 64 planes stays, each of which were a part."""

    requires = (UNPLANNED,)

    def apply(self, module: Module, record: Record) -> bool:
        return Driver(RULES, 1).run(module, record)


def _has_images(op: Volume) -> bool:
    conv, (x, w, *others) = op.operator, op.operands
    is_integer = x.type.quant is not None or isinstance(conv, ConvInteger)
    if x.type.rank != 5 or not isinstance(w, Constant) or not (is_integer or x.type.dtype is DType.F32):
        return False
    outputs, (_, inputs, depth, *_) = w.type.shape[0] // conv.group, w.type.shape
    # Kernels for blocks of channels take groups that are some, and make up for the copies where results are many.
    is_whole = not (inputs * depth % CHANNEL_BLOCK or outputs % CHANNEL_BLOCK) and depth <= _MOST_PLANES
    is_whole = is_whole and outputs >= _MANY_OUTPUTS
    if is_integer and depth > _MOST_PLANES:
        return False
    if isinstance(conv, ConvInteger):
        is_known = others[0] is None or others[0].type.dtype is x.type.dtype
    else:
        is_known = isinstance(others[0], (Constant, type(None))) and others[1] is None
    is_known = is_known and op.result.type.elements > 0
    many = min(x.type.shape[1], w.type.shape[0]) >= _FEW_CHANNELS or max(conv.strides) > 1 or is_integer
    return is_known and many and (conv.group == 1 or is_integer or is_whole or depth == 1 or _sees_one_pixel(op))


def _sees_one_pixel(op: Volume) -> bool:
    """Whether windows have no more than one pixel of each plane, and that in its place."""
    conv, kernel = op.operator, op.inputs[1].type.shape[2:]
    return (*kernel[1:], *conv.strides[1:]) == (1,) * 4 and not any((*conv.pads[1:3], *conv.pads[4:]))


def _has_images_alone(op: Volume) -> bool:
    """Whether no activation is to move along."""
    return _has_images(op) and not is_op(op.result.only_user, Activation)


def _images(found: Match) -> Value | None:
    op: Volume = found.op("conv", Conv, ConvInteger)
    conv, (x, w, *others) = op.operator, op.operands
    assert isinstance(w, Constant)
    (batch, channels, *extents), (outputs, inputs, depth, *rest) = x.type.shape, w.type.shape
    pads, result = conv.pads, op.result.type.shape
    planes = result[2]
    if _sees_one_pixel(op):
        flat = found.emit(Reshape((batch, channels, extents[0], math.prod(extents[1:]))), x)
        strides, dilations = (conv.strides[0], 1), (conv.dilations[0], 1)
        plane = replace(conv, strides=strides, dilations=dilations, pads=(pads[0], 0, pads[3], 0))
        weights = found.moved(Reshape((outputs, inputs, depth, 1)), w)
        type = op.result.type.with_shape((batch, outputs, planes, math.prod(result[3:])))
        made = found.emit(plane, flat, weights, *others, result_types=[type])
        return found.emit(Reshape(result), _activated(found, op, made))
    if _are_patches(op):
        return _of_patches(found, op)
    if not x.type.dtype.is_float or (conv.group > 1 and depth > 1):
        images = found.emit(Transpose(_SWAPPED), _planes_seen(found, op))
    else:
        images = found.emit(Transpose(_SWAPPED), x)
        if pads[0] or pads[3]:
            images = found.emit(Pad((0, pads[0], 0, 0, 0, 0, pads[3], 0, 0, 0)), images)
        if (depth, conv.strides[0]) != (1, 1):
            seen = np.arange(planes)[:, None] * conv.strides[0] + np.arange(depth) * conv.dilations[0]
            images = found.emit(Gather(1), images, found.add_constant(f"{w.name}_planes", seen.astype(np.int32)))
    images = found.emit(Reshape((batch * planes, depth * channels, *extents[1:])), images)
    plane = replace(conv, strides=conv.strides[1:], dilations=conv.dilations[1:], pads=(*pads[1:3], *pads[4:]))
    array = w.array.transpose(_SWAPPED).reshape(outputs, depth * inputs, *rest)
    weights = found.add_constant(w.name, array, w.type.with_shape(array.shape))
    type = op.result.type.with_shape((batch * planes, outputs, *result[3:]))
    made = _activated(found, op, found.emit(plane, images, weights, *others, result_types=[type]))
    return found.emit(Transpose(_SWAPPED), found.emit(Reshape((batch, planes, outputs, *result[3:])), made))


def _are_patches(op: Volume) -> bool:
    """Whether windows of numbers lie side by side, in every dimension, and outputs fill a register."""
    conv, kernel, outputs = op.operator, op.inputs[1].type.shape[2:], op.result.type.shape[1]
    is_alone = conv.group == 1 and conv.strides == kernel and (*conv.pads, *conv.dilations) == (0,) * 6 + (1,) * 3
    return is_alone and kernel[0] > 1 and outputs >= _FEW_CHANNELS and op.inputs[0].type.dtype.is_float


def _of_patches(found: Match, op: Volume) -> Value:
    """The product of a matrix [N, patches, C * taps] and the weights, with its columns as channels."""
    (x, w, *others), result = op.operands, op.result.type
    (batch, channels), (outputs, _, *kernel), counts = x.type.shape[:2], w.type.shape, result.shape[2:]
    seen = [count * taps for count, taps in zip(counts, kernel, strict=True)]
    cut = x.type.with_shape((batch, channels, *seen))
    whole = x if cut == x.type else found.emit(Slice((0,) * 5, cut.shape, (1,) * 5), x)
    pieces = found.emit(Reshape((batch, channels, *chain(*zip(counts, kernel, strict=True)))), whole)
    patches = found.emit(Transpose((0, 2, 4, 6, 1, 3, 5, 7)), pieces)
    rows, taps = math.prod(counts), channels * math.prod(kernel)
    conv = op.operator
    assert isinstance(conv, Conv)
    product = MatMul(transpose_b=True, act=conv.act, act_args=conv.act_args)
    matrix, weights = found.emit(Reshape((batch, rows, taps)), patches), found.moved(Reshape((outputs, taps)), w)
    made = found.emit(product, matrix, weights, others[0], result_types=[result.with_shape((batch, rows, outputs))])
    return found.emit(Reshape(result.shape), found.emit(Transpose((0, 2, 1)), _activated(found, op, made)))


def _planes_seen(found: Match, op: Volume) -> Value:
    """The planes of integers that each plane of the result sees, one behind the other as channels of each group."""
    conv, x, (_, inputs, depth, *_) = op.operator, op.inputs[0], op.inputs[1].type.shape
    batch, channels, planes, *rest = x.type.shape
    count, groups = op.result.type.shape[2], batch * conv.group
    rows = found.emit(Reshape((groups, inputs, planes, math.prod(rest))), x)
    zero = op.operands[2] if isinstance(conv, ConvInteger) else None
    if zero is not None and (conv.pads[0] or conv.pads[3]):
        # Only a run knows what padding stands for.
        zero = found.emit(Reshape(()), zero)
        before, after = (
            found.emit(Expand((groups, inputs, pad, math.prod(rest))), zero) for pad in (conv.pads[0], conv.pads[3])
        )
        rows = found.emit(Concat(2), before, rows, after)
    elif conv.pads[0] or conv.pads[3]:
        rows = found.emit(Pad((0, 0, conv.pads[0], 0, 0, 0, conv.pads[3], 0)), rows)
    if (depth, conv.strides[0]) != (1, 1):
        begins = ((0, 0, tap * conv.dilations[0], 0) for tap in range(depth))
        extent, step = (groups, inputs, count, math.prod(rest)), (1, 1, conv.strides[0], 1)
        rows = found.emit(Concat(1), *(found.emit(Slice(begin, extent, step), rows) for begin in begins))
    return found.emit(Reshape((batch, depth * channels, count, *rest)), rows)


def _activated(found: Match, op: Volume, value: Value) -> Value:
    return value if found.root is op else found.emit(found.root.operator, value)


RULES: tuple[Rule, ...] = (
    *on_quantized(Rule("volume_convolution", node((Conv, ConvInteger), name="conv", where=_has_images_alone), _images)),
    Rule("volume_convolution", node(Activation, node(Conv, name="conv", where=_has_images)), _images),
    *movement_rules.RULES,
)
"""Those of movement, because between two such convolutions planes would change their places and change them back."""
