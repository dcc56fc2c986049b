"""What the verifier accepts gives the same bytes in every legal order; what it must refuse, it refuses.

Programs of several kinds, most of them for several clusters and some for two cards: made by hand, and compiled with
maps that stay on chip, rings, sums in place and pairs of ops computed together. Without any one wait, or with any one
weaker, none is accepted. Of programs with changed fields, those that are accepted are run in random legal orders on
memories full of different bytes: whoever saw a difference would have raced, or read what nothing wrote.

``pytest -m sweep tests/fuzz/test_device_mutations.py`` changes 600 fields of each program, by default it is 14.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from functools import cache

import instruction_set as isa
import numpy as np
import pytest
from device_cases import (
    Case,
    attention_case,
    compiled_case,
    cut_case,
    engine_of,
    in_order,
    moved_case,
    normalization_case,
    outputs,
    pointwise_case,
    random_order,
    ring_case,
    split_layers,
    token_case,
    wide_case,
)
from device_waits import Waits, weakened, with_waits

from tilewright.errors import InstructionError, ResourceError
from tilewright.ir.annotations import CASCADE, FUSED, KEPT, SENDS
from tilewright.limits import Limit
from tilewright.runtime.simulator import functional
from tilewright.runtime.simulator.verifier import verify_cards

NETWORKS = {8: (1, 6), 11: (2, 6), 10: (3, 6), 6: (3, 6), 65: (4, 4)}
"""Random networks by seed: for how many clusters, and of how many ops."""

CASES: dict[str, Callable[[], Case]] = {
    "pointwise": lambda: pointwise_case(6, 5, 2),
    "rows over clusters": lambda: split_layers("rows", 4),
    "channels over clusters": lambda: split_layers("channels", 2),
    "stages over clusters": lambda: split_layers("stages", 2),
    "halos over clusters": lambda: moved_case(4, halos=True),
    "maps over clusters": lambda: moved_case(4, halos=False),
    **{f"network {seed}": lambda seed=seed: compiled_case(seed, *NETWORKS[seed]) for seed in NETWORKS},
    **{f"attention over {n} clusters": lambda n=n: attention_case(n, n, 22) for n in (1, 3)},
    **{f"normalisations over {n} clusters": lambda n=n: normalization_case(n, n) for n in (1, 3)},
    **{f"16 bits over {n} clusters": lambda n=n: wide_case(n, n) for n in (1, 3)},
    **{f"half blocks and tokens over {n} clusters": lambda n=n: token_case(n, n) for n in (1, 3)},
    **{f"network {seed} in rings": lambda seed=seed: ring_case(seed) for seed in (7, 11)},
    **{f"network {seed} over cards": lambda seed=seed: cut_case(seed, 2) for seed in (1, 4)},
}


@cache
def case_of(name: str) -> Case:
    return CASES[name]()


@pytest.fixture
def short_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A changed field may ask for hours of work, which is refused sooner here."""
    monkeypatch.setattr(functional, "DEVICE_STEPS", Limit(2**24, "elements"))


def test_the_programs_do_all_that_compiled_ones_do() -> None:
    cases = [*map(case_of, CASES)]
    kinds = Counter(kind for case in cases for kind in case.kinds)
    assert kinds[KEPT.key] >= 3 and kinds[FUSED.key] >= 3 and kinds[SENDS.key] >= 2 and kinds[CASCADE.key] >= 1
    found: Counter[str] = Counter()
    for case in cases:
        found["several clusters"] += max(program.clusters for program in case.programs) > 1
        items = [item for stream in case.streams for item in case.instructions(stream)]
        sums = [item for item in items if isinstance(item, isa.Elementwise)]
        found["in place"] += any(item.destination in (item.source_a, item.source_b) for item in sums)
        found["ring"] += any(getattr(item, "ring", 0) > 0 for item in items)
        found.update({type(item).__name__ for item in items})
    for kind in ("several clusters", "in place", "Move"):
        assert found[kind] >= 3, found
    assert min(found[each.__name__] for each in (isa.MoveWeights, isa.Weigh, isa.RequantizeMean, isa.Normalize)) >= 2, (
        found
    )
    assert found["Send"] >= 2 and found["ring"] >= 1, found


@pytest.mark.parametrize("name", CASES)
def test_every_wait_is_needed(name: str) -> None:
    """The compiler sets none of these in vain, and the verifier misses none; it is asked about a few itself."""
    case = case_of(name)
    waits, changes = Waits(case), [*weakened(case)]
    assert len(changes) >= 8
    assert [change for change in changes if waits.accepts(change)] == []
    for change in random.Random(0).sample(changes, 4):
        with pytest.raises(InstructionError):
            verify_cards(with_waits(case, change).programs, case.machine)


def test_a_wait_in_vain_is_found() -> None:
    case = case_of("network 1 over cards")
    every = [((s, i), item.waits) for s in case.streams for i, item in enumerate(case.instructions(s))]
    for place, waits in [each for each in every if 0 < len(each[1]) < isa.WAITS][:4]:
        twice = Waits(with_waits(case, (place, (*waits, waits[0]))))
        assert twice.accepts((place, waits))
        assert not twice.accepts((place, waits[1:]))


def check_orders(case: Case, rng: np.random.Generator, rounds: int) -> None:
    """Run a program in its own order and in others, on memories that hold different bytes."""
    engine = engine_of(case)
    truth = outputs(engine, case, 0)
    for _ in range(rounds):
        other = in_order(engine, case, random_order(engine.verified, rng))
        assert outputs(other, case, int(rng.integers(1, 256))) == truth


@pytest.mark.parametrize("rounds", [3, pytest.param(10, marks=pytest.mark.sweep)])
@pytest.mark.parametrize("name", CASES)
def test_every_legal_order_gives_the_same_bytes(name: str, rounds: int, rng: np.random.Generator) -> None:
    check_orders(case_of(name), rng, rounds)


@pytest.mark.sweep
@pytest.mark.parametrize("seed", range(100, 120))
def test_every_legal_order_of_a_network_gives_the_same_bytes(seed: int, rng: np.random.Generator) -> None:
    check_orders(compiled_case(seed, 1 + seed % 4, 14), rng, 20)
    check_orders(cut_case(seed, 1 + seed % 3, 14), rng, 20)


def mutated(case: Case, rng: np.random.Generator) -> Case:
    """The programs with one field of one instruction changed, or some bits of it."""
    streams = [stream for stream in case.streams if len(case.instructions(stream)) > 1]
    stream = streams[int(rng.integers(len(streams)))]
    items = case.instructions(stream)
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
    return case.changed(stream, index, word.to_bytes(isa.INSTRUCTION_BYTES, "little"))


def check_mutants(case: Case, rng: np.random.Generator, rounds: int, orders: int) -> Counter[str]:
    """How many changed programs were refused, and how many accepted, all of them safe in so many orders."""
    found: Counter[str] = Counter()
    for _ in range(rounds):
        mutant = mutated(case, rng)
        try:
            engine_of(mutant)
        except (InstructionError, ResourceError):
            found["refused"] += 1
            continue
        check_orders(mutant, rng, orders)
        found["accepted"] += 1
    return found


@pytest.mark.usefixtures("short_runs")
@pytest.mark.parametrize("name", CASES)
def test_what_is_accepted_of_changed_programs_is_safe(name: str, rng: np.random.Generator) -> None:
    found = check_mutants(case_of(name), rng, 14, 2)
    assert found["refused"] >= 3
    assert found["accepted"] >= 1


@pytest.mark.usefixtures("short_runs")
@pytest.mark.sweep
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("part", range(10))
def test_what_is_accepted_of_many_changed_programs_is_safe(name: str, part: int) -> None:
    assert check_mutants(case_of(name), np.random.default_rng(part), 60, 5)["accepted"]
