"""Device functions cut over cards: the same bytes, each card its own ops, and the cut that the prices say."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path

import instruction_set as isa
import numpy as np
import pytest
from device_splits import CARDS, calls, cut, fed, outlined, programs_of, tiled
from random_machines import write_machine
from random_seeds import seeds

from tilewright.errors import InstructionError, PassError
from tilewright.ir import interp
from tilewright.ir.annotations import CARD, RECEIVES, SENDS
from tilewright.ir.calls import called_ops, device_programs
from tilewright.ir.core import Constant, Function, Module, Op, Value
from tilewright.ir.text.printer import print_module
from tilewright.ir.verify import verify
from tilewright.passes.device.outline_device import device_functions
from tilewright.passes.device.split_cards import SplitCards, _crossing_cycles, _price, choose_cuts
from tilewright.runtime.isa.program import Program
from tilewright.runtime.simulator.cycles import simulate
from tilewright.runtime.simulator.verifier import verify_cards


def split_whole(seed: int, cards: int, folder: Path, groups: int = 6) -> Module:
    module = outlined(np.random.default_rng(seed), groups)
    SplitCards(write_machine(folder / "m.json", CARDS), cards=cards).run(module)
    return module


@pytest.mark.parametrize("seed", seeds(4, 6))
def test_cut_functions_compute_the_same(seed: int, tmp_path: Path) -> None:
    """The reference, before and after, as tile programs, and the engine on the programs of all cards together."""
    rng = np.random.default_rng(700 + seed)
    module = outlined(rng, 10)
    inputs = fed(module, rng)
    expected = interp.run(module, inputs)
    cards, clusters = 2 + seed % 2, 1 + seed // 2 % 2
    path = cut(module, tmp_path, CARDS, cards, clusters)
    verify(module)
    tiles = tiled(module, path)
    verify(tiles)
    known: dict[Value, np.ndarray] = {value: inputs[value.name] for value in module.main.parameters}

    def observe(op: Op, results: tuple[np.ndarray, ...]) -> None:
        known.update(zip(op.results, results, strict=True))

    for current, watch in ((tiles, None), (module, observe)):
        found = interp.run(current, inputs, observe=watch)
        for name, array in expected.items():
            np.testing.assert_array_equal(found[name], array)
    programs = programs_of(module, tiles, CARDS)
    for call in calls(module):
        operands = [value.array if isinstance(value, Constant) else known[value] for value in call.inputs]
        produced = programs[call.operator.callee].run(CARDS, operands)
        for value, mine in zip(call.results, produced, strict=True):
            np.testing.assert_array_equal(mine, known[value])


def test_what_crosses_is_sent_by_one_card_and_received_by_another(tmp_path: Path) -> None:
    crossing = 0
    for seed in range(4):
        module = split_whole(seed, 3, tmp_path, groups=9)
        for name, functions in device_programs(module).items():
            if len(functions) == 1:
                assert not CARD.is_at(functions[0])
                continue
            assert [CARD.get(function) for function in functions] == [*range(len(functions))]
            sent = {(card, end.card, end.tag) for card, f in enumerate(functions) for end in SENDS.get(f) or ()}
            received = {(end.card, card, end.tag) for card, f in enumerate(functions) for end in RECEIVES.get(f) or ()}
            assert sent == received and len(sent) == sum(len(SENDS.get(f) or ()) for f in functions)
            assert all(sender < receiver for sender, receiver, _ in sent)
            crossing += len(sent)
            call = next(op for op in calls(module) if op.operator.callee == name)
            assert len([*called_ops(module, call)]) == sum(len(function) for function in functions)
    assert crossing >= 6


def slowest(function: Function, prices: list[float], cuts: tuple[int, ...]) -> float:
    """What the card takes that takes longest, and where these are the cuts."""
    ops = [*function.ops]
    received = _crossing_cycles(ops, CARDS)
    bounds = [0, *cuts, len(ops)]
    return max(sum(prices[first:stop]) + (received[first] if first else 0.0) for first, stop in pairwise(bounds))


def test_the_cut_is_the_one_whose_slowest_card_is_fastest() -> None:
    for seed in range(3):
        for function in device_functions(outlined(np.random.default_rng(seed), 5)):
            prices = [_price(op, CARDS, 1) for op in function.ops]
            for cards in (2, 3):
                positions = range(1, len(function))
                every = [each for count in range(cards) for each in combinations(positions, count)]
                best = min(slowest(function, prices, each) for each in every)
                assert slowest(function, prices, tuple(choose_cuts(function, CARDS, cards))) == pytest.approx(best)


def test_where_the_link_is_slow_a_function_stays_whole(tmp_path: Path) -> None:
    slow = replace(CARDS, link_latency=1 << 20)
    module = outlined(np.random.default_rng(0))
    before = print_module(module)
    SplitCards(write_machine(tmp_path / "m.json", slow), cards=3).run(module)
    assert print_module(module) == before


def test_there_are_no_more_cards_than_the_machine_has(tmp_path: Path) -> None:
    with pytest.raises(PassError, match="'cards' does not have so many cards; expected 1 to 3, found 4"):
        split_whole(0, 4, tmp_path)


def compiled(seed: int, folder: Path) -> list[Program]:
    """The programs of a network cut over two cards, two clusters each."""
    module = outlined(np.random.default_rng(seed), 8)
    path = cut(module, folder, CARDS, 2, 2)
    found = programs_of(module, tiled(module, path), CARDS)
    return [each.program for each in max(found.values(), key=lambda split: len(split.built)).built]


def without(programs: list[Program], card: int, stream: isa.Stream, index: int, item: isa.Instruction) -> list[Program]:
    """The programs with another instruction in one place."""
    program, size = programs[card], isa.INSTRUCTION_BYTES
    data = program.queues[stream]
    code = data[: index * size] + isa.encode(item) + data[(index + 1) * size :]
    found = [*programs]
    found[card] = replace(program, queues={**program.queues, stream: code})
    return found


@pytest.mark.parametrize("seed", [0, 3])
def test_every_message_and_every_wait_of_a_compiled_network_is_needed(seed: int, tmp_path: Path) -> None:
    programs = compiled(seed, tmp_path)
    assert simulate(verify_cards(programs, CARDS)).link_bytes > 0
    messages = waits = 0
    for card, program in enumerate(programs):
        for stream in program.queues:
            for index, item in enumerate(program.instructions(stream)):
                if isinstance(item, (isa.Send, isa.Receive)):
                    barrier = isa.Barrier(waits=item.waits, signal=item.signal)
                    with pytest.raises(InstructionError, match="every SND has its RCV on the other card"):
                        verify_cards(without(programs, card, stream, index, barrier), CARDS)
                    messages += 1
                for at, wait in enumerate(item.waits):
                    for weaker in ((), (wait._replace(value=wait.value - 1),)):
                        left = replace(item, waits=(*item.waits[:at], *weaker, *item.waits[at + 1 :]))
                        with pytest.raises(InstructionError, match="conflicts are ordered"):
                            verify_cards(without(programs, card, stream, index, left), CARDS)
                        waits += 1
    assert messages >= 2 and waits >= 16
