"""What is proved of a program before its first instruction runs.

Every instruction decodes, belongs to its stream and stays inside the memories of the machine; the waits can be
satisfied in some order, whatever the speed of the units; and any two instructions that touch the same bytes, one of
them writing, are ordered by waits. The order found here is the one in which the functional engine executes. Programs
of several cards that run together are proved together: what one sends another receives, and a send waits for all that
its receive waits for, so that a circle of waits may go over cards.
"""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import TypeVar

from tilewright.errors import InstructionError, MachineError, ResourceError
from tilewright.immutable import Immutable
from tilewright.limits import DEVICE_COMPARISONS, DEVICE_INSTRUCTIONS, DEVICE_REGIONS

from ..isa.accesses import MemoryAccess
from ..isa.assembler import Assembler
from ..isa.encoding import INSTRUCTION_BYTES, End, Instruction, Stream
from ..isa.hazards import LastTouch
from ..isa.layouts import outside, place_of
from ..isa.program import Program, RegionKind, fault
from ..isa.transfer import Message, Receive, Send
from ..machines.machine import Machine
from .written import Written

Place = tuple[Stream, int]
"""An instruction: its stream, and its index there."""

_Key = tuple[int, int, int]
"""A message: the card that sends it, the one that receives it, and its tag."""

MessageType = TypeVar("MessageType", Send, Receive)


def pair_messages(queues: Mapping[Stream, Sequence[Instruction]], cards: int) -> dict[Place, Place]:
    """The receive of every send.
    ``queues``: the instructions of all cards that run together.
    ``cards``: how many these are.
    Raises InstructionError: a message is from or to a card that is none of them, or its own; has the tag of another one
    between the two; or has no other end, or one of another length."""
    sent, received = _by_message(queues, cards, Send), _by_message(queues, cards, Receive)
    for one, other, what in ((sent, received, "receives"), (received, sent, "sends")):
        for key, (stream, index, item) in one.items():
            if key not in other:
                direction = "to" if what == "sends" else "from"
                found = f"card {item.peer} {what} no message {item.tag} {direction} card {stream.card}"
                rule = "every SND has its RCV on the other card, and every RCV its SND"
                raise fault(stream, index, item, "tag", found, rule)
    pairs: dict[Place, Place] = {}
    for key, (stream, index, item) in sent.items():
        end, position, twin = received[key]
        if item.dram_bytes != twin.dram_bytes:
            name = f"{end.name} {position} (RCV)"
            found = f"{item.dram_bytes} bytes, of which {name} takes {twin.dram_bytes}"
            raise fault(stream, index, item, "run", found, "a message has as many bytes where it is received")
        pairs[stream, index] = end, position
    return pairs


def _by_message(
    queues: Mapping[Stream, Sequence[Instruction]], cards: int, cls: type[MessageType]
) -> dict[_Key, tuple[Stream, int, MessageType]]:
    found: dict[_Key, tuple[Stream, int, MessageType]] = {}
    for stream, items in queues.items():
        for index, item in enumerate(items):
            if not isinstance(item, Message):
                continue
            if item.peer >= cards or item.peer == stream.card:
                others = ", ".join(str(card) for card in range(cards) if card != stream.card)
                rule = f"one of the other cards that run the program: {others}" if others else "there is no other card"
                raise fault(stream, index, item, "peer", f"card {item.peer}", rule)
            if not isinstance(item, cls):
                continue
            sender, receiver = (stream.card, item.peer) if cls is Send else (item.peer, stream.card)
            key = sender, receiver, item.tag
            if key in found:
                first = f"{found[key][0].name} {found[key][1]}"
                rule = "each message from one card to another has a tag of its own"
                raise fault(stream, index, item, "tag", f"{item.tag}, as of {first} ({item.MNEMONIC})", rule)
            found[key] = stream, index, item
    return found


class OrderedProgram(Immutable):
    """A program whose waits can be satisfied, decoded, or those of several cards that run together.

    Attributes:
        programs: what was decoded, by card.
        queues: decoded instructions.
        order: (stream, index) of all instructions, each after everything it waits for.
        targets: for each stream and instruction, what it waits for: (other stream, instructions of it completed).
        receives: where what a send sends is received.
    """

    programs: tuple[Program, ...]
    queues: Mapping[Stream, list[Instruction]]
    order: list[Place]
    targets: Mapping[Stream, list[tuple[Place, ...]]]
    receives: Mapping[Place, Place]

    @property
    def machine(self) -> Machine:
        """What it was compiled for."""
        return self.programs[0].machine


class VerifiedProgram(OrderedProgram):
    """A program that is safe to run."""


def drafted(assembler: Assembler) -> OrderedProgram:
    """What an assembler has of a program for one card that is modelled and not run: nothing is proved.

    Messages are taken to find their other end ready."""
    return OrderedProgram((assembler.finish(),), assembler.queues, assembler.order, assembler.targets, {})


def verify(program: Program, machine: Machine) -> VerifiedProgram:
    """Prove a program of one card safe for a machine; see :func:`verify_cards`."""
    return verify_cards((program,), machine)


def verify_cards(programs: Sequence[Program], machine: Machine) -> VerifiedProgram:
    """Prove the programs of several cards safe to run together on a machine.
    ``programs``: by card, one at least.
    Raises MachineError: one was made for a machine that differs, the message says how; or it has not so many cards;
    InstructionError: naming stream, index, field, what was found and the rule; ResourceError: they have more
    instructions, or work in larger regions, than the limits allow."""
    if len(programs) > machine.cards:
        raise MachineError(
            "the program uses more cards than the machine has", expected=machine.cards, found=len(programs)
        )
    for program in programs:
        check_machine(program, machine)
    _check_size(programs)
    queues: dict[Stream, list[Instruction]] = {}
    accesses: _Accesses = {}
    for card, program in enumerate(programs):
        for own in program.queues:
            stream = own._replace(card=card)
            queues[stream] = program.instructions(own)
            accesses[stream] = [item.accesses(stream.cluster) for item in queues[stream]]
            _check_stream(stream, queues[stream], accesses[stream], program, machine)
    receives = pair_messages(queues, len(programs))
    order, targets, clocks = _order(queues, receives)
    _check_hazards(queues, accesses, order, clocks, programs, machine)
    return VerifiedProgram(tuple(programs), queues, order, targets, receives)


def check_machine(program: Program, machine: Machine) -> None:
    """Prove that a program was made for a machine, and that its DRAM holds the regions.
    Raises MachineError: the machine differs, the message says how; or its DRAM is too small."""
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
    program.check_dram()


def _check_size(programs: Sequence[Program]) -> None:
    count = sum(len(code) for program in programs for code in program.queues.values()) // INSTRUCTION_BYTES
    if count > DEVICE_INSTRUCTIONS:
        raise ResourceError(
            "the device program is too long", expected=f"at most {DEVICE_INSTRUCTIONS} instructions", found=count
        )
    # Constants take no more than the file holds of them.
    size = sum(region.size for program in programs for region in program.regions if region.kind != RegionKind.CONSTANT)
    if size > DEVICE_REGIONS:
        most = f"at most {DEVICE_REGIONS} bytes"
        raise ResourceError("the regions that the device program works in are too large", expected=most, found=size)


_Accesses = dict[Stream, list[tuple[MemoryAccess, ...]]]
"""What each instruction touches."""


def _check_stream(
    stream: Stream,
    items: list[Instruction],
    accesses: list[tuple[MemoryAccess, ...]],
    program: Program,
    machine: Machine,
) -> None:
    if not items or not isinstance(items[-1], End):
        found = items[-1].MNEMONIC if items else "nothing"
        raise InstructionError(f"stream {stream.name} does not end with END", found=found)
    for index, item in enumerate(items):
        if stream.queue not in item.QUEUES:
            allowed = ", ".join(entry.name for entry in item.QUEUES)
            raise fault(stream, index, item, "opcode", stream.queue.name, f"only in queue {allowed}")
        if isinstance(item, End) and index != len(items) - 1:
            raise fault(stream, index, item, "opcode", "an instruction after END", "END is the last of its stream")
        violation = outside(item, stream, program.clusters, machine, program.regions, accesses[index])
        if violation:
            raise fault(stream, index, item, *violation)


_Targets = dict[Stream, list[tuple[Place, ...]]]
_Clocks = dict[Stream, list[list[int]]]


def _order(
    queues: Mapping[Stream, list[Instruction]], receives: Mapping[Place, Place]
) -> tuple[list[Place], _Targets, _Clocks]:
    """Run the streams without data: an order that satisfies every wait, and what each instruction knows to be done.

    What it knows is for each stream, in their order, how many of its instructions are."""
    numbers = {stream: number for number, stream in enumerate(queues)}
    done = dict.fromkeys(queues, 0)
    order: list[Place] = []
    targets = _all_targets(queues, receives)
    clocks: _Clocks = {stream: [] for stream in queues}
    total = sum(len(items) for items in queues.values())
    while len(order) < total:
        progress = False
        for stream, items in queues.items():
            while done[stream] < len(items):
                index = done[stream]
                if any(position > done[other] for other, position in targets[stream][index]):
                    break
                clocks[stream].append(_clock(stream, index, targets[stream][index], clocks, numbers))
                order.append((stream, index))
                done[stream] += 1
                progress = True
        if not progress:
            raise _deadlock(queues, done, targets)
    return order, targets, clocks


def _all_targets(queues: Mapping[Stream, list[Instruction]], receives: Mapping[Place, Place]) -> _Targets:
    """What every instruction waits for."""
    cards: dict[int, list[Stream]] = {}
    for stream in queues:
        cards.setdefault(stream.card, []).append(stream)
    signals = {stream: [i + 1 for i, item in enumerate(items) if item.signal] for stream, items in queues.items()}
    targets: _Targets = {
        stream: [_targets(stream, index, item, cards[stream.card], signals) for index, item in enumerate(items)]
        for stream, items in queues.items()
    }
    for (stream, index), (end, position) in receives.items():
        # A send goes to where its receive says, when that may be written.
        targets[stream][index] += ((end, position), *targets[end][position])
    for (stream, index), (end, position) in receives.items():
        targets[end][position] += ((stream, index + 1),)
    return targets


def _targets(
    stream: Stream, index: int, item: Instruction, every: list[Stream], signals: Mapping[Stream, list[int]]
) -> tuple[tuple[Stream, int], ...]:
    """The instruction of another stream that each wait stands for; ``every`` are the streams of the card."""
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


def _clock(
    stream: Stream, index: int, targets: tuple[Place, ...], clocks: _Clocks, numbers: Mapping[Stream, int]
) -> list[int]:
    clock = list(clocks[stream][index - 1]) if index else [0] * len(clocks)
    clock[numbers[stream]] = index
    for other, position in targets:
        number = numbers[other]
        if position > clock[number]:
            clock = list(map(max, clock, clocks[other][position - 1]))
            clock[number] = max(clock[number], position)
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
    accesses: _Accesses,
    order: list[Place],
    clocks: _Clocks,
    programs: Sequence[Program],
    machine: Machine,
) -> None:
    """Prove of each card that conflicts are ordered; a card touches no memory of another."""
    first = 0
    for card, program in enumerate(programs):
        last = first + len(program.queues)
        own = [stream for stream in queues if stream.card == card]
        known = {stream: [clock[first:last] for clock in clocks[stream]] for stream in own}
        _check_card(
            {stream: queues[stream] for stream in own},
            {stream: accesses[stream] for stream in own},
            [place for place in order if place[0].card == card],
            *(known, program, machine),
        )
        first = last


def _check_card(
    queues: Mapping[Stream, list[Instruction]],
    every: _Accesses,
    order: list[Place],
    clocks: _Clocks,
    program: Program,
    machine: Machine,
) -> None:
    touched = LastTouch(machine, program.regions, DEVICE_COMPARISONS)
    written = Written(machine, program.regions, chain.from_iterable(chain.from_iterable(every.values())))
    unwritten: InstructionError | None = None
    for stream, index in order:
        item, accesses, clock = queues[stream][index], every[stream][index], clocks[stream][index]
        conflicts = touched.conflicts(stream.number, accesses, clock)
        for other, position, known in zip(queues, conflicts, clock, strict=True) if conflicts != clock else ():
            if position > known:
                first = f"{other.name} {position - 1} ({queues[other][position - 1].MNEMONIC})"
                found = f"no wait that orders it after {first}"
                raise fault(stream, index, item, "waits", found, "conflicts are ordered")
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
