"""The floors of the device's benchmarks, beside every schedule of tiny layers."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import product

import numpy as np
import pytest
from before_after import parse
from device_bounds import array_steps, cycles_ahead, floors, pixels_read, reads_all, steps_of_parts, weight_bytes

from tilewright.codegen.device.program import assemble
from tilewright.errors import PassError
from tilewright.ir.annotations import KEPT, MACS, ON
from tilewright.ir.clone import clone_module
from tilewright.ir.core import Module
from tilewright.ir.feature_map import is_block_by_block
from tilewright.passes.base import Verification
from tilewright.passes.device.lower_to_tiles import LowerToTiles
from tilewright.passes.device.planning.plan_device_memory import PlanDeviceMemory
from tilewright.passes.device.planning.plan_scratchpads import plan
from tilewright.passes.device.tiling.candidates import Tile
from tilewright.passes.device.tiling.tile_searches import set_tile
from tilewright.runtime.machines.machine import load
from tilewright.runtime.simulator.cycles import simulate
from tilewright.runtime.simulator.verifier import drafted


def two_layers(size: int, channels: int, kernel: int, group: int) -> Module:
    """A convolution of single pixels behind another one."""
    map, pad = f"i8[1,{channels},{size},{size}]<s=0x1.0p-4, z=3>", kernel // 2
    rng = np.random.default_rng(3)
    weights, inputs = rng.integers(-9, 10, channels * channels).tolist(), channels // group
    first = rng.integers(-9, 10, channels * inputs * kernel**2).tolist()

    def conv(pad: int, group: int) -> str:
        return (
            f"{{strides=[1, 1], pads=[{pad}, {pad}, {pad}, {pad}], dilations=[1, 1], group={group}, "
            'act="none", act_args=[]}'
        )

    module = parse(f"""
  const @v : i8[{channels},{inputs},{kernel},{kernel}]<s=0x1.0p-6, z=0> = {first}
  const @w : i8[{channels},{channels},1,1]<s=0x1.0p-6, z=0> = {weights}
  func @main(%x: {map}) -> (%z: {map}) {{
    %y = conv(%x, @v, _) {conv(pad, group)} : {map}
    %z = conv(%y, @w, _) {conv(0, 1)} : {map}
    return %z
  }}""")
    for each in (module.main, *module.main.ops):
        ON.set(each, "device")
    return module


def schedules(module: Module, machine: str, size: int, blocks: int) -> Iterator[float]:
    """The cycles of ways to tile both layers alike, whole and in halves, with the map in between on chip or in DRAM."""
    device = load(machine)
    choices = product(
        {1, size // 2, size},
        {size // 2, size},
        {1, blocks},
        {1, blocks},
        ("weights", "inputs"),
        (False, True),
    )
    for rows, columns, outputs, inputs, stationary, kept in choices:
        draft = clone_module(module)
        function = draft.main
        first, second = function.ops
        own = outputs if is_block_by_block(first) else inputs
        set_tile(first, Tile(rows, columns, outputs, own, stationary))
        set_tile(second, Tile(rows, columns, outputs, inputs, stationary))
        if kept:
            KEPT.set(first, True)
        try:
            PlanDeviceMemory().run(draft, verification=Verification.OFF)
            LowerToTiles().run(draft, verification=Verification.OFF)
            plan(function, device)
            yield simulate(drafted(assemble(function, device).assembler)).cycles
        except PassError:
            continue


@pytest.mark.parametrize(
    ("channels", "kernel", "group"),
    [pytest.param(48, 1, 2, marks=pytest.mark.sweep), (32, 3, 32), pytest.param(32, 3, 1, marks=pytest.mark.sweep)],
)
def test_no_schedule_is_below_the_floor_and_the_best_is_near(channels: int, kernel: int, group: int) -> None:
    module = two_layers(4, channels, kernel, group)
    ops = [*module.main.ops]
    moved = sum(map(weight_bytes, ops)) + 2 * channels * 4**2
    what, floor = floors(ops, load("s256"), 1, moved).highest
    found = [*schedules(module, "s256", 4, channels // 16)]
    assert len(found) > 50
    # Weights of layers so small are there later than the floor of the arrays knows.
    assert floor <= min(found) <= 1.6 * floor, f"{what}: {floor}, {min(found)} of {len(found)}"


def least_of_all_ways(outputs: tuple[int, ...], inputs: int, lanes: int, piece: int) -> float:
    """Steps of the best way to put outputs of parts into groups of lanes, all of which are tried."""

    @cache
    def least(left: tuple[int, ...]) -> float:
        if not any(left):
            return 0.0
        ways = [
            (used, size)
            for used in product(*(range(each + 1) for each in left))
            for size in {piece, lanes}
            if 0 < sum(used) <= size
        ]
        return min(
            size / lanes * -(-sum(map(bool, used)) * inputs // 16)
            + least(tuple(sorted(all - own for all, own in zip(left, used, strict=True))))
            for used, size in ways
        )

    return least(tuple(sorted(outputs)))


@pytest.mark.parametrize("machine", ["s256", "m4096"])
@pytest.mark.parametrize("outputs", [(5, 5), (3, 3, 3), (2, 6), (1, 1, 1, 1), (9, 9), (4, 7, 2)])
def test_no_way_to_put_groups_of_channels_into_lanes_is_below_the_floor(machine: str, outputs: tuple[int, ...]) -> None:
    device = load(machine)
    for inputs in (6, 16, 17, 34):
        best = least_of_all_ways(outputs, inputs, device.output_lanes, device.output_lanes // 2)
        found = steps_of_parts(device, outputs, inputs)
        assert found <= best <= 1.5 * found, inputs


def test_groups_of_a_shuffle_fill_the_lanes_as_far_as_the_floor_says() -> None:
    # 4 groups of 34 channels: 8 blocks of outputs of one group, and half a block of all of them.
    assert steps_of_parts(load("m4096"), (34,) * 4, 34) == 8 * 3 + 9 / 2


def test_outputs_with_few_inputs_do_not_hide_what_the_others_take() -> None:
    """One output of each group reads a single channel: without these two there are as many steps, or fewer."""
    weights = np.random.default_rng(3).integers(1, 9, (68, 34, 1, 1))
    weights[::34, 1:] = 0
    map = "i8[1,68,4,4]<s=0x1.0p-4, z=3>"
    conv = '{strides=[1, 1], pads=[0, 0, 0, 0], dilations=[1, 1], group=2, act="none", act_args=[]}'
    module = parse(f"""
  const @w : i8[68,34,1,1]<s=0x1.0p-6, z=0> = {weights.ravel().tolist()}
  func @main(%x: {map}) -> (%y: {map}) {{
    %y = conv(%x, @w, _) {conv} : {map}
    return %y
  }}""")
    (op,), device = module.main.ops, load("m4096")
    expected = steps_of_parts(device, (33, 33), 34)
    assert expected > steps_of_parts(device, (34, 34), 1)
    assert array_steps(op, device) == 16 / device.pixel_lanes * expected


def test_what_is_loaded_comes_behind_an_instruction_and_goes_through_units() -> None:
    module, device, traffic = two_layers(2, 64, 1, 1), load("s256"), 2 * 64 * 64 + 2 * 64 * 4
    floor = floors([*module.main.ops], device, 1, traffic).dram
    assert floor > traffic / device.dram_bytes_per_cycle + 3 * device.timing.dram_latency
    assert floor <= min(schedules(module, "s256", 2, 4))


def test_what_is_read_of_a_map_has_what_reads_it_behind() -> None:
    """Of 8 by 8 pixels a pooling reads the first 3 by 3: these 9, with all behind them, say more than the 64 alone."""
    map, pooled = "i8[1,16,8,8]<s=0x1.0p-4, z=3>", "i8[1,16,1,1]<s=0x1.0p-4, z=3>"
    conv = '{strides=[1, 1], pads=[0, 0, 0, 0], dilations=[1, 1], group=1, act="none", act_args=[]}'
    window = "{kernel=[3, 3], strides=[6, 6], pads=[0, 0, 0, 0], dilations=[1, 1]}"
    module = parse(f"""
  const @w : i8[16,16,1,1]<s=0x1.0p-6, z=0> = {np.random.default_rng(3).integers(1, 9, 256).tolist()}
  func @main(%x: {map}) -> (%z: {pooled}) {{
    %y = conv(%x, @w, _) {conv} : {map}
    %z = max_pool(%y) {window} : {pooled}
    return %z
  }}""")
    device, (layer, pool) = load("m4096"), module.main.ops
    for each in (module.main, layer, pool):
        ON.set(each, "device")
    assert (pixels_read(pool), reads_all(pool)) == (9, False)
    (before, _), floor = cycles_ahead([layer, pool], device), floors([layer, pool], device, 1, 0).array
    found: list[float] = []
    for rows, kept in product((1, 2, 3, 4, 8), (False, True)):
        draft = clone_module(module)
        first, second = draft.main.ops
        set_tile(first, Tile(rows, 8, 1, 1))
        set_tile(second, Tile(1, 1, 1, 1))
        KEPT.set(first, kept)
        PlanDeviceMemory().run(draft, verification=Verification.OFF)
        LowerToTiles().run(draft, verification=Verification.OFF)
        plan(draft.main, device)
        found.append(simulate(drafted(assemble(draft.main, device).assembler)).cycles)
    # The steps of all pixels, or those of 9 and the way through three units to DRAM.
    assert before + 64 / 4 < before + 9 / 4 + device.timing.dram_latency < floor <= min(found) <= 1.6 * floor


def test_copies_of_outputs_are_counted_once() -> None:
    """What a convolution of few channels reads copies of is computed by lanes that need not be."""
    text = """
  const @w : i8[16,32,1,1]<s=0x1.0p-6, z=0> = {weights}
  func @main(%x: i8[1,32,4,4]<s=0x1.0p-4, z=3>) -> (%y: {map}) {{
    %y = conv(%x, @w, _) {{strides=[1, 1], pads=[0, 0, 0, 0], dilations=[1, 1], {rest}}} : {map}
    return %y
  }}"""
    half = np.random.default_rng(3).integers(1, 9, (8, 32))
    found: list[float] = []
    for weights in (half, half[np.arange(16) % 8]):
        map = f"i8[1,{len(weights)},4,4]<s=0x1.0p-4, z=3>"
        module = parse(
            text.format(weights=weights.ravel().tolist(), map=map, rest='group=1, act="none", act_args=[]').replace(
                "i8[16,", f"i8[{len(weights)},", 1
            )
        )
        (op,) = module.main.ops
        MACS.set(op, 16 * 8 * 32)
        found.append(array_steps(op, load("s256")))
    assert found[0] == found[1] == 16 * 2 / 2


def test_blocks_of_weights_that_are_zero_are_no_part_of_the_floor() -> None:
    """A network whose last normalisations start from zero has layers of zeros, of which nothing is loaded."""
    read, made = (f"i8[1,{channels},4,4]<s=0x1.0p-4, z=3>" for channels in (72, 40))
    conv = '{strides=[1, 1], pads=[0, 0, 0, 0], dilations=[1, 1], group=1, act="none", act_args=[]}'
    weights = np.ones((40, 72, 1, 1), np.int8)
    weights[::7, ::5] = 0
    for left_out in (0, 24 * 32, 40 * 72):
        if left_out:
            weights[:24, :32] = 0
        if left_out == 40 * 72:
            weights[:] = 0
        module = parse(f"""
  const @w : i8[40,72,1,1]<s=0x1.0p-6, z=0> = {weights.ravel().tolist()}
  func @main(%x: {read}) -> (%y: {made}) {{
    %y = conv(%x, @w, _) {conv} : {made}
    return %y
  }}""")
        (op,) = module.main.ops
        assert weight_bytes(op) == 40 * 72, "what is not said to have choices in it is loaded as a whole"
        MACS.set(op, op.macs)
        assert weight_bytes(op) == 40 * 72 - left_out
        assert (array_steps(op, load("s256")) == 0) is (left_out == 40 * 72)


def test_a_parameter_among_joined_maps_is_there_before_computed_ones() -> None:
    map = "i8[1,16,4,4]<s=0x1.0p-4, z=3>"
    conv = '{strides=[1, 1], pads=[0, 0, 0, 0], dilations=[1, 1], group=1, act="none", act_args=[]}'
    joined = "i8[1,32,4,4]<s=0x1.0p-4, z=3>"
    module = parse(f"""
  const @w : i8[16,16,1,1]<s=0x1.0p-6, z=0> = {[1] * 256}
  func @main(%x: {map}) -> (%z: {joined}) {{
    %y = conv(%x, @w, _) {conv} : {map}
    %z = concat(%x, %y) {{axis=1}} : {joined}
    return %z
  }}""")
    convolution, concat = cycles_ahead([*module.main.ops], load("s256"))
    assert concat == convolution


@pytest.mark.parametrize(
    ("kernel", "dilation", "extent", "results", "all_of_it"),
    [(2, 1, 8, 4, True), (2, 1, 9, 4, False), (3, 1, 9, 4, True), (3, 2, 9, 3, False), (1, 1, 8, 4, False)],
)
def test_which_windows_read_all_of_a_map(
    kernel: int, dilation: int, extent: int, results: int, all_of_it: bool
) -> None:
    window = f"kernel=[{kernel}, {kernel}], strides=[2, 2], pads=[0, 0, 0, 0], dilations=[{dilation}, {dilation}]"
    read, made = (f"i8[1,16,{size},{size}]<s=0x1.0p-4, z=3>" for size in (extent, results))
    module = parse(f"""
  func @main(%x: {read}) -> (%z: {made}) {{
    %z = max_pool(%x) {{{window}}} : {made}
    return %z
  }}""")
    (op,) = module.main.ops
    assert reads_all(op) is all_of_it
