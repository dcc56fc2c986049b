"""Vector mathematics against double precision, in units in the last place."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from kernel_harness import TARGETS, described, run

from tilewright.codegen.cpu.formulas import ACTIVATIONS
from tilewright.codegen.cpu.kernel import Kernel
from tilewright.codegen.cpu.kernels.activation import Activation
from tilewright.codegen.cpu.llvm.row_vectors import RowVector, over_row
from tilewright.codegen.cpu.llvm.target import TargetDescription
from tilewright.codegen.cpu.llvm.types import Registers
from tilewright.codegen.cpu.llvm.vector_arithmetic import VectorArithmetic
from tilewright.codegen.cpu.spec import KernelSpec


class Apply(KernelSpec):
    """A function by name, or an activation, on each element of a row."""

    function: str
    length: int

    def generate(self, target: TargetDescription) -> Kernel:
        b, arguments = self.entry(target, writes=("y",))

        def step(place: RowVector, _: Registers) -> Registers:
            x = place.load(arguments["x"])
            is_activation = self.function in ACTIVATIONS
            y = (
                Activation(self.function).apply(b, x)
                if is_activation
                else VectorArithmetic(b).apply(self.function, [x])
            )
            place.store(y, arguments["y"])
            return ()

        over_row(b, self.length, step)
        return self.finish(b, units=1)


def exact(function: Callable[[float], float]) -> Callable[[np.ndarray], np.ndarray]:
    return np.vectorize(function, otypes=[np.float64])


def softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


FUNCTIONS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], tuple[float, float], float]] = {
    "exp": (np.exp, (-87, 88), 2),
    "expm1": (np.expm1, (-20, 80), 3),
    "log": (np.log, (1e-30, 1e30), 2),
    "log1p": (np.log1p, (0, 50), 3),
    "tanh": (np.tanh, (-12, 12), 6),
    "atan": (np.arctan, (-40, 40), 3),
    "asin": (np.arcsin, (-1, 1), 4),
    "acos": (np.arccos, (-1, 1), 4),
    "sinh": (np.sinh, (-80, 80), 5),
    "cosh": (np.cosh, (-80, 80), 5),
    "asinh": (np.arcsinh, (-40, 40), 4),
    "acosh": (np.arccosh, (1.001, 40), 6),
    "atanh": (np.arctanh, (-0.999, 0.999), 5),
    "sigmoid": (lambda x: 1 / (1 + np.exp(-x)), (-80, 80), 4),
    "erf": (exact(math.erf), (-5, 5), 6),
    "softplus": (exact(softplus), (-80, 80), 4),
    "mish": (lambda x: x * np.tanh(exact(softplus)(x)), (-20, 40), 6),
    "gelu": (exact(lambda x: 0.5 * x * (1 + math.erf(x / math.sqrt(2)))), (-0.5, 10), 5),
}
"""Definition in double precision, interval, and largest error in units in the last place."""


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_accuracy(name: str, target: str, rng: np.random.Generator) -> None:
    function, (low, high), allowed = FUNCTIONS[name]
    x = rng.uniform(low, high, 3001).astype(np.float32)
    if low > 0:
        x = np.exp(rng.uniform(math.log(low), math.log(high), 3001)).astype(np.float32)
    near_zero = rng.uniform(max(low, -1), max(low, min(high, 1)), 1000).astype(np.float32)
    x = np.concatenate([x, near_zero])
    (y,) = run(Apply(name, x.size), described(target), [x], [(x.shape, np.float32)])
    expected = function(x.astype(np.float64))
    units = np.abs(y.astype(np.float64) - expected) / np.spacing(np.abs(expected).astype(np.float32)).astype(np.float64)
    assert units.max() <= allowed, f"at {x[units.argmax()]!r}"


@pytest.mark.parametrize("target", TARGETS)
def test_limits(target: str) -> None:
    infinity = math.inf
    cases = {
        "exp": ([-infinity, -200, 200, infinity, 0, math.nan], [0, 0, infinity, infinity, 1, math.nan]),
        "log": ([0, -0.0, -1, infinity, 1, math.nan], [-infinity, -infinity, math.nan, infinity, 0, math.nan]),
        "tanh": ([-infinity, infinity, 0, math.nan], [-1, 1, 0, math.nan]),
        "sigmoid": ([-infinity, infinity, 0, math.nan], [0, 1, 0.5, math.nan]),
        "erf": ([-infinity, infinity, 0, math.nan], [-1, 1, 0, math.nan]),
        "sin": ([-infinity, infinity, 0, math.nan], [math.nan, math.nan, 0, math.nan]),
        "atan": ([-infinity, infinity, 0, math.nan], [-math.pi / 2, math.pi / 2, 0, math.nan]),
        "asin": ([1.01, -1.01, 0, math.nan], [math.nan, math.nan, 0, math.nan]),
        "acos": ([1.01, -1.01, 1, math.nan], [math.nan, math.nan, 0, math.nan]),
        "sinh": ([-infinity, infinity, 0, math.nan], [-infinity, infinity, 0, math.nan]),
        "cosh": ([-infinity, infinity, 0, math.nan], [infinity, infinity, 1, math.nan]),
        "asinh": ([-infinity, infinity, 0, math.nan], [-infinity, infinity, 0, math.nan]),
        "acosh": ([-infinity, infinity, 1, 0.99], [math.nan, infinity, 0, math.nan]),
        "atanh": ([-1, 1, 0, 1.01], [-infinity, infinity, 0, math.nan]),
        "softplus": ([-infinity, infinity, 200, math.nan], [0, infinity, 200, math.nan]),
    }
    for name, (arguments, expected) in cases.items():
        x = np.array(arguments, np.float32)
        (y,) = run(Apply(name, x.size), described(target), [x], [(x.shape, np.float32)])
        np.testing.assert_array_equal(y, np.array(expected, np.float32), err_msg=name)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("name", "function"), [("sin", np.sin), ("cos", np.cos), ("tan", np.tan)])
def test_angles(name: str, function: np.ufunc, target: str, rng: np.random.Generator) -> None:
    """Those in reach of vectors and, between them, those that the C library reduces; the error is that of an angle."""
    x = np.concatenate([rng.uniform(-limit, limit, 1001) for limit in (1, 100, 8000, 1e6)])
    x = rng.permutation(x).astype(np.float32)
    (y,) = run(Apply(name, x.size), described(target), [x], [(x.shape, np.float32)])
    expected = function(x.astype(np.float64))
    scale = 1 + expected**2 if name == "tan" else 1
    assert (np.abs(y - expected) / scale).max() < 3e-7


def test_subnormal_numbers() -> None:
    x = np.array([-88.0, -95.0, -103.0], np.float32)
    (y,) = run(Apply("exp", 3), described("host"), [x], [(x.shape, np.float32)])
    np.testing.assert_allclose(y, np.exp(x.astype(np.float64)), rtol=0, atol=1.5e-45)
    x = np.array([1e-40, 2e-45], np.float32)
    (y,) = run(Apply("log", 2), described("host"), [x], [(x.shape, np.float32)])
    np.testing.assert_allclose(y, np.log(x.astype(np.float64)), rtol=2e-7)
