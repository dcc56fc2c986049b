"""Kernels of branches and loops: native code around calls of the kernels of their bodies.

A body is a function whose memory has been planned by itself: its intermediate results lie in the work memory of the
kernel, its parameters and results wherever the kernel says. So a step of a loop costs the calls of its kernels. A state
changes between the place of the loop's result and a second one in the work memory, and is never copied on the way.
"""

from collections.abc import Mapping, Sequence

from tilewright.immutable import Immutable

from ...ir.core import Op
from ...ir.layout import bytes_of
from ...ir.ops.control_flow import ControlFlow, If, Loop
from ...ir.types import TensorType
from .assemble import CONSTANTS, STOP, KernelCall, Location, emit_call
from .constants import ALIGNMENT, aligned
from .kernel import Kernel, kernel_name
from .llvm.builder import FunctionBuilder
from .llvm.module import module_text
from .llvm.target import TargetDescription
from .llvm.types import I1, I8, I32, I64, PTR, Register, Registers, constant


class Body(Immutable):
    """What runs a function once.
    ``calls``: its kernels in order, and where their tensors lie.
    ``arena_bytes``: where the scratch memory of the kernels begins in the work memory, behind intermediate results.
    ``work_bytes``: size of the work memory."""

    calls: tuple[KernelCall, ...]
    arena_bytes: int
    work_bytes: int


def control_flow_kernel(
    op: Op[ControlFlow], bodies: Mapping[str, Body], target: TargetDescription, number: int
) -> Kernel:
    """The kernel of an op whose bodies have kernels for all that they do.

    It takes operands, results, and the context of the program.
    ``number``: what it returns where it refuses its own operands."""
    operator = op.operator
    used = {name: bodies[name] for name in operator.bodies}
    types = [value.type for value in (*op.inputs, *op.results)]
    spec = [
        (body.arena_bytes, body.work_bytes, [(call.kernel.name, call.tensors, call.number) for call in body.calls])
        for body in used.values()
    ]
    name = kernel_name(op.name, operator, types, spec, number)
    tensors = [f"t{index}" for index in range(len(types))]
    parameters = [*((each, PTR) for each in (*tensors, "context", "scratch")), ("begin", I64), ("end", I64)]
    b = FunctionBuilder(target, name, parameters, I32)
    writer = _Writer(b, used, len(types), number)
    operands, results = b.arguments[: len(op.inputs)], b.arguments[len(op.inputs) : len(types)]
    scratch = max(body.work_bytes for body in used.values())
    if isinstance(operator, If):
        writer.branch(operator, operands, results)
    elif isinstance(operator, Loop):
        scratch = writer.loop(operator, operands, results, types[len(operands) :])
    b.return_(constant(I32, 0))
    kernels = {call.kernel.name: call.kernel for body in used.values() for call in body.calls}
    return Kernel(name, module_text([b]), scratch_bytes=scratch, calls=tuple(kernels.values()))


class _Writer:
    def __init__(self, b: FunctionBuilder, bodies: Mapping[str, Body], tensors: int, number: int) -> None:
        self._b, self._refused = b, constant(I32, number)
        self._bodies = bodies
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
        for call in body.calls:
            emit_call(b, call, address, work)

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
            arguments = [home, source, b.integer(size), constant(I1, False)]
            is_elsewhere = b.compare("ne", home, source)
            b.if_(
                is_elsewhere, lambda given=arguments: b.intrinsic("llvm.memcpy.p0.p0.i64", None, given) and None, tuple
            )
        for whole, size in zip(stacked, row_bytes, strict=True):
            rest = b.multiply(b.subtract(b.integer(rows), done), size)
            empty = [b.at(whole, b.multiply(done, size)), constant(I8, 0), rest, constant(I1, False)]
            b.intrinsic("llvm.memset.p0.i64", None, empty)
        b.store(done, results[-1])
        return end
