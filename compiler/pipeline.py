"""The passes of each way to run a network, in order; read them from top to bottom."""

from __future__ import annotations

from ..passes import (
    Canonicalize,
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
    Pipeline,
    PlaceOnCpu,
    PlanDeviceMemory,
    ProveAccumulators,
    Quantize,
    TileDevice,
    UniqueNames,
)


def simplify_pipeline() -> Pipeline:
    """Any module with less in it: constants computed, patterns recognised, duplicates and dead code gone."""
    return Pipeline((FoldConstants(), Canonicalize(), EliminateCommonSubexpressions(), EliminateDeadCode()))


def cpu_pipeline() -> Pipeline:
    """From a simplified module to one whose every op runs on a CPU kernel."""
    return Pipeline((Fuse(), PlaceOnCpu(), IsolateOutputs(), CpuLayout(), MemoryPlan()))


def float_pipeline() -> Pipeline:
    """From an imported module to one that computes in floating point on the CPU."""
    return Pipeline((FoldConstants(), DropRounding(), *simplify_pipeline().passes, *cpu_pipeline().passes))


def quantized_import_pipeline() -> Pipeline:
    """From an imported module that brings its quantisation along to one with ops on quantised types."""
    return Pipeline((ImportQuantization(), *simplify_pipeline().passes, ProveAccumulators()))


def calibration_pipeline() -> Pipeline:
    """From an imported module in floating point to the one that is calibrated, then quantised."""
    return Pipeline((*simplify_pipeline().passes, DepthwiseAffine()))


def post_training_pipeline() -> Pipeline:
    """From a module with calibrated ranges to one with ops on quantised types."""
    return Pipeline((Quantize(), *simplify_pipeline().passes, ProveAccumulators()))


def device_pipeline(machine: str, affinity: tuple[tuple[str, str], ...] = (), order: str = "device,cpu") -> Pipeline:
    """From a module with ops on quantised types to one whose device functions have tiles and addresses.

    Args:
        machine: name of a sample machine or path of a machine file.
        affinity: places that the user chose, as (name of a node or value, place).
        order: places by preference.
    """
    return Pipeline(
        (
            LowerForDevice(),
            EliminateDeadCode(),
            Partition(machine=machine, affinity=affinity, order=order),
            UniqueNames(),
            OutlineDevice(),
            TileDevice(machine=machine),
            PlanDeviceMemory(),
            Fuse(),
            PlaceOnCpu(),
            IsolateOutputs(),
            CpuLayout(),
            MemoryPlan(),
        )
    )
