"""Tests of passes in textual form: before, after, and the same meaning on random inputs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tilewright.ir import interp
from tilewright.ir.clone import clone_module
from tilewright.ir.core import Module
from tilewright.ir.text.parser import parse_module
from tilewright.ir.text.printer import blobs, print_module
from tilewright.ir.types import TensorType
from tilewright.ir.verify import verify
from tilewright.passes.base import Pass, Record, Verification
from tilewright.passes.pipeline import Pipeline


def parse(text: str, arrays: Mapping[str, np.ndarray] | None = None) -> Module:
    """A verified module from text. A text without ``module`` is the inside of one called ``test``."""
    stripped = text.strip()
    module = parse_module(stripped if stripped.startswith("module") else f"module @test {{\n{stripped}\n}}", arrays)
    verify(module)
    return module


def canonical(module: Module) -> str:
    """The text of ``module`` with values and constants numbered, constants in order of first use."""
    again = parse_module(print_module(module), blobs(module))
    ordered = dict.fromkeys(
        value for op in again.ops for value in op.inputs if value.producer is None and value.name in again.constants
    )
    constants = [value for value in ordered if again.constants.get(value.name) is value]
    constants += [c for c in again.constants.values() if c not in ordered]
    again.constants = {}
    for index, constant in enumerate(constants):
        constant.name = f"c{index}"
        again.constants[constant.name] = constant  # pyright: ignore[reportArgumentType]
    for function in again.functions.values():
        values = (*function.parameters, *(value for op in function.ops for value in op.results))
        for index, value in enumerate(values):
            value.name = str(index)
    return print_module(again)


def clone(module: Module) -> Module:
    """An independent copy."""
    return clone_module(module)


def random_array(type: TensorType, rng: np.random.Generator) -> np.ndarray:
    """Elements that exercise both signs: normal floats, small integers, any booleans."""
    if type.dtype.is_float:
        return rng.standard_normal(type.shape).astype(type.dtype.numpy)
    if type.dtype.is_integer:
        low = -8 if type.dtype.value.startswith("i") else 0
        return rng.integers(low, 8, type.shape).astype(type.dtype.numpy)
    return rng.integers(0, 2, type.shape).astype(np.bool_)


def random_inputs(module: Module, rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {p.name: random_array(p.type, rng) for p in module.main.parameters}


def assert_close(found: np.ndarray, expected: np.ndarray, tolerance: float = 1e-5, what: str = "") -> None:
    """Floats within ``tolerance`` of the largest expected magnitude, everything else equal."""
    assert found.dtype == expected.dtype, what
    assert found.shape == expected.shape, what
    if found.dtype.kind == "f":
        scale = max(1.0, float(np.abs(expected[np.isfinite(expected)]).max(initial=0.0)))
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance * scale, err_msg=what)
    else:
        np.testing.assert_array_equal(found, expected, err_msg=what)


def assert_same_meaning(before: Module, after: Module, rng: np.random.Generator, tolerance: float = 1e-5) -> None:
    """Both modules take the same inputs to the same outputs."""
    assert [(p.name, p.type) for p in before.main.parameters] == [(p.name, p.type) for p in after.main.parameters]
    assert before.main.result_names == after.main.result_names
    inputs = random_inputs(before, rng)
    found = interp.run(after, inputs)
    for name, array in interp.run(before, inputs).items():
        assert_close(found[name], array, tolerance, name)


def run_pass(current: Pass | Pipeline | str, module: Module) -> list[Record]:
    """Run with every check."""
    pipeline = current if isinstance(current, Pipeline) else Pipeline.parse(str(current))
    return pipeline.run(module, verification=Verification.FULL)


def assert_rewrites(
    current: Pass | str, before: str, after: str, rng: np.random.Generator, *, again: bool = True
) -> None:
    """``current`` makes ``after`` out of ``before``, keeps its meaning, and finds nothing to do the second time.

    Args:
        again: whether the pass takes its own result, to try the second time.
    """
    module = parse(before)
    original = clone(module)
    (record,) = run_pass(current, module)
    assert record.modified
    assert canonical(module) == canonical(parse(after))
    assert_same_meaning(original, module, rng)
    if again:
        assert not run_pass(current, module)[0].modified, "a second run changed the module again"


def assert_leaves_alone(current: Pass | str, text: str) -> None:
    """``current`` changes nothing."""
    module = parse(text)
    before = print_module(module)
    (record,) = run_pass(current, module)
    assert not record.modified
    assert print_module(module) == before
