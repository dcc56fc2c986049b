"""Attention on integers: what it takes, how far it is from numbers, and that the accelerator computes it."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from attention_blocks import quantized_block, random_block, random_channel_block, random_linear_block
from before_after import parse, random_inputs, run_pass
from device_runs import OPTIONS, assert_engines_agree
from onnx_networks import OnnxNetwork
from random_seeds import in_turn

from tilewright.compiler.driver import compile_to_memory
from tilewright.compiler.frontend.formats import import_model
from tilewright.compiler.frontend.onnx.writer import export_onnx
from tilewright.compiler.options import CompileOptions
from tilewright.compiler.pipeline import calibration_pipeline, run_passes
from tilewright.compiler.quantization.quantize import quantize_module
from tilewright.ir import arithmetic, interp
from tilewright.ir.clone import clone_module
from tilewright.ir.core import Constant, Module, Op, Value, is_op
from tilewright.ir.ops.activation import Relu, Tanh
from tilewright.ir.ops.attention import Attention
from tilewright.ir.ops.elementwise import Add, Mul
from tilewright.ir.ops.movement import Pad, Slice, Split
from tilewright.ir.quantized import parameters
from tilewright.ir.types import DType
from tilewright.passes.attention.quantize_attention import QuantizeAttention
from tilewright.passes.device.attention_views import unfit
from tilewright.passes.device.legalize_for_device import LegalizeForDevice
from tilewright.passes.quantization.plan import plan_quantization
from tilewright.passes.simplify.eliminate_dead_code import EliminateDeadCode
from tilewright.runtime.report.details import details_of
from tilewright.runtime.session import load


@pytest.mark.parametrize("kind", ["softmax", "matmul"])
def test_what_is_kept_is_no_part_of_attention_on_integers(kind: str, rng: np.random.Generator) -> None:
    module = import_model(export_onnx(random_block(rng, tokens=20, mask="none")))
    named = next(op for op in module.ops if op.name == kind and not any(map(is_constant, op.inputs)))
    check_kept(module, named)


@pytest.mark.parametrize("kind", ["relu", "div", "matmul"])
@pytest.mark.parametrize("is_turned", [False, True])
def test_what_is_kept_is_no_part_of_shares(kind: str, is_turned: bool, rng: np.random.Generator) -> None:
    module = import_model(export_onnx(random_linear_block(rng, (6, 6), is_turned=is_turned)))
    check_kept(module, next(op for op in module.ops if op.name == kind))


def check_kept(module: Module, named: Op) -> None:
    """Attention on integers takes an op if it is not named, and leaves it in floating point if it is."""
    (attention,) = (op for op in quantize_module(module, OPTIONS).ops if is_op(op, Attention))
    assert attention.result.type.dtype is DType.I8
    kept = quantize_module(module, replace(OPTIONS, keep_float=named.loc[:1]))
    assert not any(is_op(op, Attention) for op in kept.ops)
    (found,) = (op for op in kept.ops if named.loc[0] in op.loc and op.name == named.name)
    assert {value.type.dtype for value in (*found.inputs, *found.results)} == {DType.F32}


def is_constant(value: Value) -> bool:
    return isinstance(value, Constant)


def test_powers_lie_far_from_ties() -> None:
    """So that every library that computes them gives the same integers."""
    exact = 127 * 256 * 2.0 ** (-np.arange(256) / 256)
    assert np.abs(exact - np.floor(exact) - 0.5).min() > 1e-3
    assert (np.rint(exact) == arithmetic.POWERS).all()


def test_weights_are_within_a_step_of_exponentials(rng: np.random.Generator) -> None:
    """A rounding of the logarithm and one of the weight: less than 0.5 + 127 * (2^(1/256) - 1)."""
    scores = rng.integers(-(1 << 18), 1 << 18, (64, 100))
    step = 2.0**-16
    multipliers = arithmetic.score_multipliers(step, 0.0)
    seen = rng.random(scores.shape) < 0.7
    seen[0] = False
    weights = arithmetic.attention_weights(scores, multipliers, np.zeros((1, 1), np.int64), seen)
    top = np.where(seen, scores, -np.inf).max(-1, keepdims=True, initial=-1e9)
    scores = np.minimum(scores, top)
    exact = np.where(seen, 127 * np.exp((scores - top) * step), 0)
    assert np.abs(weights - exact).max() <= 0.5 + 127 * (2 ** (1 / 256) - 1)
    assert (weights.max(-1)[1:] == 127).all()
    assert not weights[0].any(), "a row that sees nothing has no weights"


@pytest.mark.parametrize("score", [2.0**-10, -(2.0**-10), 1e-30, 0.3, 1e4])
@pytest.mark.parametrize("mask", [0.0, 1 / 8, 1e3])
def test_multipliers_have_as_many_bits_as_fit(score: float, mask: float) -> None:
    first, second, shift = arithmetic.score_multipliers(score, mask)
    assert abs(first) < 1 << 24
    assert second < 1 << 31
    assert max(abs(first) >> 22, second >> 29, shift // 40), "one more bit would not fit"
    for found, step in ((first, score), (second, mask)):
        assert np.ldexp(float(found), -shift) == pytest.approx(step * np.log2(np.e) * 256, abs=2.0**-shift)


@pytest.mark.parametrize("numbers", [(float("nan"), 0.0), (1e9, 0.0), (1.0, 1e12)])
def test_steps_that_are_too_large_have_no_multipliers(numbers: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match=r"the steps of scores and masks are no numbers|is too large"):
        arithmetic.score_multipliers(*numbers)


@pytest.mark.parametrize("mask", ["none", "causal", "keys", "guarded", "bias", "far", "rows"])
@pytest.mark.parametrize("images", [1, 2])
def test_between_numbers_and_integers_lies_one_operator(mask: str, images: int, rng: np.random.Generator) -> None:
    module = random_block(rng, tokens=21, mask=mask, images=images)
    quantized = quantize_module(module, OPTIONS)
    (op,) = [each for each in quantized.main.ops if is_op(each, Attention)]
    assert all(value.type.quant is not None for value in (*op.inputs, op.result))
    assert op.operator.causal == (mask == "causal")
    assert parameters(op.inputs[0].type)[1] == 0, "queries have the zero point 0"
    assert not any(each.name in ("transpose", "softmax") for each in quantized.main.ops)
    inputs = {
        each.name: (rng.random(each.type.shape) < 0.7).astype(np.float32)
        if each.name == "mask"
        else rng.normal(size=each.type.shape).astype(np.float32)
        for each in module.main.parameters
    }
    if mask == "guarded":
        inputs["mask"][0] = 0  # an image of which every row sees nothing
    (expected,), (found,) = (interp.run(each, inputs).values() for each in (module, quantized))
    assert np.square(found - expected).mean() < 0.01 * np.square(expected).mean()


@pytest.mark.parametrize("is_turned", [False, True])
@pytest.mark.parametrize(
    ("size", "images", "depth", "machine"),
    [((5, 7), 1, 16, "m4096"), ((5, 7), 2, 8, "m4096"), ((1, 4), 2, 8, "s256")],
)
def test_keys_times_values_first_are_one_operator(
    size: tuple[int, int],
    images: int,
    depth: int,
    machine: str,
    is_turned: bool,
    rng: np.random.Generator,
    tmp_path: Path,
) -> None:
    """Shares of scores in place of their exponentials, where heads and their ReLUs are: near what the products of
    numbers make, and the same integers on both engines. Calibrated on what it is judged by: shares of few keys reach
    beyond what other samples tell."""
    module = random_linear_block(rng, size, images=images, depth=depth, is_turned=is_turned)
    inputs = {"x": rng.normal(size=module.main.parameters[0].type.shape).astype(np.float32)}
    np.save(tmp_path / "x.npy", inputs["x"])
    options = replace(OPTIONS, machine=machine, calibration=str(tmp_path / "x.npy"))
    quantized = quantize_module(module, options)
    (op,) = [each for each in quantized.main.ops if is_op(each, Attention)]
    assert op.operator.shares
    assert all(value.type.quant is not None for value in (*op.inputs, op.result))
    assert not any(each.name in ("relu", "pad", "div", "matmul") for each in quantized.main.ops)
    (expected,), (found,) = (interp.run(each, inputs).values() for each in (module, quantized))
    assert np.square(found - expected).mean() < 0.01 * np.square(expected).mean()
    artifact = compile_to_memory(export_onnx(module).SerializeToString(), options)
    assert len(artifact.manifest.device_programs) == 1
    assert_engines_agree(artifact, inputs)


@pytest.mark.parametrize(("machine", "most"), [("m4096", 374), ("s256", 23)])
def test_keys_times_values_first_stay_where_scores_take_longer(
    machine: str, most: int, rng: np.random.Generator
) -> None:
    """On the accelerator, which multiplies 16 times as slowly as another one."""
    options = replace(OPTIONS, machine=machine)
    for keys in (most, most + 1):
        ops = quantize_module(random_linear_block(rng, (1, keys)), options).main.ops
        assert any(is_op(op, Attention) for op in ops) is (keys == most)


def test_what_is_added_may_have_more_dimensions(rng: np.random.Generator) -> None:
    model = export_onnx(random_linear_block(rng, (3, 5), is_turned=True))
    del model.graph.value_info[:]
    (least,) = [each for each in model.graph.initializer if each.name == "s"]
    least.dims[:] = [1] * 5
    quantized = quantize_module(import_model(model.SerializeToString()), OPTIONS)
    assert not any(is_op(op, Attention) for op in quantized.main.ops)


@pytest.mark.parametrize("change", ["wide", "least"])
def test_shares_are_of_bytes_beside_which_what_is_added_is_small(change: str, rng: np.random.Generator) -> None:
    """As scores of real numbers they would take the host longer, and what is added to small sums moves means."""
    module = random_linear_block(rng, (3, 5))
    for op in [*module.main.ops] if change == "least" else ():
        if is_op(op, Add):
            op.set_operand(1, module.add_constant("least", np.array(9e-5, np.float32)))
        elif is_op(op, Split):
            factor = module.add_constant("factor", np.array(0.01, np.float32))
            op.set_operand(0, module.main.insert(Op(Mul(), [op.inputs[0], factor]), op).result)
    quantized = quantize_module(module, replace(OPTIONS, wide=("all",) if change == "wide" else ()))
    assert not any(is_op(op, Attention) for op in quantized.main.ops)


@pytest.mark.parametrize(("size", "machine"), [((14, 14), "m4096"), ((5, 7), "s256")])
def test_channels_attend_to_each_other_where_they_lie(
    size: tuple[int, int], machine: str, rng: np.random.Generator
) -> None:
    """Queries that lie in columns are no copy of such: in one program with the products around them."""
    model = export_onnx(random_channel_block(rng, size)).SerializeToString()
    artifact = compile_to_memory(model, replace(OPTIONS, machine=machine))
    assert len(artifact.manifest.device_programs) == 1
    assert_engines_agree(artifact, {"x": rng.normal(size=(1, 24, *size)).astype(np.float32)})


@pytest.mark.parametrize("change", ["least", "act", "ones", "part", "keys"])
def test_other_quotients_of_products_stay(change: str, rng: np.random.Generator) -> None:
    module = random_linear_block(rng, (32, 33) if change == "keys" else (3, 5))
    for op in [*module.main.ops]:
        if change == "least" and is_op(op, Add):
            op.set_operand(1, module.add_constant("least", np.array(0.5, np.float32)))
        elif change == "act" and is_op(op, Relu):
            tanh = module.main.insert(Op(Tanh(), [op.inputs[0]]), op)
            op.result.replace_all_uses(tanh.result)
        elif change == "ones" and is_op(op, Pad):
            op.operator = replace(op.operator, value=2.0)
        elif change == "part" and is_op(op, Slice) and op.result.type.shape[-1] == 1:
            op.operator = replace(op.operator, begin=(0, 0, 0, 0))
    assert not any(is_op(op, Attention) for op in quantize_module(module, OPTIONS).main.ops)


def test_shares_lie_within_half_a_step(rng: np.random.Generator) -> None:
    scores = rng.integers(-(1 << 20), 1 << 20, (64, 100))
    seen = rng.random(scores.shape) < 0.7
    seen[0], scores[1] = False, -5
    weights = arithmetic.share_weights(scores, seen)
    above = np.where(seen, np.maximum(scores, 0), 0)
    exact = 127 * above / np.maximum(above.max(-1, keepdims=True), 1)
    assert np.abs(weights - exact).max() <= 0.5 + 2.0**-16
    assert (weights.max(-1)[2:] == 127).all()
    assert not weights[:2].any(), "a row whose scores are not above 0 has no weights"


@pytest.mark.parametrize("mask", ["given", "stored"])
def test_masks_that_may_reach_anywhere_leave_it_in_numbers(mask: str, rng: np.random.Generator) -> None:
    quantized = quantize_module(random_block(rng, tokens=21, mask=mask), OPTIONS)
    (op,) = [each for each in quantized.main.ops if is_op(each, Attention)]
    assert all(value.type.dtype is DType.F32 for value in (*op.inputs, op.result))


@pytest.mark.parametrize("zero", [-128, -100, 0, 5, 127])
def test_queries_keep_what_saturation_clamps(zero: int, rng: np.random.Generator) -> None:
    module = quantized_block(rng, 20, zero, in_numbers=True)
    found = clone_module(module)
    QuantizeAttention().run(found)
    (op,) = [each for each in found.main.ops if is_op(each, Attention)]
    assert parameters(op.operands.q.type)[1] == (zero if zero in (-128, 127) else 0)
    inputs = random_inputs(module, rng)
    (expected,), (made,) = (interp.run(each, inputs).values() for each in (module, found))
    assert np.abs(made.astype(int) - expected).mean() < 0.12


@pytest.mark.parametrize("depth", [1, 8, 12, 24])
@pytest.mark.parametrize(("act", "is_joined"), [("none", False), ("none", True), ("relu", True)])
def test_heads_that_are_no_blocks_start_blocks(depth: int, act: str, is_joined: bool, rng: np.random.Generator) -> None:
    """Products make the zeros behind them, or where something stands between a convolution does; what reads the result
    takes its channels."""
    module = quantized_block(rng, 20, depth=depth, act=act, is_joined=is_joined)
    found = clone_module(module)
    LegalizeForDevice().run(found)
    (op,) = [each for each in found.main.ops if is_op(each, Attention)]
    assert unfit(op) is None
    assert op.operator.depth == -(-depth // 16) * 16
    (before,) = [each for each in module.main.ops if is_op(each, Attention)]
    assert op.macs == before.macs, "what is multiplied by zeros does not count"
    # Joined keys and values are products of their own then, and by ones is what a clamp stands behind.
    EliminateDeadCode().run(found)
    convolutions = sum(each.name == "conv" for each in found.main.ops)
    assert convolutions == (4 if act == "none" else 6)
    inputs = random_inputs(module, rng)
    (expected,), (made,) = (interp.run(each, inputs).values() for each in (module, found))
    np.testing.assert_array_equal(made, expected)


@pytest.mark.parametrize(
    ("machine", "mask", "tokens", "images", "depth"),
    [
        pytest.param("m4096", "none", 32, 1, 16, marks=pytest.mark.sweep),
        ("m4096", "causal", 50, 1, 12),
        ("s256", "keys", 33, 2, 16),
        ("s256", "none", 33, 2, 24),
        ("m4096", "none", 9, 5, 8),
        ("m4096", "bias", 20, 1, 16),
    ],
)
def test_the_accelerator_computes_it(
    machine: str, mask: str, tokens: int, images: int, depth: int, rng: np.random.Generator
) -> None:
    """In one program with the products around it, the same in every byte as the CPU."""
    model = export_onnx(random_block(rng, tokens=tokens, mask=mask, images=images, depth=depth)).SerializeToString()
    artifact = compile_to_memory(model, replace(OPTIONS, machine=machine))
    places = {each.op: each.on for each in details_of(artifact).placement}
    assert places["attention"] == "device"
    assert len(artifact.manifest.device_programs) == 1
    with load(artifact, engine="software") as software, load(artifact, engine="device") as device:
        feeds = {each.name: rng.random(each.shape).round().astype(np.float32) for each in software.inputs}
        (expected,), (found,) = software.run(feeds).values(), device.run(feeds).values()
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("extents", "way"),
    in_turn(
        [(1, 16, 4, 16), (3, 9, 2, 12), (1, 33, 3, 16), (0, 16, 1, 12)],
        [(False, "m4096"), (True, "m4096"), (True, "s256"), (False, "s256")],
    ),
    ids=str,
)
def test_heads_may_stand_one_below_the_other(
    extents: tuple[int, int, int, int], way: tuple[bool, str], rng: np.random.Generator
) -> None:
    """Then the rows of the result are not those of the queries; and of matrices alone there is one head."""
    (images, rows, heads, depth), (is_joined, machine) = extents, way
    net, batch = OnnxNetwork(rng), [images, rows] if images else [rows]
    whole = heads * depth

    def integers(*values: int) -> str:
        return net.number(np.array(values, np.int64))

    joined = net.op("MatMul", "x", net.some(24, 3 * whole)) if is_joined else ""
    parts = [
        net.op("Slice", joined, integers(i * whole), integers((i + 1) * whole), integers(len(batch)))
        if is_joined
        else net.op("MatMul", "x", net.some(24, whole))
        for i in range(3)
    ]
    if images:
        shape = integers(images, rows, heads, depth)
        parts = [net.op("Transpose", net.op("Reshape", x, shape), perm=[0, 2, 1, 3]) for x in parts]
    q, k, v = parts
    turned = net.op("Transpose", k, perm=[0, 1, 3, 2] if images else [1, 0])
    scores = net.op("Mul", net.op("MatMul", q, turned), net.number(np.array(depth**-0.5, np.float32)))
    means = net.op("MatMul", net.op("Softmax", scores, axis=-1), v)
    stacked = net.op("Reshape", means, integers(max(images, 1) * heads * rows, depth))
    model = net.model([*batch, 24], net.op("MatMul", stacked, net.some(depth, 24)))
    artifact = compile_to_memory(model, replace(OPTIONS, machine=machine))
    assert {each.on for each in details_of(artifact).placement if each.op == "attention"} == {"device"}
    feeds = {"x": rng.normal(size=(*batch, 24)).astype(np.float32)}
    assert_engines_agree(artifact, feeds)


@pytest.mark.parametrize(
    ("machine", "batch"),
    [pytest.param("m4096", [2, 3, 9], marks=pytest.mark.sweep), ("m4096", [4, 2, 8]), ("s256", [2, 3, 9])],
)
def test_images_may_stand_in_another_order(machine: str, batch: list[int], rng: np.random.Generator) -> None:
    """Then the result has as many rows as the queries, and others."""
    net = OnnxNetwork(rng)
    q, k, v = (net.op("MatMul", "x", net.some(24, 16)) for _ in range(3))
    scores = net.op("MatMul", q, net.op("Transpose", k, perm=[0, 1, 3, 2]))
    weights = net.op("Softmax", net.op("Mul", scores, net.number(np.array(0.25, np.float32))), axis=-1)
    means = net.op("Transpose", net.op("MatMul", weights, v), perm=[1, 0, 2, 3])
    rows = net.op("Reshape", means, net.number(np.array([-1, 16])))
    model = net.model([*batch, 24], net.op("MatMul", rows, net.some(16, 24)))
    artifact = compile_to_memory(model, replace(OPTIONS, machine=machine))
    assert {each.on for each in details_of(artifact).placement if each.op == "attention"} == {"device"}
    feeds = {"x": rng.normal(size=(*batch, 24)).astype(np.float32)}
    assert_engines_agree(artifact, feeds)


@pytest.mark.parametrize("is_guarded", [False, True])
def test_cached_values_are_integers_where_cached_keys_are(is_guarded: bool, rng: np.random.Generator) -> None:
    """Decoders join keys and values with those of earlier steps: keys were rounded and attention was none of the
    device's."""
    net = OnnxNetwork(rng)

    def heads(x: str, rows: int) -> str:
        return net.op("Transpose", net.op("Reshape", x, net.number(np.array([1, rows, 2, 16]))), perm=[0, 2, 1, 3])

    now, *past = (
        net.op("Slice", "x", *(net.number(np.array([n])) for n in (a, b, 1))) for a, b in ((0, 3), (3, 8), (8, 13))
    )
    q, k, v = (heads(net.op("MatMul", now, net.some(32, 32)), 3) for _ in range(3))
    k, v = (net.op("Concat", heads(cached, 5), new, axis=2) for cached, new in zip(past, (k, v), strict=True))
    scores = net.op("MatMul", q, net.op("Transpose", k, perm=[0, 1, 3, 2]))
    weights = net.op("Softmax", net.op("Mul", scores, net.number(np.array(0.25, np.float32))), axis=-1)
    if is_guarded:
        weights = net.op("Where", net.op("IsNaN", weights), net.number(np.array(0, np.float32)), weights)
    y = net.op("Transpose", net.op("MatMul", weights, v), perm=[0, 2, 1, 3])
    y = net.op("Reshape", y, net.number(np.array([1, 3, 32])))
    model = net.model([1, 13, 32], net.op("MatMul", y, net.some(32, 8)))
    feeds = {"x": rng.normal(size=(1, 13, 32)).astype(np.float32)}
    options = replace(OPTIONS, calibration=[feeds])
    (attention,) = (op for op in quantize_module(import_model(model), options).ops if is_op(op, Attention))
    assert {value.type.dtype for value in (*attention.inputs, attention.result)} == {DType.I8}
    found = assert_engines_agree(compile_to_memory(model, options), feeds)
    (wanted,) = interp.run(import_model(model), feeds).values()
    assert np.linalg.norm(found - wanted) < 0.05 * np.linalg.norm(wanted)


@pytest.mark.parametrize("machine", ["m4096", pytest.param("s256", marks=pytest.mark.sweep)])
def test_known_rows_are_joined_and_added_and_one_row_looks_at_all(machine: str, rng: np.random.Generator) -> None:
    """Vision transformers with a row for the class, places, what is normalised twice, and queries and keys that are
    normalised by heads: each had ended a program."""
    net = OnnxNetwork(rng)

    def shape(*extents: int) -> str:
        return net.number(np.array(extents, np.int64))

    def normalized(x: str) -> str:
        return net.op("LayerNormalization", x, net.some(32, about=1.0), net.some(32), axis=-1)

    def of_heads(x: str) -> str:
        return net.op("LayerNormalization", x, net.some(16, about=1.0), net.some(16), axis=-1)

    def first(x: str) -> str:
        return net.op("Slice", x, shape(0), shape(1), shape(1))

    def heads(x: str, rows: int) -> str:
        x = net.op("Reshape", net.op("MatMul", x, net.some(32, 32)), shape(1, rows, 2, 16))
        return net.op("Transpose", x, perm=[0, 2, 1, 3])

    x = net.op("Reshape", net.op("Conv", "x", net.some(32, 3, 2, 2), strides=[2, 2]), shape(1, 32, 9))
    x = net.op("Concat", net.some(1, 1, 32), net.op("Transpose", x, perm=[0, 2, 1]), axis=1)
    x = net.op("Add", net.some(1, 10, 32), x)
    x = net.op("Add", x, net.op("MatMul", normalized(normalized(x)), net.some(32, 32)))
    rows = normalized(x)
    q, k, v = of_heads(heads(first(rows), 1)), of_heads(heads(rows, 10)), heads(rows, 10)
    weights = net.op("Softmax", net.op("MatMul", q, net.op("Transpose", k, perm=[0, 1, 3, 2])), axis=3)
    y = net.op("Transpose", net.op("MatMul", weights, v), perm=[0, 2, 1, 3])
    y = net.op("MatMul", net.op("Reshape", y, shape(1, 1, 32)), net.some(32, 32))
    y = net.op("MatMul", normalized(net.op("Add", first(x), y)), net.some(32, 5))
    model = net.model([1, 3, 6, 6], y)
    feeds = {"x": rng.normal(size=(1, 3, 6, 6)).astype(np.float32)}
    options = CompileOptions(precision="int8", calibration=[feeds], machine=machine, effort="quick")
    artifact = compile_to_memory(model, options)
    assert {each.on for each in details_of(artifact).placement if each.op == "attention"} == {"device"}
    assert len(artifact.manifest.device_programs) == 1
    found = assert_engines_agree(artifact, feeds)
    (wanted,) = interp.run(import_model(model), feeds).values()
    assert np.linalg.norm(found - wanted) < 0.08 * np.linalg.norm(wanted)


def test_what_known_rows_join_has_16_bits(rng: np.random.Generator) -> None:
    """Also where no shortcut starts: rows of a hundredth would become 0 in 8."""
    net = OnnxNetwork(rng)
    x = net.op("MatMul", "x", net.some(8, 8))
    x = net.op("Concat", net.some(1, 1, 8), x, axis=1, name="joined")
    y = net.op("MatMul", net.op("LayerNormalization", x, net.some(8, about=1.0), net.some(8), axis=-1), net.some(8, 8))
    module = import_model(net.model([1, 4, 8], y))
    (joined,) = [op for op in module.ops if op.name == "concat"]
    assert plan_quantization(module.main, (), shortcuts=True).wide == (joined.result.name,)
    assert plan_quantization(module.main, ()).wide == ()


@pytest.mark.parametrize("form", ["joined", "summed", "added"])
def test_small_rows_that_are_joined_with_large_ones_have_16_bits(form: str, rng: np.random.Generator) -> None:
    """A token for the class is normalised with patches that are a hundred times as large, as in CaiT, where these are
    joined, in XCiT, whose normalisation adds up two such, and in TNT, after known positions are added to all."""
    net = OnnxNetwork(rng)
    patches, token = net.op("MatMul", "x", net.some(32, 32)), net.some(1, 1, 32, by=0.01)
    ends = [net.number(np.array([each], np.int64)) for each in (0, 1, 9)]

    def normalized(x: str) -> str:
        return net.op("LayerNormalization", x, net.some(32, about=1.0), net.some(32), axis=-1)

    def small(x: str) -> str:
        return net.op("Mul", net.op("MatMul", x, net.some(32, 32)), net.number(np.array(0.01, np.float32)))

    def parted(x: str) -> list[str]:
        return [net.op("Slice", x, *ends[n : n + 2], ends[1]) for n in range(2)]

    if form == "added":
        first, rest = parted(net.op("Add", net.op("Concat", token, patches, axis=1), net.some(1, 9, 32)))
        rest = net.op("Add", rest, net.op("MatMul", patches, net.some(32, 32)))
        whole = net.op("Concat", first, rest, axis=1)
    else:
        seen = net.op("ReduceMean", normalized(patches), axes=[1], keepdims=1)
        token = net.op("Add", token, small(seen))
        token = net.op("Add", token, small(normalized(token)))
        whole = net.op("Concat", token, patches, axis=1)
    if form == "summed":
        first, rest = parted(whole)
        whole = net.op("Add", whole, net.op("Concat", small(normalized(first)), rest, axis=1))
    of_class = net.op("Gather", normalized(whole), net.number(np.array(0, np.int64)), axis=1)
    model = net.model([1, 8, 32], net.op("MatMul", of_class, net.some(32, 16)))
    feeds = {"x": rng.normal(size=(1, 8, 32)).astype(np.float32)}
    found = assert_engines_agree(compile_to_memory(model, replace(OPTIONS, calibration_limit=16)), feeds)
    (wanted,) = interp.run(import_model(model), feeds).values()
    assert np.linalg.norm(found - wanted) < 0.06 * np.linalg.norm(wanted)


@pytest.mark.parametrize(("machine", "images"), [("m4096", 1), ("s256", 2)])
def test_sums_by_weights_of_pixels_are_attention_of_one_query(
    machine: str, images: int, rng: np.random.Generator
) -> None:
    """Patches of a map in rows, normalised together, sums of each by the softmax of a channel, and pixels as channels
    again; then a sum of all: one program, the same in every byte as the CPU."""
    net = OnnxNetwork(rng)

    def shape(*extents: int) -> str:
        return net.number(np.array(extents, np.int64))

    x = net.op("Conv", "x", net.some(16, 8, 1, 1))
    for axis, extent in ((2, 4), (4, 6)):
        x = net.op("Gather", x, net.number(np.arange(extent).reshape(-1, 2).T), axis=axis)
    x = net.op("Reshape", net.op("Transpose", x, perm=[0, 1, 2, 4, 3, 5]), shape(images, 16, 4, 6))
    norm = net.op("InstanceNormalization", net.op("Reshape", x, shape(images, 1, 384)), net.some(1), net.some(1))
    joined = net.op("Conv", net.op("Reshape", norm, shape(images, 16, 4, 6)), net.some(33, 16, 1, 1))
    bounds = [[shape(at) for at in (*each, 1)] for each in ((0, 1), (1, 17), (17, 33))]
    scores, keys, values = (net.op("Slice", joined, *each) for each in bounds)
    total = net.op("ReduceSum", net.op("Mul", keys, net.op("Softmax", scores, axis=3)), shape(3))
    total = net.op("Mul", net.op("Relu", values), net.op("Expand", total, shape(images, 16, 4, 6)))
    map = net.op("DepthToSpace", net.op("Reshape", total, shape(images, 64, 2, 3)), blocksize=2, mode="CRD")
    weights = net.op("Reshape", net.op("Conv", map, net.some(1, 16, 1, 1)), shape(images, 1, 24))
    weights = net.op("Reshape", net.op("Softmax", weights, axis=2), shape(images, 1, 24, 1))
    whole = net.op("MatMul", net.op("Reshape", map, shape(images, 1, 16, 24)), weights)
    y = net.op("Add", map, net.op("Conv", net.op("Reshape", whole, shape(images, 16, 1, 1)), net.some(16, 16, 1, 1)))
    artifact = compile_to_memory(
        net.model([images, 8, 4, 6], net.op("Conv", y, net.some(8, 16, 1, 1))),
        replace(OPTIONS, machine=machine),
    )
    assert [each.on for each in details_of(artifact).placement if each.op == "attention"] == ["device"] * 2
    assert len(artifact.manifest.device_programs) == 1
    feeds = {"x": rng.normal(size=(images, 8, 4, 6)).astype(np.float32)}
    assert_engines_agree(artifact, feeds)


@pytest.mark.parametrize("machine", ["m4096", "s256"])
@pytest.mark.parametrize(
    ("images", "heads", "depth", "pixels", "is_joined"),
    [(1, 1, 16, (4, 4), False), (3, 1, 16, (3, 5), True), (1, 1, 12, (7, 2), True), (1, 2, 4, (4, 4), True)],
)
def test_matrices_may_be_the_channels_of_maps(
    images: int,
    heads: int,
    depth: int,
    pixels: tuple[int, int],
    is_joined: bool,
    machine: str,
    rng: np.random.Generator,
) -> None:
    """Queries, keys and values with pixels in columns, values before the weights, and a map again behind it: of one
    head in one program, and the same in every byte as the CPU."""
    net, whole, count = OnnxNetwork(rng), heads * depth, pixels[0] * pixels[1]
    matrices = net.number(np.array([images * heads, depth, count], np.int64))
    if is_joined:
        joined, ends = net.op("Conv", "x", net.some(3 * whole, 8, 1, 1)), range(0, 4 * whole, whole)
        bounds = [[net.number(np.array([at])) for at in (*each, 1)] for each in pairwise(ends)]
        parts = [net.op("Slice", joined, *each) for each in bounds]
    else:
        parts = [net.op("Conv", "x", net.some(whole, 8, 1, 1)) for _ in range(3)]
    q, k, v = (net.op("Reshape", part, matrices) for part in parts)
    turned = net.op("Transpose", net.op("Mul", q, net.number(np.array(depth**-0.5, np.float32))), perm=[0, 2, 1])
    weights = net.op("Softmax", net.op("MatMul", turned, k), axis=-1)
    means = net.op("MatMul", v, net.op("Transpose", weights, perm=[0, 2, 1]))
    map = net.op("Reshape", means, net.number(np.array([images, whole, *pixels], np.int64)))
    model = net.model([images, 8, *pixels], net.op("Conv", map, net.some(24, whole, 1, 1)))
    artifact = compile_to_memory(model, replace(OPTIONS, machine=machine))
    assert {each.on for each in details_of(artifact).placement if each.op == "attention"} == {"device"}
    assert len(artifact.manifest.device_programs) <= heads
    feeds = {"x": rng.normal(size=(images, 8, *pixels)).astype(np.float32)}
    assert_engines_agree(artifact, feeds)


def test_columns_become_rows_without_numbers_for_all_elements() -> None:
    """Strides say where matrices lie: of large maps no table of all elements is made."""
    channels, pixels, quant = 128, 1 << 14, "<s=0x1.0p-4, z=3>"
    map, form = f"i8[1,{channels},{pixels}]{quant}", f"batch=[], width={channels}, depth={channels}"
    columns, rows = f"[0, 1, {pixels}]", f"[0, {channels}, 1]"
    module = parse(f"""
  func @main(%x: {map}) -> (%y: i8[1,{pixels},{channels}]{quant}) {{
    %y = attention(%x, %x, %x, _) {{{form}, rows={pixels}, keys={pixels}, shape=[1, {pixels}, {channels}],
      q_view={columns}, k_view={columns}, v_view={columns}, y_view={rows}, mask_view=[], scale=0x1.0p-2, causal=false}}
      : i8[1,{pixels},{channels}]{quant}
    return %y
  }}""")
    tracemalloc.start()
    run_pass("legalize_for_device", module)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    (op,) = (op for op in module.ops if is_op(op, Attention))
    assert op.operator.k_view == (0, channels, 1)
    assert most < channels * pixels


def turned(net: OnnxNetwork, way: str, x: str, length: int, width: int) -> str:
    """x [1, heads, length, width] turned by positions: halves or neighbours as pairs, written as one product of turned
    vectors, or as sums for each of a pair; of all or of the first numbers alone; or but for the first row."""
    length, angles = length - ("rows" in way), np.arange(1.0, width // (4 if "part" in way else 2) + 1)
    angles = np.arange(length)[:, None] / angles

    def part(value: str, axis: int, begin: int, end: int = 1 << 30, step: int = 1) -> str:
        return net.op("Slice", value, *(net.number(np.array([n])) for n in (begin, end, axis, step)))

    def times(value: str, numbers: np.ndarray) -> str:
        return net.op("Mul", value, net.number(numbers.astype(np.float32)))

    whole, half = x, angles.shape[1]
    x = part(x, 2, 1) if "rows" in way else x
    x = part(x, 3, 0, 2 * half) if "part" in way else x
    cos, sin = np.cos(angles), np.sin(angles)
    if "neighbours" in way:
        pair = [part(x, 3, begin, step=2) for begin in range(2)]
        pair = [net.op("Unsqueeze", each, net.number(np.array([4]))) for each in (net.op("Neg", pair[1]), pair[0])]
        other = net.op("Reshape", net.op("Concat", *pair, axis=4), net.number(np.array([1, -1, length, 2 * half])))
        y = net.op("Add", times(x, np.repeat(cos, 2, 1)), times(other, np.repeat(sin, 2, 1)))
    elif "sums" in way:
        one, two = part(x, 3, 0, half), part(x, 3, half)
        sums = net.op("Sub", times(one, cos), times(two, sin)), net.op("Add", times(one, sin), times(two, cos))
        if "turned" in way:
            sums = net.op("Add", times(two, -sin), times(one, cos)), net.op("Add", times(one, sin), times(two, cos))
        y = net.op("Concat", *sums, axis=3)
    else:
        other = net.op("Concat", net.op("Neg", part(x, 3, half)), part(x, 3, 0, half), axis=3)
        y = net.op("Add", times(x, np.tile(cos, 2)), times(other, np.tile(sin, 2)))
    y = net.op("Concat", y, part(whole, 3, 2 * half), axis=3) if "part" in way else y
    return net.op("Concat", part(whole, 2, 0, 1), y, axis=2) if "rows" in way else y


@pytest.mark.parametrize(
    "way", ["halves", "neighbours", "sums", "turned sums", "halves of a part", "neighbours of rows"]
)
def test_positions_that_turn_vectors_are_multiples_of_rows(way: str, rng: np.random.Generator) -> None:
    """In the middle of layers as decoders have them: keys and values of half as many heads, a mask that leaves each row
    some, weights that a test for NaN guards. They are one program."""
    net, (length, heads, width) = OnnxNetwork(rng), (24, 4, 16)

    def headed(value: str, heads: int) -> str:
        rows = net.op("MatMul", value, net.some(32, heads * width))
        apart = net.op("Reshape", rows, net.number(np.array([1, length, heads, width])))
        return net.op("Transpose", apart, perm=[0, 2, 1, 3])

    def repeated(value: str) -> str:
        apart = net.op("Unsqueeze", value, net.number(np.array([2])))
        many = net.op("Expand", apart, net.number(np.array([1, heads // 2, 2, length, width])))
        return net.op("Reshape", many, net.number(np.array([1, heads, length, width])))

    x = net.op("Relu", net.op("MatMul", "x", net.some(8, 32)))
    q, k = (turned(net, way, headed(x, count), length, width) for count in (heads, heads // 2))
    keys = net.op("Transpose", repeated(k), perm=[0, 1, 3, 2])
    scores = net.op("MatMul", *(net.op("Mul", each, net.number(np.array(0.5, np.float32))) for each in (q, keys)))
    hidden = np.where(np.tri(length), 0, -np.inf).astype(np.float32)[None, None]
    weights = net.op("Softmax", net.op("Add", scores, net.number(hidden)), axis=-1)
    weights = net.op("Where", net.op("IsNaN", weights), net.number(np.array(0, np.float32)), weights)
    y = net.op("Transpose", net.op("MatMul", weights, repeated(headed(x, heads // 2))), perm=[0, 2, 1, 3])
    y = net.op("Reshape", y, net.number(np.array([1, length, heads * width])))
    model = net.model([1, length, 8], net.op("MatMul", y, net.some(heads * width, 5)))
    module, feeds = import_model(model), {"x": rng.normal(size=(1, length, 8)).astype(np.float32)}
    (wanted,) = interp.run(module, feeds).values()
    run_passes(calibration_pipeline(), module, OPTIONS)
    assert not {"neg", "concat", "slice"} & {op.name for op in module.ops}
    (found,) = interp.run(module, feeds).values()
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    if way in ("turned sums", "neighbours of rows"):
        options = CompileOptions(precision="int8", calibration=[feeds], machine="m4096", effort="quick")
        artifact = compile_to_memory(model, options)
        assert len(artifact.manifest.device_programs) == 1
        found = assert_engines_agree(artifact, feeds)
        assert np.linalg.norm(found - wanted) < 0.06 * np.linalg.norm(wanted)


def test_positions_of_what_is_kept_stay(rng: np.random.Generator) -> None:
    net = OnnxNetwork(rng)
    rows = net.op("MatMul", "x", net.some(8, 16))
    y = turned(net, "halves", net.op("Reshape", rows, net.number(np.array([1, 1, 6, 16]))), 6, 16)
    model = net.model([1, 6, 8], y)
    for keep, is_there in (((y,), True), (("neg",), True), ((), False)):
        module = import_model(model)
        run_passes(calibration_pipeline(keep), module, OPTIONS)
        assert ("neg" in {op.name for op in module.ops}) is is_there


@pytest.mark.parametrize("images", [1, 2])
def test_channels_may_look_at_each_other(images: int, rng: np.random.Generator) -> None:
    """As in XCiT: vectors of length one along the tokens, with a factor for each head; all is one program."""
    net, (tokens, heads, width) = OnnxNetwork(rng), (24, 2, 16)
    x = net.op("Relu", net.op("MatMul", "x", net.some(8, 32)))
    rows = net.op("MatMul", x, net.some(32, 3 * heads * width))
    apart = net.op("Reshape", rows, net.number(np.array([images, tokens, 3, heads, width])))
    apart = net.op("Transpose", apart, perm=[2, 0, 3, 4, 1])
    q, k, v = (net.op("Gather", apart, net.number(np.array(part)), axis=0) for part in range(3))
    low = net.number(np.array(1e-12, np.float32))

    def normal(value: str) -> str:
        return net.op("Div", value, net.op("Clip", net.op("ReduceL2", value, axes=[-1], keepdims=1), low))

    scores = net.op("MatMul", normal(q), net.op("Transpose", normal(k), perm=[0, 1, 3, 2]))
    factors = net.number(np.array([[[1.5]], [[3.0]]], np.float32))
    means = net.op("MatMul", net.op("Softmax", net.op("Mul", scores, factors), axis=-1), v)
    y = net.op("Transpose", means, perm=[0, 3, 1, 2])
    y = net.op("Reshape", y, net.number(np.array([images, tokens, heads * width])))
    model = net.model([images, tokens, 8], net.op("MatMul", y, net.some(heads * width, 5)))
    feeds = {"x": rng.normal(size=(images, tokens, 8)).astype(np.float32)}
    (wanted,) = interp.run(import_model(model), feeds).values()
    options = CompileOptions(precision="int8", calibration=[feeds], machine="m4096", effort="quick")
    artifact = compile_to_memory(model, options)
    assert len(artifact.manifest.device_programs) == 1
    found = assert_engines_agree(artifact, feeds)
    assert np.linalg.norm(found - wanted) < 0.06 * np.linalg.norm(wanted)
