"""Which blocks of input channels each block of output channels of a product is made of: weights for all others are
zero, and are neither loaded nor multiplied."""

from collections import Counter
from collections.abc import Callable
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
"""[halves of blocks of output channels, blocks of input channels]"""

_HALF = CHANNEL_BLOCK // 2


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
    """In which parts of weights [outputs, inputs, …], half a block of 16 times a block, one is not zero."""
    used = (weights != zero).reshape(*weights.shape[:2], -1).any(2)
    padded = [(0, -extent % CHANNEL_BLOCK) for extent in used.shape]
    blocks = np.pad(used, padded)
    rows, columns = blocks.shape[0] // _HALF, blocks.shape[1] // CHANNEL_BLOCK
    return np.logical_or.reduce(blocks.reshape(rows, _HALF, columns, CHANNEL_BLOCK), (1, 3))


@lru_cache(256)
def _nonzero_blocks_of(weights: Constant, zero: int) -> Matrix:
    found = nonzero_blocks(weights.array, zero)
    # Sums are made of something.
    found[::2, 0] |= ~(found[::2] | found[1::2]).any(1)
    return found


def blocks_read(op: Op) -> Matrix | None:
    """Which blocks of input channels each half of a block of output channels is made of; ``None`` where it is all of
    them, or the one in the same place."""
    if is_op(op, Gather):
        picked = channels_picked(op)
        first, last = picked, picked + 1
    elif is_op(op, Conv) and op.operator.group > 1 and not is_block_by_block(op):
        outputs, inputs = op.inputs[1].type.shape[:2]
        first = np.arange(outputs) // (outputs // op.operator.group) * inputs
        last = first + inputs
    elif is_op(op, Conv) and MACS.is_at(op) and isinstance(op.operands.w, Constant):
        of_numbers = _nonzero_blocks_of(op.operands.w, zero_of_weights(op))
        if of_numbers[: -(-len(op.operands.w.array) // _HALF)].all():
            return None
        return of_numbers.repeat(blocks_together(op.result.type), 0).repeat(blocks_together(op.inputs[0].type), 1)
    else:
        return None
    source, target = convolution_maps(op)
    found = np.zeros((2 * target.blocks, source.blocks), np.bool_)
    for output, (begin, end) in enumerate(zip(first.tolist(), last.tolist(), strict=True)):
        found[output // _HALF, begin // CHANNEL_BLOCK : -(-end // CHANNEL_BLOCK)] = True
    return found


def reads_key(op: Op) -> bytes:
    """The same for ops of equal shapes that read the same blocks."""
    reads = blocks_read(op)
    return reads.tobytes() if reads is not None else b""


def runs_of(reads: Matrix) -> list[Span]:
    """The blocks that any of some outputs is made of, in runs of neighbours."""
    edges = np.flatnonzero(np.diff(reads.any(0), prepend=False, append=False))
    return [(first, stop - first) for first, stop in edges.reshape(-1, 2).tolist()]


def in_halves(reads: Matrix) -> NDArray[np.bool_]:
    """Which blocks of outputs are made half by half: where the inputs of each half, for half of the lanes, take an
    eighth less than those of both for all of them (decision 0212)."""
    first, second = reads[::2], reads[1::2]
    return 4 * (first.sum(1) + second.sum(1)) <= 7 * (first | second).sum(1)


def half_products(reads: Matrix) -> int:
    """How many blocks of inputs the array multiplies by halves of blocks of outputs."""
    of_both = np.logical_or(reads[::2], reads[1::2]).sum(1)
    return int(np.where(in_halves(reads), reads[::2].sum(1) + reads[1::2].sum(1), 2 * of_both).sum())


def products_of(reads: Matrix) -> list[tuple[Span, Span]]:
    """The products that a slice of outputs is a sum of: blocks of inputs, in runs of neighbours, and which channels of
    its one block of outputs are made of them, (0, 0) for all outputs. Short runs come first: what adds to sums reads
    them as well, for which a long one has time."""
    is_cut = len(reads) == 2 and in_halves(reads)[0]
    parts = [(reads[:1], (0, _HALF)), (reads[1:], (_HALF, _HALF))] if is_cut else [(reads, (0, 0))]
    return [(run, part) for rows, part in parts for run in sorted(runs_of(rows), key=lambda run: run[1])]


class SliceReads(NamedTuple):
    """What slices of output channels are made of, for each of several sizes of a slice.

    Attributes:
        runs: of input blocks, each a product of its own, those of all slices together.
        blocks: of input channels, those of all runs.
        most: blocks of the slice that is made of most.
        kinds: of runs: blocks, whether for half a block of outputs, whether added to sums, and how many there are.
    """

    runs: NDArray[np.int64]
    blocks: NDArray[np.int64]
    most: NDArray[np.int64]
    kinds: list[tuple[int, bool, bool, NDArray[np.int64]]]


def slice_reads(reads: Matrix, share: int, sizes: NDArray[np.int64]) -> SliceReads:
    """Slices of so many blocks, cut of a cluster's ``share`` of the output blocks, of that which has most to do."""
    found: dict[int, tuple[Counter[tuple[int, bool, bool]], int]] = {}
    for size in set(sizes.reshape(-1).tolist()):
        shares: list[tuple[Counter[tuple[int, bool, bool]], int]] = []
        for begin in range(0, len(reads), 2 * share):
            rows = reads[begin : begin + 2 * share]
            slices = [products_of(rows[first : first + 2 * size]) for first in range(0, len(rows), 2 * size)]
            kinds = Counter(
                (count, part[1] > 0, index > 0) for each in slices for index, ((_, count), part) in enumerate(each)
            )
            shares.append((kinds, max(sum(count for (_, count), _ in each) for each in slices)))
        found[size] = max(
            shares, key=lambda each: sum(n * blocks * (2 - half) for (blocks, half, _), n in each[0].items())
        )
    each = [found[size] for size in sizes.reshape(-1).tolist()]

    def of(value: Callable[[Counter[tuple[int, bool, bool]]], int]) -> NDArray[np.int64]:
        return np.array([value(kinds) for kinds, _ in each], np.int64).reshape(sizes.shape)

    names = sorted({kind for kinds, _ in each for kind in kinds})
    return SliceReads(
        of(lambda kinds: kinds.total()),
        of(lambda kinds: sum(count * blocks for (blocks, *_), count in kinds.items())),
        np.array([most for _, most in each], np.int64).reshape(sizes.shape),
        [(*kind, of(lambda kinds, kind=kind: kinds[kind])) for kind in names],
    )
