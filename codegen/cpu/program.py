"""A planned module as a CPU program: kernels, the steps that call them, constants in place, object code."""

from collections.abc import Callable, Sequence

import numpy as np

from tilewright.errors import CodegenError, UnsupportedError
from tilewright.immutable import Immutable

from ...ir.annotations import ALIAS, ARENA_BYTES, AT
from ...ir.calls import host_functions, steps_of
from ...ir.core import Constant, Function, Module, Op, Value, is_op
from ...ir.layout import WINOGRAD, bytes_of, pack
from ...ir.ops.control_flow import ControlFlow
from ..stored_module import constants_inside
from .assemble import KernelCall, Location, assemble, kernels_of
from .constants import ALIGNMENT, ConstantPool, aligned
from .control_flow import Body, control_flow_kernel
from .estimates import nanoseconds
from .families import lower
from .kernel import Kernel
from .llvm.target import TargetDescription


class LoweredOp(Immutable):
    """One op that has something to do, and the kernel that does it; without one, another executor must."""

    op: Op
    kernel: Kernel | None


class LoweredProgram(Immutable):
    """A function as calls of kernels.

    Attributes:
        calls: of each step; ``None`` for one without kernel.
        constants: contents of the constants section, each constant in the physical order of its layout; programs that
            share it may follow.
        constant_offsets: byte offset of each constant.
        scratch: where the scratch memory of kernels begins in the work memory.
        arena_bytes: size of the work memory, scratch of the kernels included.
        target: the processor, with the extensions that the kernels need.
        inner: the ops that bodies of branches and loops run, in the order of their numbers, which follow the steps'.
    """

    calls: list[KernelCall | None]
    constants: bytearray
    constant_offsets: dict[Constant, int]
    scratch: int
    arena_bytes: int
    target: TargetDescription
    steps: tuple[LoweredOp, ...]
    inner: tuple[Op, ...]
    locations: dict[Value, Location]


class CpuCode(LoweredProgram):
    """Everything that the host needs to run a function.
    ``object_code``: ELF relocatable object; steps without kernel are left out of it."""

    object_code: bytes


def locate(function: Function, constant_offsets: dict[Constant, int]) -> dict[Value, Location]:
    """Where every value lies, from the annotations of the memory plan.

    The annotations may come from a file that nobody vouches for, and the addresses go into native code as they are: so
    each value is proved to lie inside the block of memory that it names.
    Raises CodegenError: the function has not been planned, or a value lies outside its memory."""
    locations: dict[Value, Location] = {p: Location("input", i) for i, p in enumerate(function.parameters)}
    locations.update({c: Location("constants", offset) for c, offset in constant_offsets.items()})
    outputs = {value: index for index, value in reversed(list(enumerate(function.results)))}
    # What is an output under another shape is written where that one lies.
    views = {op.inputs[0]: op.result for op in function.ops if ALIAS.is_at(op) and op.result in outputs}
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
            elif value in outputs or value in views:
                locations[value] = Location("output", outputs[views.get(value, value)])
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


class _Lowering:
    """Kernels for the functions of a module, each lowered once however many ops run it."""

    def __init__(
        self,
        module: Module,
        target: TargetDescription,
        pool: ConstantPool,
        offsets: dict[Constant, int],
        report: Callable[[], None],
        *,
        is_alone: bool,
    ) -> None:
        self._module = module
        self._pool = pool
        self._target = target
        self._offsets = offsets
        self._report = report
        self._is_alone = is_alone
        self._bodies: dict[str, Body | None] = {}
        # Those of main, which comes last, first.
        self.numbered = [op for each in reversed(host_functions(module)) for op in each.ops if not ALIAS.is_at(op)]
        self._numbers = {op: number for number, op in enumerate(self.numbered, 1)}
        self.without_kernel: list[Op] = []

    def steps(self, function: Function) -> tuple[LoweredOp, ...]:
        """The ops that have something to do."""
        return tuple(LoweredOp(op, self._kernel(op)) for op in function.ops if not ALIAS.is_at(op))

    def _kernel(self, op: Op) -> Kernel | None:
        self._report()
        if is_op(op, ControlFlow):
            bodies = {name: self._body(name) for name in op.operator.bodies}
            whole = {name: body for name, body in bodies.items() if body is not None}
            is_whole = len(whole) == len(bodies)
            steps = steps_of(op)
            return control_flow_kernel(op, whole, self._target, self._numbers[op], steps) if is_whole else None
        kernel = lower(op, self._target)
        if kernel is None:
            self.without_kernel.append(op)
        return kernel

    def _body(self, name: str) -> Body | None:
        """A body as what runs it; ``None`` where an op of it has no kernel."""
        if name not in self._bodies:
            function = self._module.functions[name]
            steps, locations = self.steps(function), locate(function, self._offsets)
            calls = tuple(call for call in self.calls(steps, locations) if call is not None)
            arena, work = work_memory(function, steps)
            self._bodies[name] = Body(calls, arena, work) if len(calls) == len(steps) else None
        return self._bodies[name]

    def calls(self, steps: Sequence[LoweredOp], locations: dict[Value, Location]) -> list[KernelCall | None]:
        """The call of each step's kernel, whose data go into the pool."""
        calls: list[KernelCall | None] = []
        for op, kernel in ((step.op, step.kernel) for step in steps):
            context = (Location("context", 0),) if is_op(op, ControlFlow) else ()
            operands, results = ([locations[value] for value in values] for values in (op.inputs, op.results))
            data = [Location("constants", self._pool.place(kernel.data))] if kernel is not None and kernel.data else []
            tensors = (*operands, *data, *results, *context)
            if kernel is None:
                calls.append(None)
                continue
            time = 0 if self._is_alone else nanoseconds(self._module, op, self._target, kernel)
            calls.append(KernelCall(kernel, tensors, time, self._numbers[op]))
        return calls


def work_memory(function: Function, steps: Sequence[LoweredOp]) -> tuple[int, int]:
    """Bytes of intermediate results, aligned, and with the scratch memory of kernels behind them."""
    arena = aligned(_arena_bytes(function))
    return arena, arena + aligned(max((step.kernel.scratch_bytes for step in steps if step.kernel), default=0))


def lower_program(
    module: Module,
    target: TargetDescription,
    *,
    pool: ConstantPool | None = None,
    strict: bool = False,
    is_alone: bool = False,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> LoweredProgram:
    """Kernels for ``main``, and for the bodies that it runs, whose memory has been planned.
    ``pool``: where constants go that other programs may share; by default one of its own.
    ``strict``: refuse ops without a kernel instead of leaving them to the reference.
    ``is_alone``: one thread is to run all of it.
    ``report``: called as ``report(done, total)`` before each op is lowered; what it raises ends the generation.
    Raises UnsupportedError: under ``strict``, an op has no kernel; all of them are named; CodegenError: a function
    has not been planned."""
    functions = host_functions(module)
    pool = pool or ConstantPool()
    constant_offsets: dict[Constant, int] = {}
    read = (value for function in reversed(functions) for op in function.ops for value in op.inputs)
    for constant in dict.fromkeys(value for value in read if isinstance(value, Constant)):
        if constant.type.layout in WINOGRAD:
            # First, because the module is read from there: nothing gives the exact weights back.
            plain = Constant(constant.name, constant.array, constant.type.plain)
            constant_offsets[plain] = pool.place(as_bytes(constant.array))
        constant_offsets[constant] = pool.place(as_bytes(pack(constant.array, constant.type.layout)))
    locations = locate(module.main, constant_offsets)
    total = sum(map(len, functions))
    lowering = _Lowering(module, target, pool, constant_offsets, lambda: report(0, total), is_alone=is_alone)
    steps = lowering.steps(module.main)
    for step in steps:
        for constant in constants_inside(module, step.op) if step.kernel is None else ():
            if constant.type.layout:
                # The reference reads it in row-major order.
                plain = Constant(constant.name, constant.array, constant.type.plain)
                constant_offsets[plain] = pool.place(as_bytes(constant.array))
    if strict:
        _refuse_reference([op for op in lowering.without_kernel if op.name != "call"])
    scratch, arena = work_memory(module.main, steps)
    calls = lowering.calls(steps, locations)
    inner = tuple(lowering.numbered[len(steps) :])
    needed = target.needed_by("\n".join(kernel.text for kernel in kernels_of(calls)))
    return LoweredProgram(calls, pool.content, constant_offsets, scratch, arena, needed, steps, inner, locations)


def build_cpu_program(
    module: Module,
    target: TargetDescription,
    *,
    pool: ConstantPool | None = None,
    strict: bool = False,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> CpuCode:
    """Generate code for ``main``; arguments and errors are those of `lower_program`.
    ``report``: is also called after each kernel is compiled."""
    lowered = lower_program(module, target, pool=pool, strict=strict, report=report)
    code = assemble(lowered.calls, target, len(module.main.parameters), lowered.scratch, report)
    return CpuCode(**vars(lowered), object_code=code)


def as_bytes(array: np.ndarray) -> memoryview:
    """The bytes of an array without a copy of them."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _refuse_reference(slow: Sequence[Op]) -> None:
    if slow:
        names = ", ".join(sorted({op.name for op in slow}))
        raise UnsupportedError(
            "some ops have no CPU kernel and would run by the slow reference",
            stage="cpu code",
            node=slow[0].node,
            found=names,
            hint="Compile without --strict to accept that.",
        )
