"""Scales by channel between matrix products and floating point."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import pytest
from onnx_networks import OnnxNetwork

import tilewright
from tilewright.compiler.driver import compile_to_memory
from tilewright.compiler.frontend.formats import import_model
from tilewright.compiler.options import CompileOptions
from tilewright.compiler.quantization.methods import Choices
from tilewright.compiler.quantization.quantize import quantize_module
from tilewright.ir import interp
from tilewright.ir.core import Module, is_op
from tilewright.ir.ops.elementwise import Mul
from tilewright.ir.ops.matmul import MatMul
from tilewright.ir.types import DType
from tilewright.runtime.session import load

F32 = onnx.TensorProto.FLOAT
ROWS, CHANNELS = 8, 32


def transformer(*, has_shortcut: bool, reach: float = 60.0) -> bytes:
    """A normalisation, two products with a softmax between them, a normalisation; one channel that products read, and
    one that they make, reach further than all others."""
    rng = np.random.default_rng(0)
    outlying = np.ones(CHANNELS)
    outlying[3] = reach
    arrays = {
        "g": outlying,
        "h": np.zeros(CHANNELS),
        "w": rng.standard_normal((CHANNELS, CHANNELS)) / outlying[:, None],
        "b": rng.standard_normal(CHANNELS),
        "v": rng.standard_normal((CHANNELS, CHANNELS)) * outlying,
        "one": np.ones(CHANNELS),
    }
    nodes = [
        onnx.helper.make_node("LayerNormalization", ["x", "g", "h"], ["n"]),
        onnx.helper.make_node("MatMul", ["n", "w"], ["m"]),
        onnx.helper.make_node("Add", ["m", "b"], ["q"]),
        onnx.helper.make_node("Softmax", ["q"], ["s"]),
        onnx.helper.make_node("MatMul", ["s", "v"], ["r"]),
        onnx.helper.make_node("Add", ["r", "n" if has_shortcut else "x"], ["t"]),
        onnx.helper.make_node("LayerNormalization", ["t", "one", "h"], ["y"]),
    ]
    ends = [onnx.helper.make_tensor_value_info(name, F32, [1, ROWS, CHANNELS]) for name in "xy"]
    weights = [onnx.numpy_helper.from_array(array.astype(np.float32), name) for name, array in arrays.items()]
    graph = onnx.helper.make_graph(nodes, "transformer", ends[:1], ends[1:], weights)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)]).SerializeToString()


def gated(reach: float = 60.0) -> bytes:
    """A gated layer (SwiGLU), of which channels reach differently behind the product, with a shortcut."""
    net = OnnxNetwork(np.random.default_rng(0))
    spread = np.ones(2 * CHANNELS, np.float32)
    spread[::16] = reach
    gate = net.op("MatMul", "x", net.some(CHANNELS, 2 * CHANNELS))
    up = net.op("MatMul", "x", net.number(net.rng.normal(size=(CHANNELS, 2 * CHANNELS)).astype(np.float32) * spread))
    product = net.op("Mul", net.op("Mul", gate, net.op("Sigmoid", gate)), up)
    weights = net.rng.normal(size=(2 * CHANNELS, CHANNELS)).astype(np.float32) / spread[:, None]
    down = net.op("MatMul", product, net.number(weights))
    return net.model([1, ROWS, CHANNELS], net.op("Softplus", net.op("Add", "x", down)))


SAMPLES = np.random.default_rng(1).standard_normal((24, ROWS, CHANNELS)).astype(np.float32)


def quantized(model: bytes, methods: str, choices: Choices | None = None, engines: str | None = None) -> Module:
    options = CompileOptions(calibration=SAMPLES[:16], methods=methods, engines=engines)
    return quantize_module(import_model(model), options, None, choices)


def decibels(model: bytes, methods: str, engines: str | None = None) -> float:
    """Signal over noise on samples that were not calibrated on."""
    float_module, found = import_model(model), quantized(model, methods, None, engines)
    signal = wrong = 0.0
    for x in SAMPLES[16:, None]:
        a, b = (next(iter(interp.run(each, {"x": x}).values())) for each in (float_module, found))
        signal, wrong = signal + float((a**2).sum()), wrong + float(((b - a) ** 2).sum())
    return 10 * float(np.log10(signal / wrong))


@pytest.mark.parametrize("has_shortcut", [True, False])
def test_channels_that_reach_far_do_not_coarsen_the_others(has_shortcut: bool) -> None:
    model = transformer(has_shortcut=has_shortcut)
    assert decibels(model, "products") > decibels(model, "none") + 10


@pytest.mark.parametrize(("has_shortcut", "multiplications"), [(True, 2), (False, 1)])
def test_a_normalisation_that_nothing_else_reads_takes_the_division_over(
    has_shortcut: bool, multiplications: int
) -> None:
    choices = Choices()
    found = quantized(transformer(has_shortcut=has_shortcut), "products", choices)
    assert {*choices.boundaries} == {"n", "r"}
    # The other one is behind the second product.
    assert sum(isinstance(op.operator, Mul) for op in found.main.ops) == multiplications


@pytest.mark.parametrize("engines", [None, "device"])
@pytest.mark.parametrize("read_as", ["rows", "first row", "map"])
def test_channels_of_a_normalisation_that_is_moved_meet_weights_of_their_own(read_as: str, engines: str | None) -> None:
    net = OnnxNetwork(np.random.default_rng(0))
    outlying = np.ones(CHANNELS, np.float32)
    outlying[3] = 60.0
    x = net.op("LayerNormalization", "x", net.number(outlying), net.number(np.zeros(CHANNELS, np.float32)))
    if read_as == "map":
        x = net.op("Reshape", net.op("Transpose", x, perm=[0, 2, 1]), net.number(np.array([1, CHANNELS, 2, 4])))
        weights = net.rng.normal(size=(16, CHANNELS, 2, 2)) / outlying[:, None, None]
        y = net.op("Conv", x, net.number(weights.astype(np.float32)))
    else:
        x = net.op("Slice", x, *(net.number(np.array([each])) for each in (0, 1, 1))) if read_as == "first row" else x
        weights = net.rng.normal(size=(CHANNELS, 16)) / outlying[:, None]
        y = net.op("MatMul", x, net.number(weights.astype(np.float32)))
    model = net.model([1, ROWS, CHANNELS], y)
    assert decibels(model, "products", engines) > decibels(model, "none", engines) + 6


def normalized(moved_by: Callable[[OnnxNetwork, str], str]) -> bytes:
    """A product of what is moved behind a normalisation of which one channel reaches further than all others."""
    net = OnnxNetwork(np.random.default_rng(0))
    outlying = np.ones(CHANNELS, np.float32)
    outlying[3] = 60.0
    x = net.op("LayerNormalization", "x", net.number(outlying), net.number(np.zeros(CHANNELS, np.float32)))
    weights = (net.rng.normal(size=(CHANNELS, 16)) / outlying[:, None]).astype(np.float32)
    return net.model([1, ROWS, CHANNELS], net.op("MatMul", moved_by(net, x), net.number(weights)))


def test_what_is_divided_on_the_way_is_no_tensor_of_the_source() -> None:
    model = normalized(lambda net, x: net.op("Transpose", x, perm=[1, 0, 2]))
    whole = CompileOptions(keep=["all"])
    kept: list[dict[str, np.ndarray]] = []
    for options in (whole, replace(whole, calibration=SAMPLES[:16], methods="products", engines="software")):
        with load(compile_to_memory(model, options)) as session:
            kept.append(session.run({"x": SAMPLES[16:17]}))
    exact, found = kept
    assert "v1" in exact
    for name, array in found.items():
        np.testing.assert_allclose(array, exact[name], atol=0.1 * np.abs(exact[name]).max())


def test_exports_name_what_is_divided_on_the_way_by_no_tensor_of_the_source(tmp_path: Path) -> None:
    model = normalized(lambda net, x: net.op("Transpose", x, perm=[1, 0, 2]))
    for methods, expected in (("none", "v1"), ("products", "v1_scaled")):
        file = tmp_path / f"{methods}.onnx"
        tilewright.export(model, file, quantized="qdq", calibration=SAMPLES[:16], methods=methods)
        made = {name for node in onnx.load(file).graph.node for name in node.output}
        assert expected in made and len(made & {"v1", "v1_scaled"}) == 1


def test_channels_that_are_normalised_have_room_for_what_other_samples_show() -> None:
    def first_row(net: OnnxNetwork, x: str) -> str:
        return net.op("Slice", x, *(net.number(np.array([each])) for each in (0, 1, 1)))

    choices = Choices()
    quantized(normalized(first_row), "products", choices, engines="device")
    (scales,) = choices.boundaries.values()
    rows = SAMPLES[:16, 0] - SAMPLES[:16, 0].mean(1, keepdims=True)
    seen = (rows / np.sqrt(np.square(rows).mean(1, keepdims=True) + 1e-5)).max(0)
    seen[3] *= 60
    assert (scales.factors * scales.range[1] > 1.2 * seen).all()


def test_nothing_that_is_read_takes_no_factors() -> None:
    def nothing(net: OnnxNetwork, x: str) -> str:
        return net.op("Slice", x, *(net.number(np.array([each])) for each in (0, 0, 1)))

    choices = Choices()
    quantized(normalized(nothing), "products", choices)
    assert not choices.boundaries


def test_channels_that_reach_alike_stay_as_they_are() -> None:
    model = transformer(has_shortcut=True, reach=1.0)
    choices = Choices()
    assert str(quantized(model, "products", choices)) == str(quantized(model, "none"))
    assert not choices.boundaries


@pytest.mark.parametrize("is_standardized", [True, False])
def test_features_far_from_zero_are_moved_before_they_become_integers(is_standardized: bool) -> None:
    net = OnnxNetwork(np.random.default_rng(0))
    spread = 10.0 ** np.linspace(-3, 3, CHANNELS, dtype=np.float32)
    mean = 10 * spread
    centred = net.op("Sub", "x", net.number(mean)) if is_standardized else "x"
    scaled = net.op("Div", centred, net.number(spread))
    model = net.model([1, CHANNELS], net.op("Relu", net.op("Gemm", scaled, net.some(CHANNELS, 8), net.some(8))))
    samples = [net.rng.standard_normal((1, CHANNELS)).astype(np.float32) * spread + mean for _ in range(48)]
    options = CompileOptions(calibration=samples[:40], methods="products")
    exact, found = import_model(model), quantize_module(import_model(model), options)
    assert found.main.parameters[0].uses
    signal = wrong = 0.0
    for x in samples[40:]:
        a, b = (next(iter(interp.run(each, {"x": x}).values())) for each in (exact, found))
        signal, wrong = signal + float((a**2).sum()), wrong + float(((b - a) ** 2).sum())
    assert 10 * np.log10(signal / wrong) > 25


def tabular(unused: int | None = None) -> bytes:
    """Two layers on the columns of a table; the weights of one feature are 0."""
    net = OnnxNetwork(np.random.default_rng(2))
    weights = net.rng.standard_normal((CHANNELS, 32)).astype(np.float32)
    if unused is not None:
        weights[unused] = 0
    hidden = net.op("Relu", net.op("Gemm", "x", net.number(weights), net.some(32)))
    return net.model([1, CHANNELS], net.op("Gemm", hidden, net.some(32, 4), net.some(4)))


def tabular_decibels(samples: np.ndarray, others: np.ndarray, unused: int | None = None) -> float:
    """Signal over noise of these on other samples, [samples, 1, channels]."""
    model = tabular(unused)
    options = CompileOptions(calibration=[*samples], methods="products")
    exact, found = import_model(model), quantize_module(import_model(model), options)
    runs = [[next(iter(interp.run(each, {"x": x}).values())) for x in others] for each in (exact, found)]
    wanted, got = (np.stack(each).astype(np.float64) for each in runs)
    return float(10 * np.log10(np.square(wanted).sum() / np.square(got - wanted).sum()))


def test_few_samples_tell_no_means() -> None:
    x = 1 + np.random.default_rng(0).standard_normal((100, 1, CHANNELS)).astype(np.float32)
    assert tabular_decibels(x[:2], x[20:]) > 14


def test_a_feature_that_samples_show_as_one_number_may_be_another(rng: np.random.Generator) -> None:
    x = rng.standard_normal((160, 1, CHANNELS)).astype(np.float32)
    x[:80, :, 3] = 9
    assert tabular_decibels(x[:80], x[80:]) > 25


@pytest.mark.parametrize("varies", [False, True])
def test_a_feature_that_meets_zeros_takes_none_of_the_range(varies: bool, rng: np.random.Generator) -> None:
    x = rng.standard_normal((160, 1, CHANNELS)).astype(np.float32)
    x[..., 5] = 1e6 * (x[..., 5] if varies else 1)
    assert tabular_decibels(x[:80], x[80:], unused=5) > 30


def test_a_factor_takes_over_the_division_of_what_it_makes() -> None:
    model, choices = gated(), Choices()
    module = quantized(model, "products", choices)
    (product,) = (op for op in module.main.ops if is_op(op, Mul))
    assert {*choices.boundaries} == {product.result.name} and product.result.type.quant is not None
    assert decibels(model, "products") > decibels(model, "none") + 10


def test_the_host_rounds_gates_once_and_nothing_that_floating_point_reads() -> None:
    module = quantized(gated(1.0), "outputs", None, "software")
    (product,) = (op for op in module.main.ops if is_op(op, Mul))
    assert product.result.type.quant is None
    makers = [op for op in module.main.ops if is_op(op, MatMul)]
    assert len(makers) == 3 and all(op.result.type.quant is None for op in makers)
    assert decibels(gated(1.0), "outputs", "software") > decibels(gated(1.0), "none", "software") + 1


@pytest.mark.parametrize("model", [transformer(has_shortcut=True), gated()], ids=["transformer", "gated"])
def test_engines_agree_on_them(model: bytes) -> None:
    artifact = tilewright.compile(model, precision="int8", calibration=SAMPLES[:16], methods="all")
    x = SAMPLES[20][None]
    sessions = [tilewright.load(artifact, engine=engine) for engine in ("software", "device")]
    a, b = (next(iter(session.run({"x": x}).values())) for session in sessions)
    assert a.tobytes() == b.tobytes()
    (expected,) = interp.run(quantized(model, "all", None, "device,software"), {"x": x}).values()
    assert np.abs(a - expected).max() < 0.05 * np.abs(expected).max()


def test_engines_agree_on_features_of_16_bits(rng: np.random.Generator) -> None:
    samples = (40 + 10 * rng.standard_normal((40, 1, CHANNELS))).astype(np.float32)
    samples[:, :, 3] = np.exp(samples[:, :, 3] / 10)
    options = {"calibration": [*samples], "methods": "products"}
    found = quantize_module(import_model(tabular()), CompileOptions(engines="device,software", **options))
    assert any(value.type.dtype is DType.I16 for op in found.main.ops for value in op.results)
    artifact = tilewright.compile(tabular(), precision="int8", **options)
    for x in (samples[0], 1e6 - samples[1], np.zeros_like(samples[2])):
        results = [tilewright.load(artifact, engine=engine).run({"x": x}) for engine in ("software", "device")]
        a, b = (next(iter(each.values())) for each in results)
        (expected,) = interp.run(found, {"x": x}).values()
        assert a.tobytes() == b.tobytes() == expected.tobytes()


def test_quantize_tells_of_methods_and_values_that_changed_as_they_are(tmp_path: Path) -> None:
    options = {"calibration": SAMPLES, "engines": "software"}
    found = tilewright.quantize(transformer(has_shortcut=True), tmp_path / "transformer.twa", **options)
    tried = [rung.what.split(":")[0] for rung in found.rungs]
    assert "+ products" in tried
    # There are no depthwise convolutions, and no sums behind convolutions.
    assert not {"+ channels", "+ additions"} & {*tried}
    # The result of the second product is divided: it is no less exact for that.
    assert "r" not in {each.name for each in found.layers}
    assert all(each.here > 10 for each in found.layers)


def test_quantize_tells_nothing_of_factors_that_were_divided(tmp_path: Path) -> None:
    found = tilewright.quantize(gated(), tmp_path / "gated.twa", calibration=SAMPLES, engines="device,software")
    assert any("products" in rung.what for rung in found.rungs if not rung.rejected)
    told = {each.name for each in found.layers}
    # The gate and what SiLU makes of it are as they were, their factor and the product are not.
    assert "v0" in told and not told & {"v1", "v4"}
    assert all(each.here > 10 for each in found.layers)
