"""Detection output: candidates of a class sorted in work memory, then compared with those kept before."""

from .....ir.core import Op
from .....ir.ops.detection.detection_output import DetectionOutput
from .....ir.types import DType
from ...kernel import Kernel, lowers
from ...llvm.target import TargetDescription
from ...tensors import has_real_meaning, is_plain, pointers
from ..generation.function import compile_kernel

_SOURCE = """def kernel({tensors}, n, f, scratch, begin, end):
    images, priors_count, classes, locations, sets, prior_size = n[0], n[1], n[2], n[3], n[4], n[5]
    background, top_k, keep_top_k, rows = n[6], n[7], n[8], n[9]
    is_single, has_variances = {is_single}, {has_variances}
    threshold, nms_threshold = np.float32(f[0]), np.float32(f[1])
    one = np.float32(1)
    boxes = 0
    keys = boxes + priors_count * locations * 4
    items = keys + priors_count
    kept_keys = items + priors_count
    kept_items = kept_keys + n[10]
    places = kept_items + n[10]
    row = 0
    for u in range(begin * images, end * images):
        corners = (u if sets > 1 else 0) * priors_count * prior_size * (2 if has_variances else 1)
        variances = corners + priors_count * prior_size
        valid = priors_count
        for p in range(priors_count):
            q = corners + p * prior_size
            {find_end}
            for k in range(locations):
                b = boxes + (p * locations + k) * 4
                scratch[b] = {left}
                scratch[b + 1] = {top}
                scratch[b + 2] = {right}
                scratch[b + 3] = {bottom}
                v = variances + p * 4
                at = ((u * priors_count + p) * locations + k) * 4
                {decode}
        kept = 0
        for group in range(1 if is_single else classes):
            if group == background and not is_single:
                continue
            count = 0
            for p in range(valid):
                at = (u * priors_count + p) * classes
                {is_nothing}
                label = group
                score = {score}
                if is_single:
                    label, score = 0, -one
                    for c in range(1, classes):
                        other = {other_score}
                        if other > score:
                            label, score = c, other
                if (label > 0 and score >= threshold) if is_single else score > threshold:
                    scratch[keys + count] = score
                    scratch[items + count] = label * priors_count + p
                    count += 1
            sort_candidates(scratch, keys, items, count)
            first = kept
            for i in range(min(count, top_k)):
                item = np.int64(scratch[items + i])
                label, p = item // priors_count, item % priors_count
                place = 0 if locations == 1 else label
                is_kept = True
                for j in range(first, kept):
                    rival = np.int64(scratch[kept_items + j])
                    if rival % classes == label:
                        q = boxes + (rival // classes * locations + place) * 4
                        if overlap_of(scratch, boxes + (p * locations + place) * 4, q) > nms_threshold:
                            is_kept = False
                            break
                if is_kept:
                    scratch[kept_keys + kept] = scratch[keys + i]
                    scratch[kept_items + kept] = p * classes + label
                    kept += 1
        if kept > keep_top_k:
            sort_candidates(scratch, kept_keys, kept_items, kept)
            kept = keep_top_k
        for c in range(classes + 1):
            scratch[places + c] = 0
        for i in range(kept):
            scratch[places + np.int64(scratch[kept_items + i]) % classes + 1] += 1
        for c in range(classes):
            scratch[places + c + 1] += scratch[places + c]
        for i in range(kept):
            item = np.int64(scratch[kept_items + i])
            p, label = item // classes, item % classes
            q = (row + np.int64(scratch[places + label])) * 7
            scratch[places + label] += 1
            b = boxes + (p * locations + (0 if locations == 1 else label)) * 4
            y[q] = u
            y[q + 1] = label - (1 if is_single else 0)
            y[q + 2] = scratch[kept_keys + i]
            for k in range(4):
                side = np.float32(scratch[b + k])
                y[q + 3 + k] = {result}
        row += kept
    for q in range(row * 7 * (end - begin), rows * 7 * (end - begin)):
        y[q] = 0
    if row < rows and begin < end:
        y[row * 7] = -1
    return 0
"""

_SCALED = "{variance}{location}[at + {side}]"
_CORNER = "scratch[b + {side}] = {cut_begin}np.float32(scratch[b + {side}]) + {scaled}{cut_end}"
_CENTER_SIZE = """length = np.float32(scratch[b + {end}]) - np.float32(scratch[b + {side}])
centre = (np.float32(scratch[b + {side}]) + np.float32(scratch[b + {end}])) / np.float32(2)
centre = {scaled} * length + centre
half = exponential_of({scaled_end}) * length / np.float32(2)
scratch[b + {side}] = {cut_begin}centre - half{cut_end}
scratch[b + {end}] = {cut_begin}centre + half{cut_end}"""


def _decode(operator: DetectionOutput, location: str) -> list[str]:
    """Statements that replace the box at ``b`` by what a location makes of it."""
    cuts = {"cut_begin": "cut(", "cut_end": ", one)"} if operator.clip_before_nms else {"cut_begin": "", "cut_end": ""}

    def scaled(side: int) -> str:
        variance = "" if operator.variance_encoded_in_target else f"priors[v + {side}] * "
        return "(" + _SCALED.format(variance=variance, location=location, side=side) + ")"

    if operator.code_type == "corner":
        return [_CORNER.format(side=side, scaled=scaled(side), **cuts) for side in range(4)]
    texts = (
        _CENTER_SIZE.format(side=s, end=s + 2, scaled=scaled(s), scaled_end=scaled(s + 2), **cuts) for s in range(2)
    )
    return [line for text in texts for line in text.splitlines()]


@lowers(DetectionOutput, needs=(is_plain, has_real_meaning))
def lower_detection_output(op: Op[DetectionOutput], target: TargetDescription) -> Kernel:
    operator = op.operator
    location, confidence, priors = (value.type for value in op.inputs[:3])
    counts = operator.counts(location, confidence, priors)
    has_refinement = op.operands[4] is not None
    decoded = [line for name in ("refinement", "location")[not has_refinement :] for line in _decode(operator, name)]
    corner = "priors[q + {}]" if operator.normalized else "priors[q + 1 + {}] / np.float32(f[{}])"
    score, is_nothing = "confidence[at + {0}]", "pass"
    if has_refinement:
        is_nothing = "is_nothing = objectness[(u * priors_count + p) * 2 + 1] < np.float32(f[2])"
        score = f"((one if {{0}} == background else np.float32(0)) if is_nothing else {score})"
    source = _SOURCE.format(
        tensors=", ".join(pointers(op)),
        is_single=operator.decrease_label_id,
        has_variances=not operator.variance_encoded_in_target,
        find_end="pass" if operator.normalized else "if priors[q] == -1 and p < valid: valid = p",
        **{name: corner.format(side, 3 + side % 2) for side, name in enumerate(("left", "top", "right", "bottom"))},
        decode=("\n" + 16 * " ").join(decoded),
        is_nothing=is_nothing,
        score=score.format("group"),
        other_score=score.format("c"),
        result="cut(side, one)" if operator.clip_after_nms else "side",
    )
    competitors = operator.competitors(counts)
    most_kept = competitors * (1 if operator.decrease_label_id else counts.classes)
    keep = most_kept if operator.keep_top_k == -1 else operator.keep_top_k
    rows = operator.rows(counts)
    integers = (*counts, operator.background_label_id, competitors, keep, rows, most_kept)
    thresholds = operator.confidence_threshold, operator.nms_threshold, operator.objectness_score
    floats = (*thresholds, operator.input_width, operator.input_height)
    scratch = DType.F64, counts.priors * (4 * counts.locations + 2) + 2 * most_kept + counts.classes + 1
    return compile_kernel(op, source, target, units=1, integers=integers, floats=floats, scratch=scratch)
