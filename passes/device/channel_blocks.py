"""Which blocks of input channels each block of output channels of a product is made of: weights for all others are
zero, and are neither loaded nor multiplied."""

from collections import Counter
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...ir.annotations import MACS, PART
from ...ir.core import Constant, Op, is_op
from ...ir.feature_map import convolution_maps, is_block_by_block
from ...ir.ops.convolution import Conv
from ...ir.ops.indexing import Gather, from_front
from ...ir.quantized import is_wide
from ...runtime.machines.machine import CHANNEL_BLOCK
from .boxes import Span, blocks_together

Matrix = NDArray[np.bool_]
"""[quarters of blocks of output channels, blocks of input channels]"""

_QUARTER = CHANNEL_BLOCK // 4
_QUARTERS = CHANNEL_BLOCK // _QUARTER


def channels_picked(op: Op[Gather], count: int | None = None) -> NDArray[np.int64]:
    """The input channel that each output channel is. ``count``: of input channels, if other than the operand has."""
    x, indices = op.operands
    assert isinstance(indices, Constant), "the device picks channels that are known"
    return from_front(indices.array, count or x.type.shape[1])


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


def nonzero_blocks(op: Op[Conv], weights: np.ndarray) -> Matrix:
    """In which parts of weights [outputs, inputs, …] for an op one is not zero: quarters of blocks of 16 times blocks,
    of which as many as are not made alone are alike."""
    return _nonzero_blocks(weights, zero_of_weights(op), PART.get(op) or CHANNEL_BLOCK // 2)


def _nonzero_blocks(weights: np.ndarray, zero: int, part: int) -> Matrix:
    used = (weights != zero).reshape(*weights.shape[:2], -1).any(2)
    padded = [(0, -extent % CHANNEL_BLOCK) for extent in used.shape]
    blocks = np.pad(used, padded)
    rows, columns = blocks.shape[0] // part, blocks.shape[1] // CHANNEL_BLOCK
    found = np.logical_or.reduce(blocks.reshape(rows, part, columns, CHANNEL_BLOCK), (1, 3))
    return found.repeat(part // _QUARTER, 0)


@lru_cache(256)
def _nonzero_blocks_of(weights: Constant, zero: int, part: int) -> Matrix:
    found = _nonzero_blocks(weights.array, zero, part)
    # Sums are made of something.
    found[::_QUARTERS, 0] |= ~found.reshape(-1, _QUARTERS * found.shape[1]).any(1)
    return found


def blocks_read(op: Op) -> Matrix | None:
    """Which blocks of input channels each quarter of a block of output channels is made of; ``None`` where it is all of
    them, or the one in the same place."""
    part = PART.get(op) or CHANNEL_BLOCK // 2
    if is_op(op, Gather):
        picked = channels_picked(op)
        first, last = picked, picked + 1
    elif is_op(op, Conv) and op.operator.group > 1 and not is_block_by_block(op):
        outputs, inputs = op.inputs[1].type.shape[:2]
        first = np.arange(outputs) // (outputs // op.operator.group) * inputs
        last = first + inputs
    elif is_op(op, Conv) and MACS.is_at(op) and isinstance(op.operands.w, Constant):
        of_numbers = _nonzero_blocks_of(op.operands.w, zero_of_weights(op), part)
        if of_numbers[: -(-len(op.operands.w.array) // _QUARTER)].all():
            return None
        return of_numbers.repeat(blocks_together(op.result.type), 0).repeat(blocks_together(op.inputs[0].type), 1)
    else:
        return None
    source, target = convolution_maps(op)
    found = np.zeros((target.padded_channels // part, source.blocks), np.bool_)
    for output, (begin, end) in enumerate(zip(first.tolist(), last.tolist(), strict=True)):
        found[output // part, begin // CHANNEL_BLOCK : -(-end // CHANNEL_BLOCK)] = True
    return found.repeat(part // _QUARTER, 0)


def reads_key(op: Op) -> bytes:
    """The same for ops of equal shapes that read the same blocks."""
    reads = blocks_read(op)
    return reads.tobytes() if reads is not None else b""


def runs_of(reads: Matrix) -> list[Span]:
    """The blocks that any of some outputs is made of, in runs of neighbours."""
    edges = np.flatnonzero(np.diff(reads.any(0), prepend=False, append=False))
    return [(first, stop - first) for first, stop in edges.reshape(-1, 2).tolist()]


def products_of(reads: Matrix) -> list[tuple[Span, Span]]:
    """The products that a slice of outputs is a sum of: blocks of inputs, in runs of neighbours, and which channels of
    its one block of outputs are made of them, (0, 0) for all outputs. Short runs come first: what adds to sums reads
    them as well, for which a long one has time."""
    parts = _outputs_alone(reads, 0) if len(reads) == _QUARTERS else []
    if len(parts) < 2:
        parts = [(reads, (0, 0))]
    return [(run, part) for rows, part in parts for run in sorted(runs_of(rows), key=lambda run: run[1])]


def _outputs_alone(reads: Matrix, first: int) -> list[tuple[Matrix, Span]]:
    """Outputs that are made alone, with the first and how many they are: halves whose inputs, for half of the lanes,
    take an eighth less than those of both for all of them (decision 0212)."""
    half = len(reads) // 2
    if half and 4 * int(reads[:half].any(0).sum() + reads[half:].any(0).sum()) <= 7 * int(reads.any(0).sum()):
        return [*_outputs_alone(reads[:half], first), *_outputs_alone(reads[half:], first + half * _QUARTER)]
    return [(reads, (first, len(reads) * _QUARTER))]


def products_in_quarters(reads: Matrix) -> int:
    """How many blocks of inputs the array multiplies by quarters of blocks of outputs."""
    each = (products_of(reads[first : first + _QUARTERS]) for first in range(0, len(reads), _QUARTERS))
    return sum(blocks * (part or CHANNEL_BLOCK) // _QUARTER for block in each for (_, blocks), (_, part) in block)


class SliceReads(NamedTuple):
    """What slices of output channels are made of, for each of several sizes of a slice.
    ``most``: blocks of input channels of the slice that is made of most.
    ``runs``: of blocks of input channels, each a product of its own: how many there are, in all slices together, by
    their blocks, of how many outputs alone, 0 for all, and whether they are added to sums."""

    most: NDArray[np.int64]
    runs: dict[tuple[int, int, bool], NDArray[np.int64]]


def slice_reads(reads: Matrix, share: int, sizes: NDArray[np.int64]) -> SliceReads:
    """Slices of so many blocks, cut of a cluster's ``share`` of the output blocks, of that which has most to do."""
    found = SliceReads(np.zeros(sizes.shape, np.int64), {})
    for size in set(sizes.reshape(-1).tolist()):
        shares: list[tuple[int, int, Counter[tuple[int, int, bool]]]] = []
        for begin in range(0, len(reads), _QUARTERS * share):
            rows, step = reads[begin : begin + _QUARTERS * share], _QUARTERS * size
            slices = [products_of(rows[first : first + step]) for first in range(0, len(rows), step)]
            runs = [(count, part, n > 0) for each in slices for n, ((_, count), (_, part)) in enumerate(each)]
            most = max(sum(count for (_, count), _ in each) for each in slices)
            shares.append((sum(count * (part or CHANNEL_BLOCK) for count, part, _ in runs), most, Counter(runs)))
        _, found.most[sizes == size], most_runs = max(shares, key=lambda each: each[0])
        for run, count in most_runs.items():
            found.runs.setdefault(run, np.zeros(sizes.shape, np.int64))[sizes == size] = count
    return found
