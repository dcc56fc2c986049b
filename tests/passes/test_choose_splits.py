"""What clusters share out is chosen beside the maps on chip, and changes no byte."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from before_after import parse, random_inputs
from chip_graphs import random_chip_graph
from device_runs import compile_for_device, run_on_device
from random_machines import odd_machine

from tilewright.codegen.device.program import assemble
from tilewright.errors import PassError
from tilewright.ir import interp
from tilewright.ir.annotations import CLUSTERS, FUSED, KEPT, LAYER, ON, OVER, SPLIT
from tilewright.ir.core import Module, Op, is_op
from tilewright.ir.ops.elementwise import Add
from tilewright.ir.tile.places import Leave
from tilewright.ir.tile.transfer import Move
from tilewright.ir.tile.types import EVERY_CLUSTER
from tilewright.passes.device.kept.choose_kept import KeptMaps
from tilewright.passes.device.kept.choose_splits import with_best_splits
from tilewright.passes.device.lower_to_tiles import LowerToTiles
from tilewright.passes.device.planning.check_scratchpads import check_scratchpads
from tilewright.passes.device.planning.plan_device_memory import PlanDeviceMemory
from tilewright.passes.device.planning.plan_scratchpads import PlanScratchpads
from tilewright.passes.device.tile_device import tile_function, tile_of
from tilewright.passes.device.tiling.tile_searches import TileSearches, set_tile
from tilewright.runtime.isa import transfer as isa
from tilewright.runtime.isa.encoding import Queue, Stream
from tilewright.runtime.machines.machine import load

M4096 = load("m4096")


def chain(size: int, channels: int, length: int) -> Module:
    """Convolutions of single pixels, %y1 to %y{length}, one after the other."""
    map = f"i8[1,{channels},{size},{size}]<s=0x1.0p-4, z=3>"
    conv = '{strides=[1, 1], pads=[0, 0, 0, 0], dilations=[1, 1], group=1, act="none", act_args=[]}'
    ops = "\n".join(f"    %y{n} = conv(%y{n - 1}, @w, _) {conv} : {map}" for n in range(1, length + 1))
    weights = np.random.default_rng(3).integers(-9, 10, (channels, channels, 1, 1))
    module = parse(f"""
  const @w : i8[{channels},{channels},1,1]<s=0x1.0p-6, z=0> = {weights.ravel().tolist()}
  func @main(%y0: {map}) -> (%y{length}: {map}) {{
{ops}
    return %y{length}
  }}""")
    for each in (module.main, *module.main.ops):
        ON.set(each, "device")
    return module


def test_weights_that_fill_half_of_their_scratchpad_are_loaded_in_pieces() -> None:
    """Four by sixteen blocks of 256 bytes, an eighth of it, have room beside those of the op ahead."""
    module = chain(3, 256, 3)
    tile_function(module.main, load("s256"), clusters=1)
    _, *others = module.main.ops
    assert [op.annotations["tile"] for op in others] == [(3, 1, 4, 16), (3, 3, 4, 16)]


def splits(module: Module) -> list[str | None]:
    return [SPLIT.get(op) for op in module.main.ops]


def test_beside_maps_on_chip_channels_are_shared_out_where_rows_do_not_come_out_even() -> None:
    """13 rows are 4 for the cluster with most, 12 blocks of channels are 3: from DRAM, all would load the whole map."""
    module, without = chain(13, 192, 4), chain(13, 192, 4)
    tile_function(without.main, M4096, clusters=4, kept_share=0.0)
    assert set(splits(without)) == {"rows"}
    tile_function(module.main, M4096, clusters=4)
    assert [KEPT.get(op) for op in module.main.ops] == [True, True, True, None]
    assert "channels" in splits(module)[1:]


def test_rows_that_come_out_even_are_shared_out_beside_maps_on_chip() -> None:
    module = chain(16, 80, 4)
    tile_function(module.main, M4096, clusters=4)
    assert set(splits(module)) == {"rows"}


def test_what_others_read_alike_is_priced_as_one_move() -> None:
    """14 rows are 4 for the cluster with most, 8 blocks of channels are 2 for each."""
    module = chain(14, 128, 4)
    tile_function(module.main, M4096, clusters=4)
    assert splits(module) == ["rows", "channels", "channels", "rows"]


def test_rows_are_moved_to_the_clusters_that_read_them_alone() -> None:
    """Each of four clusters makes a quarter of the channels of all rows, and reads a quarter of the rows."""
    module = chain(16, 64, 2)
    tile_function(module.main, M4096, clusters=4)
    first, second = module.main.ops
    SPLIT.set(first, "channels")
    SPLIT.set(second, "rows")
    for op in (first, second):
        op.annotations["tile"] = (16, 16, 4, 4)
    KEPT.set(first, True)
    PlanDeviceMemory().run(module)
    inputs = random_inputs(module, np.random.default_rng(1))
    expected = interp.run(module, inputs)["y2"]
    LowerToTiles().run(module)
    moved = [op.inputs[0].type.shape for op in module.ops if isinstance(op.operator, Move)]
    assert moved == [(4, 16, 16)] * 12
    np.testing.assert_array_equal(interp.run(module, inputs)["y2"], expected)


def test_what_all_clusters_read_is_moved_to_all_others_at_once() -> None:
    """Each of four clusters makes a quarter of the channels, and reads all of them."""
    module = chain(16, 64, 2)
    tile_function(module.main, M4096, clusters=4)
    first, _ = module.main.ops
    for op in module.main.ops:
        SPLIT.set(op, "channels")
        op.annotations["tile"] = (16, 16, 1, 4)
    KEPT.set(first, True)
    PlanDeviceMemory().run(module)
    inputs = random_inputs(module, np.random.default_rng(1))
    expected = interp.run(module, inputs)["y2"]
    LowerToTiles().run(module)
    moves = [op for op in module.ops if is_op(op, Move)]
    assert [op.operator.cluster for op in moves] == [EVERY_CLUSTER] * 4
    np.testing.assert_array_equal(interp.run(module, inputs)["y2"], expected)
    PlanScratchpads("m4096").run(module)
    program = assemble(module.main, M4096).finish().program
    stored = (program.instructions(Stream(cluster, Queue.ST)) for cluster in range(4))
    masks = [[item.clusters for item in items if isinstance(item, isa.Move)] for items in stored]
    assert masks == [[0b1110], [0b1101], [0b1011], [0b0111]]
    module.main.move_before(moves[0], next(op for op in module.main.ops if isinstance(op.operator, Leave)))
    with pytest.raises(PassError, match="does not hold what was written there before this op reads it"):
        check_scratchpads(module.main)


def test_rows_are_moved_to_readers_of_a_map_not_to_those_of_what_is_written_over_it() -> None:
    """Each of four clusters makes a quarter of the rows of two maps, of which the second one alone is read by all."""
    module = chain(16, 64, 2)
    first, last = module.main.ops
    between = Op(Add(), [first.result, module.main.parameters[0]], [first.result.type], names=["sum"])
    module.main.insert(between, last)
    last.set_operand(0, between.result)
    ON.set(between, "device")
    tile_function(module.main, M4096, clusters=4)
    FUSED.drop(first)
    OVER.set(between, 0)
    for op, split in zip(module.main.ops, ("rows", "rows", "channels"), strict=True):
        SPLIT.set(op, split)
        op.annotations["tile"] = (4, 16, 4, 4) if split == "rows" else (16, 16, 1, 4)
        KEPT.set(op, op is not last)
    PlanDeviceMemory().run(module)
    inputs = random_inputs(module, np.random.default_rng(1))
    expected = interp.run(module, inputs)["y2"]
    LowerToTiles().run(module)
    assert [LAYER.get(op) for op in module.main.ops if isinstance(op.operator, Move)] == ["sum"] * 4
    np.testing.assert_array_equal(interp.run(module, inputs)["y2"], expected)


@pytest.mark.parametrize(("clusters", "size", "channels"), [(2, 5, 64), (3, 5, 96), (4, 5, 64)])
def test_other_splits_change_no_byte(clusters: int, size: int, channels: int) -> None:
    machine = replace(M4096, clusters=clusters)
    module, without = chain(size, channels, 3), chain(size, channels, 3)
    tile_function(without.main, machine, clusters=clusters, kept_share=0.0)
    inputs = random_inputs(module, np.random.default_rng(2))
    found = run_on_device(module, compile_for_device(module, machine, clusters), machine, inputs)
    np.testing.assert_array_equal(found["y3"], interp.run(module, inputs)["y3"])
    assert splits(module) != splits(without)


@pytest.mark.sweep
@pytest.mark.parametrize("seed", range(100, 300))
def test_splits_of_many_networks_change_no_byte(seed: int) -> None:
    rng = np.random.default_rng(96_000 + seed)
    clusters = int(rng.integers(2, 5))
    machine = M4096 if rng.integers(2) else odd_machine(rng)
    machine = replace(machine, clusters=clusters)
    module = random_chip_graph(rng, ops=14)
    inputs = random_inputs(module, rng)
    try:
        compiled = compile_for_device(module, machine, clusters)
    except PassError as error:
        assert error.stage in ("tile_device", "plan_scratchpads")  # of what an odd machine has no room for
        return
    found = run_on_device(module, compiled, machine, inputs)
    for name, array in interp.run(module, inputs).items():
        np.testing.assert_array_equal(found[name], array, f"seed {seed}, {clusters} clusters, {name}")


@pytest.mark.parametrize("seed", range(2))
def test_tiles_and_splits_are_those_of_the_choice(seed: int) -> None:
    module = random_chip_graph(np.random.default_rng(98_000 + seed), ops=14)
    CLUSTERS.set(module.main, 4)
    searches = TileSearches(M4096, None, 4)
    for op in module.main.ops:
        set_tile(op, tile_of(op, M4096, searches))
    choice = KeptMaps(module.main, M4096, 4, searches)
    first, before = choice.choose(0.75), splits(module)
    assert first is not None
    found = with_best_splits(choice, first, 0.75)
    assert (found is first) == (splits(module) == before)
    again = choice.choose(0.75)
    assert again is not None
    assert again.cost == found.cost
