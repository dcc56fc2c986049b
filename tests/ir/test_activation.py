"""Activations as operators and as epilogues are the same functions."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tilewright.errors import IRError
from tilewright.ir.activation import ACTIVATIONS, activate, check_activation, clip_bounds
from tilewright.ir.op import REGISTRY
from tilewright.ir.ops.activation import Activation, Clip, HardSigmoid
from tilewright.ir.types import DType, TensorType


@pytest.mark.parametrize("name", [name for name in ACTIVATIONS if name != "none"])
def test_every_epilogue_is_an_operator_of_the_same_meaning(name: str, rng: np.random.Generator) -> None:
    args = (0.25, 0.75)[: ACTIVATIONS[name][0]]
    operator = REGISTRY[name](*args)
    assert isinstance(operator, Activation)
    assert (operator.act, operator.act_args) == (name, args)
    x = rng.standard_normal(50).astype(np.float32)
    np.testing.assert_array_equal(operator.reference(x), activate(x, name, args))


def test_every_activation_operator_is_an_epilogue() -> None:
    operators = {name for name, cls in REGISTRY.items() if issubclass(cls, Activation)}
    assert operators == ACTIVATIONS.keys() - {"none"}


@pytest.mark.parametrize(
    ("name", "args", "text"),
    [
        ("rleu", (), "unknown activation"),
        ("clip", (1.0,), "activation clip takes 2 arguments; found 1"),
    ],
)
def test_wrong_epilogues_are_refused(name: str, args: tuple[float, ...], text: str) -> None:
    with pytest.raises(IRError, match=text):
        check_activation(name, args, TensorType((1,), DType.F32))


@pytest.mark.parametrize("name", [name for name in ACTIVATIONS if ACTIVATIONS[name][0] == 0])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_dtype_is_kept_and_large_arguments_do_not_overflow(name: str, dtype: type) -> None:
    x = np.array([-1e4, -100, -1, 0, 1, 100, 1e4], dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        y = activate(x, name)
    assert y.dtype == x.dtype
    assert not np.isnan(y).any()


def test_integer_clips_are_bounded_by_the_type_too() -> None:
    x = np.array([0, 3, 255], np.uint8)
    np.testing.assert_array_equal(Clip(-2.0, 3.5).reference(x), [0, 3, 3])
    np.testing.assert_array_equal(Clip(-math.inf, math.inf).reference(x), x)
    assert [b.item() for b in clip_bounds((-1e30, 1e30), np.dtype(np.int64))] == [-(2**63), 2**63 - 1]


def test_arguments_come_in_the_order_of_the_attributes() -> None:
    assert HardSigmoid(alpha=0.2, beta=0.5).act_args == (0.2, 0.5)
