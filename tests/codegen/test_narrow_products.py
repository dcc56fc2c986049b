"""Convolutions and products of numbers in bfloat16: rounding, kernels on emulated tiles against the reference, whole
networks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from emulated_tiles import emulate_networks, emulated, emulated_target, with_plain_products
from kernel_harness import Execution, described, in_two_calls, run_kernels
from onnx import helper
from operator_samples import Case, make_case
from samples import Sample

import tilewright
from tilewright.codegen.cpu.families import lower
from tilewright.codegen.cpu.llvm import narrow_speed, tiles
from tilewright.codegen.cpu.llvm.module import parse
from tilewright.codegen.cpu.llvm.target import TargetDescription, machine
from tilewright.compiler.export import export_c
from tilewright.errors import ArtifactError, RegenerationWarning, UnsupportedError
from tilewright.ir import interp
from tilewright.ir.arithmetic import bfloat16_bits, rounded_to_bfloat16
from tilewright.ir.ops.convolution import NarrowConv
from tilewright.ir.ops.matmul import NarrowMatMul
from tilewright.runtime.native import host

KINDS = ("tiles", "vectors", "here")

TOLERANCE = 1e-5
"""Of the largest result: sums in single precision, in another order."""


def activation(rng: np.random.Generator) -> tuple[str, tuple[float, ...]]:
    return [("none", ()), ("relu", ()), ("clip", (-0.5, 2.0)), ("sigmoid", ()), ("gelu", ())][int(rng.integers(5))]


def random_product(rng: np.random.Generator) -> Case:
    """Rows, columns and inner extents that are multiples of nothing, or of tiles; few rows and many; batches."""
    matmul = NarrowMatMul(False, rng.random() < 0.5, *activation(rng))
    inner, columns = (int(rng.choice(np.array([rng.integers(1, 150), 32 * rng.integers(1, 5)]))) for _ in range(2))
    rows = int(rng.choice(np.array([1, rng.integers(2, 17), rng.integers(17, 200)])))
    batch = [(), (int(rng.integers(1, 4)),), (2, 1)][int(rng.integers(3))]

    def numbers(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    x, w = numbers(*batch, rows, inner), numbers(inner, columns)
    w = w.T if matmul.transpose_b else w
    w = w[(None,) * int(rng.integers(len(batch) + 1))]
    b = numbers(columns) if rng.random() < 0.7 else None
    residual = numbers(*batch, rows, columns) if rng.random() < 0.4 else None
    return make_case(f"{matmul} {x.shape} {w.shape}", Sample(matmul, (x, w, b, residual), frozenset({1, 2})))


def random_case(rng: np.random.Generator) -> Case:
    """A random convolution in blocked layouts, or of few channels in row-major order."""
    rank = int(rng.choice([1, 2, 2]))

    def numbers(low: int, high: int, count: int = rank) -> tuple[int, ...]:
        return tuple(int(n) for n in rng.integers(low, high + 1, count))

    kernel, strides, pads, dilations = numbers(1, 4), numbers(1, 2), numbers(0, 2, 2 * rank), numbers(1, 2)
    if rng.random() < 0.3:
        kernel, strides, pads = (1,) * rank, strides, (0,) * 2 * rank
    image = tuple(int(rng.integers(d * (k - 1) + 1, 20)) for d, k in zip(dilations, kernel, strict=True))
    group = int(rng.choice([1, 1, 2, 4]))
    channels, outputs = (int(n) * group for n in rng.integers(8, 80 // group, 2))
    channels, outputs = (32 * group,) * 2 if group == 2 and rng.random() < 0.5 else (channels, outputs)
    has_few = group == 1 and rng.random() < 0.3
    if has_few:
        channels, taps = int(rng.integers(1, 5)), int(rng.integers(1, 8))
        kernel, dilations = (*kernel[1:], taps), (*dilations[1:], 1)
        image = (*image[1:], int(rng.integers(kernel[-1], 80)))
    conv = NarrowConv(strides, pads, dilations, group, *activation(rng))
    x, w = (
        (rng.standard_normal(s)).astype(np.float32)
        for s in ((2, channels, *image), (outputs, channels // group, *kernel))
    )
    b = rng.standard_normal(outputs).astype(np.float32) if rng.random() < 0.7 else None
    shape = conv.reference(x, w, b, None).shape
    added = rng.standard_normal(shape).astype(np.float32)
    residual = added if rng.random() < 0.4 else None
    case = make_case(f"{conv} {x.shape} {w.shape}", Sample(conv, (x, w, b, residual), frozenset({1, 2})))
    (op,) = case.module.main.ops
    is_plain = has_few and kernel[-1] > 1
    for value in (*op.inputs[is_plain:1], op.result, *(op.inputs[-1:] if residual is not None else ())):
        is_narrow = group == 1 and (value is op.inputs[0] or -(-outputs // 16) % 2 == 0) and rng.random() < 0.5
        value.type = value.type.with_layout("n32" if is_narrow else "c16")
    return case


def check(cases: list[Case], kind: str) -> None:
    """On ``tiles``, on ``vectors``, or on the latter ``here``, where there are such instructions."""
    target = emulated_target() if kind == "tiles" else TargetDescription.named("avx512-bf16")
    runs_on, plain = (target, emulated) if kind == "tiles" else (described("v3"), with_plain_products)
    if kind == "here":
        runs_on, plain = described("avx512-bf16"), lambda kernel: kernel
    executions: list[Execution] = []
    for case in cases:
        (op,) = case.module.main.ops
        kernel = lower(op, target)
        assert kernel is not None
        assert ("tdpbf16ps" if kind == "tiles" else "dpbf16ps.512") in kernel.text
        kernel = in_two_calls(plain(kernel), len(op.inputs) + 2)
        executions.append(Execution(op, kernel, tuple(a for a in case.sample.inputs if a is not None)))
    for case, found in zip(cases, run_kernels(executions, runs_on), strict=True):
        assert found is not None
        (expected,) = interp.run(case.module, case.inputs).values()
        (op,) = case.module.main.ops
        rtol, atol = 2.0**-8 if op.result.type.layout == "n32" else 0, TOLERANCE * np.abs(expected).max()
        residual = case.sample.inputs[3]
        if residual is not None and op.inputs[-1].type.layout == "n32":
            # It is rounded where it is stored.
            atol = atol + 2.0**-8 * np.abs(residual)
        assert (np.abs(found[0] - expected) <= atol + rtol * np.abs(expected)).all(), case.name


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("of", [random_case, random_product])
def test_random_shapes(of: Callable[[np.random.Generator], Case], kind: str, rng: np.random.Generator) -> None:
    check([of(rng) for _ in range(2)], kind)


@pytest.mark.sweep
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("of", [random_case, random_product])
def test_many_random_shapes(of: Callable[[np.random.Generator], Case], kind: str, rng: np.random.Generator) -> None:
    for _ in range(30):
        check([of(rng) for _ in range(10)], kind)


def test_blocks_without_a_second_one_are_no_pairs(rng: np.random.Generator) -> None:
    conv = NarrowConv((1,), (0, 0), (1,), 1)
    x, w = (rng.standard_normal(shape).astype(np.float32) for shape in ((1, 64, 9), (48, 64, 1)))
    (op,) = make_case("three blocks", Sample(conv, (x, w, None, None), frozenset({1, 2}))).module.main.ops
    op.inputs[0].type = op.inputs[0].type.with_layout("n32")
    for layout, is_known in (("c16", True), ("n32", False)):
        op.result.type = op.result.type.with_layout(layout)
        assert (lower(op, emulated_target()) is not None) == is_known


@pytest.mark.parametrize("shape", [(1, 64, 640, 640), (1, 64, 300_000)])
def test_large_maps_are_read_where_they_lie(shape: tuple[int, ...], rng: np.random.Generator) -> None:
    """Of one tap: there is no copy that could be too large."""
    ones = (1,) * len(shape[2:])
    conv = NarrowConv(ones, (0,) * 2 * len(ones), ones, 1)
    x, w = (rng.standard_normal((count, 64, *ones)).astype(np.float32) for count in (1, 32))
    (op,) = make_case("a large map", Sample(conv, (x, w, None, None), frozenset({1, 2}))).module.main.ops
    op.inputs[0].type = op.inputs[0].type.with_shape(shape).with_layout("n32")
    op.result.type = op.result.type.with_shape((1, 32, *shape[2:])).with_layout("c16")
    kernel = lower(op, emulated_target())
    assert kernel is not None
    assert "tdpbf16ps" in kernel.text


def operators_of(text: str, shapes: Mapping[str, tuple[int, ...]], target: str) -> list[str]:
    """What becomes of a network of convolutions in bf16."""
    model = onnx.parser.parse_model(text)
    add_weights(model, shapes, np.random.default_rng(0))
    artifact = tilewright.compile(model.SerializeToString(), precision="bf16", target=target)
    (code,) = artifact.manifest.cpu_programs.values()
    return [step.op for step in code.steps if "conv" in step.op]


@pytest.mark.parametrize("target", ["amx", "avx512-bf16"])
def test_lines_too_long_to_be_copied_stay_in_single_precision(target: str) -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]> g (float[1,64,EXTENT] x) => (float[1,32,EXTENT] y) {
        y = Conv <pads = [1, 1]> (x, w) }"""
    for extent, found in ((100_000, "narrow_conv"), (300_000, "conv")):
        assert operators_of(text.replace("EXTENT", str(extent)), {"w": (32, 64, 3)}, target) == [found]


@pytest.mark.parametrize(("target", "found"), [("amx", "narrow_conv"), ("avx512-bf16", "conv")])
def test_what_vectors_multiply_no_faster_stays_in_single_precision(target: str, found: str) -> None:
    """By Winograd's algorithm, or in groups that would be multiplied together; but windows of stride 2."""
    text = """<ir_version: 8, opset_import: ["" : 17]> g (float[1,64,40,40] x) => (float[1,64,20,20] y) {
        a = Conv <pads = [1, 1, 1, 1]> (x, w)  b = Conv <group = 8> (a, v)
        y = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (b, w) }"""
    shapes = {"w": (64, 64, 3, 3), "v": (64, 8, 1, 1)}
    assert operators_of(text, shapes, target) == [found, found, "narrow_conv"]


@pytest.mark.parametrize(("taps", "is_known"), [(1, False), (2, True)])
def test_rows_of_few_channels_have_taps_side_by_side(taps: int, is_known: bool, rng: np.random.Generator) -> None:
    """Copies of others skip pixels, which the masks that read those of few channels cannot."""
    conv = NarrowConv((2,), (0, 0), (1,), 1)
    x, w = (rng.standard_normal(shape).astype(np.float32) for shape in ((1, 3, 40), (32, 3, taps)))
    (op,) = make_case("few channels", Sample(conv, (x, w, None, None), frozenset({1, 2}))).module.main.ops
    op.result.type = op.result.type.with_layout("c16")
    assert (lower(op, emulated_target()) is not None) == is_known


def test_rounding() -> None:
    """One more than half of a step goes up, half of it to the even number, what is no number stays none."""
    bits = np.array([0x3F800000, 0x3F808000, 0x3F808001, 0x3F818000, 0xBF818000, 0x7F7FFFFF, 0x7F800001], np.uint32)
    assert [hex(n) for n in bfloat16_bits(bits.view(np.float32))] == [
        "0x3f80", "0x3f80", "0x3f81", "0x3f82", "0xbf82", "0x7f80", "0x7fc0",
    ]  # fmt: skip
    exact = np.array([0, -0.0, 1.5, -3, np.inf], np.float32)
    np.testing.assert_array_equal(rounded_to_bfloat16(exact), exact)


def network(rng: np.random.Generator) -> bytes:
    """A first layer, a normalisation, a convolution of its channels, a depthwise one, which stays as it is, a pointwise
    one.
    """
    shapes: dict[str, tuple[int, ...]] = {
        "stem": (32, 3, 3, 3),
        "dense": (32, 32, 3, 3),
        "depth": (32, 1, 3, 3),
        "point": (24, 32, 1, 1),
    }
    weights = [(rng.standard_normal(shape) * 0.2).astype(np.float32) for shape in shapes.values()]
    names = ["x", "a", "b", "c", "y"]
    nodes = [
        helper.make_node(
            "Conv", [names[i], w], [names[i + 1]], pads=[shape[2] // 2] * 4, group=32 // shape[1] if i == 2 else 1
        )
        for i, (w, shape) in enumerate(shapes.items())
    ]
    nodes[0].output[0] = "s"
    nodes[1:1] = [helper.make_node("Relu", ["s"], ["r"]), helper.make_node("Mul", ["r", "scale"], ["a"])]
    shapes["scale"], weights = (32, 1, 1), [*weights, rng.uniform(0.5, 1.5, (32, 1, 1)).astype(np.float32)]
    ends = {"x": (1, 3, 24, 24), "y": (1, 24, 24, 24)}
    x, y = (helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in ends.items())
    constants = [onnx.numpy_helper.from_array(array, name) for name, array in zip(shapes, weights, strict=True)]
    return helper.make_model(helper.make_graph(nodes, "network", [x], [y], constants)).SerializeToString()


def add_weights(model: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]], rng: np.random.Generator) -> None:
    for name, shape in shapes.items():
        array = (rng.standard_normal(shape) * 0.2).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))


def assert_is_narrow(monkeypatch: pytest.MonkeyPatch, model: bytes, x: np.ndarray, *, kernels: int) -> None:
    """In bf16 a network has so many kernels on tiles, and on two threads results near those of fp32, but not equal."""
    (exact,) = tilewright.load(tilewright.compile(model, precision="fp32")).run({"x": x}).values()
    narrow = emulate_networks(monkeypatch)
    artifact = tilewright.compile(model, precision="bf16", target=emulated_target())
    with tilewright.load(artifact, threads=2) as session:
        (found,) = session.run({"x": x}).values()
    assert len(narrow) == kernels
    assert artifact.manifest.precision == "bf16"
    largest = np.abs(exact).max()
    assert 1e-5 * largest < np.abs(found - exact).max() < 1e-2 * largest


def test_a_network_on_several_threads(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    model, image = network(rng), rng.standard_normal((1, 3, 24, 24)).astype(np.float32)
    assert_is_narrow(monkeypatch, model, image, kernels=3)


def test_branches_of_a_network(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    """Convolutions of one tap read one copy of what a pool reads, too; one of their results is handed on."""
    weights = {"a": (32, 64, 1, 1), "b": (48, 64, 1, 1), "c": (32, 32, 3, 3)}
    text = """<ir_version: 8, opset_import: ["" : 17]> g (float[1,64,9,9] x) => (float[1,144,9,9] y) {
        r = Relu (x)  p = MaxPool <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (r)  d = Conv (r, a)
        e = Conv <pads = [1, 1, 1, 1]> (d, c)  f = Conv (r, b)  y = Concat <axis = 1> (e, f, p) }"""
    model, x = onnx.parser.parse_model(text), rng.standard_normal((1, 64, 9, 9)).astype(np.float32)
    add_weights(model, weights, rng)
    assert_is_narrow(monkeypatch, model.SerializeToString(), x, kernels=3)


def test_products_of_a_network(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    """Of known matrices of some size; not a small one, and not that of two computed matrices."""
    weights = {"w": (70, 24), "b": (70,), "v": (70, 33), "small": (33, 9)}
    text = """<ir_version: 8, opset_import: ["" : 17]> g (float[2,40,24] x) => (float[2,40,40] y) {
        rows = Constant <value_ints = [80, 24]> ()  batch = Constant <value_ints = [2, 40, 70]> ()
        flat = Reshape (x, rows)  a = Gemm <transB = 1> (flat, w, b)  c = Relu (a)  d = Reshape (c, batch)
        e = MatMul (d, v)  f = MatMul (e, small)  t = Transpose <perm = [0, 2, 1]> (f)  y = MatMul (f, t) }"""
    model, x = onnx.parser.parse_model(text), rng.standard_normal((2, 40, 24)).astype(np.float32)
    add_weights(model, weights, rng)
    assert_is_narrow(monkeypatch, model.SerializeToString(), x, kernels=2)


def test_other_targets_are_refused(tmp_path: Path) -> None:
    message = (
        "precision bf16 is not faster than fp32 on target x86-64-v3; expected the extension amx-bf16 or the extension "
        "avx512bf16, found avx, avx2, bmi, .*. Compile the model with --target amx or avx512-bf16, or with --precision "
        "fp32."
    )
    with pytest.raises(UnsupportedError, match=message):
        tilewright.compile(network(np.random.default_rng(0)), precision="bf16", target="amx,v3")
    artifact = tilewright.compile(network(np.random.default_rng(0)), precision="bf16", target="amx")
    with pytest.raises(UnsupportedError, match=message):
        export_c(artifact, tmp_path, target="v3")


def test_processors_whose_vectors_multiply_no_faster_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the target is this machine, of which it can be measured; those that are named are taken at their word."""
    named = TargetDescription.named("avx512-bf16")
    here = replace(named, level="")
    for measured in (2.0, 0.5):
        monkeypatch.setattr(tiles, "products_gain", lambda found=measured: found)
        assert tiles.narrow_gain(named) == 2
        if measured > 1:
            assert tiles.narrow_gain(here) == 2
            continue
        with pytest.raises(UnsupportedError, match="precision bf16 is not faster than fp32 on target znver4"):
            tiles.narrow_gain(here)


def test_a_clock_that_rises_leaves_the_gain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each run is faster than the one before, and those of one function are but half as long as the other's."""
    runs, now = 0, 0.0

    def run(work: float) -> None:
        nonlocal runs, now
        runs, now = runs + 1, now + work / (1 + runs)

    monkeypatch.setattr(time, "perf_counter", lambda: now)
    narrow, single = narrow_speed.least_seconds([lambda: run(1), lambda: run(2)])
    assert single / narrow == pytest.approx(2, rel=0.1)


def test_other_processors_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = tilewright.compile(network(np.random.default_rng(0)), precision="bf16", target="amx")
    (code,) = artifact.manifest.cpu_programs.values()
    assert {"amx-bf16", "amx-tile", "avx512bf16"} <= set(code.target.features)
    others = (host.features() | set(code.target.features)) - {"amx-bf16", "amx-tile"}
    monkeypatch.setattr(host, "features", lambda: others)
    with pytest.raises(ArtifactError, match="this processor lacks amx-bf16, amx-tile"):
        tilewright.load(artifact, regenerate=False)
    found = TargetDescription.named("v3")
    monkeypatch.setattr(TargetDescription, "host", lambda: found)
    with (
        pytest.warns(RegenerationWarning),
        pytest.raises(UnsupportedError, match="precision bf16 is not faster than fp32 on target"),
    ):
        tilewright.load(artifact, regenerate=True)


@pytest.mark.parametrize("level", ["amx", "avx512-bf16"])
@pytest.mark.parametrize("of", [random_case, random_product])
def test_the_instructions(of: Callable[[np.random.Generator], Case], level: str, rng: np.random.Generator) -> None:
    target = TargetDescription.named(level)
    (op,) = of(rng).module.main.ops
    kernel = lower(op, target)
    assert kernel is not None
    text = machine(target).emit_assembly(parse(kernel.text, kernel.name, target))
    assert ("\ttdpbf16ps" in text) == (level == "amx")
    if level != "amx":
        assert "\tvdpbf16ps" in text
        return
    for instruction in ("ldtilecfg", "tileloadd", "tdpbf16ps", "tilestored", "tilerelease", "vcvtneps2bf16"):
        assert f"\t{instruction}" in text
