"""Sums that are written over an operand on chip: when they may be, and to the same bytes."""

from __future__ import annotations

import numpy as np
import pytest
from before_after import random_inputs
from device_runs import generate, plan_for_device, run_on_device
from map_networks import conv, network

from tilewright.ir import interp
from tilewright.ir.annotations import FUSED, KEPT, LAYER
from tilewright.ir.clone import clone_module
from tilewright.ir.core import Module
from tilewright.ir.tile.places import Buffer
from tilewright.passes.device.fused_pairs import choose_overwritten, overwritten, pairs_brought_together
from tilewright.passes.device.kept.kept_maps import holdings, kept_values
from tilewright.passes.device.lower_to_tiles import LowerToTiles
from tilewright.runtime.machines.machine import load

M4096 = load("m4096")

BLOCKS = f"""
%a = conv(%x, @k) {conv(1)} : MAP
%b = conv(%a, @w) {conv()} : MAP
%c = conv(%b, @k) {conv(1)} : MAP
%s = add(%c, %a) : MAP
%d = conv(%s, @k) {conv(1)} : MAP
%e = conv(%d, @w) {conv()} : MAP
%t = sub(%s, %e) : MAP
%y = conv(%t, @k) {conv(1)} : MAP
"""
"""Two blocks with a sum around each; the first result stays live through both."""


def over(middle: str, rng: np.random.Generator, *, fuse: bool = True) -> dict[str, str]:
    """What is written over what, by name."""
    module = network(middle, rng=rng)
    for first, _ in pairs_brought_together(module.main):
        if fuse:
            FUSED.set(first, True)
    choose_overwritten(module.main)
    written = {op.result.name: overwritten(op) for op in module.main.ops}
    return {name: value.name for name, value in written.items() if value is not None}


def test_a_sum_is_written_over_what_it_reads_last(rng: np.random.Generator) -> None:
    assert over(BLOCKS, rng) == {"s": "a", "t": "s"}


@pytest.mark.parametrize(
    "middle",
    [
        "%a = relu(%x) : MAP\n%s = add(%a, %x) : MAP\n%b = relu(%a) : MAP\n%y = sub(%b, %s) : MAP",  # %a is read later
        "%s = add(%x, %o) : MAP\n%y = relu(%s) : MAP",  # both come from the host
        "%a = relu(%x) : MAP\n%y = add(%a, %a) : MAP",  # it is both operands
    ],
)
def test_what_is_read_later_or_twice_stays(middle: str, rng: np.random.Generator) -> None:
    assert "a" not in over(middle, rng).values() and "x" not in over(middle, rng).values()


def test_what_the_convolution_reads_stays_if_both_are_computed_at_once(rng: np.random.Generator) -> None:
    middle = f"%a = relu(%x) : MAP\n%c = conv(%a, @k) {conv(1)} : MAP\n%s = add(%c, %a) : MAP\n%y = relu(%s) : MAP"
    assert over(middle, rng) == {}
    assert over(middle, rng, fuse=False) == {"s": "c"}


def compiled(rng: np.random.Generator, clusters: int, rows: int, channels: int) -> Module:
    module = network(BLOCKS, rng=rng, rows=rows, columns=9, channels=channels)
    plan_for_device(module, M4096, clusters)
    return module


@pytest.mark.parametrize(("clusters", "rows", "channels"), [(1, 9, 32), (2, 13, 32), (3, 3, 80), (4, 14, 20)])
def test_sums_in_place_keep_their_bytes(clusters: int, rows: int, channels: int, rng: np.random.Generator) -> None:
    module = compiled(rng, clusters, rows, channels)
    assert {op.result.name for op in module.main.ops if KEPT.get(op)} >= {"a", "s", "t"}
    inputs = random_inputs(module, rng)
    expected = interp.run(module, inputs)["y"]
    np.testing.assert_array_equal(run_on_device(module, generate(module, M4096), M4096, inputs)["y"], expected)
    tiles = clone_module(module)
    LowerToTiles().run(tiles)
    np.testing.assert_array_equal(interp.run(tiles, inputs)["y"], expected)
    places = [
        LAYER.get(op) for op in tiles.main.ops if isinstance(op.operator, Buffer) and op.operator.memory == "maps"
    ]
    assert "a" in places and not {"s", "t"}.intersection(places), "the sums have no places of their own"


def test_the_place_is_counted_once(rng: np.random.Generator) -> None:
    module = compiled(rng, 2, 13, 32)
    held = holdings([*module.main.ops], 2, kept_values(module.main))
    names = [op.result.name for op in module.main.ops]
    (place,) = [holding for root, holding in held.items() if root.name == "a"]
    assert (place.first, place.last) == (names.index("a"), names.index("y"))
    assert not {"s", "t"}.intersection(root.name for root in held)
