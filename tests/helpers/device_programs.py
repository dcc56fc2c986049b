"""Small device programs that several tests run."""

from __future__ import annotations

import instruction_set as isa

from tilewright.runtime.machines.machine import Machine


def convolution(
    source: int, target: int, accumulator: int, size: tuple[int, int], inputs: int, outputs: int, **fields: int
) -> tuple[isa.Convolve, isa.Requantize]:
    """A convolution and what makes a map of its sums, both maps without gaps, weights and parameters at 0.

    Args:
        source, target: where the maps begin, in units of 16 bytes.
        accumulator: the first one, in units of 16 of them.
        size: rows and columns of the result.
        inputs, outputs: channels in blocks of 16.
        fields: others of CONV; the input is as large as the result where they do not say.
    """
    rows, columns = size
    windows = {"input_height": rows, "input_width": columns, **fields}
    convolve = isa.Convolve(
        source=source,
        weights=0,
        accumulator=accumulator,
        output_height=rows,
        output_width=columns,
        output_blocks=outputs,
        input_channels=inputs,
        row_pitch=columns * inputs,
        pixel_pitch=inputs,
        **windows,  # pyright: ignore[reportArgumentType]
    )
    requantize = isa.Requantize(
        accumulator=accumulator,
        destination=target,
        height=rows,
        width=columns,
        blocks=outputs,
        destination_row_pitch=columns * outputs,
        destination_pixel_pitch=outputs,
        parameters=0,
    )
    return convolve, requantize


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
        for item in convolution(source, target, accumulator, (1, columns), blocks, blocks):
            assembler.add(item, layer)
        assembler.add(isa.Store(region=2, offset=tile * row, source=target, run=row), layer)
    return assembler.finish()
