"""More of anything never makes the chosen tiles worse: by their price, and in modelled time as far as prices rank."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from before_after import parse
from device_runs import compile_for_device

from tilewright.ir.core import Module
from tilewright.passes.device.tile_search import Misfit, priced_tile
from tilewright.runtime import machine
from tilewright.runtime.simulator.cycles import simulate
from tilewright.runtime.simulator.verifier import verify

S256, M4096 = machine.load("s256"), machine.load("m4096")
SIZES = ("maps_bytes", "weight_bytes", "accumulator_bytes", "parameter_bytes")
RANKING_ERROR = 0.07
"""How much the modelled time may grow where the price does not: prices rank tiles of single ops, whose weights are
there when they begin."""

Q = "<s=0x1.0p-4, z=3>"
BLOCKS = {"late": (7, 80, 160, 1), "stride": (28, 32, 144, 2)}
"""Size of the map, channels, channels inside, stride."""


def block(size: int, channels: int, inner: int, stride: int) -> Module:
    """A widening, a depthwise and a narrowing convolution, and where the shape allows it a sum with the input."""
    out = size // stride
    zeros = {"a": (inner, channels, 1), "b": (inner, 1, 3), "c": (channels, inner, 1)}
    weights = "\n".join(
        f"  const @{name} : i8[{o},{i},{k},{k}]<s=0x1.0p-6, z=0> = {[0] * (o * i * k * k)}"
        for name, (o, i, k) in zeros.items()
    )

    def conv(group: int, pad: int, stride: int) -> str:
        sizes = f"strides=[{stride}, {stride}], pads=[{pad}, {pad}, {pad}, {pad}], dilations=[1, 1]"
        return f'{{{sizes}, group={group}, act="none", act_args=[]}}'

    wide, narrow = f"i8[1,{inner},{size},{size}]{Q}", f"i8[1,{channels},{out},{out}]{Q}"
    joins = f"%y = add(%p, {'%x' if stride == 1 else '%p'}) : {narrow}"
    return parse(f"""
{weights}
  func @main(%x: i8[1,{channels},{size},{size}]{Q}) -> (%y: {narrow}) {{
    %e = conv(%x, @a, _) {conv(1, 0, 1)} : {wide}
    %d = conv(%e, @b, _) {conv(inner, 1, stride)} : i8[1,{inner},{out},{out}]{Q}
    %p = conv(%d, @c, _) {conv(1, 0, 1)} : {narrow}
    {joins}
    return %y
  }}""")


def larger(device: machine.Machine, rng: np.random.Generator) -> machine.Machine:
    """With one or more scratchpads twice as large."""
    limits = {"maps_bytes": 1 << 20, "weight_bytes": 1 << 20, "accumulator_bytes": 1 << 20, "parameter_bytes": 1 << 18}
    sizes = {name: min(2 * getattr(device, name), limits[name]) for name in SIZES if rng.random() < 0.5}
    return replace(device, **sizes)


def small(device: machine.Machine) -> machine.Machine:
    return replace(device, maps_bytes=1 << 14, weight_bytes=1 << 15, accumulator_bytes=1 << 13, parameter_bytes=1 << 12)


@pytest.mark.parametrize("device", [S256, M4096], ids=lambda device: device.name)
@pytest.mark.parametrize("name", BLOCKS)
def test_more_memory_never_raises_the_price_of_the_best_tile(device: machine.Machine, name: str) -> None:
    rng = np.random.default_rng(1)
    module = block(*BLOCKS[name])
    for op in module.main.ops:
        current, before = small(device), float("inf")
        for _ in range(6):
            found = priced_tile(op, current)
            price = float("inf") if isinstance(found, Misfit) else found[0]
            assert price <= before, current
            current, before = larger(current, rng), price
        assert before < float("inf")


def cycles(name: str, device: machine.Machine) -> float:
    module = block(*BLOCKS[name])
    return simulate(verify(compile_for_device(module, device).program, device)).cycles


@pytest.mark.parametrize("device", [S256, M4096], ids=lambda device: device.name)
@pytest.mark.parametrize("name", BLOCKS)
def test_a_better_machine_is_not_slower_with_the_tiles_chosen_for_it(device: machine.Machine, name: str) -> None:
    wide = {"vector_lanes": 2, "dram_bytes_per_second": 2}
    chain = [small(device), replace(small(device), maps_bytes=1 << 16), replace(device, maps_bytes=1 << 17), device]
    for field, factor in wide.items():
        chain.append(replace(chain[-1], **{field: getattr(device, field) * factor}))
    chain.append(replace(chain[-1], pixel_lanes=8, maps_banks=16))
    times = [cycles(name, each) for each in chain]
    for slower, faster in pairwise(times):
        assert faster <= slower * (1 + RANKING_ERROR), times


def test_small_pieces_of_bursts_are_paid_for() -> None:
    """A map whose channels are cut moves in runs of 16 bytes, each of which takes a burst: that is no bargain."""
    module = block(28, 32, 144, 2)
    for op in module.main.ops:
        found = priced_tile(op, M4096)
        assert not isinstance(found, Misfit)
        coarse = priced_tile(op, replace(M4096, dram_burst_bytes=1024))
        assert not isinstance(coarse, Misfit)
        assert coarse[0] > found[0]
