"""The order of tile programs of several cards: the bytes stay, and both ends meet their messages in one order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import instruction_set as isa
import numpy as np
import pytest
from device_splits import CARDS, calls, cut, fed, outlined, programs_of, tiled

from tilewright.ir import interp
from tilewright.ir.calls import device_programs
from tilewright.ir.core import Constant, Function, Module, Op, Value, is_op
from tilewright.ir.tile.instructions import Places
from tilewright.ir.tile.places import PLACES
from tilewright.ir.tile.transfer import Receive, Send
from tilewright.ir.verify import verify
from tilewright.passes.device.ordering.program import op_cost
from tilewright.passes.device.outline_device import device_functions
from tilewright.runtime.machines.cost import cost


def messages(function: Function) -> list[object]:
    return [op.operator for op in function.ops if is_op(op, Receive, Send)]


def orders(module: Module) -> Iterator[list[str]]:
    """Of each function, the results of the ops that become instructions, in order."""
    for function in device_functions(module):
        yield [str(op.operator) for op in function.ops if not isinstance(op.operator, PLACES)]


def check(seed: int, folder: Path, groups: int) -> int:
    """Order the programs of a random network cut over cards; how many are in another order then."""
    rng = np.random.default_rng(900 + seed)
    module = outlined(rng, groups)
    inputs = fed(module, rng)
    path = cut(module, folder, CARDS, 2 + seed % 2, 1 + seed // 2 % 2)
    written, tiles = tiled(module, path), tiled(module, path, ordered=True)
    verify(tiles)
    for before, after in zip(device_functions(written), device_functions(tiles), strict=True):
        assert messages(before) == messages(after)
    known: dict[Value, np.ndarray] = {value: inputs[value.name] for value in module.main.parameters}

    def observe(op: Op, results: tuple[np.ndarray, ...]) -> None:
        known.update(zip(op.results, results, strict=True))

    expected = interp.run(module, inputs, observe=observe)
    for name, array in interp.run(tiles, inputs).items():
        np.testing.assert_array_equal(array, expected[name])
    programs = programs_of(module, tiles, CARDS)
    for call in calls(module):
        operands = [value.array if isinstance(value, Constant) else known[value] for value in call.inputs]
        # Proved as well: a circle of waits over the cards would be refused.
        produced = programs[call.operator.callee].run(CARDS, operands)
        for value, mine in zip(call.results, produced, strict=True):
            np.testing.assert_array_equal(mine, known[value], f"seed {seed}")
    return sum(first != second for first, second in zip(orders(written), orders(tiles), strict=True))


def test_no_order_of_several_cards_changes_a_byte(tmp_path: Path) -> None:
    assert sum(check(seed, tmp_path, 10) for seed in range(4)) > 4


@pytest.mark.sweep
@pytest.mark.parametrize("seed", range(100, 200))
def test_many_more_orders_of_several_cards(seed: int, tmp_path: Path) -> None:
    check(seed, tmp_path, 12)


def test_a_message_costs_what_its_instructions_cost(tmp_path: Path) -> None:
    found = 0
    for seed in range(3):
        module = outlined(np.random.default_rng(950 + seed), 8)
        path = cut(module, tmp_path, CARDS, 3)
        tiles = tiled(module, path)
        programs = programs_of(module, tiles, CARDS)
        pairs = [
            (tiles.functions[function.name], built.program)
            for name, functions in device_programs(module).items()
            for function, built in zip(functions, programs[name].built, strict=True)
        ]
        for function, program in pairs:
            places = Places()
            prices: list[tuple[float, float, int]] = []
            for op in function.ops:
                places.add(op)
                if is_op(op, Receive, Send):
                    price = op_cost(op, places, CARDS)
                    prices.append((price.unit, price.dram, price.latency))
            items = [item for queue in program.queues for item in program.instructions(queue)]
            ends = [cost(item, CARDS) for item in items if isinstance(item, (isa.Receive, isa.Send))]
            assert sorted(prices) == sorted((price.unit, price.dram(CARDS), price.latency) for price in ends)
            found += len(ends)
    assert found > 4
