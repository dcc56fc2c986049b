"""The instruction set: one table from which encoder, decoder, disassembler, verifier and ``docs/isa.md`` come.

``encoding`` says how fields become bits, ``transfer``, ``matrix``, ``vector``, ``resize``, ``attention`` and
``normalization`` declare the instructions, ``layouts`` packs what they read, ``program`` is the file form of a whole
program. Write ``docs/isa.md`` anew by ``python tools/make_documents.py isa`` after a change.
"""

from ..machines.machine import ACCUMULATOR_UNIT, CHANNEL_BLOCK, MAPS_UNIT, PARAMETER_UNIT, WEIGHT_UNIT
from .assembler import Assembler, build
from .attention import MoveWeights, RequantizeMean, Weigh
from .encoding import (
    COUNTER_LIMIT,
    COUNTERS,
    INSTRUCTION_BYTES,
    WAITS,
    Barrier,
    End,
    Instruction,
    MemoryAccess,
    Queue,
    Space,
    Stream,
    Wait,
    check,
    decode,
    disassemble,
    encode,
    encoded_fields,
    streams,
    table,
)
from .layouts import (
    NormalizationParameters,
    pack_dense,
    pack_depthwise,
    pack_normalization,
    pack_record,
    pack_requantize,
    pack_table,
)
from .matrix import Convolve, ConvolveDepthwise
from .normalization import Normalize
from .program import Program, Region, RegionKind
from .resize import ResizeLinear, ResizeNearest
from .transfer import LoadMaps, LoadParameters, LoadWeights, Move, Receive, Send, Store
from .vector import (
    Elementwise,
    ElementwiseKind,
    LookUp,
    Pool,
    PoolKind,
    Requantize,
    RequantizeSum,
    RequantizeWide,
)

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
