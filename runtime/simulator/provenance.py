"""Where the bytes of the weight and parameter scratchpads come from, found before anything runs.

The order of a verified program is fixed, so for every instruction that reads weights or parameters it is known which
bytes of which constant region they are. The engine decodes such bytes once and keeps the result, and skips gathering
an input map again that it has just gathered. Scales and multipliers among them are numbers that a hardware multiplier
can take: finite and not negative. What a program could make of its inputs is refused, because nobody could say
beforehand what it will be.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..isa.accesses import MemoryAccess, Space
from ..isa.encoding import Instruction, Stream
from ..isa.layouts import unpack_normalization, unpack_record, unpack_requantize
from ..isa.matrix import Convolve
from ..isa.normalization import Normalize
from ..isa.program import RegionKind, fault
from ..isa.transfer import LINE, LoadLines
from ..isa.vector import REQUANTIZE_BLOCK_BYTES, Elementwise, ElementwiseKind, Pool, PoolKind, Requantize
from ..machines.machine import MAPS_UNIT
from .verifier import VerifiedProgram


class Origin(NamedTuple):
    """Bytes of a constant region of a card."""

    card: int
    region: int
    start: int
    size: int


class Sources(NamedTuple):
    """What is known of one instruction.
    ``origin``: of the weights or parameters that it reads, or None if the bytes do not come from one piece of a
    constant region.
    ``same_input``: the input map is the one that the matrix instruction before it gathered."""

    origin: Origin | None
    same_input: bool


def trace_sources(verified: VerifiedProgram) -> dict[tuple[Stream, int], Sources]:
    """Sources of every instruction that reads weights or parameters."""
    machine = verified.machine
    sizes = {Space.WEIGHTS: machine.weight_bytes, Space.PARAMETERS: machine.parameter_bytes}
    clusters = [(card, each) for card, program in enumerate(verified.programs) for each in range(program.clusters)]
    lines = {(space, *each): np.full(size // LINE, -1, np.int64) for space, size in sizes.items() for each in clusters}
    constant = [[region.kind == RegionKind.CONSTANT for region in each.regions] for each in verified.programs]
    inputs = {(card, each): _InputReuse(machine.maps_bytes, each) for card, each in clusters}
    sources: dict[tuple[Stream, int], Sources] = {}
    for step, (stream, index) in enumerate(verified.order):
        item, card = verified.queues[stream][index], stream.card
        accesses = item.accesses(stream.cluster)
        if isinstance(item, LoadLines):
            for access in accesses:
                if access.write:
                    _load(item, lines[access.space, card, access.cluster], constant[card])
            continue
        for access in accesses:
            if access.write and access.space == Space.WEIGHTS:
                # What a program makes of its inputs is none of a constant region.
                lines[access.space, card, access.cluster][access.start // LINE : -(-access.stop // LINE)] = -1
        read = constants_read(accesses)
        if read is not None:
            origin = _origin(card, read, lines[read.space, card, read.cluster])
            sources[stream, index] = Sources(origin, inputs[card, stream.cluster].same(item, accesses))
        for each in {access.cluster for access in accesses if access.space == Space.MAPS and access.write}:
            inputs[card, each].note(step, accesses)
    return sources


def constants_read(accesses: Sequence[MemoryAccess]) -> MemoryAccess | None:
    """The weights or parameters among what an instruction touches; none reads two ranges of them."""
    constants = (each for each in accesses if each.space in (Space.WEIGHTS, Space.PARAMETERS) and not each.write)
    return next(constants, None)


def _load(item: LoadLines, lines: NDArray[np.int64], constant: list[bool]) -> None:
    span = slice(item.destination, item.destination + item.length)
    if constant[item.region]:
        lines[span] = (item.region << 40) + item.offset + np.arange(item.length)
    else:
        lines[span] = -1


def _origin(card: int, access: MemoryAccess, lines: NDArray[np.int64]) -> Origin | None:
    span = lines[access.start // LINE : -(-access.stop // LINE)]
    first = int(span[0])
    if first < 0 or not np.array_equal(span, np.arange(first, first + len(span))):
        return None
    return Origin(card, first >> 40, (first & (1 << 40) - 1) * LINE, access.stop - access.start)


class _InputReuse:
    """Notices a matrix instruction that reads the input of the one before in its cluster, unchanged in between."""

    def __init__(self, maps_bytes: int, cluster: int) -> None:
        self._cluster = cluster
        self._written = np.zeros(-(-maps_bytes // MAPS_UNIT), np.int64)
        self._step = 0
        self._key: tuple[object, ...] = ()
        self._since = 0

    def same(self, item: Instruction, accesses: tuple[MemoryAccess, ...]) -> bool:
        if not isinstance(item, Convolve):
            return False
        key = input_key(item)
        maps = [access for access in accesses if access.space == Space.MAPS]
        latest = max((int(self._span(access).max()) for access in maps), default=0)
        same = key == self._key and latest <= self._since
        if not same:
            self._key, self._since = key, self._step
        return same

    def note(self, step: int, accesses: tuple[MemoryAccess, ...]) -> None:
        self._step = step + 1
        for access in accesses:
            if access.space == Space.MAPS and access.write and access.cluster == self._cluster:
                self._span(access)[:] = self._step

    def _span(self, access: MemoryAccess) -> NDArray[np.int64]:
        return self._written[access.start // MAPS_UNIT : -(-access.stop // MAPS_UNIT)]


def input_key(item: Convolve) -> tuple[object, ...]:
    """Everything that determines the gathered input of a convolution besides the memory."""
    return (
        *(item.source, item.output_height, item.output_width, item.read, item.wide, item.kernel_height),
        *(item.kernel_width, item.stride_height, item.stride_width, item.dilation_height, item.dilation_width),
        *(item.input_height, item.input_width, item.row_origin, item.column_origin, item.pad_value, item.row_pitch),
        *(item.pitch, item.ring),
    )


_SIGNED = ("gain", "offset")
"""Numbers of parameters that may be negative."""

_Words = Mapping[str, NDArray[np.float32]]


def check_multipliers(
    verified: VerifiedProgram,
    sources: Mapping[tuple[Stream, int], Sources],
    constants: Sequence[Mapping[str, NDArray[np.uint8]]],
) -> None:
    """Look at the parameters of every instruction that scales.
    ``verified``: the program.
    ``sources``: where its weights and parameters come from.
    ``constants``: for each card, contents of its constant regions by name.
    Raises InstructionError: parameters do not come from one piece of a constant region, or hold a scale or
    multiplier that is not a number, infinite, negative, or a divisor of 0."""
    seen: set[tuple[Origin, object]] = set()
    for (stream, index), found in sources.items():
        item = verified.queues[stream][index]
        read = _reader(item)
        if read is None:
            continue
        origin = found.origin
        if origin is None:
            raise fault(
                *(stream, index, item, "parameters", "bytes that were not loaded at once from a constant region"),
                "parameters are one piece of a constant region",
            )
        if (origin, read) in seen:
            continue
        seen.add((origin, read))
        name = verified.programs[origin.card].regions[origin.region].name
        wrong = _wrong(read(constants[origin.card][name][origin.start : origin.start + origin.size]))
        if wrong is not None:
            raise fault(
                *(stream, index, item, "parameters"),
                f"{wrong}, in the parameters from byte {origin.start} of region {name!r}",
                "multipliers and scales are finite and not negative, and what divides is not 0",
            )


def _wrong(words: _Words) -> str | None:
    """The first number that is none of a multiplier or scale, and its name."""
    for name, values in words.items():
        bad = ~(np.isfinite(values) & ((values >= 0) | (name in _SIGNED)))
        if name == "scale_output":
            bad |= values == 0
        if bad.any():
            which = f"{name} {np.argmax(bad)}" if values.size > 1 else name
            return f"{which} is {values[np.argmax(bad)]}"
    return None


def _reader(item: Instruction) -> Callable[[NDArray[np.uint8]], _Words] | None:
    """How to get what an instruction multiplies or divides by out of its parameters; None if it does neither."""
    if isinstance(item, Requantize):
        return _requantize
    if isinstance(item, Normalize):
        return _normalization
    if isinstance(item, Pool):
        return {PoolKind.AVERAGE: _average, PoolKind.SUM: _multiplier}.get(PoolKind(item.kind))
    if isinstance(item, Elementwise) and item.kind in (ElementwiseKind.MULTIPLY, ElementwiseKind.WIDE_MULTIPLY):
        return _multiplier
    return None


def _requantize(data: NDArray[np.uint8]) -> _Words:
    return {"multiplier": unpack_requantize(data, data.size // REQUANTIZE_BLOCK_BYTES)[1]}


def _normalization(data: NDArray[np.uint8]) -> _Words:
    lanes = unpack_normalization(data)
    return {"gain": lanes.gain, "offset": lanes.offset}


def _record(data: NDArray[np.uint8], *names: str) -> _Words:
    record = unpack_record(data.tobytes())
    return {name: np.array([record[name]], np.float32) for name in names}


def _average(data: NDArray[np.uint8]) -> _Words:
    return _record(data, "scale_a", "scale_output")


def _multiplier(data: NDArray[np.uint8]) -> _Words:
    return _record(data, "multiplier")
