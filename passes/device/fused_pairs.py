"""Pairs of a convolution and the element-wise op that reads its result, computed together tile by tile.

The convolution's result is requantised into a tile on chip, combined there with the same box of the other operand, and
what that makes is stored, or left where it stays on chip. The map of the convolution is nowhere as a whole. A
convolution with a residual is such a pair by itself.
"""

from collections.abc import Iterator, Mapping

from ...ir.annotations import FUSED, OVER
from ...ir.core import Function, Op, Value, is_op
from ...ir.feature_map import MOVEMENT, VIEWS, MapShape, convolution_maps, is_product, map_shape
from ...ir.ops.convolution import Conv
from ...ir.ops.elementwise import Add, Max, Min, Mul, Sub
from ...ir.ops.movement import Concat, Slice


def fused_user(op: Op) -> Op | None:
    """The op that is computed with each tile of a convolution, ``None`` if there is none."""
    return op.result.users[0] if FUSED.get(op) else None


def with_fused(op: Op) -> tuple[Op, ...]:
    """An op, and the one that is computed with each of its tiles if there is one."""
    user = fused_user(op)
    return (op, user) if user is not None else (op,)


def is_made_by_rows(value: Value) -> bool:
    """Whether the vector unit makes a map by itself, in tiles of few rows, not with tiles of a convolution."""
    op = value.producer
    if op is None or op.macs or is_product(op) or isinstance(op.operator, MOVEMENT):
        return False
    return fused_convolution(op) is None


def fused_convolution(op: Op) -> Op | None:
    """The convolution with each of whose tiles an op is computed, ``None`` if it is computed on its own."""
    makers = (value.producer for value in op.inputs)
    return next((maker for maker in makers if maker is not None and FUSED.get(maker)), None)


def made_by(op: Op) -> Value:
    """The map that is left of an op: the result of the pair, if it is the convolution of one."""
    return (fused_user(op) or op).result


def residual_of(op: Op) -> Value | None:
    """What a convolution adds to its sums."""
    return op.operands.residual if is_op(op, Conv) else None


def other_operand(op: Op) -> Value | None:
    """What a convolution's result is combined with tile by tile, ``None`` if it is not."""
    if residual_of(op) is not None:
        return residual_of(op)
    user = fused_user(op)
    return next(value for value in user.inputs if value is not op.result) if user is not None else None


def other_map(op: Op) -> MapShape:
    """The map of `other_operand`, as the convolution sees its own result."""
    other, target = other_operand(op), op.result
    assert other is not None
    return convolution_maps(op)[1] if other.type.shape == target.type.shape else map_shape(other.type)


def pairs_brought_together(function: Function) -> Iterator[tuple[Op, Op]]:
    """Each convolution and element-wise op that could be computed together, one moved directly behind the other.

    Of two convolutions it is the later one, when the other operand is there already."""
    position = {op: float(index) for index, op in enumerate(function.ops)}
    for op in [*function.ops]:
        if not is_op(op, Add, Sub, Mul, Max, Min):
            continue
        makers = [value.producer for value in op.inputs if value.producer is not None]
        conv = max(makers, key=position.__getitem__, default=None)
        if conv is None or not can_be_fused(conv, op):
            continue
        following = next(conv.following())
        if following is not op:
            function.move_before(op, following)
            position[op] = position[conv] + 0.5
        yield conv, op


def can_be_fused(conv: Op, user: Op) -> bool:
    """Whether an op that is the only one to read a convolution's result can be computed with each of its tiles."""
    if not is_op(conv, Conv) or residual_of(conv) is not None:
        return False
    shape = conv.result.type.shape
    if len(conv.result.uses) != 1 or len(user.inputs) != 2 or user.result.type.shape != shape:
        return False
    # What is repeated has no images or columns that could be taken as rows.
    is_folded = convolution_maps(conv)[1] != map_shape(conv.result.type)
    return not is_folded or all(value.type.shape == shape for value in user.inputs)


def overwritten(op: Op) -> Value | None:
    """The operand over which an op writes its result where both stay on chip, ``None`` if it is written elsewhere."""
    number = OVER.get(op)
    return op.inputs[number] if number is not None else None


def choose_overwritten(function: Function) -> None:
    """Annotate the ops that may write over an operand: that of whose users each comes before.

    A tile is written when it has been read, and no other tile of the result reads it."""
    steps = {op: step for step, op in enumerate(function.ops)}
    for op in function.ops:
        residual = residual_of(op)
        if residual is not None or is_op(op, Add, Sub, Mul, Max, Min):
            values = [(number, value) for number, value in enumerate(op.inputs) if residual in (None, value)]
            number = next((number for number, value in values if _can_be_overwritten(value, op, steps)), None)
            if number is not None:
                OVER.set(op, number)


def _can_be_overwritten(value: Value, op: Op, steps: Mapping[Op, int]) -> bool:
    if value.producer is None or value.is_returned or value.type.shape != op.result.type.shape:
        return False
    conv = fused_convolution(op)
    if conv is not None and conv in (value.producer, *value.users):
        return False  # which is nowhere, or read while the result is written
    others = [user for user in value.users if user is not op]
    # What lies in the same place under other names may be read later.
    views = any(is_op(each, Concat, Slice, *VIEWS) for each in (value.producer, *others))
    return not views and op.inputs.count(value) == 1 and all(steps[user] < steps[op] for user in others)
