"""What is proved of a program before its first instruction runs.

Every instruction decodes, belongs to its stream and stays inside the memories of the machine; the waits can be
satisfied in some order, whatever the speed of the units; and any two instructions that touch the same bytes, one of
them writing, are ordered by waits. The order found here is the one in which the functional engine executes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain

from tilewright.errors import InstructionError, MachineError, ResourceError
from tilewright.limits import DEVICE_COMPARISONS, DEVICE_INSTRUCTIONS, DEVICE_REGIONS

from ..isa.encoding import INSTRUCTION_BYTES, End, Instruction, MemoryAccess, Stream, check, streams
from ..isa.hazards import LastTouch
from ..isa.memories import outside, place_of
from ..isa.program import Program, RegionKind
from ..machine import Machine
from .written import Written


@dataclass(frozen=True)
class VerifiedProgram:
    """A program that is safe to run, decoded.

    Attributes:
        program: what was verified.
        queues: decoded instructions.
        order: (stream, index) of all instructions, each after everything it waits for.
        targets: for each stream and instruction, what its waits ask for: (other stream, instructions of it completed).
    """

    program: Program
    queues: Mapping[Stream, list[Instruction]]
    order: list[tuple[Stream, int]]
    targets: Mapping[Stream, list[tuple[tuple[Stream, int], ...]]]


def verify(program: Program, machine: Machine) -> VerifiedProgram:
    """Prove a program safe for a machine.

    Raises:
        MachineError: it was made for a machine that differs; the message says how.
        InstructionError: naming stream, index, field, what was found and the rule.
        ResourceError: it has more instructions, or works in larger regions, than the limits allow.
    """
    check_machine(program, machine)
    _check_size(program)
    queues = {stream: program.instructions(stream) for stream in program.queues}
    for stream, items in queues.items():
        _check_stream(stream, items, program, machine)
    order, targets, clocks = _order(queues)
    _check_hazards(queues, order, clocks, program, machine)
    return VerifiedProgram(program, queues, order, targets)


def fault(stream: Stream, index: int, item: Instruction, field: str, found: object, rule: str) -> InstructionError:
    """The one form of message about an instruction."""
    return InstructionError(
        f"stream {stream.name}, instruction {index} ({item.MNEMONIC}): field '{field}' breaks a rule",
        expected=rule,
        found=found,
    )


def check_machine(program: Program, machine: Machine) -> None:
    """Prove that a program was made for a machine, and that its DRAM holds the regions.

    Raises:
        MachineError: the machine differs, the message says how; or its DRAM is too small.
    """
    if program.machine.hash != machine.hash:
        different = program.machine.differences(machine)
        raise MachineError(
            f"the program was compiled for machine {program.machine.name!r}, this is {machine.name!r}",
            expected="equal descriptions",
            found="(program, machine) " + "; ".join(different),
            hint="Compile the network for this machine.",
        )
    if program.clusters > machine.clusters:
        raise MachineError(
            "the program uses more clusters than a card has", expected=machine.clusters, found=program.clusters
        )
    needed = sum(region.size for region in program.regions)
    if needed > machine.dram_bytes:
        raise MachineError(
            "the regions of the program do not fit into the DRAM of a card", expected=machine.dram_bytes, found=needed
        )


def _check_size(program: Program) -> None:
    count = sum(map(len, program.queues.values())) // INSTRUCTION_BYTES
    if count > DEVICE_INSTRUCTIONS:
        raise ResourceError(
            "the device program is too long", expected=f"at most {DEVICE_INSTRUCTIONS} instructions", found=count
        )
    # Constants take no more than the file holds of them.
    size = sum(region.size for region in program.regions if region.kind != RegionKind.CONSTANT)
    if size > DEVICE_REGIONS:
        raise ResourceError(
            "the regions that the device program works in are too large",
            expected=f"at most {DEVICE_REGIONS} bytes",
            found=size,
        )


def _check_stream(stream: Stream, items: list[Instruction], program: Program, machine: Machine) -> None:
    if not items or not isinstance(items[-1], End):
        raise InstructionError(
            f"stream {stream.name} does not end with END", found=items[-1].MNEMONIC if items else "nothing"
        )
    for index, item in enumerate(items):
        if stream.queue not in item.QUEUES:
            allowed = ", ".join(entry.name for entry in item.QUEUES)
            raise fault(stream, index, item, "opcode", stream.queue.name, f"only in queue {allowed}")
        if isinstance(item, End) and index != len(items) - 1:
            raise fault(stream, index, item, "opcode", "an instruction after END", "END is the last of its stream")
        violation = check(item) or outside(item, stream, program.clusters, machine, program.regions)
        if violation:
            raise fault(stream, index, item, *violation)


_Targets = dict[Stream, list[tuple[tuple[Stream, int], ...]]]
_Clocks = dict[Stream, list[list[int]]]


def _order(
    queues: Mapping[Stream, list[Instruction]],
) -> tuple[list[tuple[Stream, int]], _Targets, _Clocks]:
    """Run the streams without data: an order that satisfies every wait, and what each instruction knows to be done."""
    every = list(queues)
    signals = {stream: [i + 1 for i, item in enumerate(items) if item.signal] for stream, items in queues.items()}
    done = dict.fromkeys(every, 0)
    order: list[tuple[Stream, int]] = []
    targets: _Targets = {
        stream: [_targets(stream, index, item, every, signals) for index, item in enumerate(items)]
        for stream, items in queues.items()
    }
    clocks: _Clocks = {stream: [] for stream in every}
    total = sum(len(items) for items in queues.values())
    while len(order) < total:
        progress = False
        for stream, items in queues.items():
            while done[stream] < len(items):
                index = done[stream]
                if any(position > done[other] for other, position in targets[stream][index]):
                    break
                clocks[stream].append(_clock(stream, index, targets[stream][index], clocks))
                order.append((stream, index))
                done[stream] += 1
                progress = True
        if not progress:
            raise _deadlock(queues, done, targets)
    return order, targets, clocks


def _targets(
    stream: Stream, index: int, item: Instruction, every: list[Stream], signals: Mapping[Stream, list[int]]
) -> tuple[tuple[Stream, int], ...]:
    """The instruction of another stream that each wait stands for."""
    found: list[tuple[Stream, int]] = []
    for wait in item.waits:
        if wait.counter > len(every):
            rule = f"a counter of the program's streams, 1 to {len(every)}"
            raise fault(stream, index, item, "waits", tuple(wait), rule)
        owner = every[wait.counter - 1]
        if wait.value > len(signals[owner]):
            rule = f"stream {owner.name} raises the counter {len(signals[owner])} times"
            raise fault(stream, index, item, "waits", tuple(wait), rule)
        position = signals[owner][wait.value - 1] if wait.value else 0
        if owner == stream and position > index:
            raise fault(stream, index, item, "waits", tuple(wait), "a stream does not wait for what it does later")
        found.append((owner, position))
    return tuple(found)


def _clock(stream: Stream, index: int, targets: tuple[tuple[Stream, int], ...], clocks: _Clocks) -> list[int]:
    clock = list(clocks[stream][index - 1]) if index else [0] * len(clocks)
    clock[stream.number] = index
    for other, position in targets:
        if position > clock[other.number]:
            clock = list(map(max, clock, clocks[other][position - 1]))
            clock[other.number] = max(clock[other.number], position)
    return clock


def _deadlock(
    queues: Mapping[Stream, list[Instruction]], done: Mapping[Stream, int], targets: _Targets
) -> InstructionError:
    """The message about a circle of waits: follow what is waited for until a stream comes again."""

    def blocker(stream: Stream) -> tuple[Stream, int]:
        return next(each for each in targets[stream][done[stream]] if each[1] > done[each[0]])

    stream = next(stream for stream, items in queues.items() if done[stream] < len(items))
    path: list[Stream] = []
    while stream not in path:
        path.append(stream)
        stream = blocker(stream)[0]
    circle = path[path.index(stream) :]
    steps = []
    for each in circle:
        other, position = blocker(each)
        name, waited = queues[each][done[each]].MNEMONIC, queues[other][position - 1].MNEMONIC
        steps.append(f"{each.name} {done[each]} ({name}) waits for {other.name} {position - 1} ({waited})")
    return InstructionError(
        "the waits of the program cannot all be satisfied", expected="no cycle of waits", found="; ".join(steps)
    )


def _check_hazards(
    queues: Mapping[Stream, list[Instruction]],
    order: list[tuple[Stream, int]],
    clocks: _Clocks,
    program: Program,
    machine: Machine,
) -> None:
    every = {stream: [item.accesses(stream.cluster) for item in items] for stream, items in queues.items()}
    touched = LastTouch(machine, program.regions, DEVICE_COMPARISONS)
    written = Written(machine, program.regions, chain.from_iterable(chain.from_iterable(every.values())))
    unwritten: InstructionError | None = None
    for stream, index in order:
        item, accesses, clock = queues[stream][index], every[stream][index], clocks[stream][index]
        conflicts = touched.conflicts(stream.number, accesses, clock)
        for other, position, known in zip(streams(program.clusters), conflicts, clock, strict=True):
            if position > known:
                first = f"{other.name} {position - 1} ({queues[other][position - 1].MNEMONIC})"
                raise fault(
                    stream, index, item, "waits", f"no wait that orders it after {first}", "conflicts are ordered"
                )
        touched.record(stream.number, index + 1, accesses)
        # Told last: what a read lacks may be written by an instruction that it should have waited for.
        unwritten = unwritten or _unwritten(stream, index, item, accesses, written, program)
        for access in accesses:
            if access.write:
                written.record(access)
    if unwritten is not None:
        raise unwritten


def _unwritten(
    stream: Stream,
    index: int,
    item: Instruction,
    accesses: tuple[MemoryAccess, ...],
    written: Written,
    program: Program,
) -> InstructionError | None:
    """What is wrong with an instruction that reads bytes which nothing has written."""
    for access in accesses:
        gap = None if access.write else written.missing(access)
        if gap is not None:
            field, place = place_of(item, access, program.regions)
            found = f"nothing before it wrote bytes {gap[0]} to {gap[1]}"
            return fault(stream, index, item, field, found, f"the bytes that it reads from {place} have been written")
    return None
