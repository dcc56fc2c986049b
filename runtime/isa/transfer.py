"""Instructions that move bytes between DRAM and the scratchpads (queues LD, LW and ST)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from ..machine import MAPS_UNIT, WEIGHT_UNIT
from .encoding import Instruction, MemoryAccess, Queue, Space, Violation, bits, flag, instruction

LINE = WEIGHT_UNIT
"""Bytes of a line, in which the weight and the parameter scratchpad are addressed."""


def _map_run(run: int) -> int:
    return -(-run // MAPS_UNIT) * MAPS_UNIT


def _overlap(extent: int, *steps: tuple[str, int, int]) -> Iterator[Violation]:
    """Each stride, from the smallest up, must clear the extent of everything inside it."""
    for name, stride, count in sorted(steps, key=lambda step: step[1]):
        if count > 1:
            if stride < extent:
                yield Violation(name, stride, f"written runs do not overlap: at least {extent}")
            extent += (count - 1) * stride


@instruction("LDM", 1, Queue.LD)
@dataclass(frozen=True, kw_only=True)
class LoadMaps(Instruction):
    """Load a box of DRAM into the maps scratchpad.

    The box has `count_z` planes of `count_y` runs of `run` bytes. Run (z, y) is read at
    `offset + z * dram_stride_z + y * dram_stride_y` of the region and written at
    `destination + (z + pad_top) * map_stride_z + (y + pad_left) * map_stride_y`. The runs with z in
    `-pad_top … -1` and `count_z … count_z + pad_bottom - 1`, or y in `-pad_left … -1` and
    `count_y … count_y + pad_right - 1`, are not read: they are filled with `pad_value`. If `run` is no multiple of
    16, the rest of its last 16 bytes is filled with `pad_value` as well. With `flip`, bit 7 of every byte that comes
    from DRAM is inverted, which turns uint8 with zero point z into int8 with zero point z - 128.

    A feature map is loaded with a run for a pixel (or a row, where pixels lie without gaps in both memories), y for
    columns and z for rows.
    """

    region: int = bits(4, "DRAM region to read")
    offset: int = bits(32, "first byte inside the region", unit="B")
    destination: int = bits(16, "first byte of the padded box in the maps scratchpad", unit="16 B")
    run: int = bits(16, "contiguous bytes", unit="B", minimum=1)
    count_y: int = bits(12, "runs of a plane", minimum=1, default=1)
    count_z: int = bits(12, "planes", minimum=1, default=1)
    dram_stride_y: int = bits(22, "from run to run in DRAM", unit="B", default=0)
    dram_stride_z: int = bits(24, "from plane to plane in DRAM", unit="B", default=0)
    map_stride_y: int = bits(12, "from run to run in the scratchpad", unit="16 B", default=0)
    map_stride_z: int = bits(16, "from plane to plane in the scratchpad", unit="16 B", default=0)
    pad_top: int = bits(4, "planes filled before the first", default=0)
    pad_bottom: int = bits(4, "planes filled after the last", default=0)
    pad_left: int = bits(4, "runs filled before the first of a plane", default=0)
    pad_right: int = bits(4, "runs filled after the last of a plane", default=0)
    pad_value: int = bits(8, "value of filled bytes", signed=True, default=0)
    flip: int = flag("invert bit 7 of every loaded byte")

    @property
    def planes(self) -> int:
        """Planes written, padding included."""
        return self.pad_top + self.count_z + self.pad_bottom

    @property
    def rows(self) -> int:
        """Runs written in a plane, padding included."""
        return self.pad_left + self.count_y + self.pad_right

    @property
    def dram_bytes(self) -> int:
        """Bytes read from DRAM."""
        return self.run * self.count_y * self.count_z

    def accesses(self, cluster: int) -> tuple[MemoryAccess, ...]:
        """One box in DRAM, one in the maps scratchpad."""
        source = ((self.count_z, self.dram_stride_z), (self.count_y, self.dram_stride_y))
        target = ((self.planes, self.map_stride_z * MAPS_UNIT), (self.rows, self.map_stride_y * MAPS_UNIT))
        return (
            MemoryAccess(Space.DRAM, self.offset, source, self.run, False, self.region),
            MemoryAccess(Space.MAPS, self.destination * MAPS_UNIT, target, _map_run(self.run), True, cluster=cluster),
        )

    def violations(self) -> Iterator[Violation]:
        """Written runs must not overlap."""
        yield from _overlap(
            -(-self.run // MAPS_UNIT),
            ("map_stride_y", self.map_stride_y, self.rows),
            ("map_stride_z", self.map_stride_z, self.planes),
        )


class LoadLines(Instruction):
    """A copy of lines of 64 bytes from DRAM to ``SPACE``; each declares these fields itself."""

    SPACE: ClassVar[Space]

    region: int
    offset: int
    destination: int
    length: int

    @property
    def dram_bytes(self) -> int:
        """Bytes read from DRAM."""
        return self.length * LINE

    def accesses(self, cluster: int) -> tuple[MemoryAccess, ...]:
        """A range of DRAM and a range of the scratchpad."""
        return (
            MemoryAccess(Space.DRAM, self.offset * LINE, (), self.dram_bytes, False, self.region),
            MemoryAccess(self.SPACE, self.destination * LINE, (), self.dram_bytes, True, cluster=cluster),
        )


@instruction("LDW", 2, Queue.LW)
@dataclass(frozen=True, kw_only=True)
class LoadWeights(LoadLines):
    """Copy `length` lines of 64 bytes from DRAM to the weight scratchpad."""

    SPACE = Space.WEIGHTS

    region: int = bits(4, "DRAM region to read")
    offset: int = bits(26, "first line inside the region", unit="64 B")
    destination: int = bits(14, "first line of the weight scratchpad", unit="64 B")
    length: int = bits(14, "lines", unit="64 B", minimum=1)


@instruction("LDP", 3, Queue.LW)
@dataclass(frozen=True, kw_only=True)
class LoadParameters(LoadLines):
    """Copy `length` lines of 64 bytes from DRAM to the parameter scratchpad: bias and multipliers, records, tables."""

    SPACE = Space.PARAMETERS

    region: int = bits(4, "DRAM region to read")
    offset: int = bits(26, "first line inside the region", unit="64 B")
    destination: int = bits(12, "first line of the parameter scratchpad", unit="64 B")
    length: int = bits(12, "lines", unit="64 B", minimum=1)


@instruction("ST", 4, Queue.ST)
@dataclass(frozen=True, kw_only=True)
class Store(Instruction):
    """Store a box of the maps scratchpad to DRAM.

    Run (z, y) of `run` bytes is read at `source + z * map_stride_z + y * map_stride_y` and written at
    `offset + z * dram_stride_z + y * dram_stride_y` of the region; no other byte of DRAM changes. With `flip`, bit 7
    of every byte is inverted (int8 to uint8). Runs may start at any byte of DRAM and have any length, so that
    concatenation and slicing along channels are stores and loads of the right addresses.
    """

    region: int = bits(4, "DRAM region to write; not a constant or an input")
    offset: int = bits(32, "first byte inside the region", unit="B")
    source: int = bits(16, "first byte in the maps scratchpad", unit="16 B")
    run: int = bits(16, "contiguous bytes", unit="B", minimum=1)
    count_y: int = bits(12, "runs of a plane", minimum=1, default=1)
    count_z: int = bits(12, "planes", minimum=1, default=1)
    dram_stride_y: int = bits(22, "from run to run in DRAM", unit="B", default=0)
    dram_stride_z: int = bits(24, "from plane to plane in DRAM", unit="B", default=0)
    map_stride_y: int = bits(12, "from run to run in the scratchpad", unit="16 B", default=0)
    map_stride_z: int = bits(16, "from plane to plane in the scratchpad", unit="16 B", default=0)
    flip: int = flag("invert bit 7 of every stored byte")

    @property
    def dram_bytes(self) -> int:
        """Bytes written to DRAM."""
        return self.run * self.count_y * self.count_z

    def accesses(self, cluster: int) -> tuple[MemoryAccess, ...]:
        """One box in the maps scratchpad, one in DRAM."""
        source = ((self.count_z, self.map_stride_z * MAPS_UNIT), (self.count_y, self.map_stride_y * MAPS_UNIT))
        target = ((self.count_z, self.dram_stride_z), (self.count_y, self.dram_stride_y))
        return (
            MemoryAccess(Space.MAPS, self.source * MAPS_UNIT, source, self.run, False, cluster=cluster),
            MemoryAccess(Space.DRAM, self.offset, target, self.run, True, self.region),
        )

    def violations(self) -> Iterator[Violation]:
        """Written runs must not overlap."""
        yield from _overlap(
            self.run,
            ("dram_stride_y", self.dram_stride_y, self.count_y),
            ("dram_stride_z", self.dram_stride_z, self.count_z),
        )
