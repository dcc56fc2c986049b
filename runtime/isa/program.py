"""A device program: streams of instructions, the DRAM regions they refer to, and the machine they were made for.

The bytes of a program are a 16-byte head (magic, version, length of the description), a JSON description (machine,
regions, names of layers, instruction counts), the streams cluster by cluster, each in order LD, LW, ST, MAC, VEC, and
for every instruction the index of its layer. Contents of constant regions are not part of it: the artifact holds them
beside it.
"""

import struct
from collections.abc import Mapping
from dataclasses import field
from enum import Enum
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from tilewright.errors import InstructionError, MachineError
from tilewright.immutable import Immutable

from ..artifact.json_dataclasses import AtMost, Bounds, Source, parse, read, write
from ..machines.machine import CLUSTER_LIMIT, Machine
from .encoding import INSTRUCTION_BYTES, Instruction, Queue, Stream, decode, streams

MAGIC = b"TWDP"
VERSION = 7
"""That of the instruction set and of the layouts that it reads, which is what changes from one to the next."""
MAX_REGIONS = 16
NO_LAYER = 0xFFFFFFFF
_HEAD = struct.Struct("<4sIQ")
_SOURCE = Source("device program", InstructionError)
_Size = Annotated[int, Bounds(0, 1 << 40)]


class RegionKind(Enum):
    """What a DRAM region is for. Constants and inputs are never written by a program."""

    CONSTANT = "constant"
    INPUT = "input"
    OUTPUT = "output"
    SCRATCH = "scratch"


class Region(Immutable):
    """A range of DRAM that instructions address relative to its start; loading decides where it lies."""

    name: str
    kind: RegionKind
    size: _Size


class _Description(Immutable):
    """What the file form of a program says in JSON; ``instructions`` counts those of each stream."""

    machine: Machine
    machine_hash: str
    reduced: Mapping[str, Annotated[int, Bounds(0, 10**13)]]
    regions: Annotated[tuple[Region, ...], AtMost(MAX_REGIONS)]
    layers: tuple[str, ...]
    instructions: Mapping[str, _Size]


class Program(Immutable):
    """A device program in its binary form.

    Attributes:
        machine: what it was made for.
        regions: DRAM regions, at most 16; instructions name them by index.
        queues: the encoded instructions of each stream; those of clusters 0, 1, … as far as the program uses them.
        layers: names for the debug map.
        layer_of: for each stream, uint32 [instructions], index into ``layers`` or ``NO_LAYER``.
        reduced: fields of the machine of which its schedule uses less than there is, and how much.
    """

    machine: Machine
    regions: tuple[Region, ...]
    queues: Mapping[Stream, bytes]
    layers: tuple[str, ...]
    layer_of: Mapping[Stream, NDArray[np.uint32]]
    reduced: Mapping[str, int] = field(default_factory=dict)

    @property
    def planned_machine(self) -> Machine:
        """What its schedule was made for: the machine, or less of it."""
        return self.machine.reduced(self.reduced)

    @property
    def clusters(self) -> int:
        """How many clusters of a card it uses."""
        return len(self.queues) // len(Queue)

    def packed_sizes(self, stream: Stream) -> list[int]:
        """Bytes that each instruction of a stream takes in DRAM: a word that says which of its words of 32 bits are
        others than those of the instruction before it, and these; before the first one all are 0."""
        words = np.frombuffer(self.queues[stream], "<u4").reshape(-1, INSTRUCTION_BYTES // 4)
        before = np.pad(words[:-1], ((1, 0), (0, 0))) if len(words) else words
        return (4 + 4 * (words != before).sum(1)).tolist()

    def check_dram(self) -> None:
        """Prove that the DRAM of a card holds the regions. Raises MachineError: it is too small."""
        needed, available = sum(region.size for region in self.regions), self.machine.dram_bytes
        if needed > available:
            raise MachineError(
                "the weights and maps of the device program do not fit into the DRAM of a card",
                expected=f"at most {available} bytes ('dram_bytes' of machine {self.machine.name!r})",
                found=needed,
                hint="Compile for a machine with more, or leave ops to the CPU by --affinity.",
            )

    def instructions(self, stream: Stream) -> list[Instruction]:
        """Decode a stream. Raises InstructionError: naming stream, index and field."""
        data = self.queues[stream]
        if len(data) % INSTRUCTION_BYTES:
            raise InstructionError(
                f"stream {stream.name}: the length is not a whole number of instructions",
                expected=f"a multiple of {INSTRUCTION_BYTES}",
                found=len(data),
            )
        decoded: list[Instruction] = []
        for index in range(len(data) // INSTRUCTION_BYTES):
            try:
                decoded.append(decode(data[index * INSTRUCTION_BYTES : (index + 1) * INSTRUCTION_BYTES]))
            except InstructionError as error:
                raise InstructionError(
                    f"stream {stream.name}, instruction {index}: {error.message}",
                    expected=error.expected,
                    found=error.found,
                ) from None
        return decoded

    def disassemble(self) -> str:
        """All instructions as text, one a line, stream by stream, with the layer as a comment where it changes."""
        lines: list[str] = []
        for stream in self.queues:
            lines.append(f"stream {stream.name}")
            shown = NO_LAYER
            for index, item in enumerate(self.instructions(stream)):
                layer = int(self.layer_of[stream][index])
                if layer not in (shown, NO_LAYER):
                    lines.append(f"  ; {self.layers[layer]}")
                shown = layer
                lines.append(f"  {index:5} {item}")
        return "\n".join(lines)

    def to_bytes(self) -> bytes:
        """The file form; ``from_bytes`` is its inverse."""
        counts = {stream.name: len(data) // INSTRUCTION_BYTES for stream, data in self.queues.items()}
        text = write(_Description(self.machine, self.machine.hash, self.reduced, self.regions, self.layers, counts))
        text += b" " * (-len(text) % 16)
        parts = [_HEAD.pack(MAGIC, VERSION, len(text)), text]
        parts += self.queues.values()
        parts += [self.layer_of[stream].astype("<u4").tobytes() for stream in self.queues]
        return b"".join(parts)

    @staticmethod
    def from_bytes(data: bytes) -> "Program":
        """Parse the file form.
        Raises InstructionError: truncated, of another version, or not consistent; MachineError: the embedded machine
        description is invalid or does not match its hash, or the schedule is for no such machine."""
        if len(data) < _HEAD.size:
            raise _damaged("shorter than its head", _HEAD.size, len(data))
        magic, version, length = _HEAD.unpack_from(data)
        if magic != MAGIC:
            raise _damaged("wrong magic", MAGIC, magic)
        if version != VERSION:
            raise InstructionError(
                f"device program: instruction set {version} is not the one that is run here",
                expected=VERSION,
                found=version,
                hint="Compile the model again.",
            )
        if length > len(data) - _HEAD.size:
            raise _damaged("truncated description", length, len(data) - _HEAD.size)
        text, body = data[_HEAD.size : _HEAD.size + length], data[_HEAD.size + length :]
        return _assemble(read(_Description, parse(text, _SOURCE), _SOURCE), body)


def _damaged(what: str, expected: object, found: object) -> InstructionError:
    return InstructionError(f"device program: {what}", expected=expected, found=found)


def _assemble(description: _Description, body: bytes) -> Program:
    machine, regions, layers = description.machine, description.regions, description.layers
    counts = description.instructions
    if machine.hash != description.machine_hash:
        raise MachineError("device program: machine description and hash disagree", found=description.machine_hash)
    if len({region.name for region in regions}) != len(regions):
        raise _damaged("two regions have one name", None, ", ".join(region.name for region in regions))
    every = streams(min(len(counts) // len(Queue), CLUSTER_LIMIT))
    if not every or set(counts) != {stream.name for stream in every}:
        wanted = "a count for each of LD, LW, ST, MAC and VEC of every cluster from 0 on"
        raise _damaged("instruction counts are wrong", wanted, counts)
    expected = sum(counts.values()) * (INSTRUCTION_BYTES + 4)
    if len(body) != expected:
        raise _damaged("length does not match the instruction counts", f"{expected} bytes", len(body))
    queues: dict[Stream, bytes] = {}
    layer_of: dict[Stream, NDArray[np.uint32]] = {}
    start = 0
    for stream in every:
        end = start + counts[stream.name] * INSTRUCTION_BYTES
        queues[stream] = body[start:end]
        start = end
    for stream in every:
        layer_of[stream] = np.frombuffer(body, "<u4", counts[stream.name], start).astype(np.uint32)
        start += 4 * counts[stream.name]
        known = (layer_of[stream] < len(layers)) | (layer_of[stream] == NO_LAYER)
        if not known.all():
            raise _damaged(f"layer index of stream {stream.name} is out of range", f"below {len(layers)}", None)
    machine.reduced(description.reduced)
    return Program(machine, regions, queues, layers, layer_of, description.reduced)


def fault(stream: Stream, index: int, item: Instruction, field: str, found: object, rule: str) -> InstructionError:
    """An error that names stream, instruction and field, what was found and the rule."""
    return InstructionError(
        f"stream {stream.name}, instruction {index} ({item.MNEMONIC}): field '{field}' breaks a rule",
        expected=rule,
        found=found,
    )
