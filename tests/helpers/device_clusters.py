"""Hand-made programs of several clusters: one convolution split by rows, with and without what it may share."""

from __future__ import annotations

import instruction_set as isa
import numpy as np
from device_programs import convolution

from tilewright.runtime.machines.machine import Machine

ROWS, COLUMNS, BLOCKS = 8, 6, 2
PIXEL = 16 * BLOCKS
ROW = COLUMNS * PIXEL
WEIGHTS = BLOCKS * 3 * 3 * BLOCKS * 4
"""Lines of a 3x3 convolution from all channels to all."""

REGIONS = [
    isa.Region("constants", isa.RegionKind.CONSTANT, (WEIGHTS + 2 * BLOCKS) * 64),
    isa.Region("x", isa.RegionKind.INPUT, ROWS * ROW),
    isa.Region("y", isa.RegionKind.OUTPUT, ROWS * ROW),
]
SOURCE, MIDDLE, TARGET = 0, ROWS * ROW // 16, 2 * ROWS * ROW // 16
"""Where the maps begin in every scratchpad, in units of 16 bytes; row r of each lies at r rows from there."""


def constants(rng: np.random.Generator) -> np.ndarray:
    """Random contents of the constant region: uint8."""
    weights = rng.integers(-128, 128, (16 * BLOCKS, 3, 3, 16 * BLOCKS)).astype(np.int8)
    bias = rng.integers(-5000, 5000, 16 * BLOCKS).astype(np.int32)
    scale = np.exp2(rng.uniform(-12, -10, 16 * BLOCKS)).astype(np.float32)
    packed = isa.pack_dense(weights, weight_zero=0, packed=False) + isa.pack_requantize(bias, scale)
    return np.frombuffer(packed, np.uint8)


def convolve(assembler: isa.Assembler, cluster: int, rows: range, source: int, target: int) -> None:
    """These rows of the convolution of a map at ``source``, into a map at ``target``."""
    window = {"kernel_height": 3, "kernel_width": 3, "row_origin": rows.start - 1, "column_origin": -1, "pad_value": 3}
    first = target + rows.start * ROW // 16
    for item in convolution(source, first, 0, (len(rows), COLUMNS), BLOCKS, BLOCKS, input_height=ROWS, **window):
        assembler.add(item, "conv", cluster=cluster)


def twice_convolved(machine: Machine, clusters: int, shared: bool = True) -> isa.Program:
    """Two 3x3 convolutions after each other, rows split over clusters, halos between them moved.

    Args:
        clusters: how many; 8 rows are divided evenly.
        shared: weights and parameters are loaded once for all clusters, else each cluster loads its own.
    """
    assembler = isa.Assembler(machine, REGIONS, clusters)
    share = ROWS // clusters
    parts = [range(cluster * share, (cluster + 1) * share) for cluster in range(clusters)]
    for mask, loader in [((1 << clusters) - 1, 0)] if shared else [(0, cluster) for cluster in range(clusters)]:
        load = isa.LoadWeights(region=0, offset=0, destination=0, length=WEIGHTS, clusters=mask)
        assembler.add(load, "weights", cluster=loader)
        load = isa.LoadParameters(region=0, offset=WEIGHTS, destination=0, length=2 * BLOCKS, clusters=mask)
        assembler.add(load, "weights", cluster=loader)
    for cluster, rows in enumerate(parts):
        first, stop = max(rows.start - 1, 0), min(rows.stop + 1, ROWS)
        load = isa.LoadMaps(
            region=1, offset=first * ROW, destination=SOURCE + first * ROW // 16, run=(stop - first) * ROW
        )
        assembler.add(load, "load", cluster=cluster)
        convolve(assembler, cluster, rows, SOURCE, MIDDLE)
    for cluster, rows in enumerate(parts):
        for row, neighbour in ((rows.start, cluster - 1), (rows.stop - 1, cluster + 1)):
            if 0 <= neighbour < clusters:
                at = MIDDLE + row * ROW // 16
                halo = isa.Move(source=at, destination=at, run=ROW // 16, clusters=1 << neighbour)
                assembler.add(halo, "halo", cluster=cluster)
    for cluster, rows in enumerate(parts):
        convolve(assembler, cluster, rows, MIDDLE, TARGET)
        start = rows.start * ROW
        store = isa.Store(region=2, offset=start, source=TARGET + start // 16, run=share * ROW)
        assembler.add(store, "store", cluster=cluster)
    return assembler.finish()


def gathered(machine: Machine, clusters: int) -> isa.Program:
    """Every cluster loads some rows, gives them to all others, and stores rows that another one has loaded."""
    assembler = isa.Assembler(machine, REGIONS, clusters)
    everyone = (1 << clusters) - 1
    share = ROWS // clusters
    for cluster in range(clusters):
        own = SOURCE + cluster * share * ROW // 16
        load = isa.LoadMaps(region=1, offset=cluster * share * ROW, destination=own, run=share * ROW)
        assembler.add(load, "load", cluster=cluster)
        if clusters > 1:
            give = isa.Move(
                source=own,
                destination=own,
                run=BLOCKS,
                count_y=COLUMNS,
                count_z=share,
                source_stride_y=BLOCKS,
                source_stride_z=ROW // 16,
                destination_stride_y=BLOCKS,
                destination_stride_z=ROW // 16,
                clusters=everyone & ~(1 << cluster),
            )
            assembler.add(give, "give", cluster=cluster)
    for cluster in range(clusters):
        # Rows from the other end: each cluster stores what another one has loaded.
        first = ROWS - (cluster + 1) * share
        store = isa.Store(region=2, offset=first * ROW, source=SOURCE + first * ROW // 16, run=share * ROW)
        assembler.add(store, "store", cluster=cluster)
    return assembler.finish()
