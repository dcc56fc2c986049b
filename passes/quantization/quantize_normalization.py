"""Normalisations between quantised tensors as an operator on their integers."""

from collections.abc import Collection, Iterator

import numpy as np

from tilewright.immutable import Immutable

from ...ir.core import Constant, Module, Op, Value, is_op
from ...ir.ops.elementwise import Add, Mul
from ...ir.ops.normalization import GroupNorm, LayerNorm, RmsNorm
from ...ir.ops.quantization import Dequantize, Quantize
from ...ir.ops.skip_normalization import SkipLayerNorm, standardization_of
from ...ir.quantized import EIGHT_BIT
from ...ir.types import DType, Quantization, TensorType
from ..base import PLAIN, UNPLANNED, Pass, Record
from ..named_ops import kept_ops, unless_kept
from ..pattern import Driver, Match, Rule, node, on_quantized
from .integer_rules import integers_of
from .quantizable import NORMS


class QuantizeNormalization(Pass):
    """Makes ``skip_layer_norm`` of integers what normalises along the last dimension, or groups of channels of images,
    and of whose operands and result there are integers: by channels with factors of their own, if what stands between
    is multiplied by them.

    An operand is a tensor of stored integers as numbers, or one of numbers that becomes integers elsewhere, as what a
    product reads; so does the result, in one way, unless it is an output. Whatever else reads the numbers of the result
    then reads those of its integers. The sum of two operands becomes part of the op if nothing else reads it.
    ``keep``: names of operators, of source nodes or of results that stay as they are."""

    requires = (PLAIN, UNPLANNED)
    ensures = (PLAIN,)

    keep: tuple[str, ...] = ()

    def apply(self, module: Module, record: Record) -> bool:
        rules = on_quantized(
            Rule("normalization_on_integers", node(NORMS, name="norm"), _normalization),
            Rule("integers_of_integers", node(Quantize), _same_integers),
        )
        return Driver(unless_kept(rules, kept_ops(module, self.keep, self.name))).run(module, record)


_Norm = LayerNorm | RmsNorm | GroupNorm


def _axis(op: Op[_Norm]) -> int:
    """That of the channels."""
    return 1 if is_op(op, GroupNorm) else -1


class _Scaled(Immutable):
    """A tensor as integers of 8 bits, or of 16, and a factor for each channel.
    ``value``: the integers; or numbers, of which ``type`` says what integers they become once they are divided.
    ``type``: of the integers.
    ``factor``: float32 [channels]."""

    value: Value
    type: TensorType
    factor: np.ndarray


def _factor(value: Value, shape: tuple[int, ...]) -> np.ndarray | None:
    """The numbers of a constant that is one for each element along the last dimension; ``None`` if it is not."""
    if not isinstance(value, Constant) or value.type.dtype is not DType.F32:
        return None
    if value.type.shape[:-1] != (1,) * (value.type.rank - 1) or value.type.elements not in (1, shape[-1]):
        return None
    return np.broadcast_to(value.array.reshape(-1), shape[-1:])


def _scaled(value: Value, axis: int = -1) -> tuple[Value, np.ndarray]:
    """The value of which ``value`` is the product with a factor for each channel, if these come last, and that."""
    op = value.producer
    if not value.type.rank:
        return value, np.ones((), np.float32)
    for one, other in (op.inputs, op.inputs[::-1]) if is_op(op, Mul) and axis == -1 else ():
        factor = _factor(other, value.type.shape)
        if factor is not None and one.type.shape == value.type.shape:
            return one, factor
    return value, np.ones(value.type.shape[axis], np.float32)


def _is_stored(type: TensorType, dtypes: Collection[DType] = EIGHT_BIT) -> bool:
    """Whether a type is of integers, one of these types, with one scale."""
    return type.dtype in dtypes and type.has_one_scale


def _becoming(value: Value, axis: int) -> Iterator[_Scaled]:
    """What a value becomes as integers, at once or after it has been divided."""
    for user in value.users:
        quotient, divided_by = value, np.ones(value.type.shape[axis], np.float32)
        if is_op(user, Mul):
            quotient = user.result
            divided, by = _scaled(quotient, axis)
            if divided is not value or not (by > 0).all():
                continue
            divided_by = by
        for each in quotient.users if quotient is not value else [user]:
            if is_op(each, Quantize) and _is_stored(each.result.type):
                yield _Scaled(value, each.result.type, (1 / divided_by.astype(np.float64)).astype(np.float32))


def _operand(value: Value, axis: int) -> _Scaled | None:
    real, factor = _scaled(value, axis)
    integers = integers_of(real)
    if integers is None or isinstance(integers, Constant) or not _is_stored(integers.type, (*EIGHT_BIT, DType.I16)):
        return next(_becoming(value, axis), None)
    return _Scaled(integers, integers.type, factor)


def _emitted(found: Match, operand: _Scaled) -> Value:
    """The integers of an operand; those that are made elsewhere once more, of which one goes later."""
    if operand.value.type == operand.type:
        return operand.value
    divided = operand.value
    if (operand.factor != 1).any():
        by = (1 / operand.factor.astype(np.float64)).astype(np.float32)
        divided = found.emit(Mul(), divided, found.add_constant(f"{divided.name}.by", by))
    return found.emit(Quantize(), divided, result_types=[operand.type])


def obstacle(op: Op[_Norm]) -> str | None:
    """Why a normalisation stays in floating point, a clause; ``None`` for one that integers can do."""
    y, becoming, operands = op.result, list(_becoming(op.result, _axis(op))), _operands(op)
    if is_op(op, LayerNorm, RmsNorm) and op.operator.axis != y.type.rank - 1:
        return "it is not along the last dimension alone"
    if y.type.dtype is not DType.F32:
        return f"its numbers are of type {y.type.dtype.value}"
    if not all(isinstance(value, Constant) for value in op.inputs[1:]):
        return "its factors are computed"
    if y.is_returned:
        return "its result is an output, which stays as exact as it is"
    if not becoming:
        return "nothing makes integers of 8 bits of its result"
    if len({(each.type, each.factor.tobytes()) for each in becoming}) > 1:
        return "its result becomes integers in several ways, and would be rounded twice"
    if operands is None:
        return "there are no integers of what it normalises"
    # Those of 16 bits have no zero point that could be moved.
    read = {each.type.dtype for each in operands}
    if len(read) > 1 or not read <= {becoming[0].type.dtype, DType.I16}:
        return "it would read and make both i8 and u8, or read both 8 and 16 bits"
    return None


def integers_made(op: Op) -> TensorType | None:
    """The integers that a normalisation will make; ``None`` if it stays as it is, or if factors stand between."""
    if not is_op(op, *NORMS) or obstacle(op) is not None:
        return None
    made = next(_becoming(op.result, _axis(op)))
    return made.type if (made.factor == 1).all() else None


def _normalization(found: Match[_Norm]) -> Value | None:
    root, y = found.root, found.root.result
    (_, scale), b = root.operands[:2], root.operands[2] if is_op(root, LayerNorm, GroupNorm) else None
    if obstacle(root) is not None:
        return None
    made, operands = next(_becoming(y, _axis(root))), _operands(root)
    assert operands is not None and isinstance(scale, Constant) and isinstance(b, Constant | None)
    gain = scale.array.astype(np.float64) / made.factor
    offset = (b.array if b is not None else np.zeros_like(gain)) / made.factor

    def constant(role: str, array: np.ndarray) -> Constant:
        return found.add_constant(f"{y.name}.{role}", array.astype(np.float32))

    axis, groups = _axis(root) % y.type.rank, root.operator.groups if is_op(root, GroupNorm) else 0
    operator = SkipLayerNorm(axis, root.operator.epsilon, not is_op(root, RmsNorm), groups)
    first, *others = operands
    skip = [x for each in others for x in (_emitted(found, each), constant("skip_factor", each.factor))]
    numbers = constant("factor", first.factor), constant("scale", gain), constant("b", offset)
    result = found.emit(operator, _emitted(found, first), *numbers, *skip, result_types=[made.type])
    op = result.producer
    assert is_op(op, SkipLayerNorm)
    standardization_of(op)
    real = found.emit(Dequantize(), result)
    if (made.factor == 1).all():
        return real
    return found.emit(Mul(), real, constant("by", made.factor))


def _operands(op: Op[_Norm]) -> list[_Scaled] | None:
    """What is normalised: one operand, or two whose sum nothing else reads; ``None`` if they are no integers."""
    x, axis = op.inputs[0], _axis(op)
    own = _operand(x, axis)
    if own is not None:
        return [own]
    before = x.producer
    if not is_op(before, Add) or len(x.uses) > 1 or any(value.type.shape != x.type.shape for value in before.inputs):
        return None
    both = [_operand(value, axis) for value in before.inputs]
    pairs = zip(before.inputs, both, both[::-1], strict=True)
    found = [own for value, each, other in pairs if (own := each or _known(value, other, axis)) is not None]
    return found if len(found) == 2 else None


def _known(value: Value, beside: _Scaled | None, axis: int) -> _Scaled | None:
    """Known numbers as integers around 0, of as many bits as what they are added to."""
    if not isinstance(value, Constant) or beside is None:
        return None
    dtype = beside.type.dtype
    limits = np.iinfo(dtype.numpy)
    scale = float(np.float32(np.abs(value.array).max(initial=0) / (int(limits.max) - int(limits.min) >> 1)))
    if not 0 < scale < np.inf:
        return None
    quant = Quantization.per_tensor(scale, (int(limits.max) + int(limits.min) + 1) // 2)
    return _Scaled(value, TensorType(value.type.shape, dtype, quant), np.ones(value.type.shape[axis], np.float32))


def _same_integers(found: Match[Quantize]) -> Value | None:
    """Integers whose numbers are multiplied, and divided by the same again, are what they were."""
    real, factor = found.root.inputs[0], np.ones(())
    for _ in range(2):
        real, by = _scaled(real)
        factor = factor * by.astype(np.float64)
    integers = integers_of(real)
    if integers is None or integers.type != found.root.result.type or not _is_stored(integers.type):
        return None
    # Of at most 255 steps, this is far less than half of one.
    return integers if np.abs(factor - 1).max() < 1e-5 else None
