"""Non-maximum suppression and proposals: candidates are compared in work memory with those kept before, best first.

Those of a class lie in a heap; the boxes of an image, a work item, are sorted by score.
"""

import numpy as np

from .....ir.core import Op
from .....ir.ops.detection.proposal import Proposal
from .....ir.ops.selection import NonMaxSuppression
from .....ir.types import DType
from ...kernel import Kernel, lowers
from ...llvm.target import TargetDescription
from ...tensors import has_real_meaning, is_plain
from ..generation.function import compile_kernel
from .box_functions import sink_candidate, swap_candidates


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
                swap_candidates(scratch, keys, items, 0, candidates)
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
    operator, (images, classes, count) = op.operator, op.inputs[1].type.shape
    room = min(operator.room, count)
    # Box numbers are kept beside coordinates, as numbers of their type.
    memory = DType.F32 if count <= 1 << 24 else DType.F64
    numbers = images, classes, count, room, operator.centred
    return compile_kernel(op, _suppress, target, units=1, integers=numbers, scratch=(memory, 6 * count + 5 * room))


_SOURCE = """def kernel(scores, deltas, image, regions, found, n, f, scratch, begin, end):
    anchors, rows, columns, post, competitors, count = n[0], n[1], n[2], n[3], n[4], n[5]
    height, width, scale_y = image[0], image[1], image[2]
    scale_x = image[3] if n[6] == 4 else scale_y
    has_sides = 0 < height < np.inf and 0 < width < np.inf
    if not (has_sides and 0 <= scale_y < np.inf and 0 <= scale_x < np.inf):
        return 1
    if {swaps}:
        height, width = width, height
    last, half, zero = np.float32({last}), np.float32(0.5), np.float32(0)
    stride, threshold = n[7], np.float32(f[0])
    least_x, least_y = np.float32(f[1]) * scale_x, np.float32(f[1]) * scale_y
    centre_scale, size_scale = np.float32(f[2]), np.float32(f[3])
    boxes, keys = 0, 4 * count
    items = keys + count
    kept_items = items + count
    area = rows * columns
    for u in range(begin, end):
        for k in range(count):
            anchor, cell = k % anchors, k // anchors
            row, column = cell // columns, cell % columns
            x, y = np.float32({column} * stride), np.float32({row} * stride)
            t, d = 4 + 4 * anchor, (u * anchors + anchor) * 4 * area + cell
            left, top = x + np.float32(f[t]), y + np.float32(f[t + 1])
            right, bottom = x + np.float32(f[t + 2]), y + np.float32(f[t + 3])
            if {swaps}:
                left, top, right, bottom = cut(left, width), cut(top, height), cut(right, width), cut(bottom, height)
            long_x, long_y = right - left + last, bottom - top + last
            centre_x = deltas[d] / centre_scale * long_x + (left + half * long_x)
            centre_y = deltas[d + area] / centre_scale * long_y + (top + half * long_y)
            half_x = half * (exponential_of(deltas[d + 2 * area] / size_scale) * long_x)
            half_y = half * (exponential_of(deltas[d + 3 * area] / size_scale) * long_y)
            left, top, right, bottom = centre_x - half_x, centre_y - half_y, centre_x + half_x, centre_y + half_y
            if {clips_before}:
                left, right = cut(left, width - last), cut(right, width - last)
                top, bottom = cut(top, height - last), cut(bottom, height - last)
            is_large = right - left + last >= least_x and bottom - top + last >= least_y
            score = scores[((u * 2 + 1) * anchors + anchor) * area + cell] * np.float32(1 if is_large else 0)
            scratch[boxes + 4 * k] = left
            scratch[boxes + 4 * k + 1] = top
            scratch[boxes + 4 * k + 2] = right
            scratch[boxes + 4 * k + 3] = bottom
            scratch[keys + k] = score if score == score else -np.inf
            scratch[items + k] = k
        sort_candidates(scratch, keys, items, count)
        kept = 0
        for k in range(competitors):
            if kept == post:
                break
            b = boxes + 4 * np.int64(scratch[items + k])
            is_kept = True
            for j in range(kept):
                o = boxes + 4 * np.int64(scratch[kept_items + j])
                overlap = zero
                meets = scratch[b] <= scratch[o + 2] and scratch[b + 1] <= scratch[o + 3]
                if meets and scratch[o] <= scratch[b + 2] and scratch[o + 1] <= scratch[b + 3]:
                    left, top = np.float32(scratch[b]), np.float32(scratch[b + 1])
                    right, bottom = np.float32(scratch[b + 2]), np.float32(scratch[b + 3])
                    left_o, top_o = np.float32(scratch[o]), np.float32(scratch[o + 1])
                    right_o, bottom_o = np.float32(scratch[o + 2]), np.float32(scratch[o + 3])
                    shared = larger(smaller(right, right_o) - larger(left, left_o) + last, zero)
                    shared *= larger(smaller(bottom, bottom_o) - larger(top, top_o) + last, zero)
                    own = (right - left + last) * (bottom - top + last)
                    other = (right_o - left_o + last) * (bottom_o - top_o + last)
                    overlap = shared / (other + own - shared)
                if overlap > threshold:
                    is_kept = False
                    break
            if is_kept:
                q = u * post + kept
                regions[q * 5] = u
                for side in range(4):
                    v, most = np.float32(scratch[b + side]), width if side % 2 == 0 else height
                    if {clips_after}:
                        v = cut(v, most)
                    regions[q * 5 + 1 + side] = v / most if {normalizes} else v
                found[q] = scratch[keys + k]
                scratch[kept_items + kept] = scratch[items + k]
                kept += 1
        for q in range(u * post + kept, (u + 1) * post):
            for side in range(5):
                regions[q * 5 + side] = -1 if side == 0 and q == u * post + kept else 0
            found[q] = 0
    return 0
"""


@lowers(Proposal, needs=(is_plain, has_real_meaning))
def lower_proposal(op: Op[Proposal], target: TargetDescription) -> Kernel:
    operator = op.operator
    scores, _, image = (value.type for value in op.inputs)
    batch, channels, rows, columns = scores.shape
    is_tensorflow = operator.is_tensorflow
    source = _SOURCE.format(
        swaps=is_tensorflow,
        last=int(not is_tensorflow),
        row="column" if is_tensorflow else "row",
        column="row" if is_tensorflow else "column",
        clips_before=operator.clip_before_nms,
        clips_after=operator.clip_after_nms,
        normalizes=operator.normalize,
    )
    anchors = channels // 2
    count = anchors * rows * columns
    competitors = operator.competitors(scores)
    integers = anchors, rows, columns, operator.post_nms_topn, competitors, count, image.elements, operator.feat_stride
    sizes = operator.nms_thresh, operator.min_size, operator.box_coordinate_scale, operator.box_size_scale
    floats = (*sizes, *operator.anchors().reshape(-1).tolist())
    scratch = DType.F64, 6 * count + min(competitors, operator.post_nms_topn)
    return compile_kernel(op, source, target, units=batch, integers=integers, floats=floats, scratch=scratch)
