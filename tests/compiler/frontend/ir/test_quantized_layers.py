"""FakeQuantize of IR, and networks of integers that are written as IR and read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ir_networks import Opset
from network_files import partly_quantized_model, write_model
from opset_documents import Known, computed, document_of
from opset_ir import IrFile, Source

import tilewright
from tilewright.compiler.frontend.formats import import_model
from tilewright.compiler.frontend.ir.exporter import export_document
from tilewright.compiler.frontend.ir.reader import read_document
from tilewright.compiler.pipeline import quantized_import_pipeline
from tilewright.errors import TilewrightError
from tilewright.ir.core import Constant, Module
from tilewright.ir.text.parser import parse_module
from tilewright.runtime.report.details import details_of

X = np.linspace(-3, 3, 2 * 3 * 40, dtype=np.float32).reshape(2, 3, 40)


def names(module: Module) -> list[str]:
    return [op.name for op in module.main.ops]


def fake(x: np.ndarray, ends: list[np.ndarray], levels: int) -> np.ndarray:
    """The definition, in double precision."""
    low, high, out_low, out_high = (each.astype(np.float64) for each in ends)
    number = np.rint((np.clip(x, low, high) - low) / (high - low) * (levels - 1))
    return number / (levels - 1) * (out_high - out_low) + out_low


def ends_of(low: float, high: float, channels: int = 1, out: float = 1.0) -> list[np.ndarray]:
    """Ranges of channels, each a bit wider than the one before."""
    wide = (1 + np.arange(channels, dtype=np.float32) / 4).reshape(1, -1, 1)
    return [np.float32(end) * wide * factor for factor in (np.float32(1), np.float32(out)) for end in (low, high)]


CASES = {
    "unsigned": (ends_of(0, 2.55), 256, ["quantize_linear", "dequantize_linear"]),
    "signed": (ends_of(-1.28, 1.27), 256, ["quantize_linear", "dequantize_linear"]),
    "channels": (ends_of(-1.28, 1.27, 3), 256, ["quantize_linear", "dequantize_linear"]),
    "other output": (ends_of(-1.28, 1.27, out=2.0), 256, ["quantize_linear", "dequantize_linear"]),
    "without zero": (ends_of(0.513, 2.0), 256, None),
    "few levels": (ends_of(-0.7, 0.8, 3), 16, None),
}


@pytest.mark.parametrize("name", CASES)
def test_fake_quantize(name: str) -> None:
    ends, levels, form = CASES[name]
    inputs = [X, *map(Known, ends)]
    (found,) = computed("FakeQuantize", inputs, [X.shape], levels=levels, auto_broadcast="numpy")
    expected = fake(X, ends, levels)
    step = float((ends[3] - ends[2]).max()) / (levels - 1)
    # Single precision may fall on the other side of a half.
    assert np.abs(found - expected).max() < 1.001 * step
    assert (np.abs(found - expected) > 1e-5).mean() < 0.02
    if form is not None:
        assert names(import_model(document_of("FakeQuantize", inputs, [X.shape], levels=levels))) == form


@pytest.mark.parametrize("levels", [255, 256])
def test_fake_quantize_of_weights_makes_integers(levels: int) -> None:
    weights = np.random.default_rng(0).uniform(-1, 1, (4, 3, 5)).astype(np.float32)
    # Of one channel nothing is left.
    weights[1] = 0
    high = np.abs(weights).max((1, 2), keepdims=True).astype(np.float32)
    low = np.float32(-128 / 127) * high if levels == 256 else -high
    ends = [low, high, low, high]
    inputs = [Known(weights), *map(Known, ends)]
    document = document_of("FakeQuantize", inputs, [weights.shape], levels=levels)
    (op,) = import_model(document).main.ops
    assert op.name == "dequantize_linear"
    integers, zero = (op.inputs[index] for index in (0, 2))
    assert integers.type.dtype.value == "i8"
    assert isinstance(zero, Constant)
    assert not zero.array.any()
    (found,) = computed("FakeQuantize", inputs, [weights.shape], levels=levels)
    alive = high[:, 0, 0] > 0
    expected = fake(weights[alive], [each[alive] for each in ends], levels)
    np.testing.assert_allclose(found[alive], expected, rtol=0, atol=1e-6)
    assert not found[~alive].any()


WRONG = {
    "levels": (
        document_of("FakeQuantize", [X, *map(Known, ends_of(-1, 1))], [X.shape], levels=1),
        "at least two levels",
    ),
    "empty": (
        document_of("FakeQuantize", [X, *map(Known, ends_of(1, 1))], [X.shape], levels=256),
        "a range of inputs is empty or upside down",
    ),
    "shape": (
        document_of("FakeQuantize", [X, *map(Known, ends_of(-1, 1, 2))], [X.shape], levels=256),
        "FakeQuantize",
    ),
    "computed": (
        document_of("FakeQuantize", [X, *ends_of(-1, 1)], [X.shape], levels=256),
        "the ends of ranges must be known at compile time",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_ranges_that_are_wrong(name: str) -> None:
    document, message = WRONG[name]
    with pytest.raises(TilewrightError, match=message) as caught:
        import_model(document)
    assert caught.value.node == "layer"


def fake_quantized_network(folder: Path, groups: int = 1) -> Path:
    """A convolution between two FakeQuantize, its weights integers with a scale for each channel."""
    rng = np.random.default_rng(3)
    made = Opset()
    shape = (1, 4, 6, 6)

    def constant(name: str, values: np.ndarray) -> str:
        return made.constant(name, values.astype(np.float32))

    def quantized(name: str, source: str, low: float, high: float, shape: tuple[int, ...]) -> str:
        ends = [constant(f"{name}/{end}", np.array(value)) for end, value in (("low", low), ("high", high))]
        return made.layer("FakeQuantize", name, [source, *ends, *ends], shape, {"levels": "256"})

    x = quantized("fq_in", made.parameter("x", shape), -1.28, 1.27, shape)
    inner = (groups, 4 // groups, 4 // groups, 3, 3) if groups > 1 else (4, 4, 3, 3)
    weights = constant("w", rng.uniform(-1, 1, inner))
    high = np.ones((groups, *(1,) * (len(inner) - 1))) if groups > 1 else np.ones((4, 1, 1, 1))
    ends = [constant("w/low", -high), constant("w/high", high)]
    weights = made.layer("FakeQuantize", "fq_w", [weights, *ends, *ends], inner, {"levels": "255"})
    window = {"strides": "1,1", "dilations": "1,1", "pads_begin": "1,1", "pads_end": "1,1"}
    kind = "GroupConvolution" if groups > 1 else "Convolution"
    y = made.layer(kind, "conv", [x, weights], shape, window)
    y = made.layer("Add", "add", [y, constant("b", rng.uniform(-1, 1, (1, 4, 1, 1)))], shape)
    made.result(quantized("fq_out", made.layer("ReLU", "relu", [y], shape), 0, 5.1, shape))
    return made.write(folder, "fake")


@pytest.mark.parametrize("groups", [1, 4])
def test_networks_with_fake_quantize_run_on_integers(groups: int, tmp_path: Path) -> None:
    path = fake_quantized_network(tmp_path, groups)
    artifact = tilewright.compile(path, engines="device,software,float")
    x = np.random.default_rng(1).uniform(-1.2, 1.2, (1, 4, 6, 6)).astype(np.float32)
    results: dict[str, np.ndarray] = {}
    for engine in ("float", "software", "device"):
        with tilewright.load(artifact, engine=engine) as session:
            (results[engine],) = session.run({"x": x}).values()
    np.testing.assert_array_equal(results["device"], results["software"])
    assert np.abs(results["software"] - results["float"]).max() < 0.08
    # The convolution with its bias and its activation, under the name of what computes the result.
    (layer,) = (each for each in details_of(artifact).layers if each.op == "conv")
    assert (layer.name, layer.dtype) == ("relu", "u8")
    steps = results["software"] / np.float32(5.1 / 255)
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-3)


def gemm(factor: float, weight_scale: float) -> Module:
    """What OpenVINO makes of a quantised Gemm whose factors alpha and beta are these, on integers as far as it goes."""
    made = IrFile()

    def number(value: float) -> Source:
        return made.constant(np.array(value, np.float32))

    def times(x: Source, value: float, *shape: int) -> Source:
        return made.layer("Multiply", [x, number(value)], [shape])

    def integers(values: np.ndarray, scale: float) -> Source:
        real = made.layer("Convert", [made.constant(values)], [values.shape], destination_type="f32")
        return times(real, scale, *values.shape)

    def quantized(x: Source, *shape: int) -> Source:
        ends = [number(-1.28), number(1.27)]
        return made.layer("FakeQuantize", [x, *ends, *ends], [shape], levels=256)

    weights = integers(np.arange(-12, 12, dtype=np.int8).reshape(4, 6), weight_scale)
    bias = integers(np.arange(4, dtype=np.int32), 0.01 * weight_scale)
    product = made.layer("MatMul", [quantized(made.parameter(1, 6), 1, 6), weights], [(1, 4)], transpose_b="true")
    sum = made.layer("Add", [times(product, factor, 1, 4), times(bias, factor, 4)], [(1, 4)])
    made.result(quantized(sum, 1, 4))
    module = import_model(read_document(made.text, made.binary))
    quantized_import_pipeline().run(module)
    return module


@pytest.mark.parametrize("weight_scale", [0.02, 1.0])
def test_factors_of_a_product_that_are_1_leave_it_on_integers(weight_scale: float) -> None:
    assert names(gemm(1, weight_scale)) == ["quantize", "matmul", "dequantize"]
    assert names(gemm(2, weight_scale)) == ["quantize", "dequantize", "matmul", "quantize", "dequantize"]


def assert_same_after_writing(model: Path, x: dict[str, np.ndarray], folder: Path) -> Module:
    """A network gives the same bits on each engine after it was written as IR; what was read back."""
    tilewright.export(model, folder / "net.xml")
    artifacts = [tilewright.compile(each, engines="device,software,float") for each in (model, folder / "net.xml")]
    for engine in ("float", "software", "device"):
        found: list[dict[str, np.ndarray]] = []
        for artifact in artifacts:
            with tilewright.load(artifact, engine=engine) as session:
                found.append(session.run(x))
        assert list(found[0]) == list(found[1])
        for name in found[0]:
            np.testing.assert_array_equal(found[0][name], found[1][name])
    return import_model(folder / "net.xml")


def test_networks_that_bring_their_scales_keep_them(tmp_path: Path) -> None:
    model = write_model(tmp_path / "partly.onnx", partly_quantized_model())
    x = {"x": np.random.default_rng(0).standard_normal((1, 3, 6, 6)).astype(np.float32)}
    # Of operators on quantised types IR has none.
    with pytest.raises(TilewrightError, match=r"storage_cast.* has no IR form"):
        tilewright.export(model, tmp_path / "net.xml")
    tilewright.export(model, tmp_path / "qdq.onnx", quantized="qdq")
    again = assert_same_after_writing(tmp_path / "qdq.onnx", x, tmp_path)
    assert names(again).count("conv") == 2
    assert "round" not in names(again)


def test_chains_that_mean_something_else_stay() -> None:
    """A division and a rounding without the clamp of a type, and a scale along two dimensions."""
    weights = Known(np.arange(6, dtype=np.int8).reshape(2, 3))
    module = import_model(document_of("Convert", [weights], [(2, 3)], destination_type="f32"))
    assert names(module) == ["cast"]
    text = """module @m {
  const @s : f32[] = [0x1.0p+1]
  const @t : f32[2,3] = [0x1.0p+0, 0x1.0p+1, 0x1.8p+1, 0x1.0p+2, 0x1.4p+2, 0x1.8p+2]
  func @main(%x: f32[2,3], %q: i8[2,3]) -> (%a: i8[2,3], %b: f32[2,3]) {
    %d = div(%x, @s) : f32[2,3]
    %r = round(%d) : f32[2,3]
    %c = clip(%r) {min=-0x1.9p+6, max=0x1.9p+6} : f32[2,3]
    %a = cast(%c) {to=i8} : i8[2,3]
    %f = cast(%q) {to=f32} : f32[2,3]
    %b = mul(%f, @t) : f32[2,3]
    return %a, %b
  }
}"""
    expected = ["div", "round", "clip", "cast", "cast", "mul"]
    assert names(import_model(export_document(parse_module(text)))) == expected
