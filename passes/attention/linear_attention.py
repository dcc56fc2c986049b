"""Attention without a softmax, keys times values first, as what exporters write it as."""

from typing import NamedTuple

from ...ir.core import Op, Value, is_op
from ...ir.ops.activation import Relu
from ...ir.ops.elementwise import Add, Div
from ...ir.ops.matmul import MatMul
from ...ir.ops.movement import Pad, Slice
from ...runtime.machines.machine import MAP_EXTENT_LIMIT, Machine
from ..simplify.linear_rules import scalar_of

_SHORT = 1e-4
"""More than what keeps a sum of shares from being 0."""

_PAYS_AT = 7e11
"""Multiplications a second of an accelerator that takes as long for the scores of a query by as many keys as a context
has elements as the host for what the query has to do with that: a score takes M4096 0.1 to 0.16 ns, S256 1.6 ns, and a
query of 16 channels takes 49 ns on the host and the link to it."""


class Side(NamedTuple):
    """A factor of a product, and whether it holds its matrices turned."""

    value: Value
    is_turned: bool


class Shares(NamedTuple):
    """Means of values by shares of scores.
    ``is_turned``: whether the matrices of the result are.
    ``least``: what is added to sums of scores, by which the means are divided."""

    q: Side
    k: Side
    v: Side
    is_turned: bool
    least: float


def pays(keys: int, context: int, machine: Machine) -> bool:
    """Whether an accelerator makes scores of so many keys sooner than the host multiplies by contexts of so many
    elements."""
    rate = machine.cluster_macs_per_cycle * machine.clusters * machine.clock_hertz
    return keys * _PAYS_AT <= context * rate


def shares_of(op: Op) -> Shares | None:
    """What a quotient is as attention: Q' (K'^T V) over Q' (K'^T 1), where Q' and K' are what of queries and keys is
    above 0, and the ones stand beside V, so that one product has both sums. ``None`` if it is nothing of the kind."""
    guarded = op.inputs[1].producer if is_op(op, Div) else None
    least = scalar_of(guarded.inputs[1]) if is_op(guarded, Add) else None
    ends = [op.inputs[0].producer, guarded.inputs[0].producer if is_op(guarded, Add) else None]
    parts = [end for end in ends if is_op(end, Slice)]
    if least is None or not 0 <= least < _SHORT or len(parts) < 2 or parts[0].inputs[0] is not parts[1].inputs[0]:
        return None
    both, rank = parts[0].inputs[0], op.result.type.rank
    if both.type.rank != rank:
        return None  # the number that is added has more dimensions
    for axis in (rank - 1, rank - 2):
        depth = both.type.shape[axis] - 1
        cuts = [Slice.along(axis, *cut, both.type.shape) for cut in ((0, depth), (depth, 1))]
        if [part.operator for part in parts] == cuts:
            return _shares(both, least, is_turned=axis < rank - 1)
    return None


def _factors(product: Value, uses: int, *, is_turned: bool) -> tuple[Side, Side] | None:
    """Of what is read so many times, those of the product of two matrices, or of its turned form."""
    op = product.producer
    if not is_op(op, MatMul) or len(product.uses) != uses or op.operator.act != "none" or any(op.operands[2:]):
        return None
    left, right = Side(op.inputs[0], op.operator.transpose_a), Side(op.inputs[1], op.operator.transpose_b)
    return (_turned(right), _turned(left)) if is_turned else (left, right)


def _turned(side: Side) -> Side:
    return side._replace(is_turned=not side.is_turned)


def _shares(both: Value, least: float, *, is_turned: bool) -> Shares | None:
    outer = _factors(both, 2, is_turned=is_turned)
    inner = _factors(outer[1].value, 1, is_turned=outer[1].is_turned) if outer is not None else None
    if outer is None or inner is None:
        return None
    q, k, (beside, v_turned) = outer[0], _turned(inner[0]), inner[1]
    functions, padded = [q.value.producer, k.value.producer], beside.producer
    above = [each.inputs[0] for each in functions if is_op(each, Relu)]
    if len(above) < 2 or not is_op(padded, Pad):
        return None
    rank, keys = beside.type.rank, k.value.type.shape[-1 if k.is_turned else -2]
    if keys > MAP_EXTENT_LIMIT:
        return None
    ones = Pad((0,) * (2 * rank - 1 - v_turned) + (1,) + (0,) * v_turned, value=1.0)
    if padded.operator != ones:
        return None
    q, k = q._replace(value=above[0]), k._replace(value=above[1])
    return Shares(q, k, Side(padded.inputs[0], v_turned), is_turned, least)
