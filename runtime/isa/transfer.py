"""Instructions that move bytes between DRAM and scratchpads, clusters and cards (queues LD, LW and ST)."""

from collections.abc import Iterator
from typing import ClassVar

from ..machines.machine import CARD_LIMIT, CLUSTER_LIMIT, MAPS_ADDRESS_BITS, MAPS_UNIT, WEIGHT_UNIT
from .accesses import MemoryAccess, Space
from .encoding import FIRST, Instruction, Queue, Violation, bits, flag, instruction

LINE = WEIGHT_UNIT
"""Bytes of a line, in which the weight and the parameter scratchpad are addressed."""


def _written(
    space: Space, start: int, steps: tuple[tuple[int, int], ...], run: int, mask: int, cluster: int
) -> list[MemoryAccess]:
    """What is written in a scratchpad of each cluster of a mask, or of ``cluster`` itself if it is empty."""
    receivers = [index for index in range(CLUSTER_LIMIT) if mask >> index & 1] or [cluster]
    return [MemoryAccess(space, start, steps, run, True, cluster=each) for each in receivers]


class BoxTransfer(Instruction):
    """`count_z` planes of `count_y` runs, on each side with strides of its own."""

    count_y: int = bits(16, "runs of a plane", minimum=1, default=1)
    count_z: int = bits(16, "planes", minimum=1, default=1)

    def steps(self, stride_y: int, stride_z: int, unit: int = 1) -> tuple[tuple[int, int], tuple[int, int]]:
        """Planes, then runs: how many, and how many bytes apart where these are the strides, of ``unit`` bytes each."""
        return (self.count_z, stride_z * unit), (self.count_y, stride_y * unit)

    def overlaps(self, side: str, stride_y: int, stride_z: int, extent: int) -> Iterator[Violation]:
        """Each stride of the side that is written, from the smallest up, must clear the extent of all inside it.
        ``side``: what the names of its strides begin with.
        ``stride_y``, ``stride_z``: its strides.
        ``extent``: what is written of a run, in the unit of the strides."""
        for stride, axis, count in sorted(((stride_y, "y", self.count_y), (stride_z, "z", self.count_z))):
            if count > 1:
                if stride < extent:
                    rule = f"written runs do not overlap: at least {extent}"
                    yield Violation(f"{side}_stride_{axis}", stride, rule)
                extent += (count - 1) * stride


class DramTransfer(BoxTransfer):
    """A box of which one side lies in DRAM."""

    region: int = bits(4, "DRAM region to read", after=FIRST)
    offset: int = bits(40, "first byte inside the region", unit="B", after="region")
    run: int = bits(20, "contiguous bytes", unit="B", minimum=1, after="offset")
    dram_stride_y: int = bits(24, "from run to run in DRAM", unit="B", default=0)
    dram_stride_z: int = bits(24, "from plane to plane in DRAM", unit="B", default=0)

    @property
    def dram_bytes(self) -> int:
        """Bytes that are read from DRAM or written to it."""
        return self.run * self.count_y * self.count_z

    def dram_access(self, write: bool) -> MemoryAccess:
        """The side in the DRAM of the own card."""
        steps = self.steps(self.dram_stride_y, self.dram_stride_z)
        return MemoryAccess(Space.DRAM, self.offset, steps, self.run, write, self.region)


class MapTransfer(DramTransfer):
    """A box of which one side lies in DRAM, the other one in a maps scratchpad."""

    map_stride_y: int = bits(MAPS_ADDRESS_BITS, "from run to run in the scratchpad", unit="16 B", default=0)
    map_stride_z: int = bits(MAPS_ADDRESS_BITS, "from plane to plane in the scratchpad", unit="16 B", default=0)


@instruction("LDM", 1, Queue.LD)
class LoadMaps(MapTransfer):
    """Load a box of DRAM into the maps scratchpad.

    The box has `count_z` planes of `count_y` runs of `run` bytes. Run (z, y) is read at
    `offset + z * dram_stride_z + y * dram_stride_y` of the region and written at
    `destination + z * map_stride_z + y * map_stride_y`. If `run` is no multiple of 16, the rest of its last 16 bytes
    becomes 0. With `flip`, bit 7 of every byte that comes from DRAM is inverted, which turns uint8 with zero point z
    into int8 with zero point z - 128. Bit c of `clusters` stands for cluster c: the box is read once and written to
    the maps of each cluster that is named, and if none is, to those of the stream's own.

    A feature map is loaded with a run for a pixel (or a row, where pixels lie without gaps in both memories), y for
    columns and z for rows."""

    destination: int = bits(
        MAPS_ADDRESS_BITS, "first byte of the box in the maps scratchpad", unit="16 B", after="offset"
    )
    clusters: int = bits(CLUSTER_LIMIT, "mask of the clusters that get the box; 0 is its own", default=0)
    flip: int = flag("invert bit 7 of every loaded byte")

    @property
    def units(self) -> int:
        """Units of 16 bytes that a run fills."""
        return -(-self.run // MAPS_UNIT)

    def accesses(self, cluster: int) -> tuple[MemoryAccess, ...]:
        """One box in DRAM, one in the maps scratchpad of every receiver."""
        start, run = self.destination * MAPS_UNIT, self.units * MAPS_UNIT
        target = self.steps(self.map_stride_y, self.map_stride_z, MAPS_UNIT)
        written = _written(Space.MAPS, start, target, run, self.clusters, cluster)
        return self.dram_access(False), *written

    def violations(self) -> Iterator[Violation]:
        """Written runs must not overlap."""
        yield from self.overlaps("map", self.map_stride_y, self.map_stride_z, self.units)


class LoadLines(Instruction):
    """A copy of ``length`` lines of 64 bytes from DRAM to ``destination`` in ``SPACE``, whose width these two have."""

    SPACE: ClassVar[Space]

    region: int = bits(4, "DRAM region to read")
    offset: int = bits(34, "first line inside the region", unit="64 B")
    clusters: int = bits(CLUSTER_LIMIT, "mask of the clusters that get the lines; 0 is its own", default=0)
    destination: int
    length: int

    @property
    def dram_bytes(self) -> int:
        """Bytes read from DRAM."""
        return self.length * LINE

    def accesses(self, cluster: int) -> tuple[MemoryAccess, ...]:
        """A range of DRAM and a range of the scratchpad of every receiver."""
        start = self.destination * LINE
        written = _written(self.SPACE, start, (), self.dram_bytes, self.clusters, cluster)
        return MemoryAccess(Space.DRAM, self.offset * LINE, (), self.dram_bytes, False, self.region), *written


@instruction("LDW", 2, Queue.LW)
class LoadWeights(LoadLines):
    """Copy `length` lines of 64 bytes from DRAM to the weight scratchpad.

    Bit c of `clusters` stands for cluster c: the lines are read once and written to each cluster that is named, and if
    none is, to the stream's own."""

    SPACE = Space.WEIGHTS

    destination: int = bits(14, "first line of the weight scratchpad", unit="64 B", after="offset")
    length: int = bits(14, "lines", unit="64 B", minimum=1, after="destination")


@instruction("LDP", 3, Queue.LW)
class LoadParameters(LoadLines):
    """Copy `length` lines of 64 bytes from DRAM to the parameter scratchpad: bias and multipliers, records, tables.

    `clusters` is as for LDW."""

    SPACE = Space.PARAMETERS

    destination: int = bits(12, "first line of the parameter scratchpad", unit="64 B", after="offset")
    length: int = bits(12, "lines", unit="64 B", minimum=1, after="destination")


@instruction("ST", 4, Queue.ST)
class Store(MapTransfer):
    """Store a box of the maps scratchpad to DRAM.

    Run (z, y) of `run` bytes is read at `source + z * map_stride_z + y * map_stride_y` and written at
    `offset + z * dram_stride_z + y * dram_stride_y` of the region; no other byte of DRAM changes. With `flip`, bit 7
    of every byte is inverted (int8 to uint8). Runs may start at any byte of DRAM and have any length, so that
    concatenation and slicing along channels are stores and loads of the right addresses."""

    region: int = bits(4, "DRAM region to write; not a constant or an input", after=FIRST)
    source: int = bits(MAPS_ADDRESS_BITS, "first byte in the maps scratchpad", unit="16 B", after="offset")
    flip: int = flag("invert bit 7 of every stored byte")

    def accesses(self, cluster: int) -> tuple[MemoryAccess, ...]:
        """One box in the maps scratchpad, one in DRAM."""
        start, steps = self.source * MAPS_UNIT, self.steps(self.map_stride_y, self.map_stride_z, MAPS_UNIT)
        return MemoryAccess(Space.MAPS, start, steps, self.run, False, cluster=cluster), self.dram_access(True)

    def violations(self) -> Iterator[Violation]:
        """Written runs must not overlap."""
        yield from self.overlaps("dram", self.dram_stride_y, self.dram_stride_z, self.run)


@instruction("MOV", 5, Queue.ST)
class Move(BoxTransfer):
    """Copy a box of the maps scratchpad into that of other clusters.

    The box has `count_z` planes of `count_y` runs of `run` times 16 bytes. Run (z, y) is read at
    `source + z * source_stride_z + y * source_stride_y` of the stream's own cluster and written at
    `destination + z * destination_stride_z + y * destination_stride_y` of every cluster c with bit c of `clusters`,
    which its own is not. This is how a cluster gets the rows beside its own, and other clusters' channels."""

    source: int = bits(MAPS_ADDRESS_BITS, "first byte in the own maps scratchpad", unit="16 B", after=FIRST)
    destination: int = bits(
        MAPS_ADDRESS_BITS, "first byte in the others' maps scratchpads", unit="16 B", after="source"
    )
    run: int = bits(MAPS_ADDRESS_BITS, "contiguous bytes", unit="16 B", minimum=1, after="destination")
    source_stride_y: int = bits(MAPS_ADDRESS_BITS, "from run to run in the source", unit="16 B", default=0)
    source_stride_z: int = bits(MAPS_ADDRESS_BITS, "from plane to plane in the source", unit="16 B", default=0)
    destination_stride_y: int = bits(MAPS_ADDRESS_BITS, "from run to run in the destination", unit="16 B", default=0)
    destination_stride_z: int = bits(
        MAPS_ADDRESS_BITS, "from plane to plane in the destination", unit="16 B", default=0
    )
    clusters: int = bits(CLUSTER_LIMIT, "mask of the clusters that get the box", minimum=1)

    @property
    def moved_bytes(self) -> int:
        """Bytes read, and written to each receiver."""
        return self.run * MAPS_UNIT * self.count_y * self.count_z

    def accesses(self, cluster: int) -> tuple[MemoryAccess, ...]:
        """The box in the own scratchpad, and that in each of the others'."""
        run, start = self.run * MAPS_UNIT, self.destination * MAPS_UNIT
        source = self.steps(self.source_stride_y, self.source_stride_z, MAPS_UNIT)
        target = self.steps(self.destination_stride_y, self.destination_stride_z, MAPS_UNIT)
        written = _written(Space.MAPS, start, target, run, self.clusters, cluster)
        return MemoryAccess(Space.MAPS, self.source * MAPS_UNIT, source, run, False, cluster=cluster), *written

    def misplaced(self, cluster: int) -> Violation | None:
        """A cluster moves nothing to itself."""
        if self.clusters >> cluster & 1:
            return Violation("clusters", f"{self.clusters:#b}", f"the mask does not name the own cluster, {cluster}")
        return None

    def violations(self) -> Iterator[Violation]:
        """Written runs must not overlap."""
        yield from self.overlaps("destination", self.destination_stride_y, self.destination_stride_z, self.run)


class Message(DramTransfer):
    """One end of a box of bytes that crosses from card to card."""

    peer: int = bits((CARD_LIMIT - 1).bit_length(), "the other card, counted from 0 among those that run together")
    tag: int = bits(24, "which message to that card it is")


@instruction("SND", 6, Queue.ST)
class Send(Message):
    """Send a box of DRAM to another card, which receives it with RCV.

    Run (z, y) of `run` bytes is read at `offset + z * dram_stride_z + y * dram_stride_y` of the region. The message
    that card `peer` receives with the same `tag` from this card has as many bytes, in the same order; of the messages
    from one card to another each has a tag of its own. There is no memory between the cards: SND starts when its own
    waits are satisfied, those of the RCV are, and all before that in its stream is complete; the bytes then go to
    where the RCV says, which is complete after the SND."""

    def accesses(self, cluster: int) -> tuple[MemoryAccess, ...]:
        """A box in the DRAM of the own card."""
        return (self.dram_access(False),)


@instruction("RCV", 7, Queue.LD)
class Receive(Message):
    """Receive a box of another card into DRAM, which that card sends with SND.

    Run (z, y) of `run` bytes is written at `offset + z * dram_stride_z + y * dram_stride_y` of the region; no other
    byte of DRAM changes. The fields are as for SND; `peer` is the card that sends."""

    region: int = bits(4, "DRAM region to write; not a constant or an input", after=FIRST)
    tag: int = bits(24, "which message from that card it is")

    def accesses(self, cluster: int) -> tuple[MemoryAccess, ...]:
        """A box in the DRAM of the own card."""
        return (self.dram_access(True),)

    def violations(self) -> Iterator[Violation]:
        """Written runs must not overlap."""
        yield from self.overlaps("dram", self.dram_stride_y, self.dram_stride_z, self.run)
