"""An element-wise op that is computed with each tile of a convolution: when, where, and to the same bytes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from before_after import random_inputs
from map_networks import MAP, conv, network

from tilewright.errors import PassError
from tilewright.ir import interp
from tilewright.ir.annotations import CLUSTERS, DRAM, FUSED, LAYER, REGION_BYTES, SPLIT, STATIONARY, TILE
from tilewright.ir.core import Module, Op
from tilewright.passes.device.fused_pairs import pairs_brought_together
from tilewright.passes.device.lower_to_tiles import LowerToTiles
from tilewright.passes.device.planning.check_device_memory import check_device_memory
from tilewright.passes.device.planning.plan_device_memory import PlanDeviceMemory
from tilewright.passes.device.tile_device import TileDevice

POINTWISE = f"%c = conv(%x, @w) {conv()} : MAP"
DENSE = f"%c = conv(%x, @k) {conv(1)} : MAP"
DEPTHWISE = f"%c = conv(%x, @d) {conv(1, 20)} : MAP"
SUM = "%y = add(%c, %o) : MAP"


def lowered(module: Module, rng: np.random.Generator) -> Counter[tuple[str, str]]:
    """Plan and lower, and compare what the network computes before and after; tile operators by name and layer."""
    inputs = random_inputs(module, rng)
    expected = interp.run(module, inputs)
    PlanDeviceMemory().run(module)
    LowerToTiles().run(module)
    for name, array in interp.run(module, inputs).items():
        np.testing.assert_array_equal(array, expected[name], name)
    return Counter((op.name, LAYER.get(op) or "") for op in module.main.ops)


def fuse(module: Module, tile: tuple[int, int, int, int], stationary: str = "weights", split: str = "") -> None:
    """Fuse what can be, all with one tile."""
    for first, _ in pairs_brought_together(module.main):
        FUSED.set(first, True)
    for op in module.main.ops:
        TILE.set(op, tile)
        op.annotations[STATIONARY.key] = stationary
        if split:
            op.annotations[SPLIT.key] = split


@pytest.mark.parametrize("split", ["", "rows", "channels"])
@pytest.mark.parametrize("stationary", ["weights", "inputs"])
@pytest.mark.parametrize("first", [POINTWISE, DENSE, DEPTHWISE])
def test_tiles_are_combined_behind_the_convolution(
    first: str, stationary: str, split: str, rng: np.random.Generator
) -> None:
    module = network(f"{first}\n{SUM}", rng=rng)
    fuse(module, (4, 3, 1, 1), stationary, split)
    CLUSTERS.set(module.main, 2 if split else 1)
    found = lowered(module, rng)
    combined = found["tile_combine", "y"]
    assert combined == found["tile_requantize", "c"] == found["tile_load", "y"] == found["tile_store", "y"] > 4
    assert found["tile_store", "c"] == 0 and found["tile_load_record", "y"] == 1


@pytest.mark.parametrize("second", ["sub(%c, %o)", "sub(%o, %c)", "mul(%o, %c)", "max(%c, %o)", "min(%o, %c)"])
def test_every_arithmetic_on_either_side(second: str, rng: np.random.Generator) -> None:
    module = network(f"{DENSE}\n%y = {second} : MAP", rng=rng)
    fuse(module, (4, 3, 1, 1))
    assert lowered(module, rng)["tile_store", "c"] == 0


@pytest.mark.parametrize(("images", "rows", "columns"), [(3, 6, 5), (1, 6, 1), (2, 4, 1)])
def test_images_that_a_pointwise_convolution_takes_as_rows(
    images: int, rows: int, columns: int, rng: np.random.Generator
) -> None:
    module = network(f"{POINTWISE}\n{SUM}", rng=rng, images=images, rows=rows, columns=columns)
    fuse(module, (4, 4, 1, 1))
    assert lowered(module, rng)["tile_store", "c"] == 0


def test_an_operand_that_is_repeated(rng: np.random.Generator) -> None:
    pixel = MAP.format(images=1, channels=20, rows=1, columns=1)
    module = network(f"{DENSE}\n%p = global_average_pool(%o) : {pixel}\n%y = mul(%c, %p) : MAP", rng=rng, images=1)
    # The pool is the later one, and no convolution; brought before that, it is none of what could be moved.
    assert [*pairs_brought_together(module.main)] == []
    module = network(f"%p = global_average_pool(%o) : {pixel}\n{DENSE}\n%y = mul(%c, %p) : MAP", rng=rng, images=1)
    fuse(module, (4, 3, 1, 1))
    assert lowered(module, rng)["tile_store", "c"] == 0


def test_of_two_convolutions_the_later_one_has_the_sum_behind_it(rng: np.random.Generator) -> None:
    both = f"%b = conv(%o, @w) {conv()} : MAP\n{DENSE}\n%r = relu(%x) : MAP"
    middle = f"{both}\n%s = add(%b, %c) : MAP\n%y = add(%s, %r) : MAP"
    module = network(middle, rng=rng)
    ((first, second),) = pairs_brought_together(module.main)
    assert (first.result.name, second.result.name) == ("c", "s")
    assert [op.result.name for op in module.main.ops] == ["b", "c", "s", "r", "y"]


@pytest.mark.parametrize(
    "middle",
    [
        f"{DENSE}\n%s = add(%c, %o) : MAP\n%y = add(%c, %s) : MAP",  # read twice
        f"{DENSE}\n%y = add(%c, %c) : MAP",  # by one op
        f"%c = conv(%x, @d) {conv(1, 20)} : MAP\n%r = relu(%o) : MAP\n%y = add(%c, %r) : MAP",  # not the later one
    ],
)
def test_what_is_not_fused(middle: str, rng: np.random.Generator) -> None:
    assert [*pairs_brought_together(network(middle, rng=rng).main)] == []


@pytest.mark.parametrize("machine", ["s256", "m4096"])
def test_fused_where_that_is_cheaper(machine: str, rng: np.random.Generator) -> None:
    module = network(f"{DENSE}\n{SUM}", rng=rng, rows=20, columns=20)
    TileDevice(machine).run(module)
    first, second = module.main.ops
    assert FUSED.get(first) and TILE.get(first) == TILE.get(second)
    lowered(module, rng)


def planned(rng: np.random.Generator) -> tuple[Module, Op, Op]:
    """A block between two other ops, planned; its convolution and its sum."""
    middle = f"%r = relu(%x) : MAP\n%c = conv(%r, @k) {conv(1)} : MAP\n%s = add(%c, %o) : MAP\n%y = relu(%s) : MAP"
    module = network(middle, rng=rng)
    fuse(module, (4, 3, 1, 1))
    PlanDeviceMemory().run(module)
    _, first, second, _ = module.main.ops
    return module, first, second


def test_the_map_of_the_convolution_has_no_memory_of_its_own(rng: np.random.Generator) -> None:
    module, first, second = planned(rng)
    assert DRAM.get(first) == DRAM.get(second)
    assert REGION_BYTES["scratch"].get(module.main) == 2 * 6 * 5 * 32  # %r and %s


def test_a_sum_over_what_the_convolution_still_reads_is_found(rng: np.random.Generator) -> None:
    module, first, second = planned(rng)
    source = DRAM.get(next(module.main.ops))
    assert source is not None
    DRAM.set(second, source)
    with pytest.raises(PassError, match="has been overwritten before this op reads it"):
        check_device_memory(module.main)
    DRAM.set(first, source)
    with pytest.raises(PassError, match="has been overwritten before this op reads it"):
        check_device_memory(module.main)
