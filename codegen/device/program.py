"""A tile program with addresses as a program for the accelerator: an instruction for each tile op, in their order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tilewright.errors import CodegenError, TilewrightError

from ...ir.annotations import LAYER, PLAN, RECEIVES, REGION_BYTES, SENDS
from ...ir.core import Function, Op, Value, is_op
from ...ir.ops.call import Call
from ...ir.tile.places import PLACES
from ...ir.tile.program import cluster_of, clusters_of
from ...runtime.artifact.manifest import FeatureMapRef
from ...runtime.isa import Assembler, Instruction, Program, Region, RegionKind
from ...runtime.machines.machine import Machine
from .instructions import PRINTERS, Context
from .views import REGIONS


@dataclass(frozen=True)
class DeviceProgram:
    """A device function in binary form.

    Attributes:
        program: instructions, regions and the machine they were made for.
        constants: contents of the constants region.
        inputs, outputs: how the parameters from the host, and the results for it, lie in their regions, in order.
    """

    program: Program
    constants: bytes
    inputs: tuple[FeatureMapRef, ...]
    outputs: tuple[FeatureMapRef, ...]


def build_device_program(
    function: Function,
    machine: Machine,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> DeviceProgram:
    """Print a tile program whose places have addresses.

    Raises:
        CodegenError: an op is none of a tile program, or a place has no address.
    """
    context = Context(clusters_of(function))
    printed: list[tuple[Instruction, str | None, int]] = []
    total = len(function)
    for index, op in enumerate(function.ops):
        try:
            context.views.add(op)
            item = _instruction(op, context)
        except TilewrightError as error:
            error.stage = error.stage or "device code"
            error.op = error.op or op.name
            error.node = error.node or op.node
            raise
        if item is not None:
            printed.append((item, LAYER.get(op), cluster_of(op)))
        report(index + 1, total)
    plan = PLAN.get(function)
    reduced = dict(plan.reduced) if plan is not None else {}
    assembler = Assembler(machine, _regions(function, len(context.constants.data)), context.clusters, reduced)
    for item, layer, cluster in printed:
        assembler.add(item, layer, cluster=cluster)
    inputs, outputs = context.views.references(function)
    return DeviceProgram(assembler.finish(), bytes(context.constants.data), inputs, outputs)


def feature_maps(
    whole: Function, functions: Sequence[Function], built: Sequence[DeviceProgram]
) -> tuple[tuple[FeatureMapRef, ...], tuple[FeatureMapRef, ...]]:
    """How the parameters and the results of what the host calls lie in the regions of the cards, in order.

    Args:
        whole: what it calls: the function of a card, or one that calls those of several.
        functions: what each card runs.
        built: the same in binary form.
    """
    if whole in functions:
        return built[0].inputs, built[0].outputs
    maps: dict[Value, FeatureMapRef] = {}
    calls = {op.operator.callee: op for op in whole.ops if is_op(op, Call)}
    for card, (function, program) in enumerate(zip(functions, built, strict=True)):
        call = calls[function.name]
        for values, crossing, references in (
            (call.inputs, RECEIVES.get(function), program.inputs),
            (call.results, SENDS.get(function), program.outputs),
        ):
            crossed = {end.position for end in crossing or ()}
            own = [value for position, value in enumerate(values) if position not in crossed]
            maps.update((value, replace(ref, card=card)) for value, ref in zip(own, references, strict=True))
    return tuple(maps[value] for value in whole.parameters), tuple(maps[value] for value in whole.results)


def _instruction(op: Op, context: Context) -> Instruction | None:
    if isinstance(op.operator, PLACES):
        return None
    printer = PRINTERS.get(type(op.operator))
    if printer is None:
        raise CodegenError("the op is none of a tile program", hint="Run lower_to_tiles first.")
    return printer(op, context)


def _regions(function: Function, constants: int) -> list[Region]:
    kinds = (RegionKind.CONSTANT, RegionKind.SCRATCH, RegionKind.INPUT, RegionKind.OUTPUT)
    sizes = (constants, *(REGION_BYTES[region].get(function) or 0 for region in REGIONS[1:]))
    return [Region(name, kind, size) for name, kind, size in zip(REGIONS, kinds, sizes, strict=True)]
