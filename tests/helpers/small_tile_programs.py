"""Tile programs that one writes oneself, and machines that have hardly room for them."""

from __future__ import annotations

import dataclasses

import numpy as np
from tile_programs import RandomProgram

from tilewright.ir.core import Function, Value
from tilewright.ir.tile.places import Part
from tilewright.ir.tile.transfer import Load
from tilewright.ir.types import DType
from tilewright.runtime.machines.machine import Machine, load


def with_room(**needed: int) -> Machine:
    """A machine whose scratchpads are hardly larger than that, in bytes."""
    lanes = {"input_lanes": 4, "output_lanes": 4, "pixel_lanes": 1, "depthwise_taps": 1}
    banks = {"maps_banks": 1, "weight_banks": 1, "accumulator_banks": 1}
    sizes = {"maps_bytes": 1024, "weight_bytes": 512, "accumulator_bytes": 512, "parameter_bytes": 512}
    for name, size in needed.items():
        sizes[name] = max(sizes[name], -(-size // 64) * 64)
    return dataclasses.replace(load("m4096"), name="small", **lanes, **banks, **sizes)


class Chip(RandomProgram):
    """A program that one writes oneself, of maps of 16 channels."""

    def __init__(self) -> None:
        super().__init__(np.random.default_rng(1))
        self.x = self.enter("image", (1, 16, 16, 8), DType.I8)

    def loaded(self, rows: int, first: int = 0, into: Value | None = None) -> Value:
        return self.add(Load(0, False), self.add(Part(0, (first, rows), (0, 8), (0, 16)), self.x), into)

    def finished(self, *read: Value) -> Function:
        self.maps = [*read]
        for x in read:
            self.results.append(self.stored(x, "output", DType.I8))
        return self.grow(0).main
