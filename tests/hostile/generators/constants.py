"""Constants of any values, in networks that are compiled and trusted: indices, scales, NaN, infinities."""

from __future__ import annotations

from functools import partial

import numpy as np
from random_graphs import random_graph

from tilewright.compiler.pipeline import simplify_pipeline
from tilewright.ir.core import Constant, Module
from tilewright.ir.types import TensorType
from tilewright.ir.verify import verify

from ..execution import random_array, run_guarded, single_op_module
from ..generator import Case, generator
from ..mutation import pick
from .attributes import prepare, random_sample


def _sample_module(rng: np.random.Generator) -> Module:
    """A sample whose operands are constants, some of them others than they were; one parameter at least stays."""
    sample = random_sample(rng)
    present = [index for index, array in enumerate(sample.inputs) if array is not None]
    constants: dict[int, np.ndarray] = {}
    for index in present[1:] if len(present) > 1 else ():
        array, type = sample.inputs[index], sample.operand_types()[index]
        assert array is not None and type is not None
        constants[index] = _other_elements(rng, array, type) if rng.integers(4) else array
    return single_op_module(sample.operator, sample.operand_types(), sample.result_types, constants)


def _other_elements(rng: np.random.Generator, array: np.ndarray, type: TensorType) -> np.ndarray:
    """All elements others, or one of them."""
    other = random_array(rng, type)
    if rng.integers(2) or not array.size:
        return other
    changed = array.copy()
    index = int(rng.integers(array.size))
    changed.reshape(-1)[index] = other.reshape(-1)[index]
    return changed


def _network(rng: np.random.Generator) -> Module:
    """A small network with other weights."""
    module = random_graph(rng)
    for name, constant in list(module.constants.items()):
        if rng.integers(3) == 0:
            other = Constant(name, _other_elements(rng, constant.array, constant.type), constant.type)
            module.constants[name] = other
            constant.replace_all_uses(other)
    return module


@generator("constants", prepare=prepare)
def constants(rng: np.random.Generator) -> Case:
    module = _network(rng) if rng.integers(4) == 0 else _sample_module(rng)
    return Case(str(module), partial(_run, rng, module))


def _run(rng: np.random.Generator, module: Module) -> None:
    verify(module)
    if pick(rng, (True, False)):
        simplify_pipeline().run(module)
    run_guarded(module, rng)
