"""What the verifier accepts gives the same bytes in every legal order; what it must refuse, it refuses.

Programs of several kinds, half of them for several clusters. Without any one wait, or with any one weaker, none is
accepted. Of programs with changed fields, those that are accepted are run in random legal orders on memories full of
different bytes: whoever saw a difference would have raced, or read what nothing wrote.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from device_cases import (
    SMALL,
    Case,
    compiled_cases,
    in_order,
    moved_case,
    outputs,
    pointwise_case,
    random_order,
    split_layers,
)

from tilewright.errors import InstructionError, ResourceError
from tilewright.limits import Limit
from tilewright.runtime import isa
from tilewright.runtime.isa import Program, Stream
from tilewright.runtime.simulator import functional
from tilewright.runtime.simulator.functional import FunctionalEngine
from tilewright.runtime.simulator.verifier import verify

CASES: dict[str, Callable[[], Case]] = {
    "pointwise": lambda: pointwise_case(6, 5, 2),
    "rows over clusters": lambda: split_layers("rows", 4),
    "channels over clusters": lambda: split_layers("channels", 2),
    "stages over clusters": lambda: split_layers("stages", 2),
    "halos over clusters": lambda: moved_case(4, halos=True),
    "maps over clusters": lambda: moved_case(4, halos=False),
    **{f"network {seed}": lambda seed=seed: compiled_cases(seed)[0] for seed in (1, 3, 4, 7, 10)},
}


@pytest.fixture(autouse=True)
def short_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A changed field may ask for hours of work, which is refused sooner here."""
    monkeypatch.setattr(functional, "DEVICE_STEPS", Limit(2**24, "elements"))


def engine_of(case: Case) -> FunctionalEngine:
    return FunctionalEngine(case.program, case.program.machine, case.constants)


def changed(program: Program, stream: Stream, index: int, item: bytes) -> Program:
    """The program with another instruction in one place."""
    data, size = program.queues[stream], isa.INSTRUCTION_BYTES
    code = data[: index * size] + item + data[(index + 1) * size :]
    return dataclasses.replace(program, queues={**program.queues, stream: code})


@pytest.mark.parametrize("name", CASES)
def test_every_wait_is_needed(name: str) -> None:
    program = CASES[name]().program
    assert verify(program, SMALL)
    checked = 0
    for stream in program.queues:
        for index, item in enumerate(program.instructions(stream)):
            for at, wait in enumerate(item.waits):
                for weaker in ((), (wait._replace(value=wait.value - 1),)):
                    if weaker and not weaker[0].value:
                        continue
                    waits = (*item.waits[:at], *weaker, *item.waits[at + 1 :])
                    code = isa.encode(dataclasses.replace(item, waits=waits))
                    with pytest.raises(InstructionError):
                        verify(changed(program, stream, index, code), SMALL)
                    checked += 1
    assert checked >= 8


def check_orders(case: Case, rng: np.random.Generator, rounds: int) -> None:
    """Run a program in its own order and in others, on memories that hold different bytes."""
    engine = engine_of(case)
    truth = outputs(engine, case, 0)
    for _ in range(rounds):
        other = in_order(engine, case, random_order(engine.verified, rng))
        assert outputs(other, case, int(rng.integers(1, 256))) == truth


@pytest.mark.parametrize("name", CASES)
def test_every_legal_order_gives_the_same_bytes(name: str, rng: np.random.Generator) -> None:
    check_orders(CASES[name](), rng, 10)


@pytest.mark.sweep
@pytest.mark.parametrize("seed", range(10))
def test_every_legal_order_of_a_network_gives_the_same_bytes(seed: int, rng: np.random.Generator) -> None:
    for case in compiled_cases(1000 + seed, dataclasses.replace(SMALL, weight_bytes=1 << 16), groups=14):
        check_orders(case, rng, 20)


def mutated(program: Program, rng: np.random.Generator) -> Program:
    """The program with one field of one instruction changed, or some bits of it."""
    streams = [stream for stream, data in program.queues.items() if len(data) > isa.INSTRUCTION_BYTES]
    stream = streams[int(rng.integers(len(streams)))]
    items = program.instructions(stream)
    index = int(rng.integers(len(items) - 1))
    item = items[index]
    fields, original = isa.encoded_fields(type(item)), int.from_bytes(isa.encode(item), "little")
    word = original
    while word == original:
        if fields and rng.random() < 0.7:
            field = fields[int(rng.integers(len(fields)))]
            value = getattr(item, field.name)
            choices = [value + 1, value - 1, 2 * value, value // 2, int(rng.integers(field.lowest, field.highest + 1))]
            word = original & ~field.mask | (int(rng.choice(choices)) << field.shift & field.mask)
        else:
            for _ in range(int(rng.integers(1, 3))):
                word ^= 1 << int(rng.integers(8 * isa.INSTRUCTION_BYTES))
    return changed(program, stream, index, word.to_bytes(isa.INSTRUCTION_BYTES, "little"))


def check_mutants(case: Case, rng: np.random.Generator, rounds: int) -> Counter[str]:
    """How many changed programs were refused, and how many accepted, all of them safe."""
    found: Counter[str] = Counter()
    for _ in range(rounds):
        mutant = dataclasses.replace(case, program=mutated(case.program, rng))
        try:
            engine_of(mutant)
        except (InstructionError, ResourceError):
            found["refused"] += 1
            continue
        check_orders(mutant, rng, 5)
        found["accepted"] += 1
    return found


@pytest.mark.parametrize("name", CASES)
def test_what_is_accepted_of_changed_programs_is_safe(name: str, rng: np.random.Generator) -> None:
    found = check_mutants(CASES[name](), rng, 30)
    assert found["refused"] >= 5
    assert found["accepted"] >= 1


@pytest.mark.sweep
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("part", range(10))
def test_what_is_accepted_of_many_changed_programs_is_safe(name: str, part: int) -> None:
    assert check_mutants(CASES[name](), np.random.default_rng(part), 60)["accepted"]
