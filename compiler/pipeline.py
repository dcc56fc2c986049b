"""The passes of each way to run a network, in order; read them from top to bottom."""

from __future__ import annotations

from ..passes import (
    Canonicalize,
    CpuLayout,
    DropRounding,
    EliminateCommonSubexpressions,
    EliminateDeadCode,
    FoldConstants,
    Fuse,
    IsolateOutputs,
    MemoryPlan,
    Pipeline,
    PlaceOnCpu,
)


def float_pipeline() -> Pipeline:
    """From an imported module to one whose every op runs on a CPU kernel in floating point."""
    return Pipeline(
        (
            FoldConstants(),
            DropRounding(),
            Canonicalize(),
            EliminateCommonSubexpressions(),
            EliminateDeadCode(),
            Fuse(),
            PlaceOnCpu(),
            IsolateOutputs(),
            CpuLayout(),
            MemoryPlan(),
        )
    )
