"""Bodies of fused elementwise operators: what they mean and what is refused."""

from __future__ import annotations

import re

import numpy as np
import pytest

from tilewright.errors import IRError, ParseError
from tilewright.ir.ops.activation import Clip
from tilewright.ir.ops.elementwise import Add, Mul
from tilewright.ir.ops.fused import FusedElementwise, Step, fuse
from tilewright.ir.types import DType, TensorType


def test_steps_name_operators_and_places() -> None:
    operator = FusedElementwise(("t0 = add(a0, a1)", "t1 = clip(t0) {min=0x0.0p+0, max=inf}", "t2 = mul(t1, a1)"))
    assert operator.arity == 2
    assert operator.steps == (Step(Add(), (0, 1)), Step(Clip(min=0.0), (2,)), Step(Mul(), (3, 1)))


def test_a_body_is_built_from_operators() -> None:
    operator = fuse((Add(), ("a0", "a1")), (Clip(0.0, 6.0), ("t0",)))
    assert operator.body == ("t0 = add(a0, a1)", "t1 = clip(t0) {min=0x0.0p+0, max=0x1.8p+2}")
    x, y = np.array([-9, 1, 9], np.float32), np.array([1], np.float32)
    np.testing.assert_array_equal(operator.reference(x, y), [0, 2, 6])


def test_types_of_the_steps() -> None:
    operator = FusedElementwise(("t0 = less(a0, a1)", "t1 = where(t0, a0, a1)"))
    column, row = TensorType((3, 1), DType.F32), TensorType((1, 4), DType.F32)
    assert [t.dtype for t in operator.step_types((column, row))] == [DType.BOOL, DType.F32]
    assert operator.infer(column, row) == TensorType((3, 4), DType.F32)


@pytest.mark.parametrize(
    ("body", "error", "text"),
    [
        ((), IRError, "the body is empty"),
        (
            ("t0 = relu(a0)", *(f"t{i} = relu(t{i - 1})" for i in range(1, 33))),
            IRError,
            "the body is too long; expected at most 32 statements, found 33",
        ),
        (("t1 = relu(a0)",), IRError, "defines another value; expected t0, found t1 = relu(a0)"),
        (("t0 = relu(t0)",), IRError, "reads a value that is not defined before; found t0 in t0 = relu(t0)"),
        (("t0 = relu(x)",), IRError, "reads a value that is not defined before; found x in t0 = relu(x)"),
        (("t0 = add(a0)",), IRError, "add takes another number of arguments; expected 2, found t0 = add(a0)"),
        (("t0 = relu(a1)",), IRError, "a value of the body is never read; found a0"),
        (("t0 = relu(a999999999)",), IRError, "a value of the body is never read; found a0"),
        (("t0 = relu(a9999999999)",), IRError, "reads a value that is not defined before; found a9999999999"),
        (("t0 = relu(a0)", "t1 = abs(a0)"), IRError, "a value of the body is never read; found t0"),
        (("t0 = global_average_pool(a0)",), IRError, "the body takes elementwise operators only"),
        (("t0 = wat(a0)",), ParseError, "unknown operator 'wat'"),
        (("t0 = clip(a0)",), ParseError, "clip lacks attribute 'min'"),
        (("t0 = relu(a0) {alpha=1}",), ParseError, "relu has no attribute 'alpha'"),
        (("t0 = relu(a0",), ParseError, "expected ',', found 'end of text'"),
        (("t0 = relu(a0) t1",), ParseError, "expected the end of the statement, found 't1'"),
    ],
)
def test_bad_bodies_are_refused(body: tuple[str, ...], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=re.escape(text)):
        _ = FusedElementwise(body).steps


def test_another_number_of_operands_is_refused() -> None:
    with pytest.raises(IRError, match="the body reads another number of operands; expected 1, found 2"):
        FusedElementwise(("t0 = relu(a0)",)).infer(*[TensorType((2,), DType.F32)] * 2)


def test_types_that_do_not_fit_name_the_inner_operator() -> None:
    with pytest.raises(IRError, match="add: the element types differ; expected f32, found i64"):
        FusedElementwise(("t0 = add(a0, a1)",)).infer(TensorType((2,), DType.F32), TensorType((2,), DType.I64))
