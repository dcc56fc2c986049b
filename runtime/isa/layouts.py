"""The memories that instructions touch, their sizes, which field of an instruction says where; and how weights,
parameters and tables lie in them: ``docs/isa.md`` describes the same in prose.

Packing functions serve the code generator, their inverses the simulator. All of them are exact inverses on what they
keep; padding lanes are filled with a given value going in and dropped coming out.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..machines.machine import ACCUMULATOR_UNIT, CHANNEL_BLOCK, MAPS_UNIT, PARAMETER_UNIT, WEIGHT_UNIT, Machine
from .accesses import MemoryAccess, Space
from .encoding import Instruction, Stream, Violation
from .normalization import NORMALIZE_BLOCK_BYTES
from .program import Region, RegionKind
from .vector import RECORD_BYTES, REQUANTIZE_BLOCK_BYTES, TABLE_BYTES, WIDE_TABLE_BYTES

SCRATCHPAD_UNITS = {
    Space.MAPS: MAPS_UNIT,
    Space.WEIGHTS: WEIGHT_UNIT,
    Space.ACCUMULATORS: ACCUMULATOR_UNIT,
    Space.PARAMETERS: PARAMETER_UNIT,
}
"""Bytes of a unit of each scratchpad: addresses are multiples of it, and every write covers whole ones."""

_FIELD_OF = {Space.WEIGHTS: "weights", Space.ACCUMULATORS: "accumulator", Space.PARAMETERS: "parameters"}


def scratchpad_bytes(machine: Machine) -> dict[Space, int]:
    """Sizes of the scratchpads of a cluster."""
    return {
        Space.MAPS: machine.maps_bytes,
        Space.WEIGHTS: machine.weight_bytes,
        Space.ACCUMULATORS: machine.accumulator_bytes,
        Space.PARAMETERS: machine.parameter_bytes,
    }


def outside(
    item: Instruction,
    stream: Stream,
    clusters: int,
    machine: Machine,
    regions: Sequence[Region],
    accesses: Sequence[MemoryAccess] | None = None,
) -> Violation | None:
    """The first access that leaves its memory or region or the clusters of the program, or writes where nothing may be.
    ``stream``: the one that runs the instruction.
    ``clusters``: how many the program uses.
    ``accesses``: of the instruction, if they are known."""
    misplaced = item.misplaced(stream.cluster)
    if misplaced:
        return misplaced
    sizes = scratchpad_bytes(machine)
    for access in item.accesses(stream.cluster) if accesses is None else accesses:
        if access.space == Space.DRAM:
            if access.region >= len(regions):
                return Violation("region", access.region, f"there are {len(regions)} regions")
            region = regions[access.region]
            if access.write and region.kind in (RegionKind.CONSTANT, RegionKind.INPUT):
                rule = f"region {region.name!r} ({region.kind.value}) is never written"
                return Violation("region", access.region, rule)
            size = region.size
        else:
            if access.cluster >= clusters:
                rule = f"the mask names clusters of the program, which has {clusters}"
                return Violation("clusters", f"cluster {access.cluster}", rule)
            size = sizes[access.space]
        if access.stop > size:
            field, memory = place_of(item, access, regions)
            rule = f"{'written' if access.write else 'read'} bytes lie inside the {size} of {memory}"
            return Violation(field, f"bytes {access.start} to {access.stop}", rule)
    return None


def place_of(item: Instruction, access: MemoryAccess, regions: Sequence[Region]) -> tuple[str, str]:
    """The field that holds the address of an access, as far as one can be named, and the memory in words."""
    if access.space == Space.DRAM:
        return "offset", f"region {regions[access.region].name!r}"
    memory = f"the {access.space.name.lower()} scratchpad"
    if access.space == Space.MAPS:
        if access.write:
            return "destination", memory
        if hasattr(item, "source"):
            return "source", memory
        first = getattr(item, "source_a", -1) * MAPS_UNIT == access.start
        return ("source_a" if first else "source_b"), memory
    name = _FIELD_OF[access.space]
    if access.space == Space.PARAMETERS and not access.write:
        return ("table" if hasattr(item, "table") else name), memory
    return (name if hasattr(item, name) else "destination"), memory


_INTEGERS = ("zero_a", "zero_b", "zero_output", "offset", "multiplier_a", "multiplier_b", "shift")
_REALS = ("scale_a", "scale_output", "multiplier")
RECORD_WORDS = (*_INTEGERS, *_REALS)
_RECORD = np.dtype([*((name, "<i4") for name in _INTEGERS), *((name, "<f4") for name in _REALS), ("reserved", "V24")])


def _blocks(channels: int) -> int:
    return -(-channels // CHANNEL_BLOCK)


def dense_bytes(outputs: int, inputs: int, rows: int, columns: int, *, packed: bool) -> int:
    """Size of what :func:`pack_dense` makes of weights for so many channels and kernel rows and columns."""
    inputs = inputs if packed else _blocks(inputs) * CHANNEL_BLOCK
    return _blocks(outputs) * CHANNEL_BLOCK * _blocks(rows * columns * inputs) * CHANNEL_BLOCK


def depthwise_bytes(channels: int, products: int) -> int:
    """Size of what :func:`pack_depthwise` makes of kernels of so many weights a channel."""
    return _blocks(channels) * -(-products * CHANNEL_BLOCK // WEIGHT_UNIT) * WEIGHT_UNIT


def requantize_bytes(channels: int) -> int:
    """Size of what :func:`pack_requantize` makes of the parameters of so many channels."""
    return _blocks(channels) * REQUANTIZE_BLOCK_BYTES


def normalization_bytes(channels: int) -> int:
    """Size of what :func:`pack_normalization` makes of the parameters of so many channels."""
    return _blocks(channels) * NORMALIZE_BLOCK_BYTES


def pack_dense(weights: NDArray[np.int8], *, weight_zero: int, packed: bool) -> bytes:
    """Weights for CONV.
    ``weights``: int8 [output channels, kernel rows, kernel columns, input channels].
    ``weight_zero``: value of the padding lanes, so that they count as zero.
    ``packed``: for packed mode: input channels are not padded to 16, only all kernel rows together are.
    Returns [output block][trace][16 output channels], where a trace is the kernel rows times the kernel columns
    times the input channels, rounded up to a multiple of 16."""
    outputs, rows, columns, inputs = weights.shape
    if not packed:
        extra = -inputs % CHANNEL_BLOCK
        weights = np.pad(weights, ((0, 0), (0, 0), (0, 0), (0, extra)), constant_values=weight_zero)
        inputs += extra
    length = rows * columns * inputs
    block = np.full((_blocks(outputs) * CHANNEL_BLOCK, _blocks(length) * CHANNEL_BLOCK), weight_zero, np.int8)
    block[:outputs, :length] = weights.reshape(outputs, length)
    return block.reshape(-1, CHANNEL_BLOCK, block.shape[1]).transpose(0, 2, 1).tobytes()


def unpack_dense(data: NDArray[np.uint8], output_blocks: int, length: int) -> NDArray[np.int8]:
    """Inverse of ``pack_dense`` as a matrix: int8 [length, output_blocks * 16], ``length`` = trace unpadded."""
    trace = _blocks(length) * CHANNEL_BLOCK
    block = data.view(np.int8).reshape(output_blocks, trace, CHANNEL_BLOCK)[:, :length]
    return block.transpose(1, 0, 2).reshape(length, output_blocks * CHANNEL_BLOCK)


def pack_depthwise(weights: NDArray[np.int8], *, weight_zero: int = 0) -> bytes:
    """Weights for DWC: int8 [channels, kernel rows, kernel columns, channels of a group] to [block][window][16
    channels], blocks on lines."""
    channels = len(weights)
    products = weights[0].size
    stride = depthwise_bytes(1, products)
    block = np.full((_blocks(channels) * CHANNEL_BLOCK, products), weight_zero, np.int8)
    block[:channels] = weights.reshape(channels, products)
    lines = np.zeros((_blocks(channels), stride), np.int8)
    columns = block.reshape(-1, CHANNEL_BLOCK, products).transpose(0, 2, 1)
    lines[:, : products * CHANNEL_BLOCK] = columns.reshape(len(lines), -1)
    return lines.tobytes()


def unpack_depthwise(data: NDArray[np.uint8], blocks: int, products: int) -> NDArray[np.int8]:
    """Inverse of ``pack_depthwise`` as int8 [products, blocks * 16]."""
    lines = data.view(np.int8).reshape(blocks, -1)[:, : products * CHANNEL_BLOCK]
    return lines.reshape(blocks, products, CHANNEL_BLOCK).transpose(1, 0, 2).reshape(products, blocks * CHANNEL_BLOCK)


def pack_requantize(bias: NDArray[np.int32], multiplier: NDArray[np.float32]) -> bytes:
    """Parameters of RQ: for each block of 16 channels 16 int32 biases, then 16 binary32 multipliers; 128 bytes.
    ``bias``: int32 [channels].
    ``multiplier``: float32 [channels] or [1], finite and not negative."""
    blocks = _blocks(len(bias))
    lanes = np.zeros((2, blocks * CHANNEL_BLOCK), "<i4")
    lanes[0, : len(bias)] = bias
    lanes[1, : len(bias)] = np.broadcast_to(np.asarray(multiplier, "<f4"), bias.shape).view("<i4")
    return lanes.reshape(2, blocks, CHANNEL_BLOCK).transpose(1, 0, 2).tobytes()


def unpack_requantize(data: NDArray[np.uint8], blocks: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Inverse of ``pack_requantize``: int32 and float32 [blocks * 16]."""
    lanes = np.ascontiguousarray(data.view("<i4").reshape(blocks, 2, CHANNEL_BLOCK).transpose(1, 0, 2))
    return lanes[0].reshape(-1), lanes[1].reshape(-1).view("<f4")


class NormalizationParameters(NamedTuple):
    """What NRM multiplies with and adds, by channel: int16 multipliers of both maps, binary32 gain and offset."""

    multiplier: NDArray[np.integer]
    skip_multiplier: NDArray[np.integer]
    gain: NDArray[np.float32]
    offset: NDArray[np.float32]


_NORMALIZATION = np.dtype(
    [(name, "<i2" if "multiplier" in name else "<f4", CHANNEL_BLOCK) for name in NormalizationParameters._fields]
)


def pack_normalization(parameters: NormalizationParameters) -> bytes:
    """Parameters of NRM: for each block of 16 channels 16 int16 multipliers of the map, 16 of the one that is added,
    16 binary32 gains, 16 offsets; 192 bytes. All are finite."""
    channels = len(parameters.gain)
    lanes = np.zeros(_blocks(channels), _NORMALIZATION)
    for name, values in parameters._asdict().items():
        lanes[name] = np.pad(values, (0, -channels % CHANNEL_BLOCK)).reshape(-1, CHANNEL_BLOCK)
    return lanes.tobytes()


def unpack_normalization(data: NDArray[np.uint8]) -> NormalizationParameters:
    """Inverse of ``pack_normalization``: [blocks * 16] each, multipliers as int32."""
    lanes = np.frombuffer(data.tobytes(), _NORMALIZATION)
    first, second, gain, offset = (lanes[name].reshape(-1) for name in NormalizationParameters._fields)
    return NormalizationParameters(first.astype(np.int32), second.astype(np.int32), gain, offset)


def pack_record(**words: float) -> bytes:
    """The 64-byte record of POOL and ELT; words that are not given are 0 (see ``RECORD_WORDS``)."""
    record = np.zeros((), _RECORD)
    for name, value in words.items():
        record[name] = value
    return record.tobytes()


def unpack_record(data: bytes) -> dict[str, int | np.float32]:
    """Inverse of ``pack_record``: integers as int, scales and multiplier as float32."""
    record = np.frombuffer(data, _RECORD, 1)[0]
    return {name: int(record[name]) if _RECORD[name].kind == "i" else np.float32(record[name]) for name in RECORD_WORDS}


def pack_table(values: NDArray[np.int8] | NDArray[np.int32]) -> bytes:
    """A table for LUT: entry i, int8 [256], is the result for the value i - 128; or knots of maps of 16 bits, int32
    [720]."""
    data = values.astype(values.dtype.newbyteorder("<")).tobytes()
    assert len(data) in (TABLE_BYTES, WIDE_TABLE_BYTES)
    return data


def unpack_wide_table(data: NDArray[np.uint8]) -> NDArray[np.int32]:
    """The knots, of which 20 bits count."""
    return (data.view("<i4").astype(np.int32) << 12) >> 12


assert _RECORD.itemsize == RECORD_BYTES == PARAMETER_UNIT
