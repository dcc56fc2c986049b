"""Channels and pixels exchanged: pixels as weights, turned, times a one in another channel of each pixel."""

import numpy as np

from ....ir.core import Op, Value
from ....ir.feature_map import map_shape
from ....ir.quantized import is_wide
from ....ir.tile.attention import MapAsWeights
from ....ir.tile.compute import Convolve, LookUp
from ....ir.tile.places import Part
from ....ir.tile.requantization import Requantize
from ....ir.tile.transfer import LoadRequantization, LoadTable, LoadWeights
from ....ir.tile.wide import ConvolveWide, RequantizeWide
from ....runtime.machines.machine import CHANNEL_BLOCK
from ..boxes import pieces
from .program import TileProgram

_WINDOWS = (1, 1), (1, 1)


def lower_exchange(op: Op, program: TileProgram) -> None:
    """As many pixels of a tile as a block has channels at a time. Numbers of 16 bits are sums of their two bytes."""
    source, target, wide = program.map(op.inputs[0]), program.map(op.result), is_wide(op.result.type)
    keep, size = (RequantizeWide, 2) if wide else (Requantize, 1)
    ones, parameters = dict[int, Value](), dict[int, Value]()
    for box in program.tiles(op):
        first, count = box.channels[0] // size, box.channels[1] // size
        count = min(count, map_shape(op.inputs[0].type).height - first)
        blocks = [(start * size, rows) for start, rows in pieces(box.rows[1], CHANNEL_BLOCK)]
        bytes = blocks[-1][0] + (size * CHANNEL_BLOCK if wide else blocks[-1][1])
        pixels = program.load(source, Part(box.image, (first, count), (0, 1), (size * box.rows[0], bytes)))
        if program.cluster not in ones:
            ones[program.cluster] = _ones(program, pixels)
        if count not in parameters:
            parameters[count] = _parameters(program, program.everywhere, count, 128 * wide)
        for start, rows in blocks:
            sums: Value | None = None
            channels = CHANNEL_BLOCK if wide else rows
            for byte in range(size):
                block = Part(-1, (0, count), (0, 1), (start + byte * CHANNEL_BLOCK, channels))
                weights = program.add(MapAsWeights(True), program.part(pixels, block))
                # Of two bytes the first counts 256 times as much.
                product = (Convolve if byte == size - 1 else ConvolveWide)((rows, 1), *_WINDOWS, (0, 0), 0, 0)
                read = Part(-1, (0, rows), (0, 1), (0, channels * (size - byte)))
                sums = program.add(product, program.part(ones[program.cluster], read), weights, sums)
            row = box.rows[0] + start // size
            part = Part(box.image, (row, rows), (0, 1), box.channels)
            program.store(target, part, keep(0, *keep.BOUNDS), sums, parameters[count])


def _parameters(program: TileProgram, cluster: int, channels: int, bias: int = 0) -> Value:
    arrays = {"bias": np.full(channels, bias, np.int32), "multiplier": np.ones(channels, np.float32)}
    return program.add(LoadRequantization(cluster), *(program.constant(*each) for each in arrays.items()))


def _ones(program: TileProgram, x: Value) -> Value:
    """A map of 16 pixels of two blocks of channels with a 1 in another channel of the first for each: of a pixel of
    ones, which a table makes of any, windows of as many rows see another row each."""
    channels = min(x.type.shape[-1], CHANNEL_BLOCK)
    pixel = program.part(x, Part(-1, (0, 1), (0, 1), (0, channels)))
    table = program.add(LoadTable(program.cluster), program.constant("ones", np.ones(256, np.int8)))
    weights = np.zeros((2 * CHANNEL_BLOCK, channels, CHANNEL_BLOCK, 1), np.int8)
    weights[:CHANNEL_BLOCK, 0, :, 0] = np.eye(CHANNEL_BLOCK, dtype=np.int8)[::-1]
    windows = program.add(LoadWeights(program.cluster, 0, False, False), program.constant("windows", weights))
    product = Convolve((CHANNEL_BLOCK, 1), *_WINDOWS, (1 - CHANNEL_BLOCK, 0), 0, 0)
    sums = program.add(product, program.add(LookUp(), pixel, table), windows)
    keep = Requantize(0, *Requantize.BOUNDS)
    return program.add(keep, sums, _parameters(program, program.cluster, 2 * CHANNEL_BLOCK))
