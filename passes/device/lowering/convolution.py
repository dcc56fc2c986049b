"""Convolution: dense, grouped and depthwise, tile by tile."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import zip_longest
from typing import NamedTuple, TypeVar

import numpy as np

from tilewright.errors import PassError

from ....ir.annotations import STATIONARY
from ....ir.core import Constant, Op, Value
from ....ir.feature_map import Window, convolution_maps, is_depthwise, window_of
from ....ir.ops.convolution import Conv
from ....ir.quantized import accumulator_factors, clamp_bounds, parameters
from ....ir.tile.compute import Convolve, ConvolveDepthwise, Product, Requantize
from ....ir.tile.places import Part
from ....ir.tile.transfer import LoadRequantization, LoadWeights
from ..boxes import Lane, Span, channel_pieces, lanes_of, read_through, tile_annotation
from ..fused_pairs import fused_user, made_by
from .elementwise import FusedElementwise
from .on_chip import as_on_chip, chip_zero, on_chip
from .program import ChipMap, TileProgram

Loaded = TypeVar("Loaded")


@dataclass(frozen=True)
class GroupConvolution:
    """A convolution of one group, everything as the device holds it.

    Attributes:
        source, target: maps.
        inputs: channels of the source.
        is_packed: whether the pixels of the source follow each other without padding.
        weights: int8 [outputs, inputs, rows, columns]; inputs is 1 for depthwise.
        weight_zero: their zero point.
        bias: int32 [outputs], with the zero point of the input folded in.
        factors: float32 [outputs], requantisation multipliers.
        pad_value: zero point of the input, which padding counts as.
        requantize: makes accumulators the result.
    """

    source: Value | ChipMap
    target: Value | ChipMap
    inputs: int
    is_packed: bool
    window: Window
    weights: np.ndarray
    weight_zero: int
    bias: np.ndarray
    factors: np.ndarray
    pad_value: int
    requantize: Requantize


class Held(NamedTuple):
    """What is on chip for a slice of output channels; its weights only where they are loaded once."""

    weights: Value | None
    parameters: Value


def lower_convolution(op: Op[Conv], program: TileProgram) -> None:
    """Load, convolve, requantise and store, tile by tile; before that combine with another map, if fused."""
    whole = _layer(op, program)
    if is_depthwise(op):
        _Depthwise(op, whole, program).lower()
        return
    stationary = STATIONARY.get(op) or "inputs"
    for layer in _groups(whole, op.operator.group, program):
        _Dense(op, layer, program).lower(stationary)


def _constant(op: Op[Conv], value: Value) -> Constant:
    if not isinstance(value, Constant):
        raise PassError("weights on the device must be constant", op=op.name, node=op.node, found=f"%{value.name}")
    return value


def _layer(op: Op[Conv], program: TileProgram) -> GroupConvolution:
    conv, x, y = op.operator, op.operands.x, op.result.type
    weights = _constant(op, op.operands.w)
    stored, type = weights.array, weights.type
    assert type.quant is not None
    if stored.ndim == 3:
        stored = stored[:, :, None, :]
    zero = on_chip(type, type.quant.zero_point[0])
    values = as_on_chip(stored)
    bias = np.zeros(len(values), np.int64)
    if op.operands.b is not None:
        bias += _constant(op, op.operands.b).array
    # The array multiplies stored integers; what their zero point adds is the same for every window.
    bias -= chip_zero(x) * (values.sum((1, 2, 3), np.int64) - zero * values[0].size)
    low, high = clamp_bounds(y, conv.act, conv.act_args)
    source, target = convolution_maps(op)
    return GroupConvolution(
        program.reshaped(program.map(x), source),
        program.reshaped(program.map(made_by(op)), target),
        source.channels,
        program.is_packed(x),
        window_of(op),
        values,
        zero,
        bias.astype(np.int32),  # sums wrap around, here as in the accumulators
        np.broadcast_to(accumulator_factors(x.type, type, y), bias.shape).astype(np.float32),
        chip_zero(x),
        Requantize(on_chip(y, parameters(y)[1]), on_chip(y, low), on_chip(y, high)),
    )


def _groups(layer: GroupConvolution, count: int, program: TileProgram) -> Iterator[GroupConvolution]:
    """Each group as a convolution of its own."""
    inputs, outputs = layer.inputs // count, program.shape(layer.target).channels // count
    for group in range(count):
        part = slice(group * outputs, (group + 1) * outputs)
        yield replace(
            layer,
            source=program.channels(layer.source, group * inputs, inputs),
            target=program.channels(layer.target, group * outputs, outputs),
            inputs=inputs,
            weights=layer.weights[part],
            bias=layer.bias[part],
            factors=layer.factors[part],
        )


class _Convolution:
    """What dense and depthwise convolution share: geometry, constants, requantisation, stores."""

    PRODUCT: type[Product]

    def __init__(self, op: Op[Conv], layer: GroupConvolution, program: TileProgram) -> None:
        self.layer = layer
        self.program = program
        self.source, self.target = program.shape(layer.source), program.shape(layer.target)
        self.input_blocks = tile_annotation(op)[3]
        self.lanes = lanes_of(op, self.target)
        self.slices = max(len(lane.slices) for lane in self.lanes)
        user = fused_user(op)
        self.fused = FusedElementwise(user, op, self.target, program) if user is not None else None
        # What is streamed for every tile is made once.
        self._weights: dict[tuple[int, int], Constant] = {}
        self._parameters: dict[int, tuple[Constant, Constant]] = {}

    def for_lanes(self, index: int, load: Callable[[Span, int], Loaded]) -> list[Loaded | None]:
        """What each lane needs for its slice number ``index``, if it has one: one load for all that have the same.

        Args:
            load: takes a slice of output channels and for which cluster it is loaded.
        """
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
        return read, self.PRODUCT(output, window.stride, window.dilation, origin, layer.pad_value, layer.weight_zero)

    def load_weights(self, channels: Span, chunk: Span, cluster: int) -> Value:
        """The weights of output channels for input channels."""
        layer, key = self.layer, (channels[0], chunk[0])
        if key not in self._weights:
            part = layer.weights[channels[0] : sum(channels), chunk[0] : sum(chunk)]
            self._weights[key] = self.program.constant("weights", part)
        depthwise = self.PRODUCT is ConvolveDepthwise
        load = LoadWeights(cluster, layer.weight_zero, layer.is_packed, depthwise)
        return self.program.add(load, self._weights[key])

    def load_parameters(self, channels: Span, cluster: int) -> Value:
        """Bias and multipliers of output channels."""
        if channels[0] not in self._parameters:
            part = slice(channels[0], sum(channels))
            bias = self.program.constant("bias", self.layer.bias[part])
            self._parameters[channels[0]] = bias, self.program.constant("multiplier", self.layer.factors[part])
        return self.program.add(LoadRequantization(cluster), *self._parameters[channels[0]])

    def finish(self, box: Part, sums: Value, parameters: Value) -> None:
        """Requantise the accumulators of a tile and store it, combined with what the convolution is fused with."""
        if self.fused is not None:
            self.fused.finish(self.layer.target, box, self.layer.requantize, sums, parameters)
        else:
            self.program.store(self.layer.target, box, self.layer.requantize, sums, parameters)


class _Dense(_Convolution):
    """Convolution over all input channels, in chunks where they do not fit at once."""

    PRODUCT = Convolve

    def lower(self, stationary: str) -> None:
        inputs = self.layer.inputs
        self._chunks = [(0, inputs)] if self.layer.is_packed else channel_pieces(inputs, self.input_blocks)
        if stationary == "weights":
            for index in range(self.slices):
                self._tiles([index], self._load(index))
        else:
            self._tiles(range(self.slices), self._load(0) if self.slices == 1 else None)

    def _load(self, index: int) -> list[Held | None]:
        """For each lane the parameters of a slice, and its weights if all input channels are done at once."""

        def load(channels: Span, cluster: int) -> Held:
            weights = self.load_weights(channels, self._chunks[0], cluster) if len(self._chunks) == 1 else None
            return Held(weights, self.load_parameters(channels, cluster))

        return self.for_lanes(index, load)

    def _tiles(self, slices: Sequence[int], held: list[Held | None] | None) -> None:
        """Slices of output channels, tile by tile: from one load of the map if its channels are done at once.

        Args:
            slices: by their number in each lane.
            held: weights and parameters that are loaded already.
        """
        whole = [(0, self.source.channels)]
        for areas in zip_longest(*(lane.boxes(whole) for lane in self.lanes)):
            tiles = [
                self._tile(lane, area) if area is not None else None
                for lane, area in zip(self.lanes, areas, strict=True)
            ]
            for index in slices:
                self._products(tiles, index, held if held is not None else self._load(index))

    def _tile(self, lane: Lane, area: Part) -> _Tile:
        read, product = self.read(area)
        tile = _Tile(lane, area, read, product)
        if len(self._chunks) == 1:
            tile.x = self._load_map(tile, self._chunks[0])
        return tile

    def _load_map(self, tile: _Tile, chunk: Span) -> Value:
        self.program.cluster = tile.lane.cluster
        box = Part(tile.read.image, tile.read.rows, tile.read.columns, chunk)
        return self.program.load(self.layer.source, box, packed=self.layer.is_packed)

    def _products(self, tiles: list[_Tile | None], index: int, held: list[Held | None]) -> None:
        """A slice of output channels of a tile of each lane."""
        work = [
            (number, tile, each)
            for number, (tile, each) in enumerate(zip(tiles, held, strict=True))
            if tile is not None and each is not None
        ]
        sums: dict[int, Value] = {}
        for chunk in self._chunks:
            maps = [tile.x or self._load_map(tile, chunk) for _, tile, _ in work]
            weights = [each.weights if each is not None else None for each in held]
            if len(self._chunks) > 1:
                weights = self.for_lanes(index, partial(self._chunk_weights, chunk))
            for (number, tile, _), x in zip(work, maps, strict=True):
                sums[number] = self.program.add(tile.product, x, weights[number], sums.get(number))
        for number, tile, each in work:
            self.program.cluster = tile.lane.cluster
            box = replace(tile.area, channels=tile.lane.slices[index])
            self.finish(box, sums[number], each.parameters)

    def _chunk_weights(self, chunk: Span, channels: Span, cluster: int) -> Value:
        return self.load_weights(channels, chunk, cluster)


@dataclass
class _Tile:
    """A tile of one lane, and its map once that is loaded."""

    lane: Lane
    area: Part
    read: Part
    product: Product
    x: Value | None = None


class _Depthwise(_Convolution):
    """Every channel with its own kernel; input and output channels are cut alike."""

    PRODUCT = ConvolveDepthwise

    def lower(self) -> None:
        for index in range(self.slices):
            held = self.for_lanes(index, self._load)
            lanes = [(lane, each) for lane, each in zip(self.lanes, held, strict=True) if each is not None]
            for areas in zip_longest(*(lane.boxes([lane.slices[index]]) for lane, _ in lanes)):
                for (lane, loaded), box in zip(lanes, areas, strict=True):
                    if box is not None:
                        self.program.cluster = lane.cluster
                        read, product = self.read(box)
                        x = self.program.load(self.layer.source, read)
                        self.finish(box, self.program.add(product, x, loaded.weights), loaded.parameters)

    def _load(self, channels: Span, cluster: int) -> Held:
        return Held(self.load_weights(channels, (0, 1), cluster), self.load_parameters(channels, cluster))
