"""Which tile of an op costs least: every candidate is priced at once by a closed formula over the machine.

The price is the larger of multiply time and DRAM time plus the fixed costs of the instructions, all in cycles. It
ranks candidates; what a program really takes is told by the cycle model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from ...ir.annotations import Split, Stationary
from ...ir.core import Op, is_op
from ...ir.feature_map import Window, convolution_maps, is_depthwise, map_shape, window_of
from ...ir.ops.convolution import Conv
from ...ir.ops.resize import Resize
from ...ir.resampling import nearest_indices, nearest_steps
from ...runtime.cost import dense_steps, depthwise_steps
from ...runtime.machine import (
    ACCUMULATOR_UNIT,
    CHANNEL_BLOCK,
    MAP_EXTENT_LIMIT,
    OUTPUT_BLOCKS_LIMIT,
    OUTPUT_COLUMNS_LIMIT,
    OUTPUT_ROWS_LIMIT,
    RESIZE_LIMIT,
    WEIGHT_UNIT,
    Machine,
)

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Tile:
    """A piece of the result that is computed at once.

    Attributes:
        rows, columns: output pixels.
        output_blocks, input_blocks: blocks of 16 channels of result and operand.
        stationary: ``weights`` | ``inputs``, see :class:`tilewright.passes.device.tile_device.TileDevice`.
        split: what several clusters share out of the result; None where one does all.
    """

    rows: int
    columns: int
    output_blocks: int
    input_blocks: int
    stationary: Stationary = "inputs"
    split: Split | None = None


@dataclass(frozen=True)
class _Share:
    """The largest part that a cluster has of the work of an op."""

    clusters: int = 1
    split: Split | None = None

    def rows(self, height: int) -> int:
        return _ceil(height, self.clusters) if self.split == "rows" else height

    def blocks(self, blocks: int) -> int:
        return _ceil(blocks, self.clusters) if self.split == "channels" else blocks

    def dram_bytes(self, weights: Counts, maps: Counts) -> Counts:
        """What all clusters move, from what one does: rows have the same weights, which are loaded once for all."""
        return (weights if self.split == "rows" else weights * self.clusters) + maps * self.clusters


@dataclass(frozen=True)
class Misfit:
    """Why no tile fits: the scratchpad that the smallest one overflows, and by how much (bytes)."""

    memory: str
    needed: int
    available: int


def _read(window: Window, axis: int, outputs: Counts, extent: int) -> Counts:
    """Input rows (axis 0) or columns (axis 1) that so many outputs read, at most."""
    reach = (outputs - 1) * window.stride[axis] + (window.kernel[axis] - 1) * window.dilation[axis] + 1
    return np.minimum(reach, extent)


def _repeated(steps: tuple[int, int] | None, outputs: Counts, extent: int) -> Counts:
    """Input rows or columns that so many outputs of a nearest resize repeat, at most."""
    return (
        np.minimum(_ceil((outputs - 1) * steps[0], 1 << 16) + 1, extent) if steps is not None else outputs * 0 + extent
    )


def _cuts(extent: int, limit: int) -> Counts:
    """Sizes of pieces that cut an extent evenly: one for each number of pieces that makes a difference."""
    sizes = {min(-(-extent // pieces), limit) for pieces in range(1, extent + 1)}
    return np.array([*sorted(sizes, reverse=True)[:24], 1], np.int64)


def _ceil(a, b):
    return -(-a // b)


def choose_tile(op: Op, machine: Machine, stationary: Stationary | None = None, clusters: int = 1) -> Tile | Misfit:
    """The cheapest tile of a device op, or why there is none.

    Args:
        stationary: what a convolution has to keep; by default what costs less.
        clusters: how many of them share the work out, by rows or by channels, whichever costs less.
    """
    found = [
        _choose_convolution(op, machine, stationary, share)
        if is_op(op, Conv)
        else _choose_pointwise(op, machine, share)
        for share in _shares(op, clusters)
    ]
    tiles = [each for each in found if not isinstance(each, Misfit)]
    return (
        min(tiles, key=lambda each: each[0])[1] if tiles else next(each for each in found if isinstance(each, Misfit))
    )


def _shares(op: Op, clusters: int) -> list[_Share]:
    """The ways to share the work of an op out that leave something to do for at least two clusters."""
    if clusters == 1:
        return [_Share()]
    target = convolution_maps(op)[1] if is_op(op, Conv) else map_shape(op.result.type)
    in_groups = isinstance(op.operator, Conv) and op.operator.group > 1 and not is_depthwise(op)
    shares = [_Share(clusters, "rows")] if target.height > 1 else []
    shares += [_Share(clusters, "channels")] if target.blocks > 1 and not in_groups else []
    return shares or [_Share()]


def _choose_convolution(
    op: Op[Conv], machine: Machine, wanted: Stationary | None, share: _Share
) -> tuple[float, Tile] | Misfit:
    (source, target), window = convolution_maps(op), window_of(op)
    depthwise = is_depthwise(op)
    groups = 1 if depthwise else op.operator.group
    inputs, outputs = _ceil(source.channels // groups, CHANNEL_BLOCK), _ceil(target.channels // groups, CHANNEL_BLOCK)
    outputs, height = share.blocks(outputs), share.rows(target.height)
    rows, columns, blocks, chunk = np.meshgrid(
        _cuts(height, OUTPUT_ROWS_LIMIT),
        _cuts(target.width, OUTPUT_COLUMNS_LIMIT),
        _cuts(outputs, OUTPUT_BLOCKS_LIMIT),
        np.array([1], np.int64) if depthwise else _cuts(inputs, 255),
        indexing="ij",
    )
    chunk = blocks if depthwise else chunk
    heights, widths = _read(window, 0, rows, source.height), _read(window, 1, columns, source.width)
    read = heights * widths
    map_bytes = read * chunk * CHANNEL_BLOCK
    result_bytes = rows * columns * blocks * CHANNEL_BLOCK
    taps = window.taps
    kernel = _ceil(taps * CHANNEL_BLOCK, WEIGHT_UNIT) * WEIGHT_UNIT if depthwise else taps * chunk * CHANNEL_BLOCK**2
    weight_bytes = blocks * kernel
    accumulator_bytes = rows * columns * blocks * ACCUMULATOR_UNIT
    parameter_bytes = blocks * 128
    chunks = np.ones_like(chunk) if depthwise else _ceil(inputs, chunk)
    pieces = _ceil(height, rows) * _ceil(target.width, columns)
    slices = _ceil(outputs, blocks)
    # With several slices or chunks two results or two chunks of the map are in flight.
    group_bytes = map_bytes * np.where(chunks > 1, 2, 1) + result_bytes * np.where(slices > 1, 2, 1)
    needs = {
        "maps": (group_bytes, machine.maps_bytes),
        "weight": (weight_bytes, machine.weight_bytes),
        "accumulator": (accumulator_bytes, machine.accumulator_bytes),
        "parameter": (parameter_bytes, machine.parameter_bytes),
    }
    fits = np.logical_and.reduce([need <= there for need, there in needs.values()])
    if not fits.any():
        return _misfit(needs)
    fits = fits & (heights <= MAP_EXTENT_LIMIT) & (widths <= MAP_EXTENT_LIMIT)
    calls = pieces * slices * chunks
    if depthwise:
        multiply = calls * depthwise_steps(machine, rows * columns, blocks, taps)
    else:
        multiply = calls * dense_steps(machine, rows * columns, blocks, taps, chunk * CHANNEL_BLOCK)
    alone = (slices == 1) & (chunks == 1)
    double = np.logical_and.reduce([2 * need <= there for need, there in needs.values()])
    best: tuple[float, Tile] | None = None
    for stationary in get_args(Stationary) if wanted is None else (wanted,):
        weights = weight_bytes * slices * chunks
        maps = map_bytes * chunks * pieces
        if stationary == "weights":
            weights = weights * np.where(chunks == 1, 1, pieces)
            maps = maps * slices
        else:
            weights = weights * np.where(alone, 1, pieces)
            maps = maps * np.where(chunks == 1, 1, slices)
        dram = share.dram_bytes(weights, maps + result_bytes * slices * pieces) / machine.dram_bytes_per_cycle
        fixed = calls * (machine.timing.mac_setup + machine.timing.mac_drain + machine.timing.transfer_setup)
        # Without a second buffer loads and sums take turns.
        cost = np.where(double, np.maximum(multiply, dram), multiply + dram) + fixed
        index = np.unravel_index(np.argmin(np.where(fits, cost, np.inf)), cost.shape)
        sizes = [int(a[index]) for a in (rows, columns, blocks, chunk)]
        tile = Tile(sizes[0], sizes[1], sizes[2], sizes[3], stationary, share.split)
        if best is None or cost[index] < best[0]:
            best = (float(cost[index]), tile)
    assert best is not None
    return best


def _misfit(needs: dict[str, tuple[Counts, int]]) -> Misfit:
    smallest = {memory: (int(need.min()), there) for memory, (need, there) in needs.items()}
    memory = max(smallest, key=lambda name: smallest[name][0] / smallest[name][1])
    return Misfit(memory, *smallest[memory])


def _choose_pointwise(op: Op, machine: Machine, share: _Share) -> tuple[float, Tile] | Misfit:
    """Tiles of ops on the vector unit: the fewest that fit, twice over if possible."""
    target, window = map_shape(op.result.type), window_of(op)
    sources = [map_shape(v.type) for v in op.inputs if v.type.quant is not None]
    height, most = share.rows(target.height), share.blocks(target.blocks)
    rows, columns, blocks = np.meshgrid(
        _cuts(height, OUTPUT_ROWS_LIMIT),
        _cuts(target.width, OUTPUT_COLUMNS_LIMIT),
        _cuts(most, 255),
        indexing="ij",
    )
    need = rows * columns * blocks * CHANNEL_BLOCK
    within = np.ones(need.shape, np.bool_)
    steps = [nearest_steps(indices, RESIZE_LIMIT) for indices in nearest_indices(op)] if is_op(op, Resize) else []
    for source in sources:
        heights, widths = (
            _repeated(steps[axis], outputs, extent) if steps else _read(window, axis, outputs, extent)
            for axis, (outputs, extent) in enumerate(((rows, source.height), (columns, source.width)))
        )
        need = need + heights * widths * blocks * CHANNEL_BLOCK
        within &= (heights <= MAP_EXTENT_LIMIT) & (widths <= MAP_EXTENT_LIMIT)
    needs = {"maps": (need, machine.maps_bytes)}
    fits = need <= machine.maps_bytes
    if not fits.any():
        return _misfit(needs)
    fits = fits & within
    pieces = _ceil(height, rows) * _ceil(target.width, columns) * _ceil(most, blocks)
    cost = pieces + np.where(2 * need <= machine.maps_bytes, 0.0, 0.5) * pieces
    # Whole pixels move in long runs: cutting channels is the last resort.
    cost = cost + np.where(blocks < target.blocks, 0.25 * pieces, 0.0)
    index = np.unravel_index(np.argmin(np.where(fits, cost, np.inf)), cost.shape)
    tile = [int(a[index]) for a in (rows, columns, blocks)]
    return float(cost[index]), Tile(tile[0], tile[1], tile[2], tile[2], split=share.split)
