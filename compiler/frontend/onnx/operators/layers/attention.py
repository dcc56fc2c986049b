"""How ONNX spells attention over views: by indices of all that they show."""

import numpy as np

from ......ir.core import Op, Value
from ......ir.ops.attention import Attention
from ...exporter import Exporter, exports


@exports(Attention)
def export_attention(op: Op[Attention], exporter: Exporter) -> None:
    attention, (q, k, v, mask) = op.operator, op.operands
    batch, rows, keys = attention.batch, attention.rows, attention.keys
    dtype = op.result.type.dtype.numpy

    def seen(value: Value | str, view: tuple[int, ...], *matrix: int) -> str:
        flat = exporter.node("Reshape", [value, exporter.integers([-1], "flat")])
        return exporter.node("Gather", [flat, exporter.constant(_places(view, (*batch, *matrix)), "places")])

    queries, known = seen(q, attention.q_view, rows, attention.width), seen(k, attention.k_view, keys, attention.width)
    if attention.shares:
        queries, known = exporter.node("Relu", [queries]), exporter.node("Relu", [known])
    turned = exporter.node("Transpose", [known], perm=[*range(len(batch)), len(batch) + 1, len(batch)])
    scores = exporter.node("MatMul", [queries, turned])
    scores = exporter.node("Mul", [scores, exporter.constant(np.asarray(attention.scale, dtype), "scale")])
    if mask is not None:
        scores = exporter.node("Add", [scores, seen(mask, attention.mask_view, rows, keys)])
    if attention.causal:
        is_seen = np.tri(rows, keys, keys - rows, bool)
        hidden = is_seen if attention.shares else np.where(is_seen, 0, -np.inf)
        combined = "Mul" if attention.shares else "Add"
        scores = exporter.node(combined, [scores, exporter.constant(hidden.astype(dtype), "causal")])
    if v is None:
        y = scores
    elif attention.shares:
        total = exporter.node("ReduceSum", [scores, exporter.integers([-1], "axis")])
        least = exporter.constant(np.asarray(np.finfo(dtype).tiny, dtype), "least")
        y = exporter.node("Div", [scores, exporter.node("Max", [total, least])])
    else:
        y = exporter.node("Softmax", [scores], axis=-1)
    if v is not None:
        y = exporter.node("MatMul", [y, seen(v, attention.v_view, keys, attention.depth)])
    places = _places(attention.y_view, (*batch, rows, attention.depth)).reshape(-1)
    flat = exporter.node("Reshape", [y, exporter.integers([-1], "flat")])
    ordered = exporter.node("Gather", [flat, exporter.constant(np.argsort(places), "order")])
    exporter.write_as(op, "Reshape", [ordered, exporter.integers(attention.shape, "shape")])


def _places(view: tuple[int, ...], extents: tuple[int, ...]) -> np.ndarray:
    """Indices of all elements that a view shows."""
    grids = np.indices(extents, sparse=True)
    return view[0] + sum((grid * stride for grid, stride in zip(grids, view[1:], strict=True)), np.int64(0))
