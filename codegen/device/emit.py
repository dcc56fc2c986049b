"""Emitting instructions: scratchpad space, constants, and boxes of maps in and out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tilewright.errors import CodegenError, ResourceError
from tilewright.limits import DEVICE_INSTRUCTIONS

from ...ir.annotations import REGION_BYTES
from ...ir.core import Function, Op, OperatorT, Value
from ...ir.op import Operator
from ...ir.quantized import parameters
from ...ir.types import DType, TensorType
from ...runtime import isa
from ...runtime.machine import RUN_LIMIT, Machine
from .maps import REGIONS, Box, MapView, views_of

CONSTANTS = REGIONS.index("constants")


class Ring:
    """Space of a scratchpad, handed out round and round: what comes next overwrites what is oldest.

    The assembler makes an instruction wait for the last users of the bytes that it overwrites, so a ring is double
    buffering without any bookkeeping, over the borders of layers too.
    """

    def __init__(self, name: str, size: int, unit: int) -> None:
        self._name = name
        self._size = size
        self._unit = unit
        self._position = 0

    def take(self, size: int) -> int:
        """Contiguous space of ``size`` bytes; its address in units of the scratchpad.

        Raises:
            CodegenError: the scratchpad is smaller than that.
        """
        size = -(-size // self._unit) * self._unit
        if size > self._size:
            raise CodegenError(
                f"a tile does not fit the {self._name} scratchpad", expected=f"at most {self._size} bytes", found=size
            )
        if self._position + size > self._size:
            self._position = 0
        address = self._position
        self._position += size
        return address // self._unit


class Emitter:
    """The device program of one function while it is written.

    Attributes:
        views: where each feature map lies in DRAM.
        constants: contents of the constants region.
        layer: what the instructions that follow belong to.
    """

    def __init__(self, function: Function, machine: Machine) -> None:
        self.machine = machine
        self.views = views_of(function)
        self.constants = bytearray()
        self.maps = Ring("maps", machine.maps_bytes, isa.MAPS_UNIT)
        self.weights = Ring("weight", machine.weight_bytes, isa.WEIGHT_UNIT)
        self.accumulators = Ring("accumulator", machine.accumulator_bytes, isa.ACCUMULATOR_UNIT)
        self.parameters = Ring("parameter", machine.parameter_bytes, isa.PARAMETER_UNIT)
        self._known: dict[bytes, int] = {}
        self._pending: list[tuple[isa.Instruction, str]] = []
        self.layer = ""
        self._sizes = {region: annotation.get(function) or 0 for region, annotation in REGION_BYTES.items()}

    def add(self, kind: Callable[..., isa.Instruction], /, **fields: int) -> None:
        """Append an instruction; program order is the meaning."""
        if len(self._pending) == DEVICE_INSTRUCTIONS:
            raise ResourceError(
                "the device program is too long",
                stage="device code",
                expected=f"at most {DEVICE_INSTRUCTIONS} {DEVICE_INSTRUCTIONS.what}",
                hint="Keep its largest operators on the CPU with --affinity.",
            )
        self._pending.append((kind(**fields), self.layer))

    def assemble(self) -> isa.Assembler:
        """All instructions with their waits and signals."""
        kinds = (isa.RegionKind.CONSTANT, isa.RegionKind.SCRATCH, isa.RegionKind.INPUT, isa.RegionKind.OUTPUT)
        sizes = (len(self.constants), *(self._sizes[region] for region in REGIONS[1:]))
        regions = [isa.Region(n, k, s) for n, k, s in zip(REGIONS, kinds, sizes, strict=True)]
        assembler = isa.Assembler(self.machine, regions)
        for item, layer in self._pending:
            assembler.add(item, layer)
        return assembler

    def constant(self, data: bytes) -> tuple[int, int]:
        """Put bytes into the constants region; their address and length in lines of 64 bytes."""
        lines = -(-len(data) // isa.PARAMETER_UNIT)
        address = self._known.get(data)
        if address is None:
            address = self._known[data] = len(self.constants) // isa.PARAMETER_UNIT
            self.constants += data + bytes(lines * isa.PARAMETER_UNIT - len(data))
        return address, lines

    def load_weights(self, data: bytes) -> int:
        """Load packed weights; their line in the scratchpad."""
        address, lines = self.constant(data)
        destination = self.weights.take(lines * isa.WEIGHT_UNIT)
        self.add(isa.LoadWeights, region=CONSTANTS, offset=address, destination=destination, length=lines)
        return destination

    def load_parameters(self, data: bytes) -> int:
        """Load parameters, a record or a table; its line in the scratchpad."""
        address, lines = self.constant(data)
        destination = self.parameters.take(lines * isa.PARAMETER_UNIT)
        self.add(isa.LoadParameters, region=CONSTANTS, offset=address, destination=destination, length=lines)
        return destination

    def load_map(self, view: MapView, box: Box, destination: int) -> None:
        """Load a box; on chip its pixels follow each other without gaps, channels padded to whole blocks."""
        self.add(isa.LoadMaps, destination=destination, **_transfer(view, box))

    def store_map(self, view: MapView, box: Box, source: int) -> None:
        """Store a box that lies on chip as :meth:`load_map` would leave it."""
        self.add(isa.Store, source=source, **_transfer(view, box))

    def compute(
        self, op: Op, reads: Sequence[Box], box: Box, kind: Callable[..., isa.Instruction], /, **fields: int
    ) -> None:
        """Load boxes of the operands, make a box of the result of them and store it.

        Args:
            kind: takes the fields that are given, the addresses ``source`` (``source_a`` and ``source_b`` of
                two operands) and ``destination``, and what the box of the result says about itself.
        """
        start = self.maps.take(sum(part.chip_bytes for part in (*reads, box)))
        names = ("source",) if len(reads) == 1 else ("source_a", "source_b")
        for name, value, read in zip(names, op.inputs, reads, strict=True):
            self.load_map(self.views[value], read, start)
            fields[name] = start
            start += read.chip_bytes // isa.MAPS_UNIT
        self.add(kind, destination=start, **box.size, **box.pitches("destination_"), **fields)
        self.store_map(self.views[op.result], box, start)


def _transfer(view: MapView, box: Box) -> dict[str, int]:
    """The fields of an instruction that moves a box between DRAM and the scratchpad."""
    run, (rows, columns) = view.run(*box.channels), (box.rows[1], box.columns[1])
    line = columns * box.blocks * isa.MAPS_UNIT
    if run == box.blocks * isa.MAPS_UNIT == view.pixel and line <= RUN_LIMIT:
        # Whole rows, each in one run.
        run, columns = line, 1
    return {
        "region": view.region,
        "offset": view.address(box.image, box.rows[0], box.columns[0], box.channels[0]),
        "run": run,
        "count_y": columns,
        "count_z": rows,
        "dram_stride_y": view.pixel if columns > 1 else 0,
        "dram_stride_z": view.row if rows > 1 else 0,
        "map_stride_y": box.blocks if columns > 1 else 0,
        "map_stride_z": line // isa.MAPS_UNIT if rows > 1 else 0,
        "flip": int(view.flip),
    }


def on_chip(type: TensorType, stored: int) -> int:
    """A stored integer as the device holds it: u8 with its highest bit inverted."""
    return stored + chip_offset(type)


def chip_offset(type: TensorType) -> int:
    """What is added to a stored integer to get what the device holds."""
    return -128 if type.dtype is DType.U8 else 0


def chip_zero(value: Value) -> int:
    """Zero point of a feature map as the device holds it."""
    return on_chip(value.type, parameters(value.type)[1])


Lowering = Callable[[Op[OperatorT], Emitter], None]

LOWERINGS: dict[type[Operator], Lowering[Any]] = {}
"""How each operator becomes instructions."""


def lowers(*operators: type[OperatorT]) -> Callable[[Lowering[OperatorT]], Lowering[OperatorT]]:
    """Register the lowering of these operators and of classes derived from them."""

    def register(function: Lowering[OperatorT]) -> Lowering[OperatorT]:
        for cls in operators:
            LOWERINGS[cls] = function
        return function

    return register


def lowering_of(cls: type[Operator]) -> Lowering[Any] | None:
    """The lowering of a class, that of its nearest base."""
    return next((LOWERINGS[base] for base in cls.__mro__ if base in LOWERINGS), None)
