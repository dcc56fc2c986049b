"""Calls: run by the interpreter, checked against the function they name, given their result types."""

from __future__ import annotations

import numpy as np
import pytest
from operator_samples import samples

from tilewright.errors import IRError, VerifyError
from tilewright.ir import interp
from tilewright.ir.core import Function, Module, Op
from tilewright.ir.op import REGISTRY
from tilewright.ir.ops.call import Call
from tilewright.ir.text.parser import parse_module
from tilewright.ir.types import DType, TensorType
from tilewright.ir.verify import verify

TEXT = """
module @test {
  func @main(%x: f32[2,3], %y: f32[2,3]) -> (%a: f32[2,3], %b: f32[2,3]) {
    %s, %d = call(%x, %y) {callee=both, shares=1} : f32[2,3], f32[2,3] loc("Node_0")
    return %s, %d
  }
  func @both(%p: f32[2,3], %q: f32[2,3]) -> (%sum: f32[2,3], %difference: f32[2,3]) {
    %0 = add(%p, %q) : f32[2,3]
    %1 = sub(%p, %q) : f32[2,3]
    return %0, %1
  }
}
"""


def parse(text: str) -> Module:
    return parse_module(text)


def test_runs_its_function(rng: np.random.Generator) -> None:
    module = parse(TEXT)
    verify(module)
    x, y = rng.standard_normal((2, 2, 3)).astype(np.float32)
    found = interp.run(module, {"x": x, "y": y})
    np.testing.assert_array_equal(found["a"], x + y)
    np.testing.assert_array_equal(found["b"], x - y)


def test_has_no_samples() -> None:
    assert REGISTRY["call"] is Call
    assert list(samples(Call, np.random.default_rng(0))) == []


def test_must_be_given_its_results() -> None:
    x = Function("main", [("x", TensorType((2,), DType.F32))]).parameters[0]
    with pytest.raises(IRError, match="call: result types cannot be inferred and must be given"):
        Op(Call("other"), [x])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("callee=both", "callee=other", "the call names no function that can be called"),
        ("callee=both", "callee=main", "the call names no function that can be called"),
        ("call(%x, %y)", "call(%x)", "wrong number of operands of a call"),
        ("%s, %d = call(%x, %y) {callee=both, shares=1} : f32[2,3], f32[2,3]", "%s, %d, %e = call(%x, %y) "
         "{callee=both, shares=1} : f32[2,3], f32[2,3], f32[2,3]", "wrong number of results of a call"),
        ("%q: f32[2,3]) -> (%sum: f32[2,3], %difference: f32[2,3])", "%q: f32[3]) -> (%sum: f32[2,3], "
         "%difference: f32[2,3])", "the operands of a call do not have the types of @both"),
    ],
)  # fmt: skip
def test_must_fit_its_function(old: str, new: str, message: str) -> None:
    assert old in TEXT
    with pytest.raises(VerifyError) as caught:
        verify(parse(TEXT.replace(old, new)))
    assert message in str(caught.value)
    assert "Node_0" in str(caught.value)


def test_wrong_results_show_both_types() -> None:
    text = TEXT.replace("%1 = sub(%p, %q) : f32[2,3]", "%1 = cast(%p) {to=f64} : f64[2,3]")
    text = text.replace("(%sum: f32[2,3], %difference: f32[2,3])", "(%sum: f32[2,3], %difference: f64[2,3])")
    with pytest.raises(VerifyError, match="the results of a call do not have the types of @both") as caught:
        verify(parse(text))
    assert "expected" in str(caught.value)
    assert "f64[2,3]" in str(caught.value)


def test_no_function_calls_itself() -> None:
    text = TEXT.replace(
        "%0 = add(%p, %q) : f32[2,3]", "%0, %9 = call(%p, %q) {callee=both, shares=1} : f32[2,3], f32[2,3]"
    )
    with pytest.raises(VerifyError) as caught:
        verify(parse(text))
    assert str(caught.value) == "@both: a function calls itself, directly or through others"


SHARED = """
module @test {
  func @main(%x: f32[4,3], %y: f32[1,3]) -> (%a: f32[4,3]) {
    %a = call(%x, %y) {callee=part, shares=2} : f32[4,3] loc("Node_0")
    return %a
  }
  func @part(%p: f32[2,3], %q: f32[1,3]) -> (%sum: f32[2,3]) {
    %0 = add(%p, %q) : f32[2,3]
    %1 = softmax(%0) {axis=0} : f32[2,3]
    return %1
  }
}
"""


def test_applies_its_function_to_each_share(rng: np.random.Generator) -> None:
    module = parse(SHARED)
    verify(module)
    assert parse(str(module)).functions.keys() == module.functions.keys()
    x, y = rng.standard_normal((4, 3)).astype(np.float32), rng.standard_normal((1, 3)).astype(np.float32)
    found = interp.run(module, {"x": x, "y": y})["a"]
    # Along the dimension that is cut each share has a sum of its own.
    np.testing.assert_allclose(found[:2].sum(0), 1, rtol=1e-6)
    np.testing.assert_allclose(found[2:].sum(0), 1, rtol=1e-6)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("shares=2", "shares=0", "a call applies a function once at least"),
        ("shares=2", "shares=4", "the operands of a call do not have the types of @part"),
        ("%y: f32[1,3]", "%y: f32[4,3]", "the operands of a call do not have the types of @part"),
        ("return %1", "return %q", "the results of a call do not have the types of @part"),
    ],
)
def test_shares_must_fit_the_function(old: str, new: str, message: str) -> None:
    assert old in SHARED
    with pytest.raises(VerifyError, match=message):
        verify(parse(SHARED.replace(old, new).replace("%sum: f32[2,3]", f"%sum: f32[{1 if 'q' in new else 2},3]")))
