"""Convolution: dense, grouped and depthwise, tile by tile."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from tilewright.errors import PassError

from ....ir.annotations import STATIONARY
from ....ir.core import Constant, Op, Value
from ....ir.feature_map import MapShape, Window, convolution_maps, is_depthwise, window_of
from ....ir.ops.convolution import Conv
from ....ir.quantized import accumulator_factors, clamp_bounds, parameters
from ....ir.tile.compute import Convolve, ConvolveDepthwise, Product, Requantize
from ....ir.tile.places import Part
from ....ir.tile.transfer import LoadRequantization, LoadWeights
from .boxes import Span, boxes, channel_pieces, read_through, tile_annotation
from .on_chip import chip_offset, chip_zero, on_chip
from .program import CLUSTER, TileProgram, lowers


@dataclass(frozen=True)
class Layer:
    """A convolution of one group, everything as the device holds it.

    Attributes:
        source, target: maps in DRAM.
        is_packed: whether the pixels of the source follow each other without padding.
        weights: int8 [outputs, inputs, rows, columns]; inputs is 1 for depthwise.
        weight_zero: their zero point.
        bias: int32 [outputs], with the zero point of the input folded in.
        factors: float32 [outputs], requantisation multipliers.
        pad_value: zero point of the input, which padding counts as.
        requantize: makes accumulators the result.
    """

    source: Value
    target: Value
    is_packed: bool
    window: Window
    weights: np.ndarray
    weight_zero: int
    bias: np.ndarray
    factors: np.ndarray
    pad_value: int
    requantize: Requantize

    @property
    def inputs(self) -> int:
        """Channels of the source."""
        return self.source.type.shape[-1]


class Held(NamedTuple):
    """What is on chip for a slice of output channels; its weights only where they are loaded once."""

    weights: Value | None
    parameters: Value


@lowers(Conv)
def lower_convolution(op: Op[Conv], program: TileProgram) -> None:
    """Load, convolve, requantise and store, tile by tile."""
    whole = _layer(op, program)
    tile = tile_annotation(op)
    if is_depthwise(op):
        _Depthwise(whole, tile, program).lower()
        return
    stationary = STATIONARY.get(op) or "inputs"
    for layer in _groups(whole, op.operator.group, program):
        _Dense(layer, tile, program).lower(stationary)


def _constant(op: Op[Conv], value: Value) -> Constant:
    if not isinstance(value, Constant):
        raise PassError("weights on the device must be constant", op=op.name, node=op.node, found=f"%{value.name}")
    return value


def _layer(op: Op[Conv], program: TileProgram) -> Layer:
    conv, x, y = op.operator, op.operands.x, op.result.type
    weights = _constant(op, op.operands.w)
    stored, type = weights.array, weights.type
    assert type.quant is not None
    if stored.ndim == 3:
        stored = stored[:, :, None, :]
    zero = on_chip(type, type.quant.zero_point[0])
    values = (stored.astype(np.int32) + chip_offset(type)).astype(np.int8)
    # Slices of it become constants without being copied.
    values.flags.writeable = False
    bias = np.zeros(len(values), np.int64)
    if op.operands.b is not None:
        bias += _constant(op, op.operands.b).array
    # The array multiplies stored integers; what their zero point adds is the same for every window.
    bias -= chip_zero(x) * (values.sum((1, 2, 3), np.int64) - zero * values[0].size)
    low, high = clamp_bounds(y, conv.act, conv.act_args)
    source, target = convolution_maps(op)
    return Layer(
        program.reshaped(program.place(x), source),
        program.reshaped(program.place(op.result), target),
        program.is_packed(x),
        window_of(op),
        values,
        zero,
        bias.astype(np.int32),  # sums wrap around, here as in the accumulators
        np.broadcast_to(accumulator_factors(x.type, type, y), bias.shape).astype(np.float32),
        chip_zero(x),
        Requantize(on_chip(y, parameters(y)[1]), on_chip(y, low), on_chip(y, high)),
    )


def _groups(layer: Layer, count: int, program: TileProgram) -> Iterator[Layer]:
    """Each group as a convolution of its own."""
    inputs, outputs = layer.inputs // count, layer.target.type.shape[-1] // count
    for group in range(count):
        part = slice(group * outputs, (group + 1) * outputs)
        yield replace(
            layer,
            source=program.channels(layer.source, group * inputs, inputs),
            target=program.channels(layer.target, group * outputs, outputs),
            weights=layer.weights[part],
            bias=layer.bias[part],
            factors=layer.factors[part],
        )


class _Convolution:
    """What dense and depthwise convolution share: geometry, constants, requantisation, stores."""

    PRODUCT: type[Product]

    def __init__(self, layer: Layer, tile: tuple[int, int, int, int], program: TileProgram) -> None:
        self.layer = layer
        self.program = program
        self.rows, self.columns, blocks, self.input_blocks = tile
        self.source, self.target = MapShape(*layer.source.type.shape), MapShape(*layer.target.type.shape)
        self.slices = channel_pieces(self.target.channels, blocks)
        # What is streamed for every tile is made once.
        self._weights: dict[tuple[int, int], Constant] = {}
        self._parameters: dict[int, tuple[Constant, Constant]] = {}

    def read(self, box: Part) -> tuple[Part, Product]:
        """The box of the source, of equal channels, that a box of the result is the product of."""
        layer, window = self.layer, self.layer.window
        read, origin = read_through(window, self.source, box)
        output = box.rows[1], box.columns[1]
        return read, self.PRODUCT(output, window.stride, window.dilation, origin, layer.pad_value, layer.weight_zero)

    def load_weights(self, channels: Span, chunk: Span) -> Value:
        """The weights of output channels for input channels."""
        layer, key = self.layer, (channels[0], chunk[0])
        if key not in self._weights:
            part = layer.weights[channels[0] : sum(channels), chunk[0] : sum(chunk)]
            self._weights[key] = self.program.constant("weights", part)
        depthwise = self.PRODUCT is ConvolveDepthwise
        load = LoadWeights(CLUSTER, layer.weight_zero, layer.is_packed, depthwise)
        return self.program.add(load, self._weights[key])

    def load_parameters(self, channels: Span) -> Value:
        """Bias and multipliers of output channels."""
        if channels[0] not in self._parameters:
            part = slice(channels[0], sum(channels))
            bias = self.program.constant("bias", self.layer.bias[part])
            self._parameters[channels[0]] = bias, self.program.constant("multiplier", self.layer.factors[part])
        return self.program.add(LoadRequantization(CLUSTER), *self._parameters[channels[0]])

    def finish(self, box: Part, sums: Value, parameters: Value) -> None:
        """Requantise the accumulators of a tile and store it."""
        result = self.program.add(self.layer.requantize, sums, parameters)
        self.program.store(result, self.layer.target, box)


class _Dense(_Convolution):
    """Convolution over all input channels, in chunks where they do not fit at once."""

    PRODUCT = Convolve

    def lower(self, stationary: str) -> None:
        inputs = self.layer.inputs
        self._chunks = [(0, inputs)] if self.layer.is_packed else channel_pieces(inputs, self.input_blocks)
        if stationary == "weights":
            for channels in self.slices:
                self._tiles([channels], self._load(channels))
        else:
            self._tiles(self.slices, self._load(self.slices[0]) if len(self.slices) == 1 else None)

    def _load(self, channels: Span) -> Held:
        """Parameters of a slice of output channels, and its weights if all input channels are done at once."""
        weights = self.load_weights(channels, self._chunks[0]) if len(self._chunks) == 1 else None
        return Held(weights, self.load_parameters(channels))

    def _tiles(self, slices: list[Span], held: Held | None) -> None:
        """Slices of output channels, tile by tile: from one load of the map if its channels are done at once.

        Args:
            held: weights and parameters that are loaded already.
        """
        for area in boxes(self.target, self.rows, self.columns, [(0, self.source.channels)]):
            read, product = self.read(area)
            once = self._load_map(read, self._chunks[0]) if len(self._chunks) == 1 else None
            for channels in slices:
                weights, parameters = held if held is not None else self._load(channels)
                sums: Value | None = None
                for chunk in self._chunks:
                    x = once if once is not None else self._load_map(read, chunk)
                    w = weights if weights is not None else self.load_weights(channels, chunk)
                    sums = self.program.add(product, x, w, sums)
                assert sums is not None
                self.finish(replace(area, channels=channels), sums, parameters)

    def _load_map(self, read: Part, chunk: Span) -> Value:
        box = replace(read, channels=chunk)
        return self.program.load(self.layer.source, box, packed=self.layer.is_packed)


class _Depthwise(_Convolution):
    """Every channel with its own kernel; input and output channels are cut alike."""

    PRODUCT = ConvolveDepthwise

    def lower(self) -> None:
        for channels in self.slices:
            weights, parameters = self.load_weights(channels, (0, 1)), self.load_parameters(channels)
            for box in boxes(self.target, self.rows, self.columns, [channels]):
                read, product = self.read(box)
                x = self.program.load(self.layer.source, read)
                self.finish(box, self.program.add(product, x, weights), parameters)
