"""Direct convolution of activations of 16 bits: sums of two products of words in each lane."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from .....ir.core import Op
from .....ir.layout import CHANNEL_BLOCK
from ...llvm.builder import Integer
from ...llvm.byte_dot_product import BYTES, add_word_pairs
from ...llvm.types import F64, I16, I32, Register, Registers, constant, zero
from ..output_channels import VECTOR, VECTOR_BYTES, without_zero_points
from ..window_walk import moved
from .convolution_tile import ConvolutionTile
from .quantized_convolution import QuantizedConvolution

PAIR = 2
"""Words whose products a lane sums up."""

_TOTALS = F64.of(CHANNEL_BLOCK)


class WordConvolution(QuantizedConvolution):
    """The same as its base of words.

    Weights are read as ``w``, words, zero points taken off: the data of :meth:`words`.
    ``parts``: of the input channels, of which each has sums that fit 32 bits. Those of several are added in memory, in
    double precision, which is exact."""

    STEP: ClassVar[int] = PAIR
    OWN_WEIGHTS: ClassVar[bool] = True

    parts: int = 1

    def words(self, op: Op) -> bytes:
        """The weights of an op, which are constant: [O/16, I/16, kernel rows, columns, 8 (I), 16 (O), 2 (I)]."""
        weights = without_zero_points(op)
        outputs, inputs = weights.shape[:2]
        weights = weights.reshape(outputs, inputs, self.rows.kernel, self.columns.kernel)
        weights = np.pad(weights, ((0, -outputs % CHANNEL_BLOCK), (0, -inputs % CHANNEL_BLOCK), (0, 0), (0, 0)))
        cut = weights.reshape(-1, CHANNEL_BLOCK, self.input_blocks, self.steps, PAIR, *weights.shape[2:])
        return cut.transpose(0, 2, 5, 6, 3, 1, 4).astype("<i2").tobytes()

    def step(
        self, tile: ConvolutionTile, masks: Sequence[int], pointers: Registers, step: int, sums: list[Register]
    ) -> None:
        b, (x, w) = tile.b, pointers
        b.fence()
        weights = [b.load(BYTES, b.at(w, q * tile.distances.vector + step * VECTOR_BYTES)) for q in range(tile.vectors)]
        fill = constant(I16.of(PAIR * CHANNEL_BLOCK), self.fill)
        for p, mask in enumerate(masks):
            if not mask and not self.fill:
                continue
            word = b.load(I32, b.at(x, p * tile.distances.pixel + PAIR * I16.bytes * step)) if mask else None
            value = b.splat(word, CHANNEL_BLOCK) if word is not None else fill
            for q, weight in enumerate(weights):
                index = p * tile.vectors + q
                sums[index] = add_word_pairs(b, sums[index], value, weight)

    def over_blocks(
        self, tile: ConvolutionTile, count: Integer, pointers: Registers, carried: Registers
    ) -> Sequence[Register]:
        if self.parts == 1:
            return super().over_blocks(tile, count, pointers, carried)
        b, sums, blocks = tile.b, len(tile.positions), -(-self.input_blocks // self.parts)
        memory = b.allocate(_TOTALS, sums)
        places = [b.at(memory, index * _TOTALS.bytes) for index in range(sums)]
        for place in places:
            b.store(zero(_TOTALS), place)

        def part(first: Register, values: Registers) -> Registers:
            pointers, carried = values[:2], values[2:]
            found = over_part(tile, b.minimum(b.subtract(count, first), blocks), pointers, carried)
            for place, total in zip(places, found, strict=False):
                b.store(b.binary("fadd", b.load(_TOTALS, place), b.convert("sitofp", total, _TOTALS)), place)
            return (*moved(b, pointers, tile.distances.block, blocks), *[zero(VECTOR)] * sums, *found[sums:])

        over_part = super().over_blocks
        b.loop(0, count, part, (*pointers, *carried), step=blocks)
        return [b.load(_TOTALS, place) for place in places]
