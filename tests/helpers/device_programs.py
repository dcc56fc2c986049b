"""Small device programs that several tests run."""

from __future__ import annotations

from tilewright.runtime import isa
from tilewright.runtime.machines.machine import Machine


def pointwise(machine: Machine, tiles: int, columns: int = 16, blocks: int = 4) -> isa.Program:
    """A 1x1 convolution, ``tiles`` rows of ``columns`` pixels of ``blocks`` * 16 channels, double-buffered."""
    row = columns * blocks * 16
    weights = blocks * blocks * 4
    regions = [
        isa.Region("constants", isa.RegionKind.CONSTANT, (weights + 2 * blocks) * 64),
        isa.Region("x", isa.RegionKind.INPUT, tiles * row),
        isa.Region("y", isa.RegionKind.OUTPUT, tiles * row),
    ]
    assembler = isa.Assembler(machine, regions)
    assembler.add(isa.LoadWeights(region=0, offset=0, destination=0, length=weights), "first")
    assembler.add(isa.LoadParameters(region=0, offset=weights, destination=0, length=2 * blocks), "first")
    for tile in range(tiles):
        layer = "first" if tile < tiles // 2 else "second"
        source, target = tile % 2 * (row // 16), (2 + tile % 2) * (row // 16)
        accumulator = tile % 2 * columns * blocks
        assembler.add(isa.LoadMaps(region=1, offset=tile * row, destination=source, run=row), layer)
        convolve = isa.Convolve(
            source=source,
            weights=0,
            accumulator=accumulator,
            output_height=1,
            output_width=columns,
            output_blocks=blocks,
            input_channels=blocks,
            input_height=1,
            input_width=columns,
            row_pitch=row // 16,
            pixel_pitch=blocks,
        )
        assembler.add(convolve, layer)
        requantize = isa.Requantize(
            accumulator=accumulator,
            destination=target,
            height=1,
            width=columns,
            blocks=blocks,
            destination_row_pitch=row // 16,
            destination_pixel_pitch=blocks,
            parameters=0,
        )
        assembler.add(requantize, layer)
        assembler.add(isa.Store(region=2, offset=tile * row, source=target, run=row), layer)
    return assembler.finish()
