"""Matrix instructions of the functional engine: gather the windows, then one exact float32 matrix product.

Products and partial sums of int8 values are integers; as long as none exceeds 2^24 float32 holds them exactly, in
whatever order a BLAS library adds. The reduction is cut where the weights at hand could exceed that.
"""

from itertools import product

import numpy as np
from numpy.typing import NDArray

from tilewright.immutable import Immutable

from ..isa.layouts import unpack_dense, unpack_depthwise
from ..isa.matrix import Convolve, ConvolveDepthwise, MapWindows, axes
from ..machines.machine import CHANNEL_BLOCK, MAPS_UNIT
from .memory import Memory, taps, windowed_map

_EXACT = 1 << 24
_LARGEST_INPUT = 128
_LARGEST_GATHERED = 1 << 25
"""Elements that are gathered at once."""

Axes = tuple[MapWindows, MapWindows]


class DenseWeights(Immutable):
    """Weights minus their zero point as float32 [reduction, outputs], and the pieces in which to reduce them."""

    matrix: NDArray[np.float32]
    pieces: tuple[slice, ...]


def decode_dense(
    data: NDArray[np.uint8], output_blocks: int, length: int, weight_zero: int, outputs: tuple[int, int]
) -> DenseWeights:
    """Unpack weight bytes by what :func:`dense_key` gives."""
    matrix = unpack_dense(data, output_blocks, length).astype(np.float32)
    if weight_zero:
        matrix -= np.float32(weight_zero)
    matrix[:, : outputs[0]] = matrix[:, outputs[1] :] = 0
    magnitude = np.abs(matrix)
    length = len(matrix)
    if float(magnitude.sum(axis=0, dtype=np.float64).max()) * _LARGEST_INPUT > _EXACT:
        length = _EXACT // (_LARGEST_INPUT * int(magnitude.max()))
    return DenseWeights(matrix, tuple(slice(at, at + length) for at in range(0, len(matrix), length)))


def dense_key(item: Convolve) -> tuple[int, int, int, tuple[int, int]]:
    """What of an instruction determines the decoded weights: output blocks, length of a window, zero point, and which
    output channels are computed."""
    stop = item.output_blocks * CHANNEL_BLOCK - item.unused
    return (item.output_blocks, item.window, item.weight_zero, (stop - item.outputs, stop))


def decode_depthwise(data: NDArray[np.uint8], item: ConvolveDepthwise) -> NDArray[np.int32]:
    """Unpack depthwise weights minus their zero point: int32 [taps * channels of a group, channels]."""
    values = unpack_depthwise(data, item.blocks, item.products)
    weights = values.astype(np.int32) - item.weight_zero
    weights[:, item.outputs :] = 0
    return weights


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


def gather(memory: Memory, item: Convolve, both: Axes) -> NDArray[np.float32]:
    """The left operand of the matrix product for windows of a convolution: float32 [pixels, reduction]."""
    source = (memory, item.source * MAPS_UNIT, both, (item.row_pitch * MAPS_UNIT, item.pitch), item.read)
    image = windowed_map(*source, padding(item))
    pixels = both[0].windows, both[1].windows
    if image is not None:
        values = windows(image, both).astype(np.float32, order="C")
    else:
        values = np.empty((*pixels, item.kernel_height, item.kernel_width, item.read), np.float32)
        for row, column, tap in taps(*source, padding(item)):
            values[:, :, row, column] = tap
    return values.reshape(pixels[0] * pixels[1], -1)


def padding(item: Convolve | ConvolveDepthwise) -> int | NDArray[np.int8]:
    """What is read outside a map: a byte, or of 16 bits one for each of a pixel."""
    if not item.wide:
        return item.pad_value
    blocks = item.input_channels if isinstance(item, Convolve) else item.blocks
    return np.tile(np.repeat(np.array([item.pad_value, -128], np.int8), CHANNEL_BLOCK), blocks)


def multiply(memory: Memory, item: Convolve, weights: DenseWeights, reuse: bool) -> None:
    """Execute CONV: all pixels at once, or some after the other where that would take much memory."""
    lines, width = item.output_height, item.output_width
    target = memory.accumulated(item.accumulator, lines * width, item.output_blocks)
    at_once = max(_LARGEST_GATHERED // len(weights.matrix), 1)
    if lines * width <= at_once:
        if memory.gathered is None or not reuse:
            memory.gathered = gather(memory, item, axes(item))
        _accumulate_bytes(target, memory.gathered, weights, item)
        return
    memory.gathered = None
    rows, columns = axes(item)
    # Whole lines, or where one is too much pieces of it.
    step, piece = max(at_once // width, 1), min(at_once, width)
    for line, column in product(range(0, lines, step), range(0, width, piece)):
        both = rows.part(line, min(step, lines - line)), columns.part(column, min(piece, width - column))
        values = gather(memory, item, both)
        first = line * width + column
        _accumulate_bytes(target[first : first + len(values)], values, weights, item)


def _accumulate_bytes(
    target: NDArray[np.int32], values: NDArray[np.float32], weights: DenseWeights, item: Convolve
) -> None:
    """The sums of a map of 8 bits, or those of the upper bytes of 16 times 256, and those of the lower bytes."""
    if not item.wide:
        _accumulate(target, values, weights, bool(item.accumulate))
        return
    pairs = values.reshape(len(values), -1, 2, CHANNEL_BLOCK)
    sums = np.empty_like(target)
    for byte, shift in ((0, 8), (1, 0)):
        _accumulate(sums, pairs[:, :, byte].reshape(len(values), -1), weights, accumulate=False)
        np.left_shift(sums, shift, out=sums)
        if byte or item.accumulate:
            np.add(target, sums, out=target)
        else:
            np.copyto(target, sums)


def _accumulate(
    target: NDArray[np.int32], values: NDArray[np.float32], weights: DenseWeights, accumulate: bool
) -> None:
    for piece in weights.pieces:
        whole = len(weights.pieces) == 1
        result = (values if whole else values[:, piece]) @ (weights.matrix if whole else weights.matrix[piece])
        if accumulate:
            np.add(target, result.astype(np.int32), out=target)
        else:
            np.copyto(target, result, casting="unsafe")
        accumulate = True


def multiply_depthwise(memory: Memory, item: ConvolveDepthwise, weights: NDArray[np.int32]) -> None:
    """Execute DWC, a tap and channel of the groups at a time."""
    channels = item.blocks * CHANNEL_BLOCK
    limit = int(np.abs(weights).sum(axis=0).max()) * (_LARGEST_INPUT << 8 * item.wide)
    factors = weights.astype(np.float32 if limit <= _EXACT else np.float64)
    both, pitches = axes(item), (item.row_pitch * MAPS_UNIT, item.pixel_pitch * MAPS_UNIT)
    source = (memory, item.source * MAPS_UNIT, both, pitches, channels << item.wide, padding(item))
    image = windowed_map(*source)
    if image is not None:
        view = windows(image.astype(factors.dtype), both)
        parts = (view[:, :, row, column] for row in range(item.kernel_height) for column in range(item.kernel_width))
    else:
        parts = (values for _, _, values in taps(*source))
    if item.wide:
        pairs = (part.reshape(*part.shape[:2], -1, 2, CHANNEL_BLOCK).astype(factors.dtype) for part in parts)
        parts = ((256 * pair[..., 0, :] + pair[..., 1, :]).reshape(*pair.shape[:2], channels) for pair in pairs)
    if item.group:
        first = np.arange(channels) >> item.group << item.group
        parts = (part[..., first + each] for part in parts for each in range(1 << item.group))
    total = next(parts) * factors[0]
    scratch = np.empty_like(total)
    for part, factor in zip(parts, factors[1:], strict=True):
        np.multiply(part, factor, out=scratch)
        np.add(total, scratch, out=total)
    pixels = item.output_height * item.output_width
    target = memory.accumulated(item.accumulator, pixels, item.blocks)
    # Of 16 bits they may wrap.
    np.copyto(target, total.astype(np.int64 if item.wide else total.dtype).reshape(pixels, channels), casting="unsafe")
