"""Attention on quantised tensors, row by row."""

import math

from ....ir.arithmetic import POWERS
from ....ir.core import Op
from ....ir.ops.attention import Attention
from ....ir.quantized import limits, parameters
from ....ir.types import DType
from ..kernel import Kernel, lowers
from ..llvm.target import TargetDescription
from ..tensors import is_plain, pointers
from .generation.function import compile_kernel

_SOURCE = """def kernel({tensors}, n, f, scratch, begin, end):
    rows, keys, width, depth, dimensions = n[0], n[1], n[2], n[3], n[4]
    q_zero, k_zero, v_zero = n[5], n[6], n[7]
    y_zero, low, high = n[8], n[9], n[10]
    factor, shift, ahead = n[11], n[12], n[13]
    mask_factor, mask_zero, hidden = n[14], n[15], n[16]
    half, never = (np.int64(1) << shift) >> 1, {scratch}({never})
    table = 32 + 6 * dimensions
    for u in range(begin, end):
        batch, r = u // rows, u % rows
        pq, pk, pv, py, pm = n[17], n[18], n[19], n[20], n[21]
        for d in range(dimensions):
            at = 32 + 6 * d
            index, batch = batch % n[at], batch // n[at]
            pq, pk, pv = pq + index * n[at + 1], pk + index * n[at + 2], pv + index * n[at + 3]
            py, pm = py + index * n[at + 4], pm + index * n[at + 5]
        pq, py, pm = pq + r * n[22], py + r * n[25], pm + r * n[26]
        count = min(keys, r + ahead)
        row = np.int32(0)
        for c in range(width):
            row += {query}
        top = never
        for j in range(count):
            p = pk + j * n[23]
            total = np.int32(0)
            for c in range(width):
                total += {query} * {part}
            z, seen = np.int64(total) - k_zero * row, True
            {key}
            {score}
            top = max(top, scratch[j])
        for c in range(depth):
            scratch[keys + c] = 0
        weights = np.int64(0)
        for j in range(count):
            {below}
            if {weighs}:
                {weight}
                weights += weight
                p, w = pv + j * n[24], {scratch}(weight)
                for c in range(depth):
                    scratch[keys + c] += w * {scratch}(v[p + {v}])
        quotient = np.float32(1) / np.float32(max(weights, np.int64(1)))
        for c in range(depth):
            mean = np.float32(np.float32(scratch[keys + c] - v_zero * weights) * np.float32(f[0])) * quotient
            y[py + {y}] = stored_form(mean, low, high, y_zero)
    return 0
"""
"""Zero points are taken off sums, so that their terms are products of bytes, which processors add in pairs."""

_SCORES = """def kernel({tensors}, n, f, scratch, begin, end):
    rows, keys, width, dimensions = n[0], n[1], n[2], n[3]
    q_zero, k_zero, y_zero, low, high = np.int32(n[4]), np.int32(n[5]), n[6], n[7], n[8]
    for u in range(begin, end):
        batch, r = u // rows, u % rows
        pq, pk, py = n[9], n[10], n[11]
        for d in range(dimensions):
            at = 15 + 4 * d
            index, batch = batch % n[at], batch // n[at]
            pq, pk, py = pq + index * n[at + 1], pk + index * n[at + 2], py + index * n[at + 3]
        pq, py = pq + r * n[12], py + r * n[14]
        for j in range(keys):
            scratch[j] = 0
        {sums}
        for j in range(keys):
            y[py + {y}] = stored_form(np.float32(scratch[j]) * np.float32(f[0]), low, high, y_zero)
    return 0
"""
_ALONG_WIDTH = """for j in range(keys):
            p = pk + j * n[13]
            total = np.int32(0)
            for c in range(width):
                total += np.int32((np.int32(q[pq + {q}]) - q_zero) * (np.int32(k[p + {k}]) - k_zero))
            scratch[j] = total"""
_ALONG_KEYS = """for c in range(width):
            x, p = np.int32(q[pq + {q}]) - q_zero, pk + {k}
            for j in range(keys):
                scratch[j] += np.int32(x * (np.int32(k[p + j]) - k_zero))"""
"""Of keys whose numbers lie one behind the other, and of those of which the same number of each does."""

_KEY = """keyed = np.int32(0)
            for c in range(width):
                keyed += {part}
            z -= q_zero * (keyed - width * k_zero)"""
_SCORE = """z *= factor
            {mask}
            floor = z >> shift
            rest = z - (floor << shift)
            if rest > half or (rest == half and half > 0 and floor & 1 == 1):
                floor += 1
            scratch[j] = floor if seen else never"""
_WEIGHT = """away = 8 + (below >> 8)
                power = n[table + (below & 255)]
                weight = power >> away
                rest = power - (weight << away)
                middle = np.int64(1) << (away - 1)
                if rest > middle or (rest == middle and weight & 1 == 1):
                    weight += 1"""
_SOFTMAX = {
    "below": "below = np.int64(top) - scratch[j]",
    "weighs": "below < 4352 and scratch[j] > never",
    "weight": _WEIGHT,
}
_SHARES = {
    "score": "scratch[j] = z",
    "below": "share = np.float32(127) / np.float32(max(top, 1))",
    "weighs": "scratch[j] > 0",
    "weight": "weight = np.int64(np.rint(np.float32(scratch[j]) * share))",
}
_MASK = """m = np.int64(mask[pm + j * n[31]])
            seen = m != hidden
            z += (m - mask_zero) * mask_factor"""


def _is_quantized(op: Op) -> bool:
    return all(value.type.quant is not None for value in (*op.inputs, *op.results))


@lowers(Attention, needs=(is_plain, _is_quantized))
def lower_quantized_attention(op: Op[Attention], target: TargetDescription) -> Kernel:
    operator, (q, k, v, mask), y = op.operator, op.operands, op.result.type
    if v is None:
        return _scores(op, target)
    zeros = [parameters(each.type)[1] for each in (q, k, v)]
    low, high = (bound - parameters(y)[1] for bound in limits(y))
    types = [value.type if value is not None else None for value in op.operands]
    factor, mask_factor, shift = operator.multipliers(types)
    ahead = operator.keys - operator.rows + 1 if operator.causal else operator.keys
    of_mask = [parameters(mask.type)[1], limits(mask.type)[0]] if mask is not None else [0, 0]
    views = [operator.q_view, operator.k_view, operator.v_view, operator.y_view]
    views.append(operator.mask_view or (0,) * len(operator.q_view))
    integers = [operator.rows, operator.keys, operator.width, operator.depth, len(operator.batch), *zeros]
    integers += [parameters(y)[1], low, high, factor, shift, ahead, mask_factor, *of_mask]
    integers += [view[0] for view in views] + [view[-2] for view in views] + [view[-1] for view in views]
    for dimension, extent in reversed([*enumerate(operator.batch)]):
        integers += [extent, *(view[1 + dimension] for view in views)]
    scale = float(parameters(v.type)[0] / parameters(y)[0])
    # What the largest scores and masks are rounded to; mostly half of the bits are enough, as for all sums of products.
    largest = (operator.width * (255**2 * abs(factor)) + 255 * mask_factor >> shift) + 1
    wide = largest >= 1 << 30
    columns = {name: f"c * {view[-1]}" if view[-1] != 1 else "c" for name, view in zip("qkvy", views, strict=False)}
    read = {"query": f"np.int32(q[pq + {columns['q']}])", "part": f"np.int32(k[p + {columns['k']}])"}
    if operator.shares:
        zero = {"query": "q_zero", "part": "k_zero"}
        read = {name: f"max({text}, np.int32({zero[name]}))" for name, text in read.items()}
    softmax = {"score": _SCORE.format(mask=_MASK if mask is not None else "pass"), **_SOFTMAX}
    source = _SOURCE.format(
        tensors=", ".join(pointers(op)),
        key=_KEY.format(**read) if zeros[0] else "pass",
        **read,
        **(_SHARES if operator.shares else softmax),
        scratch="np.int64" if wide else "np.int32",
        never=-(1 << (62 if wide else 31)),
        **columns,
    )
    return compile_kernel(
        op,
        source,
        target,
        units=math.prod(operator.batch) * operator.rows,
        integers=(*integers, *POWERS.astype(int).tolist()),
        floats=(scale,),
        scratch=(DType.I64 if wide else DType.I32, operator.keys + operator.depth),
    )


def _scores(op: Op[Attention], target: TargetDescription) -> Kernel:
    """Products of queries and keys alone."""
    operator, (q, k, *_), y = op.operator, op.operands, op.result.type
    low, high = (bound - parameters(y)[1] for bound in limits(y))
    views = operator.q_view, operator.k_view, operator.y_view
    integers = [operator.rows, operator.keys, operator.width, len(operator.batch)]
    integers += [parameters(q.type)[1], parameters(k.type)[1], parameters(y)[1], low, high]
    integers += [view[0] for view in views] + [view[-2] for view in views]
    for dimension, extent in reversed([*enumerate(operator.batch)]):
        integers += [extent, *(view[1 + dimension] for view in views)]
    columns = {name: f"{'j' if name == 'y' else 'c'} * {view[-1]}" for name, view in zip("qky", views, strict=True)}
    columns = {name: text.removesuffix(" * 1") for name, text in columns.items()}
    sums = _ALONG_KEYS if operator.k_view[-2] == 1 else _ALONG_WIDTH
    return compile_kernel(
        op,
        _SCORES.format(tensors=", ".join(pointers(op)), sums=sums.format(**columns), y=columns["y"]),
        target,
        units=math.prod(operator.batch) * operator.rows,
        integers=integers,
        floats=(float(operator.factor([q.type, k.type, None], y)),),
        scratch=(DType.I32, operator.keys),
    )
