"""Passes over modules: one file a pass, all of them listed here.

``PASSES`` maps the name of each pass, as pipelines spell it, to its class.
"""

from .base import Pass, Record, Verification
from .canonicalize import Canonicalize
from .check_memory_plan import CheckMemoryPlan, check_memory_plan
from .cpu_layout import CpuLayout
from .eliminate_common_subexpressions import EliminateCommonSubexpressions
from .eliminate_dead_code import EliminateDeadCode
from .fold_constants import FoldConstants
from .fuse import Fuse
from .instruments import Dump, Instrument, Print, Timing, instruments_from_environment, load_dump
from .isolate_outputs import IsolateOutputs
from .memory_plan import MemoryPlan
from .pipeline import Pipeline
from .place_on_cpu import PlaceOnCpu

PASSES: dict[str, type[Pass]] = {
    cls.name: cls
    for cls in (
        Canonicalize,
        CheckMemoryPlan,
        CpuLayout,
        EliminateCommonSubexpressions,
        EliminateDeadCode,
        FoldConstants,
        Fuse,
        IsolateOutputs,
        MemoryPlan,
        PlaceOnCpu,
    )
}

__all__ = [
    "PASSES",
    "Canonicalize",
    "CheckMemoryPlan",
    "CpuLayout",
    "Dump",
    "EliminateCommonSubexpressions",
    "EliminateDeadCode",
    "FoldConstants",
    "Fuse",
    "Instrument",
    "IsolateOutputs",
    "MemoryPlan",
    "Pass",
    "Pipeline",
    "PlaceOnCpu",
    "Print",
    "Record",
    "Timing",
    "Verification",
    "check_memory_plan",
    "instruments_from_environment",
    "load_dump",
]
