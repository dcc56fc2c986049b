"""The memories of one run of a device program, and views of the boxes that instructions read and write."""

import weakref
from collections.abc import Iterator, Mapping, Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from tilewright.errors import InputError

from ..isa.accesses import Space
from ..isa.matrix import MapWindows
from ..isa.program import Program, RegionKind
from ..machines.machine import ACCUMULATOR_UNIT, CHANNEL_BLOCK, Machine

# What memories hold before a program writes them: not zero, so that an output which it does not write shows.
POISON = 0xA5

LARGEST_IMAGE = 1 << 22
"""Elements of a feature map that an instruction may copy or widen in one piece."""


class Memory:
    """What the instructions of a cluster see: its scratchpads, the DRAM regions of the card, and its peers.
    ``machine``: gives the sizes of the scratchpads.
    ``card``: its DRAM regions are shared by all clusters. Not kept alive: memories of a run that is over would
    otherwise wait in a circle for the garbage collector, a megabyte each."""

    def __init__(self, machine: Machine, card: "CardMemory") -> None:
        self.maps = np.full(machine.maps_bytes, POISON, np.uint8)
        self.weights = np.full(machine.weight_bytes, POISON, np.uint8)
        self.accumulators = np.full(machine.accumulator_bytes, POISON, np.uint8).view(np.int32)
        self.parameters = np.full(machine.parameter_bytes, POISON, np.uint8)
        self.lines = {Space.WEIGHTS: self.weights, Space.PARAMETERS: self.parameters}
        self.regions = card.regions
        self._card = weakref.ref(card)
        # The last gathered input of a matrix instruction, for the next one that needs the same.
        self.gathered: NDArray[np.float32] | None = None

    def receivers(self, mask: int) -> "list[Memory]":
        """The clusters of a mask; this one if it is empty."""
        card = self._card()
        assert card is not None
        return [peer for index, peer in enumerate(card.clusters) if mask >> index & 1] or [self]

    def regions_of(self, card: int) -> list[NDArray[np.uint8]]:
        """The DRAM regions of a card that runs together with this one."""
        own = self._card()
        assert own is not None
        return own.cards[card]

    def accumulated(self, start: int, pixels: int, blocks: int) -> NDArray[np.int32]:
        """Accumulators from the address ``start`` of an instruction, int32 [pixels, blocks * 16], without a copy."""
        first, channels = start * ACCUMULATOR_UNIT // 4, blocks * CHANNEL_BLOCK
        return self.accumulators[first : first + pixels * channels].reshape(pixels, channels)


class CardMemory:
    """The DRAM regions of a program as bytes, and the memories of the clusters that it uses.
    ``program``: gives the machine, the regions and the number of clusters.
    ``contents``: uint8 arrays for regions by name, used in place, of the size of the region. Output regions that are
    not given are made here; so is scratch, which may be large and is touched only where it is written.
    Raises InputError: a constant or input region is missing, or a region has the wrong size."""

    def __init__(self, program: Program, contents: Mapping[str, NDArray[np.uint8]]) -> None:
        self.regions: list[NDArray[np.uint8]] = []
        for region in program.regions:
            if region.kind == RegionKind.SCRATCH:
                self.regions.append(np.zeros(region.size, np.uint8))
            elif region.kind == RegionKind.OUTPUT and region.name not in contents:
                self.regions.append(np.full(region.size, POISON, np.uint8))
            else:
                self.regions.append(region_bytes(region.name, region.size, contents))
        self.clusters = [Memory(program.machine, self) for _ in range(program.clusters)]
        # Of every card that runs together with this one, itself included; see `connect`.
        self.cards = [self.regions]


def connect(memories: Sequence[CardMemory]) -> None:
    """Let cards reach the DRAM of each other, to which they send."""
    for memory in memories:
        memory.cards = [each.regions for each in memories]


def constant_regions(program: Program, contents: Mapping[str, NDArray[np.uint8]]) -> dict[str, NDArray[np.uint8]]:
    """The contents of the constant regions of a program, by name, checked."""
    return {
        region.name: region_bytes(region.name, region.size, contents)
        for region in program.regions
        if region.kind == RegionKind.CONSTANT
    }


def region_bytes(name: str, size: int, contents: Mapping[str, NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """The contents given for a region, checked.
    Raises InputError: none given, not a flat array of bytes, or the wrong size."""
    data = contents.get(name)
    if data is None:
        raise InputError(f"device program: nothing is given for region {name!r}", expected=f"{size} bytes")
    if data.dtype != np.uint8 or data.ndim != 1 or data.size != size:
        raise InputError(
            f"device program: region {name!r} is given the wrong bytes",
            expected=f"uint8[{size}]",
            found=f"{data.dtype}{list(data.shape)}",
        )
    return np.ascontiguousarray(data)


def box(
    memory: NDArray[np.uint8], start: int, shape: tuple[int, ...], strides: tuple[int, ...], dtype: type = np.uint8
) -> NDArray:
    """A view of bytes: ``shape`` elements of a one-byte type at ``start``, ``strides`` in bytes."""
    return np.ndarray(shape, dtype, memory, start, strides)


def windowed_map(
    memory: Memory,
    start: int,
    axes: tuple[MapWindows, MapWindows],
    pitches: tuple[int, int],
    channels: int,
    fill: int | NDArray[np.int8],
) -> NDArray[np.int8] | None:
    """A feature map from the first to the last row and column of any window: int8 [rows, columns, channels].

    A view of the scratchpad where no window leaves the map, else a copy with ``fill`` around. None where that is far
    larger than any map, because windows lie apart or far outside: then only :func:`taps` is sure to fit into memory.
    ``start``: address of pixel (0, 0), in bytes.
    ``pitches``: from row to row and from pixel to pixel, in bytes.
    ``fill``: one byte, or one for each of a pixel."""
    vertical, horizontal = axes
    rows, columns = vertical.inside, horizontal.inside
    spans, shape = (vertical.span, horizontal.span), (len(rows), len(columns), channels)
    if spans[0] * spans[1] * channels > LARGEST_IMAGE:
        return None
    inside = map_inside(memory, start, axes, pitches, channels)
    if shape[:2] == spans:
        return inside
    padded = np.full((*spans, channels), fill, np.int8)
    if inside.size:
        top, left = rows.start - vertical.origin, columns.start - horizontal.origin
        padded[top : top + shape[0], left : left + shape[1]] = inside
    return padded


def map_inside(
    memory: Memory, start: int, axes: tuple[MapWindows, MapWindows], pitches: tuple[int, int], channels: int
) -> NDArray[np.int8]:
    """The part of a map that windows reach: int8 [rows, columns, channels], a view where no ring begins again in it."""
    columns = axes[1].inside
    parts = [
        box(
            *(memory.maps, start + rows.start * pitches[0] + columns.start * pitches[1]),
            *((len(rows), len(columns), channels), (*pitches, 1), np.int8),
        )
        for rows in (axes[0].pieces if columns else ())
    ]
    if not parts:
        return np.empty((0, len(columns), channels), np.int8)
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def taps(
    memory: Memory,
    start: int,
    axes: tuple[MapWindows, MapWindows],
    pitches: tuple[int, int],
    channels: int,
    fill: int | NDArray[np.int8],
) -> Iterator[tuple[int, int, NDArray[np.int8]]]:
    """What each tap of all windows reads; arguments as for :func:`windowed_map`.

    Yields:
        Row and column of the tap, and int8 [window rows, window columns, channels], overwritten by the next tap.
    """
    vertical, horizontal = axes
    values = np.empty((vertical.windows, horizontal.windows, channels), np.int8)
    for row, column in product(range(vertical.taps), range(horizontal.taps)):
        (rows, top), (columns, left) = vertical.reach(row), horizontal.reach(column)
        inside = values[rows, columns]
        if inside.shape != values.shape:
            values[...] = fill
        if inside.size:
            strides = (vertical.stride * pitches[0], horizontal.stride * pitches[1], 1)
            # Rows of a ring are taken one by one.
            lines = [inside] if not vertical.ring else [inside[index : index + 1] for index in range(len(inside))]
            for index, line in enumerate(lines):
                at = (top + index * vertical.stride) % (vertical.ring or vertical.extent)
                corner = start + at * pitches[0] + left * pitches[1]
                line[...] = box(memory.maps, corner, line.shape, strides, np.int8)
        yield row, column, values
