"""Tiles chosen by hand: whatever legal tile and order an op gets, not one byte of the results changes."""

from __future__ import annotations

import numpy as np
import pytest
from before_after import random_inputs
from device_runs import generate, plan_for_device, run_on_device
from quantized_graphs import random_quantized_graph
from random_machines import odd_machine
from random_seeds import seeds

from tilewright.errors import PassError
from tilewright.ir import interp
from tilewright.ir.core import Function, Module
from tilewright.ir.feature_map import is_block_by_block, map_shape
from tilewright.ir.ops.convolution import Conv
from tilewright.passes.device.legalize_for_device import LegalizeForDevice
from tilewright.passes.device.outline_device import OutlineDevice
from tilewright.passes.placement.partition import Partition
from tilewright.runtime.machines.machine import Machine, load


def device_modules(rng: np.random.Generator) -> list[Module]:
    """The device functions of a random network, each as ``main`` of a module of its own."""
    module = random_quantized_graph(rng, groups=8, activations=str(rng.choice(["i8", "u8"])))
    for current in (LegalizeForDevice(), Partition("s256", keep_islands=True), OutlineDevice()):
        current.run(module)
    found: list[Module] = []
    for function in module.functions.values():
        if function.annotations.get("on") == "device":
            alone = Module(function.name)
            alone.constants, alone.functions["main"] = module.constants, function
            found.append(alone)
    return found


def tile_by_chance(function: Function, rng: np.random.Generator) -> None:
    """Any number of rows, columns and blocks for each op, whole maps and single pixels among them."""

    def some(extent: int) -> int:
        return int(rng.choice([1, extent, int(rng.integers(1, extent + 1))]))

    for op in function.ops:
        target = map_shape(op.result.type)
        tile = [some(target.height), some(target.width), some(target.blocks)]
        tile.append(tile[2])
        if isinstance(op.operator, Conv) and not is_block_by_block(op):
            tile[3] = some(map_shape(op.inputs[0].type).blocks)
        op.annotations["tile"] = tuple(tile)
        op.annotations["stationary"] = str(rng.choice(["weights", "inputs"]))


def check(seed: int, machine: Machine, rounds: int) -> int:
    """Run the device functions of a random network with tiles by chance; how many programs fitted and were run."""
    rng = np.random.default_rng(70_000 + seed)
    ran = 0
    for module in device_modules(rng):
        inputs = random_inputs(module, rng)
        expected = interp.run(module, inputs)
        plan_for_device(module, load("m4096"))
        for _ in range(rounds):
            tile_by_chance(module.main, rng)
            tiles = [op.annotations["tile"] for op in module.main.ops]
            try:
                compiled = generate(module, machine)
            except PassError as error:
                assert error.message.startswith("what is on chip at once does not fit the")
                continue
            found = run_on_device(module, compiled, machine, inputs)
            for name, array in expected.items():
                np.testing.assert_array_equal(found[name], array, f"seed {seed}, {name}, tiles {tiles}")
            ran += 1
    return ran


@pytest.mark.parametrize("seed", seeds(4, 10))
def test_tiles_change_no_byte(seed: int) -> None:
    assert check(seed, load("m4096"), rounds=4) > 0


@pytest.mark.sweep
@pytest.mark.parametrize("seed", range(100, 300))
def test_many_more_on_odd_machines(seed: int) -> None:
    check(seed, load("s256"), rounds=6)
    check(seed, odd_machine(np.random.default_rng(seed)), rounds=6)
