"""A planned function as a CPU program: kernels, the steps that call them, constants in place, object code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tilewright.errors import CodegenError, UnsupportedError

from ...ir.annotations import ALIAS, ARENA_BYTES, AT
from ...ir.core import Constant, Function, Op, Value
from ...ir.layout import bytes_of, pack
from .assemble import KernelCall, Location, assemble
from .families import lower
from .kernel import Kernel
from .llvm.target import TargetDescription

ALIGNMENT = 64
"""Alignment of constants and scratch memory in bytes: a cache line, a 512-bit vector."""


@dataclass(frozen=True)
class LoweredOp:
    """One op that has something to do, and the kernel that does it; without one, another executor must."""

    op: Op
    kernel: Kernel | None


@dataclass(frozen=True)
class CpuCode:
    """Everything that the host needs to run a function.

    Attributes:
        object_code: ELF relocatable object; steps without kernel are left out of it.
        constants: contents of the constants section, each constant in the physical order of its layout.
        constant_offsets: byte offset of each constant.
        arena_bytes: size of the work memory, scratch of the kernels included.
        steps: in order of execution.
        locations: where every value lies.
    """

    object_code: bytes
    constants: bytes
    constant_offsets: dict[Constant, int]
    arena_bytes: int
    target: TargetDescription
    steps: tuple[LoweredOp, ...]
    locations: dict[Value, Location]


def _aligned(offset: int) -> int:
    return -(-offset // ALIGNMENT) * ALIGNMENT


def locate(function: Function, constant_offsets: dict[Constant, int]) -> dict[Value, Location]:
    """Where every value lies, from the annotations of the memory plan.

    The annotations may come from a file that nobody vouches for, and the addresses go into native code as they are: so
    each value is proved to lie inside the block of memory that it names.

    Raises:
        CodegenError: the function has not been planned, or a value lies outside its memory.
    """
    locations: dict[Value, Location] = {p: Location("input", i) for i, p in enumerate(function.parameters)}
    locations.update({c: Location("constants", offset) for c, offset in constant_offsets.items()})
    outputs = {value: index for index, value in reversed(list(enumerate(function.results)))}
    room = _Room(function, constant_offsets)
    for op in function.ops:
        offsets = AT.get(op)
        if offsets is None or len(offsets) != len(op.results):
            raise CodegenError(
                "the op has no address in memory", op=op.name, node=op.node, hint="Run plan_cpu_memory first."
            )
        alias = ALIAS.get(op)
        source = op.operands[alias] if alias is not None and 0 <= alias < len(op.operands) else None
        if ALIAS.is_at(op) and source is None:
            raise CodegenError("the op is an alias of no operand", op=op.name, node=op.node, found=alias)
        for value, offset in zip(op.results, offsets, strict=True):
            if source is not None:
                locations[value] = locations[source]
                _check_alias(op, value, locations)
            elif offset is not None:
                locations[value] = Location("arena", offset)
            elif value in outputs:
                locations[value] = Location("output", outputs[value])
            else:
                raise CodegenError("a result lies nowhere", op=op.name, node=op.node, found=f"%{value.name}")
            room.check(op, value, locations[value])
    for value, index in outputs.items():
        if locations[value] != Location("output", index):
            raise CodegenError(f"output %{value.name} is never written", op=f"@{function.name}")
    return locations


def _check_alias(op: Op, result: Value, locations: dict[Value, Location]) -> None:
    """Refuse a result that consists of anything else than its operands, one after the other."""
    start = end = locations[result].position
    for operand in op.inputs:
        if locations[operand] != Location(locations[result].memory, end):
            break
        end += bytes_of(operand.type)
    else:
        if end == start + bytes_of(result.type):
            return
    raise CodegenError("the op is an alias of more than its operands", op=op.name, node=op.node)


class _Room:
    """The blocks of memory that a program may touch."""

    def __init__(self, function: Function, constant_offsets: dict[Constant, int]) -> None:
        self._blocks = {
            "arena": [_arena_bytes(function)],
            "constants": [max((o + bytes_of(c.type) for c, o in constant_offsets.items()), default=0)],
            "input": [_caller_bytes(value) for value in function.parameters],
            "output": [_caller_bytes(value) for value in function.results],
        }

    def check(self, op: Op, value: Value, location: Location) -> None:
        """Refuse a value that does not lie inside its block."""
        blocks, start = self._blocks[location.memory], location.position
        size, start = (blocks[start], 0) if location.memory in ("input", "output") else (blocks[0], start)
        if start % ALIGNMENT or not 0 <= start <= size - bytes_of(value.type):
            raise CodegenError(
                f"result %{value.name} lies outside its memory",
                op=op.name,
                node=op.node,
                expected=f"{bytes_of(value.type)} bytes at a multiple of {ALIGNMENT} within {size}",
                found=f"{location.memory} {location.position}",
            )


def _caller_bytes(value: Value) -> int:
    """Size of an input or output, which lies row-major in the caller's memory."""
    if value.type.layout:
        raise CodegenError("an input or output has a blocked layout", found=f"%{value.name}: {value.type}")
    return bytes_of(value.type)


def _arena_bytes(function: Function) -> int:
    planned = ARENA_BYTES.get(function)
    if planned is None or planned < 0:
        raise CodegenError("the function has no memory plan", op=f"@{function.name}", hint="Run plan_cpu_memory first.")
    return planned


def build_cpu_program(
    function: Function,
    target: TargetDescription,
    *,
    strict: bool = False,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> CpuCode:
    """Generate code for a function whose memory has been planned.

    Args:
        strict: refuse ops without a kernel instead of leaving them to the reference.
        report: called as ``report(done, total)`` before each op is lowered and after each kernel is compiled; what it
            raises ends the generation.

    Raises:
        UnsupportedError: under ``strict``, an op has no kernel; all of them are named.
        CodegenError: the function has not been planned.
    """
    constant_offsets: dict[Constant, int] = {}
    blob = bytearray()
    for constant in dict.fromkeys(v for op in function.ops for v in op.inputs if isinstance(v, Constant)):
        blob += bytes(_aligned(len(blob)) - len(blob))
        constant_offsets[constant] = len(blob)
        blob += pack(constant.array, constant.type.layout).tobytes()
    locations = locate(function, constant_offsets)
    steps: list[LoweredOp] = []
    ops = [op for op in function.ops if not ALIAS.is_at(op)]
    for op in ops:
        report(0, len(ops))
        steps.append(LoweredOp(op, lower(op, target)))
    if strict:
        _refuse_reference(steps)
    calls = [
        KernelCall(s.kernel, tuple(locations[v] for v in (*s.op.inputs, *s.op.results))) if s.kernel else None
        for s in steps
    ]
    scratch = _aligned(_arena_bytes(function))
    arena = scratch + _aligned(max((s.kernel.scratch_bytes for s in steps if s.kernel), default=0))
    code = assemble(calls, target, len(function.parameters), scratch, report)
    return CpuCode(code, bytes(blob), constant_offsets, arena, target, tuple(steps), locations)


def _refuse_reference(steps: list[LoweredOp]) -> None:
    slow = [s.op for s in steps if s.kernel is None and s.op.name != "call"]
    if slow:
        names = ", ".join(sorted({op.name for op in slow}))
        raise UnsupportedError(
            "some ops have no CPU kernel and would run by the slow reference",
            stage="cpu code",
            node=slow[0].node,
            found=names,
            hint="Compile without --strict to accept that.",
        )
