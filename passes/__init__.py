"""Passes over modules: one file a pass, all of them listed here.

``PASSES`` maps the name of each pass, as pipelines spell it, to its class.
"""

from .base import Pass, Record, Verification
from .eliminate_common_subexpressions import EliminateCommonSubexpressions
from .eliminate_dead_code import EliminateDeadCode
from .fold_constants import FoldConstants
from .instruments import Dump, Instrument, Print, Timing, instruments_from_environment, load_dump
from .pipeline import Pipeline

PASSES: dict[str, type[Pass]] = {
    cls.name: cls
    for cls in (
        EliminateCommonSubexpressions,
        EliminateDeadCode,
        FoldConstants,
    )
}

__all__ = [
    "PASSES",
    "Dump",
    "EliminateCommonSubexpressions",
    "EliminateDeadCode",
    "FoldConstants",
    "Instrument",
    "Pass",
    "Pipeline",
    "Print",
    "Record",
    "Timing",
    "Verification",
    "instruments_from_environment",
    "load_dump",
]
