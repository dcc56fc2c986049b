"""What placement says that ops take, beside what the cycle model says of them; and what follows for first layers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from before_after import parse, run_pass
from device_runs import compile_for_device
from random_seeds import in_turn

from tilewright.ir.annotations import ON
from tilewright.ir.core import Module
from tilewright.passes.device.legalize_for_device import LegalizeForDevice
from tilewright.passes.device.tiling.tile_searches import TileSearches, shared_searches
from tilewright.passes.placement.choice import CostModel, times
from tilewright.passes.placement.partition import Partition
from tilewright.runtime.machines.machine import Machine, load, samples
from tilewright.runtime.simulator.cycles import simulate
from tilewright.runtime.simulator.verifier import verify

Q = "<s=0x1.0p-4, z=3>"


def first_layer(
    inputs: int, outputs: int, kernel: int, stride: int, size: int, before: str = "", group: int = 1
) -> Module:
    """A convolution of a map of few channels, and what stands ``before`` it, of %x and %r."""
    pad, weights = kernel // 2, outputs * inputs // group * kernel**2
    out = f"i8[1,{outputs},{(extent := (size + 2 * pad - kernel) // stride + 1)},{extent}]{Q}"
    conv = f"strides=[{stride}, {stride}], pads=[{pad}, {pad}, {pad}, {pad}], dilations=[1, 1], group={group}"
    return parse(f"""
  const @w : i8[{outputs},{inputs // group},{kernel},{kernel}]<s=0x1.0p-6, z=0> = {[0] * weights}
  func @main(%x: i8[1,{inputs},{size},{size}]{Q}) -> (%y: {out}) {{
    {before}
    %y = conv(%{"r" if before else "x"}, @w, _) {{{conv}, act="none", act_args=[]}} : {out}
    return %y
  }}""")


def priced_over_modelled(module: Module, machine: Machine, packed: bool = False) -> float:
    """The price of the one op of a module as a share of what the cycle model says."""
    (op,) = module.main.ops
    priced = CostModel(machine, machine.clusters).on_device(op, packed=packed) * machine.clock_hertz
    return priced / simulate(verify(compile_for_device(module, machine, machine.clusters).program, machine)).cycles


@pytest.mark.parametrize("name", samples())
def test_prices_of_first_layers_are_near_what_the_cycle_model_says(name: str) -> None:
    """In a network weights are loaded while the op before computes: a small layer alone takes up to twice its price.
    On a large machine each of these is a small one.
    """
    machine, rng = load(name), np.random.default_rng(5)
    errors = []
    for _ in range(16):
        inputs, stride = int(rng.choice([1, 2, 3, 4, 5, 12])), int(rng.integers(1, 5))
        sizes = int(rng.choice([1, 8, 24, 64])), int(rng.integers(1, 12)), stride, int(rng.choice([28, 64, 112]))
        share = priced_over_modelled(first_layer(inputs, *sizes), machine, packed=True)
        assert 0.5 < share < 1.5, (inputs, sizes)
        errors.append(abs(math.log(share)))
    assert np.mean(errors) < 0.18


@pytest.mark.parametrize(("name", "size"), in_turn(samples(), [1, 2, 4, 8, 16]))
def test_prices_of_small_groups_are_near_what_the_cycle_model_says(name: str, size: int) -> None:
    machine, rng = load(name), np.random.default_rng(7)
    for _ in range(2):
        groups = int(rng.integers(2, 256 // size))
        kernel, stride, extent = int(rng.choice([3, 5, 7])), int(rng.integers(1, 3)), int(rng.choice([14, 28, 56]))
        module = first_layer(groups * size, groups * size, kernel, stride, extent, group=groups)
        assert 0.6 < priced_over_modelled(module, machine) < 1.3, (groups, kernel, stride, extent)


@pytest.mark.parametrize("name", samples())
@pytest.mark.parametrize(("channels", "size"), [(16, 16), (64, 28), (20, 56), (256, 14)])
def test_prices_of_elementwise_ops_are_near_what_the_cycle_model_says(name: str, channels: int, size: int) -> None:
    machine, map_type = load(name), f"i8[1,{channels},{size},{size}]{Q}"
    module = parse(f"""
  func @main(%x: {map_type}) -> (%y: {map_type}) {{
    %y = sigmoid(%x) : {map_type}
    return %y
  }}""")
    # Prices count a row of the DRAM for each transfer, of which many lie open.
    assert 0.9 < priced_over_modelled(module, machine) < 1.3


@pytest.mark.parametrize("name", samples())
@pytest.mark.parametrize(("step", "channels", "size"), [(2, 16, 28), (4, 16, 20), (3, 32, 24)])
def test_prices_of_phases_are_near_what_the_cycle_model_says(name: str, step: int, channels: int, size: int) -> None:
    machine, out = load(name), f"i8[1,{channels},{size * step},{size * step}]{Q}"
    module = parse(f"""
  func @main(%x: i8[1,{channels * step**2},{size},{size}]{Q}) -> (%y: {out}) {{
    %y = depth_to_space(%x) {{blocksize={step}, mode="DCR"}} : {out}
    return %y
  }}""")
    assert 0.9 < priced_over_modelled(module, machine) < 1.4


@pytest.mark.parametrize("name", ["m4096", "s256"])
def test_prices_of_ops_in_one_program_are_near_what_the_cycle_model_says(name: str) -> None:
    machine, map_type = load(name), f"i8[1,64,28,28]{Q}"
    lines = [f"%v{i + 1} = add(%v{i}, %v0) : {map_type}" for i in range(8)]
    module = parse(f"func @main(%v0: {map_type}) -> (%v8: {map_type}) {{ {' '.join(lines)} return %v8 }}")
    priced = times({*module.main.ops}, set(), 0, CostModel(machine, machine.clusters)).device
    modelled = simulate(verify(compile_for_device(module, machine, machine.clusters).program, machine)).cycles
    assert 0.9 < priced * machine.clock_hertz / modelled < 1.5


def test_what_multiplies_nothing_costs_less_beside_products() -> None:
    """It is computed while others are multiplied: networks take longer for it by less than it takes."""
    map_type = f"i8[1,64,28,28]{Q}"
    conv = 'strides=[1, 1], pads=[0, 0, 0, 0], dilations=[1, 1], group=1, act="none", act_args=[]'
    module = parse(f"""
  const @w : i8[64,64,1,1]<s=0x1.0p-6, z=0> = {[0] * 4096}
  func @main(%x: {map_type}) -> (%y: {map_type}) {{
    %s = sigmoid(%x) : {map_type}
    %y = conv(%s, @w, _) {{{conv}}} : {map_type}
    return %y
  }}""")
    sigmoid, product = module.main.ops
    model = CostModel(load("s256"))
    alone = times({sigmoid}, set(), 0, model).device
    together = times({sigmoid, product}, set(), 0, model).device
    both = [model.on_device(op, kept=frozenset(sigmoid.results)) for op in (sigmoid, product)]
    assert alone == model.on_device(sigmoid)
    assert both[1] + 0.5 * both[0] < together < both[1] + 0.9 * both[0]


def test_all_clusters_count() -> None:
    (op,) = first_layer(3, 64, 7, 2, 112).main.ops
    one, four = (CostModel(load("m4096"), clusters).on_device(op, packed=True) for clusters in (1, 4))
    assert 3 < one / four <= 4


def places(module: Module, machine: str) -> list[str | None]:
    run_pass(LegalizeForDevice(), module)
    run_pass(Partition(machine), module)
    return [ON.get(op) for op in module.main.ops]


def test_a_first_layer_of_one_channel_is_worth_its_transfer() -> None:
    assert places(first_layer(1, 8, 11, 4, 224), "s256") == ["device"]


def test_the_host_prepares_maps_of_few_channels_where_these_are_packed_then() -> None:
    requantize = "%r = requantize(%x) : i8[1,{0},{1},{1}]<s=0x1.0p-5, z=0>"
    # Of 16 channels the convolution alone would not be worth it, and the larger map would be requantised on the device.
    assert places(first_layer(1, 8, 3, 1, 32, requantize.format(1, 32)), "s256") == ["cpu", "device"]
    assert places(first_layer(4, 8, 3, 1, 128, requantize.format(4, 128)), "s256") == ["cpu", "device"]
    assert places(first_layer(15, 64, 3, 1, 64, requantize.format(15, 64)), "s256") == ["device", "device"]


def test_all_passes_share_the_searches_of_what_is_alike() -> None:
    machine = load("m4096")
    (op,) = first_layer(3, 32, 3, 2, 56).main.ops
    (alike,) = first_layer(3, 32, 3, 2, 56).main.ops
    with shared_searches():
        found = TileSearches(machine, clusters=4).of(op, packed=True)
        with shared_searches():
            assert TileSearches(machine, clusters=4).of(alike, packed=True) is found
        assert TileSearches(machine, clusters=4).of(op, packed=False) is not found
        assert TileSearches(machine, clusters=2).of(op, packed=True) is not found
    assert TileSearches(machine, clusters=4).of(op, packed=True) is not found
