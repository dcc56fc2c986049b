"""Convolution on the device: dense, grouped and depthwise, tile by tile."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from tilewright.errors import CodegenError

from ...ir.annotations import STATIONARY
from ...ir.core import Constant, Op, Value
from ...ir.feature_map import Window, convolution_maps, is_depthwise, window_of
from ...ir.ops.convolution import Conv
from ...ir.quantized import accumulator_factors, clamp_bounds, parameters
from ...runtime import isa
from .emit import Emitter, chip_offset, chip_zero, lowers, on_chip
from .maps import Box, MapView, pieces, tile_annotation
from .window import read_through


@dataclass(frozen=True)
class Layer:
    """A convolution of one group, everything as the device holds it.

    Attributes:
        weights: int8 [outputs, inputs, rows, columns]; inputs is 1 for depthwise.
        weight_zero: their zero point.
        bias: int32 [outputs], with the zero point of the input folded in.
        factors: float32 [outputs], requantisation multipliers.
        pad_value: zero point of the input, which padding counts as.
        zero_point, low, high: of the result.
    """

    source: MapView
    target: MapView
    window: Window
    weights: np.ndarray
    weight_zero: int
    bias: np.ndarray
    factors: np.ndarray
    pad_value: int
    zero_point: int
    low: int
    high: int


@lowers(Conv)
def lower_convolution(op: Op[Conv], emitter: Emitter) -> None:
    """Load, convolve, requantise and store, tile by tile."""
    whole = _layer(op, emitter)
    tile = tile_annotation(op)
    if is_depthwise(op):
        _Depthwise(whole, tile, emitter).emit()
        return
    stationary = STATIONARY.get(op) or "inputs"
    for layer in _groups(whole, op.operator.group):
        _Dense(layer, tile, stationary, emitter).emit()


def _constant(op: Op[Conv], value: Value) -> Constant:
    if not isinstance(value, Constant):
        raise CodegenError("weights on the device must be constant", op=op.name, node=op.node, found=f"%{value.name}")
    return value


def _layer(op: Op[Conv], emitter: Emitter) -> Layer:
    conv, x, y = op.operator, op.operands.x, op.result.type
    weights = _constant(op, op.operands.w)
    stored, type = weights.array, weights.type
    assert type.quant is not None
    if stored.ndim == 3:
        stored = stored[:, :, None, :]
    zero = on_chip(type, type.quant.zero_point[0])
    values = (stored.astype(np.int32) + chip_offset(type)).astype(np.int8)
    bias = np.zeros(len(values), np.int64)
    if op.operands.b is not None:
        bias += _constant(op, op.operands.b).array
    # The array multiplies stored integers; what their zero point adds is the same for every window.
    bias -= chip_zero(x) * (values.astype(np.int64) - zero).sum((1, 2, 3))
    low, high = clamp_bounds(y, conv.act, conv.act_args)
    source, target = convolution_maps(op)
    return Layer(
        replace(emitter.views[x], shape=source),
        replace(emitter.views[op.result], shape=target),
        window_of(op),
        values,
        zero,
        bias.astype(np.int32),  # sums wrap around, here as in the accumulators
        np.broadcast_to(accumulator_factors(x.type, type, y), bias.shape).astype(np.float32),
        chip_zero(x),
        on_chip(y, parameters(y)[1]),
        on_chip(y, low),
        on_chip(y, high),
    )


def _groups(layer: Layer, count: int) -> Iterator[Layer]:
    """Each group as a convolution of its own."""
    inputs, outputs = layer.source.shape.channels // count, layer.target.shape.channels // count
    for group in range(count):
        part = slice(group * outputs, (group + 1) * outputs)
        yield replace(
            layer,
            source=layer.source.channels(group * inputs, inputs),
            target=layer.target.channels(group * outputs, outputs),
            weights=layer.weights[part],
            bias=layer.bias[part],
            factors=layer.factors[part],
        )


class _Convolution:
    """What dense and depthwise convolution share: geometry, requantisation, stores."""

    def __init__(self, layer: Layer, tile: tuple[int, int, int, int], emitter: Emitter) -> None:
        self.layer = layer
        self.emitter = emitter
        self.rows, self.columns, self.output_blocks, self.input_blocks = tile

    def slices(self) -> list[tuple[int, int]]:
        """Output channels by tile, as (first, count)."""
        return pieces(self.layer.target.shape.channels, self.output_blocks * isa.CHANNEL_BLOCK)

    def areas(self, channels: tuple[int, int]) -> Iterator[Box]:
        """These channels of every tile."""
        shape = self.layer.target.shape
        for image in range(shape.images):
            for rows in pieces(shape.height, self.rows):
                for columns in pieces(shape.width, self.columns):
                    yield Box(image, rows, columns, channels)

    def read(self, box: Box) -> tuple[Box, dict[str, int]]:
        """The box of the input, of equal channels, and the window fields of the instruction."""
        window = self.layer.window
        read, fields = read_through(window, self.layer.source.shape, box)
        fields.update(output_height=box.rows[1], output_width=box.columns[1])
        fields.update(dilation_height=window.dilation[0], dilation_width=window.dilation[1])
        fields.update(pad_value=self.layer.pad_value, weight_zero=self.layer.weight_zero)
        return read, fields

    def load_requantize(self, first: int, count: int) -> int:
        part = slice(first, first + count)
        return self.emitter.load_parameters(isa.pack_requantize(self.layer.bias[part], self.layer.factors[part]))

    def take_accumulators(self, box: Box) -> int:
        return self.emitter.accumulators.take(box.rows[1] * box.columns[1] * box.blocks * isa.ACCUMULATOR_UNIT)

    def finish(self, box: Box, accumulator: int, parameters: int, destination: int) -> None:
        """Requantise the accumulators of a tile and store it."""
        layer = self.layer
        self.emitter.add(
            isa.Requantize,
            accumulator=accumulator,
            destination=destination,
            **box.size,
            **box.pitches("destination_"),
            parameters=parameters,
            zero_point=layer.zero_point,
            low=layer.low,
            high=layer.high,
        )
        self.emitter.store_map(layer.target, box, destination)


class _Dense(_Convolution):
    """Convolution over all input channels, in chunks where they do not fit at once."""

    def __init__(self, layer: Layer, tile: tuple[int, int, int, int], stationary: str, emitter: Emitter) -> None:
        super().__init__(layer, tile, emitter)
        self._packed = layer.source.is_packed
        size = layer.source.shape.channels if self._packed else self.input_blocks * isa.CHANNEL_BLOCK
        self._chunks = pieces(layer.source.shape.channels, size)
        self._stationary = stationary
        # Streamed weights are loaded for every tile; they are packed once.
        self._weights: dict[tuple[int, int], bytes] = {}

    def emit(self) -> None:
        slices = self.slices()
        if self._stationary == "weights":
            for channels in slices:
                self._tiles([channels], self._load(channels))
        else:
            self._tiles(slices, self._load(slices[0]) if len(slices) == 1 else None)

    def _load(self, channels: tuple[int, int]) -> tuple[int | None, int]:
        """Parameters of a slice of output channels, and its weights if all input channels are done at once."""
        weights = self._load_weights(channels, self._chunks[0]) if len(self._chunks) == 1 else None
        return weights, self.load_requantize(*channels)

    def _load_weights(self, channels: tuple[int, int], chunk: tuple[int, int]) -> int:
        key = (channels[0], chunk[0])
        if key not in self._weights:
            part = self.layer.weights[channels[0] : channels[0] + channels[1], chunk[0] : chunk[0] + chunk[1]]
            rows, zero = part.transpose(0, 2, 3, 1), self.layer.weight_zero
            self._weights[key] = isa.pack_dense(rows, weight_zero=zero, packed=self._packed)
        return self.emitter.load_weights(self._weights[key])

    def _tiles(self, slices: list[tuple[int, int]], held: tuple[int | None, int] | None) -> None:
        """Slices of output channels, tile by tile: from one load of the map if its channels are done at once.

        Args:
            held: weights and parameters that are loaded already.
        """
        counts = min(2, len(self._chunks)), min(2, len(slices))
        for area in self.areas((0, self.layer.source.shape.channels)):
            read, fields = self.read(area)
            map_bytes = max(self._map_bytes(read, chunk) for chunk in self._chunks)
            result_bytes = max(replace(area, channels=channels).chip_bytes for channels in slices)
            base = self.emitter.maps.take(map_bytes * counts[0] + result_bytes * counts[1])
            sources = [base + i * map_bytes // isa.MAPS_UNIT for i in range(counts[0])]
            results = [base + (map_bytes * counts[0] + i * result_bytes) // isa.MAPS_UNIT for i in range(counts[1])]
            if len(self._chunks) == 1:
                self._load_map(read, self._chunks[0], sources[0])
            for index, channels in enumerate(slices):
                weights, parameters = held if held is not None else self._load(channels)
                box = replace(area, channels=channels)
                accumulator = self.take_accumulators(box)
                for number, chunk in enumerate(self._chunks):
                    source = sources[number % len(sources)]
                    if len(self._chunks) > 1:
                        self._load_map(read, chunk, source)
                    at = weights if weights is not None else self._load_weights(channels, chunk)
                    channels_in = chunk[1] if self._packed else -(-chunk[1] // isa.CHANNEL_BLOCK)
                    self.emitter.add(
                        isa.Convolve,
                        source=source,
                        weights=at,
                        accumulator=accumulator,
                        output_blocks=box.blocks,
                        input_channels=channels_in,
                        row_pitch=self._map_bytes(read, chunk) // read.rows[1] // isa.MAPS_UNIT,
                        pixel_pitch=channels_in,
                        accumulate=int(number > 0),
                        packed=int(self._packed),
                        **fields,
                    )
                self.finish(box, accumulator, parameters, results[index % len(results)])

    def _map_bytes(self, read: Box, chunk: tuple[int, int]) -> int:
        if self._packed:
            return read.rows[1] * (-(-read.columns[1] * chunk[1] // isa.MAPS_UNIT) * isa.MAPS_UNIT)
        return replace(read, channels=chunk).chip_bytes

    def _load_map(self, read: Box, chunk: tuple[int, int], destination: int) -> None:
        view = self.layer.source
        if not self._packed:
            self.emitter.load_map(view, replace(read, channels=chunk), destination)
            return
        # A row of packed pixels is one pixel of many channels.
        row = view.shape._replace(width=1, channels=view.row)
        rows = MapView(view.region, view.offset, row, view.row, False, view.flip)
        part = (read.columns[0] * view.pixel, read.columns[1] * view.pixel)
        self.emitter.load_map(rows, replace(read, columns=(0, 1), channels=part), destination)


class _Depthwise(_Convolution):
    """Every channel with its own kernel; input and output channels are cut alike."""

    def emit(self) -> None:
        for channels in self.slices():
            part = self.layer.weights[channels[0] : channels[0] + channels[1], 0]
            weights = self.emitter.load_weights(isa.pack_depthwise(part, weight_zero=self.layer.weight_zero))
            parameters = self.load_requantize(*channels)
            for box in self.areas(channels):
                read, fields = self.read(box)
                source = self.emitter.maps.take(read.chip_bytes + box.chip_bytes)
                accumulator = self.take_accumulators(box)
                self.emitter.load_map(self.layer.source, read, source)
                self.emitter.add(
                    isa.ConvolveDepthwise,
                    source=source,
                    weights=weights,
                    accumulator=accumulator,
                    blocks=box.blocks,
                    **read.pitches(),
                    **fields,
                )
                self.finish(box, accumulator, parameters, source + read.chip_bytes // isa.MAPS_UNIT)
