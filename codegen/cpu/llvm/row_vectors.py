"""Going through a contiguous row of single precision numbers vector by vector, the rest of it under a mask."""

from collections.abc import Callable, Sequence
from typing import Union

from .builder import FunctionBuilder
from .types import F32, I64, Register, Registers, mask_constant, vector_constant

RowStep = Callable[["RowVector", Registers], Union[Sequence[Register], None]]
"""From a vector of the row and the carried values to the next carried values, if there are any."""


class RowVector:
    """Some neighbouring elements of a row: a full vector of them, or the rest of the row.
    ``offset``: of the first, in bytes.
    ``mask``: which lanes exist; ``None`` for all."""

    def __init__(self, b: FunctionBuilder, offset: Register, mask: Register | None, lanes: int) -> None:
        self._b = b
        self._vector = F32.of(lanes)
        self.offset = offset
        self.mask = mask

    def load(self, row: Register) -> Register:
        """The elements in the row at ``row``; zero where there are none."""
        return self._b.load_masked(self._vector, self._b.at(row, self.offset), self.mask)

    def store(self, value: Register, row: Register) -> None:
        """Write the elements that exist."""
        self._b.store_masked(value, self._b.at(row, self.offset), self.mask)

    def only(self, value: Register, otherwise: Register) -> Register:
        """``value`` in the lanes that exist, ``otherwise`` in the others."""
        return value if self.mask is None else self._b.select(self.mask, value, otherwise)


def first_lanes(b: FunctionBuilder, count: Register, lanes: int) -> Register:
    """Truth values of which the first ``count``, known at run time, are set."""
    numbers = vector_constant(I64.of(lanes), [str(lane) for lane in range(lanes)])
    return b.compare("slt", numbers, b.splat(count, lanes))


def over_row(
    b: FunctionBuilder, length: int, step: RowStep, carried: Sequence[Register] = (), *, registers: int = 1
) -> Registers:
    """Apply ``step`` along a row of ``length`` elements, of which a vector takes so many ``registers``; the values
    carried at the end."""
    lanes = registers * b.target.lanes
    whole = length // lanes * lanes

    def body(index: Register, inside: Registers) -> Sequence[Register]:
        return step(RowVector(b, b.multiply(index, 4), None, lanes), inside) or ()

    values = b.loop(0, whole, body, carried, step=lanes)
    if whole < length:
        rest = RowVector(b, b.integer(4 * whole), mask_constant(lanes, length - whole), lanes)
        values = tuple(step(rest, values) or ())
    return values
