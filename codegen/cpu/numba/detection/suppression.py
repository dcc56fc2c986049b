"""Non-maximum suppression: candidates of a class in a heap in work memory, the best compared with those kept before."""

from __future__ import annotations

import numpy as np

from .....ir.core import Op
from .....ir.ops.selection import NonMaxSuppression
from .....ir.types import DType
from ...kernel import Kernel, lowers
from ...llvm.target import TargetDescription
from ...tensors import has_real_meaning, is_plain
from ..generation.function import compile_kernel
from .box_functions import sink_candidate, swap


def _suppress(boxes, scores, most, overlap, threshold, selected, count, n, f, scratch, begin, end):
    images, classes, boxes_count, room, is_centred = n[0], n[1], n[2], n[3], n[4]
    if begin == end:
        return 0
    limit, bar, is_all = min(most[0], room), threshold[0], threshold[0] == -np.inf
    corners, keys = 0, 4 * boxes_count
    items = keys + boxes_count
    # The edges and areas of kept boxes, each kind side by side.
    left, top = items + boxes_count, items + boxes_count + room
    right, bottom, areas = top + room, top + 2 * room, top + 3 * room
    row = 0
    for image in range(images):
        for p in range(boxes_count):
            q = (image * boxes_count + p) * 4
            for d in range(2):
                low, high = boxes[q + d], boxes[q + 2 + d]
                if is_centred:
                    half = high / np.float32(2)
                    low, high = low - half, low + half
                elif low > high:
                    low, high = high, low
                scratch[corners + 4 * p + d] = low
                scratch[corners + 4 * p + 2 + d] = high
        for label in range(classes):
            line = (image * classes + label) * boxes_count
            candidates = 0
            for first in range(0, boxes_count, 64):
                last, passing = min(first + 64, boxes_count), np.int32(0)
                # Counted first, which takes vectors, since mostly there are none.
                for p in range(first, last):
                    passing += np.int32(scores[line + p] > bar)
                for p in range(first, last if passing > 0 or is_all else first):
                    score = scores[line + p]
                    if score > bar or (is_all and score == score):
                        scratch[keys + candidates] = score
                        scratch[items + candidates] = p
                        candidates += 1
            # Few of many candidates are looked at: the best so far is the root of a heap.
            for i in range(candidates // 2):
                sink_candidate(scratch, keys, items, candidates // 2 - 1 - i, candidates)
            kept = 0
            while candidates > 0 and kept < limit:
                p, rivals = np.int64(scratch[items]), np.int32(0)
                candidates -= 1
                swap(scratch, keys, keys + candidates)
                swap(scratch, items, items + candidates)
                sink_candidate(scratch, keys, items, 0, candidates)
                x, y = scratch[corners + 4 * p], scratch[corners + 4 * p + 1]
                x_end, y_end = scratch[corners + 4 * p + 2], scratch[corners + 4 * p + 3]
                area = np.float32(np.float32(x_end - x) * np.float32(y_end - y))
                for first in range(0, kept, 32):
                    # Counted without a branch, which takes vectors. A box with a NaN has no area.
                    for j in range(first, min(first + 32, kept)):
                        near_x, near_y = scratch[left + j], scratch[top + j]
                        far_x, far_y = scratch[right + j], scratch[bottom + j]
                        width = np.float32((x_end if x_end < far_x else far_x) - (x if x > near_x else near_x))
                        height = np.float32((y_end if y_end < far_y else far_y) - (y if y > near_y else near_y))
                        other, shared = scratch[areas + j], np.float32(width * height)
                        whole = np.float32(np.float32(area + other) - shared)
                        meets = (width > 0) & (height > 0) & (area > 0) & (other > 0) & (shared > 0) & (whole > 0)
                        part = np.float32(shared / whole) if meets else np.float32(0)
                        rivals += np.int32(part > overlap[0])
                    if rivals > 0:
                        break
                if rivals == 0:
                    scratch[left + kept], scratch[top + kept] = x, y
                    scratch[right + kept], scratch[bottom + kept] = x_end, y_end
                    scratch[areas + kept] = area
                    kept += 1
                    selected[3 * row] = image
                    selected[3 * row + 1] = label
                    selected[3 * row + 2] = p
                    row += 1
    for q in range(3 * row, 3 * images * classes * min(room, boxes_count)):
        selected[q] = 0
    count[0] = row
    return 0


@lowers(NonMaxSuppression, needs=(is_plain, has_real_meaning))
def lower_non_max_suppression(op: Op[NonMaxSuppression], target: TargetDescription) -> Kernel:
    operator, (images, classes, count) = op.operator, op.operands.scores.type.shape
    room = min(operator.room, count)
    # Box numbers are kept beside coordinates, as numbers of their type.
    memory = DType.F32 if count <= 1 << 24 else DType.F64
    numbers = images, classes, count, room, operator.centred
    return compile_kernel(op, _suppress, target, units=1, integers=numbers, scratch=(memory, 6 * count + 5 * room))
