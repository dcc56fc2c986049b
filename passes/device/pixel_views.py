"""Tensors whose channels come last, [N, …, K], as the maps that they are in the accelerator's memory. All rules are
exact."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from ...ir.core import Constant, Op, Value, is_op
from ...ir.feature_map import MAP_RANKS, VIEWS
from ...ir.op import Operator
from ...ir.ops.movement import Concat, Slice, Transpose
from ...ir.ops.shape import Reshape
from ...ir.types import TensorType
from ..pattern import Match, Rule, node, on_quantized
from .movement_forms import is_quantized
from .row_forms import channels_first


def _before(value: Value) -> Iterator[Op]:
    """The views that a value comes of, the last one first."""
    while is_op(value.producer, *VIEWS):
        yield value.producer
        value = value.producer.inputs[0]


def _is_channels_last(value: Value) -> bool:
    """Whether a tensor is a map with other names of its dimensions, of which channels come last."""
    op, last = value.producer, value.type.shape[-1]
    if is_op(op, Transpose):
        # Of three dimensions it is its own inverse.
        return op.operator.perm == (0, *range(2, value.type.rank), 1) and not _is_channels_last(op.inputs[0])
    return is_op(op, Reshape) and op.inputs[0].type.shape[1:] == (last, 1, 1)


def _on_maps(found: Match, operator: Operator) -> Value:
    """What moves elements of tensors, channels last, as what moves those of maps."""
    y = found.root.result.type
    forward = channels_first(y.rank)
    operands: list[Value] = []
    for value in found.root.inputs:
        if isinstance(value, Constant):
            type = value.type.with_shape([value.type.shape[axis] for axis in forward])
            operands.append(found.add_constant(value.name, value.array.transpose(forward), type))
        else:
            operands.append(found.emit(Transpose(forward), value))
    moved = found.emit(operator, *operands, result_types=[y.with_shape([y.shape[axis] for axis in forward])])
    return found.emit(Transpose((0, *range(2, y.rank), 1)), moved)


def _slice_of_pixels(found: Match[Slice]) -> Value | None:
    cut = found.root.operator
    if not 3 <= len(cut.extent) <= MAP_RANKS[-1] or not _is_channels_last(found.root.inputs[0]):
        return None
    moved = ([numbers[axis] for axis in channels_first(len(numbers))] for numbers in (cut.begin, cut.extent, cut.step))
    return _on_maps(found, Slice(*map(tuple, moved)))


def _pixels_joined(found: Match[Concat]) -> Value | None:
    values, rank = found.root.inputs, found.root.result.type.rank
    maps = [value for value in values if not isinstance(value, Constant)]
    if not 3 <= rank <= MAP_RANKS[-1] or not maps or not all(map(_is_channels_last, maps)):
        return None
    return _on_maps(found, Concat(channels_first(rank).index(found.root.operator.axis)))


def _view(found: Match) -> Value | None:
    """Reshapes and transpositions after which the pixels lie as before, but for their images, rows and columns."""
    y, chain = found.root.result.type, [*_before(found.root.result)]
    for count in range(len(chain), 1, -1):
        views, x = chain[:count], chain[count - 1].inputs[0]
        if not any(is_op(view, Transpose) for view in views) or all(map(_moves_no_byte, views)):
            continue
        if _same_pixels(x.type, y, views):
            return _pixels_as(found, x, y, views)
    return None


def _moves_no_byte(view: Op) -> bool:
    return _same_pixels(view.inputs[0].type, view.result.type, [view])


def _same_pixels(x: TensorType, y: TensorType, views: Sequence[Op]) -> bool:
    """Whether views make of a map, from the last one to the first, one with the same pixels in the same order."""
    if x.rank not in MAP_RANKS or y.rank not in MAP_RANKS or x.shape[1] != y.shape[1] or not x.elements:
        return False
    places = np.arange(x.elements, dtype=np.int64).reshape(x.shape)
    moved = places
    for view in reversed(views):
        moved = np.asarray(view.operator.reference(moved))
    return np.array_equal(np.moveaxis(places, 1, -1).ravel(), np.moveaxis(moved, 1, -1).ravel())


def _pixels_as(found: Match, x: Value, y: TensorType, views: Sequence[Op]) -> Value:
    """A map with other images, rows and columns, by way of all its pixels in one image."""

    def emit(operator: Operator, value: Value) -> Value:
        same = isinstance(operator, Reshape) and operator.shape == value.type.shape
        return value if same else found.emit(operator, value, origin=views)

    channels, swapped = y.shape[1], Transpose((2, 1, 0, 3))
    images = x.type.shape[0]
    if images > 1:
        x = emit(Reshape((images, channels, 1, math.prod(x.type.shape[2:]))), x)
        x = emit(swapped, x)
    if y.shape[0] > 1:
        x = emit(Reshape((1, channels, y.shape[0], math.prod(y.shape[2:]))), x)
        x = emit(swapped, x)
    return emit(Reshape(y.shape), x)


MOVED: tuple[Rule, ...] = on_quantized(
    Rule("slice_of_pixels", node(Slice, where=is_quantized), _slice_of_pixels),
    Rule("pixels_joined", node(Concat, where=is_quantized), _pixels_joined),
)
"""What moves pixels, as the accelerator has it."""

RULES: tuple[Rule, ...] = on_quantized(Rule("view", node(VIEWS, where=is_quantized), _view))
"""For what all other rules have left: what they look for are transpositions, not what becomes of these."""
