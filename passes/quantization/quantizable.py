"""Which ops have an integer form, each judged by itself, and why others have none."""

from collections.abc import Iterator
from typing import TypeGuard, Union

import numpy as np

from tilewright.errors import first_of

from ...ir.core import Constant, Function, Op, Value, is_op
from ...ir.op import QuantizationRule
from ...ir.ops.activation import Activation, Clip
from ...ir.ops.convolution import Conv, ConvTranspose
from ...ir.ops.elementwise import Add, Div, Elementwise, Max, Min, Mul, Sub
from ...ir.ops.matmul import MatMul
from ...ir.ops.movement import Pad
from ...ir.ops.normalization import GroupNorm, LayerNorm, RmsNorm
from ...ir.ops.pooling import AveragePool, GlobalAveragePool
from ...ir.ops.quantization import Quantize
from ...ir.ops.resize import Resize
from ...ir.types import DType
from ..views import is_known
from .integer_rules import is_fused_activation
from .sink_dequantize_rules import MOVING, is_interpolation
from .transposed_rules import has_phases

Anchor = Op[Union[Conv, ConvTranspose, MatMul]]
"""What is worth quantising for itself."""

NORMS = (LayerNorm, RmsNorm, GroupNorm)
"""What normalises."""

TOKENS = 3
"""Dimensions of what is made of tokens: images, rows and channels."""

_FURTHEST = 50
"""Ops behind one in floating point that are looked at for a message."""

BELOW_ZERO = Clip(max=0.0)
"""What makes what a PReLU multiplies."""


def is_anchor(op: Op) -> TypeGuard[Anchor]:
    """Whether the op is a convolution or product that is worth quantising for itself: its weights are constants."""
    if is_op(op, ConvTranspose):
        x = op.inputs[0]
        real = x.type.dtype is DType.F32 and op.result.type.quant is None
        return real and not isinstance(x, Constant) and has_phases(op) and op.operands.w.type.elements > 0
    if not is_op(op, Conv, MatMul):
        return False
    operator, (x, w, b, residual) = op.operator, op.operands
    if isinstance(x, Constant) or x.type.dtype is not DType.F32 or op.result.type.quant is not None:
        return False
    if not is_known(w) or not isinstance(b, (Constant, type(None))) or residual is not None or not w.type.elements:
        return False
    return operator.act == "none" and (isinstance(operator, Conv) or w.type.rank == 2)


def is_gate(op: Op) -> bool:
    """Whether an op multiplies products with others, or what functions make of them, as gated layers do."""
    if not is_op(op, Mul) or any(value.type.shape != op.result.type.shape for value in op.inputs):
        return False
    sources = [moved(value) for value in op.inputs]
    sources = [moved(v.producer.inputs[0]) if is_op(v.producer, Activation) else v for v in sources]
    return all(is_op(v.producer, MatMul) and is_anchor(v.producer) for v in sources)


def is_mean_of_map(op: Op | None) -> bool:
    """Whether an op makes what a normalisation reads of the mean of a map."""
    if not is_op(op, Conv) or op.operator.group < 2:
        return False
    kernel, before, after = (each.type.shape[2:] for each in (op.inputs[1], op.inputs[0], op.result))
    return kernel == before != after and set(after) == {1}


def is_below_zero(op: Op | None) -> bool:
    """Whether an op makes what a PReLU multiplies."""
    return op is not None and op.operator == BELOW_ZERO


def moved(value: Value) -> Value:
    """What a value is moved pixels of."""
    while value.producer is not None and is_moving(value.producer):
        value = value.producer.inputs[0]
    return value


def sources(value: Value) -> Iterator[Value]:
    """A value, and those that it is a movement of, as long as that has one operand."""
    yield value
    while value.producer is not None and is_moving(value.producer) and len(value.producer.inputs) == 1:
        value = value.producer.inputs[0]
        yield value


def is_moving(op: Op) -> bool:
    """Whether the op moves elements and leaves their parameters as they are."""
    return isinstance(op.operator, MOVING) and not is_interpolation(op.operator)


def has_rule(op: Op) -> bool:
    """Whether a non-anchor has a quantised form that keeps its accuracy."""
    if any(value.type.dtype is not DType.F32 for value in op.results):
        return False
    operator = op.operator
    constants = [value for value in op.inputs if isinstance(value, Constant) and value.type.dtype.is_float]
    if isinstance(operator, (Add, Sub, Mul)):
        # One scale for the numbers of a constant can be too coarse, but a single number is exact.
        return all(value.type.elements == 1 for value in constants) and len(constants) < 2
    if isinstance(operator, Div):
        return factor_of(op) is not None
    if isinstance(operator, (Activation, AveragePool, GlobalAveragePool)):
        return operator.QUANTIZATION is not QuantizationRule.NONE
    if isinstance(operator, Pad) and operator.mode == "constant":
        return operator.value == 0
    if isinstance(operator, Resize):
        return operator.mode in ("nearest", "linear") and operator.coordinates != "tf_crop_and_resize"
    return is_moving(op) and not constants and not isinstance(operator, (Min, Max))


def why_real(op: Op) -> str:
    """Why quantisation left an op in floating point, as far as its network tells: what it is itself, or else what
    takes its numbers in the end, all between being able to compute with integers."""
    if not (is_anchor(op) or has_rule(op)):
        if is_op(op, MatMul) and is_known(op.inputs[0]):
            return "a product with a constant has integers where that is its right factor alone"
        if is_op(op, MatMul):
            return "a product of two computed tensors has integers as part of attention alone"
        several = any(isinstance(value, Constant) and value.type.elements > 1 for value in op.inputs)
        return f"{op.name} has no integer form" + " with a constant of several numbers" * several
    ends: set[str] = set()
    reached = [op]
    for each in reached:
        for user, _ in (use for value in each.results for use in value.uses):
            if isinstance(user, Function):
                ends.add("the output")
            elif is_op(user, Quantize):
                others = sorted({each.name for each in op.result.users if not is_op(each, Quantize)})
                return "kept in floating point" + (f" for {first_of(others)}" if others else ", though integers follow")
            elif not (is_anchor(user) or has_rule(user)):
                ends.add(user.name)
            elif user not in reached and len(reached) < _FURTHEST:
                reached.append(user)
    return f"its numbers go to {first_of(sorted(ends))}, and not to integers"


def feeds_real_alone(op: Op) -> bool:
    """Whether all that takes an op's numbers in the end has no integer form, all between being able to have one, and
    none is an output: such as positions that GridSample reads.

    Behind normalisations there are integers again, which tokens have 16 bits for on the way. Shortcuts of maps, which
    would have 8, lose more by them than a program less is worth."""
    between = (Elementwise, *NORMS) if op.result.type.rank == TOKENS else Elementwise
    reached = [op]
    for each in reached:
        for user in (user for value in each.results for user, _ in value.uses):
            if isinstance(user, Function) or is_anchor(user) or is_op(user, Quantize) or len(reached) >= _FURTHEST:
                return False
            if user not in reached and (has_rule(user) or isinstance(user.operator, between)):
                reached.append(user)
    return True


def factor_of(op: Op) -> np.ndarray | None:
    """What to multiply by, of shape (), instead of dividing by one number that is known, if that is a normal number."""
    divisor = op.inputs[1] if is_op(op, Div) else None
    if not isinstance(divisor, Constant) or divisor.type.elements != 1:
        return None
    with np.errstate(all="ignore"):
        factor = np.reciprocal(divisor.array.reshape(()))
    return factor if np.isfinite(factor) and abs(factor) >= np.finfo(np.float32).tiny else None


def fused_activation(op: Op) -> Op | None:
    """The clamp, or leaky ReLU, that is the only reader of the result, which then is not quantised itself."""
    if is_moving(op) or isinstance(op.operator, Activation) or len(op.results) != 1 or len(op.result.uses) != 1:
        return None
    user = next(iter(op.result.uses))[0]
    return user if isinstance(user, Op) and is_fused_activation(user) else None
