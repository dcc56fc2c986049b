"""The price of attention for every candidate tile of queries: what its lowering emits, counted."""

import numpy as np

from ....ir.core import Op
from ....ir.ops.attention import Attention
from ....runtime.isa.vector import REQUANTIZE_BLOCK_BYTES, TABLE_BYTES
from ....runtime.machines.banks import ceil_divide
from ....runtime.machines.cost import dense_steps, in_turn
from ....runtime.machines.machine import ACCUMULATOR_UNIT, CHANNEL_BLOCK, Machine
from ....runtime.machines.vector_unit import WEIGH_PASSES, Stream, VectorWork, vector_drain, vector_work
from ..attention_views import heads, is_clamped, rows_shape
from .candidates import Candidates, Found
from .tile_price import Counts, Price, Share, box, parts


class AttentionPrice:
    """Candidates are rows of queries of one head.
    ``found``: their tiles, of one column and the channels of a head, and bytes of each scratchpad."""

    def __init__(self, op: Op[Attention], rows: Counts, share: Share) -> None:
        self._op, self._operator, self._share = op, op.operator, share
        one, operator = np.ones_like(rows), op.operator
        self.keys = ceil_divide(operator.keys, CHANNEL_BLOCK) * CHANNEL_BLOCK
        depth, has_values = operator.depth // CHANNEL_BLOCK, op.operands.v is not None
        q, k, *v = (share.moves(value) for value in op.operands[:3] if value is not None)
        mask = op.operands.mask
        mask_rows = 0 if mask is None else 1 if operator.mask_view[-2] == 0 else rows
        loaded = operator.keys * (k * operator.width + sum(v) * operator.depth) + mask_rows * self.keys
        above, keys_above = (is_clamped(op, value) for value in op.inputs[:2])
        loaded = loaded + keys_above * operator.keys * operator.width
        each = (q + above) * operator.width + share.moves(op.result) * operator.depth
        each += (self.keys + CHANNEL_BLOCK) * has_values
        needs = {
            "maps": rows * each + loaded,
            "weight": one * self.keys * (operator.width + operator.depth * has_values),
            "accumulator": rows * (self.keys + operator.depth * has_values) // CHANNEL_BLOCK * ACCUMULATOR_UNIT,
            "parameter": one * (depth * REQUANTIZE_BLOCK_BYTES + (above + keys_above) * TABLE_BYTES),
        }
        self.found = Found(Candidates(rows, one, one * depth, one), needs, np.ones(rows.shape, np.bool_))

    def price(self, machine: Machine) -> Price:
        """Of all heads."""
        operator, op, share, timing = self._operator, self._op, self._share, machine.timing
        price, rows = Price(machine, share), self.found.tiles.rows
        _, height, _ = share.pixels(rows_shape(op.result))
        count = len({head.y.channel for head in heads(op)})
        has_values = op.operands.v is not None
        width, depth = (size // CHANNEL_BLOCK for size in (operator.width, operator.depth))
        one = np.ones_like(rows)
        for value, blocks in ((op.operands.k, width), (op.operands.v, depth)):
            if value is not None and share.moves(value):
                shape = rows_shape(value)
                price.transfer(price.loads, one * count, box(shape, one * shape.height, one, one * blocks))
        if is_clamped(op, op.inputs[1]):
            looked = self._look_up(machine, one * operator.keys)
            price.vector.add(one * count, in_turn(timing.vector_setup, looked.unit), whole=False, port=looked.port)
        for tiles, size, is_whole in parts(height, rows):
            if is_clamped(op, op.inputs[0]):
                looked = self._look_up(machine, size)
                once = in_turn(timing.vector_setup, looked.unit)
                price.vector.add(count * tiles, once, whole=is_whole, port=looked.port)
            scores = dense_steps(machine, size, operator.keys, 1, operator.width)
            sums = dense_steps(machine, size, operator.depth, 1, self.keys)
            for steps in (scores, sums)[: 1 + has_values]:
                once = in_turn(timing.mac_setup, steps)
                price.array.add(count * tiles, once, whole=is_whole, drain=timing.mac_drain)
            drain = vector_drain(machine, True)
            pitch = operator.depth if share.moves(op.result) else rows_shape(op.result).padded_channels
            weights, sum_of_weights = Stream(self.keys + CHANNEL_BLOCK, self.keys + CHANNEL_BLOCK), CHANNEL_BLOCK
            mask = [Stream(self.keys, self.keys)] if op.operands.mask is not None else []
            result = Stream(operator.depth, pitch), Stream(sum_of_weights, self.keys + CHANNEL_BLOCK)
            works = (
                vector_work(
                    *(machine, size, self.keys // CHANNEL_BLOCK, [weights, *mask]),
                    taps=WEIGH_PASSES,
                    sums=WEIGH_PASSES,
                    pixel_divisions=int(operator.shares),
                ),
                vector_work(machine, size, depth, result, sums=1, pixel_divisions=1),
            )
            for work in works if has_values else (vector_work(machine, size, depth, result[:1], sums=1),):
                once = in_turn(timing.vector_setup, work.unit + drain)
                price.vector.add(count * tiles, once, whole=is_whole, port=work.port)
            if share.moves(op.inputs[0]):
                queries = box(rows_shape(op.inputs[0]), size, one, one * width)
                price.transfer(price.loads, count * tiles, queries, whole=is_whole)
            if share.moves(op.result):
                target = box(rows_shape(op.result), size, one, one * depth)
                price.transfer(price.stores, count * tiles, target, whole=is_whole)
        return price

    def _look_up(self, machine: Machine, pixels: Counts) -> VectorWork:
        """So many rows of queries or keys, of which what is below 0 becomes 0."""
        width = self._operator.width
        return vector_work(machine, pixels, width // CHANNEL_BLOCK, [Stream(width, width), Stream(width, width)])
