"""Tensors whose channels come last, [N, …, K], as the maps that they are in the accelerator's memory. All rules are
exact."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np

from ...ir.core import Constant, Op, Value, is_op
from ...ir.feature_map import MAP_RANKS, VIEWS
from ...ir.op import Operator
from ...ir.ops.movement import Concat, DepthToSpace, Slice, Transpose
from ...ir.ops.shape import Reshape
from ...ir.types import TensorType
from ...runtime.machines.machine import STRIDE_LIMIT
from ..pattern import Match, Rule, node, on_quantized
from . import movement_forms
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
        order = _order_of_pixels(x.type, y, views)
        if order is not None:
            return _pixels_as(found, x, y, views) if _is_in_order(order) else _phases(found, x, y, views, order)
    return None


def _moves_no_byte(view: Op) -> bool:
    order = _order_of_pixels(view.inputs[0].type, view.result.type, [view])
    return order is not None and _is_in_order(order)


def _is_in_order(order: np.ndarray) -> bool:
    return bool((order == np.arange(order.size)).all())


def _order_of_pixels(x: TensorType, y: TensorType, views: Sequence[Op]) -> np.ndarray | None:
    """Which pixel of a map each one is of what views make of it, from the last one to the first; ``None`` where that is
    no map of the same pixels."""
    if x.rank not in MAP_RANKS or y.rank not in MAP_RANKS or x.shape[1] != y.shape[1] or not x.elements:
        return None
    places = np.arange(x.elements, dtype=np.int64).reshape(x.shape)
    moved = places
    for view in reversed(views):
        moved = np.asarray(view.operator.reference(moved))
    before, after = (np.moveaxis(each, 1, -1).reshape(-1, x.shape[1]) for each in (places, moved))
    order = np.searchsorted(before[:, 0], after[:, 0]) % len(before)
    return order if np.array_equal(before[order], after) else None


def _phases(found: Match, x: Value, y: TensorType, views: Sequence[Op], order: np.ndarray) -> Value | None:
    """Every so many rows and columns of an image, the phases behind each other, or an image made of such."""
    is_spread = x.type.rank == 4 and x.type.shape[0] == 1
    wide = x.type if is_spread else y
    if wide.rank != 4 or wide.shape[0] > 1:
        return None
    channels, height, width = wide.shape[1:]
    for step in range(2, min(height, width, STRIDE_LIMIT) + 1):
        pixels = np.arange(height * width).reshape(height, width)
        phases = [pixels[at[0] :: step, at[1] :: step].ravel() for at in product(range(step), repeat=2)]
        joined = np.concatenate(phases)
        if height % step or width % step or not np.array_equal(order, joined if is_spread else np.argsort(joined)):
            continue
        rows, columns, count = height // step, width // step, height // step * (width // step)
        parts: list[Value] = []
        whole = x if is_spread else _pixels_as(found, x, x.type.with_shape((1, channels, height * width, 1)), views)
        for index, at in enumerate(product(range(step), repeat=2)):
            if is_spread:
                part = found.emit(Slice((0, 0, *at), (1, channels, rows, columns), (1, 1, step, step)), x, origin=views)
                parts.append(found.emit(Reshape((1, channels, count, 1)), part, origin=views))
            else:
                cut = Slice((0, 0, index * count, 0), (1, channels, count, 1), (1,) * 4)
                part = found.emit(cut, whole, origin=views)
                parts.append(found.emit(Reshape((1, channels, rows, columns)), part, origin=views))
        if is_spread:
            return _pixels_as(found, found.emit(Concat(2), *parts, origin=views), y, views)
        return found.emit(DepthToSpace(step), found.emit(Concat(1), *parts, origin=views), origin=views)
    return None


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

RULES: tuple[Rule, ...] = (
    *on_quantized(Rule("view", node(VIEWS, where=is_quantized), _view)),
    *movement_forms.RULES,
)
"""For what all other rules have left: what they look for are transpositions, not what becomes of these."""
