"""What clusters share out leaves room for the weights of what comes behind."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from before_after import parse

from tilewright.ir.annotations import ON, SPLIT
from tilewright.ir.core import Module
from tilewright.passes.device.kept.late_weights import LateWeights
from tilewright.passes.device.tile_device import tile_function
from tilewright.runtime.machines.machine import load

M4096 = load("m4096")


def products(channels: list[int], size: int, cut: tuple[int, int]) -> Module:
    """Convolutions of single pixels, each with so many channels as the next one reads.
    ``cut``: the one with that number, from 1 on, takes one of so many rows and columns."""
    rng, extent = np.random.default_rng(3), size
    constants: list[str] = []
    ops: list[str] = []
    for number, (inputs, outputs) in enumerate(pairwise(channels), 1):
        step = cut[1] if number == cut[0] else 1
        extent //= step
        weights = rng.integers(-9, 10, outputs * inputs).tolist()
        constants.append(f"  const @w{number} : i8[{outputs},{inputs},1,1]<s=0x1.0p-6, z=0> = {weights}")
        window = f"strides=[{step}, {step}], pads=[0, 0, 0, 0], dilations=[1, 1], group=1"
        made = f"i8[1,{outputs},{extent},{extent}]<s=0x1.0p-4, z=3>"
        ops.append(f'%y{number} = conv(%y{number - 1}, @w{number}, _) {{{window}, act="none", act_args=[]}} : {made}')
    parameter = f"%y0: i8[1,{channels[0]},{size},{size}]<s=0x1.0p-4, z=3>"
    result = f"%y{len(ops)}: i8[1,{channels[-1]},{extent},{extent}]<s=0x1.0p-4, z=3>"
    lines = [*constants, f"  func @main({parameter}) -> ({result}) {{", *ops, f"return %y{len(ops)}", "}"]
    module = parse("\n".join(["", *lines]))
    for each in (module.main, *module.main.ops):
        ON.set(each, "device")
    return module


def test_weights_that_all_clusters_hold_leave_no_room_for_the_next_ones() -> None:
    """Of 512 x 512 weights each cluster's scratchpad holds all, or the quarters of four ops. The DRAM has time for
    those of all three beside the first op, and takes four times as long as the arrays for each of the others."""
    module = products([512] * 4, 16, (2, 4))
    ops, cycles = [*module.main.ops], 512 * 512 / M4096.dram_bytes_per_cycle
    late: list[float] = []
    for split in ("rows", "channels"):
        for op in ops:
            SPLIT.set(op, split)
        late.append(LateWeights(ops, M4096, 4).cycles())
    assert late == pytest.approx([2 * (cycles - 1024), 0], abs=200)


def test_channels_are_shared_out_where_weights_would_come_late() -> None:
    """Rows cost as much for the fourth and the sixth op, whose weights fill the scratchpad and more than it."""
    found: list[list[str | None]] = []
    for size in (1 << 16, 1 << 18):
        module = products([96, 96, 96, 96, 160, 640, 160, 640], 14, (4, 2))
        tile_function(module.main, replace(M4096, weight_bytes=size), clusters=4)
        found.append([SPLIT.get(op) for op in module.main.ops])
    assert found[0] == ["rows"] * 3 + ["channels"] * 4
    assert found[1] == ["rows"] * 4 + ["channels", "rows", "channels"]
