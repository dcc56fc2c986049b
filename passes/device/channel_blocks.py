"""Which blocks of input channels each block of output channels of a product is made of: weights for all others are
zero, and are neither loaded nor multiplied."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...ir.annotations import MACS
from ...ir.core import Constant, Op, is_op
from ...ir.feature_map import convolution_maps, is_block_by_block
from ...ir.ops.convolution import Conv
from ...ir.ops.indexing import Gather, from_front
from ...ir.quantized import is_wide
from ...runtime.machines.machine import CHANNEL_BLOCK
from .boxes import Span, blocks_together

Matrix = NDArray[np.bool_]
"""[blocks of output channels, blocks of input channels]"""


def channels_picked(op: Op[Gather]) -> NDArray[np.int64]:
    """The input channel that each output channel is."""
    x, indices = op.operands
    assert isinstance(indices, Constant), "the device picks channels that are known"
    return from_front(indices.array, x.type.shape[1])


def zero_of_weights(op: Op[Conv]) -> int:
    """The zero point of the weights of a convolution, which is one for all of them."""
    quant = op.operands.w.type.quant
    assert quant is not None
    return quant.zero_point[0]


def of_all_inputs(weights: np.ndarray, groups: int, zero: int) -> np.ndarray:
    """Weights of groups, [outputs, inputs of a group, …], for all inputs: those of other groups are zero."""
    outputs, inputs, *kernel = weights.shape
    found = np.full((groups, outputs // groups, groups, inputs, *kernel), zero, weights.dtype)
    each = np.arange(groups)
    found[each, :, each] = weights.reshape(groups, outputs // groups, inputs, *kernel)
    return found.reshape(outputs, groups * inputs, *kernel)


def channels_made(op: Op) -> int:
    """How many channels of its result an op makes: where half a block of a convolution equals the other half, which is
    written twice then, that half (decision 0215)."""
    count, half, constants = op.result.type.shape[1], CHANNEL_BLOCK // 2, op.inputs[1:]
    if not is_op(op, Conv) or not MACS.is_at(op) or op.operator.group > 1 or is_wide(op.result.type):
        return count
    if count != CHANNEL_BLOCK or op.operands.residual is not None:
        return count
    arrays = [value.array for value in constants if isinstance(value, Constant)]
    arrays += [np.resize(value.type.quant.scale, count) for value in constants if value.type.quant is not None]
    return half if all(np.array_equal(array[:half], array[half:]) for array in arrays) else count


def nonzero_blocks(weights: np.ndarray, zero: int) -> Matrix:
    """In which blocks of weights [outputs, inputs, …] one is not zero."""
    used = (weights != zero).reshape(*weights.shape[:2], -1).any(2)
    padded = [(0, -extent % CHANNEL_BLOCK) for extent in used.shape]
    blocks = np.pad(used, padded)
    rows, columns = (extent // CHANNEL_BLOCK for extent in blocks.shape)
    return np.logical_or.reduce(blocks.reshape(rows, CHANNEL_BLOCK, columns, CHANNEL_BLOCK), (1, 3))


@lru_cache(256)
def _nonzero_blocks_of(weights: Constant, zero: int) -> Matrix:
    found = nonzero_blocks(weights.array, zero)
    # Sums are made of something.
    found[:, 0] |= ~found.any(1)
    return found


def blocks_read(op: Op) -> Matrix | None:
    """Which blocks of input channels each block of output channels is made of; ``None`` where it is all of them, or the
    one in the same place."""
    if is_op(op, Gather):
        picked = channels_picked(op)
        first, last = picked, picked + 1
    elif is_op(op, Conv) and op.operator.group > 1 and not is_block_by_block(op):
        outputs, inputs = op.inputs[1].type.shape[:2]
        first = np.arange(outputs) // (outputs // op.operator.group) * inputs
        last = first + inputs
    elif is_op(op, Conv) and MACS.is_at(op) and isinstance(op.operands.w, Constant):
        of_numbers = _nonzero_blocks_of(op.operands.w, zero_of_weights(op))
        if of_numbers.all():
            return None
        return of_numbers.repeat(blocks_together(op.result.type), 0).repeat(blocks_together(op.inputs[0].type), 1)
    else:
        return None
    source, target = convolution_maps(op)
    found = np.zeros((target.blocks, source.blocks), np.bool_)
    for output, (begin, end) in enumerate(zip(first.tolist(), last.tolist(), strict=True)):
        found[output // CHANNEL_BLOCK, begin // CHANNEL_BLOCK : -(-end // CHANNEL_BLOCK)] = True
    return found


def reads_key(op: Op) -> bytes:
    """The same for ops of equal shapes that read the same blocks."""
    reads = blocks_read(op)
    return reads.tobytes() if reads is not None else b""


def runs_of(reads: Matrix) -> list[Span]:
    """The blocks that any of some output blocks is made of, in runs of neighbours."""
    edges = np.flatnonzero(np.diff(reads.any(0), prepend=False, append=False))
    return [(first, stop - first) for first, stop in edges.reshape(-1, 2).tolist()]


class SliceReads(NamedTuple):
    """What slices of output channels are made of, for each of several sizes of a slice.

    Attributes:
        runs: of input blocks, each a product of its own, those of all slices together.
        blocks: of input channels, those of all runs.
        most: blocks of the slice that is made of most.
    """

    runs: NDArray[np.int64]
    blocks: NDArray[np.int64]
    most: NDArray[np.int64]


def slice_reads(reads: Matrix, share: int, sizes: NDArray[np.int64]) -> SliceReads:
    """Slices of so many blocks, cut of a cluster's ``share`` of the output blocks, of that which has most to do."""
    found: dict[int, tuple[int, int, int]] = {}
    for size in set(sizes.reshape(-1).tolist()):
        shares: list[tuple[int, int, int]] = []
        for begin in range(0, len(reads), share):
            rows = reads[begin : begin + share]
            runs = [runs_of(rows[first : first + size]) for first in range(0, len(rows), size)]
            blocks = [sum(count for _, count in each) for each in runs]
            shares.append((sum(map(len, runs)), sum(blocks), max(blocks)))
        found[size] = max(shares, key=lambda each: each[1])
    columns = zip(*(found[size] for size in sizes.reshape(-1).tolist()), strict=True)
    return SliceReads(*(np.array(column, np.int64).reshape(sizes.shape) for column in columns))
