"""Convolution on the device: dense, grouped and depthwise, tile by tile."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tilewright.errors import CodegenError

from ...ir.core import Constant, Op
from ...ir.feature_map import Window, convolution_maps, is_depthwise, window_of
from ...ir.ops.convolution import Conv
from ...ir.quantized import accumulator_factors, clamp_bounds, parameters
from ...ir.types import TensorType
from ...runtime.isa import Convolve, ConvolveDepthwise, Requantize, pack_dense, pack_depthwise, pack_requantize
from .emit import Emitter, chip_offset, chip_zero, lowers, on_chip
from .maps import BLOCK, Box, MapView, pieces, tile_annotation


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
def lower_convolution(op: Op, emitter: Emitter) -> None:
    """Load, convolve, requantise and store, tile by tile."""
    conv = op.operator
    assert isinstance(conv, Conv)
    whole = _layer(op, emitter)
    tile = tile_annotation(op)
    if is_depthwise(op):
        _Depthwise(whole, tile, emitter).emit()
        return
    order = str(op.annotations.get("order", "maps"))
    for layer in _groups(whole, conv.group):
        _Dense(layer, tile, order, emitter).emit()


def _constant(op: Op, index: int) -> Constant:
    value = op.operands[index]
    if not isinstance(value, Constant):
        found = "nothing" if value is None else f"%{value.name}"
        raise CodegenError("weights on the device must be constant", op=op.name, node=op.node, found=found)
    return value


def _layer(op: Op, emitter: Emitter) -> Layer:
    conv, x = op.operator, op.inputs[0]
    assert isinstance(conv, Conv)
    weights = _constant(op, 1)
    stored, type = weights.array, weights.type
    assert type.quant is not None
    if stored.ndim == 3:
        stored = stored[:, :, None, :]
    zero = on_chip(type, type.quant.zero_point[0])
    values = (stored.astype(np.int32) + chip_offset(type)).astype(np.int8)
    bias = np.zeros(len(values), np.int64)
    if len(op.operands) > 2 and op.operands[2] is not None:
        bias += _constant(op, 2).array
    # The array multiplies stored integers; what their zero point adds is the same for every window.
    bias -= chip_zero(x) * (values.astype(np.int64) - zero).sum((1, 2, 3))
    y: TensorType = op.result.type
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
            source=layer.source.channels(group * inputs, inputs) if count > 1 else layer.source,
            target=layer.target.channels(group * outputs, outputs) if count > 1 else layer.target,
            weights=layer.weights[part],
            bias=layer.bias[part],
            factors=layer.factors[part],
        )


def input_span(window: Window, axis: int, first: int, count: int, extent: int) -> tuple[int, int, int]:
    """Input rows (or columns) that outputs [first, first + count) read: (first, count, origin of the window).

    The origin is the coordinate, inside the span, of tap 0 of the first output. A window that lies in the padding
    altogether still gets one row.
    """
    start = first * window.stride[axis] - window.begin[axis]
    reach = (count - 1) * window.stride[axis] + (window.kernel[axis] - 1) * window.dilation[axis] + 1
    low = min(max(start, 0), extent - 1)
    high = max(min(start + reach, extent), low + 1)
    return low, high - low, start - low


class _Tiles:
    """What dense and depthwise convolution share: geometry, requantisation, stores."""

    def __init__(self, layer: Layer, tile: tuple[int, int, int, int], emitter: Emitter) -> None:
        self.layer = layer
        self.emitter = emitter
        self.rows, self.columns, self.output_blocks, self.input_blocks = tile

    def slices(self) -> list[tuple[int, int]]:
        """Output channels by tile, as (first, count)."""
        return pieces(self.layer.target.shape.channels, self.output_blocks * BLOCK)

    def places(self) -> Iterator[tuple[int, tuple[int, int], tuple[int, int]]]:
        """Image, rows and columns of every tile."""
        shape = self.layer.target.shape
        for image in range(shape.images):
            for rows in pieces(shape.height, self.rows):
                for columns in pieces(shape.width, self.columns):
                    yield image, rows, columns

    def geometry(self, rows: tuple[int, int], columns: tuple[int, int]) -> tuple[Box, dict[str, Any]]:
        """The box of the input (of all channels, image 0) and the window fields of the instruction."""
        window, shape = self.layer.window, self.layer.source.shape
        top, height, row_origin = input_span(window, 0, *rows, shape.height)
        left, width, column_origin = input_span(window, 1, *columns, shape.width)
        fields: dict[str, Any] = {
            "output_height": rows[1],
            "output_width": columns[1],
            "kernel_height": window.kernel[0],
            "kernel_width": window.kernel[1],
            "stride_height": window.stride[0],
            "stride_width": window.stride[1],
            "dilation_height": window.dilation[0],
            "dilation_width": window.dilation[1],
            "input_height": height,
            "input_width": width,
            "row_origin": row_origin,
            "column_origin": column_origin,
            "pad_value": self.layer.pad_value,
            "weight_zero": self.layer.weight_zero,
        }
        return Box(0, (top, height), (left, width), (0, shape.channels)), fields

    def load_requantize(self, first: int, count: int) -> int:
        part = slice(first, first + count)
        return self.emitter.load_parameters(pack_requantize(self.layer.bias[part], self.layer.factors[part]))

    def finish(self, box: Box, accumulator: int, parameters: int, destination: int) -> None:
        """Requantise the accumulators of a tile and store it."""
        layer = self.layer
        self.emitter.add(
            Requantize(
                accumulator=accumulator,
                destination=destination,
                height=box.rows[1],
                width=box.columns[1],
                blocks=box.blocks,
                row_pitch=box.columns[1] * box.blocks,
                pixel_pitch=box.blocks,
                parameters=parameters,
                zero_point=layer.zero_point,
                low=layer.low,
                high=layer.high,
            )
        )
        self.emitter.store_map(layer.target, box, destination)


class _Dense(_Tiles):
    """Convolution over all input channels, in chunks where they do not fit at once."""

    def __init__(self, layer: Layer, tile: tuple[int, int, int, int], order: str, emitter: Emitter) -> None:
        super().__init__(layer, tile, emitter)
        self._packed = layer.source.is_packed
        size = layer.source.shape.channels if self._packed else self.input_blocks * BLOCK
        self._chunks = pieces(layer.source.shape.channels, size)
        self._order = order
        # Streamed weights are loaded at every place; they are packed once.
        self._weights: dict[tuple[int, int], bytes] = {}

    def emit(self) -> None:
        slices = self.slices()
        if self._order == "weights":
            for channels in slices:
                held = self._load(channels)
                for place in self.places():
                    self._tile_group(place, [channels], held)
            return
        held = self._load(slices[0]) if len(slices) == 1 else None
        for place in self.places():
            self._tile_group(place, slices, held)

    def _load(self, channels: tuple[int, int]) -> tuple[int | None, int]:
        """Parameters of a slice of output channels, and its weights if all input channels are done at once."""
        weights = self._load_weights(channels, self._chunks[0]) if len(self._chunks) == 1 else None
        return weights, self.load_requantize(*channels)

    def _load_weights(self, channels: tuple[int, int], chunk: tuple[int, int]) -> int:
        key = (channels[0], chunk[0])
        if key not in self._weights:
            part = self.layer.weights[channels[0] : channels[0] + channels[1], chunk[0] : chunk[0] + chunk[1]]
            rows, zero = part.transpose(0, 2, 3, 1), self.layer.weight_zero
            self._weights[key] = pack_dense(rows, weight_zero=zero, packed=self._packed)
        return self.emitter.load_weights(self._weights[key])

    def _tile_group(
        self,
        place: tuple[int, tuple[int, int], tuple[int, int]],
        slices: list[tuple[int, int]],
        held: tuple[int | None, int] | None,
    ) -> None:
        """All slices of output channels at one place, from one load of the map if its channels are done at once."""
        image, rows, columns = place
        area, fields = self.geometry(rows, columns)
        map_bytes = max(self._map_bytes(area, chunk) for chunk in self._chunks)
        result_bytes = max(Box(0, rows, columns, s).chip_bytes for s in slices)
        buffers = min(2, len(self._chunks)), min(2, len(slices))
        base = self.emitter.maps.take(map_bytes * buffers[0] + result_bytes * buffers[1])
        sources = [base + i * map_bytes // BLOCK for i in range(buffers[0])]
        results = [base + (map_bytes * buffers[0] + i * result_bytes) // BLOCK for i in range(buffers[1])]
        if len(self._chunks) == 1:
            self._load_map(area, image, self._chunks[0], sources[0])
        for index, channels in enumerate(slices):
            weights, parameters = held if held is not None else self._load(channels)
            box = Box(image, rows, columns, channels)
            accumulator = self.emitter.accumulators.take(rows[1] * columns[1] * box.blocks * 64)
            for number, chunk in enumerate(self._chunks):
                source = sources[number % len(sources)]
                if len(self._chunks) > 1:
                    self._load_map(area, image, chunk, source)
                at = weights if weights is not None else self._load_weights(channels, chunk)
                self._convolve(area, chunk, box, fields, source, at, accumulator, number > 0)
            self.finish(box, accumulator, parameters, results[index % len(results)])

    def _map_bytes(self, area: Box, chunk: tuple[int, int]) -> int:
        if self._packed:
            return area.rows[1] * (-(-area.columns[1] * chunk[1] // BLOCK) * BLOCK)
        return area.rows[1] * area.columns[1] * -(-chunk[1] // BLOCK) * BLOCK

    def _load_map(self, area: Box, image: int, chunk: tuple[int, int], destination: int) -> None:
        view = self.layer.source
        if not self._packed:
            self.emitter.load_map(view, Box(image, area.rows, area.columns, chunk), destination)
            return
        # A row of packed pixels is one pixel of many channels.
        row = view.shape._replace(width=1, channels=view.row)
        rows = MapView(view.region, view.offset, row, view.row, False, view.flip)
        part = (area.columns[0] * view.pixel, area.columns[1] * view.pixel)
        self.emitter.load_map(rows, Box(image, area.rows, (0, 1), part), destination)

    def _convolve(
        self,
        area: Box,
        chunk: tuple[int, int],
        box: Box,
        fields: dict[str, Any],
        source: int,
        weights: int,
        accumulator: int,
        accumulate: bool,
    ) -> None:
        blocks = -(-chunk[1] // BLOCK)
        row_pitch = self._map_bytes(area, chunk) // area.rows[1] // BLOCK
        self.emitter.add(
            Convolve(
                source=source,
                weights=weights,
                accumulator=accumulator,
                output_blocks=box.blocks,
                input_channels=chunk[1] if self._packed else blocks,
                row_pitch=row_pitch,
                pixel_pitch=chunk[1] if self._packed else blocks,
                accumulate=int(accumulate),
                packed=int(self._packed),
                **fields,
            )
        )


class _Depthwise(_Tiles):
    """Every channel with its own kernel; input and output channels are cut alike."""

    def emit(self) -> None:
        for channels in self.slices():
            part = self.layer.weights[channels[0] : channels[0] + channels[1], 0]
            weights = self.emitter.load_weights(pack_depthwise(part, weight_zero=self.layer.weight_zero))
            parameters = self.load_requantize(*channels)
            for image, rows, columns in self.places():
                self._tile(Box(image, rows, columns, channels), weights, parameters)

    def _tile(self, box: Box, weights: int, parameters: int) -> None:
        area, fields = self.geometry(box.rows, box.columns)
        read = Box(box.image, area.rows, area.columns, box.channels)
        source = self.emitter.maps.take(read.chip_bytes + box.chip_bytes)
        accumulator = self.emitter.accumulators.take(box.rows[1] * box.columns[1] * box.blocks * 64)
        self.emitter.load_map(self.layer.source, read, source)
        self.emitter.add(
            ConvolveDepthwise(
                source=source,
                weights=weights,
                accumulator=accumulator,
                blocks=box.blocks,
                row_pitch=area.columns[1] * box.blocks,
                pixel_pitch=box.blocks,
                **fields,
            )
        )
        self.finish(box, accumulator, parameters, source + read.chip_bytes // BLOCK)
