"""How feature maps lie in the banks of their scratchpad, and how long the array waits for lines of them.

The maps scratchpad is ``maps_banks`` banks; each gives one line of 64 bytes to the array a cycle. Lines are skewed over
the banks: line n is in bank ``(n + n // banks) mod banks``, so that pixels or rows a multiple of all banks apart do not
meet in one. The array takes the lines that a group of pixels needs into line registers, two sets of them: while it
works on one set, the next is fetched. A line that several lanes need is fetched once for a trace. So the array waits
where the fullest bank has more lines to give for a trace than the trace has steps. All groups of an instruction count
as its first, and its map as if it began in bank 0.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .machine import CHANNEL_BLOCK, LINE_BYTES, Machine


def bank_of(line: NDArray[np.int64], banks: int) -> NDArray[np.int64]:
    """The bank in which each line lies."""
    return (line + line // banks) % banks


def _fullest(first: NDArray[np.int64], size: int, banks: int) -> int:
    """Cycles until the banks have given every line of pieces of ``size`` bytes at the addresses ``first``."""
    most = (size + LINE_BYTES - 2) // LINE_BYTES + 1
    line = first.reshape(-1, 1) // LINE_BYTES + np.arange(most)
    wanted = np.unique(line[line <= (first.reshape(-1, 1) + size - 1) // LINE_BYTES])
    return int(np.bincount(bank_of(wanted, banks)).max())


def _lanes(pixels: int, width: int, row: int, column: int) -> NDArray[np.int64]:
    """Addresses of a group of pixels in raster order, rows and columns so many bytes apart."""
    lane = np.arange(pixels)
    return lane // width * row + lane % width * column


@lru_cache(4096)
def dense_conflicts(machine: Machine, width: int, row: int, column: int, trace: int) -> int:
    """Cycles that the array waits in one trace of a group of pixels.

    Args:
        width: output columns; groups go on in the next row.
        row, column: bytes of the map from output row to output row and from output column to output column.
        trace: contiguous bytes that each pixel is multiplied by at a tap.
    """
    steps = -(-trace // machine.input_lanes)
    if machine.pixel_lanes * (trace // LINE_BYTES + 2) <= steps:
        return 0
    return max(_fullest(_lanes(machine.pixel_lanes, width, row, column), trace, machine.maps_banks) - steps, 0)


@lru_cache(4096)
def depthwise_conflicts(
    machine: Machine,
    width: int,
    output: tuple[int, int],
    tap: tuple[int, int],
    kernel: tuple[int, int],
    blocks: int,
    steps: int,
) -> int:
    """Cycles that the array waits for all ``blocks`` channel blocks of a group of pixels of a depthwise convolution.

    A line holds four blocks of 16 channels. Where the lines of all taps fit the line registers, they are fetched once
    for these four blocks, otherwise once for each block.

    Args:
        width: output columns.
        output: bytes of the map from output row to output row and from output column to output column.
        tap: bytes from tap to tap of a kernel column, and of a kernel row.
        kernel: rows and columns.
        steps: of one block.
    """
    lanes = _lanes(machine.pixel_lanes, width, *output)
    taps = np.add.outer(np.arange(kernel[0]) * tap[0], np.arange(kernel[1]) * tap[1])
    first = np.add.outer(lanes, taps.reshape(-1))
    together = LINE_BYTES // CHANNEL_BLOCK
    if first.size * 2 > machine.line_registers and np.unique(first // LINE_BYTES).size > machine.line_registers:
        together = 1
    together = min(together, blocks)
    wait = max(_fullest(first, together * CHANNEL_BLOCK, machine.maps_banks) - together * steps, 0)
    return -(-blocks // together) * wait
