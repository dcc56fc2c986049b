"""What is proved of a program before its first instruction runs.

Every instruction decodes, belongs to its queue and stays inside the memories of the machine; every counter has one
writer; the waits can be satisfied in some order, whatever the speed of the units; no counter gets so far ahead of a
wait that a signed difference misreads it; and any two instructions that touch the same bytes, one of them writing,
are ordered by waits. The order found here is the one in which the functional engine executes.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain

from tilewright.errors import InstructionError, MachineError, ResourceError
from tilewright.limits import DEVICE_INSTRUCTIONS, DEVICE_REGIONS

from ..isa.encoding import COUNTER_MODULUS, INSTRUCTION_BYTES, End, Instruction, Queue, Wait, check
from ..isa.memories import LastTouch, outside
from ..isa.program import Program, RegionKind
from ..machine import Machine

_HALF = COUNTER_MODULUS // 2


@dataclass(frozen=True)
class VerifiedProgram:
    """A program that is safe to run, decoded.

    Attributes:
        program: what was verified.
        queues: decoded instructions.
        order: (queue, index) of all instructions, each after everything it waits for.
        targets: for each queue and instruction, what its waits ask for: (other queue, instructions of it completed).
    """

    program: Program
    queues: Mapping[Queue, list[Instruction]]
    order: list[tuple[Queue, int]]
    targets: Mapping[Queue, list[tuple[tuple[Queue, int], ...]]]


def verify(program: Program, machine: Machine) -> VerifiedProgram:
    """Prove a program safe for a machine.

    Raises:
        MachineError: it was made for a machine that differs; the message says how.
        InstructionError: naming queue, index, field, what was found and the rule.
        ResourceError: it has more instructions, or works in larger regions, than the limits allow.
    """
    check_machine(program, machine)
    _check_size(program)
    queues = {queue: program.instructions(queue) for queue in Queue}
    for queue, items in queues.items():
        _check_queue(queue, items, program, machine)
    signals = _signals(queues)
    order, targets, clocks = _order(queues, signals)
    _check_lag(queues, clocks, signals)
    _check_hazards(queues, order, clocks, program, machine)
    return VerifiedProgram(program, queues, order, targets)


def fault(queue: Queue, index: int, item: Instruction, field: str, found: object, rule: str) -> InstructionError:
    """The one form of message about an instruction."""
    return InstructionError(
        f"queue {queue.name}, instruction {index} ({item.MNEMONIC}): field '{field}' breaks a rule",
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


def _check_queue(queue: Queue, items: list[Instruction], program: Program, machine: Machine) -> None:
    if not items or not isinstance(items[-1], End):
        raise InstructionError(
            f"queue {queue.name} does not end with END", found=items[-1].MNEMONIC if items else "nothing"
        )
    for index, item in enumerate(items):
        if queue not in item.QUEUES:
            allowed = ", ".join(entry.name for entry in item.QUEUES)
            raise fault(queue, index, item, "opcode", queue.name, f"only in queue {allowed}")
        if isinstance(item, End) and index != len(items) - 1:
            raise fault(queue, index, item, "opcode", "an instruction after END", "END is the last of its queue")
        violation = check(item) or outside(item, machine, program.regions)
        if violation:
            raise fault(queue, index, item, *violation)


@dataclass(frozen=True)
class _Signals:
    """Who raises a counter: its queue, and the positions (from 1) at which it does."""

    queue: Queue
    positions: list[int]

    def raised(self, position: int) -> int:
        """How often the counter is raised up to a position."""
        return bisect_right(self.positions, position)


def _signals(queues: Mapping[Queue, list[Instruction]]) -> dict[int, _Signals]:
    signals: dict[int, _Signals] = {}
    for queue, items in queues.items():
        for index, item in enumerate(items):
            if not item.signal:
                continue
            owner = signals.setdefault(item.signal, _Signals(queue, []))
            if owner.queue != queue:
                rule = f"a counter has one writer, and queue {owner.queue.name} raises this one"
                raise fault(queue, index, item, "signal", item.signal, rule)
            owner.positions.append(index + 1)
    return signals


_Targets = dict[Queue, list[tuple[tuple[Queue, int], ...]]]
_Clocks = dict[Queue, list[list[int]]]


def _order(
    queues: Mapping[Queue, list[Instruction]], signals: Mapping[int, _Signals]
) -> tuple[list[tuple[Queue, int]], _Targets, _Clocks]:
    """Run the queues without data: an order that satisfies every wait, and what each instruction knows to be done."""
    done = dict.fromkeys(Queue, 0)
    order: list[tuple[Queue, int]] = []
    targets: _Targets = {queue: [] for queue in Queue}
    clocks: _Clocks = {queue: [] for queue in Queue}
    total = sum(len(items) for items in queues.values())
    while len(order) < total:
        progress = False
        for queue, items in queues.items():
            while done[queue] < len(items):
                index = done[queue]
                if len(targets[queue]) == index:
                    known = clocks[queue][-1] if index else [0] * len(Queue)
                    targets[queue].append(_targets(queue, index, items[index], known, signals))
                if any(position > done[other] for other, position in targets[queue][index]):
                    break
                clocks[queue].append(_clock(queue, index, targets[queue][index], clocks))
                order.append((queue, index))
                done[queue] += 1
                progress = True
        if not progress:
            raise _deadlock(queues, done, targets)
    return order, targets, clocks


def _targets(
    queue: Queue, index: int, item: Instruction, known: list[int], signals: Mapping[int, _Signals]
) -> tuple[tuple[Queue, int], ...]:
    """The instruction of another queue that each wait stands for."""
    found: list[tuple[Queue, int]] = []
    for name, wait in (("wait_a", item.wait_a), ("wait_b", item.wait_b)):
        if not wait.counter:
            continue
        owner = signals.get(wait.counter)
        if owner is None:
            raise fault(queue, index, item, name, tuple(wait), "some instruction raises the counter")
        base = owner.raised(known[owner.queue])
        ahead = (wait.value - base) % COUNTER_MODULUS
        if ahead >= _HALF:
            continue  # already reached: the signed difference is negative
        if base + ahead > len(owner.positions):
            rule = f"queue {owner.queue.name} raises the counter {len(owner.positions)} times"
            raise fault(queue, index, item, name, tuple(wait), rule)
        position = owner.positions[base + ahead - 1] if base + ahead else 0
        if owner.queue == queue and position > index:
            raise fault(queue, index, item, name, tuple(wait), "a queue does not wait for its own later instructions")
        found.append((owner.queue, position))
    return tuple(found)


def _clock(queue: Queue, index: int, targets: tuple[tuple[Queue, int], ...], clocks: _Clocks) -> list[int]:
    clock = list(clocks[queue][index - 1]) if index else [0] * len(Queue)
    clock[queue] = index
    for other, position in targets:
        if position > clock[other]:
            clock = [max(pair) for pair in zip(clock, clocks[other][position - 1], strict=True)]
            clock[other] = max(clock[other], position)
    return clock


def _deadlock(
    queues: Mapping[Queue, list[Instruction]], done: Mapping[Queue, int], targets: _Targets
) -> InstructionError:
    stuck: list[str] = []
    for queue, items in queues.items():
        if done[queue] < len(items):
            waits = " and ".join(
                f"{other.name} {position - 1}"
                for other, position in targets[queue][done[queue]]
                if position > done[other]
            )
            stuck.append(f"{queue.name} {done[queue]} ({items[done[queue]].MNEMONIC}) for {waits}")
    return InstructionError(
        "the waits of the program cannot all be satisfied", expected="no cycle of waits", found="; ".join(stuck)
    )


def _check_lag(queues: Mapping[Queue, list[Instruction]], clocks: _Clocks, signals: Mapping[int, _Signals]) -> None:
    """When a wait is evaluated, its counter is less than half its range ahead of the value waited for."""
    for queue, items in queues.items():
        for index, item in enumerate(items):
            for name, wait in (("wait_a", item.wait_a), ("wait_b", item.wait_b)):
                if wait.counter:
                    owner = signals[wait.counter]
                    if len(owner.positions) >= _HALF:
                        _check_one_lag(queue, index, item, name, wait, owner, clocks)


def _check_one_lag(
    queue: Queue, index: int, item: Instruction, name: str, wait: Wait, owner: _Signals, clocks: _Clocks
) -> None:
    base = owner.raised(clocks[queue][index - 1][owner.queue] if index else 0)
    ahead = (wait.value - base) % COUNTER_MODULUS
    target = base + ahead - (COUNTER_MODULUS if ahead >= _HALF else 0)
    late = target + _HALF
    if late <= len(owner.positions) and clocks[owner.queue][owner.positions[late - 1] - 1][queue] <= index:
        rule = f"the counter is not raised {late} times before this instruction has started"
        raise fault(queue, index, item, name, tuple(wait), rule)


def _check_hazards(
    queues: Mapping[Queue, list[Instruction]],
    order: list[tuple[Queue, int]],
    clocks: _Clocks,
    program: Program,
    machine: Machine,
) -> None:
    every = {queue: [item.accesses() for item in items] for queue, items in queues.items()}
    touched = LastTouch(machine, program.regions, chain.from_iterable(chain.from_iterable(every.values())))
    for queue, index in order:
        item, accesses = queues[queue][index], every[queue][index]
        clock = clocks[queue][index]
        for other, position in zip(Queue, touched.conflicts(queue, accesses), strict=True):
            if position > clock[other]:
                first = f"{other.name} {position - 1} ({queues[other][position - 1].MNEMONIC})"
                raise fault(
                    queue, index, item, "wait_a", f"no wait that orders it after {first}", "conflicts are ordered"
                )
        touched.record(queue, index + 1, accesses)
