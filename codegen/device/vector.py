"""What the vector unit computes: pooling, arithmetic on two maps, tables, nearest resampling."""

from __future__ import annotations

import numpy as np

from tilewright.errors import CodegenError

from ...ir import arithmetic
from ...ir.core import Op
from ...ir.feature_map import map_shape, window_of
from ...ir.op import Operator
from ...ir.ops.elementwise import Add, Max, Min, Mul, Sub
from ...ir.ops.pooling import AveragePool, GlobalAveragePool, GlobalMaxPool, MaxPool
from ...ir.ops.quantization import Requantize
from ...ir.ops.resize import Resize
from ...ir.ops.unary import Unary
from ...ir.quantized import limits, parameters
from ...ir.resampling import nearest_indices, nearest_steps
from ...ir.types import TensorType
from ...runtime.isa import Elementwise, ElementwiseKind, LookUp, Pool, PoolKind, ResizeNearest, pack_record, pack_table
from ...runtime.machine import RESIZE_LIMIT
from .convolution import input_span
from .emit import Emitter, chip_limits, chip_offset, chip_zero, lowers
from .maps import BLOCK, Box, tiles_of


@lowers(MaxPool, AveragePool, GlobalAveragePool, GlobalMaxPool)
def lower_pooling(op: Op, emitter: Emitter) -> None:
    """A window slides over a tile of the map that holds all it reads."""
    x, y = op.inputs[0], op.result
    window, shape = window_of(op), map_shape(x.type)
    kind, record, include_pad = _pool_parameters(op.operator, op, window.taps)
    parameters_at = emitter.load_parameters(record) if record else 0
    for box in tiles_of(op):
        top, height, row_origin = input_span(window, 0, *box.rows, shape.height)
        left, width, column_origin = input_span(window, 1, *box.columns, shape.width)
        read = Box(box.image, (top, height), (left, width), box.channels)
        source = emitter.maps.take(read.chip_bytes + box.chip_bytes)
        destination = source + read.chip_bytes // BLOCK
        emitter.load_map(emitter.views[x], read, source)
        emitter.add(
            Pool(
                source=source,
                destination=destination,
                height=box.rows[1],
                width=box.columns[1],
                blocks=box.blocks,
                kernel_height=window.kernel[0],
                kernel_width=window.kernel[1],
                stride_height=window.stride[0],
                stride_width=window.stride[1],
                input_height=height,
                input_width=width,
                row_origin=row_origin,
                column_origin=column_origin,
                source_row_pitch=width * box.blocks,
                source_pixel_pitch=box.blocks,
                destination_row_pitch=box.columns[1] * box.blocks,
                destination_pixel_pitch=box.blocks,
                parameters=parameters_at,
                kind=int(kind),
                include_pad=int(include_pad),
            )
        )
        emitter.store_map(emitter.views[y], box, destination)


def _pool_parameters(operator: Operator, op: Op, count: int) -> tuple[PoolKind, bytes, bool]:
    if isinstance(operator, (MaxPool, GlobalMaxPool)):
        return PoolKind.MAXIMUM, b"", False
    x, y = op.inputs[0], op.result
    (scale_x, _), (scale_y, zero_y) = parameters(x.type), parameters(y.type)
    common = {"zero_a": chip_zero(x), "zero_output": zero_y, "offset": chip_offset(y.type)}
    if isinstance(operator, GlobalAveragePool):
        factor = arithmetic.global_average_multiplier(scale_x, scale_y, count)
        return PoolKind.SUM, pack_record(**common, multiplier=float(factor)), False
    assert isinstance(operator, AveragePool)
    record = pack_record(**common, scale_a=float(scale_x), scale_output=float(scale_y))
    return PoolKind.AVERAGE, record, operator.count_include_pad


_KINDS: dict[type[Operator], ElementwiseKind] = {
    Add: ElementwiseKind.ADD,
    Sub: ElementwiseKind.ADD,
    Mul: ElementwiseKind.MULTIPLY,
    Max: ElementwiseKind.MAXIMUM,
    Min: ElementwiseKind.MINIMUM,
}


def _elementwise_record(op: Op) -> bytes:
    a, b = op.inputs
    y = op.result.type
    (scale_a, _), (scale_b, _), (scale_y, zero_y) = (parameters(t) for t in (a.type, b.type, y))
    zeros = {"zero_a": chip_zero(a), "zero_b": chip_zero(b), "zero_output": zero_y, "offset": chip_offset(y)}
    if isinstance(op.operator, Mul):
        return pack_record(**zeros, multiplier=float(arithmetic.multiplier(scale_a, np.asarray(scale_b), scale_y)))
    if isinstance(op.operator, (Max, Min)):
        # Equal parameters all over: stored integers are compared as they are.
        return pack_record(**zeros, multiplier_a=1, multiplier_b=1, shift=0)
    first, second, shift = arithmetic.add_multipliers(scale_a, scale_b, scale_y)
    second = -second if isinstance(op.operator, Sub) else second
    return pack_record(**zeros, multiplier_a=first, multiplier_b=second, shift=shift)


@lowers(*_KINDS)
def lower_elementwise(op: Op, emitter: Emitter) -> None:
    """Two maps, the second possibly one pixel an image that is repeated."""
    a, b = op.inputs
    shapes = map_shape(a.type), map_shape(b.type)
    target = map_shape(op.result.type)
    record = emitter.load_parameters(_elementwise_record(op))
    low, high = chip_limits(op.result.type)
    for box in tiles_of(op):
        boxes: list[Box] = []
        pitches: list[tuple[int, int]] = []
        for shape in shapes:
            if shape.channels != target.channels or shape.images not in (1, target.images):
                raise CodegenError(
                    "the device does not broadcast this operand",
                    op=op.name,
                    node=op.node,
                    expected=f"{target.channels} channels, and 1 or {target.images} images",
                    found=f"{shape.channels} channels and {shape.images} images",
                )
            image = box.image if shape.images > 1 else 0
            rows = box.rows if shape.height == target.height else (0, 1)
            columns = box.columns if shape.width == target.width else (0, 1)
            boxes.append(Box(image, rows, columns, box.channels))
            row_pitch = columns[1] * box.blocks if shape.height == target.height else 0
            pitches.append((row_pitch, box.blocks if shape.width == target.width else 0))
        start = emitter.maps.take(boxes[0].chip_bytes + boxes[1].chip_bytes + box.chip_bytes)
        second = start + boxes[0].chip_bytes // BLOCK
        destination = second + boxes[1].chip_bytes // BLOCK
        emitter.load_map(emitter.views[a], boxes[0], start)
        emitter.load_map(emitter.views[b], boxes[1], second)
        emitter.add(
            Elementwise(
                source_a=start,
                source_b=second,
                destination=destination,
                height=box.rows[1],
                width=box.columns[1],
                blocks=box.blocks,
                row_pitch_a=pitches[0][0],
                row_pitch_b=pitches[1][0],
                destination_row_pitch=box.columns[1] * box.blocks,
                pixel_pitch_a=pitches[0][1],
                pixel_pitch_b=pitches[1][1],
                destination_pixel_pitch=box.blocks,
                parameters=record,
                low=low,
                high=high,
                kind=int(_KINDS[type(op.operator)]),
            )
        )
        emitter.store_map(emitter.views[op.result], box, destination)


def table_of(op: Op) -> np.ndarray:
    """The function of a unary quantised op as int8 [256], by what the device holds of its operand from -128 up.

    The entries are what the reference computes for every stored integer, so they cannot differ from it.
    """
    x, y = op.inputs[0].type, op.result.type
    low, high = limits(x)
    stored = np.arange(low, high + 1).astype(x.dtype.numpy)
    results = op.operator.evaluate(
        [stored], [TensorType((256,), x.dtype, x.quant)], [TensorType((256,), y.dtype, y.quant)]
    )
    return (results[0].astype(np.int32) + chip_offset(y)).astype(np.int8)


@lowers(Unary, Requantize)
def lower_table(op: Op, emitter: Emitter) -> None:
    """Any function of one map."""
    x = op.inputs[0]
    table = emitter.load_parameters(pack_table(table_of(op)))
    for box in tiles_of(op):
        source = emitter.maps.take(2 * box.chip_bytes)
        destination = source + box.chip_bytes // BLOCK
        emitter.load_map(emitter.views[x], box, source)
        emitter.add(
            LookUp(
                source=source,
                destination=destination,
                height=box.rows[1],
                width=box.columns[1],
                blocks=box.blocks,
                source_row_pitch=box.columns[1] * box.blocks,
                destination_row_pitch=box.columns[1] * box.blocks,
                source_pixel_pitch=box.blocks,
                destination_pixel_pitch=box.blocks,
                table=table,
            )
        )
        emitter.store_map(emitter.views[op.result], box, destination)


@lowers(Resize)
def lower_resize(op: Op, emitter: Emitter) -> None:
    """Nearest-neighbour resampling: every tile reads the rows and columns that it repeats."""
    x = op.inputs[0]
    sources = nearest_indices(op)
    for box in tiles_of(op):
        spans: list[tuple[int, int]] = []
        steps: list[tuple[int, int]] = []
        for indices, (first, count) in zip(sources, (box.rows, box.columns), strict=True):
            part = indices[first : first + count]
            found = nearest_steps(part, RESIZE_LIMIT)
            if found is None:
                raise CodegenError(
                    "the device does not resample like that",
                    op=op.name,
                    node=op.node,
                    expected="indices that advance in equal steps",
                    found=part.tolist()[:8],
                )
            steps.append(found)
            spans.append((int(part[0]), int(part[-1] - part[0]) + 1))
        read = Box(box.image, spans[0], spans[1], box.channels)
        source = emitter.maps.take(read.chip_bytes + box.chip_bytes)
        destination = source + read.chip_bytes // BLOCK
        emitter.load_map(emitter.views[x], read, source)
        emitter.add(
            ResizeNearest(
                source=source,
                destination=destination,
                height=box.rows[1],
                width=box.columns[1],
                blocks=box.blocks,
                source_row_pitch=spans[1][1] * box.blocks,
                destination_row_pitch=box.columns[1] * box.blocks,
                source_pixel_pitch=box.blocks,
                destination_pixel_pitch=box.blocks,
                step_height=steps[0][0],
                step_width=steps[1][0],
                origin_height=steps[0][1],
                origin_width=steps[1][1],
            )
        )
        emitter.store_map(emitter.views[op.result], box, destination)
