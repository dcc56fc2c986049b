"""Products with weights that are stored as integers, of which they are multiplied as numbers."""

import math

import numpy as np

from ...ir.core import Constant, Module, Op, Value, is_op
from ...ir.layout import CHANNEL_BLOCK
from ...ir.ops.indexing import Gather
from ...ir.ops.matmul import MatMul
from ...ir.ops.movement import Transpose
from ...ir.ops.quantization import DequantizeLinear, along
from ...ir.ops.shape import Reshape
from ...ir.ops.weight_only import WeightOnlyMatMul
from ...ir.types import DType, TensorType
from ..base import PLAIN, UNPLANNED, Pass, Record
from ..pattern import Driver, Match, Rule, node

_FEW = 8
"""The most rows that have one of several matrices picked: of more it costs little to make numbers of it."""

_MIDDLE = 128
"""What is taken off unsigned integers and their zero points."""


class WeightOnlyProducts(Pass):
    """Replaces the product with a dequantised constant, moved or not, by ``weight_only_matmul`` of its integers, which
    are a quarter of the numbers. Scales that change along rows are those of blocks. Of several matrices, of which
    few rows meet one that is picked when the network runs, all stay integers.

    Comes before `fold_constants`, which makes numbers of what is left.
    ``most_rows``: of the left factor; more are left, as bfloat16 multiplies them faster than integers become
    numbers."""

    requires = (PLAIN, UNPLANNED)
    ensures = (PLAIN,)

    most_rows: float = math.inf

    def apply(self, module: Module, record: Record) -> bool:
        return Driver((Rule("weight_only", node(MatMul, where=self._may_be_stored), _weight_only),)).run(module, record)

    def _may_be_stored(self, op: Op[MatMul]) -> bool:
        x, w = op.inputs[:2]
        columns = op.result.type.shape[-1]
        is_picked = w.type.rank == 3 == x.type.rank and is_op(w.producer, Gather) and x.type.shape[1] <= _FEW
        is_plain = (w.type.rank == 2 or is_picked) and w.type.elements > 0 and not op.operator.transpose_a
        # Panels are filled up, which must not take much memory.
        is_plain = is_plain and x.type.dtype is DType.F32 and 2 * (-columns % CHANNEL_BLOCK) <= columns
        return is_plain and math.prod(x.type.shape[:-1]) <= self.most_rows


def _stored(value: Value) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Integers that a value is made of, scales and zero points of each of them."""
    moved: list[Transpose | Reshape] = []
    op = value.producer
    while op is not None and is_op(op, Transpose, Reshape):
        moved.append(op.operator)
        op = op.inputs[0].producer
    if op is None or not is_op(op, DequantizeLinear):
        return None
    x, scale, zero = op.operands
    if not isinstance(x, Constant) or not isinstance(scale, Constant) or not isinstance(zero, Constant | None):
        return None
    if x.type.dtype not in (DType.I8, DType.U8) or scale.type.dtype is not DType.F32:
        return None
    axis, rank, shape = op.operator.axis, x.type.rank, x.type.shape
    zeros = along(zero.array, axis, rank) if zero is not None else np.zeros((), x.array.dtype)
    found = x.array, np.broadcast_to(along(scale.array, axis, rank), shape), np.broadcast_to(zeros, shape)
    for operator in reversed(moved):
        found = operator.reference(found[0]), operator.reference(found[1]), operator.reference(found[2])
    return found


def _weight_only(found: Match[MatMul]) -> Value | None:
    matmul, (x, w, b, residual) = found.root.operator, found.root.operands
    gather, which, inner = w.producer, None, x.type.shape[-1]
    if gather is not None and is_op(gather, Gather):
        which = gather.inputs[1]
        is_of_matrices = w.type.rank == 3 and gather.operator.axis == 0
        if not is_of_matrices or which.type != TensorType(w.type.shape[:1], DType.I64):
            return None
        w = gather.inputs[0]
    stored = _stored(w)
    if stored is None:
        return None
    if matmul.transpose_b:
        stored = [each.swapaxes(-2, -1) for each in stored]
    integers, scales, zeros = (each.reshape(-1, each.shape[-1]) for each in stored)
    zeros = zeros.astype(np.float32)
    if integers.dtype == np.uint8:
        integers, zeros = (integers.astype(np.int16) - _MIDDLE).astype(np.int8), zeros - _MIDDLE
    changes = (scales[1:] != scales[:-1]).any(1) | (zeros[1:] != zeros[:-1]).any(1)
    block = math.gcd(inner, *(np.flatnonzero(changes) + 1).tolist())
    words = block % 4 == 0 or (block == inner and which is None)
    if not words:
        return None
    name = w.name
    zero = found.add_constant(f"{name}_zero", zeros[::block]) if zeros.any() else None
    scale, stored_w = found.add_constant(f"{name}_scale", scales[::block]), found.add_constant(name, integers)
    operator = WeightOnlyMatMul(block, matmul.act, matmul.act_args, matmul.x_bits)
    return found.emit(operator, x, stored_w, scale, zero, b, residual, which)
