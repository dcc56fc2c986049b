"""What is computed element by element on chip has the slices of channels that what it reads is made in."""

from __future__ import annotations

import numpy as np
import pytest
from before_after import parse, random_inputs
from device_runs import compile_for_device, run_on_device

from tilewright.ir import interp
from tilewright.ir.annotations import TILE
from tilewright.ir.core import Module
from tilewright.passes.device import tile_device
from tilewright.runtime.machines.machine import Machine, load
from tilewright.runtime.simulator.cycles import simulate
from tilewright.runtime.simulator.verifier import verify

S256 = load("s256")


def network(kernel: int, group: int) -> Module:
    """Two products of 144 channels, whose weights cost something in one piece, a function of each element, and windows
    over them."""
    rng, quant, factors = np.random.default_rng(3), "<s=0x1.0p-4, z=3>", "<s=0x1.0p-6, z=0>"
    pixels, over = (rng.integers(-9, 10, 144 * taps).tolist() for taps in (144, 144 // group * kernel**2))
    y = f"i8[1,144,14,14]{quant}"
    others = 'dilations=[1, 1], act="none", act_args=[]'
    return parse(f"""
  const @v : i8[144,144,1,1]{factors} = {pixels}
  const @w : i8[144,{144 // group},{kernel},{kernel}]{factors} = {over}
  func @main(%x: {y}) -> (%z: {y}) {{
    %u = conv(%x, @v, _) {{strides=[1, 1], pads=[0, 0, 0, 0], group=1, {others}}} : {y}
    %y = conv(%u, @v, _) {{strides=[1, 1], pads=[0, 0, 0, 0], group=1, {others}}} : {y}
    %a = hard_swish(%y) : {y}
    %z = conv(%a, @w, _) {{strides=[1, 1], pads={[kernel // 2] * 4}, group={group}, {others}}} : {y}
    return %z
  }}""")


def tiles(module: Module) -> list[tuple[int, ...]]:
    found = [TILE.get(op) for op in module.main.ops]
    assert all(found)
    return [tile for tile in found if tile is not None]


@pytest.mark.parametrize(("machine", "clusters"), [(S256, 1), (load("m4096"), 4)])
@pytest.mark.parametrize(("kernel", "group"), [(3, 144), (1, 1)])
def test_results_are_the_same(machine: Machine, clusters: int, kernel: int, group: int) -> None:
    module = network(kernel, group)
    inputs = random_inputs(module, np.random.default_rng(2))
    found = run_on_device(module, compile_for_device(module, machine, clusters), machine, inputs)
    np.testing.assert_array_equal(found["z"], interp.run(module, inputs)["z"])


def test_a_function_of_slices_is_computed_while_the_next_ones_are_multiplied(monkeypatch: pytest.MonkeyPatch) -> None:
    module = network(3, 144)
    program = compile_for_device(module, S256).program
    _, product, function, _ = tiles(module)
    assert product[2] < 9
    assert function == (14, 14, product[2], product[2])
    monkeypatch.setattr(tile_device, "follow_slices", lambda maps, chosen: None)
    by_rows = compile_for_device(network(3, 144), S256).program
    assert simulate(verify(program, S256)).cycles < 0.98 * simulate(verify(by_rows, S256)).cycles
