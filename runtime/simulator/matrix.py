"""Matrix instructions of the functional engine: gather the windows, then one exact float32 matrix product.

Products and partial sums of int8 values are integers; as long as none exceeds 2^24 float32 holds them exactly, in
whatever order a BLAS library adds. The reduction is cut where the weights at hand could exceed that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..isa.layouts import unpack_dense, unpack_depthwise
from ..isa.matrix import Convolve, ConvolveDepthwise, MultiplyMatrix, axes
from ..machine import CHANNEL_BLOCK, MAPS_UNIT
from .memory import Memory, box, windowed_map

_EXACT = 1 << 24
_LARGEST_INPUT = 128


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


def input_map(memory: Memory, item: Convolve | ConvolveDepthwise, channels: int, pitch: int) -> NDArray[np.int8]:
    """The input as int8 [rows, columns, channels], origin at the first tap, all windows inside."""
    pitches = (item.row_pitch * MAPS_UNIT, pitch)
    return windowed_map(memory, item.source * MAPS_UNIT, axes(item), pitches, channels, item.pad_value)


def windows(image: NDArray, item: Convolve | ConvolveDepthwise) -> NDArray:
    """View of [rows, columns, channels] as [output rows, output columns, kernel rows, kernel columns, channels]."""
    row, column, element = image.strides
    return np.lib.stride_tricks.as_strided(
        image,
        (item.output_height, item.output_width, item.kernel_height, item.kernel_width, image.shape[2]),
        (
            row * item.stride_height,
            column * item.stride_width,
            row * item.dilation_height,
            column * item.dilation_width,
            element,
        ),
        writeable=False,
    )


def gather(memory: Memory, item: Convolve | MultiplyMatrix) -> NDArray[np.float32]:
    """The left operand of the matrix product: float32 [pixels or rows, reduction]."""
    if isinstance(item, MultiplyMatrix):
        shape = (item.rows, item.input_blocks * CHANNEL_BLOCK)
        return box(memory.maps, item.source * MAPS_UNIT, shape, (item.row_pitch * MAPS_UNIT, 1), np.int8).astype(
            np.float32
        )
    view = windows(input_map(memory, item, item.channels, item.pitch), item)
    return view.astype(np.float32, order="C").reshape(item.output_height * item.output_width, -1)


def multiply(memory: Memory, item: Convolve | MultiplyMatrix, weights: DenseWeights, reuse: bool) -> None:
    """Execute CONV or GEMM."""
    values = memory.gathered if reuse else None
    if values is None:
        values = memory.gathered = gather(memory, item)
    target = memory.accumulated(item.accumulator, len(values), item.output_blocks)
    accumulate = bool(item.accumulate)
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
    image = input_map(memory, item, channels, item.pixel_pitch * MAPS_UNIT)
    limit = int(np.abs(weights).sum(axis=0).max()) * _LARGEST_INPUT
    kind = np.float32 if limit <= _EXACT else np.float64
    view = windows(image.astype(kind), item)
    factors = weights.astype(kind)
    total = view[:, :, 0, 0] * factors[0]
    scratch = np.empty_like(total)
    for tap in range(1, len(factors)):
        row, column = divmod(tap, item.kernel_width)
        np.multiply(view[:, :, row, column], factors[tap], out=scratch)
        np.add(total, scratch, out=total)
    pixels = item.output_height * item.output_width
    target = memory.accumulated(item.accumulator, pixels, item.blocks)
    if item.accumulate:
        np.add(target, total.reshape(pixels, channels).astype(np.int32), out=target)
    else:
        np.copyto(target, total.reshape(pixels, channels), casting="unsafe")
