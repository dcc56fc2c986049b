"""How feature maps lie in the banks of their scratchpad, and how long the units wait for lines of them.

The maps scratchpad is ``maps_banks`` banks; each gives one line of 64 bytes to the array a cycle. Lines are skewed over
the banks: line n is in bank ``(n + 5 * (n // banks)) mod banks``, so that pixels or rows a multiple of all banks apart
do not meet in one, and of eight banks the three rows of a window that lie so begin 0, 5 and 2 banks further on. The
array takes the lines that a group of pixels needs into line registers, two sets of them: while it works on one set, the
next is fetched. A line that several lanes need is fetched once for a trace. So the array waits where the fullest bank
has more lines to give for a trace than the trace has steps. All groups of an instruction count as its first, those of a
depthwise convolution that do not begin a row as its second, and its map as if it began in bank 0. A trace in pieces,
which are the kernel rows of a packed convolution, is fetched at once where the lines of all of them fit the line
registers, otherwise piece by piece.

All other units share the second port of the banks. In a cycle it passes lines of one map for one of them, at most one
of each bank: the units gather as many lines as there are banks.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tilewright.immutable import Immutable

from .machine import CHANNEL_BLOCK, LINE_BYTES, Machine

JOINED = 4
"""Products in which sums of a depthwise convolution follow each other: a step takes four of one sum or of none."""

PIECES_AT_ONCE = 4
"""Of a trace, of which the line registers give a pixel bytes in a cycle."""

Count = int | NDArray[np.int64]
"""A number, or one for each candidate."""

_MARKED = 1 << 13
"""Lines up to which each of them is marked, which takes less time than to sort those that there are."""

SKEW = 5
"""Banks that a line is further on than the one as many lines before it as there are banks."""


def ceil_divide(dividend: Count, divisor: Count) -> Count:
    """The quotient, rounded up."""
    return -(-dividend // divisor)


def bank_of(line: NDArray[np.int64], banks: int) -> NDArray[np.int64]:
    """The bank in which each line lies."""
    return (line + SKEW * (line // banks)) % banks


def _lines(first: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """The lines of pieces of ``size`` bytes at the addresses ``first``, each once."""
    most = (size + LINE_BYTES - 2) // LINE_BYTES + 1
    line = first.reshape(-1, 1) // LINE_BYTES + np.arange(most)
    found = line[line <= (first.reshape(-1, 1) + size - 1) // LINE_BYTES]
    lowest = int(found.min())
    span = int(found.max()) - lowest + 1
    if span > _MARKED:
        return np.unique(found)
    marks = np.zeros(span, np.bool_)
    marks[found - lowest] = True
    return np.flatnonzero(marks) + lowest


def _in_turn(lines: NDArray[np.int64], banks: int) -> int:
    """Cycles until the banks have given every line."""
    return int(np.bincount(bank_of(lines, banks)).max()) if lines.size else 0


def _fullest(first: NDArray[np.int64], size: int, banks: int) -> int:
    """Cycles until the banks have given every line of pieces of ``size`` bytes at the addresses ``first``."""
    return _in_turn(_lines(first, size), banks)


def _lanes(pixels: int, width: int, row: int, column: int) -> NDArray[np.int64]:
    """Addresses of a group of pixels in raster order, rows and columns so many bytes apart."""
    lane = np.arange(pixels)
    return lane // width * row + lane % width * column


class Trace(Immutable):
    """What each pixel is multiplied by before the next lines are fetched: pieces of contiguous bytes.
    ``piece``: bytes of each.
    ``pieces``: 1, the input channels at a tap; in packed mode as many as there are kernel rows.
    ``distance``: bytes of the map from piece to piece."""

    piece: int
    pieces: int = 1
    distance: int = 0

    def steps(self, input_lanes: int) -> int:
        """Of the array, for one group of pixels and of outputs.

        A step multiplies the next ``input_lanes`` bytes, whichever pieces they are of. One with bytes of more pieces
        than the line registers give a pixel in a cycle (`PIECES_AT_ONCE`) takes several."""
        first = np.arange(0, self.piece * self.pieces, input_lanes)
        last = np.minimum(first + input_lanes, self.piece * self.pieces) - 1
        return int(-(-(last // self.piece - first // self.piece + 1) // PIECES_AT_ONCE).sum())


@lru_cache(4096)
def dense_conflicts(machine: Machine, pixels: int, width: int, row: int, column: int, trace: Trace) -> int:
    """Cycles that the array waits in one trace of a group of pixels.
    ``pixels``: of a group.
    ``width``: output columns; groups go on in the next row.
    ``row``, ``column``: bytes of the map from output row to output row and from output column to output column."""
    lanes, size = _lanes(pixels, width, row, column), trace.piece
    steps = trace.steps(machine.input_lanes)
    most = pixels * trace.pieces * (size // LINE_BYTES + 2)
    if most <= steps:
        return 0
    every = np.add.outer(lanes, np.arange(trace.pieces) * trace.distance)
    if trace.pieces == 1 or most <= machine.line_registers or _lines(every, size).size <= machine.line_registers:
        return max(_fullest(every, size, machine.maps_banks) - steps, 0)
    return trace.pieces * max(_fullest(lanes, size, machine.maps_banks) - size // machine.input_lanes, 0)


@lru_cache(4096)
def _passed(banks: int, run: int, pitch: int) -> tuple[int, int]:
    """So many pixels, and the cycles in which the shared port passes them."""
    if run >= banks * LINE_BYTES:
        return 1, -(-run // (banks * LINE_BYTES))
    # As many as it takes until lines begin at the same place of a pixel, and several times all banks.
    pixels = 4 * banks
    first = np.arange(pixels).reshape(-1, 1) * pitch
    line = first // LINE_BYTES + np.arange((run - 1) // LINE_BYTES + 2)
    line = line[line <= (first + run - 1) // LINE_BYTES]
    line = line[np.append(True, np.diff(line) != 0)]
    return pixels, sum(_in_turn(line[at : at + banks], banks) for at in range(0, line.size, banks))


def port_cycles(machine: Machine, pixels: Count, run: Count, pitch: Count) -> Count:
    """Cycles in which the shared port of the maps passes pixels one after the other, as if all were of one row that
    begins in bank 0.
    ``run``: bytes of a pixel.
    ``pitch``: bytes from pixel to pixel."""
    if isinstance(run, int) and isinstance(pitch, int):
        some, cycles = _passed(machine.maps_banks, run, pitch)
        return ceil_divide(pixels * cycles, some)
    runs, pitches = np.broadcast_arrays(run, pitch)
    every = zip(runs.reshape(-1).tolist(), pitches.reshape(-1).tolist(), strict=True)
    some, cycles = np.array([_passed(machine.maps_banks, *each) for each in every]).T
    return ceil_divide(pixels * cycles.reshape(runs.shape), some.reshape(runs.shape))


class Waits(NamedTuple):
    """Cycles that the array waits for all channels of a group of pixels: of one that begins a row, and of those after
    it, which may have columns in common with the one before. Numbers, or one for each candidate."""

    first: Any
    after: Any

    @classmethod
    def alike(cls, cycles: Any) -> "Waits":
        """Where groups of pixels have nothing in common."""
        return cls(cycles, cycles)


def window_steps(machine: Machine, groups: Any, products: int) -> Any:
    """Steps for a group of pixels of so many groups of channels, or one number for each candidate, of whose sums each
    is of so many products.

    Sums follow each other in pieces of four products, so that a step may end one and begin the next; it ends no more
    than one, as the accumulators take no more."""
    at_once, pieces = machine.depthwise_taps, machine.depthwise_taps // JOINED
    if at_once % JOINED:
        return groups * -(-products // at_once)
    return -(-groups * max(-(-products // JOINED), pieces) // pieces)


@lru_cache(1 << 14)
def depthwise_conflicts(
    machine: Machine,
    pixels: int,
    width: int,
    output: tuple[int, int],
    tap: tuple[int, int],
    kernel: tuple[int, int],
    blocks: int,
    groups: int,
    products: int,
) -> Waits:
    """Cycles that the array waits for all ``blocks`` channel blocks of a group of pixels of a depthwise convolution.

    A line holds four blocks of 16 channels. All pixels are done for as many blocks as the line registers, both sets
    together, hold the lines of all taps of a group of pixels and of the next one; or for as few equal parts of the
    blocks, one part after the other. Lines that a group has in common with the one before in its row are there already.

    Args:
        pixels: of a group.
        width: output columns.
        output: bytes of the map from output row to output row and from output column to output column.
        tap: bytes from tap to tap of a kernel column, and of a kernel row.
        kernel: rows and columns.
        groups: of output channels, in all blocks.
        products: that each sum is made of.
    """
    lanes = _lanes(pixels, width, *output)
    taps = np.add.outer(np.arange(kernel[0]) * tap[0], np.arange(kernel[1]) * tap[1])
    first = np.add.outer(lanes, taps.reshape(-1))
    following = first + pixels * output[1]
    parts, together = 1, blocks
    while (
        together > 1 and _lines(np.append(first, following), together * CHANNEL_BLOCK).size > 2 * machine.line_registers
    ):
        parts += 1
        together = -(-blocks // parts)

    def steps(some: int) -> int:
        return window_steps(machine, some * groups // blocks, products)

    def waits(some: int) -> Waits:
        if not some:
            return Waits(0, 0)
        size = some * CHANNEL_BLOCK
        fetched = _lines(first, size)
        fresh = np.setdiff1d(_lines(following, size), fetched, assume_unique=True)
        return Waits(*(max(_in_turn(lines, machine.maps_banks) - steps(some), 0) for lines in (fetched, fresh)))

    whole, rest, times = waits(together), waits(blocks % together), blocks // together
    # A part begins with a step of its own.
    begun = max(times * steps(together) + steps(blocks % together) - steps(blocks), 0)
    return Waits(times * whole.first + rest.first + begun, times * whole.after + rest.after + begun)
