"""What a manifest says of a module and of the code that it became: arrays, steps and stages, and where operands
lie that can make a kernel refuse its work."""

from collections.abc import Sequence
from dataclasses import replace

from tilewright.errors import CodegenError

from ..ir.annotations import EXTENTS
from ..ir.calls import is_endless, macs_of
from ..ir.core import Constant, Function, Module, Op, Value, is_op
from ..ir.layout import bytes_of
from ..ir.ops.call import Call
from ..ir.ops.indexing import Indexing, indexed_extents
from ..ir.ops.selection import Bounded
from ..ir.text.printer import print_module
from ..ir.types import TensorType
from ..runtime.artifact.artifact import Checked
from ..runtime.artifact.manifest import (
    BufferRef,
    CpuStage,
    DeviceStage,
    InnerStep,
    ReferenceStage,
    Stage,
    StepInfo,
    TensorSpec,
)
from .cpu.program import LoweredProgram
from .stored_module import alone, constants_inside


def steps_of(module: Module, program: LoweredProgram) -> tuple[StepInfo, ...]:
    return tuple(
        StepInfo(
            name=_name(step.op),
            op=step.op.name,
            kernel=step.kernel.name if step.kernel is not None else None,
            loc=step.op.loc,
            macs=macs_of(module, step.op),
            bytes=sum(bytes_of(value.type) for value in (*step.op.inputs, *step.op.results)),
            endless=is_endless(module, step.op),
        )
        for step in program.steps
    )


def inner_steps(program: LoweredProgram) -> tuple[InnerStep, ...]:
    return tuple(
        InnerStep(_name(op), op.name, op.function.name if op.function is not None else "", op.loc)
        for op in program.inner
    )


def _name(op: Op) -> str:
    return op.results[0].name if op.results else op.name


def stages_of(module: Module, name: str, program: LoweredProgram) -> tuple[Stage, ...]:
    """The steps of a program as stages: runs of kernels, and the steps that another executor takes."""
    found: list[Stage] = []
    first = 0
    for index, step in enumerate(program.steps):
        if step.kernel is not None:
            continue
        if first < index:
            found.append(CpuStage(name, first, index))
        op = step.op
        references = _references(program, op, constants_inside(module, op))
        if is_op(op, Call):
            found.append(DeviceStage(op.operator.callee, *references, op.operator.shares))
        else:
            found.append(ReferenceStage(name, index, print_module(alone(module, op)), *references))
        first = index + 1
    if first < len(program.steps):
        found.append(CpuStage(name, first, len(program.steps)))
    return tuple(found)


def identity(step: StepInfo) -> tuple[str, tuple[str, ...], bool]:
    """What is true of a step whatever processor its kernel is for, and however the module text names its result."""
    return step.op, step.loc, step.reference


def _references(
    program: LoweredProgram, op: Op, inside: Sequence[Constant]
) -> tuple[tuple[BufferRef, ...], tuple[BufferRef, ...]]:
    """Where the operands and results of an op lie that another executor takes.
    ``inside``: the constants that its bodies read."""
    blocked = next((v for v in (*op.inputs, *op.results) if v.type.layout), None)
    if blocked is not None:
        raise CodegenError(
            "a step without kernel has a blocked layout",
            stage="package",
            op=op.name,
            node=op.node,
            expected="row-major tensors",
            found=f"%{blocked.name}: {blocked.type}",
        )

    stored = {
        constant.digest: offset for constant, offset in program.constant_offsets.items() if not constant.type.layout
    }
    constants = (BufferRef("constants", stored[c.digest], c.type.dtype.value, c.type.shape) for c in inside)
    operands, results = ([reference(program, value) for value in values] for values in (op.inputs, op.results))
    return (*operands, *constants), (*results,)


def _spec(name: str, type: TensorType) -> TensorSpec:
    return TensorSpec(name, type.dtype.value, type.shape)


def inputs_of(main: Function) -> tuple[TensorSpec, ...]:
    return tuple(_spec(p.name, p.type) for p in main.parameters)


def outputs_of(main: Function) -> tuple[TensorSpec, ...]:
    """What users see, without the results that say extents."""
    found: list[TensorSpec] = []
    extents = EXTENTS.get(main) or ()
    visible = len(main.results) - counts_of(main)
    for index, (name, value) in enumerate(zip(main.result_names[:visible], main.results, strict=False)):
        counts = {each.axis: each.said_by - visible for each in extents if each.result == index}
        spec = _spec(name, value.type)
        found.append(replace(spec, counts=tuple(counts.get(d, -1) for d in range(value.type.rank))) if counts else spec)
    return tuple(found)


def counts_of(main: Function) -> int:
    """How many results say extents of others."""
    return len({each.said_by for each in EXTENTS.get(main) or ()})


def reference(program: LoweredProgram, value: Value) -> BufferRef:
    """Where a row-major value lies at run time."""
    location, type = program.locations[value], value.type
    return BufferRef(location.memory, location.position, type.dtype.value, type.shape)


def checked_values(program: LoweredProgram) -> list[Checked]:
    """The indices, and the extents with a known bound, that steps of a program are given."""
    return [each for index, step in enumerate(program.steps) for each in _checked(program, index, step.op)]


def _checked(program: LoweredProgram, index: int, op: Op) -> list[Checked]:
    operator, operands = op.operator, op.inputs
    if isinstance(operator, Bounded) and isinstance(operands[1], Constant):
        return [Checked(index, reference(program, operands[0]), (0,), (int(operands[1].array),))]
    if isinstance(operator, Indexing):
        extents = indexed_extents(operator, operands[0].type, operands[1].type)
        least, most = tuple(-extent for extent in extents), tuple(extent - 1 for extent in extents)
        return [Checked(index, reference(program, operands[1]), least, most)]
    return []
