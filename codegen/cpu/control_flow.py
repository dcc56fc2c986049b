"""Kernels of branches and loops: native code around calls of the kernels of their bodies.

A body is a function whose memory has been planned by itself: its intermediate results lie in the work memory of the
kernel, its parameters and results wherever the kernel says. So a step of a loop costs the calls of its kernels. A state
changes between the place of the loop's result and a second one in the work memory, and is never copied on the way.

Long calls are shared out among the threads of the program, as its steps are. Since the places of tensors change from
one to the next, these threads find them in a table.
"""

from collections.abc import Callable, Mapping, Sequence

from tilewright.immutable import Immutable

from ...ir.core import Op
from ...ir.layout import bytes_of
from ...ir.ops.control_flow import ControlFlow, If, Loop
from ...ir.types import TensorType
from .assemble import CONSTANTS, STOP, TEAM, KernelCall, Location, emit_call, emit_region
from .constants import ALIGNMENT, aligned
from .kernel import Kernel, kernel_name
from .llvm.builder import FunctionBuilder
from .llvm.module import module_text
from .llvm.target import TargetDescription
from .llvm.types import I1, I8, I32, I64, PTR, Register, Registers, constant
from .parallel import REGION, shared_within


class Body(Immutable):
    """What runs a function once.
    ``calls``: its kernels in order, and where their tensors lie.
    ``arena_bytes``: where the scratch memory of the kernels begins in the work memory, behind intermediate results.
    ``work_bytes``: size of the work memory."""

    calls: tuple[KernelCall, ...]
    arena_bytes: int
    work_bytes: int

    def shared(self, steps: int) -> frozenset[int]:
        """The calls that several threads share where the body runs so often."""
        return shared_within({place: call.time for place, call in enumerate(self.calls) if call.is_shared}, steps)


def control_flow_kernel(
    op: Op[ControlFlow], bodies: Mapping[str, Body], target: TargetDescription, number: int, steps: int
) -> Kernel:
    """The kernel of an op whose bodies have kernels for all that they do.

    It takes operands, results, and the context of the program.
    ``number``: what it returns where it refuses its own operands.
    ``steps``: how often it runs a body, 1 if that is not known."""
    operator = op.operator
    used = {name: bodies[name] for name in operator.bodies}
    types = [value.type for value in (*op.inputs, *op.results)]
    shared = {name: body.shared(steps) for name, body in used.items()}
    spec = [
        (body.arena_bytes, body.work_bytes, [(call.kernel.name, call.tensors, call.number) for call in body.calls])
        for body in used.values()
    ]
    name = kernel_name(op.name, operator, types, spec, number, [sorted(calls) for calls in shared.values()])
    tensors = [f"t{index}" for index in range(len(types))]
    parameters = [*((each, PTR) for each in (*tensors, "context", "scratch")), ("begin", I64), ("end", I64)]
    b = FunctionBuilder(target, name, parameters, I32)
    writer = _Writer(b, used, shared, len(types), number)
    operands, results = b.arguments[: len(op.inputs)], b.arguments[len(op.inputs) : len(types)]
    scratch = max(body.work_bytes for body in used.values())
    if isinstance(operator, If):
        writer.branch(operator, operands, results)
    elif isinstance(operator, Loop):
        scratch = writer.loop(operator, operands, results, types[len(operands) :])
    b.return_(constant(I32, 0))
    kernels = {call.kernel.name: call.kernel for body in used.values() for call in body.calls}
    text, calls = module_text([b, *writer.tasks.values()]), tuple(kernels.values())
    return Kernel(name, text, scratch_bytes=scratch, calls=calls, shares=bool(writer.tasks))


class _Writer:
    def __init__(
        self,
        b: FunctionBuilder,
        bodies: Mapping[str, Body],
        shared: Mapping[str, frozenset[int]],
        tensors: int,
        number: int,
    ) -> None:
        self._b, self._refused = b, constant(I32, number)
        self._bodies, self._shared = bodies, shared
        self.tasks: dict[str, FunctionBuilder] = {}
        most = max((len(bodies[name].calls[i].tensors) for name, calls in shared.items() for i in calls), default=0)
        self._table = b.allocate(PTR, most) if most else None
        self._context, self._scratch = b.arguments[tensors : tensors + 2]
        self._constants = b.load(PTR, self._context, CONSTANTS)

    def _run(self, name: str, inputs: Sequence[Register], outputs: Sequence[Register]) -> None:
        """Run a body on tensors at these addresses; what its kernels refuse, the kernel refuses with their number."""
        b, body = self._b, self._bodies[name]
        memories = {"arena": self._scratch, "constants": self._constants}

        def address(location: Location) -> Register:
            if location.memory in memories:
                return b.at(memories[location.memory], location.position)
            if location.memory == "context":
                return self._context
            return (inputs if location.memory == "input" else outputs)[location.position]

        work = b.at(self._scratch, body.arena_bytes)
        for place, call in enumerate(body.calls):
            if place in self._shared[name]:
                self._share(call, address, work)
            else:
                emit_call(b, call, address, work)

    def _share(self, call: KernelCall, address: Callable[[Location], Register], work: Register) -> None:
        """Write the call of a kernel by the threads of the program, which read the table while they compute."""
        b, table = self._b, self._table
        assert table is not None
        for place, location in enumerate(call.tensors):
            b.store(address(location), table, place * PTR.bytes)
        task = self._task(call)
        b.declare(REGION, I32, [PTR, PTR, PTR, PTR, I64, I64, I1])
        team = b.load(PTR, self._context, TEAM)
        status = emit_region(b, call, task, table, team, work, wakes=True)
        b.return_if(b.compare("ne", status, 0), constant(I32, call.number))

    def _task(self, call: KernelCall) -> str:
        """The name of ``i32 task(ptr table, ptr scratch, i64 begin, i64 end)``, some work items of such a call."""
        name = kernel_name("task", self._b.name, call.kernel.name, len(call.tensors))
        if name not in self.tasks:
            parameters = [("table", PTR), ("scratch", PTR), ("begin", I64), ("end", I64)]
            b = self.tasks[name] = FunctionBuilder(self._b.target, name, parameters, I32, internal=True)
            table, *others = b.arguments
            tensors = [b.load(PTR, table, place * PTR.bytes) for place in range(len(call.tensors))]
            b.return_(b.intrinsic(call.kernel.name, I32, [*tensors, *others]))
        return name

    def _holds(self, condition: Register) -> Register:
        """Whether the truth value at an address is set."""
        return self._b.compare("ne", self._b.load(I8, condition), 0)

    def branch(self, operator: If, operands: Registers, results: Registers) -> None:
        def run(name: str) -> None:
            self._run(name, operands[1:], results)

        self._b.if_(self._holds(operands[0]), lambda: run(operator.then), lambda: run(operator.otherwise))

    def loop(self, loop: Loop, operands: Registers, results: Registers, types: Sequence[TensorType]) -> int:
        """Write a loop; the size of its work memory."""
        b, count = self._b, loop.states
        most, going = b.load(I64, operands[0]), self._holds(operands[1])
        starts, others = operands[2 : 2 + count], operands[2 + count :]
        homes, stacked = results[:count], results[count:-1]
        state_bytes = [bytes_of(type) for type in types[:count]]
        rows = types[count].shape[0] if stacked else 0
        row_bytes = [bytes_of(type) // max(1, rows) for type in types[count:-1]]
        step_at = self._bodies[loop.body].work_bytes
        going_at, end = step_at + ALIGNMENT, step_at + 2 * ALIGNMENT
        step, further = b.at(self._scratch, step_at), b.at(self._scratch, going_at)
        seconds: list[Register] = []
        for size in state_bytes:
            seconds.append(b.at(self._scratch, end))
            end += aligned(size)
        stop = b.load(PTR, self._context, STOP)

        def goes_on(carried: Registers) -> Register:
            return b.binary("and", b.compare("slt", carried[0], most), carried[1])

        def take(carried: Registers) -> Registers:
            done, _, *places = carried
            sources, targets = places[:count], places[count:]
            b.return_if(b.compare("ne", b.load(I32, stop), 0), self._refused)
            if stacked:
                b.return_if(b.compare("sge", done, rows), self._refused)
            b.store(done, step)
            pieces = [b.at(whole, b.multiply(done, size)) for whole, size in zip(stacked, row_bytes, strict=True)]
            self._run(loop.body, [step, *sources, *others], [further, *targets, *pieces])
            free = [
                b.select(b.compare("eq", target, home), second, home)
                for target, home, second in zip(targets, homes, seconds, strict=True)
            ]
            return (b.add(done, 1), self._holds(further), *targets, *free)

        done, _, *places = b.while_((constant(I64, 0), going, *starts, *homes), goes_on, take)
        for home, source, size in zip(homes, places, state_bytes, strict=False):
            copied = [home, source, b.integer(size), constant(I1, False)]
            is_elsewhere = b.compare("ne", home, source)
            b.if_(is_elsewhere, lambda given=copied: b.intrinsic("llvm.memcpy.p0.p0.i64", None, given) and None)
        for whole, size in zip(stacked, row_bytes, strict=True):
            rest = b.multiply(b.subtract(b.integer(rows), done), size)
            empty = [b.at(whole, b.multiply(done, size)), constant(I8, 0), rest, constant(I1, False)]
            b.intrinsic("llvm.memset.p0.i64", None, empty)
        b.store(done, results[-1])
        return end
