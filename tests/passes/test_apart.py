"""On chip channels that no op touches together lie apart, and rows further apart than they are long."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from before_after import parse, random_inputs
from device_runs import compile_for_device, run_on_device

from tilewright.ir import interp
from tilewright.ir.annotations import KEPT, ON, SPLIT, Split
from tilewright.ir.core import Module, is_op
from tilewright.ir.tile.places import Buffer
from tilewright.ir.tile.transfer import Move
from tilewright.passes.device.lower_to_tiles import LowerToTiles
from tilewright.passes.device.planning.plan_device_memory import PlanDeviceMemory
from tilewright.passes.device.tile_device import tile_function
from tilewright.runtime.machines.machine import load

M4096 = load("m4096")


def windows(channels: int, width: int, kernel: int, stride: int, made: str = "") -> Module:
    """A convolution of single pixels, or what is made otherwise of x, and windows over each of its channels."""
    rng, quant, factors = np.random.default_rng(3), "<s=0x1.0p-4, z=3>", "<s=0x1.0p-6, z=0>"
    pixels, over = (rng.integers(-9, 10, channels * taps).tolist() for taps in (16, kernel**2))
    x, y = (f"i8[1,{count},8,{width}]{quant}" for count in (16, channels))
    z = f"i8[1,{channels},{8 // stride},{width // stride}]{quant}"
    others = 'dilations=[1, 1], act="none", act_args=[]'
    pads = [kernel // 2] * 4
    made = made or f"conv(%x, @v, _) {{strides=[1, 1], pads=[0, 0, 0, 0], group=1, {others}}}"
    return parse(f"""
  const @v : i8[{channels},16,1,1]{factors} = {pixels}
  const @w : i8[{channels},1,{kernel},{kernel}]{factors} = {over}
  func @main(%x: {x}) -> (%z: {z}) {{
    %y = {made} : {y}
    %z = conv(%y, @w, _) {{strides=[{stride}, {stride}], pads={pads}, group={channels}, {others}}} : {z}
    return %z
  }}""")


@pytest.mark.parametrize(
    ("channels", "width", "kernel", "stride", "places"),
    [(80, 36, 7, 2, {(36, 32), (36, 16)}), (16, 72, 3, 1, {(76, 16)})],
)
def test_windows_that_wait_for_banks(
    channels: int, width: int, kernel: int, stride: int, places: set[tuple[int, int]]
) -> None:
    module = windows(channels, width, kernel, stride)
    inputs = random_inputs(module, np.random.default_rng(2))
    found = run_on_device(module, compile_for_device(module, M4096, 4), M4096, inputs)
    np.testing.assert_array_equal(found["z"], interp.run(module, inputs)["z"])
    LowerToTiles().run(module)
    buffers = [op.operator for op in module.main.ops if is_op(op, Buffer)]
    assert {each.shape[1:] for each in buffers if each.memory == "maps"} == places


def test_slices_leave_tiles_that_fit() -> None:
    """Windows whose tile has few channels, as accumulators hold no more of its pixels, get no more of them."""
    device = replace(M4096, pixel_lanes=2, output_lanes=8, accumulator_bytes=896, accumulator_banks=1)
    assert compile_for_device(windows(80, 20, 3, 1), device).program.queues


@pytest.mark.parametrize(
    ("made", "share", "moves"),
    [("", "channels", 0), ("", "rows", 12), ("concat(%x, %x, %x, %x) {axis=1}", "channels", 4)],
)
def test_nothing_is_moved_of_channels_that_only_who_makes_them_reads(made: str, share: Split, moves: int) -> None:
    """Four clusters share out the blocks of a product, and those or the rows of windows over each channel. Of what is
    put together each part is shared out by itself."""
    module = windows(64, 8, 3, 1, made)
    for each in (module.main, *module.main.ops):
        ON.set(each, "device")
    tile_function(module.main, M4096, clusters=4)
    for op, split in zip(module.main.ops, ("channels", share), strict=True):
        SPLIT.set(op, split)
        op.annotations["tile"] = (8, 8, 1, 1)
        KEPT.set(op, op.result.name == "y")
    PlanDeviceMemory().run(module)
    inputs = random_inputs(module, np.random.default_rng(1))
    expected = interp.run(module, inputs)["z"]
    LowerToTiles().run(module)
    assert len([op for op in module.main.ops if is_op(op, Move)]) == moves
    np.testing.assert_array_equal(interp.run(module, inputs)["z"], expected)
