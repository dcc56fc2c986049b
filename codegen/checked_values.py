"""Where operands lie that can make a kernel refuse its work, for what the runtime says then."""

from __future__ import annotations

from ..ir.core import Constant, Op, Value
from ..ir.ops.indexing import Indexing, indexed_extents
from ..ir.ops.selection import Bounded
from ..runtime.artifact.checked import Checked
from ..runtime.artifact.manifest import BufferRef
from .cpu.program import LoweredProgram


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
