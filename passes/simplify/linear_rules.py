"""Rules that fold arithmetic with constants into the weights and bias of the linear op next to it.

A linear op is a convolution, transposed convolution or matrix product with constant weights and without activation
and residual. Along its channel axis a factor or summand after it moves into weights and bias, one before it into the
weights and, as far as no padding keeps it from being constant, into the bias.
"""

import math
from dataclasses import replace
from typing import Union

import numpy as np

from ...ir.core import Constant, Op, Value, is_op
from ...ir.ops.activation import Activation, Clip, LeakyRelu, Relu
from ...ir.ops.convolution import Conv, ConvTranspose
from ...ir.ops.elementwise import Add, Div, Mul, Sub
from ...ir.ops.matmul import MatMul
from ...ir.ops.movement import Concat, Transpose
from ...ir.ops.shape import Expand, Reshape
from ..pattern import Const, Match, Rule, node, on_quantized

LINEAR = (Conv, ConvTranspose, MatMul)
ARITHMETIC = (Add, Sub, Mul, Div)
Linear = Union[Conv, ConvTranspose, MatMul]


def _is_foldable(op: Op[Linear]) -> bool:
    """Whether ``op`` is linear in the sense of this module, with a bias that is constant or absent."""
    _, w, b, *residual = op.operands
    return (
        getattr(op.operator, "act", "none") == "none"
        and not any(residual)
        and isinstance(w, Constant)
        and (b is None or isinstance(b, Constant))
        and w.type.dtype.is_float
        and not (isinstance(op.operator, MatMul) and w.type.rank != 2)
    )


def _weights(op: Op[Linear]) -> tuple[np.ndarray, np.ndarray]:
    """Weights [O, I / group, *kernel] and bias [O] of a foldable op in double precision.

    O are the channels of the result, I those of the operand."""
    _, w, b, *_ = op.operands
    assert isinstance(w, Constant)
    array = _turned(op, w.array.astype(np.float64))
    bias = b.array.astype(np.float64) if isinstance(b, Constant) else np.zeros(len(array))
    return array, bias


def _turned(op: Op[Linear], w: np.ndarray) -> np.ndarray:
    """Weights as ``op`` stores them in the form of :func:`_weights`, or the reverse."""
    if isinstance(op.operator, MatMul):
        return w if op.operator.transpose_b else w.T
    return turned(w, op.operator.group) if isinstance(op.operator, ConvTranspose) else w


def turned(w: np.ndarray, group: int) -> np.ndarray:
    """Weights [group * I, O, *kernel] as [group * O, I, *kernel], which is the reverse as well."""
    rows, columns, *kernel = w.shape
    split = w.reshape(group, rows // group, columns, *kernel).swapaxes(1, 2)
    return split.reshape(group * columns, rows // group, *kernel)


def _emit(found: Match, op: Op[Linear], weights: np.ndarray, summand: np.ndarray, x: Value) -> Value | None:
    """``op`` on ``x`` with other weights and bias; ``None`` where they overflow."""
    _, old_w, old_b, *_ = op.operands
    assert isinstance(old_w, Constant)
    dtype = old_w.array.dtype
    w, b = _turned(op, weights).astype(dtype), summand.astype(dtype)
    if not (np.isfinite(w).all() and np.isfinite(b).all()):
        return None
    bias = old_b
    if isinstance(old_b, Constant) or b.any():
        bias = found.add_constant(old_b.name if old_b is not None else f"{op.result.name}_bias", b)
    return found.emit(op.operator, x, found.add_constant(old_w.name, w), bias)


def _channels(array: np.ndarray, op: Op, *, of_operand: bool = False) -> np.ndarray | None:
    """The elements of a constant along the channels of the result (or of operand 0) of a linear op or join, in double
    precision; ``None`` if it varies along another axis or broadcasts the tensor to a larger shape."""
    tensor = op.inputs[0].type if of_operand else op.result.type
    if isinstance(op.operator, MatMul):
        axis = tensor.rank - (2 if of_operand and op.operator.transpose_a else 1)
    else:
        axis = 1
    if array.ndim > tensor.rank:
        return None
    array = array.reshape(*[1] * (tensor.rank - array.ndim), *array.shape)
    if any(extent not in (1, tensor.shape[axis] if d == axis else 1) for d, extent in enumerate(array.shape)):
        return None
    return np.broadcast_to(array.reshape(-1).astype(np.float64), (tensor.shape[axis],))


def effect(op: Op, constant: Value, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """The factor and the summand of each channel in arithmetic with a constant; ``None`` where that is divided, or is
    too close to 0 to divide by."""
    ones, is_first = np.ones_like(numbers), op.inputs[0] is constant
    if is_op(op, Div):
        with np.errstate(divide="ignore", over="ignore"):
            shares = 1 / numbers
        return None if is_first or not np.isfinite(shares).all() else (shares, 0 * ones)
    if is_op(op, Mul):
        return numbers, 0 * ones
    if is_op(op, Sub):
        return (-ones, numbers) if is_first else (ones, -numbers)
    return ones, numbers


def _after(found: Match) -> Value | None:
    op = found.op("linear", *LINEAR)
    vector = _channels(found.constant("c").array, op)
    return _folded(found, op, vector) if vector is not None else None


def _after_reshape(found: Match) -> Value | None:
    """Rows of a product in another shape, as Keras has the product of more than two dimensions, or pixels of a map."""
    op, array, y = found.op("linear", *LINEAR), found.constant("c").array, found.root.result.type
    x, axis = op.result.type, -1 if is_op(op, MatMul) else 1
    if y.shape != found.op("reshape", Reshape).result.type.shape or array.ndim > y.rank:
        return None
    if y.rank < 2 or y.shape[axis] != x.shape[axis] or (axis > 0 and y.shape[0] != x.shape[0]):
        return None
    aligned = (1,) * (y.rank - array.ndim) + array.shape
    if array.size != aligned[axis]:
        return None
    product = _folded(found, op, np.broadcast_to(array.reshape(-1).astype(np.float64), (x.shape[axis],)))
    return found.emit(Reshape(y.shape), product) if product is not None else None


def _folded(found: Match, op: Op[Linear], vector: np.ndarray) -> Value | None:
    """``op`` with what the matched arithmetic does to each channel of its result."""
    done, (w, b) = effect(found.root, found["c"], vector), _weights(op)
    if done is None:
        return None
    factor, summand = done
    return _emit(found, op, w * factor.reshape(-1, *[1] * (w.ndim - 1)), b * factor + summand, op.inputs[0])


def _joins_convolutions(op: Op[Concat]) -> bool:
    """Whether an op joins channels of what foldable convolutions make and nothing else reads."""
    makers = [value.producer for value in op.inputs if len(value.uses) == 1]
    folds = [is_op(maker, Conv, ConvTranspose) and _is_foldable(maker) for maker in makers]
    return op.operator.axis == 1 and len(folds) == len(op.inputs) and all(folds)


def _after_join(found: Match) -> Value | None:
    """What is done to each channel of joined maps goes into the convolutions that make them."""
    join, parts = found.op("join", Concat), list[Value]()
    vector = _channels(found.constant("c").array, join)
    if vector is None:
        return None
    ends = np.cumsum([value.type.shape[1] for value in join.inputs])[:-1]
    for value, numbers in zip(join.inputs, np.split(vector, ends), strict=True):
        assert is_op(value.producer, Conv, ConvTranspose)
        part = _folded(found, value.producer, numbers)
        if part is None:
            return None
        parts.append(part)
    return found.emit(join.operator, *parts)


def _activated_parts(found: Match[Activation]) -> Value:
    """An activation that convolutions take over is one of each of them."""
    parts = [found.emit(found.root.operator, value) for value in found.op("join", Concat).inputs]
    return found.emit(found.op("join", Concat).operator, *parts)


def _before(found: Match[Linear]) -> Value | None:
    op = found.root
    vector = _channels(found.constant("c").array, op, of_operand=True)
    done = effect(found.op("inner"), found["c"], vector) if vector is not None else None
    if done is None or found["x"].type != op.inputs[0].type:
        return None
    if done[1].any() and (isinstance(op.operator, ConvTranspose) or any(getattr(op.operator, "pads", ()))):
        # What is added before is missing where the window reaches into the padding.
        return None
    w, b = _weights(op)
    group = getattr(op.operator, "group", 1)
    # For each output channel the numbers of the operand's channels that its group reads.
    each = [np.repeat(numbers.reshape(group, -1), len(w) // group, axis=0) for numbers in done]
    scaled, added = (w * numbers.reshape(*numbers.shape, *[1] * (w.ndim - 2)) for numbers in each)
    return _emit(found, op, scaled, b + added.reshape(len(w), -1).sum(1), found["x"])


def row_as_bias(found: Match) -> Value | None:
    """A summand that runs along the columns becomes the bias, constant or not."""
    op, summand = found.op("linear", MatMul), found["c"]
    matmul, (_, _, b, residual) = op.operator, op.operands
    y = op.result.type
    if b is not None or residual is not None or matmul.act != "none" or summand.type != y.with_shape(y.shape[-1:]):
        return None
    return found.emit(matmul, *op.inputs[:2], summand)


def _matmul_of_transpose(found: Match[MatMul]) -> Value | None:
    matmul = found.root.operator
    operands = list(found.root.operands)
    flags = {"transpose_a": matmul.transpose_a, "transpose_b": matmul.transpose_b}
    changed = False
    for index, flag in enumerate(flags):
        value = operands[index]
        producer = value.producer if value is not None else None
        # Integers are turned apart from their product, see `integer_rules`.
        if is_op(producer, Transpose) and (index or flags[flag] or producer.result.type.quant is None):
            perm = producer.operator.perm
            if perm == (*range(len(perm) - 2), len(perm) - 1, len(perm) - 2):
                operands[index] = producer.inputs[0]
                flags[flag] = not flags[flag]
                changed = True
    types = (found.root.result.type,)
    return found.emit(replace(matmul, **flags), *operands, result_types=types) if changed else None


def scalar_of(value: Value) -> float | None:
    """The number in a constant of one element."""
    if isinstance(value, Constant) and value.type.elements == 1:
        return float(value.array.reshape(()))
    return None


def factored(value: Value) -> tuple[Value, float]:
    """What nothing but a product of matrices reads, as a multiple of something else, and the factor."""
    op = value.producer
    if is_op(op, Mul, Div) and len(value.uses) == 1:
        factor = scalar_of(op.inputs[1])
        if factor and op.inputs[0].type == value.type:
            return op.inputs[0], 1 / factor if is_op(op, Div) else factor
    return value, 1.0


def _factor_of_larger(found: Match[MatMul]) -> Value | None:
    """The factor of the larger of two matrices is one of the smaller, as for attention to many keys by few queries."""
    op, (*values, bias, residual) = found.root, found.root.operands
    small, large = (0, 1) if values[0].type.elements <= values[1].type.elements else (1, 0)
    (values[large], factor), (values[small], own) = factored(values[large]), factored(values[small])
    # One that single precision does not hold would make nothing, or no number, of what both factors leave finite.
    if factor == 1 or not op.result.type.dtype.is_float or not 1e-37 < abs(factor * own) < 1e38:
        return None
    number = found.add_constant("factor", np.asarray(factor * own, values[small].type.dtype.numpy))
    values[small] = found.emit(Mul(), values[small], number)
    return found.emit(op.operator, *values, bias, residual)


def _product_of_repeated(found: Match[MatMul]) -> Value | None:
    """A few rows by each of several equal matrices, as keys are for groups of queries: all of them by one matrix."""
    op, (a, b) = found.root, found.root.inputs[:2]
    *lead, rows, width = a.type.shape
    expand = b.producer.inputs[0].producer if is_op(b.producer, Reshape) else None
    is_expanded = is_op(expand, Expand)
    once = expand.inputs[0] if is_expanded else b
    repeated: tuple[int, ...] = expand.result.type.shape if is_expanded else (*lead, *b.type.shape[-2:])
    is_plain = not op.operator.transpose_a and len(op.inputs) < 3
    if not is_plain or not math.prod(op.result.type.shape[:-2]) == math.prod(lead) == math.prod(repeated[:-2]):
        return None
    batch, group, matrix_shape = repeated[:-3], math.prod(repeated[-3:-2]), repeated[-2:]
    if group < 2 or once.type.shape != (*batch, 1, *matrix_shape):
        return None
    together = found.emit(Reshape((*batch, group * rows, width)), a)
    matrix = found.emit(Reshape((*batch, *matrix_shape)), once)
    return found.emit(Reshape(op.result.type.shape), found.emit(op.operator, together, matrix))


_linear = node(LINEAR, name="linear", where=_is_foldable)
_joined = node(Concat, name="join", where=_joins_convolutions)
_TURNED = on_quantized(Rule("matmul_of_transpose", node(MatMul), _matmul_of_transpose))
_reshaped = node(Reshape, _linear, name="reshape")

RULES: tuple[Rule, ...] = (
    Rule("linear_then_constant", node(ARITHMETIC, _linear, Const("c"), commutative=True), _after),
    Rule("join_then_constant", node(ARITHMETIC, _joined, Const("c"), commutative=True), _after_join),
    Rule("join_then_activation", node((Relu, Clip, LeakyRelu), _joined), _activated_parts),
    Rule("reshaped_then_constant", node(ARITHMETIC, _reshaped, Const("c"), commutative=True), _after_reshape),
    Rule(
        "constant_then_linear",
        node(LINEAR, node(ARITHMETIC, "x", Const("c"), commutative=True, name="inner"), where=_is_foldable),
        _before,
    ),
    Rule("matmul_plus_row", node(Add, node(MatMul, name="linear"), "c", commutative=True), row_as_bias),
    *_TURNED,
)
"""Constants into weights, rows into biases, transposes into flags."""


def matrices(many_rows: int) -> tuple[Rule, ...]:
    """Of products of two matrices that are computed: less is done to the larger one, of fewer than ``many_rows``."""
    few = node(MatMul, where=lambda op: op.result.type.shape[-2] < many_rows)
    return (
        Rule("factor_of_larger", node(MatMul), _factor_of_larger),
        Rule("product_of_repeated", few, _product_of_repeated),
        *_TURNED,
    )


MATRICES = matrices(16)
"""Those beside kernels of attention for so many rows."""
