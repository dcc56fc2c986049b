"""The price of a convolution for every candidate tile: what its lowering emits, counted."""

from collections.abc import Callable, Hashable, Iterator
from dataclasses import replace
from functools import reduce
from itertools import product
from operator import add
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....ir.annotations import Stationary
from ....ir.core import Op, is_op
from ....ir.feature_map import convolution_maps, is_block_by_block, is_product, sum_products, window_of
from ....ir.ops.convolution import Conv
from ....ir.quantized import slope_of
from ....runtime.isa.layouts import dense_bytes, depthwise_bytes
from ....runtime.isa.vector import REQUANTIZE_BLOCK_BYTES
from ....runtime.machines.banks import Count, Trace, Waits, ceil_divide, dense_conflicts, depthwise_conflicts
from ....runtime.machines.cost import (
    Runs,
    accumulator_stalls,
    bank_waits,
    dense_steps,
    depthwise_steps,
    in_turn,
    packed_steps,
)
from ....runtime.machines.machine import CHANNEL_BLOCK, MAPS_UNIT, Machine
from ....runtime.machines.vector_unit import Stream, idle_elements, vector_drain, vector_work
from ..boxes import blocks_together
from ..channel_blocks import blocks_read, channels_made, slice_reads
from ..fused_pairs import fused_user, is_made_by_rows, other_map, other_operand, residual_of
from .candidates import Candidates
from .tile_price import Counts, Price, Share, box, channel_slices, parts, rows_read

ROWS_WAITED = 0.02
"""Of the time of a convolution, what a tile of all its rows costs where its map comes row by row: it begins when all of
that is made. There mostly is other work meanwhile, and as many pixels in fewer rows are as cheap: for more, clusters
would share out channels, with which SqueezeNet takes 8 % more modelled cycles."""

_WORK_BESIDE = 2.0
"""Of the cycles in which an image is loaded, the work of a convolution that still begins with its first rows. Beside
more there is little to gain, and what comes next waits for tiles of whole rows: small networks on U250 took up to 2 %
more modelled cycles."""


def image_waited(op: Op, machine: Machine, clusters: int) -> float:
    """Cycles in which the input of a function is loaded that a convolution reads the products of; 0 where it reads no
    such map, or where that takes no longer to load than to multiply, or than two latencies of the DRAM."""
    first = op.inputs[0].producer
    if first is None or not is_product(first) or first.inputs[0].producer is not None:
        return 0.0
    loaded = first.inputs[0].type.elements / machine.dram_bytes_per_cycle
    multiplied = first.macs / (clusters * machine.cluster_macs_per_cycle)
    return loaded if loaded > max(multiplied, 2 * machine.timing.dram_latency) else 0.0


def weight_bytes(op: Op, blocks: Counts, chunk: Counts, packed: bool) -> Counts:
    """Weights for so many blocks of the result and of the operand, in bytes.
    ``packed``: whether the pixels of the operand lie without padding."""
    taps, blocks = window_of(op).taps, sum_blocks(op, blocks)
    chunk = chunk // blocks_together(op.inputs[0].type)
    if is_block_by_block(op):
        return blocks * depthwise_bytes(CHANNEL_BLOCK, sum_products(op))
    if packed:
        return blocks * dense_bytes(1, convolution_maps(op)[0].channels, 1, taps, packed=True)
    return blocks * taps * chunk * CHANNEL_BLOCK**2


def parameter_bytes(op: Op, blocks: Counts) -> Counts:
    """Requantise parameters for so many blocks of the result, in bytes."""
    return sum_blocks(op, blocks) * REQUANTIZE_BLOCK_BYTES


def sum_blocks(op: Op, blocks: Counts) -> Counts:
    """Blocks of accumulators that so many blocks of the result are made of; of 16 bits two are made of each."""
    return blocks // blocks_together(op.result.type)


class ConvolutionPrice:
    """The work of every unit for a convolution, and for the op that is fused with it, whichever maps stay on chip.

    What does not depend on these is counted once. Nothing here names the op: prices outlive the function that it is in.
    """

    def __init__(self, op: Op, machine: Machine, tiles: Candidates, share: Share) -> None:
        self._machine, self.tiles, self._share = machine, tiles, replace(share, kept=frozenset())
        (self.source, self.target), self.window = convolution_maps(op), window_of(op)
        self.depthwise, self.packed = is_block_by_block(op), share.packed
        # Both bytes of a number are multiplied.
        self.read_together = blocks_together(op.inputs[0].type)
        self.sum_products = sum_products(op) * self.read_together
        self.together, self.channels = blocks_together(op.result.type), channels_made(op)
        self.outputs = share.blocks(self.target.blocks, self.together)
        self.images, self.height, self.width = share.pixels(self.target)
        self.inputs = self.source.blocks
        self.slices = ceil_divide(self.outputs, tiles.blocks)
        self.chunks = np.int64(1) if self.depthwise else ceil_divide(self.inputs, tiles.chunk)
        self.products, chunk = self.slices * self.chunks, tiles.chunk
        reads = blocks_read(op)
        self.reads = slice_reads(reads, self.outputs, tiles.blocks) if reads is not None else None
        if self.reads is not None:
            self.blocks_read = np.asarray(sum(size * count for (size, *_), count in self.reads.runs.items()))
            self.products = np.maximum(sum(self.reads.runs.values()), ceil_divide(self.blocks_read, chunk))
            chunk = np.asarray(ceil_divide(self.blocks_read, self.products))
        self.constants = weight_bytes(op, tiles.blocks, chunk, share.packed), parameter_bytes(op, tiles.blocks)
        self.areas = ceil_divide(self.height, tiles.rows) * ceil_divide(self.width, tiles.columns) * self.images
        self.other = other_map(op) if other_operand(op) is not None else None
        self.is_fused, self.is_sum = fused_user(op) is not None, residual_of(op) is not None
        self.has_slope = is_op(op, Conv) and slope_of(op.operator.act, op.operator.act_args) != 1
        # What a pair combines its tiles with mostly comes from the array.
        is_alone = share.clusters > 1 and self.other is None
        self._waits_for_rows = is_alone and is_made_by_rows(op.inputs[0])
        self._image_waited = image_waited(op, machine, share.clusters) if is_alone else 0.0
        self._known: dict[Hashable, Price] = {}

    def price(self, stationary: Stationary, *, loads: bool, stores: bool, loads_other: bool) -> Price:
        """With what is kept in the scratchpads, by which maps move: the operand, the result, what is added to it."""
        price = Price(self._machine, self._share)
        price.array = self._once(self._convolve, loads).array
        price.vector = self._once(self._combine, stores, loads_other).vector
        if stores:
            price.stores = self._once(self._store).stores
        maps = [self._once(self._load_maps, stationary).loads] if loads else []
        if loads_other and self.other is not None:
            maps.append(self._once(self._load_other).loads)
        if maps:
            price.loads = reduce(add, maps)
        price.weights = self._once(self._load_constants, "weights" if self.depthwise else stationary).weights
        # What goes to DRAM is waited for as a whole, and beside much work an image hardly is.
        waits_for_image = not stores and _WORK_BESIDE * self._image_waited > np.min(price.array.cycles)
        if not loads and (self._waits_for_rows or waits_for_image):
            # The array waits for all rows that its first tile reads.
            price.wait = ROWS_WAITED * price.array.cycles * (self.tiles.rows / self.height)
        return price

    def _once(self, part: Callable[..., None], *arguments: Hashable) -> Price:
        """A part of the work, counted at the first time."""
        key = part.__name__, *arguments
        if key not in self._known:
            self._known[key] = Price(self._machine, self._share)
            part(self._known[key], *arguments)
        return self._known[key]

    def _each(self) -> Iterator[tuple[Counts, Counts, Counts, bool]]:
        """Areas that cut the result: how many, their rows and columns, and whether they are whole."""
        of_rows, of_columns = parts(self.height, self.tiles.rows), parts(self.width, self.tiles.columns)
        for (n, rows, is_top), (m, columns, is_left) in product(of_rows, of_columns):
            yield n * m * self.images, rows, columns, is_top and is_left

    def _pieces(self) -> Iterator[tuple[Counts, Counts, Counts, Any, Counts, int, bool, NDArray[np.bool_]]]:
        """Tiles: how many areas, their rows and columns, how many slices of each, their blocks of sums, channels of the
        last block that are none, whether slices are whole, and whether all of it is."""
        for areas, rows, columns, is_area in self._each():
            for slices, blocks, unused, is_slice in self._slices():
                # A slice that is all of it counts as whole, though channels of its last block are none.
                is_whole = is_area & (np.asarray(is_slice) | (self.slices == slices))
                yield areas, rows, columns, slices, blocks, unused, is_slice, is_whole

    def _convolve(self, price: Price, loads: bool) -> None:
        machine, timing = self._machine, self._machine.timing
        waits = self._conflicts(loads)
        for areas, rows, columns, slices, blocks, unused, is_slice, is_whole in self._pieces():
            pixels = rows * columns
            for count, chunk, outputs, adds, is_chunk in self._products(slices, blocks, unused, is_slice):
                conflicts = bank_waits(rows, columns, waits, machine.pixel_lanes)
                conflicts = conflicts * (1 if self.depthwise else blocks)
                steps = self._steps(pixels, outputs, chunk) + conflicts
                steps = steps + accumulator_stalls(machine, pixels, blocks, steps, adds)
                once = in_turn(timing.mac_setup, steps)
                price.array.add(areas * count, once, whole=is_whole & is_chunk, drain=timing.mac_drain)

    def _combine(self, price: Price, stores: bool, loads_other: bool) -> None:
        """Requantise, and combine with another map."""
        machine, timing = self._machine, self._machine.timing
        for areas, rows, columns, slices, blocks, unused, _, is_whole in self._pieces():
            run = blocks * self.together * CHANNEL_BLOCK
            # A tile of a map that stays on chip lies as the map does.
            maps = [Stream(run, run if stores else self.target.padded_channels)]
            if self.other is not None:
                maps.append(Stream(run, run if loads_other else self.other.padded_channels))
            pixels = rows * columns
            read = maps if self.is_sum else maps[:1]
            work = vector_work(machine, pixels, blocks, read, sums=1, idle=idle_elements(unused))
            # What reads maps waits until the instruction before it is complete.
            drain = vector_drain(machine, self.is_sum, self.has_slope)
            waits_for = self.is_sum or self.is_fused
            once = in_turn(timing.vector_setup, work.unit + drain * waits_for)
            price.vector.add(areas * slices, once, whole=is_whole, drain=drain * (not waits_for), port=work.port)
            if self.is_fused:
                work = vector_work(machine, pixels, blocks, [maps[0], *maps])
                once = in_turn(timing.vector_setup, work.unit)
                price.vector.add(areas * slices, once, whole=is_whole, drain=timing.vector_drain, port=work.port)

    def _slices(self) -> Iterator[tuple[Any, Counts, int, bool]]:
        """Pieces that cut the output channels, of blocks of sums."""
        unused = -self.channels % CHANNEL_BLOCK if self.outputs == self.target.blocks else 0
        return channel_slices(self.outputs // self.together, self.tiles.blocks // self.together, unused)

    def _products(
        self, slices: Counts, blocks: Counts, unused: int, is_slice: bool
    ) -> Iterator[tuple[Count, Counts, Count, Any, Any]]:
        """What so many slices are summed up of: products, the blocks of input channels and the output channels of each,
        whether they add to sums, which they read then as well, and whether they are whole."""
        outputs = blocks * CHANNEL_BLOCK - unused
        if self.reads is None:
            alone = [(np.ones_like(blocks), blocks, True)]
            for chunks, chunk, is_chunk in alone if self.depthwise else parts(self.inputs, self.tiles.chunk):
                yield slices * chunks, chunk, outputs, self.products > self.slices, is_chunk
        elif is_slice:
            for (size, part, adds), count in self.reads.runs.items():
                cuts = ceil_divide(size, self.tiles.chunk)
                yield count * cuts, np.asarray(ceil_divide(size, cuts)), part or outputs, adds | (cuts > 1), count > 0

    def _steps(self, pixels: Counts, outputs: Count, chunk: Counts) -> Count:
        machine, window = self._machine, self.window
        if self.depthwise:
            return depthwise_steps(machine, pixels, outputs, self.sum_products)
        if self.packed:
            return packed_steps(machine, pixels, outputs, self._trace(0))
        return dense_steps(machine, pixels, outputs, window.taps, chunk * CHANNEL_BLOCK)

    def _conflicts(self, loads: bool) -> Waits:
        """Cycles that the array waits for banks: for each group of pixels, and if dense for each block of outputs.
        ``loads``: whether tiles of the map are loaded; one that stays on chip lies as the map does."""
        window, tiles = self.window, self.tiles
        widths = rows_read(window, 1, tiles.columns, self.source.width)
        # What lies in the banks does not depend on how much of a pixel on chip is read, but for whole blocks of it.
        varies = self.depthwise or (loads and not self.packed)
        chunks = tiles.chunk if varies else np.ones_like(tiles.chunk[..., :1])
        shape = np.broadcast_shapes(tiles.columns.shape, chunks.shape)
        found = [
            self._waits(width, read, blocks, loads)
            for width, read in zip(tiles.columns.ravel().tolist(), widths.ravel().tolist(), strict=True)
            for blocks in chunks.ravel().tolist()
        ]
        return Waits(*np.array(found, np.int64).T.reshape(2, *shape))

    def _waits(self, width: int, read: int, blocks: int, loads: bool) -> Waits:
        """Of tiles with so many columns, for which so many are read, and blocks of input channels."""
        machine, window, lanes = self._machine, self.window, self._machine.pixel_lanes
        if loads:
            pixel = self.source.channels if self.packed else blocks * CHANNEL_BLOCK
            row = -(-read * pixel // MAPS_UNIT) * MAPS_UNIT
        else:
            pixel = self.source.padded_channels
            row = self.source.width * pixel
        output = row * window.stride[0], pixel * window.stride[1]
        if self.depthwise:
            tap = row * window.dilation[0], pixel * window.dilation[1]
            sums = blocks // self.read_together
            groups = sums * -(-CHANNEL_BLOCK // machine.output_lanes)
            return depthwise_conflicts(
                machine, lanes, width, output, tap, window.kernel, sums, groups, self.sum_products
            )
        traces, trace = (1, self._trace(row)) if self.packed else (window.taps, Trace(pixel))
        waits = dense_conflicts(machine, lanes, width, *output, trace)
        return Waits.alike(traces * -(-CHANNEL_BLOCK // machine.output_lanes) * waits)

    def _trace(self, row: int) -> Trace:
        """What a pixel of a packed map is multiplied by; ``row``: bytes from row to row of the map."""
        rows, columns = self.window.kernel
        return Trace(columns * self.source.channels, rows, row * self.window.dilation[0])

    def _store(self, price: Price) -> None:
        for areas, rows, columns, is_area in self._each():
            for slices, blocks, is_slice in parts(self.outputs, self.tiles.blocks):
                runs = box(self.target, rows, columns, blocks)
                price.transfer(price.stores, areas * slices, runs, whole=is_area and is_slice)

    def _load_maps(self, price: Price, stationary: Stationary) -> None:
        """A depthwise convolution loads the channels of its slice, others all of them, at once or in chunks."""
        reads = self.slices if stationary == "weights" else np.where(self.chunks == 1, 1, self.slices)
        extent, size = self.inputs, self.tiles.chunk
        if self.depthwise:
            extent = self.outputs // self.together * self.read_together
        for areas, rows, columns, is_area in self._each():
            heights = rows_read(self.window, 0, rows, self.source.height)
            widths = rows_read(self.window, 1, columns, self.source.width)
            for count, blocks, is_part in parts(extent, size):
                loads = areas * count * (1 if self.depthwise else reads)
                if self.reads is not None:
                    # A slice that is made by itself has only the channels loaded that it is made of.
                    apart = np.asarray(stationary == "weights") | (self.chunks > 1)
                    blocks = np.where(apart, ceil_divide(self.blocks_read, self.products), blocks)
                    loads = np.where(apart, areas * self.products * is_part, loads)
                runs = box(self.source, heights, widths, blocks, packed=self.packed)
                price.transfer(price.loads, loads, runs, whole=is_area and is_part)

    def _load_other(self, price: Price) -> None:
        """What each tile of the result is combined with."""
        assert self.other is not None
        shape = self.other
        for areas, rows, columns, is_area in self._each():
            for slices, blocks, _ in parts(self.outputs, self.tiles.blocks):
                runs = box(shape, np.minimum(rows, shape.height), np.minimum(columns, shape.width), blocks)
                price.transfer(price.loads, areas * slices, runs, whole=is_area)

    def _load_constants(self, price: Price, stationary: Stationary) -> None:
        is_held = (self.chunks == 1) if stationary == "weights" else (self.slices * self.chunks == 1)
        weights = self.products * np.where(is_held, 1, self.areas)
        is_kept = np.asarray(stationary == "weights") | (self.slices == 1)
        parameters = self.slices * np.where(is_kept, 1, self.areas)
        for count, size, first in zip((weights, parameters), self.constants, (True, False), strict=True):
            price.transfer(price.weights, count, Runs(size), whole=first)
