"""A network in floating point and its quantised twin, side by side through the layers, on samples.

What a layer reads in the quantised network depends on the weights of all layers before it. Where these are chosen layer
by layer, so are both networks computed, in NumPy: nothing is compiled.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ...ir.core import Constant, Module, Op, Value, is_op
from ...ir.interp import run_op
from ...ir.ops.convolution import Conv
from ...ir.ops.elementwise import Add
from ...ir.types import DType, TensorType
from ...passes.quantization.plan import Plan
from ..calibration.sample_sets import Inputs

MOST_BYTES = 2**31
"""Of what an op reads and makes on all samples, in both networks; fewer samples are used where it would be more."""

Arrays = list[np.ndarray]
"""Of a value, one for each sample."""

Chosen = tuple[np.ndarray, np.ndarray]
"""Weights and bias of a layer, real numbers."""

Choose = Callable[[Op, Arrays, Arrays, Arrays, Callable[[Op], Arrays]], Chosen]
"""Given a layer, what it reads in floating point, what it is to make before its activation, and what it reads in the
quantised network: the weights that it has there. It is to make what it makes in floating point; where that is added to
another value, what this lacks in the quantised network as well. The last gives, for a layer that follows, what such
another value lacks, nothing where there is none."""


def walk(
    module: Module,
    plan: Plan,
    types: Mapping[Value, TensorType],
    samples: Sequence[Inputs],
    layers: Mapping[Op, Choose],
) -> None:
    """Compute both networks.
    ``types``: of the plan's values, as they are quantised.
    ``layers``: what chooses the weights of these; the others have in both networks those of the module."""
    largest = max((sum(v.type.elements for v in (*op.inputs, *op.results)) for op in module.main.ops), default=1)
    used = samples[: max(1, MOST_BYTES // (8 * largest))]
    exact: dict[Value, Arrays] = {p: [each[p.name] for each in used] for p in module.main.parameters}
    coarse = dict(exact)
    last = {value: op for op in module.main.ops for value in op.inputs}

    def column(values: Mapping[Value, Arrays], op: Op, value: Value | None) -> Sequence[np.ndarray | None]:
        if value is None or isinstance(value, Constant):
            return [value.array if value is not None else None] * len(used)
        if values is coarse and value in types and plan.reads_quantized(value, op):
            return [rounded(array, types[value]) for array in values[value]]
        return values[value]

    def read(values: Mapping[Value, Arrays], op: Op) -> list[list[np.ndarray | None]]:
        columns = [column(values, op, value) for value in op.operands]
        return [list(row) for row in zip(*columns, strict=True)] or [[] for _ in used]

    def lacking(op: Op) -> Arrays:
        """What the quantised network lacks of the other operand of a sum that alone reads the result."""
        value = op.results[0]
        user = value.only_user
        if not is_op(user, Add):
            return []
        for other in user.inputs:
            if other in exact and other.type.shape == value.type.shape:
                found = zip(exact[other], _present(column(coarse, user, other)), strict=True)
                return [wanted - given for wanted, given in found]
        return []

    for op in module.main.ops:
        wanted, given = read(exact, op), read(coarse, op)
        results = [computed(module, op, arrays) for arrays in wanted]
        if op in layers:
            first = [_present([arrays[0] for arrays in each]) for each in (wanted, given)]
            target = [y for (y,) in results]
            if more := lacking(op):
                target = [y + each for y, each in zip(target, more, strict=True)]
            chosen = layers[op](op, first[0], target, first[1], lacking)
            given = [[arrays[0], *chosen, *arrays[3:]] for arrays in given]
        found = [computed(module, op, arrays) for arrays in given]
        for index, value in enumerate(op.results):
            exact[value], coarse[value] = ([each[index] for each in arrays] for arrays in (results, found))
        for value in {*op.inputs, *op.results}:
            if last.get(value, op) is op:
                exact.pop(value, None)
                coarse.pop(value, None)


def _present(arrays: Sequence[np.ndarray | None]) -> Arrays:
    return [array for array in arrays if array is not None]


def rounded(x: np.ndarray, type: TensorType) -> np.ndarray:
    """The numbers that the integers of a type of one scale stand for, float32."""
    assert type.quant is not None
    scale, zero = np.float32(type.quant.scale[0]), type.quant.zero_point[0]
    limits = np.iinfo(type.dtype.numpy)
    return np.clip(np.rint(x / scale), limits.min - zero, limits.max - zero) * scale


def computed(module: Module, op: Op, arrays: Sequence[np.ndarray | None]) -> tuple[np.ndarray, ...]:
    """The results of an op of the module; convolutions in single precision, as matrix products of all channels."""
    if is_op(op, Conv) and op.operator.act == "none" and op.result.type.dtype is DType.F32:
        x, w, b, residual = arrays
        if x is not None and w is not None and residual is None and x.dtype == np.float32:
            return (convolved(op.operator, x, w, b),)
    return run_op(module, op, [*arrays])


def convolved(conv: Conv, x: np.ndarray, w: np.ndarray, b: np.ndarray | None) -> np.ndarray:
    """A convolution without activation, as :class:`tilewright.ir.ops.convolution.Conv` has it."""
    spatial, group = len(conv.strides), conv.group
    axes = conv.windows(x.shape, w.shape)
    outputs = tuple(axis.output for axis in axes)
    padded = np.pad(x, [(0, 0), (0, 0), *zip(conv.pads[:spatial], conv.pads[spatial:], strict=True)])
    shape = (x.shape[0], group, x.shape[1] // group, -1)
    y = np.zeros((x.shape[0], group, w.shape[0] // group, int(np.prod(outputs))), np.float32)
    for tap in itertools.product(*map(range, w.shape[2:])):
        places = zip(tap, outputs, conv.strides, conv.dilations, strict=True)
        seen = tuple(slice(t * d, t * d + (n - 1) * s + 1, s) for t, n, s, d in places)
        elements = padded[(..., *seen)].reshape(shape)
        rows = w[(..., *tap)].reshape(group, w.shape[0] // group, w.shape[1])
        y += rows * elements if w.shape[1] == 1 else rows @ elements
    y = y.reshape(x.shape[0], w.shape[0], *outputs)
    return y if b is None else y + b.reshape(-1, *[1] * spatial).astype(np.float32)
