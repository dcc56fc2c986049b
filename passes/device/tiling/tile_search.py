"""Which tile of an op costs least: every candidate is priced at once.

The price, of :mod:`tilewright.passes.device.tiling.tile_price`, ranks candidates; what a program really takes is told
by the cycle model. Candidates do not depend on the sizes of the scratchpads, which only rule some of them out.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import get_args

import numpy as np

from ....ir.annotations import IMAGES, Split, Stationary
from ....ir.core import Constant, Op, Value, is_op
from ....ir.feature_map import (
    MOVEMENT,
    MapShape,
    computed_map,
    convolution_maps,
    exchanges,
    is_block_by_block,
    is_of_images,
    is_packed,
    is_product,
    map_shape,
    read_map,
    sum_products,
    window_of,
)
from ....ir.ops.attention import Attention
from ....ir.ops.indexing import Gather
from ....ir.ops.movement import DepthToSpace
from ....ir.ops.pooling import AveragePool, GlobalPool, MaxPool, Pool
from ....ir.ops.quantization import Requantize
from ....ir.ops.resize import Resize
from ....ir.ops.skip_normalization import SkipLayerNorm
from ....ir.ops.unary import Unary
from ....ir.quantized import is_wide
from ....runtime.isa.layouts import normalization_bytes
from ....runtime.isa.vector import RECORD_BYTES, TABLE_BYTES, WIDE_TABLE_BYTES
from ....runtime.machines.cost import dense_steps, depthwise_steps, in_turn
from ....runtime.machines.machine import (
    ACCUMULATOR_UNIT,
    CHANNEL_BLOCK,
    MAP_EXTENT_LIMIT,
    MAPS_UNIT,
    OUTPUT_BLOCKS_LIMIT,
    OUTPUT_COLUMNS_LIMIT,
    OUTPUT_ROWS_LIMIT,
    Machine,
)
from ....runtime.machines.vector_unit import (
    AVERAGE_DIVISIONS,
    INTERPOLATED,
    NORMALIZE_DIVISIONS,
    NORMALIZE_PASSES,
    Stream,
    idle_elements,
    vector_drain,
    vector_work,
)
from ..attention_views import rows_shape
from ..boxes import blocks_made, blocks_together, outer_dimension
from ..channel_blocks import blocks_read, channels_made, slice_reads
from ..fused_pairs import fused_user, made_by, other_map, other_operand, overwritten
from .attention_price import AttentionPrice
from .candidates import Candidates, Costs, Found, Misfit, Priced, Tile
from .convolution_price import ConvolutionPrice, parameter_bytes, sum_blocks, weight_bytes
from .exchange_price import ExchangePrice
from .tile_price import DRAM_TAKEN, Counts, Price, Share, box, channel_slices, parts, rows_read, sources


def _cuts(extent: int, limit: int) -> Counts:
    """Sizes of pieces that cut an extent evenly: one for each number of pieces that makes a difference."""
    sizes = {min(-(-extent // pieces), limit) for pieces in range(1, extent + 1)}
    return np.array([*sorted(sizes, reverse=True)[:24], 1], np.int64)


def _cuts_together(blocks: int, limit: int, together: int) -> Counts:
    """The same for blocks of which so many are not cut apart."""
    return _cuts(-(-blocks // together), limit // together) * together


class TileSearch:
    """The tiles of a device op with what they cost, whatever scratchpads hold.

    Args:
        stationary: what a convolution has to keep; by default what costs less.
        clusters: how many of them share the work out, by rows or by channels, whichever costs less; by images, where
            the function says that clusters work on images of their own.
        split: what they have to share out.
        kept: maps that stay on chip, whose tiles take neither room nor time.
        packed: whether the pixels of the map that a convolution reads lie without padding; by default as
            `is_packed` says, which knows device functions.
        known: what convolutions that are alike but for the maps that stay on chip cost by what is split; filled.
    """

    def __init__(
        self,
        op: Op,
        machine: Machine,
        stationary: Stationary | None = None,
        clusters: int = 1,
        split: Split | None = None,
        kept: frozenset[Value] = frozenset(),
        packed: bool | None = None,
        known: dict[Split | None, ConvolutionPrice] | None = None,
    ) -> None:
        orders: tuple[Stationary, ...] = get_args(Stationary) if stationary is None else (stationary,)
        packed = is_packed(op.inputs[0]) if packed is None else packed
        shares = [share for share in _shares(op, clusters, kept) if split is None or share.split == split]
        self._machine, known = machine, known if known is not None else {}
        self._priced = [_priced(op, machine, orders, replace(share, packed=packed), known) for share in shares]
        self._costs: dict[float, Costs] = {}
        self._known: dict[tuple[int, int | None, float, int | None], tuple[float, Tile] | Misfit] = {}

    def cheapest(
        self, maps_bytes: int, rows: int | None = None, taken: float = DRAM_TAKEN, blocks: int | None = None
    ) -> tuple[float, Tile] | Misfit:
        """The price in cycles and the tile that costs least; or why there is none.

        Args:
            maps_bytes: of the maps scratchpad, which may be another one than the machine has.
            rows: most that a tile may have; no limit by default.
            taken: what a cycle of the DRAM costs that other ops could use.
            blocks: of the result, that a tile has; any number by default.
        """
        key = maps_bytes, rows, taken, blocks
        if key not in self._known:
            self._known[key] = self._cheapest(*key)
        return self._known[key]

    def _cheapest(
        self, maps_bytes: int, rows: int | None, taken: float, blocks: int | None
    ) -> tuple[float, Tile] | Misfit:
        costs = self._costs.get(taken)
        if costs is None:
            costs = self._costs[taken] = Costs.of(self._priced, self._machine, taken)
        cost = np.where(2 * costs.needs <= maps_bytes, costs.two, costs.one)
        is_possible = costs.needs <= maps_bytes
        if rows is not None:
            is_possible &= costs.rows <= rows
        if blocks is not None:
            is_possible &= costs.blocks == blocks
        cost[~is_possible] = np.inf
        index = int(cost.argmin()) if cost.size else -1
        if index < 0 or not is_possible[index]:
            return self._priced[0].found.overflow(replace(self._machine, maps_bytes=maps_bytes))
        return float(cost[index]), costs.tile(index)


def splits(op: Op, clusters: int) -> list[Split]:
    """What so many clusters can share out of an op; nothing where one of them does it all."""
    return [share.split for share in _shares(op, clusters, frozenset()) if share.split is not None]


def least_steps(op: Op, machine: Machine, clusters: int) -> float:
    """Cycles that the first of so many clusters, which never has less to do than others, multiplies at least for an
    op: pieces take no fewer steps than the whole."""
    if not is_product(op) or blocks_read(op) is not None:
        return op.macs / (clusters * machine.cluster_macs_per_cycle)
    (source, target), taps = convolution_maps(op), window_of(op).taps
    # Several taps of a packed map may share a step.
    trace = (1, taps * source.channels) if is_packed(op.inputs[0]) else (taps, source.padded_channels)
    found: list[float] = []
    for share in _shares(op, clusters, frozenset()):
        images, height, width = share.pixels(target)
        together = blocks_made(op)
        blocks = share.blocks(target.blocks, together) // together
        work = machine, height * width, min(blocks * CHANNEL_BLOCK, channels_made(op))
        products = sum_products(op) * blocks_together(op.inputs[0].type)
        steps = depthwise_steps(*work, products) if is_block_by_block(op) else dense_steps(*work, *trace)
        found.append(images * float(steps))
    return min(found)


def tile_sizes(op: Op) -> list[range]:
    """The rows, columns, blocks of output and blocks of input that the tiles of an op can have, on one cluster."""
    ends = ((int(each.min()), int(each.max())) for each in candidates(op).tiles)
    return [range(least, most + 1, least) for least, most in ends]


def misfit(op: Op, machine: Machine) -> Misfit | None:
    """Why no tile of a device op fits the scratchpads; None if one does."""
    found = candidates(op)
    return None if found.fitting(machine).any() else found.overflow(machine)


def candidates(op: Op) -> Found:
    """The tiles of an op on one cluster with all maps in DRAM, whatever scratchpads hold."""
    special = _special(op, Share())
    if special is not None:
        return special.found
    return _convolution_candidates(op, Share()) if is_product(op) else _pointwise_candidates(op, Share())


def _shares(op: Op, clusters: int, kept: frozenset[Value]) -> list[Share]:
    """The ways to share the work of an op out that leave something to do for at least two clusters."""
    alone = Share(kept=kept)
    if clusters == 1:
        return [alone]
    target = computed_map(op)
    images = (IMAGES.get(op.function) if op.function is not None else None) or (1, 1)
    pieces = -(-images[0] // images[1])
    # Rows of an exchange are channels of what it reads, which only whole blocks are loaded of.
    has_images = target.images > 1 or not exchanges(op)
    if pieces > 1 and has_images and target[outer_dimension(target)] % images[0] == 0:
        return [Share(pieces, "images", kept, images)]
    has_rows = target.images * target.height > 1 and not is_of_images(op) and not exchanges(op)
    shares = [Share(clusters, "rows", kept)] if has_rows else []
    # A choice of channels makes few steps of what other clusters would have to move to it.
    is_by_rows = is_op(op, Attention) or (has_rows and is_op(op, Gather))
    if target.blocks > blocks_made(op) and not is_by_rows:
        shares.append(Share(clusters, "channels", kept))
    return shares or [alone]


def _convolution_candidates(op: Op, share: Share) -> Found:
    (source, target), window = convolution_maps(op), window_of(op)
    depthwise, together = is_block_by_block(op), [blocks_together(value.type) for value in (op.inputs[0], op.result)]
    inputs, outputs = source.blocks, share.blocks(target.blocks, together[1])
    _, height, width = share.pixels(target)
    rows, columns, blocks, chunk = np.meshgrid(
        _cuts(height, OUTPUT_ROWS_LIMIT),
        _cuts(width, OUTPUT_COLUMNS_LIMIT),
        _cuts_together(outputs, OUTPUT_BLOCKS_LIMIT, together[1]),
        np.array([1], np.int64) if depthwise else _cuts_together(inputs, 255, together[0]),
        indexing="ij",
        sparse=True,
    )
    chunk = blocks // together[1] * together[0] if depthwise else chunk
    heights, widths = rows_read(window, 0, rows, source.height), rows_read(window, 1, columns, source.width)
    row = widths * (source.channels if share.packed else chunk * CHANNEL_BLOCK)
    map_bytes = heights * (-(-row // MAPS_UNIT) * MAPS_UNIT) * share.moves(op.inputs[0])
    made, other = made_by(op), other_operand(op)
    # What is combined in the place of the other operand is made beside it, unless sums and it become one at once.
    is_pair = fused_user(op) is not None
    beside = is_pair and made.producer is not None and overwritten(made.producer) is other
    result_bytes = rows * columns * blocks * CHANNEL_BLOCK * (share.moves(made) or beside)
    if other is not None and share.moves(other):
        shape = other_map(op)
        pixels = np.minimum(rows, shape.height) * np.minimum(columns, shape.width)
        result_bytes = result_bytes + pixels * blocks * CHANNEL_BLOCK
    chunks = np.ones_like(chunk) if depthwise else -(-inputs // chunk)
    slices = -(-outputs // blocks)
    reads = blocks_read(op)
    read = chunk if reads is None else np.minimum(chunk, slice_reads(reads, outputs, blocks).most)
    needs = {
        # With several slices or chunks two results or two chunks of the map are in flight.
        "maps": map_bytes * np.where(chunks > 1, 2, 1) + result_bytes * np.where(slices > 1, 2, 1),
        "weight": weight_bytes(op, blocks, read, share.packed),
        "accumulator": rows * columns * sum_blocks(op, blocks) * ACCUMULATOR_UNIT,
        "parameter": parameter_bytes(op, blocks) + (RECORD_BYTES if is_pair else 0),
    }
    within = (heights <= MAP_EXTENT_LIMIT) & (widths <= MAP_EXTENT_LIMIT)
    return Found(Candidates(rows, columns, blocks, chunk), needs, within)


def _special(op: Op, share: Share) -> AttentionPrice | ExchangePrice | None:
    """The candidates of an op that is neither one product nor work of the vector unit alone."""
    if is_op(op, Attention):
        _, height, _ = share.pixels(rows_shape(op.result))
        return AttentionPrice(op, _cuts(height, OUTPUT_ROWS_LIMIT).reshape(-1, 1, 1, 1), share)
    if not exchanges(op):
        return None
    target = map_shape(op.result.type)
    rows = _cuts(-(-target.height // CHANNEL_BLOCK), OUTPUT_ROWS_LIMIT // CHANNEL_BLOCK) * CHANNEL_BLOCK
    together = blocks_made(op)
    blocks = _cuts_together(share.blocks(target.blocks, together), MAP_EXTENT_LIMIT // CHANNEL_BLOCK, together)
    return ExchangePrice(op, rows.reshape(-1, 1, 1, 1), blocks.reshape(1, -1, 1, 1), share)


def _priced(
    op: Op, machine: Machine, orders: Sequence[Stationary], share: Share, known: dict[Split | None, ConvolutionPrice]
) -> Priced:
    special = _special(op, share)
    if special is not None:
        return Priced(special.found, {"inputs": special.price(machine)}, share.split)
    if not is_product(op):
        found = _pointwise_candidates(op, share)
        return Priced(found, {"inputs": _pointwise_price(op, found, machine, share)}, share.split)
    found, price, other = _convolution_candidates(op, share), known.get(share.split), other_operand(op)
    if price is None:
        price = known[share.split] = ConvolutionPrice(op, machine, found.tiles, share)
    moves = {
        "loads": share.moves(op.inputs[0]),
        "stores": share.moves(made_by(op)),
        "loads_other": other is not None and share.moves(other),
    }
    # A depthwise convolution costs the same whatever it keeps: the first of equals is taken.
    orders = orders[:1] if price.depthwise and price.reads is None else orders
    return Priced(found, {order: price.price(order, **moves) for order in orders}, share.split)


def _blocks_read(op: Op, source: MapShape, blocks: Counts) -> Counts:
    """Blocks of an operand of which so many of the result are made: of numbers of 16 bits that are normalised two."""
    return blocks * (source.blocks // computed_map(op).blocks) if is_op(op, SkipLayerNorm) else blocks


def pointwise_parameter_bytes(op: Op) -> int:
    """What an op that is no product reads of the parameters: a table, blocks of a normalisation or a vector record."""
    if is_op(op, SkipLayerNorm):
        channels = computed_map(op).channels
        if op.operator.by_pixel:
            # Groups that are alike have them together.
            numbers = np.stack([value.array for value in op.inputs if isinstance(value, Constant)])
            apart = numbers.reshape(len(numbers), op.operator.groups, -1)
            channels = apart.shape[2] * np.unique(apart, axis=1).shape[1]
        return normalization_bytes(channels)
    if is_op(op, Unary, Requantize):
        return WIDE_TABLE_BYTES if is_wide(op.result.type) else TABLE_BYTES
    return RECORD_BYTES


def _pointwise_candidates(op: Op, share: Share) -> Found:
    target, together = computed_map(op), blocks_made(op)
    _, height, width = share.pixels(target)
    of_images, x = is_of_images(op), op.inputs[0]
    # The instruction normalises all channels of a pixel that it is given.
    by_group = is_op(op, SkipLayerNorm) and op.operator.by_pixel
    rows, columns, blocks = np.meshgrid(
        np.array([height]) if of_images else _cuts(height, OUTPUT_ROWS_LIMIT),
        np.array([width]) if of_images else _cuts(width, OUTPUT_COLUMNS_LIMIT),
        _cuts_together(share.blocks(target.blocks, together), together if by_group else max(255, together), together),
        indexing="ij",
        sparse=True,
    )
    over = of_images and share.moves(x) and not is_wide(x.type)
    need = rows * columns * blocks * CHANNEL_BLOCK * (share.moves(op.result) and not over)
    within = np.ones(need.shape, np.bool_)
    for source, read in sources(op, share):
        heights, widths = read(0, rows), read(1, columns)
        need = need + heights * widths * _blocks_read(op, source, blocks) * CHANNEL_BLOCK
        within &= (heights <= MAP_EXTENT_LIMIT) & (widths <= MAP_EXTENT_LIMIT)
    needs = {"maps": need, "parameter": np.full(need.shape, pointwise_parameter_bytes(op))}
    return Found(Candidates(rows, columns, blocks, blocks), needs, within)


def _pointwise_price(op: Op, found: Found, machine: Machine, share: Share) -> Price:
    """Tiles of ops on the vector unit, and of those that only move maps."""
    target, tiles = computed_map(op), found.tiles
    taps = INTERPOLATED if is_op(op, Resize) and op.operator.mode == "linear" else window_of(op).taps
    taps = NORMALIZE_PASSES if is_op(op, SkipLayerNorm) else taps
    price = Price(machine, share)
    images, height, width = share.pixels(target)
    outputs = share.blocks(target.blocks, blocks_made(op))
    read = [value for value in op.inputs if value.type.quant is not None]
    unused = -target.channels % CHANNEL_BLOCK if is_op(op, Pool, GlobalPool) and outputs == target.blocks else 0
    moved = sources(op, share)
    # Phases are moved one after the other.
    step = op.operator.blocksize if is_op(op, DepthToSpace) else 1
    for (n, rows, is_top), (m, columns, is_left), (k, blocks, none, is_first) in product(
        parts(-(-height // step), tiles.rows),
        parts(-(-width // step), tiles.columns),
        channel_slices(outputs, tiles.blocks, unused),
    ):
        count, whole = n * m * k * images * step**2, is_top and is_left and is_first
        for source, reach in moved:
            taken = np.minimum(_blocks_read(op, source, blocks), source.blocks)
            runs = box(source, reach(0, rows), reach(1, columns), taken)
            price.transfer(price.loads, count, runs, whole=whole)
        if share.moves(op.result):
            price.transfer(price.stores, count, box(target, rows, columns, blocks, step=step), whole=whole)
        if not isinstance(op.operator, MOVEMENT):
            # A tile of a map that stays on chip lies as the map does.
            run = blocks * CHANNEL_BLOCK
            maps: list[Stream] = []
            for each in read:
                source = read_map(op, each)
                own = _blocks_read(op, source, run)
                maps.append(Stream(own, own if share.moves(each) else source.padded_channels, taps))
            maps.append(Stream(run, run if share.moves(op.result) else target.padded_channels))
            work = vector_work(
                *(machine, rows * columns, blocks, maps),
                taps=taps,
                joins=is_op(op, MaxPool, GlobalPool) and not is_wide(op.result.type),
                idle=idle_elements(none),
                lane_divisions=AVERAGE_DIVISIONS if is_op(op, AveragePool) else 0,
                pixel_divisions=NORMALIZE_DIVISIONS if is_op(op, SkipLayerNorm) else 0,
            )
            drain = vector_drain(machine, is_op(op, SkipLayerNorm))
            once = in_turn(machine.timing.vector_setup, work.unit + drain)
            price.vector.add(count, once, whole=whole, port=work.port)
    if any(not share.moves(value) for value in op.inputs):
        # Rows of a map that stays on chip are used as soon as they are made, on another unit; a tile waits for all its
        # rows, in which time as much of the op could have been done as they are of it.
        price.wait = price.vector.cycles * (tiles.rows / height)
    return price
