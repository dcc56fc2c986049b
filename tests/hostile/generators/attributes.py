"""Operators with other attributes and other shapes, their results inferred again, compiled and run."""

from __future__ import annotations

import enum
import typing
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from operator_samples import all_cases
from samples import Sample

from tilewright.ir.op import Operator, attribute_types
from tilewright.ir.types import DType, Quantization, TensorType

from ..execution import run_guarded, single_op_module
from ..generator import Case, generator
from ..mutation import FLOATS, SMALL, pick, pick_integer

WORDS = (
    "none", "relu", "clip", "add", "mul", "min", "max", "constant", "reflect", "edge", "wrap", "nearest", "linear",
    "cubic", "asymmetric", "align_corners", "tf_crop_and_resize", "half_pixel", "floor", "ceil", "DCR", "CRD", "x",
)  # fmt: skip


@cache
def samples() -> dict[str, list[Sample]]:
    """Every sample by operator."""
    found: dict[str, list[Sample]] = {}
    for case in all_cases():
        found.setdefault(case.sample.operator.name, []).append(case.sample)
    return found


def prepare() -> None:
    """Also compiles one kernel of each way to make them, which loads LLVM and numba."""
    rng = np.random.default_rng(0)
    for name in ("conv", "max_pool", "gather", "resize"):
        sample = samples()[name][0]
        run_guarded(single_op_module(sample.operator, sample.operand_types(), sample.result_types), rng)


def random_sample(rng: np.random.Generator) -> Sample:
    """A sample of an operator; those with few samples are as likely as those with many."""
    return pick(rng, samples()[pick(rng, list(samples()))])


def other_value(rng: np.random.Generator, value: Any, declared: Any) -> Any:
    """Another value of the type of an attribute."""
    options = [each for each in typing.get_args(declared) if each is not Ellipsis]
    if isinstance(value, bool):
        return not value
    if isinstance(value, enum.Enum):
        return pick(rng, list(type(value)))
    if isinstance(value, int):
        return pick_integer(rng, value)
    if isinstance(value, float):
        return pick(rng, (*FLOATS, value * 1.5))
    if isinstance(value, str):
        return pick(rng, WORDS)
    if isinstance(value, tuple) and value:
        kind = rng.integers(8)
        if kind == 0:
            return value[:-1]
        if kind == 1:
            return (*value, value[-1])
        index = int(rng.integers(len(value)))
        return (*value[:index], other_value(rng, value[index], None), *value[index + 1 :])
    if value is None and options:
        return {int: pick_integer(rng), float: pick(rng, FLOATS)}.get(options[0])
    return value


def other_operator(rng: np.random.Generator, operator: Operator) -> Operator:
    """The operator with one attribute changed."""
    declared = attribute_types(type(operator))
    if not declared:
        return operator
    name = pick(rng, list(declared))
    return replace(operator, **{name: other_value(rng, getattr(operator, name), declared[name])})


def other_shape(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape with other extents, or one more or less of them."""
    kind = rng.integers(10)
    if kind == 0 and shape:
        return shape[:-1]
    if kind == 1:
        return (*shape, pick(rng, (0, 1, 2)))
    if not shape:
        return shape
    index = int(rng.integers(len(shape)))
    small = (*(abs(n) for n in SMALL), 15, 17, 31, 33, 100)
    extent = pick(rng, small) if rng.integers(8) else abs(pick_integer(rng, shape[index]))
    return (*shape[:index], extent, *shape[index + 1 :])


def other_type(rng: np.random.Generator, type: TensorType) -> TensorType:
    """A type with another shape, element type or quantisation."""
    kind = rng.integers(8)
    if kind == 0:
        return TensorType(type.shape, pick(rng, list(DType)), type.quant)
    if kind == 1 and type.quant is not None:
        scale = pick(rng, (1e-45, 1e-30, 1e30, 3e38, 0.5))
        return type.with_quant(Quantization.per_tensor(scale, pick(rng, (-129, -128, 0, 127, 255, 256, 2**40))))
    shape = other_shape(rng, type.shape)
    quant = type.quant
    if quant is not None and quant.axis is not None and quant.axis < len(shape):
        count = min(shape[quant.axis], 4096)
        quant = Quantization((quant.scale * count)[:count], (quant.zero_point * count)[:count], quant.axis)
    return TensorType(shape, type.dtype, quant)


def same_shapes(
    rng: np.random.Generator, types: tuple[TensorType | None, ...], changed: int
) -> tuple[TensorType | None, ...]:
    """One operand changed, and with it, half the time, the others that had its shape."""
    old = types[changed]
    if old is None:
        return types
    new = other_type(rng, old)
    together = rng.integers(2)
    return tuple(
        new if index == changed else t.with_shape(new.shape) if together and t and t.shape == old.shape and not t.quant
        else t
        for index, t in enumerate(types)
    )  # fmt: skip


@generator("attributes", prepare=prepare)
def attributes(rng: np.random.Generator) -> Case:
    sample = random_sample(rng)
    operator, types, given = sample.operator, sample.operand_types(), sample.result_types
    for _ in range(int(rng.integers(1, 4))):
        if rng.integers(2):
            operator = other_operator(rng, operator)
        elif types:
            types = same_shapes(rng, types, int(rng.integers(len(types))))
    if given is not None and rng.integers(2):
        inferred = operator.result_types(types)
        quants = zip(inferred, given, strict=False)
        given = tuple(TensorType(i.shape, g.dtype, g.quant) for i, g in quants)
    module = single_op_module(operator, types, given)
    return Case(f"{operator!r}\n{', '.join(map(str, types))}", lambda: run_guarded(module, rng))
