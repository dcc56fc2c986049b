"""The instruction set under one name, as tests write programs: ``import instruction_set as isa``."""

from tilewright.runtime.isa.accesses import MemoryAccess, Space
from tilewright.runtime.isa.assembler import Assembler, build
from tilewright.runtime.isa.attention import MoveWeights, RequantizeMean, Weigh
from tilewright.runtime.isa.encoding import (
    COUNTER_LIMIT,
    COUNTERS,
    INSTRUCTION_BYTES,
    WAITS,
    Barrier,
    End,
    Instruction,
    Queue,
    Stream,
    Wait,
    check,
    decode,
    disassemble,
    encode_checked,
    encoded_fields,
    refuse_violations,
    streams,
    table,
)
from tilewright.runtime.isa.layouts import (
    NormalizationParameters,
    pack_dense,
    pack_depthwise,
    pack_normalization,
    pack_record,
    pack_requantize,
    pack_table,
)
from tilewright.runtime.isa.matrix import Convolve, ConvolveDepthwise
from tilewright.runtime.isa.normalization import Normalize
from tilewright.runtime.isa.program import Program, Region, RegionKind
from tilewright.runtime.isa.resize import ResizeLinear, ResizeNearest
from tilewright.runtime.isa.transfer import LoadMaps, LoadParameters, LoadWeights, Move, Receive, Send, Store
from tilewright.runtime.isa.vector import (
    Elementwise,
    ElementwiseKind,
    LookUp,
    Pool,
    PoolKind,
    Requantize,
    RequantizeSum,
    RequantizeWide,
)
from tilewright.runtime.machines.machine import ACCUMULATOR_UNIT, CHANNEL_BLOCK, MAPS_UNIT, PARAMETER_UNIT, WEIGHT_UNIT


def encode(item: Instruction) -> bytes:
    """The 64 bytes of an instruction, with its own waits and signal. Raises InstructionError: it breaks a rule."""
    refuse_violations(item)
    return encode_checked(item, item.waits, item.signal)


__all__ = [
    "ACCUMULATOR_UNIT",
    "CHANNEL_BLOCK",
    "COUNTERS",
    "COUNTER_LIMIT",
    "INSTRUCTION_BYTES",
    "MAPS_UNIT",
    "PARAMETER_UNIT",
    "WAITS",
    "WEIGHT_UNIT",
    "Assembler",
    "Barrier",
    "Convolve",
    "ConvolveDepthwise",
    "Elementwise",
    "ElementwiseKind",
    "End",
    "Instruction",
    "LoadMaps",
    "LoadParameters",
    "LoadWeights",
    "LookUp",
    "MemoryAccess",
    "Move",
    "MoveWeights",
    "NormalizationParameters",
    "Normalize",
    "Pool",
    "PoolKind",
    "Program",
    "Queue",
    "Receive",
    "Region",
    "RegionKind",
    "Requantize",
    "RequantizeMean",
    "RequantizeSum",
    "RequantizeWide",
    "ResizeLinear",
    "ResizeNearest",
    "Send",
    "Space",
    "Store",
    "Stream",
    "Wait",
    "Weigh",
    "build",
    "check",
    "decode",
    "disassemble",
    "encode",
    "encoded_fields",
    "pack_dense",
    "pack_depthwise",
    "pack_normalization",
    "pack_record",
    "pack_requantize",
    "pack_table",
    "streams",
    "table",
]
