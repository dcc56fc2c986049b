"""Matrix instructions of the functional engine: gather the windows, then one exact float32 matrix product.

Products and partial sums of int8 values are integers; as long as none exceeds 2^24 float32 holds them exactly, in
whatever order a BLAS library adds. The reduction is cut where the weights at hand could exceed that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..isa.layouts import unpack_dense, unpack_depthwise
from ..isa.matrix import Convolve, ConvolveDepthwise, MultiplyMatrix, WindowAxis, axes
from ..machine import CHANNEL_BLOCK, MAPS_UNIT
from .memory import Memory, box, taps, windowed_map

_EXACT = 1 << 24
_LARGEST_INPUT = 128
_LARGEST_GATHERED = 1 << 25
"""Elements that are gathered at once, where a line of output pixels has no more."""

Axes = tuple[WindowAxis, WindowAxis]


@dataclass(frozen=True)
class DenseWeights:
    """Weights minus their zero point as float32 [reduction, outputs], and the pieces in which to reduce them."""

    matrix: NDArray[np.float32]
    pieces: tuple[slice, ...]


def decode_dense(
    data: NDArray[np.uint8], output_blocks: int, kernel_rows: int, row: int, weight_zero: int
) -> DenseWeights:
    """Unpack weight bytes by what :func:`dense_key` gives."""
    matrix = unpack_dense(data, output_blocks, kernel_rows, row).astype(np.float32)
    if weight_zero:
        matrix -= np.float32(weight_zero)
    magnitude = np.abs(matrix)
    length = len(matrix)
    if float(magnitude.sum(axis=0, dtype=np.float64).max()) * _LARGEST_INPUT > _EXACT:
        length = _EXACT // (_LARGEST_INPUT * int(magnitude.max()))
    return DenseWeights(matrix, tuple(slice(at, at + length) for at in range(0, len(matrix), length)))


def dense_key(item: Convolve | MultiplyMatrix) -> tuple[int, int, int, int]:
    """What of an instruction determines the decoded weights: output blocks, kernel rows, their length, zero point."""
    if isinstance(item, MultiplyMatrix):
        return (item.output_blocks, 1, item.input_blocks * CHANNEL_BLOCK, item.weight_zero)
    return (item.output_blocks, item.kernel_height, item.kernel_width * item.channels, item.weight_zero)


def decode_depthwise(data: NDArray[np.uint8], item: ConvolveDepthwise) -> NDArray[np.int32]:
    """Unpack depthwise weights minus their zero point: int32 [taps, channels]."""
    values = unpack_depthwise(data, item.blocks, item.kernel_height * item.kernel_width)
    return values.astype(np.int32) - item.weight_zero


def windows(image: NDArray, axes: Axes) -> NDArray:
    """View of [rows, columns, channels] as [output rows, output columns, kernel rows, kernel columns, channels]."""
    vertical, horizontal = axes
    row, column, element = image.strides
    return np.lib.stride_tricks.as_strided(
        image,
        (vertical.windows, horizontal.windows, vertical.taps, horizontal.taps, image.shape[2]),
        (
            row * vertical.stride,
            column * horizontal.stride,
            row * vertical.dilation,
            column * horizontal.dilation,
            element,
        ),
        writeable=False,
    )


def gather(memory: Memory, item: Convolve | MultiplyMatrix, first: int, lines: int) -> NDArray[np.float32]:
    """The left operand of the matrix product, from a line on: float32 [pixels or rows, reduction]."""
    if isinstance(item, MultiplyMatrix):
        pitch = item.row_pitch * MAPS_UNIT
        start, shape = item.source * MAPS_UNIT + first * pitch, (lines, item.input_blocks * CHANNEL_BLOCK)
        return box(memory.maps, start, shape, (pitch, 1), np.int8).astype(np.float32)
    both = axes(item)
    if lines < item.output_height:
        both = (both[0].part(first, lines), both[1])
    source = (memory, item.source * MAPS_UNIT, both, (item.row_pitch * MAPS_UNIT, item.pitch), item.channels)
    image = windowed_map(*source, item.pad_value)
    if image is not None:
        values = windows(image, both).astype(np.float32, order="C")
    else:
        shape = (lines, item.output_width, item.kernel_height, item.kernel_width, item.channels)
        values = np.empty(shape, np.float32)
        for row, column, tap in taps(*source, item.pad_value):
            values[:, :, row, column] = tap
    return values.reshape(lines * item.output_width, -1)


def multiply(memory: Memory, item: Convolve | MultiplyMatrix, weights: DenseWeights, reuse: bool) -> None:
    """Execute CONV or GEMM: all pixels at once, or a few lines after the other where that would take much memory."""
    lines, width = (item.rows, 1) if isinstance(item, MultiplyMatrix) else (item.output_height, item.output_width)
    target = memory.accumulated(item.accumulator, lines * width, item.output_blocks)
    step = max(_LARGEST_GATHERED // (width * len(weights.matrix)), 1)
    if step >= lines:
        if memory.gathered is None or not reuse:
            memory.gathered = gather(memory, item, 0, lines)
        _accumulate(target, memory.gathered, weights, bool(item.accumulate))
        return
    memory.gathered = None
    for first in range(0, lines, step):
        values = gather(memory, item, first, min(step, lines - first))
        part = target[first * width : first * width + len(values)]
        _accumulate(part, values, weights, bool(item.accumulate))


def _accumulate(
    target: NDArray[np.int32], values: NDArray[np.float32], weights: DenseWeights, accumulate: bool
) -> None:
    for piece in weights.pieces:
        whole = len(weights.pieces) == 1
        product = (values if whole else values[:, piece]) @ (weights.matrix if whole else weights.matrix[piece])
        if accumulate:
            np.add(target, product.astype(np.int32), out=target)
        else:
            np.copyto(target, product, casting="unsafe")
        accumulate = True


def multiply_depthwise(memory: Memory, item: ConvolveDepthwise, weights: NDArray[np.int32]) -> None:
    """Execute DWC, a tap at a time."""
    channels = item.blocks * CHANNEL_BLOCK
    limit = int(np.abs(weights).sum(axis=0).max()) * _LARGEST_INPUT
    factors = weights.astype(np.float32 if limit <= _EXACT else np.float64)
    both, pitches = axes(item), (item.row_pitch * MAPS_UNIT, item.pixel_pitch * MAPS_UNIT)
    source = (memory, item.source * MAPS_UNIT, both, pitches, channels, item.pad_value)
    image = windowed_map(*source)
    if image is not None:
        view = windows(image.astype(factors.dtype), both)
        parts = (view[:, :, row, column] for row in range(item.kernel_height) for column in range(item.kernel_width))
    else:
        parts = (values for _, _, values in taps(*source))
    total = next(parts) * factors[0]
    scratch = np.empty_like(total)
    for part, factor in zip(parts, factors[1:], strict=True):
        np.multiply(part, factor, out=scratch)
        np.add(total, scratch, out=total)
    pixels = item.output_height * item.output_width
    target = memory.accumulated(item.accumulator, pixels, item.blocks)
    if item.accumulate:
        np.add(target, total.reshape(pixels, channels).astype(np.int32), out=target)
    else:
        np.copyto(target, total.reshape(pixels, channels), casting="unsafe")
