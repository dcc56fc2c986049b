"""How an instruction becomes 512 bits and comes back; what the fields are is said once, in ``isa``.

An instruction is 64 bytes, little-endian. Bits 0 to 159 are the same for all of them: opcode, data type, signal, flag
bits and four waits. Bits 160 to 511 are the body, whose fields follow each other in the order in which the
instruction's class declares them, those of a base class first but for what says behind which field it lies. Bits that
no field owns are reserved and must be zero. Encoder, decoder and disassembler read the declarations; there is no second
list.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import MISSING, dataclass, field, fields
from enum import IntEnum
from functools import cache
from operator import le
from typing import Any, ClassVar, NamedTuple, TypeVar

from tilewright.blocks import dataclass_transform
from tilewright.errors import InstructionError
from tilewright.immutable import Immutable, reader

from ..machines.machine import CLUSTER_LIMIT
from .accesses import MemoryAccess

INSTRUCTION_BYTES = 64
FLAG_START = 9
FLAG_END = 32
HEADER_BITS = 160
WAITS = 4
COUNTER_LIMIT = (1 << 24) - 1


class Queue(IntEnum):
    """The in-order instruction queues of a cluster, one for each unit."""

    LD = 0
    LW = 1
    ST = 2
    MAC = 3
    VEC = 4


QUEUES = len(Queue)
COUNTERS = CLUSTER_LIMIT * QUEUES


class Stream(NamedTuple):
    """A queue of one cluster: what runs in order. A card has as many as it has clusters, times five.

    Programs know the streams of their own card, which is 0 there; where several run together, ``card`` counts them."""

    cluster: int
    queue: Queue
    card: int = 0

    @property
    def name(self) -> str:
        """Queue and cluster, as in ``MAC0``, or ``card1:MAC0`` on another card than the first."""
        return f"{f'card{self.card}:' if self.card else ''}{self.queue.name}{self.cluster}"

    @property
    def number(self) -> int:
        """Position among the streams of a card, from 0."""
        return self.cluster * QUEUES + self.queue

    @property
    def counter(self) -> int:
        """The counter that its instructions raise; 0 is none."""
        return self.number + 1


@cache
def streams(clusters: int) -> tuple[Stream, ...]:
    """The streams of so many clusters of a card, in order of their numbers."""
    return tuple(Stream(cluster, queue) for cluster in range(clusters) for queue in Queue)


class Wait(NamedTuple):
    """Do not start before ``counter`` has reached ``value``."""

    counter: int
    value: int

    def __str__(self) -> str:
        return f"{streams(CLUSTER_LIMIT)[self.counter - 1].name}>={self.value}"


class Violation(NamedTuple):
    """A rule of an instruction, and the field and value that break it."""

    field: str
    found: object
    rule: str


FIRST, LAST = "(first)", "(last)"
"""Behind no field, and behind all, those of instructions that are declared by this one included."""


class Bits(Immutable):
    """Declaration of one field: its width, what it means, its unit, the least and the largest value that make sense,
    and behind which field its bits lie; by default behind those that are declared before it."""

    width: int
    doc: str
    unit: str = ""
    signed: bool = False
    minimum: int | None = None
    flag: bool = False
    after: str = ""
    maximum: int | None = None

    @property
    def lowest(self) -> int:
        """Smallest value that the encoding holds and the instruction allows."""
        if self.minimum is not None:
            return self.minimum
        return -(1 << self.width - 1) if self.signed else 0

    @property
    def highest(self) -> int:
        """Largest value that the encoding holds and the instruction allows."""
        if self.maximum is not None:
            return self.maximum
        return (1 << (self.width - 1 if self.signed else self.width)) - 1


def bits(
    width: int,
    doc: str,
    *,
    unit: str = "",
    signed: bool = False,
    minimum: int | None = None,
    maximum: int | None = None,
    after: str = "",
    default: Any = MISSING,
):
    """Declare a body field of an instruction; one that is declared again keeps the place of its bits."""
    return field(
        default=default, metadata={"bits": Bits(width, doc, unit, signed, minimum, after=after, maximum=maximum)}
    )


def flag(doc: str, *, width: int = 1):
    """Declare a field among the flag bits of the header; flags take the bits in order of declaration."""
    return field(default=0, metadata={"bits": Bits(width, doc, flag=True)})


@dataclass_transform(frozen_default=True, kw_only_default=True)
@dataclass(frozen=True, kw_only=True)
class Instruction:
    """Base of all instructions: what every one of them can wait for and signal.
    Raises InstructionError: on encoding, if a field does not hold its value or breaks a rule of the instruction."""

    MNEMONIC: ClassVar[str] = ""
    OPCODE: ClassVar[int] = 0
    QUEUES: ClassVar[tuple[Queue, ...]] = ()

    waits: tuple[Wait, ...] = ()
    signal: int = 0

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        dataclass(frozen=True, kw_only=True)(cls)

    def accesses(self, cluster: int) -> tuple[MemoryAccess, ...]:
        """Every byte range that the instruction reads or writes when a stream of ``cluster`` runs it."""
        return ()

    def misplaced(self, cluster: int) -> Violation | None:
        """The rule that forbids a stream of ``cluster`` to run it, if there is one."""
        return None

    def violations(self) -> Iterator[Violation]:
        """Broken rules between fields; ranges of single fields are checked by the encoder."""
        return iter(())

    def __str__(self) -> str:
        return disassemble(self)


class EncodedField(NamedTuple):
    """A field, how far it is shifted in the 512 bits, the mask of the bits that it owns, and its range."""

    name: str
    bits: Bits
    shift: int
    mask: int
    lowest: int
    highest: int


_TABLE: dict[int, type[Instruction]] = {}
InstructionType = TypeVar("InstructionType", bound=type[Instruction])


def instruction(mnemonic: str, opcode: int, *queues: Queue) -> Callable[[InstructionType], InstructionType]:
    """Class decorator that enters an instruction into the table."""

    def register(cls: InstructionType) -> InstructionType:
        cls.MNEMONIC, cls.OPCODE, cls.QUEUES = mnemonic, opcode, queues
        assert opcode not in _TABLE and 0 < opcode < 64, f"opcode {opcode} of {mnemonic} is taken or out of range"
        for entry in encoded_fields(cls):
            end = FLAG_END if entry.bits.flag else 8 * INSTRUCTION_BYTES
            assert entry.shift + entry.bits.width <= end, f"{mnemonic}: no bits are left for {entry.name}"
        _TABLE[opcode] = cls
        return cls

    return register


def table() -> list[type[Instruction]]:
    """All instructions in order of their opcodes."""
    return [_TABLE[opcode] for opcode in sorted(_TABLE)]


@cache
def encoded_fields(cls: type[Instruction]) -> tuple[EncodedField, ...]:
    """Fields of an instruction and where they lie, flags first, both in the order of their bits."""
    flags: dict[str, Bits] = {}
    body: list[tuple[str, Bits]] = []
    every = ((item, item.metadata["bits"]) for item in fields(cls) if "bits" in item.metadata)
    for item, declared in sorted(every, key=lambda each: each[1].after == LAST):
        if declared.flag:
            flags[item.name] = declared
        else:
            places = {"": len(body), LAST: len(body), FIRST: 0} | {name: at for at, (name, _) in enumerate(body, 1)}
            body.insert(places[declared.after], (item.name, declared))
    found: list[EncodedField] = []
    for start, group in ((FLAG_START, flags.items()), (HEADER_BITS, body)):
        for name, declared in group:
            mask = (1 << declared.width) - 1 << start
            found.append(EncodedField(name, declared, start, mask, declared.lowest, declared.highest))
            start += declared.width
    return tuple(found)


@cache
def _used_mask(cls: type[Instruction]) -> int:
    mask = (1 << HEADER_BITS) - (1 << FLAG_END) | (1 << FLAG_START) - 1
    for entry in encoded_fields(cls):
        mask |= entry.mask
    return mask


@cache
def _ranges(cls: type[Instruction]) -> tuple[Callable[[Instruction], tuple[Any, ...]], list[int], list[int]]:
    """What reads the fields of an instruction, and the least and the greatest value of each."""
    every = encoded_fields(cls)
    return reader([each.name for each in every]), [each.lowest for each in every], [each.highest for each in every]


def check(item: Instruction) -> Violation | None:
    """The first rule that the instruction breaks: a value out of its field's range, or one of its own rules."""
    if len(item.waits) > WAITS:
        return Violation("waits", len(item.waits), f"at most {WAITS}")
    for wait in item.waits:
        if not 0 < wait.counter <= COUNTERS or not 0 <= wait.value <= COUNTER_LIMIT:
            return Violation("waits", tuple(wait), f"a counter from 1 to {COUNTERS}, a value up to {COUNTER_LIMIT}")
    if not 0 <= item.signal <= 1:
        return Violation("signal", item.signal, "0 or 1")
    read, lowest, highest = _ranges(type(item))
    values = read(item)
    if not (all(map(le, lowest, values)) and all(map(le, values, highest))):
        for entry, value in zip(encoded_fields(type(item)), values, strict=True):
            if not entry.lowest <= value <= entry.highest:
                return Violation(entry.name, value, f"between {entry.lowest} and {entry.highest}")
    return next(item.violations(), None)


def refuse_violations(item: Instruction) -> None:
    """Raise InstructionError if an instruction breaks a rule, see `check`."""
    found = check(item)
    if found:
        raise InstructionError(
            f"{item.MNEMONIC}: field '{found.field}' breaks a rule", expected=found.rule, found=found.found
        )


def encode_checked(item: Instruction, waits: Sequence[Wait], signal: int) -> bytes:
    """The 64 bytes of an instruction that breaks no rule, with these waits and this signal in place of its own."""
    word = item.OPCODE | signal << 8
    for index, wait in enumerate(waits):
        word |= (wait.counter | wait.value << 8) << 32 + 32 * index
    for (_, _, shift, mask, _, _), value in zip(encoded_fields(type(item)), _ranges(type(item))[0](item), strict=True):
        word |= int(value) << shift & mask
    return word.to_bytes(INSTRUCTION_BYTES, "little")


def decode(data: bytes) -> Instruction:
    """The instruction in 64 bytes; the inverse of `encode_checked`.
    Raises InstructionError: wrong length, unknown opcode or data type, a reserved bit set, or a rule broken; the
    message names the field."""
    if len(data) != INSTRUCTION_BYTES:
        raise InstructionError(
            "an instruction has the wrong length", expected=f"{INSTRUCTION_BYTES} bytes", found=len(data)
        )
    word = int.from_bytes(data, "little")
    cls = _TABLE.get(word & 63)
    if cls is None:
        known = ", ".join(f"{each.OPCODE} {each.MNEMONIC}" for each in table())
        raise InstructionError("field 'opcode' is unknown", expected=known, found=word & 63)
    if word >> 6 & 3:
        raise InstructionError(f"{cls.MNEMONIC}: field 'dtype' is reserved", expected="0 (int8)", found=word >> 6 & 3)
    reserved = word & ~_used_mask(cls)
    if reserved:
        position = (reserved & -reserved).bit_length() - 1
        raise InstructionError(f"{cls.MNEMONIC}: reserved bit {position} is set", expected="0", found="1")
    values: dict[str, Any] = {}
    for name, declared, shift, mask, _, _ in encoded_fields(cls):
        value = (word & mask) >> shift
        if declared.signed and value >> declared.width - 1:
            value -= 1 << declared.width
        values[name] = value
    item = cls(waits=_waits(word >> 32), signal=word >> 8 & 1, **values)
    refuse_violations(item)
    return item


def _waits(word: int) -> tuple[Wait, ...]:
    """The waits of a header; slots after the last one in use hold none."""
    slots = [word >> 32 * index & 0xFFFFFFFF for index in range(WAITS)]
    while slots and not slots[-1]:
        slots.pop()
    return tuple(Wait(slot & 0xFF, slot >> 8) for slot in slots)


def disassemble(item: Instruction) -> str:
    """One line of text: mnemonic, all fields in order of declaration, waits and signal."""
    parts = [f"{entry.name}={getattr(item, entry.name)}" for entry in encoded_fields(type(item))]
    parts += [f"wait={wait}" for wait in item.waits]
    if item.signal:
        parts.append("signal")
    return f"{item.MNEMONIC:4} {' '.join(parts)}".rstrip()


@instruction("BAR", 32, *Queue)
class Barrier(Instruction):
    """Do nothing but wait and signal; it gives the next instruction of the stream four more waits."""


@instruction("END", 33, *Queue)
class End(Instruction):
    """The last instruction of a stream. The program is over when every stream has reached its end."""
