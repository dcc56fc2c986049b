"""What multiplies the channels of a normalisation, moved on the way or not.

Where tokens are cut out, brought into windows or laid out as a map between a normalisation and the layer behind it,
each channel still meets weights of its own there, which take a factor as those of a product that reads it at once do.
"""

import math

from ...ir.core import Op, Value, is_op
from ...ir.ops.convolution import Conv
from ...ir.ops.matmul import MatMul
from ...ir.ops.movement import Slice, Transpose
from ...ir.ops.normalization import LayerNorm, RmsNorm
from ...ir.ops.shape import Reshape
from ...passes.quantization.plan import Plan
from ..calibration.windows import Product


def normalized_for(value: Value, plan: Plan) -> tuple[tuple[Product, ...], Value, int] | None:
    """Of what a normalisation of the last dimension makes: all that reads it, convolutions of one group and products
    that are quantised; what these read, or the value where that differs; and the dimension of the channels in that.
    ``None`` if anything else reads the value."""
    made = value.producer
    if not is_op(made, LayerNorm, RmsNorm) or made.operator.axis != value.type.rank - 1:
        return None
    readers: list[Product] = []
    read: list[tuple[Value, int]] = []
    pending = [(value, value.type.rank - 1)]
    for x, axis in pending:
        if x.is_returned:
            return None
        for user in x.users:
            if (is_op(user, MatMul) or is_op(user, Conv)) and user in plan.anchors and user.operands.x is x:
                if not _is_by_channel(user, axis):
                    return None
                readers.append(user)
                read.append((x, axis))
                continue
            behind = _behind(user, axis)
            if behind is None:
                return None
            pending.append((user.result, behind))
    if not readers:
        return None
    seen, axis = read[0] if len(set(read)) == 1 else pending[0]
    return tuple(readers), seen, axis


def _is_by_channel(op: Product, axis: int) -> bool:
    """Whether each element along a dimension of what the op reads meets weights of its own, and all results do."""
    if is_op(op, MatMul):
        return axis == op.operands.x.type.rank - 1 and not op.operator.transpose_a
    assert is_op(op, Conv)
    return axis == 1 and op.operator.group == 1


def _behind(op: Op, axis: int) -> int | None:
    """Where a dimension of the operand of a movement is in its result, if that has all of it in order."""
    shape = op.inputs[0].type.shape
    if is_op(op, Transpose):
        return op.operator.perm.index(axis)
    if is_op(op, Slice):
        return axis if op.operator.extent[axis] == shape[axis] and op.operator.step[axis] == 1 else None
    if is_op(op, Reshape):
        before, found = math.prod(shape[:axis]), op.operator.shape
        places = (d for d in range(len(found)) if found[d] == shape[axis] and math.prod(found[:d]) == before)
        return next(places, None)
    return None
