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
from ...ir.quantized import limits, parameters
from ...ir.types import DType, TensorType
from ...passes.quantization.plan import Plan
from ..calibration.sample_sets import Inputs

MOST_BYTES = 2**32
"""Of what is there of all samples at an op, in both networks; where it would be more, fewer samples are used, and the
others join in where maps are smaller."""

MOST_SAMPLES = 512
"""At even distances, of more: each takes a third of a second of a large network."""

IN_HALF = (2.0**-4, 2.0**15)
"""The largest numbers of arrays that are held in half precision, whose steps are finer than those of 8 bits; of what
ops that are quantised make alone: positions, or what a logarithm reads, may need more."""

Arrays = list[np.ndarray]
"""Of a value, one for each sample."""

Chosen = tuple[np.ndarray, np.ndarray]
"""Weights and bias of a layer, real numbers."""

Choose = Callable[[Op, Arrays, Arrays, Arrays, Callable[[Op], Arrays]], Chosen]
"""Given a layer, what it reads in floating point, what it is to make before its activation, and what it reads in the
quantised network: the weights that it has there. It is to make what it makes in floating point; where that is added to
another value, what this lacks in the quantised network as well. The last gives, for a layer that follows, what such
another value lacks, nothing where there is none."""

_Values = dict[Value, np.ndarray]


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
    count = min(len(samples), MOST_SAMPLES)
    samples = [samples[index * len(samples) // count] for index in range(count)]
    ops = [*module.main.ops]
    last = {value: op for op in ops for value in op.inputs}
    there: dict[Value, int] = {}
    sizes: list[int] = []
    for op in ops:
        own = dict.fromkeys((*op.inputs, *op.results))
        there |= {v: (4 if v.producer is None or v.producer in plan.ops else 8) * v.type.elements for v in own}
        # What a layer is learnt from is there in single precision as well.
        sizes.append(sum(there.values()) + (4 * sum(v.type.elements for v in own) if op in layers else 0))
        for value in own:
            if last.get(value, op) is op:
                del there[value]
    # Of each op and those behind it.
    largest = [*itertools.accumulate(reversed(sizes), max)][::-1]
    used: list[tuple[_Values, _Values]] = []
    chosen: dict[Op, Chosen] = {}

    def column(values: _Values, op: Op, value: Value | None, *, is_coarse: bool) -> np.ndarray | None:
        if value is None or isinstance(value, Constant):
            return value.array if value is not None else None
        array = values[value].astype(value.type.dtype.numpy, copy=False)
        if is_coarse and value in types and plan.reads_quantized(value, op):
            return rounded(array, types[value])
        return array

    def read(values: _Values, op: Op, *, is_coarse: bool) -> list[np.ndarray | None]:
        return [column(values, op, value, is_coarse=is_coarse) for value in op.operands]

    def lacking(op: Op) -> Arrays:
        """What the quantised network lacks of the other operand of a sum that alone reads the result."""
        value = op.results[0]
        user = value.only_user
        if not is_op(user, Add):
            return []
        for other in user.inputs:
            if other in used[0][0] and other.type.shape == value.type.shape:
                wanted, given = (
                    _present([column(each[end], user, other, is_coarse=end == 1) for each in used]) for end in (0, 1)
                )
                return [a - b for a, b in zip(wanted, given, strict=True)]
        return []

    def advance(exact: _Values, coarse: _Values, op: Op, wanted: Sequence[np.ndarray] | None = None) -> None:
        """Compute an op in both networks. ``wanted``: what it makes in floating point, where that is there."""
        given = read(coarse, op, is_coarse=True)
        if op in chosen:
            given[1:3] = chosen[op]
        wanted = computed(module, op, read(exact, op, is_coarse=False)) if wanted is None else wanted
        for values, made in ((exact, wanted), (coarse, computed(module, op, given))):
            values.update(zip(op.results, map(_held, made) if op in plan.ops else made, strict=True))
        for value in {*op.inputs, *op.results}:
            if last.get(value, op) is op:
                exact.pop(value, None)
                coarse.pop(value, None)

    for position, op in enumerate(ops):
        room = max(1, MOST_BYTES // max(1, largest[position]))
        for sample in samples[len(used) : room]:
            exact = {p: sample[p.name] for p in module.main.parameters}
            used.append((exact, dict(exact)))
            for before in ops[:position]:
                advance(*used[-1], before)
        results: list[tuple[np.ndarray, ...]] = []
        if op in layers:
            x, given = (
                _present([column(each[end], op, op.operands[0], is_coarse=end == 1) for each in used]) for end in (0, 1)
            )
            results = [computed(module, op, read(exact, op, is_coarse=False)) for exact, _ in used]
            target = [y for (y,) in results]
            if more := lacking(op):
                target = [y + each for y, each in zip(target, more, strict=True)]
            chosen[op] = layers[op](op, x, target, given, lacking)
        for (exact, coarse), wanted in itertools.zip_longest(used, results):
            advance(exact, coarse, op, wanted)


def _held(x: np.ndarray) -> np.ndarray:
    """Results as they are kept."""
    is_single = x.dtype == np.float32 and IN_HALF[0] <= np.abs(x).max(initial=0) <= IN_HALF[1]
    return x.astype(np.float16) if is_single else x


def _present(arrays: Sequence[np.ndarray | None]) -> Arrays:
    return [array for array in arrays if array is not None]


def rounded(x: np.ndarray, type: TensorType) -> np.ndarray:
    """The numbers that the integers of a type of one scale stand for, float32."""
    (scale, zero), (low, high) = parameters(type), limits(type)
    return np.clip(np.rint(x / scale), low - zero, high - zero) * scale


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
