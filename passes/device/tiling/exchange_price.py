"""The price of an exchange of channels and pixels for every candidate tile: what its lowering emits, counted."""

from itertools import product

import numpy as np

from ....ir.core import Op
from ....ir.feature_map import map_shape
from ....runtime.isa.vector import REQUANTIZE_BLOCK_BYTES, TABLE_BYTES
from ....runtime.machines.cost import dense_steps, in_turn
from ....runtime.machines.machine import ACCUMULATOR_UNIT, CHANNEL_BLOCK, Machine
from ....runtime.machines.vector_unit import Stream, vector_drain, vector_work
from ..boxes import blocks_together
from .candidates import Candidates, Found
from .tile_price import Counts, Price, Share, box, parts


class ExchangePrice:
    """Candidates are rows of the result, a multiple of 16, and blocks of its channels.
    ``found``: their tiles, and bytes of each scratchpad."""

    def __init__(self, op: Op, rows: Counts, blocks: Counts, share: Share) -> None:
        self._source, self._target = (map_shape(value.type) for value in (op.inputs[0], op.result))
        self._moves, self._share = (share.moves(op.inputs[0]), share.moves(op.result)), share
        self._bytes = blocks_together(op.result.type)
        channels, block, size = blocks * CHANNEL_BLOCK, CHANNEL_BLOCK * CHANNEL_BLOCK, self._bytes
        needs = {
            "maps": channels * (rows * self._moves[0] + 2 * CHANNEL_BLOCK * self._moves[1]) + 3 * block,
            "weight": 2 * channels * CHANNEL_BLOCK + 2 * CHANNEL_BLOCK * block + 0 * rows,
            "accumulator": 2 * channels // size * ACCUMULATOR_UNIT + 0 * rows,
            "parameter": (blocks // size + 2) * REQUANTIZE_BLOCK_BYTES + TABLE_BYTES + 0 * rows,
        }
        one = np.ones_like(rows)
        tiles = Candidates(rows, one, blocks, one)
        self.found = Found(tiles, needs, np.ones(np.broadcast_shapes(rows.shape, blocks.shape), np.bool_))

    def price(self, machine: Machine) -> Price:
        """Of all images."""
        source, target, timing, share = self._source, self._target, machine.timing, self._share
        price, (rows, _, blocks, _) = Price(machine, share), self.found.tiles
        drain = vector_drain(machine)
        for (n, high, is_top), (m, wide, is_first) in product(
            parts(-(-target.height // CHANNEL_BLOCK), rows // CHANNEL_BLOCK), parts(share.blocks(target.blocks), blocks)
        ):
            count, whole, channels = n * m * target.images, is_top and is_first, wide // self._bytes * CHANNEL_BLOCK
            if self._moves[0]:
                price.transfer(price.loads, count, box(source, channels, wide * 0 + 1, high * self._bytes), whole=whole)
            # Each block of rows is multiplied and stored by itself.
            each = count * high
            steps = dense_steps(machine, CHANNEL_BLOCK, channels, 1, CHANNEL_BLOCK)
            # Meanwhile a pixel in each cycle becomes weights of the next block.
            once = in_turn(timing.mac_setup, np.maximum(steps, channels))
            price.array.add(each * self._bytes, once, whole=whole, drain=timing.mac_drain)
            run = wide * CHANNEL_BLOCK
            result = Stream(run, run if self._moves[1] else target.padded_channels)
            work = vector_work(machine, CHANNEL_BLOCK, wide, [result], sums=1)
            price.vector.add(each, in_turn(timing.vector_setup, work.unit + drain), whole=whole, port=work.port)
            if self._moves[1]:
                price.transfer(price.stores, each, box(target, high * 0 + CHANNEL_BLOCK, 1, wide), whole=whole)
        return price
