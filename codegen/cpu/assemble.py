"""Kernels and the steps that call them, as one ELF relocatable object.

The entry point ``i32 tilewright_run(ptr context, i64 first, i64 last)`` runs the steps [first, last) in order. The
context holds the addresses of the arena, of the constants, of a table of inputs and outputs, of a number that says to
stop unless it is 0, which is asked before each step and by loops before each of theirs, and of what the threads share
that compute together (:mod:`.parallel`), or 0. It returns 0, or the number of the step whose kernel refused its
operands or was stopped: 1 plus its index, or a larger one where it stands in the body of a branch or loop.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from tilewright.errors import CodegenError
from tilewright.immutable import Immutable

from .kernel import Kernel, kernel_name
from .llvm.builder import FunctionBuilder
from .llvm.module import hide, module_text, parse
from .llvm.target import TargetDescription, forks_wait, machine
from .llvm.types import I1, I32, I64, PTR, Register, constant, zero
from .parallel import POOL, REGION, chunks, is_shared, pool_text, shared_steps

ENTRY = "tilewright_run"

REMEMBERED = 8
"""Objects; networks that are quantised are calibrated and judged over and over, by the same code for other numbers."""

_objects: dict[str, bytes] = {}
"""The last ones by a digest of their texts, the latest at the end."""

ARENA, CONSTANTS, TABLE, STOP, TEAM = (index * PTR.bytes for index in range(5))
"""Byte of each address in the context."""


class Location(Immutable):
    """Where a tensor lies at run time.
    ``memory``: ``arena`` or ``constants`` (then ``position`` is a byte offset), ``input`` or ``output`` (an index), or
    ``context`` for the context itself."""

    memory: str
    position: int


class KernelCall(Immutable):
    """A kernel and where its operands and results lie.
    ``time``: nanoseconds that one thread takes for it, about; see `parallel.nanoseconds`.
    ``number``: what the program returns where the kernel refuses its operands; 0 for 1 plus the index of the step."""

    kernel: Kernel
    tensors: tuple[Location, ...]
    time: int = 0
    number: int = 0

    @property
    def is_shared(self) -> bool:
        """Whether several threads share the work."""
        return is_shared(self.kernel, self.time)


def emit_call(b: FunctionBuilder, call: KernelCall, address: Callable[[Location], Register], work: Register) -> None:
    """Write the call of a kernel for all its work items; what it refuses ends the function with the call's number, or
    with that of the call in it."""
    arguments = [*map(address, call.tensors), work, b.integer(0), b.integer(call.kernel.units)]
    status = b.intrinsic(call.kernel.name, I32, arguments)
    b.return_if(b.compare("ne", status, 0), status if call.kernel.calls else constant(I32, call.number))


def emit_region(
    b: FunctionBuilder, call: KernelCall, task: str, given: Register, team: Register, work: Register, *, wakes: bool
) -> Register:
    """Write the same call by a team, whose threads find the tensors by what the ``task`` is ``given``; the status."""
    counts = b.integer(call.kernel.units), b.integer(chunks(call.kernel))
    arguments = [team, Register(PTR, f"@{task}"), given, work, *counts, constant(I1, wakes)]
    return b.call(REGION, I32, arguments)


def _addresses(b: FunctionBuilder, context: Register, input_count: int) -> Callable[[Location], Register]:
    """Where tensors lie, by the context of a run."""
    memories = {"arena": b.load(PTR, context, ARENA), "constants": b.load(PTR, context, CONSTANTS)}
    table = b.load(PTR, context, TABLE)

    def address(location: Location) -> Register:
        if location.memory in memories:
            return b.at(memories[location.memory], location.position)
        if location.memory == "context":
            return context
        index = location.position + (input_count if location.memory == "output" else 0)
        return b.load(PTR, table, index * PTR.bytes)

    return address


def _task_name(call: KernelCall) -> str:
    return kernel_name("task", call.kernel.name, call.tensors)


def _task(call: KernelCall, target: TargetDescription, input_count: int) -> FunctionBuilder:
    """``i32 task(ptr context, ptr scratch, i64 begin, i64 end)``: some work items of a step.

    It finds its tensors by the context, which lies in the caches of all threads: what the caller would write down for
    each step they would have to fetch from its cache."""
    parameters = [("context", PTR), ("scratch", PTR), ("begin", I64), ("end", I64)]
    b = FunctionBuilder(target, _task_name(call), parameters, I32, internal=True)
    context, *others = b.arguments
    address = _addresses(b, context, input_count)
    b.return_(b.intrinsic(call.kernel.name, I32, [*map(address, call.tensors), *others]))
    return b


def _entry(
    calls: Sequence[KernelCall | None],
    shared: Mapping[int, bool],
    target: TargetDescription,
    input_count: int,
    scratch: int,
) -> FunctionBuilder:
    """The entry point.
    ``shared``: see `shared_steps`.
    ``input_count``: number of graph inputs; outputs follow them in the table.
    ``scratch``: offset in the arena of the work memory that all kernels share."""
    b = FunctionBuilder(target, ENTRY, [("context", PTR), ("first", I64), ("last", I64)], I32)
    context, first, last = b.arguments
    address = _addresses(b, context, input_count)
    stop, team, work = b.load(PTR, context, STOP), b.load(PTR, context, TEAM), address(Location("arena", scratch))

    def run(call: KernelCall, wakes: bool | None) -> None:
        refused = constant(I32, call.number)
        b.return_if(b.compare("ne", b.load(I32, stop), 0), refused)
        if wakes is None:
            emit_call(b, call, address, work)
            return
        status = emit_region(b, call, _task_name(call), context, team, work, wakes=wakes)
        b.return_if(b.compare("ne", status, 0), refused)

    for step, call in enumerate(calls):
        if call is not None:
            call = replace(call, number=call.number or step + 1)
            is_asked = b.binary("and", b.compare("sle", first, step), b.compare("sgt", last, step))
            b.if_(is_asked, partial(run, call, shared.get(step)))
    b.return_(zero(I32))
    return b


def kernels_of(calls: Iterable[KernelCall | None]) -> list[Kernel]:
    """Each kernel that calls run, those that kernels run included, once."""
    found: dict[str, Kernel] = {}
    pending = [call.kernel for call in calls if call is not None]
    while pending:
        kernel = pending.pop()
        if kernel.name not in found:
            found[kernel.name] = kernel
            pending += kernel.calls
    return [*found.values()]


def assemble(
    calls: Sequence[KernelCall | None],
    target: TargetDescription,
    input_count: int,
    scratch: int,
    report: Callable[[int, int], None] = lambda done, total: None,
    door: FunctionBuilder | None = None,
) -> bytes:
    """Object code of a program.

    Args:
        calls: the steps in order; ``None`` leaves one to others.
        scratch: see `_entry`.
        report: called as ``report(done, total)`` while kernels are compiled.
        door: a function that calls the entry point, to be seen from outside in its place.

    Raises:
        CodegenError: LLVM rejects a kernel's text (our own bug; the message says which kernel).
    """
    kernels = kernels_of(calls)
    times = {step: call.time for step, call in enumerate(calls) if call is not None and call.is_shared}
    within = [each for kernel in kernels if kernel.shares for each in kernel.calls]
    by_step = shared_steps(times, has_team=bool(within))
    shared = {_task_name(call): call for step, call in enumerate(calls) if call is not None and step in by_step}
    tasks = [_task(call, target, input_count) for call in shared.values()]
    most = max((kernel.scratch_bytes for kernel in (*(call.kernel for call in shared.values()), *within)), default=0)
    pool = pool_text(target, most) if shared or within else ""
    visible, doors = ((ENTRY, *POOL), []) if door is None else ((door.name,), [door])
    entry = _entry(calls, by_step, target, input_count, scratch)
    main = module_text([entry, *tasks, *doors]) + pool
    texts = "\0".join([repr(target), *visible, main, *(kernel.text for kernel in kernels)])
    key = hashlib.sha256(texts.encode()).hexdigest()
    made = _objects.pop(key, None) or _compiled(main, visible, kernels, target, report)
    _objects[key] = made
    for old in [*_objects][:-REMEMBERED]:
        _objects.pop(old, None)
    return made


@forks_wait()
def _compiled(
    main: str,
    visible: Sequence[str],
    kernels: Sequence[Kernel],
    target: TargetDescription,
    report: Callable[[int, int], None],
) -> bytes:
    """Object code of a module and of the kernels that it calls."""
    modules = [parse(main, visible[0], target, *visible[1:], REGION)]
    for index, kernel in enumerate(kernels):
        modules.append(parse(kernel.text, kernel.name, target))
        report(index + 1, len(kernels))
    # In pairs, because linking takes time for all of both modules.
    while len(modules) > 1:
        for first, second in zip(modules[::2], modules[1::2], strict=False):
            first.link_in(second)
        modules = modules[::2]
    (whole,) = modules
    hide(whole, *visible)
    try:
        whole.verify()
    except RuntimeError as error:
        raise CodegenError(f"LLVM rejects the program: {error}") from error
    return bytes(machine(target).emit_object(whole))
