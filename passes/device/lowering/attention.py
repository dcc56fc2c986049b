"""Attention, head by head: scores of a tile of queries, their weights, and means of values by these."""

from dataclasses import replace

import numpy as np

from ....ir.core import Op, Value
from ....ir.layout import in_whole_blocks
from ....ir.ops.attention import Attention
from ....ir.quantized import limits, parameters
from ....ir.tile.attention import MapAsWeights, RequantizeMean, Weigh
from ....ir.tile.compute import Convolve, LookUp
from ....ir.tile.places import Part
from ....ir.tile.requantization import Requantize
from ....ir.tile.transfer import LoadRequantization, LoadTable
from ....runtime.machines.machine import CHANNEL_BLOCK
from ..attention_views import Corner, Head, heads, is_clamped, rows_shape
from .chip_map import ChipMap
from .on_chip import chip_zero, on_chip
from .program import TileProgram


def lower_attention(op: Op[Attention], program: TileProgram) -> None:
    """Each tile has queries of one head, or of several images of it."""
    _Attention(op, program).lower()


CHIP_LIMIT = 128
"""One more than the largest number that is read outside of maps."""


class _Attention:
    def __init__(self, op: Op[Attention], program: TileProgram) -> None:
        self.op, self.operator, self.program = op, op.operator, program
        self.q, self.k, self.v, self.mask = (self._map(v) if v is not None else None for v in op.operands)
        self.target = self._map(op.result)
        types = [value.type if value is not None else None for value in op.operands]
        multiplier, mask_multiplier, shift = op.operator.multipliers(types)
        mask_zero = chip_zero(op.operands.mask) if op.operands.mask is not None else 0
        self.weigh = Weigh(multiplier, mask_multiplier, shift, mask_zero, op.operator.causal, 0, op.operator.shares)
        y = op.result.type
        low, high = (on_chip(y, bound) for bound in limits(y))
        into = on_chip(y, parameters(y)[1]), low, high
        self.finish = RequantizeMean(*into) if self.v is not None else Requantize(*into)
        self.zeros = [chip_zero(value) for value in op.inputs[:3]]
        if is_clamped(op, op.operands.q) and self.zeros[0] >= 0:
            self.zeros[0] = 0  # taken off by the table
        q, k = op.inputs[:2]
        self.above = {"q": self._above(q, self.zeros[0]), "k": self._above(k, self.zeros[1])}
        depth = op.operator.depth
        factor = op.operator.factor(types, y)
        bias = program.constant("bias", np.zeros(depth, np.int32))
        factors = program.constant("multiplier", np.full(depth, factor, np.float32))
        self.parameters = program.add(LoadRequantization(program.everywhere), bias, factors)
        # On each cluster, what has been loaded or become weights last.
        self._held: dict[tuple[int, str], tuple[object, Value]] = {}

    def _map(self, value: Value) -> Value | ChipMap:
        return self.program.reshaped(self.program.map(value), rows_shape(value))

    def _above(self, value: Value, zero: int) -> Value | None:
        """The table of what of queries or keys counts for shares, where that is not all of them, with a zero point."""
        if not is_clamped(self.op, value):
            return None
        above = np.maximum(np.arange(-CHIP_LIMIT, CHIP_LIMIT) - chip_zero(value), 0)
        table = (above + zero).astype(np.int8)
        return self.program.add(LoadTable(self.program.everywhere), self.program.constant("above", table))

    def _read(self, name: str, place: Value | ChipMap | None, box: Part) -> Value:
        """A part of queries, keys or values."""
        assert place is not None
        loaded, table = self.program.load(place, box), self.above.get(name)
        return loaded if table is None else self.program.add(LookUp(), loaded, table)

    def lower(self) -> None:
        """Of a tile the queries of one image after the other."""
        by_result = {head.y: head for head in heads(self.op)}
        rows = self.operator.rows
        for box in self.program.tiles(self.op, rows_shape(self.op.result)):
            first, stop = box.rows[0], sum(box.rows)
            while first < stop:
                image, inner = divmod(first, rows)
                count = min(stop - first, rows - inner)
                head = by_result[Corner(image * rows, box.channels[0])]
                self._rows(head, inner, replace(box, rows=(first, count)))
                first += count

    def _rows(self, head: Head, first: int, box: Part) -> None:
        """Queries of a head from the row ``first`` on."""
        program, operator, count = self.program, self.operator, box.rows[1]
        x = self._read("q", self.q, self._box(head.q, first, count, operator.width))
        keys = self._weights("k", self.k, head.k, operator.width, turned=True)
        scores: Value | None = None
        # The array takes no zero point off what it multiplies; where windows lie outside it reads one number.
        zero, key_zero = -self.zeros[0], self.zeros[1]
        for outside in () if not zero else (zero,) if zero < CHIP_LIMIT else (zero // 2, zero // 2):
            scores = program.add(_product(count, key_zero, (-count, 0), outside), x, keys, scores)
        scores = program.add(_product(count, key_zero), x, keys, scores)
        if self.v is None:
            program.store(self.target, box, self.finish, scores, self.parameters)
            return
        weigh = replace(self.weigh, first=operator.keys - operator.rows + first) if operator.causal else self.weigh
        weights = program.add(weigh, scores, self._mask(head, first, count))
        values = self._weights("v", self.v, head.v, operator.depth, turned=False)
        blocks = in_whole_blocks(operator.keys)
        whole = Part(-1, (0, count), (0, 1), (0, blocks))
        sums = program.add(_product(count, self.zeros[2]), program.part(weights, whole), values)
        total = program.part(weights, replace(whole, channels=(blocks, CHANNEL_BLOCK)))
        program.store(self.target, box, self.finish, sums, self.parameters, total)

    def _box(self, corner: Corner, first: int, count: int, channels: int) -> Part:
        return Part(0, (corner.row + first, count), (0, 1), (corner.channel, channels))

    def _weights(
        self, name: str, place: Value | ChipMap | None, corner: Corner | None, channels: int, *, turned: bool
    ) -> Value:
        """Keys or values of a head as weights."""
        assert corner is not None

        def make() -> Value:
            box = self._box(corner, 0, self.operator.keys, channels)
            return self.program.add(MapAsWeights(turned), self._read(name, place, box))

        held = self._held.get((self.program.cluster, name))
        if held is None or held[0] != corner:
            held = self._held[self.program.cluster, name] = corner, make()
        return held[1]

    def _mask(self, head: Head, first: int, count: int) -> Value | None:
        """The mask of queries; the same one for all of them where its view says so."""
        if self.mask is None or head.mask is None:
            return None
        repeats = self.operator.mask_view[-2] == 0
        rows = (head.mask.row, 1) if repeats else (head.mask.row + first, count)
        held = self._held.get((self.program.cluster, "mask"))
        place = rows, head.mask.channel
        if held is None or held[0] != place:
            mask = self.program.load(self.mask, Part(0, rows, (0, 1), (head.mask.channel, self.operator.keys)))
            held = self._held[self.program.cluster, "mask"] = place, mask
        return held[1]


def _product(count: int, weight_zero: int, origin: tuple[int, int] = (0, 0), outside: int = 0) -> Convolve:
    return Convolve((count, 1), (1, 1), (1, 1), origin, outside, weight_zero)
