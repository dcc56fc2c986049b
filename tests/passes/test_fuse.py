"""Fusion of epilogues and of elementwise ops."""

from __future__ import annotations

import numpy as np
import pytest
from before_after import assert_leaves_alone, assert_rewrites, assert_same_meaning, clone, parse, run_pass

from tilewright.ir.ops.fused import FusedElementwise

CONV = '{strides=[1], pads=[0,0], dilations=[1], group=1, act="none", act_args=[]}'
WEIGHTS = "const @w : f32[2,2,1] = [0x1.0p0, 0x1.0p-1, -0x1.0p0, 0x1.0p1]"


def test_activation_and_residual_of_a_convolution(rng: np.random.Generator) -> None:
    assert_rewrites(
        "fuse",
        f"""
        {WEIGHTS}
        func @main(%x: f32[1,2,3]) -> (%y: f32[1,2,3]) {{
          %c = conv(%x, @w) {CONV} : f32[1,2,3] loc("c")
          %d = conv(%c, @w) {CONV} : f32[1,2,3] loc("d")
          %s = add(%c, %d) : f32[1,2,3] loc("s")
          %y = clip(%s) {{min=0x0.0p0, max=0x1.8p2}} : f32[1,2,3] loc("y")
          return %y
        }}
        """,
        f"""
        {WEIGHTS}
        func @main(%x: f32[1,2,3]) -> (%y: f32[1,2,3]) {{
          %c = conv(%x, @w) {CONV} : f32[1,2,3] loc("c")
          %y = conv(%c, @w, _, %c)
            {{strides=[1], pads=[0,0], dilations=[1], group=1, act=clip, act_args=[0x0.0p0, 0x1.8p2]}}
            : f32[1,2,3] loc("d", "s", "y")
          return %y
        }}
        """,
        rng,
    )


@pytest.mark.parametrize("order", ["%c, %d", "%d, %c"])
def test_the_later_of_two_convolutions_takes_the_other(order: str, rng: np.random.Generator) -> None:
    assert_rewrites(
        "fuse",
        f"""
        {WEIGHTS}
        func @main(%x: f32[1,2,3]) -> (%y: f32[1,2,3]) {{
          %c = conv(%x, @w) {CONV} : f32[1,2,3]
          %n = neg(%x) : f32[1,2,3]
          %d = conv(%n, @w) {CONV} : f32[1,2,3]
          %y = add({order}) : f32[1,2,3]
          return %y
        }}
        """,
        f"""
        {WEIGHTS}
        func @main(%x: f32[1,2,3]) -> (%y: f32[1,2,3]) {{
          %c = conv(%x, @w) {CONV} : f32[1,2,3]
          %n = neg(%x) : f32[1,2,3]
          %y = conv(%n, @w, _, %c) {CONV} : f32[1,2,3]
          return %y
        }}
        """,
        rng,
    )


@pytest.mark.parametrize(
    ("lines", "shape"),
    [
        # Another reader needs the convolution's own result.
        ("%s = relu(%c) : f32[1,2,3]\n%y = softmax(%c) {axis=1} : f32[1,2,3]\n", "1,2,3"),
        # The summand broadcasts.
        ("%r = reduce_sum(%x) {axes=[2], keepdims=true} : f32[1,2,1]\n%y = add(%c, %r) : f32[1,2,3]", "1,2,3"),
        # The result is larger.
        ("%y = add(%c, @big) : f32[2,1,2,3]", "2,1,2,3"),
    ],
)
def test_what_a_convolution_cannot_take(lines: str, shape: str) -> None:
    returned = "%s, %y" if "%s" in lines else "%y"
    results = "%s: f32[1,2,3], %y" if "%s" in lines else "%y"
    assert_leaves_alone(
        "fuse",
        f"""
        {WEIGHTS}
        const @big : f32[2,1,1,1] = [0x1.0p0, 0x1.0p1]
        func @main(%x: f32[1,2,3]) -> ({results}: f32[{shape}]) {{
          %c = conv(%x, @w) {CONV} : f32[1,2,3]
          {lines}
          return {returned}
        }}
        """,
    )


def test_an_activation_comes_before_what_follows_it(rng: np.random.Generator) -> None:
    module = parse(f"""
      {WEIGHTS}
      func @main(%x: f32[1,2,3]) -> (%y: f32[1,2,3]) {{
        %c = conv(%x, @w) {CONV} : f32[1,2,3]
        %r = relu(%c) : f32[1,2,3]
        %s = add(%r, %x) : f32[1,2,3]
        %y = tanh(%s) : f32[1,2,3]
        return %y
      }}
    """)
    before = clone(module)
    run_pass("fuse", module)
    assert [op.name for op in module.ops] == ["conv", "fused_elementwise"]
    assert_same_meaning(before, module, rng)


def test_matrix_product_with_gelu_and_residual(rng: np.random.Generator) -> None:
    head = "{transpose_a=false, transpose_b=false, act="
    assert_rewrites(
        "fuse",
        f"""
        func @main(%x: f32[2,3], %w: f32[3,3], %b: f32[3]) -> (%y: f32[2,3]) {{
          %m = matmul(%x, %w, %b) {head}"none", act_args=[]}} : f32[2,3]
          %g = gelu(%m) : f32[2,3]
          %n = matmul(%g, %w) {head}"none", act_args=[]}} : f32[2,3]
          %y = add(%x, %n) : f32[2,3]
          return %y
        }}
        """,
        f"""
        func @main(%x: f32[2,3], %w: f32[3,3], %b: f32[3]) -> (%y: f32[2,3]) {{
          %g = matmul(%x, %w, %b) {head}gelu, act_args=[]}} : f32[2,3]
          %y = matmul(%g, %w, _, %x) {head}"none", act_args=[]}} : f32[2,3]
          return %y
        }}
        """,
        rng,
    )


DIAMOND = """
  const @k : f32[3] = [0x1.0p0, 0x1.0p1, 0x1.8p1]
  func @main(%x: f32[2,3], %z: f32[2,1]) -> (%y: f32[2,3]) {
    %a = add(%x, @k) : f32[2,3] loc("a")
    %b = sigmoid(%a) : f32[2,3] loc("b")
    %e = exp(%z) : f32[2,1] loc("e")
    %c = mul(%a, %b) : f32[2,3] loc("c")
    %p = greater(%c, %e) : bool[2,3]
    %y = where(%p, %c, @k) : f32[2,3] loc("y")
    return %y
  }
"""


def test_elementwise_ops_join_while_nothing_is_computed_twice(rng: np.random.Generator) -> None:
    body = (
        '["t0 = add(a0, a1)", "t1 = sigmoid(t0)", "t2 = mul(t0, t1)", "t3 = greater(t2, a2)", "t4 = where(t3, t2, a1)"]'
    )
    assert_rewrites(
        "fuse",
        DIAMOND,
        f"""
        const @k : f32[3] = [0x1.0p0, 0x1.0p1, 0x1.8p1]
        func @main(%x: f32[2,3], %z: f32[2,1]) -> (%y: f32[2,3]) {{
          %e = exp(%z) : f32[2,1] loc("e")
          %y = fused_elementwise(%x, @k, %e) {{body={body}}} : f32[2,3] loc("a", "b", "c", "y")
          return %y
        }}
        """,
        rng,
    )


@pytest.mark.parametrize(("statements", "operands"), [(3, 8), (2, 8), (1, 8), (24, 2), (24, 1)])
def test_limits(statements: int, operands: int, rng: np.random.Generator) -> None:
    module = parse(DIAMOND)
    before = clone(module)
    run_pass(f"fuse{{max_statements={statements}, max_operands={operands}}}", module)
    fused = [op for op in module.ops if isinstance(op.operator, FusedElementwise)]
    assert bool(fused) == (statements > 1)
    for op in fused:
        assert isinstance(op.operator, FusedElementwise)
        assert len(op.operator.body) <= statements
        assert len(op.operands) <= operands
    assert_same_meaning(before, module, rng)


def test_a_returned_or_shared_result_stays(rng: np.random.Generator) -> None:
    module = parse("""
      func @main(%x: f32[2,3]) -> (%a: f32[2,3], %y: f32[2,3], %s: f32[2,3]) {
        %a = neg(%x) : f32[2,3]
        %b = exp(%a) : f32[2,3]
        %y = sqrt(%b) : f32[2,3]
        %s = softmax(%b) {axis=1} : f32[2,3]
        return %a, %y, %s
      }
    """)
    before = clone(module)
    assert not run_pass("fuse", module)[0].modified
    assert_same_meaning(before, module, rng)


def test_fused_ops_join_further(rng: np.random.Generator) -> None:
    module = parse("""
      func @main(%x: f32[2,3], %z: f32[3]) -> (%y: f32[2,3]) {
        %a = fused_elementwise(%x, %z) {body=["t0 = add(a0, a1)", "t1 = exp(t0)"]} : f32[2,3]
        %b = fused_elementwise(%a, %x) {body=["t0 = mul(a0, a1)", "t1 = add(t0, a0)"]} : f32[2,3]
        %y = neg(%b) : f32[2,3]
        return %y
      }
    """)
    before = clone(module)
    run_pass("fuse", module)
    (op,) = module.ops
    assert op.operator.body == (  # pyright: ignore[reportAttributeAccessIssue]
        *("t0 = add(a0, a1)", "t1 = exp(t0)", "t2 = mul(t1, a0)", "t3 = add(t2, t1)", "t4 = neg(t3)"),
    )
    assert_same_meaning(before, module, rng)


def test_quantised_ops_stay() -> None:
    quant = "i8[4]<s=0x1.0p-3, z=1>"
    assert_leaves_alone(
        "fuse",
        f"""
        func @main(%x: {quant}) -> (%y: {quant}) {{
          %a = relu(%x) : {quant}
          %y = relu(%a) : {quant}
          return %y
        }}
        """,
    )
