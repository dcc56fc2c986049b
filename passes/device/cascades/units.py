"""Ops of a device function as units that may be computed in turn: what each reads for rows of its result."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import NamedTuple

from ....ir.core import Op, Value, is_op
from ....ir.feature_map import convolution_maps, map_shape, window_of
from ....ir.ops.convolution import Conv
from ....ir.ops.movement import Concat, DepthToSpace, Slice
from ....ir.ops.pooling import AveragePool, GlobalPool, MaxPool
from ....ir.ops.shape import Reshape
from ..boxes import Span, pieces, rows_through
from ..fused_pairs import fused_convolution, fused_user, made_by, with_fused
from ..kept.chip_places import copied, rows_below
from ..tiling.tile_searches import maps_of_pair


@dataclass(frozen=True, eq=False)
class Unit:
    """An op, with the one that is fused with it.

    Attributes:
        op: the convolution of a pair.
        steps: of the function, from the first to one past the last.
        made: the map that is left.
        height: rows of the result.
    """

    op: Op
    steps: tuple[int, int]
    made: Value
    height: int


class Read(NamedTuple):
    """Rows of a map that an op reads.

    Attributes:
        goes_round: whether they may lie around the end of a ring.
    """

    value: Value
    rows: Span
    goes_round: bool


def units_of(ops: Sequence[Op]) -> list[Unit]:
    """The ops of a function as units, in their order."""
    units: list[Unit] = []
    for step, op in enumerate(ops):
        if fused_convolution(op) is None:
            height = convolution_maps(op)[1].height if is_op(op, Conv) else map_shape(op.result.type).height
            units.append(Unit(op, (step, step + len(with_fused(op))), made_by(op), height))
    return units


def obstacle_to_stripes(unit: Unit) -> str | None:
    """Why an op cannot be computed in stripes together with others, in words that follow its name."""
    for value in (unit.made, *maps_of_pair(unit.op)):
        if map_shape(value.type).images > 1:
            return "has several images"
    if is_op(unit.op, DepthToSpace, Slice):
        return "takes rows apart"
    if is_op(unit.op, Reshape) and map_shape(unit.op.inputs[0].type) != map_shape(unit.made.type):
        return "makes other rows"
    return None


class Reads:
    """What the units of a function read of maps, for rows of their results."""

    def __init__(self) -> None:
        self._stripes: dict[tuple[Unit, int, tuple[Value, ...]], list[tuple[Span, tuple[Read, ...]]]] = {}

    def stripes(self, unit: Unit, rows: int, kept: AbstractSet[Value]) -> list[tuple[Span, tuple[Read, ...]]]:
        """The result in stripes of so many rows, and what each reads, given which maps stay on chip; none of an op
        that only gives maps other names."""
        operands = tuple(dict.fromkeys(copied(unit.op, kept)))
        if not operands:
            return []
        key = unit, rows, operands
        if key not in self._stripes:
            spans = pieces(unit.height, rows)
            self._stripes[key] = [(span, tuple(_reads(unit, span, operands))) for span in spans]
        return self._stripes[key]


def _reads(unit: Unit, rows: Span, operands: Sequence[Value]) -> Iterator[Read]:
    op, user, window = unit.op, fused_user(unit.op), window_of(unit.op)
    # Windows find rows around the end of a ring, unless they begin above the map.
    goes_round = is_op(op, Conv, MaxPool, AveragePool, GlobalPool) and rows[0] * window.stride[0] >= window.begin[0]
    for value in operands:
        shape = map_shape(value.type)
        if is_op(op, Conv):
            yield Read(value, rows_through(window, rows, convolution_maps(op)[0].height), goes_round)
        elif is_op(op, Concat, Reshape):
            yield Read(value, rows, False)
        else:
            yield Read(value, rows_below(op, shape, rows), goes_round)
    if user is not None:
        for value in user.inputs:
            if value is not op.result:
                alike = map_shape(value.type).height == map_shape(user.result.type).height
                yield Read(value, rows if alike else (0, 1), False)
