"""The functional engine: runs the binary instructions of device programs, bit-exact and vectorised.

There is one for each card, and those that run together are one thing here. Loading verifies them and turns every
instruction into one call with all that can be known beforehand: weights and parameters that come from constant regions
are decoded once, at first use, and kept. A run executes the calls in the verified order on memories of its own, so that
one engine serves several threads.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from tilewright.errors import ResourceError
from tilewright.limits import DEVICE_STEPS

from ..isa.attention import MoveWeights, Weigh
from ..isa.encoding import Instruction, Stream
from ..isa.layouts import unpack_normalization, unpack_record, unpack_requantize, unpack_wide_table
from ..isa.matrix import Convolve, ConvolveDepthwise
from ..isa.normalization import Normalize
from ..isa.program import Program, RegionKind
from ..isa.resize import ResizeLinear, ResizeNearest
from ..isa.transfer import LoadLines, LoadMaps, LoadParameters, LoadWeights, Message, Move, Receive, Send, Store
from ..isa.vector import Elementwise, ElementwiseKind, LookUp, MapInstruction, Pool, PoolKind, Requantize
from ..machines.machine import CHANNEL_BLOCK, Machine
from . import matrix, transfer, vector
from .arithmetic import elementwise_table
from .memory import CardMemory, Memory, connect, constant_regions
from .provenance import Origin, Sources, check_multipliers, constants_read, trace_sources
from .verifier import VerifiedProgram, verify_cards

Call = Callable[[Memory], None]
Decoded = TypeVar("Decoded")

# Decoded weights take four bytes for one, a table of two operands 64 KiB. One piece of a region can be decoded in many
# ways, and not all of them are kept.
_DECODED_BASE, _DECODED_SHARE, _DECODED_TABLE = 1 << 28, 4, 1 << 16

# Instructions that need nothing but the memories.
_PLAIN: dict[type[Instruction], Callable[[Memory, Any], None]] = {
    LoadMaps: transfer.load_maps,
    LoadWeights: transfer.load_lines,
    LoadParameters: transfer.load_lines,
    Store: transfer.store,
    Move: transfer.move,
    MoveWeights: vector.move_weights,
    Weigh: vector.weigh,
    ResizeLinear: vector.resize_linear,
    ResizeNearest: vector.resize_nearest,
}


class CardsEngine:
    """The loaded device programs of the cards that run together.

    Args:
        programs: in binary form, by card.
        machine: what they shall run on.
        constants: for each card, uint8 arrays for the constant regions by name; kept and read in place.

    Raises:
        MachineError: a program was made for another machine, or this one has not so many cards.
        InstructionError: a program is malformed or unsafe, or scales by what is no scale.
        InputError: a constant region is missing or has the wrong size.
        ResourceError: they are larger or would take longer than the limits allow.
    """

    def __init__(
        self, programs: Sequence[Program], machine: Machine, constants: Sequence[Mapping[str, NDArray[np.uint8]]]
    ) -> None:
        self.programs = tuple(programs)
        self.verified: VerifiedProgram = verify_cards(self.programs, machine)
        self._constants = [constant_regions(*each) for each in zip(self.programs, constants, strict=True)]
        _check_steps(self.verified)
        self._decoded: dict[Hashable, Any] = {}
        sizes = (data.size for regions in self._constants for data in regions.values())
        self._room = _DECODED_BASE + _DECODED_SHARE * sum(sizes)
        sources = trace_sources(self.verified)
        check_multipliers(self.verified, sources, self._constants)
        self._calls: list[tuple[int, int, Call]] = []
        for stream, index in self.verified.order:
            call = self._call(stream, index, sources.get((stream, index)))
            if call is not None:
                self._calls.append((stream.card, stream.cluster, call))

    def run(self, contents: Sequence[Mapping[str, NDArray[np.uint8]]]) -> list[dict[str, NDArray[np.uint8]]]:
        """Execute the programs.
        ``contents``: for each card, uint8 arrays for the input regions, by name, and for output regions that shall be
        written in place; others are made here.
        Returns for each card, uint8 arrays of the output regions, by name."""
        each = zip(self.programs, contents, self._constants, strict=True)
        memories = [CardMemory(program, {**given, **constants}) for program, given, constants in each]
        self.execute(memories)
        return [
            {
                region.name: data
                for region, data in zip(program.regions, memory.regions, strict=True)
                if region.kind == RegionKind.OUTPUT
            }
            for program, memory in zip(self.programs, memories, strict=True)
        ]

    def execute(self, memories: Sequence[CardMemory]) -> None:
        """Execute the programs on given memories, which must have been made for them."""
        connect(memories)
        # Multipliers are as large as a binary32 can be: what overflows is clamped, and no concern of NumPy's.
        with np.errstate(all="ignore"):
            for card, cluster, call in self._calls:
                call(memories[card].clusters[cluster])

    def _call(self, stream: Stream, index: int, sources: Sources | None) -> Call | None:
        """The call that executes an instruction; None if it does nothing but synchronise."""
        item = self.verified.queues[stream][index]
        if isinstance(item, Send):
            other, position = self.verified.receives[stream, index]
            receive = self.verified.queues[other][position]
            assert isinstance(receive, Receive)
            return lambda memory: transfer.send(memory, item, receive)
        plain = _PLAIN.get(type(item))
        if plain is not None:
            return lambda memory: plain(memory, item)
        if isinstance(item, Pool) and PoolKind(item.kind).is_maximum:
            return lambda memory: vector.pool(memory, item, None)
        return self._decoding_call(item, sources) if sources is not None else None

    def _decoding_call(self, item: Instruction, sources: Sources) -> Call:
        """The call for an instruction that reads weights or parameters."""
        origin = sources.origin
        if isinstance(item, Convolve):
            key = matrix.dense_key(item)
            dense = self._reader(item, origin, key, lambda data: matrix.decode_dense(data, *key))
            return lambda memory: matrix.multiply(memory, item, dense(memory), sources.same_input)
        if isinstance(item, ConvolveDepthwise):
            key = (item.outputs, item.products, item.weight_zero)
            taps = self._reader(item, origin, key, lambda data: matrix.decode_depthwise(data, item))
            return lambda memory: matrix.multiply_depthwise(memory, item, taps(memory))
        if isinstance(item, Requantize):
            pair = self._reader(item, origin, ("RQ",), lambda data: unpack_requantize(data, item.blocks))
            return lambda memory: vector.requantize(memory, item, pair(memory))
        if isinstance(item, Normalize):
            lanes = self._reader(item, origin, ("NRM",), unpack_normalization)
            return lambda memory: vector.normalize(memory, item, lanes(memory))
        if isinstance(item, Pool):
            record = self._reader(item, origin, ("POOL",), lambda data: unpack_record(data.tobytes()))
            return lambda memory: vector.pool(memory, item, record(memory))
        if isinstance(item, Elementwise) and item.kind == ElementwiseKind.WIDE_MULTIPLY:
            words = self._reader(item, origin, ("POOL",), lambda data: unpack_record(data.tobytes()))
            return lambda memory: vector.multiply_wide(memory, item, words(memory))
        if isinstance(item, Elementwise):
            key = ("ELT", item.kind, item.low, item.high)

            def results(data: NDArray[np.uint8]) -> NDArray[np.int8]:
                return elementwise_table(item.kind, unpack_record(data.tobytes()), item.low, item.high)

            every = self._reader(item, origin, key, results)
            return lambda memory: vector.elementwise(memory, item, every(memory))
        if isinstance(item, LookUp) and item.wide:
            knots = self._reader(item, origin, ("LUT", "wide"), unpack_wide_table)
            return lambda memory: vector.interpolate(memory, item, knots(memory))
        if isinstance(item, LookUp):
            table = self._reader(item, origin, ("LUT",), vector.by_byte)
            return lambda memory: vector.look_up(memory, item, table(memory))
        raise NotImplementedError(item.MNEMONIC)

    def _reader(
        self,
        item: Instruction,
        origin: Origin | None,
        key: tuple[Hashable, ...],
        decode: Callable[[NDArray[np.uint8]], Decoded],
    ) -> Callable[[Memory], Decoded]:
        """How an instruction gets its decoded weights or parameters: kept if constant, else from the scratchpad."""
        if origin is not None:
            region = self._constants[origin.card][self.programs[origin.card].regions[origin.region].name]
            data = region[origin.start : origin.start + origin.size]
            whole = (origin, *key)

            def constant(_: Memory) -> Decoded:
                found = self._decoded.get(whole)
                if found is None:
                    found = decode(data)
                    size = max(_DECODED_SHARE * data.size, _DECODED_TABLE)
                    if size <= self._room:
                        self._room -= size
                        self._decoded[whole] = found
                return found

            return constant
        # Where in its scratchpads an instruction reads is the same in every cluster.
        access = constants_read(item.accesses(0))
        assert access is not None

        def loaded(memory: Memory) -> Decoded:
            return decode(memory.lines[access.space][access.start : access.stop])

        return loaded


def _check_steps(verified: VerifiedProgram) -> None:
    """Refuse what would run for hours."""
    total = sum(_steps(item) for items in verified.queues.values() for item in items)
    if total > DEVICE_STEPS:
        raise ResourceError(
            "the device program takes too long to simulate", expected=f"at most {DEVICE_STEPS} steps", found=total
        )


def _steps(item: Instruction) -> int:
    """Elements that an instruction multiplies, combines or moves."""
    if isinstance(item, (Convolve, ConvolveDepthwise)):
        return item.macs
    if isinstance(item, MapInstruction):
        taps = item.kernel_height * item.kernel_width if isinstance(item, Pool) else 1
        return item.height * item.width * item.blocks * CHANNEL_BLOCK * taps
    if isinstance(item, (LoadMaps, LoadLines, Move)):
        moved = item.moved_bytes if isinstance(item, Move) else item.dram_bytes
        return moved * max(item.clusters.bit_count(), 1)
    if isinstance(item, MoveWeights):
        return item.moved_bytes
    return item.dram_bytes if isinstance(item, (Store, Message)) else 0
