"""Passes over modules: one file a pass, all of them listed here.

``PASSES`` maps the name of each pass, as pipelines spell it, to its class.
"""

from .base import Pass, Record, Verification
from .canonicalize import Canonicalize
from .check_device_memory import CheckDeviceMemory, check_device_memory
from .check_memory_plan import CheckMemoryPlan, check_memory_plan
from .cpu_layout import CpuLayout
from .depthwise_affine import DepthwiseAffine
from .drop_rounding import DropRounding
from .eliminate_common_subexpressions import EliminateCommonSubexpressions
from .eliminate_dead_code import EliminateDeadCode
from .fold_constants import FoldConstants
from .fuse import Fuse
from .import_quantization import ImportQuantization
from .instruments import Dump, Instrument, Print, Timing, instruments_from_environment, load_dump
from .isolate_outputs import IsolateOutputs
from .lower_for_device import LowerForDevice
from .memory_plan import MemoryPlan
from .outline_device import OutlineDevice
from .partition import Partition
from .pipeline import Pipeline
from .place_on_cpu import PlaceOnCpu
from .plan_device_memory import PlanDeviceMemory
from .prove_accumulators import ProveAccumulators
from .quantize import Quantize
from .tile_device import TileDevice
from .unique_names import UniqueNames

PASSES: dict[str, type[Pass]] = {
    cls.name: cls
    for cls in (
        Canonicalize,
        CheckDeviceMemory,
        CheckMemoryPlan,
        CpuLayout,
        DepthwiseAffine,
        DropRounding,
        EliminateCommonSubexpressions,
        EliminateDeadCode,
        FoldConstants,
        Fuse,
        ImportQuantization,
        IsolateOutputs,
        LowerForDevice,
        MemoryPlan,
        OutlineDevice,
        Partition,
        PlaceOnCpu,
        PlanDeviceMemory,
        ProveAccumulators,
        Quantize,
        TileDevice,
        UniqueNames,
    )
}

__all__ = [
    "PASSES",
    "Canonicalize",
    "CheckDeviceMemory",
    "CheckMemoryPlan",
    "CpuLayout",
    "DepthwiseAffine",
    "DropRounding",
    "Dump",
    "EliminateCommonSubexpressions",
    "EliminateDeadCode",
    "FoldConstants",
    "Fuse",
    "ImportQuantization",
    "Instrument",
    "IsolateOutputs",
    "LowerForDevice",
    "MemoryPlan",
    "OutlineDevice",
    "Partition",
    "Pass",
    "Pipeline",
    "PlaceOnCpu",
    "PlanDeviceMemory",
    "Print",
    "ProveAccumulators",
    "Quantize",
    "Record",
    "TileDevice",
    "Timing",
    "UniqueNames",
    "Verification",
    "check_device_memory",
    "check_memory_plan",
    "instruments_from_environment",
    "load_dump",
]
