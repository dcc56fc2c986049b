"""How maps on chip lie in the banks of their scratchpad, for windows that move over each channel alone.

Such a window waits where it touches more lines than the banks give in its steps, see
:mod:`tilewright.runtime.machines.banks`. Slices of channels that no op touches together lie apart, each with pixels of
its own: a line then holds more pixels. And rows may lie some pixels further apart than they are long, so that those of
a window begin in other banks.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from itertools import product
from math import inf

import numpy as np

from ....ir.annotations import PITCH, SPLIT, STATIONARY
from ....ir.core import Op, Value, is_op
from ....ir.feature_map import convolution_maps, is_block_by_block, is_product, map_shape, sum_products, window_of
from ....ir.ops.convolution import Conv
from ....ir.quantized import is_wide
from ....runtime.machines.banks import depthwise_conflicts
from ....runtime.machines.cost import bank_waits, depthwise_steps, in_turn, passes
from ....runtime.machines.machine import ACCUMULATOR_UNIT, CHANNEL_BLOCK, Machine
from ..boxes import Span, lanes_of, pieces, tile_annotation
from ..fused_pairs import fused_convolution, fused_user
from ..tiling.candidates import Misfit, Tile, available
from ..tiling.convolution_price import parameter_bytes, weight_bytes
from ..tiling.tile_price import Share
from ..tiling.tile_searches import set_tile
from .chip_places import inside_of
from .choose_kept import Chosen, KeptMaps

FURTHER = 4
"""Pixels that rows may lie further apart, if that is an eighth of them at most."""

WORTH = 0.97
"""Of what a convolution costs, together with the op that makes its map if that is tiled anew, what has to be left."""


def slices_apart(value: Value, kept: AbstractSet[Value]) -> Sequence[Span]:
    """The slices of channels of a map on chip, which lie one behind the other: those that tiles have of it, if all that
    make and read it have the same ones; otherwise all channels."""
    whole = [(0, map_shape(value.type).channels)]
    if not _is_alone(value, kept):
        return whole
    ops = [op for op in (value.producer, *value.users) if op is not None]
    lanes = [lanes_of(op, convolution_maps(op)[1]) for op in ops]
    slices = {tuple(sorted({each for lane in every for each in lane.slices})) for every in lanes}
    return [*slices.pop()] if len(slices) == 1 else whole


def _is_alone(value: Value, kept: AbstractSet[Value]) -> bool:
    """Whether a map shares its place with no other one, is made by a product, and read by windows over each channel."""
    maker = value.producer
    if maker is None or not is_product(maker) or fused_user(maker) or fused_convolution(maker) or is_wide(value.type):
        return False
    inside = inside_of(value)
    return (inside is None or inside.whole not in kept) and all(map(_is_by_channel, value.users))


def _is_by_channel(op: Op) -> bool:
    return is_op(op, Conv) and is_block_by_block(op) and not is_wide(op.result.type) and fused_user(op) is None


def lay_apart(maps: KeptMaps, chosen: Chosen) -> None:
    """Cut the channels of maps that stay on chip into slices, and move their rows apart, where windows then wait less.
    ``maps``: of a function whose ops are annotated with the tiles of ``chosen``."""
    for op in maps.ops:
        value = op.inputs[0] if op.inputs else None
        if value is None or value not in chosen.kept or not _is_by_channel(op) or not _is_alone(value, chosen.kept):
            continue
        window = _Windows(op, maps.machine, maps.clusters)
        if len(value.users) == 1:
            _cut(window, maps, chosen)
        window.move_rows(slices_apart(value, chosen.kept)[0][1])


class _Windows:
    """A convolution of each channel alone, whose map stays on chip.
    ``blocks``: of channels that a cluster has.
    ``least``: cycles of the array where it does not wait."""

    def __init__(self, op: Op, machine: Machine, clusters: int) -> None:
        self.op, self._machine = op, machine
        (self._source, target), self._window = convolution_maps(op), window_of(op)
        share = Share(clusters, SPLIT.get(op))
        self._pixels, self.blocks = share.pixels(target), share.blocks(target.blocks)
        self._products = sum_products(op)
        self._unused = target.padded_channels - target.channels if self.blocks == target.blocks else 0
        images, height, width = self._pixels
        steps = depthwise_steps(machine, height * width, self.blocks * CHANNEL_BLOCK - self._unused, self._products)
        self.least = images * int(steps)

    def cycles(self, blocks: int, channels: int, further: int = 0) -> int:
        """Of the array, for slices of so many blocks.
        ``channels``: that lie together.
        ``further``: pixels that rows lie further apart than they are long."""
        machine, window, (rows, columns, *_) = self._machine, self._window, tile_annotation(self.op)
        pixel = -(-channels // CHANNEL_BLOCK) * CHANNEL_BLOCK
        row = (self._source.width + further) * pixel
        (down, across), (below, beside) = window.stride, window.dilation
        distances = (row * down, pixel * across), (row * below, pixel * beside)
        images, height, width = self._pixels
        areas = [*product(_sizes(height, rows), _sizes(width, columns))]
        found = 0
        # Of several clusters, and of several slices, most have no channels that there are not.
        unused = self._unused if blocks >= self.blocks else 0
        for some, count in _sizes(self.blocks, blocks):
            made = [
                (lanes, depthwise_conflicts(machine, lanes, columns, *distances, window.kernel, *of, self._products))
                for lanes, *of in passes(machine, some, unused)
            ]
            for (high, n), (wide, m) in areas:
                steps = depthwise_steps(machine, high * wide, some * CHANNEL_BLOCK - unused, self._products)
                waits = sum(bank_waits(high, wide, each, lanes) for lanes, each in made)
                once = in_turn(machine.timing.mac_setup, steps + waits)
                found += int(images * count * n * m * once)
        return found

    def most_blocks(self) -> int:
        """That a tile of as many rows and columns can have: those of now, or as many as scratchpads hold twice."""
        (rows, columns, blocks, _), one = tile_annotation(self.op), np.array(1)
        needs = {
            "weight": int(weight_bytes(self.op, one, one, False)),
            "accumulator": rows * columns * ACCUMULATOR_UNIT,
            "parameter": int(parameter_bytes(self.op, one)),
        }
        return max(blocks, min(available(self._machine, memory) // (2 * need) for memory, need in needs.items()))

    def move_rows(self, channels: int) -> None:
        """Say how far apart rows lie, so that the windows wait least."""
        blocks, width = tile_annotation(self.op)[2], self._source.width
        now = self.cycles(blocks, channels)
        if self.least > WORTH * now:
            return
        found = [now, *(self.cycles(blocks, channels, further) for further in range(1, min(FURTHER, width // 8) + 1))]
        further = found.index(min(found))
        if found[further] < WORTH * now:
            producer = self.op.inputs[0].producer
            assert producer is not None
            PITCH.set(producer, width + further)


def _sizes(extent: int, size: int) -> Iterable[tuple[int, int]]:
    """Of pieces that cut an extent, and how many have each."""
    return Counter(count for _, count in pieces(extent, size)).items()


def _cut(windows: _Windows, maps: KeptMaps, chosen: Chosen) -> None:
    """Give a convolution, and the op that makes its map, slices of channels with which both cost least."""
    op, value = windows.op, windows.op.inputs[0]
    maker, (rows, columns, blocks, _) = value.producer, tile_annotation(op)
    assert maker is not None
    now = windows.cycles(blocks, map_shape(value.type).channels)
    if SPLIT.get(op) != SPLIT.get(maker) or windows.least > WORTH * now:
        return
    beside = chosen.taken[maps.ops.index(maker)]

    def both(blocks: int | None) -> tuple[float, Tile | None]:
        """What both cost with slices of so many blocks, and the tile of the one that makes them."""
        made = maps.cost_of(maker, chosen.kept, lambda search: maps.priced(search, beside, blocks))
        if isinstance(made, Misfit):
            return inf, None
        return made[0] + (windows.cycles(blocks, blocks * CHANNEL_BLOCK) if blocks else now), made[1]

    possible, most = {-(-windows.blocks // count) for count in range(2, windows.blocks + 1)}, windows.most_blocks()
    sizes = sorted((each for each in possible if each <= most), reverse=True)
    cost, tile = min(map(both, sizes), key=lambda each: each[0], default=(inf, None))
    if tile is not None and cost < WORTH * both(None)[0]:
        set_tile(maker, tile)
        some = tile.output_blocks
        set_tile(op, Tile(rows, columns, some, some, STATIONARY.get(op) or "inputs", SPLIT.get(op)))
