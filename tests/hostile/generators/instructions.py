"""Device programs with other fields, other counts, other regions and another machine: verified, simulated and run."""

from __future__ import annotations

import contextlib
import json
from functools import partial
from typing import Any

import instruction_set as isa
import numpy as np
from single_card import FunctionalEngine

from tilewright.errors import TilewrightError
from tilewright.runtime.isa.encoding import HEADER_BITS, INSTRUCTION_BYTES, decode, encoded_fields
from tilewright.runtime.isa.program import RegionKind
from tilewright.runtime.machines import machine
from tilewright.runtime.simulator.cycles import simulate

from .. import corpus
from ..generator import Case, generator
from ..mutation import damage_bytes, damage_json, pick

_HEAD_BYTES = 16
_BITS = 8 * INSTRUCTION_BYTES


def _split(content: bytes) -> tuple[Any, bytes]:
    """Description and instructions of a program in its file form."""
    length = int.from_bytes(content[8:16], "little")
    return json.loads(content[_HEAD_BYTES : _HEAD_BYTES + length]), content[_HEAD_BYTES + length :]


def _join(content: bytes, description: object, body: bytes) -> bytes:
    text = json.dumps(description, ensure_ascii=False).encode("utf-8", "surrogatepass")
    return content[:8] + len(text).to_bytes(8, "little") + text + body


def _other_field(rng: np.random.Generator, word: int) -> int:
    """An instruction with other values in some of its fields, as they are encoded."""
    try:
        cls = type(decode(word.to_bytes(INSTRUCTION_BYTES, "little")))
    except TilewrightError:
        return word
    fields = encoded_fields(cls)
    for _ in range(pick(rng, (1, 1, 1, 2, 3))):
        if not fields:
            break
        field = pick(rng, fields)
        mask = (1 << field.bits.width) - 1
        old = word >> field.shift & mask
        numbers = (0, 1, 2, mask, mask - 1, mask >> 1, (mask >> 1) + 1, old + 1, old - 1, old * 2, old // 2, old + 16)
        value = pick(rng, (*numbers, int(rng.integers(mask + 1))))
        word = word & ~(mask << field.shift) | (value & mask) << field.shift
    return word


def _other_bits(rng: np.random.Generator, word: int, other: int) -> int:
    """An instruction with a run of bits set, cleared, or taken from another one."""
    start, width = int(rng.integers(_BITS)), pick(rng, (1, 1, 4, 16, HEADER_BITS))
    mask = ((1 << width) - 1) << start & ((1 << _BITS) - 1)
    return pick(rng, (word | mask, word & ~mask, word ^ mask, word & ~mask | other & mask))


def _other_instructions(rng: np.random.Generator, program: isa.Program, body: bytes) -> bytes:
    damaged = bytearray(body)
    count = sum(len(queue) for queue in program.queues.values()) // INSTRUCTION_BYTES

    def word(index: int) -> int:
        return int.from_bytes(damaged[index * INSTRUCTION_BYTES : (index + 1) * INSTRUCTION_BYTES], "little")

    for _ in range(pick(rng, (1, 1, 2, 4))):
        index, other = int(rng.integers(count)), word(int(rng.integers(count)))
        kind = rng.integers(8)
        new = (
            _other_field(rng, word(index)) if kind < 6 else _other_bits(rng, word(index), other) if kind < 7 else other
        )
        damaged[index * INSTRUCTION_BYTES : (index + 1) * INSTRUCTION_BYTES] = new.to_bytes(INSTRUCTION_BYTES, "little")
    return bytes(damaged)


def _other_description(rng: np.random.Generator, description: Any) -> Any:
    """Another machine, with the hash that fits it, other regions or other counts."""
    part = pick(rng, ("machine", "regions", "instructions", "whole"))
    if part == "whole":
        return damage_json(rng, description, 2)
    changed = {**description, part: damage_json(rng, description[part], pick(rng, (1, 1, 2)))}
    if part == "machine":
        with contextlib.suppress(TilewrightError, TypeError, ValueError):
            changed["machine_hash"] = machine.read_file(
                json.dumps({"format": 1, **changed["machine"]}), "m.json"
            ).machine.hash
    return changed


@generator("instructions", prepare=corpus.device_programs)
def instructions(rng: np.random.Generator) -> Case:
    program, constants = pick(rng, corpus.device_programs())
    content = program.to_bytes()
    description, body = _split(content)
    kind = rng.integers(8)
    if kind < 5:
        body = _other_instructions(rng, program, body)
    elif kind < 7:
        description = _other_description(rng, description)
    content = damage_bytes(rng, content) if kind == 7 else _join(content, description, body)
    if rng.integers(8) == 0:
        constants = damage_bytes(rng, constants)
    return Case(content.decode(errors="replace"), partial(_run, rng, content, constants))


def _run(rng: np.random.Generator, content: bytes, constants: bytes) -> None:
    program = isa.Program.from_bytes(content)
    program.disassemble().encode()
    arrays = {
        region.name: np.frombuffer(constants, np.uint8)
        for region in program.regions
        if region.kind is RegionKind.CONSTANT
    }
    engine = FunctionalEngine(program, program.machine, arrays)
    simulate(engine.verified)
    inputs = {
        region.name: rng.integers(0, 256, region.size, np.uint8)
        for region in program.regions
        if region.kind is RegionKind.INPUT and region.size < 1 << 24
    }
    engine.run(inputs)
