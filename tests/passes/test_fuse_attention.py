"""Attention is recognised however it is written, and what moves its operands becomes views."""

from __future__ import annotations

import re

import numpy as np
import pytest
from before_after import assert_close, assert_leaves_alone, parse, random_inputs, run_pass

from tilewright.ir import interp
from tilewright.ir.core import Module, is_op
from tilewright.ir.ops.attention import Attention
from tilewright.passes.attention.fuse_attention import FuseAttention

_CAUSAL = np.where(np.tri(5, 5, dtype=bool), 0, -np.inf).astype(np.float32)
_BIAS_AND_MASK = """
        %s = matmul(%q, %k) {transpose_b=true} : f32[4,2,5,6]
        %a = add(%s, %bias) : f32[4,2,5,6]
        %r = reshape(%a) {shape=[2, 2, 2, 5, 6]} : f32[2,2,2,5,6]
        %b = add(%r, %mask) : f32[2,2,2,5,6]
        %c = reshape(%b) {shape=[4, 2, 5, 6]} : f32[4,2,5,6]
        %w = softmax(%c) {axis=3} : f32[4,2,5,6]
        %y = matmul(%w, %v) : f32[4,2,5,3]
        """
_ARRAYS = {
    "scale": np.float32(0.25),
    "low": np.float32(-3e38),
    "causal": _CAUSAL.reshape(1, 1, 5, 5),
    "of_batch": _CAUSAL.reshape(5, 1, 5),
    "seen": np.tri(5, dtype=bool),
    "first": np.int64(0),
    "second": np.int64(1),
    "third": np.int64(2),
}
_CONSTANTS = """
const @scale : f32[] = blob "scale"
const @low : f32[] = blob "low"
const @causal : f32[1,1,5,5] = blob "causal"
const @of_batch : f32[5,1,5] = blob "of_batch"
const @seen : bool[5,5] = blob "seen"
const @first : i64[] = blob "first"
const @second : i64[] = blob "second"
const @third : i64[] = blob "third"
"""
_HEADS = """
%qr = reshape(%q) {shape=[2, 5, 4, 3]} : f32[2,5,4,3]
%kr = reshape(%k) {shape=[2, 5, 4, 3]} : f32[2,5,4,3]
%vr = reshape(%v) {shape=[2, 5, 4, 3]} : f32[2,5,4,3]
%qt = transpose(%qr) {perm=[0, 2, 1, 3]} : f32[2,4,5,3]
%vt = transpose(%vr) {perm=[0, 2, 1, 3]} : f32[2,4,5,3]
"""
_JOINED = """
%w = softmax(%masked) {axis=3} : f32[2,4,5,5]
%m = matmul(%w, %vt) : f32[2,4,5,3]
%t = transpose(%m) {perm=[0, 2, 1, 3]} : f32[2,5,4,3]
%y = reshape(%t) {shape=[2, 5, 12]} : f32[2,5,12]
"""
_QKV = "%q: f32[2,5,12], %k: f32[2,5,12], %v: f32[2,5,12]"
_TURNED = "%kt = transpose(%kr) {perm=[0, 2, 3, 1]} : f32[2,4,3,5]\n%s = matmul(%qt, %kt) : f32[2,4,5,5]\n"


def network(text: str) -> Module:
    """A module whose products name only the factor that is transposed."""

    def product(found: re.Match[str]) -> str:
        flags = (f"{name}={str(name in (found[2] or '')).lower()}" for name in ("transpose_a", "transpose_b"))
        return f'matmul({found[1]}) {{{", ".join(flags)}, act="none", act_args=[]}}'

    return parse(re.sub(r"matmul\(([^)]*)\)(?: \{(.*?)\})?", product, _CONSTANTS + text), _ARRAYS)


SPELLINGS = {
    "a mask of keys, scores divided": (
        _QKV + ", %mask: f32[2,1,1,5]",
        _HEADS + _TURNED + "%f = div(%s, @scale) : f32[2,4,5,5]\n%masked = add(%f, %mask) : f32[2,4,5,5]" + _JOINED,
        {"batch": (2, 4), "scale": 4.0, "q_view": (0, 60, 3, 12, 1), "y_view": (0, 60, 3, 12, 1)},
    ),
    "factors of queries and keys, and a known causal mask": (
        _QKV,
        _HEADS
        + """
        %qs = mul(%qt, @scale) : f32[2,4,5,3]
        %kt = transpose(%kr) {perm=[0, 2, 1, 3]} : f32[2,4,5,3]
        %ks = mul(%kt, @scale) : f32[2,4,5,3]
        %s = matmul(%qs, %ks) {transpose_b=true} : f32[2,4,5,5]
        %masked = add(@causal, %s) : f32[2,4,5,5]"""
        + _JOINED,
        {"batch": (2, 4), "scale": 0.0625, "causal": True, "mask_view": ()},
    ),
    "a choice by a known condition, then a mask": (
        _QKV + ", %mask: f32[2,1,5,5]",
        _HEADS
        + _TURNED
        + "%c = where(@seen, %s, @low) : f32[2,4,5,5]\n%masked = add(%c, %mask) : f32[2,4,5,5]"
        + _JOINED,
        {"causal": True, "mask_view": (0, 25, 0, 5, 1)},
    ),
    "a mask of keys by batch, whose numbers are those of a causal one": (
        "%q: f32[5,5,3], %k: f32[5,5,3], %v: f32[5,5,3]",
        """
        %s = matmul(%q, %k) {transpose_b=true} : f32[5,5,5]
        %masked = add(%s, @of_batch) : f32[5,5,5]
        %w = softmax(%masked) {axis=2} : f32[5,5,5]
        %y = matmul(%w, %v) : f32[5,5,3]
        """,
        {"causal": False, "mask_view": (0, 5, 0, 1)},
    ),
    "masks of two kinds, one chosen": (
        _QKV + ", %bias: f32[1,4,5,5], %hidden: bool[2,1,1,5]",
        _HEADS
        + _TURNED
        + "%b = add(%bias, %s) : f32[2,4,5,5]\n%masked = where(%hidden, @low, %b) : f32[2,4,5,5]"
        + _JOINED,
        {"causal": False, "mask_view": (0, 100, 25, 5, 1)},
    ),
    "heads in one dimension with the batch": (
        "%q: f32[8,5,3], %k: f32[8,6,3], %v: f32[8,6,3], %mask: f32[2,1,5,6]",
        """
        %s = matmul(%q, %k) {transpose_b=true} : f32[8,5,6]
        %r = reshape(%s) {shape=[2, 4, 5, 6]} : f32[2,4,5,6]
        %a = add(%r, %mask) : f32[2,4,5,6]
        %b = reshape(%a) {shape=[8, 5, 6]} : f32[8,5,6]
        %w = softmax(%b) {axis=2} : f32[8,5,6]
        %m = matmul(%w, %v) : f32[8,5,3]
        %u = reshape(%m) {shape=[2, 4, 5, 3]} : f32[2,4,5,3]
        %y = transpose(%u) {perm=[0, 2, 1, 3]} : f32[2,5,4,3]
        """,
        {"batch": (2, 4), "mask_view": (0, 30, 0, 6, 1), "y_view": (0, 60, 3, 12, 1)},
    ),
    "a bias of heads, and a mask of windows behind a reshape": (
        "%q: f32[4,2,5,3], %k: f32[4,2,6,3], %v: f32[4,2,6,3], %bias: f32[1,2,5,6], %mask: f32[1,2,1,5,6]",
        _BIAS_AND_MASK,
        {"batch": (2, 2, 2), "mask_view": (0, 0, 60, 30, 6, 1)},
    ),
    "masks of all heads, one of them behind a reshape": (
        "%q: f32[4,2,5,3], %k: f32[4,2,6,3], %v: f32[4,2,6,3], %bias: f32[1,2,5,6], %mask: f32[1,1,1,5,6]",
        _BIAS_AND_MASK,
        {"batch": (2, 2, 2), "mask_view": (0, 0, 0, 30, 6, 1)},
    ),
    "parts of one tensor": (
        "%x: f32[2,5,36]",
        """
        %r = reshape(%x) {shape=[2, 5, 3, 4, 3]} : f32[2,5,3,4,3]
        %p = transpose(%r) {perm=[2, 0, 3, 1, 4]} : f32[3,2,4,5,3]
        %qt = gather(%p, @first) {axis=0} : f32[2,4,5,3]
        %kr = gather(%p, @second) {axis=0} : f32[2,4,5,3]
        %vt = gather(%p, @third) {axis=0} : f32[2,4,5,3]
        %masked = matmul(%qt, %kr) {transpose_b=true} : f32[2,4,5,5]"""
        + _JOINED,
        {"q_view": (0, 180, 3, 36, 1), "k_view": (12, 180, 3, 36, 1), "v_view": (24, 180, 3, 36, 1)},
    ),
    "split in the last dimension": (
        "%x: f32[2,5,36]",
        "%q, %k, %v = split(%x) {axis=2, sizes=[12, 12, 12]} : f32[2,5,12], f32[2,5,12], f32[2,5,12]"
        + _HEADS
        + _TURNED.replace("%s ", "%masked ")
        + _JOINED,
        {"k_view": (12, 180, 3, 36, 1)},
    ),
    "keys that groups of queries share": (
        "%q: f32[2,4,5,3], %k: f32[2,2,7,3], %v: f32[2,2,7,3]",
        """
        %k1 = reshape(%k) {shape=[2, 2, 1, 7, 3]} : f32[2,2,1,7,3]
        %k2 = expand(%k1) {shape=[2, 2, 2, 7, 3]} : f32[2,2,2,7,3]
        %k3 = reshape(%k2) {shape=[2, 4, 7, 3]} : f32[2,4,7,3]
        %v1 = reshape(%v) {shape=[2, 2, 1, 7, 3]} : f32[2,2,1,7,3]
        %v2 = expand(%v1) {shape=[2, 2, 2, 7, 3]} : f32[2,2,2,7,3]
        %v3 = reshape(%v2) {shape=[2, 4, 7, 3]} : f32[2,4,7,3]
        %s = matmul(%q, %k3) {transpose_b=true} : f32[2,4,5,7]
        %w = softmax(%s) {axis=3} : f32[2,4,5,7]
        %y = matmul(%w, %v3) : f32[2,4,5,3]
        """,
        {"batch": (2, 2, 2), "k_view": (0, 42, 21, 0, 3, 1)},
    ),
    "keys and values of one head": (
        "%q: f32[2,4,5,3], %k: f32[2,1,3,7], %v: f32[1,7,3]",
        """
        %s = matmul(%q, %k) : f32[2,4,5,7]
        %w = softmax(%s) {axis=3} : f32[2,4,5,7]
        %y = matmul(%w, %v) : f32[2,4,5,3]
        """,
        {"batch": (2, 4), "k_view": (0, 21, 0, 1, 7), "v_view": (0, 0, 0, 3, 1)},
    ),
    "queries in columns": (
        "%q: f32[2,3,5], %k: f32[2,3,7], %v: f32[2,4,7]",
        """
        %s = matmul(%q, %k) {transpose_a=true} : f32[2,5,7]
        %w = softmax(%s) {axis=2} : f32[2,5,7]
        %y = matmul(%w, %v) {transpose_b=true} : f32[2,5,4]
        """,
        {"q_view": (0, 15, 3, 1), "k_view": (0, 21, 1, 7), "v_view": (0, 28, 1, 7)},
    ),
    "weights as of one dimension of matrices": (
        "%q: f32[2,3,5,4], %k: f32[2,3,7,4], %v: f32[6,7,4]",
        """
        %s = matmul(%q, %k) {transpose_b=true} : f32[2,3,5,7]
        %w = softmax(%s) {axis=3} : f32[2,3,5,7]
        %r = reshape(%w) {shape=[6, 5, 7]} : f32[6,5,7]
        %y = matmul(%r, %v) : f32[6,5,4]
        """,
        {"q_view": (0, 60, 20, 4, 1), "v_view": (0, 84, 28, 4, 1)},
    ),
    "values before weights": (
        "%q: f32[2,3,5], %k: f32[2,3,7], %v: f32[2,4,7]",
        """
        %s = matmul(%q, %k) {transpose_a=true} : f32[2,5,7]
        %w = softmax(%s) {axis=2} : f32[2,5,7]
        %y = matmul(%v, %w) {transpose_b=true} : f32[2,4,5]
        """,
        {"k_view": (0, 21, 1, 7), "v_view": (0, 28, 1, 7), "y_view": (0, 20, 4, 1)},
    ),
    "turned values before weights": (
        "%q: f32[2,5,3], %k: f32[2,7,3], %v: f32[2,7,4]",
        """
        %s = matmul(%q, %k) {transpose_b=true} : f32[2,5,7]
        %w = softmax(%s) {axis=2} : f32[2,5,7]
        %y = matmul(%v, %w) {transpose_a=true, transpose_b=true} : f32[2,4,5]
        """,
        {"k_view": (0, 21, 3, 1), "v_view": (0, 28, 4, 1)},
    ),
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_becomes_one_operator(name: str, rng: np.random.Generator) -> None:
    parameters, body, expected = SPELLINGS[name]
    y = "f32[2,5,12]"
    for line in body.splitlines():
        y = line.rpartition(": ")[2] if line.strip().startswith("%y =") else y
    module = network(f"func @main({parameters}) -> (%y: {y}) {{\n{body}\nreturn %y\n}}")
    inputs = random_inputs(module, rng)
    before = interp.run(module, inputs)["y"]
    run_pass("fuse_attention{least_rows=1}", module)
    assert not {"softmax", "matmul", "gather", "split", "expand"} & {op.name for op in module.ops}
    (attention,) = (op.operator for op in module.ops if is_op(op, Attention))
    for field, value in expected.items():
        found = getattr(attention, field)
        assert found == pytest.approx(value), field
    assert_close(interp.run(module, inputs)["y"], before)


@pytest.mark.parametrize(
    "body",
    [
        "%w = softmax(%s) {axis=1} : f32[2,5,7]",
        "%t = tanh(%s) : f32[2,5,7]\n%w = softmax(%t) {axis=2} : f32[2,5,7]",
        "%t = add(%s, %mask) : f32[2,5,7]\n%u = mul(%t, @scale) : f32[2,5,7]\n%w = softmax(%u) {axis=2} : f32[2,5,7]",
        "%t = where(%hidden, @scale, %s) : f32[2,5,7]\n%w = softmax(%t) {axis=2} : f32[2,5,7]",
        "%t = add(%s, %s) : f32[2,5,7]\n%w = softmax(%t) {axis=2} : f32[2,5,7]",
    ],
    ids=["along the rows", "after another function", "a scaled mask", "a choice of a number", "scores read twice"],
)
def test_stays_as_it_is(body: str) -> None:
    module = network(
        f"""
        func @main(%q: f32[2,5,3], %k: f32[2,7,3], %v: f32[2,7,4], %mask: f32[5,7], %hidden: bool[5,7])
            -> (%y: f32[2,5,4]) {{
          %s = matmul(%q, %k) {{transpose_b=true}} : f32[2,5,7]
          {body}
          %y = matmul(%w, %v) : f32[2,5,4]
          return %y
        }}"""
    )
    (record,) = run_pass("fuse_attention{least_rows=1}", module)
    assert not record.modified


def test_long_chains_are_not_followed_to_their_end(rng: np.random.Generator) -> None:
    links = "\n".join(f"%s{i + 1} = add(%s{i}, %mask) : f32[5,7]" for i in range(3000))
    module = network(
        f"""
        func @main(%q: f32[5,3], %k: f32[7,3], %v: f32[7,4], %mask: f32[5,7]) -> (%y: f32[5,4]) {{
          %s0 = matmul(%q, %k) {{transpose_b=true}} : f32[5,7]
          {links}
          %w = softmax(%s3000) {{axis=1}} : f32[5,7]
          %y = matmul(%w, %v) : f32[5,4]
          return %y
        }}"""
    )
    assert not run_pass("fuse_attention{least_rows=1}", module)[0].modified


def test_few_rows_stay_products() -> None:
    parameters, body, _ = SPELLINGS["queries in columns"]
    module = network(f"func @main({parameters}) -> (%y: f32[2,5,4]) {{\n{body}\nreturn %y\n}}")
    run_pass("fuse_attention", module)
    assert [op.name for op in module.ops].count("matmul") == 2


@pytest.mark.parametrize(("axis", "values"), [(1, "%r"), (2, "%v")])
def test_weights_that_may_be_nan_stay_guarded(axis: int, values: str) -> None:
    """A mask may hide a column, of which each row would be NaN in part; values that are not finite make 0 times one of
    them NaN."""
    assert_leaves_alone(
        FuseAttention(sums=True),
        f"""
  const @zero : f32[] = [0x0.0p0]
  const @mask : f32[2,2] = [0x0.0p0, -inf, 0x0.0p0, -inf]
  func @main(%x: i8[3,2,4]<s=0x1.0p-4, z=3>, %v: f32[3,2,4]) -> (%y: f32[3,2,4]) {{
    %r = dequantize(%x) : f32[3,2,4]
    %p = matmul(%r, %r, _, _) {{transpose_a=false, transpose_b=true, act="none", act_args=[]}} : f32[3,2,2]
    %a = add(%p, @mask) : f32[3,2,2]
    %w = softmax(%a) {{axis={axis}}} : f32[3,2,2]
    %n = is_nan(%w) : bool[3,2,2]
    %g = where(%n, @zero, %w) : f32[3,2,2]
    %y = matmul(%g, {values}, _, _) {{transpose_a=false, transpose_b=false, act="none", act_args=[]}} : f32[3,2,4]
    return %y
  }}""",
    )


def test_one_query_scales_itself_and_reads_keys_once_for_each_group(rng: np.random.Generator) -> None:
    """As decoders do for each token: keys and values were copied for each head, turned and scaled."""
    module = network(
        """
        func @main(%q: f32[2,6,1,3], %k: f32[2,2,5,3], %v: f32[2,2,5,4]) -> (%y: f32[2,6,1,4]) {
          %ku = reshape(%k) {shape=[2, 2, 1, 5, 3]} : f32[2,2,1,5,3]
          %ke = expand(%ku) {shape=[2, 2, 3, 5, 3]} : f32[2,2,3,5,3]
          %kr = reshape(%ke) {shape=[2, 6, 5, 3]} : f32[2,6,5,3]
          %kt = transpose(%kr) {perm=[0, 1, 3, 2]} : f32[2,6,3,5]
          %ks = mul(%kt, @scale) : f32[2,6,3,5]
          %qs = mul(%q, @scale) : f32[2,6,1,3]
          %s = matmul(%qs, %ks) : f32[2,6,1,5]
          %w = softmax(%s) {axis=3} : f32[2,6,1,5]
          %vu = reshape(%v) {shape=[2, 2, 1, 5, 4]} : f32[2,2,1,5,4]
          %ve = expand(%vu) {shape=[2, 2, 3, 5, 4]} : f32[2,2,3,5,4]
          %vr = reshape(%ve) {shape=[2, 6, 5, 4]} : f32[2,6,5,4]
          %y = matmul(%w, %vr) : f32[2,6,1,4]
          return %y
        }"""
    )
    inputs = random_inputs(module, rng)
    before = interp.run(module, inputs)["y"]
    run_pass("fuse_attention", module)
    assert sorted(op.name for op in module.ops if op.name != "reshape") == ["matmul", "matmul", "mul", "softmax"]
    assert_close(interp.run(module, inputs)["y"], before)


def test_factors_whose_product_is_no_number_stay(rng: np.random.Generator) -> None:
    """Together they were infinite, and sums of large results of both signs no numbers."""
    module = network(
        """
        func @main(%q: f32[1,3], %k: f32[3,5]) -> (%y: f32[1,5]) {
          %ks = mul(%k, @low) : f32[3,5]
          %qs = mul(%q, @low) : f32[1,3]
          %y = matmul(%qs, %ks) : f32[1,5]
          return %y
        }"""
    )
    inputs = {name: array * np.float32(1e-36) for name, array in random_inputs(module, rng).items()}
    before = interp.run(module, inputs)["y"]
    run_pass("fuse_attention", module)
    assert_close(interp.run(module, inputs)["y"], before)


def test_columns_of_weights_are_no_means_of_values() -> None:
    module = network(
        """
        func @main(%q: f32[2,5,3], %k: f32[2,5,3], %v: f32[2,4,5]) -> (%y: f32[2,4,5]) {
          %s = matmul(%q, %k) {transpose_b=true} : f32[2,5,5]
          %w = softmax(%s) {axis=2} : f32[2,5,5]
          %y = matmul(%v, %w) : f32[2,4,5]
          return %y
        }"""
    )
    assert not run_pass("fuse_attention{least_rows=1}", module)[0].modified
