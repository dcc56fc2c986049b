"""The innermost function of direct convolutions: some output pixels by vectors of output channels, in registers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING

from tilewright.immutable import Immutable

from .....ir.layout import CHANNEL_BLOCK
from ...llvm.builder import FunctionBuilder
from ...llvm.byte_dot_product import widens
from ...llvm.target import TargetDescription
from ...llvm.types import Register, Registers
from ..products.blocking import registers_per_vector
from ..window import PixelTile
from ..window_walk import Values, moved, over

if TYPE_CHECKING:
    from .direct_convolution import DirectConvolution

LEAST_STEPS = 4
"""Steps that a round of the innermost loop works through at most, where channels are to be left out."""

_FEW_SUMS = 8
"""Vectors of sums whose products do not fill a round of one step."""


class Distances(Immutable):
    """Where things lie in memory, in bytes, and how much of the following weights is asked for.

    Attributes:
        block, row, column, step: from one block of input channels, kernel row, step along a kernel row, or step of
            those side by side to the next: in x, in w, and in the table of what is counted.
        pixel: in x, between neighbouring output pixels.
        vector: in w, between vectors of output channels.
        output_vector: the same in residual and result.
        prefetch: cache lines of following weights to ask for, by each call and for each vector.
        spread: how many of them after each round of the innermost loop; 0 for all of them at once, where they are few.
    """

    block: tuple[int, int, int]
    row: tuple[int, int, int]
    column: tuple[int, int, int]
    step: tuple[int, int, int]
    pixel: int
    vector: int
    output_vector: int
    prefetch: int
    spread: int


class ConvolutionTile:
    """The body of the innermost function: some output pixels by some vectors of output channels.
    ``pixels``, ``vectors``: extents.
    ``active``: channels in the last vector; the other lanes are to be set to zero."""

    def __init__(
        self,
        spec: DirectConvolution,
        distances: Distances,
        b: FunctionBuilder,
        arguments: Values,
        reach: PixelTile,
        vectors: int,
        active: int,
    ) -> None:
        self.b, self.arguments, self.distances = b, arguments, distances
        self.pixels, self.vectors, self.active = reach.pixels, vectors, active
        self.positions = [(p, q) for p in range(self.pixels) for q in range(vectors)]
        self._spec = spec
        self._reach = reach
        self._unrolled = unrolled_steps(spec.steps, self.pixels * vectors, b.target)
        # In a last block of few steps those of absent channels are most of all; the only block has none, unless there
        # are so few products that rounds of single steps take longer.
        rest = spec.present_steps % spec.steps or spec.steps
        is_alone = spec.input_blocks == 1
        most = min(LEAST_STEPS, 2 * rest - 1) if is_alone or spec.steps <= LEAST_STEPS else LEAST_STEPS
        is_exact = is_alone and self.pixels * vectors > _FEW_SUMS
        while spec.is_ragged and (self._unrolled > most or (is_exact and rest % self._unrolled)):
            self._unrolled //= 2
        self._rounds = b.integer(spec.steps // self._unrolled)
        self.steps_of_round = self._unrolled

    def output(self, name: str, p: int, q: int) -> Register:
        """Address of a pixel and vector of the residual or result."""
        pixel = p * self._spec.element.bytes * CHANNEL_BLOCK
        return self.b.at(self.arguments[name], q * self.distances.output_vector + pixel)

    def generate(self) -> None:
        a, spec, spread = self.arguments, self._spec, self.distances.spread
        if not spread:
            self._prefetch(a["following"], self.distances.prefetch)
        sums = tuple(spec.start(self))
        # The address to prefetch from goes through the loops behind the sums.
        carried = (*sums, a["following"]) if spread else sums
        pointers = tuple(a[name] for name in ("x", "w", "ones") if name in a)
        if spec.is_ragged:
            carried = (*carried, a.get("left", self.b.integer(spec.present_steps)))
        blocks = a.get("blocks", self.b.integer(spec.input_blocks))
        spec.end(self, tuple(spec.over_blocks(self, blocks, pointers, carried)[: len(sums)]))

    def over_block(self, pointers: Registers, carried: Registers) -> Registers:
        """A block of input channels; the steps that are left go through the blocks behind all else."""
        if not self._spec.is_ragged:
            return self._over_rows(pointers, carried)
        b, (*inner, left) = self.b, carried
        present = b.minimum(left, self._spec.steps)
        self._rounds = b.divide(b.add(present, self._unrolled - 1), self._unrolled)
        return (*self._over_rows(pointers, tuple(inner)), b.subtract(left, self._spec.steps))

    def _prefetch(self, address: Register, lines: int) -> None:
        for q in range(self.vectors):
            for line in range(lines):
                self.b.prefetch(self.b.at(address, q * self.distances.vector + line * 64))

    def _over_rows(self, pointers: Registers, carried: Registers) -> Registers:
        rows = self._spec.rows
        count = self.arguments["kernel_rows"] if rows.is_padded else rows.kernel
        runs = rows.always_reaches or None
        return over(self.b, count, self.distances.row, pointers, carried, self._over_columns, runs=runs)

    def _over_columns(self, pointers: Registers, carried: Registers) -> Registers:
        """A kernel row: runs of steps that see the same pixels.

        A run is a loop, unless it is short and the spec wants it unrolled: neighbouring columns read the same inputs,
        and LLVM would keep them in registers that the sums need."""
        spec, b, column, first = self._spec, self.b, self.distances.column, 0
        for masks, equal in groupby(self._reach.columns):
            count = len(list(equal))
            if any(masks) or spec.fill:
                here = moved(b, pointers, column, first)
                steps = partial(self._over_steps, masks)
                if count * spec.steps * len(carried) <= spec.unrolled and not widens(self.b.target):
                    for index in range(count):
                        carried = steps(moved(b, here, column, index), carried)
                else:
                    carried = over(b, count, column, here, carried, steps)
            first += count
        return carried

    def _over_steps(self, masks: Sequence[int], pointers: Registers, carried: Registers) -> Registers:
        spec, spread, times = self._spec, self.distances.spread, self._unrolled

        def some(pointers: Registers, carried: Registers) -> Registers:
            sums = list(carried)
            for step in range(times):
                spec.step(self, masks, pointers, step, sums)
            if spread:
                self._prefetch(sums[-1], spread)
                sums[-1] = self.b.at(sums[-1], 64 * spread)
            return tuple(sums)

        distances = [times * distance for distance in self.distances.step]
        return over(self.b, self._rounds, distances, pointers, carried, some, runs=True)


def unrolled_steps(steps: int, sums: int, target: TargetDescription) -> int:
    """Steps that a round of the innermost loop works through, given the vectors of sums.

    Four products for each register hide the loop; with more of them, LLVM's scheduler moves loads so far up that it
    lacks registers for what they load."""
    while steps > 1 and steps * sums * registers_per_vector(target) > 4 * target.registers:
        steps //= 2
    return steps
