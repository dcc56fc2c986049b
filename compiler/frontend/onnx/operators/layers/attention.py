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

    turned = exporter.node(
        "Transpose",
        [seen(k, attention.k_view, keys, attention.width)],
        perm=[*range(len(batch)), len(batch) + 1, len(batch)],
    )
    scores = exporter.node("MatMul", [seen(q, attention.q_view, rows, attention.width), turned])
    scores = exporter.node("Mul", [scores, exporter.constant(np.asarray(attention.scale, dtype), "scale")])
    if mask is not None:
        scores = exporter.node("Add", [scores, seen(mask, attention.mask_view, rows, keys)])
    if attention.causal:
        hidden = np.where(np.tri(rows, keys, keys - rows, bool), 0, -np.inf).astype(dtype)
        scores = exporter.node("Add", [scores, exporter.constant(hidden, "causal")])
    weights = exporter.node("Softmax", [scores], axis=-1)
    y = exporter.node("MatMul", [weights, seen(v, attention.v_view, keys, attention.depth)])
    places = _places(attention.y_view, (*batch, rows, attention.depth)).reshape(-1)
    flat = exporter.node("Reshape", [y, exporter.integers([-1], "flat")])
    ordered = exporter.node("Gather", [flat, exporter.constant(np.argsort(places), "order")])
    exporter.write_as(op, "Reshape", [ordered, exporter.integers(attention.shape, "shape")])


def _places(view: tuple[int, ...], extents: tuple[int, ...]) -> np.ndarray:
    """Indices of all elements that a view shows."""
    grids = np.indices(extents, sparse=True)
    return view[0] + sum((grid * stride for grid, stride in zip(grids, view[1:], strict=True)), np.int64(0))
