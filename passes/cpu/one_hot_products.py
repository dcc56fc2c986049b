"""Make choices of rows of products with matrices whose rows hold a single 1."""

import numpy as np

from ...ir.core import Constant, Module, Value
from ...ir.ops.comparison import Equal
from ...ir.ops.elementwise import Add, Max, Min
from ...ir.ops.indexing import Gather, OneHot
from ...ir.ops.matmul import MatMul
from ...ir.ops.shape import Cast, Reshape
from ...ir.types import DType
from ..base import UNPLANNED, Pass, Record
from ..pattern import Driver, Match, Rule, node


class OneHotProducts(Pass):
    """Replaces products of a one-hot matrix and known weights by the rows of these that it names.

    Such a matrix is a ``one_hot`` of 0 and 1, or what a comparison with 0, 1, … gives, as exporters of JAX write it. An
    index beyond the rows names none: its product is the bias alone."""

    requires = (UNPLANNED,)

    def apply(self, module: Module, record: Record) -> bool:
        return Driver(RULES, 1).run(module, record)


def _rows(found: Match[MatMul], *, counts_back: bool, indices: Value, depth: int) -> Value | None:
    """The rows that indices name, from ``depth`` of them. ``counts_back``: indices below 0 count from the end."""
    product, (_, w, b, residual) = found.root.operator, found.root.operands
    if not isinstance(w, Constant) or not isinstance(b, Constant | None) or residual is not None:
        return None
    is_matrix = w.type.rank == 2 and w.type.dtype is DType.F32
    if not is_matrix or product.transpose_a or product.act != "none":
        return None
    rows = w.array.T if product.transpose_b else w.array
    # What is no number would reach all results of its column.
    if len(rows) != depth or not np.isfinite(rows).all():
        return None
    none = np.zeros_like(rows[:1])
    table = np.concatenate([none, *([rows] * (1 + counts_back)), none]) + (0 if b is None else b.array)
    name, first = found.root.result.name, -depth * counts_back - 1
    places = indices if indices.type.dtype is DType.I64 else found.emit(Cast(DType.I64), indices)
    places = found.emit(Reshape(found.root.result.type.shape[:-1]), places)
    for operator, number in ((Max(), first), (Min(), depth), (Add(), -first)):
        places = found.emit(operator, places, found.add_constant(f"{name}_{operator.name}", np.array(number, np.int64)))
    return found.emit(Gather(0), found.add_constant(f"{name}_rows", table.astype(np.float32)), places)


def _of_comparison(found: Match[MatMul]) -> Value | None:
    x, y = found.op("equal", Equal).inputs
    indices, numbers = (x, y) if isinstance(y, Constant) else (y, x)
    depth = found.op("equal", Equal).result.type.shape[-1]
    if not isinstance(numbers, Constant) or not indices.type.dtype.is_integer or indices.type.dtype is DType.U64:
        return None
    if indices.type.shape[-1:] != (1,) or not np.array_equal(numbers.array.reshape(-1), np.arange(depth)):
        return None
    if found.op("equal", Equal).result.type.shape[:-1] != indices.type.shape[:-1]:
        return None
    return _rows(found, counts_back=False, indices=indices, depth=depth)


def _of_one_hot(found: Match[MatMul]) -> Value | None:
    one_hot = found.op("one_hot", OneHot)
    indices, values = one_hot.inputs
    is_last = one_hot.operator.axis == one_hot.result.type.rank - 1
    if not is_last or not isinstance(values, Constant) or values.array.tolist() != [0, 1]:
        return None
    if not indices.type.dtype.is_integer or indices.type.dtype is DType.U64:
        return None
    return _rows(found, counts_back=True, indices=indices, depth=one_hot.operator.depth)


RULES = (
    Rule("product_of_comparison", node(MatMul, node(Cast, node(Equal, name="equal"))), _of_comparison),
    Rule("product_of_one_hot", node(MatMul, node(OneHot, name="one_hot")), _of_one_hot),
)
