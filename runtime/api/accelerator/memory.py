"""The memory of virtual cards: raw reads and writes, allocation, and programs that run from it."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from tilewright import limits

from ...artifact.artifact import Artifact
from ...isa.program import Program, RegionKind
from ...machines.machine import Machine
from ...simulator.cycles import simulate
from ...simulator.functional import FunctionalEngine
from .errors import AcceleratorError
from .flags import Flags

Item = TypeVar("Item")
Whole = int | np.integer

_PAGE = 2**16
_ALIGNMENT = 64
"""Bytes of a burst, which every address that is given out is a multiple of."""


class _Block(NamedTuple):
    """Bytes that were given out."""

    address: int
    size: int
    name: str


@dataclass(frozen=True)
class _Code:
    """A program in the memory of a card, and where each of its regions lies."""

    program: Program
    addresses: tuple[int, ...]


class HardwareRun(NamedTuple):
    """What ``HwRun`` returns: milliseconds by the cycle model, and bytes that the device moved."""

    milliseconds: float
    bytes_moved: int


class CardMemory:
    """The memories of the cards of an object, each of as many bytes as the machine has DRAM, all 0 at first.

    Only pages that were written take memory of this host, bounded by ``tilewright.limits.CARD_MEMORY``. Networks that
    ``Init`` loads lie elsewhere: what is written here changes nothing of them.

    Args:
        machine: its DRAM is the size of each.
        cards: how many there are.
    """

    def __init__(self, machine: Machine, cards: int) -> None:
        self._machine = machine
        self._pages: list[dict[int, NDArray[np.uint8]]] = [{} for _ in range(cards)]
        self._blocks: list[list[_Block]] = [[] for _ in range(cards)]
        self._ends = [0] * cards
        self._code: dict[int, _Code] = {}

    def write(self, address: Whole, data: np.ndarray, card: Whole) -> None:
        """``WriteData``: the bytes of an array, as they are.

        Original: converted float32 to the 16-bit numbers of the device.

        Raises:
            AcceleratorError: no card of this number, beyond its memory, or more than this host keeps.
        """
        if not isinstance(data, np.ndarray) or data.dtype.hasobject:
            raise _refusal("WriteData", "this is no array of numbers", "an array", type(data).__name__)
        self._store(
            card, _whole(address, "WriteData"), np.ascontiguousarray(data).reshape(-1).view(np.uint8), "WriteData"
        )

    def read(self, address: Whole, data: np.ndarray, card: Whole) -> None:
        """``ReadData``: fill an array with the bytes from an address on.

        Raises:
            AcceleratorError: no card of this number, or beyond its memory.
        """
        if not isinstance(data, np.ndarray) or data.dtype.hasobject or not data.flags.writeable:
            raise _refusal("ReadData", "this cannot be read into", "an array of numbers", type(data).__name__)
        found = self._fetch(card, _whole(address, "ReadData"), data.nbytes, "ReadData")
        data[...] = found.view(data.dtype).reshape(data.shape)

    def allocate(self, elements: Whole, size: Whole, card: Whole, name: str, first: int) -> int:
        """``Malloc``: the address of so many elements of so many bytes each, behind all that was given out before.

        Args:
            first: the least address, by the flag ``addroff``.

        Raises:
            AcceleratorError: a number is out of range, or the memory of the card is full.
        """
        for what, number, most in (("nelements", elements, 2**40), ("datasize", size, 8)):
            if isinstance(number, bool) or not isinstance(number, (int, np.integer)) or not 1 <= number <= most:
                raise _refusal("Malloc", f"{what} is out of range", f"1 to {most}", number)
        blocks = self._card(self._blocks, card, "Malloc")
        address = -(-max(first, self._ends[int(card)]) // _ALIGNMENT) * _ALIGNMENT
        self._check_span(address, int(elements) * int(size), "Malloc")
        blocks.append(_Block(address, int(elements) * int(size), str(name)))
        self._ends[int(card)] = address + int(elements) * int(size)
        return address

    def blocks_text(self) -> str:
        """Letter ``c``: what was given out, one block a line."""
        return "\n".join(
            f"card {card} {block.address:#x}: {block.size} bytes, {block.name}"
            for card, blocks in enumerate(self._blocks)
            for block in blocks
        )

    def read_code(self, path: str | os.PathLike[str], address: Whole, flags: Flags) -> int:
        """``ReadCode``: load the device program of an artifact into card 0, its regions behind its instructions.

        Inputs are filled with random numbers by the flags ``seed`` and ``rand``; write others over them.

        Returns:
            The bytes that it takes. The letter ``c`` of ``debug`` shows where its regions lie.

        Original: instructions alone, from text.

        Raises:
            ArtifactError: the file cannot be read, or is no artifact.
            AcceleratorError: it holds not exactly one device program, or does not fit the memory.
        """
        address = _whole(address, "ReadCode")
        artifact = Artifact.open(path)
        programs = list(artifact.manifest.device_programs.values())
        cards = sum(len(each.of_cards) for each in programs)
        if cards != 1:
            raise _refusal("ReadCode", f"{artifact.origin} is not one program", "one device program", cards)
        content = artifact.copy(programs[0].instructions)
        program = Program.from_bytes(content)
        position = address + len(content)
        addresses: list[int] = []
        for region in program.regions:
            position = -(-position // _ALIGNMENT) * _ALIGNMENT
            addresses.append(position)
            position += region.size
        self._check_span(address, position - address, "ReadCode")
        filled = sum(r.size for r in program.regions if r.kind in (RegionKind.CONSTANT, RegionKind.INPUT))
        if filled > limits.CARD_MEMORY:
            raise _refusal("ReadCode", "this is more than is kept", f"at most {limits.CARD_MEMORY} bytes", filled)
        self._store(0, address, content, "ReadCode")
        kept = (each for each in self._blocks[0] if not address <= each.address < position)
        self._blocks[0] = [*kept, _Block(address, len(content), f"instructions of {artifact.origin}")]
        generator = np.random.default_rng(flags.seed)
        for region, start in zip(program.regions, addresses, strict=True):
            if region.kind is RegionKind.CONSTANT:
                self._store(0, start, artifact.copy(programs[0].weights), "ReadCode")
            elif region.kind is RegionKind.INPUT:
                counted = np.arange(region.size, dtype=np.int64).astype(np.uint8)
                self._store(0, start, generator.bytes(region.size) if flags.rand else counted, "ReadCode")
            self._blocks[0].append(_Block(start, region.size, f"{region.kind.value} {region.name}"))
        self._code[address] = _Code(program, tuple(addresses))
        self._ends[0] = max(self._ends[0], position)
        return position - address

    def run(self, address: Whole, size: Whole) -> HardwareRun:
        """``HwRun``: run the program at an address of card 0 in the simulator of the instructions.

        Args:
            size: bytes that it is known to give, which must be those of its output regions; 0 for whatever it gives.

        Raises:
            AcceleratorError: `read_code` put no program there, or it gives another number of bytes.
            TilewrightError: what lies there is no sound program any more, or takes too long to simulate.
        """
        code = self._code.get(_whole(address, "HwRun"))
        if code is None:
            known = ", ".join(f"{each:#x}" for each in self._code) or "none yet"
            raise _refusal(
                "HwRun", "there is no program at this address", f"one that ReadCode filled: {known}", address
            )
        program = code.program
        regions = list(zip(program.regions, code.addresses, strict=True))
        given = sum(region.size for region, _ in regions if region.kind is RegionKind.OUTPUT)
        if size not in (0, given):
            raise _refusal("HwRun", "the program gives another number of bytes", given, size)
        contents = {
            region.name: self._fetch(0, start, region.size, "HwRun")
            for region, start in regions
            if region.kind in (RegionKind.CONSTANT, RegionKind.INPUT)
        }
        constants = {
            region.name: contents.pop(region.name) for region, _ in regions if region.kind is RegionKind.CONSTANT
        }
        engine = FunctionalEngine(program, program.machine, constants)
        outputs = engine.run(contents)
        for region, start in regions:
            if region.kind is RegionKind.OUTPUT:
                self._store(0, start, outputs[region.name], "HwRun")
        timeline = simulate(engine.verified)
        return HardwareRun(timeline.seconds * 1e3, timeline.dram_bytes)

    def _store(self, card: Whole, address: int, data: np.ndarray | bytes, stage: str) -> None:
        data = np.frombuffer(data, np.uint8)
        pages = self._card(self._pages, card, stage)
        self._check_span(address, len(data), stage)
        touched = range(address // _PAGE, (address + len(data) + _PAGE - 1) // _PAGE)
        fresh = sum(number not in pages for number in touched)
        kept = (sum(map(len, self._pages)) + fresh) * _PAGE
        if kept > limits.CARD_MEMORY:
            raise _refusal(stage, "more is written than this host keeps", f"at most {limits.CARD_MEMORY} bytes", kept)
        for number in touched:
            if number not in pages:
                pages[number] = np.zeros(_PAGE, np.uint8)
            start, end = max(address, number * _PAGE), min(address + len(data), (number + 1) * _PAGE)
            pages[number][start - number * _PAGE : end - number * _PAGE] = data[start - address : end - address]

    def _fetch(self, card: Whole, address: int, size: int, stage: str) -> NDArray[np.uint8]:
        pages = self._card(self._pages, card, stage)
        self._check_span(address, size, stage)
        found = np.zeros(size, np.uint8)
        for number in range(address // _PAGE, (address + size + _PAGE - 1) // _PAGE):
            if number in pages:
                start, end = max(address, number * _PAGE), min(address + size, (number + 1) * _PAGE)
                page = pages[number][start - number * _PAGE : end - number * _PAGE]
                found[start - address : end - address] = page
        return found

    def _card(self, of_each: Sequence[Item], card: Whole, stage: str) -> Item:
        if isinstance(card, bool) or not isinstance(card, (int, np.integer)) or not 0 <= card < len(of_each):
            raise _refusal(stage, "there is no card of this number", f"0 to {len(of_each) - 1}", card)
        return of_each[int(card)]

    def _check_span(self, address: int, size: int, stage: str) -> None:
        if not 0 <= address <= address + size <= self._machine.dram_bytes:
            expected = f"0 to {self._machine.dram_bytes} ({self._machine.name})"
            raise _refusal(stage, "this lies outside the memory of a card", expected, f"{size} bytes from {address}")


def _whole(address: object, stage: str) -> int:
    """An address as Python counts: NumPy's numbers of 64 bits wrap around."""
    if isinstance(address, bool) or not isinstance(address, (int, np.integer)):
        raise _refusal(stage, "this is no address", "a whole number", type(address).__name__)
    return int(address)


_FUNCTIONS = {0: "relu", 1: "sigmoid", 2: "none", 3: "tanh"}
_BLOCKS, _POINTS = 4, 128


def nonlinear_coefficients(kind: int) -> NDArray[np.int16]:
    """``GetNonlinCoefs``: int16 [4, 128], a function in Q8.8 at the 512 points from -8 in steps of 1/32.

    The device has other tables: one of 256 bytes for each activation, which follows from the scales of its operand and
    its result.

    Args:
        kind: 0 relu, 1 sigmoid, 2 none, 3 tanh.

    Original: the form of the table is undocumented.

    Raises:
        AcceleratorError: there is no such kind.
    """
    if kind not in _FUNCTIONS:
        expected = ", ".join(f"{number} {name}" for number, name in _FUNCTIONS.items())
        raise _refusal("GetNonlinCoefs", "there is no such function", expected, kind)
    x = -8 + np.arange(_BLOCKS * _POINTS) / 32
    values = {0: np.maximum(x, 0), 1: 1 / (1 + np.exp(-x)), 2: x, 3: np.tanh(x)}[kind]
    return np.rint(values * math.ldexp(1, 8)).astype(np.int16).reshape(_BLOCKS, _POINTS)


def _refusal(stage: str, message: str, expected: object, found: object) -> AcceleratorError:
    return AcceleratorError(message, stage=stage, expected=expected, found=found)
