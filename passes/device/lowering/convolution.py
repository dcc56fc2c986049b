"""Products with weights: convolution, dense, grouped and depthwise, and choices of channels, tile by tile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import zip_longest
from typing import Any, NamedTuple, TypeVar

import numpy as np

from tilewright.errors import PassError
from tilewright.immutable import Immutable

from ....ir.annotations import STATIONARY
from ....ir.core import Constant, Op, Value
from ....ir.feature_map import Window, convolution_maps, is_block_by_block, window_of
from ....ir.ops.convolution import Conv
from ....ir.ops.indexing import Gather
from ....ir.quantized import accumulator_factors, clamp_bounds, is_wide, parameters, residual_factor, slope_of
from ....ir.tile.compute import Convolve, ConvolveDepthwise, Product
from ....ir.tile.places import Part
from ....ir.tile.requantization import Requantize
from ....ir.tile.transfer import LoadRequantization, LoadWeights
from ....ir.tile.wide import ConvolveDepthwiseWide, ConvolveWide, RequantizeWide
from ....runtime.machines.machine import CHANNEL_BLOCK
from ..boxes import Lane, Span, channel_pieces, lanes_of, pieces, read_through, tile_annotation
from ..channel_blocks import blocks_read, channels_made, channels_picked, of_all_inputs, products_of
from ..fused_pairs import fused_user, made_by, residual_of
from .chip_map import ChipMap
from .elementwise import FusedElementwise
from .on_chip import as_on_chip, chip_zero, on_chip
from .program import TileProgram

Loaded = TypeVar("Loaded")


class Weights(Immutable):
    """What a map is multiplied by, and how sums become the result, as the device holds it.

    Attributes:
        values: int8 [outputs, inputs, rows, columns]; inputs is a group's where blocks are made apart.
        zero: their zero point.
        bias: int64 [outputs], without what the zero point of the input adds.
        factors: requantisation multipliers, for each output or one for all.
        slope: what negative sums are multiplied with.
        doubled: whether results are written a second time behind these.
    """

    values: np.ndarray
    zero: int
    bias: np.ndarray
    factors: np.ndarray
    low: int = -128
    high: int = 127
    slope: float = 1.0
    doubled: bool = False


class Layer(Immutable):
    """A product, everything as the device holds it.

    Attributes:
        source, target: maps.
        is_packed: whether the pixels of the source follow each other without padding.
        held: with what the zero point of the input adds in the bias, int32, and a factor for each output, float32.
        pad_value: zero point of the input, which padding counts as; of 16 bits its upper byte.
        requantize: makes accumulators the result.
        wide: whether the source, and whether the target, has 16 bits, so that its channels are bytes.
    """

    source: Value | ChipMap
    target: Value | ChipMap
    is_packed: bool
    window: Window
    held: Weights
    pad_value: int
    requantize: Requantize
    wide: tuple[bool, bool]

    def outputs(self, channels: Span) -> Span:
        """The sums that channels of the target are made of."""
        if self.wide[1]:
            return _numbers_of(channels, len(self.held.values))
        first, count = channels
        return first, min(count, len(self.held.values) - first)

    def channels_of(self, channels: Span) -> Span:
        """The channels of the source that some of the target are made of, if each is made of one."""
        first, count = self.outputs(channels)
        return (2 * first, -(-count // CHANNEL_BLOCK) * 2 * CHANNEL_BLOCK) if self.wide[0] else (first, count)

    def inputs(self, chunk: Span) -> Span:
        """The channels of the weights for some of the source."""
        return _numbers_of(chunk, self.held.values.shape[1]) if self.wide[0] else chunk


def _numbers_of(bytes: Span, most: int) -> Span:
    first, count = bytes
    return first // 2, min(count // 2, most - first // 2)


class Held(NamedTuple):
    """What is on chip for a slice of output channels; its weights, chunk by chunk, only where they are loaded once."""

    weights: list[Value]
    parameters: Value


def lower_convolution(op: Op[Conv], program: TileProgram) -> None:
    """Load, convolve, requantise and store, tile by tile; before that combine with another map, if fused."""
    if is_block_by_block(op):
        _Depthwise(op, _layer(op, _weights_of(op), program), program).lower()
    else:
        _Dense(op, _layer(op, _weights_of(op), program), program).lower(STATIONARY.get(op) or "inputs")


def lower_gather(op: Op[Gather], program: TileProgram) -> None:
    """Multiply by a 1 for each channel that is picked, which changes no value."""
    picked, (source, target) = channels_picked(op), convolution_maps(op)
    ones = np.zeros((target.channels, source.channels, 1, 1), np.int8)
    ones[np.arange(len(picked)), picked] = 1
    weights = Weights(ones, 0, np.zeros(len(ones), np.int64), np.ones(1, np.float32))
    _Dense(op, _layer(op, weights, program), program).lower(STATIONARY.get(op) or "inputs")


def _constant(op: Op[Conv], value: Value) -> Constant:
    if not isinstance(value, Constant):
        raise PassError("weights on the device must be constant", op=op.name, node=op.node, found=f"%{value.name}")
    return value


def _weights_of(op: Op[Conv]) -> Weights:
    conv, x, y = op.operator, op.operands.x, op.result.type
    constant = _constant(op, op.operands.w)
    stored, type = constant.array, constant.type
    assert type.quant is not None
    if stored.ndim == 3:
        stored = stored[:, :, None, :]
    zero, values = on_chip(type, type.quant.zero_point[0]), as_on_chip(stored)
    if conv.group > 1 and not is_block_by_block(op):
        values = of_all_inputs(values, conv.group, zero)
    bias = np.zeros(len(values), np.int64)
    if op.operands.b is not None:
        bias += _constant(op, op.operands.b).array
    low, high = clamp_bounds(y, conv.act, conv.act_args)
    into = on_chip(y, low), on_chip(y, high), slope_of(conv.act, conv.act_args)
    factors, made = accumulator_factors(x.type, type, y), channels_made(op)
    return Weights(values[:made], zero, bias[:made], factors[:made], *into, made < len(values))


def _layer(op: Op[Any], weights: Weights, program: TileProgram) -> Layer:
    x, values = op.inputs[0], weights.values
    # The array multiplies stored integers, those of 16 bits less 128; what that adds is the same for every window.
    wide, zero = is_wide(x.type), chip_zero(x)
    bias = weights.bias - (zero - 128 * wide) * (values.sum((1, 2, 3), np.int64) - weights.zero * values[0].size)
    factors = np.broadcast_to(weights.factors, bias.shape).astype(np.float32)
    source, target = convolution_maps(op)
    return Layer(
        program.reshaped(program.map(x), source),
        program.reshaped(program.map(made_by(op)), target),
        program.is_packed(x),
        window_of(op),
        replace(weights, bias=bias.astype(np.int32), factors=factors),  # sums wrap around, here as in the accumulators
        zero >> 8 * wide,
        _requantize(op, weights),
        (wide, is_wide(op.result.type)),
    )


def _requantize(op: Op[Any], weights: Weights) -> Requantize:
    y, residual = op.result.type, residual_of(op)
    into = on_chip(y, parameters(y)[1]), weights.low, weights.high
    added = (chip_zero(residual), float(residual_factor(residual.type, y))) if residual is not None else (0, 0.0)
    return (RequantizeWide if is_wide(y) else Requantize)(*into, *added, weights.slope, weights.doubled)


class _Convolution:
    """What dense and depthwise convolution share: geometry, constants, requantisation, stores."""

    PRODUCT: tuple[type[Product], type[Product]]

    def __init__(self, op: Op[Any], layer: Layer, program: TileProgram) -> None:
        self.layer = layer
        self.program = program
        self.source, self.target = program.shape(layer.source), program.shape(layer.target)
        self.input_blocks = tile_annotation(op)[3]
        self.lanes = lanes_of(op, self.target)
        self.slices = max(len(lane.slices) for lane in self.lanes)
        user = fused_user(op)
        self.fused = FusedElementwise(user, op, self.target, program) if user is not None else None
        residual = residual_of(op)
        self.residual = program.reshaped(program.map(residual), self.target) if residual is not None else None
        # What is streamed for every tile is made once.
        self._weights: dict[tuple[int, Span], Constant] = {}
        self._parameters: dict[int, tuple[Constant, Constant]] = {}

    def for_lanes(self, index: int, load: Callable[[Span, int], Loaded]) -> list[Loaded | None]:
        """What each lane needs for its slice number ``index``, if it has one: one load for all that have the same.
        ``load``: takes a slice of output channels and for which cluster it is loaded."""
        slices = [lane.slices[index] if index < len(lane.slices) else None for lane in self.lanes]
        if slices[0] is not None and len(set(slices)) == 1:
            return [load(slices[0], self.program.everywhere)] * len(slices)
        return [
            load(channels, lane.cluster) if channels is not None else None
            for lane, channels in zip(self.lanes, slices, strict=True)
        ]

    def read(self, box: Part) -> tuple[Part, Product]:
        """The box of the source, of equal channels, that a box of the result is the product of."""
        layer, window = self.layer, self.layer.window
        read, origin = read_through(window, self.source, box)
        output = box.rows[1], box.columns[1]
        kind = self.PRODUCT[layer.wide[0]]
        return read, kind(output, window.stride, window.dilation, origin, layer.pad_value, layer.held.zero)

    def load_weights(self, channels: Span, chunk: Span, cluster: int) -> Value:
        """The weights of output channels for input channels."""
        layer, key = self.layer, (channels[0], chunk)
        if key not in self._weights:
            (first, count), (low, inputs) = layer.outputs(channels), chunk
            part = layer.held.values[first : first + count, low : low + inputs]
            self._weights[key] = self.program.constant("weights", part)
        depthwise = self.PRODUCT[0] is ConvolveDepthwise
        load = LoadWeights(cluster, layer.held.zero, layer.is_packed, depthwise)
        return self.program.add(load, self._weights[key])

    def load_parameters(self, channels: Span, cluster: int) -> Value:
        """Bias and multipliers of output channels."""
        if channels[0] not in self._parameters:
            first, count = self.layer.outputs(channels)
            part = slice(first, first + count)
            bias = self.program.constant("bias", self.layer.held.bias[part])
            self._parameters[channels[0]] = bias, self.program.constant("multiplier", self.layer.held.factors[part])
        return self.program.add(LoadRequantization(cluster), *self._parameters[channels[0]])

    def finish(self, box: Part, sums: Value, parameters: Value) -> None:
        """Requantise the accumulators of a tile and store it, combined with what the convolution is fused with."""
        if self.fused is not None:
            self.fused.finish(self.layer.target, box, self.layer.requantize, sums, parameters)
        else:
            added = [self.program.load(self.residual, box)] if self.residual is not None else []
            self.program.store(self.layer.target, box, self.layer.requantize, sums, parameters, *added)


class _Dense(_Convolution):
    """All input channels that have weights, in chunks where they do not fit at once."""

    PRODUCT = Convolve, ConvolveWide

    def __init__(self, op: Op[Any], layer: Layer, program: TileProgram) -> None:
        super().__init__(op, layer, program)
        self._reads = blocks_read(op)
        self._at_once = layer.is_packed or self.input_blocks >= self.source.blocks

    def lower(self, stationary: str) -> None:
        if stationary == "weights":
            for index in range(self.slices):
                self._tiles([index], self._load(index))
        else:
            self._tiles(range(self.slices), self._load(0) if self.slices == 1 else None)

    def _products_of(self, channels: Span) -> list[tuple[Span, Span]]:
        """The input channels that a slice is made of, in pieces that are multiplied at once, and for which of its
        outputs, see `products_of`."""
        inputs = self.source.channels
        if self._reads is None:
            every = [(0, inputs)] if self._at_once else channel_pieces(inputs, self.input_blocks)
            return [(chunk, (0, 0)) for chunk in every]
        first, stop = channels[0] // CHANNEL_BLOCK, -(-sum(channels) // CHANNEL_BLOCK)
        found = [
            ((begin + piece) * CHANNEL_BLOCK, count * CHANNEL_BLOCK, part)
            for (begin, blocks), part in products_of(self._reads[4 * first : 4 * stop])
            for piece, count in pieces(blocks, self.input_blocks)
        ]
        return [((first, min(count, inputs - first)), part) for first, count, part in found]

    def _chunks(self, channels: Span) -> list[Span]:
        return [chunk for chunk, _ in self._products_of(channels)]

    def _load(self, index: int) -> list[Held | None]:
        """For each lane the parameters of a slice, and its weights if all its input channels are done at once."""

        def load(channels: Span, cluster: int) -> Held:
            chunks = self._chunks(channels) if self._at_once else []
            weights = [self.load_weights(channels, self.layer.inputs(chunk), cluster) for chunk in chunks]
            return Held(weights, self.load_parameters(channels, cluster))

        return self.for_lanes(index, load)

    def _tiles(self, slices: Sequence[int], held: list[Held | None] | None) -> None:
        """Slices of output channels, tile by tile: from one load of the map if its channels are done at once.
        ``slices``: by their number in each lane.
        ``held``: weights and parameters that are loaded already."""
        whole = [(0, self.source.channels)]
        for areas in zip_longest(*(lane.boxes(whole) for lane in self.lanes)):
            tiles = [
                self._tile(lane, area, slices) if area is not None else None
                for lane, area in zip(self.lanes, areas, strict=True)
            ]
            for index in slices:
                self._products(tiles, index, held if held is not None else self._load(index))

    def _tile(self, lane: Lane, area: Part, slices: Sequence[int]) -> _Tile | None:
        read, product = self.read(area)
        tile = _Tile(lane, area, read, product)
        chunks = [each for i in slices if i < len(lane.slices) for each in self._chunks(lane.slices[i])]
        if not chunks:
            return None
        first = min(chunk[0] for chunk in chunks)
        tile.channels = first, max(map(sum, chunks)) - first
        # Of a map on chip every part is there already.
        if self._at_once and (not isinstance(self.layer.source, ChipMap) or {*chunks} == {tile.channels}):
            tile.x = self._load_map(tile, tile.channels)
        return tile

    def _load_map(self, tile: _Tile, chunk: Span) -> Value:
        self.program.cluster = tile.lane.cluster
        box = replace(tile.read, channels=chunk)
        return self.program.load(self.layer.source, box, packed=self.layer.is_packed)

    def _map(self, tile: _Tile, chunk: Span) -> Value:
        """Input channels of a tile, of what is loaded or loaded now."""
        if tile.x is None or chunk == tile.channels:
            return tile.x or self._load_map(tile, chunk)
        rows, columns = tile.read.rows[1], tile.read.columns[1]
        return self.program.part(tile.x, Part(-1, (0, rows), (0, columns), (chunk[0] - tile.channels[0], chunk[1])))

    def _products(self, tiles: list[_Tile | None], index: int, held: list[Held | None]) -> None:
        """A slice of output channels of a tile of each lane."""
        work = [
            (number, tile, each, self._products_of(tile.lane.slices[index]))
            for number, (tile, each) in enumerate(zip(tiles, held, strict=True))
            if tile is not None and each is not None
        ]
        sums: dict[int, Value] = {}
        for step in range(max((len(chunks) for *_, chunks in work), default=0)):
            maps = {n: self._map(tile, chunks[step][0]) for n, tile, _, chunks in work if step < len(chunks)}
            streamed = [] if self._at_once else self.for_lanes(index, partial(self._chunk_weights, step))
            for number, tile, each, chunks in work:
                if number in maps:
                    weights = each.weights[step] if each.weights else streamed[number]
                    product = replace(tile.product, part=part) if (part := chunks[step][1])[1] else tile.product
                    sums[number] = self.program.add(product, maps[number], weights, sums.get(number))
        for number, tile, each, _ in work:
            self.program.cluster = tile.lane.cluster
            box = replace(tile.area, channels=tile.lane.slices[index])
            self.finish(box, sums[number], each.parameters)

    def _chunk_weights(self, step: int, channels: Span, cluster: int) -> Value | None:
        chunks = self._chunks(channels)
        return self.load_weights(channels, self.layer.inputs(chunks[step]), cluster) if step < len(chunks) else None


@dataclass
class _Tile:
    """A tile of one lane, and input channels of its map once these are loaded."""

    lane: Lane
    area: Part
    read: Part
    product: Product
    channels: Span = (0, 0)
    x: Value | None = None


class _Depthwise(_Convolution):
    """Every channel, or every small group, with its own kernel; input and output channels are cut alike."""

    PRODUCT = ConvolveDepthwise, ConvolveDepthwiseWide

    def lower(self) -> None:
        for index in range(self.slices):
            held = self.for_lanes(index, self._load)
            lanes = [(lane, each) for lane, each in zip(self.lanes, held, strict=True) if each is not None]
            for areas in zip_longest(*(lane.boxes([lane.slices[index]]) for lane, _ in lanes)):
                for (lane, loaded), box in zip(lanes, areas, strict=True):
                    if box is not None:
                        self.program.cluster = lane.cluster
                        read, product = self.read(box)
                        read = replace(read, channels=self.layer.channels_of(box.channels))
                        x = self.program.load(self.layer.source, read)
                        self.finish(box, self.program.add(product, x, loaded.weights[0]), loaded.parameters)

    def _load(self, channels: Span, cluster: int) -> Held:
        group = 0, self.layer.held.values.shape[1]
        return Held([self.load_weights(channels, group, cluster)], self.load_parameters(channels, cluster))
