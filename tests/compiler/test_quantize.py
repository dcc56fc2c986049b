"""What makes integers more exact than ranges alone, and the command that tries it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial
from html import escape
from pathlib import Path

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import onnxruntime
import pytest
from exact_onnxruntime import qdq_session
from json_results import result_of
from PIL import Image

import tilewright
from tilewright.__main__ import main
from tilewright.compiler.calibration.windows import places_of, windows
from tilewright.compiler.demo import MODEL, load_digits
from tilewright.compiler.frontend.formats import import_model
from tilewright.compiler.options import CompileOptions
from tilewright.compiler.quantization import round_weights
from tilewright.compiler.quantization.exact_inputs import choose_inputs
from tilewright.compiler.quantization.ladder.judging import score
from tilewright.compiler.quantization.methods import methods_of
from tilewright.compiler.quantization.quantize import quantize_module
from tilewright.compiler.quantization.round_weights import decompose, optimised
from tilewright.errors import CalibrationError, UsageError
from tilewright.ir import interp
from tilewright.ir.core import Constant, Module, is_op
from tilewright.ir.ops.convolution import Conv
from tilewright.runtime.artifact.artifact import Artifact
from tilewright.runtime.pictures.preprocessing import Preprocessing
from tilewright.runtime.report.details import details_of

Fails = Callable[..., str]
F32 = onnx.TensorProto.FLOAT


def separable() -> bytes:
    """A pointwise convolution whose channels differ ten thousandfold, a depthwise one that evens them out, one more."""
    rng = np.random.default_rng(0)
    reach = np.asarray([1000.0, 1.0, 30.0, 0.1]).reshape(-1, 1, 1, 1)
    arrays = {
        "w": rng.standard_normal((4, 3, 1, 1)) * reach,
        "b": rng.standard_normal(4) * reach.reshape(-1),
        "d": rng.standard_normal((4, 1, 3, 3)) / reach,
        "p": rng.standard_normal((2, 4, 1, 1)),
    }
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("Conv", ["x", "w", "b"], ["c"]),
            onnx.helper.make_node("Relu", ["c"], ["r"]),
            onnx.helper.make_node("Conv", ["r", "d"], ["e"], pads=[1, 1, 1, 1], group=4),
            onnx.helper.make_node("Conv", ["e", "p"], ["y"]),
        ],
        "separable",
        [onnx.helper.make_tensor_value_info("x", F32, [1, 3, 8, 8])],
        [onnx.helper.make_tensor_value_info("y", F32, [1, 2, 8, 8])],
        [onnx.numpy_helper.from_array(array.astype(np.float32), name) for name, array in arrays.items()],
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)]).SerializeToString()


SAMPLES = np.random.default_rng(1).standard_normal((24, 3, 8, 8)).astype(np.float32)


def noise(methods: str) -> float:
    """Decibels of the signal over the noise of integers, on samples that were not calibrated on."""
    module = import_model(separable())
    quantized = quantize_module(module, CompileOptions(calibration=SAMPLES[:16], methods=methods))
    wrong = signal = 0.0
    for x in SAMPLES[16:, None]:
        expected, found = (interp.run(each, {"x": x})["y"] for each in (module, quantized))
        wrong, signal = wrong + float(((found - expected) ** 2).sum()), signal + float((expected**2).sum())
    return 10 * float(np.log10(signal / wrong))


def block() -> bytes:
    """A convolution around which there is a way, and one more."""
    rng = np.random.default_rng(0)
    weights = (rng.standard_normal((3, 3, 3, 3)) for _ in range(2))
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
            onnx.helper.make_node("Add", ["c", "x"], ["s"]),
            onnx.helper.make_node("Relu", ["s"], ["r"]),
            onnx.helper.make_node("Conv", ["r", "v"], ["y"]),
        ],
        "block",
        [onnx.helper.make_tensor_value_info("x", F32, [1, 3, 8, 8])],
        [onnx.helper.make_tensor_value_info("y", F32, [1, 3, 6, 6])],
        [onnx.numpy_helper.from_array(a.astype(np.float32), n) for a, n in zip(weights, "wv", strict=True)],
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)]).SerializeToString()


def test_sums_are_taken_from_accumulators(tmp_path: Path) -> None:
    artifact = tilewright.compile(block(), precision="int8", calibration=SAMPLES[:16], methods="additions")
    sessions = [tilewright.load(artifact, engine=engine) for engine in ("software", "device")]
    for x in SAMPLES[16:20, None]:
        first, second = (session.run({"x": x})["y"] for session in sessions)
        assert first.tobytes() == second.tobytes()
    # In exported files there is a pair behind the convolution, as other runtimes fuse it.
    for methods in ("additions", "none"):
        path = tmp_path / f"{methods}.onnx"
        tilewright.export(block(), path, quantized="qdq", calibration=SAMPLES[:16], methods=methods)
    assert (tmp_path / "additions.onnx").read_bytes() == (tmp_path / "none.onnx").read_bytes()


def test_what_is_written_for_others_is_not_tried_with_sums_from_accumulators(tmp_path: Path) -> None:
    for name, expected in (("block.onnx", False), ("block.twa", True)):
        found = tilewright.quantize(block(), tmp_path / name, calibration=SAMPLES)
        assert any("additions" in rung.what for rung in found.rungs) is expected


def test_each_method_makes_integers_more_exact() -> None:
    alone, channels, every = noise("none"), noise("channels"), noise("all")
    assert channels > alone + 10
    assert noise("outputs,channels") > channels
    assert every > channels + 0.5


def first_layer(pads: int, factors: bool) -> bytes:
    """One convolution over colours, whose weights are on a grid of their own or not."""
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((8, 3, 3, 3)) if factors else rng.integers(-127, 128, (8, 3, 3, 3)) / 64
    node = onnx.helper.make_node("Conv", ["x", "w"], ["y"], pads=[pads] * 4)
    graph = onnx.helper.make_graph(
        [node],
        "colours",
        [onnx.helper.make_tensor_value_info("x", F32, [1, 3, 12, 12])],
        [onnx.helper.make_tensor_value_info("y", F32, [1, 8, 10 + 2 * pads, 10 + 2 * pads])],
        [onnx.numpy_helper.from_array(weights.astype(np.float32), "w")],
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)]).SerializeToString()


@pytest.mark.parametrize(
    ("mean", "deviation", "pads", "gain"),
    [
        ([83.0, 83.0, 83.0], [1.7, 1.7, 1.7], 1, 15),  # on the grid as they are
        ([127.5, 127.5, 127.5], [127.5, 127.5, 127.5], 0, 15),  # half a step beside it
        ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375], 1, 2.5),  # each channel on a grid of its own
    ],
)
def test_pixels_stay_the_integers_that_they_are(
    tmp_path: Path, mean: list[float], deviation: list[float], pads: int, gain: float
) -> None:
    rng = np.random.default_rng(2)
    pixels = np.clip(rng.normal(120, 25, (40, 3, 12, 12)), 0, 255).round()
    shift, by = (np.asarray(each).reshape(3, 1, 1) for each in (mean, deviation))
    samples = ((pixels - shift) / by).astype(np.float32)
    model = first_layer(pads, factors=len(set(deviation)) > 1)
    module = import_model(model)

    def decibels(methods: str) -> tuple[float, Module]:
        found = quantize_module(module, CompileOptions(calibration=samples[:30], methods=methods))
        pairs = [[interp.run(each, {"x": x[None]})["y"] for each in (module, found)] for x in samples[30:]]
        signal, wrong = (
            sum(float(np.square(each).sum()) for each in arrays)
            for arrays in zip(*((a, b - a) for a, b in pairs), strict=True)
        )
        return 10 * float(np.log10(signal / max(wrong, 1e-30))), found

    plain, exact = decibels("outputs")[0], decibels("inputs,outputs")
    assert exact[0] > plain + gain
    options = {"calibration": samples[:30], "methods": "inputs,outputs"}
    artifact = tilewright.compile(model, engines="device,software", **options)
    expected = interp.run(exact[1], {"x": samples[35][None]})["y"]
    for engine in ("device", "software"):
        with tilewright.load(artifact, engine=engine) as session:
            assert session.run({"x": samples[35][None]})["y"].tobytes() == expected.tobytes()
    tilewright.export(model, tmp_path / "colours.onnx", quantized="qdq", **options)
    (found,) = qdq_session(tmp_path / "colours.onnx").run(None, {"x": samples[35][None]})
    np.testing.assert_allclose(np.asarray(found), expected, rtol=0, atol=1e-4 * float(np.abs(expected).max()))


def test_inputs_that_are_no_integers_of_8_bits_are_left_alone() -> None:
    model = import_model(first_layer(1, factors=True))
    smooth = np.random.default_rng(3).standard_normal((20, 3, 12, 12)).astype(np.float32)
    few = np.random.default_rng(3).integers(0, 8, (20, 3, 12, 12)).astype(np.float32)
    for samples in (smooth, few):
        assert choose_inputs(model, [{"x": x[None]} for x in samples]) == {}


def test_results_of_the_last_layer_are_exact_sums_on_every_engine(tmp_path: Path) -> None:
    options = {"calibration": SAMPLES[:16], "methods": "all"}
    artifact = tilewright.compile(separable(), engines="device,software", **options)
    module = quantize_module(import_model(separable()), CompileOptions(**options))
    last = next(op for op in reversed([*module.main.ops]) if is_op(op, Conv))
    assert last.operands.x.type.quant is not None and last.result.type.quant is None
    x = {"x": SAMPLES[20][None]}
    expected = interp.run(module, x)["y"]
    for engine in ("device", "software"):
        with tilewright.load(artifact, engine=engine) as session:
            assert session.run(x)["y"].tobytes() == expected.tobytes()
    for form in ("qdq", "qlinear"):
        path = tmp_path / f"{form}.onnx"
        tilewright.export(separable(), path, quantized=form, **options)
        session = qdq_session(path) if form == "qdq" else onnxruntime.InferenceSession(str(path))
        (found,) = session.run(None, x)
        np.testing.assert_allclose(np.asarray(found), expected, rtol=0, atol=0.02 * float(np.abs(expected).max()))


def test_rounding_by_the_error_of_the_sums_is_better_than_to_the_nearest(rng: np.random.Generator) -> None:
    mixing = rng.standard_normal((12, 12))
    inputs = rng.standard_normal((400, 12)) @ mixing
    weights, products, ones = rng.uniform(-20, 20, (1, 5, 12)), (inputs.T @ inputs)[None], np.ones((1, 5, 1))
    found, steps = optimised(weights, ones, products)
    assert (found == np.rint(found)).all() and np.abs(found).max() <= 127

    def error(rounded: np.ndarray) -> float:
        return float((((rounded - weights)[0] @ inputs.T) ** 2).sum())

    assert error(found * steps) < 0.7 * error(np.rint(weights))
    found, steps = optimised(np.rint(weights), ones, products)
    np.testing.assert_array_equal(found, np.rint(weights))
    np.testing.assert_array_equal(steps, ones)


def test_a_decomposition_is_the_same_however_many_columns_are_computed_together(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = rng.standard_normal((2, 70, 200))
    products = inputs @ inputs.transpose(0, 2, 1)
    found = []
    for columns in (70, 32, 7, 1):
        monkeypatch.setattr(round_weights, "PANEL", columns)
        found.append(products.copy())
        decompose(found[-1])
    upper, diagonal = np.triu(found[0], 1) + np.eye(70), np.diagonal(found[0], axis1=1, axis2=2)
    np.testing.assert_allclose(
        (upper * diagonal[:, None, :]) @ upper.transpose(0, 2, 1), products, rtol=1e-9, atol=1e-9
    )
    assert all(np.array_equal(np.triu(each), np.triu(found[0])) for each in found)


def test_steps_are_chosen_by_the_error_of_smooth_maps(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Neighbours are nearly alike: the sum of the nine weights counts, which one weight alone makes good to half a step.
    inputs = 10 * rng.standard_normal((400, 1)) + 0.1 * rng.standard_normal((400, 9))
    rows = rng.uniform(-20, 20, (1, 64, 9))
    smallest = np.abs(rows).max(2, keepdims=True) / 127

    def error() -> float:
        found, steps = optimised(rows, smallest, (inputs.T @ inputs)[None])
        assert (steps >= smallest * 0.999).all() and (steps <= smallest * 1.25).all()
        return float(np.square((found * steps - rows)[0] @ inputs.T).sum())

    several = error()
    monkeypatch.setattr(round_weights, "WIDENED", round_weights.WIDENED[:1])
    assert several < 0.2 * error()


def in_half(model: bytes) -> bytes:
    """The same network in float16."""
    half = onnx.load_from_string(model)
    for value in (*half.graph.input, *half.graph.output):
        value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    for each in half.graph.initializer:
        each.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(each).astype(np.float16), each.name))
    return half.SerializeToString()


def test_a_network_in_half_precision_becomes_the_integers_of_one_in_single(tmp_path: Path) -> None:
    half = in_half(separable())
    single = onnx.load_from_string(separable())
    rounded = onnx.load_from_string(half).graph.initializer
    for each, other in zip(single.graph.initializer, rounded, strict=True):
        wide = onnx.numpy_helper.to_array(other).astype(np.float32)
        each.CopyFrom(onnx.numpy_helper.from_array(wide, each.name))
    samples = SAMPLES.astype(np.float16).astype(np.float32)
    options = {"calibration": samples[:16], "methods": "all", "engines": "device,software"}
    artifacts = [tilewright.compile(each, **options) for each in (half, single.SerializeToString())]
    x = samples[20][None]
    for engine in ("device", "software"):
        found = tilewright.load(artifacts[0], engine=engine).run({"x": x.astype(np.float16)})["y"]
        expected = tilewright.load(artifacts[1], engine=engine).run({"x": x})["y"]
        assert found.dtype == np.float16
        assert found.tobytes() == expected.astype(np.float16).tobytes()
    said = "the network is in half precision: integers are made of it as if it were in single, inputs and outputs stay"
    assert said in details_of(artifacts[0]).warnings and said not in details_of(artifacts[1]).warnings
    found = tilewright.quantize(half, tmp_path / "half.twa", calibration=samples, engines="software")
    assert found.warnings.count(said) == 1
    alike = tilewright.quantize(single.SerializeToString(), tmp_path / "single.twa", calibration=samples)
    assert max(each.score.sqnr for each in found.rungs) == pytest.approx(
        max(each.score.sqnr for each in alike.rungs), abs=0.5
    )


def test_windows_are_what_a_convolution_multiplies(rng: np.random.Generator) -> None:
    module = import_model(separable())
    op = next(op for op in module.main.ops if is_op(op, Conv) and op.operator.group == 4)
    x = rng.standard_normal((1, 4, 8, 8)).astype(np.float32)
    w = op.operands.w
    assert isinstance(w, Constant)
    found = windows(op, x, 0, places=1000)
    sums = (found * w.array.reshape(4, 9)).sum(2)
    expected = op.operator.reference(x, w.array, None, None)
    np.testing.assert_allclose(sums, expected[0].reshape(4, -1).T, rtol=1e-5, atol=1e-6)
    assert windows(op, x, 3, places=5).tobytes() == windows(op, x, 3, places=5).tobytes()
    assert [places_of(samples) for samples in (1, 12, 100, 5000)] == [6400, 534, 64, 64]


def test_names_of_methods() -> None:
    assert methods_of("none") == ()
    assert methods_of("rounding,channels") == ("channels", "rounding")
    with pytest.raises(
        UsageError, match=r"unknown method of quantisation; expected all, none or some of inputs, channels"
    ):
        methods_of("chanels")


@pytest.fixture
def digits(tmp_path: Path) -> list[str]:
    data = load_digits()
    np.save(tmp_path / "digits.npy", data.prepare(data.images[:60]))
    (tmp_path / "labels.txt").write_text("\n".join(map(str, data.labels[:60].tolist())))
    files = ["--calibration", str(tmp_path / "digits.npy"), "--labels", str(tmp_path / "labels.txt")]
    return ["quantize", str(MODEL), *files]


def test_a_goal_is_reached_by_one_command(
    tmp_path: Path, digits: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    written = tmp_path / "digits.twa"
    encodings = tmp_path / "digits.encodings"
    assert main([*digits, "--max-drop", "5%", "-o", str(written), "--encodings", str(encodings), "--json"]) == 0
    found = result_of(capsys.readouterr().out)
    assert found["reached"] is True and found["judged"] == 20
    assert (found["calibrated"], found["chosen_by"]) == (30, 10)
    assert found["rungs"][found["chosen"]]["score"]["sqnr"] > 20
    assert found["layers"][0]["here"] <= found["layers"][-1]["here"]
    assert json.loads(encodings.read_text())["version"] == "1.0.0"
    with tilewright.load(written, engine="software") as session:
        assert session.run({"image": np.load(tmp_path / "digits.npy")[:1]})["probabilities"].shape == (1, 10)


def test_a_goal_that_is_missed_ends_with_the_best_and_with_code_1(
    tmp_path: Path, digits: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    written = tmp_path / "digits.onnx"
    assert main([*digits, "--min-sqnr", "150", "-o", str(written)]) == 1
    shown = capsys.readouterr()
    assert "the goal is not reached, and the best result was written" in shown.err
    assert "Give more samples, a lower goal, --weights-bits 16 with --wide all, or --keep-float" in shown.err
    assert "* was written" in shown.out and "Goal: SQNR of every output at least 150 dB: not reached." in shown.out
    assert "in 16 bits: results whose rounding does most" in shown.out and "in floating point: layers" in shown.out
    tried = re.findall(r" \+ (\w+) (?:results?|activations) in 16 bits", shown.out)
    assert tried == ["1", "2", "4", "5", "all"]
    assert max(map(len, shown.out.splitlines()[1:])) <= 80
    assert any(node.op_type == "DequantizeLinear" for node in onnx.load(written).graph.node)


def test_16_bits_reach_what_the_methods_do_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = onnx.load(classifier(tmp_path / "net.onnx"))
    # Of 8 bits, so that activations alone are rounded.
    weights = np.rint(16 * onnx.numpy_helper.to_array(model.graph.initializer[0])) / 16
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(weights.astype(np.float32), "w"))
    onnx.save(model, tmp_path / "net.onnx")
    np.save(tmp_path / "x.npy", SAMPLES)
    written, encodings = tmp_path / "wide.onnx", tmp_path / "wide.encodings"
    words = ["quantize", str(tmp_path / "net.onnx"), "--calibration", str(tmp_path / "x.npy"), "-o", str(written)]
    assert main([*words, "--min-sqnr", "60", "--encodings", str(encodings), "--json"]) == 0
    found = result_of(capsys.readouterr().out)
    assert found["rungs"][found["chosen"]]["what"] == "+ 1 result in 16 bits"
    assert found["kept"] == [] and found["wide"] == ["x"]
    stored = {each.data_type for each in onnx.load(written).graph.initializer if each.name.endswith("_zero_point")}
    assert onnx.TensorProto.INT16 in stored
    entries = json.loads(encodings.read_text())["activation_encodings"]
    assert {(each["is_sym"], *each["offset"]) for each in entries if each["bw"] == 16} == {(True, -32768)}


def photos(folder: Path, count: int, suffix: str = ".png") -> Path:
    """Coloured noise as images."""
    folder.mkdir()
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"photo {number}{suffix}")
    return folder


def classifier(path: Path, batch: int = 1) -> Path:
    """Scores of four classes: a convolution, and means of its channels."""
    weights = np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32)
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("Conv", ["x", "w"], ["c"]),
            onnx.helper.make_node("GlobalAveragePool", ["c"], ["m"]),
            onnx.helper.make_node("Flatten", ["m"], ["y"]),
        ],
        "classifier",
        [onnx.helper.make_tensor_value_info("x", F32, [batch, 3, 8, 8])],
        [onnx.helper.make_tensor_value_info("y", F32, [batch, 4])],
        [onnx.numpy_helper.from_array(weights, "w")],
    )
    opsets = [onnx.helper.make_opsetid("", 17)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10)
    path.write_bytes(model.SerializeToString())
    return path


def test_an_artifact_knows_how_images_become_inputs_and_what_is_doubtful_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, model, written = photos(tmp_path / "фото", 6), classifier(tmp_path / "net.onnx"), tmp_path / "net.twa"
    words = ["quantize", str(model), "--calibration", str(folder), "--preprocess", "tf,resize=stretch"]
    assert main([*words, "-o", str(written), "--max-drop", "1%"]) in (0, 1)
    shown = capsys.readouterr()
    assert "Input x: 3 samples, -1 to 1, mean " in shown.out
    assert "\nGoal: at most 1 % of answers change: " in shown.out
    assert "warning: 2 answers tell no fall of 1 %: one of them is more than that\n" in shown.err
    details = details_of(Artifact.open(written))
    assert details.images is not None
    assert (details.images["x"].origin, details.images["x"].calibrated) == ("preset tf with other resize", True)
    assert [each.samples for each in details.calibration] == [3]
    assert main(["run", str(written), str(folder / "photo 0.png"), "--engine", "software", "--top", "1"]) == 0


def test_what_was_found_is_one_object_where_the_goal_is_missed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, written = classifier(tmp_path / "net.onnx"), tmp_path / "found.json"
    words = ["quantize", str(model), "--calibration", "random", "-o", str(tmp_path / "net.twa")]
    assert main([*words, "--min-sqnr", "150", "--json", str(written)]) == 1
    assert capsys.readouterr().out == ""
    found = result_of(written.read_text())
    assert found["reached"] is False
    assert sum(each.startswith("random inputs tell nothing of what the network") for each in found["warnings"]) == 1


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("0\n1\n", "are not as many as the samples; expected 6, found 2"),
        ("0\n" * 7, "are not as many as the samples; expected 6, found 7"),
        ("0\n1\n2\n3\n4\n0\n", "hold a class that the network lacks; expected 0 to 3, found 4"),
        ("cat\n" * 6, "line 1 of .* is no class; expected a whole number, the first class being 0, found 'cat'"),
        ("0\n,\n" * 3, "line 2 of .* is no class; expected a whole number, the first class being 0, found ','"),
        ("0\n--1\n" * 3, "line 2 of .* is no class; expected a whole number, the first class being 0, found '--1'"),
        ("photo 0.png 0\n1\n", "line 2 of .* is unlike those before; expected lines CLASS, or lines NAME CLASS"),
        ("name,class\nphoto 0.png,0\n\nphoto 1.png,\n", "line 4 of .* is no class; .* found 'photo 1.png,'"),
        ("photo 0.png,0\n", "lack images; expected NAME CLASS, found none for 'photo 1.png'"),
        ("photo 0.png,0\nphoto 0.png;3\n", "give 'photo 0.png' two classes; expected one, found 0 and 3"),
    ],
)
def test_labels_that_do_not_match_are_refused(tmp_path: Path, lines: str, message: str) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text(lines)
    with pytest.raises(CalibrationError, match=message):
        tilewright.quantize(
            classifier(tmp_path / "net.onnx"),
            tmp_path / "net.twa",
            calibration=photos(tmp_path / "photos", 6),
            labels=labels,
        )
    assert not (tmp_path / "net.twa").exists()


def test_labels_of_files_of_arrays_are_whole_numbers(tmp_path: Path) -> None:
    for array, found in ((np.zeros(6), "float64"), (np.zeros(6, np.int8) - 1, "-1")):
        np.save(tmp_path / "labels.npy", array)
        with pytest.raises(CalibrationError, match=f"found {found}"):
            tilewright.quantize(
                classifier(tmp_path / "net.onnx"),
                tmp_path / "net.twa",
                calibration=np.zeros((6, 3, 8, 8), np.float32),
                labels=tmp_path / "labels.npy",
            )


def test_each_row_of_a_batch_is_an_answer(tmp_path: Path) -> None:
    folder, model = photos(tmp_path / "photos", 22), classifier(tmp_path / "net.onnx", batch=4)
    session = onnxruntime.InferenceSession(classifier(tmp_path / "one.onnx").read_bytes())
    right = Preprocessing.of("resize=stretch")
    lines = []
    for file in folder.iterdir():
        (scores,) = session.run(None, {"x": right.load(file, (1, 3, 8, 8), np.dtype(np.float32))})
        lines.append(f"photos/{file.name} {int(np.asarray(scores).argmax())}\n")
    (tmp_path / "labels.csv").write_text("\ufeff" + "".join(lines).replace(".png ", ".png,"), encoding="utf-8")
    quantize = partial(
        tilewright.quantize, model, tmp_path / "net.twa", calibration=folder, preprocessing="resize=stretch"
    )
    found = quantize(labels=tmp_path / "labels.csv", max_drop=0.5)
    assert (found.calibrated, found.judged, found.top1, found.reached) == (3, 2, 1.0, True)
    assert found.warnings == []
    moved = [line.rsplit(maxsplit=1) for line in lines]
    (tmp_path / "labels.txt").write_text("".join(f"{name} {(int(label) - 1) % 4}\n" for name, label in moved))
    found = quantize(labels=tmp_path / "labels.txt")
    assert found.top1 == 0
    found.kept.append("a\u202eb")
    assert found._repr_html_() == f"<pre>{escape(found.to_text())}</pre>".replace("\u202e", r"\u202e")
    assert found.warnings[0].startswith("in floating point 0.00 % of 8 answers are as labelled")


def test_goals_and_files_that_cannot_be_are_refused_before_the_work(
    tmp_path: Path, digits: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    output = str(tmp_path / "digits.twa")
    for words, message in (
        (["--max-drop", "0.01"], "'0.01' is no share such as 1%"),
        (["--max-drop", "101%"], "'101%' is no share such as 1%"),
        (["--max-drop", "-1%"], "'-1%' is no share such as 1%"),
        (["--calibration-limit", "0"], "--calibration-limit is out of range; expected an integer of at least 1"),
        (
            ["--min-sqnr", "inf"],
            "this is no goal; expected a fall of 0 to 1, or less than 200 decibels, found inf decibels",
        ),
        (["--encodings", output], "the encodings would replace the output"),
        (["--encodings", "/nowhere/x.encodings"], "cannot write '/nowhere/x.encodings'"),
    ):
        assert main([*digits, "-o", output, *words]) in (1, 2)
        assert message in capsys.readouterr().err
    assert not Path(output).exists()
    with pytest.raises(UsageError, match="option 'max_drop' has the wrong type"):
        tilewright.quantize(MODEL, output, calibration="random", max_drop="1%")  # pyright: ignore[reportArgumentType]


def test_labels_by_name_are_refused_where_samples_have_none(tmp_path: Path) -> None:
    np.save(tmp_path / "samples.npy", SAMPLES)
    (tmp_path / "labels.txt").write_text("".join(f"{index}.png 0\n" for index in range(len(SAMPLES))))
    model = classifier(tmp_path / "net.onnx")
    with pytest.raises(
        CalibrationError, match=r"samples without names\. Give lines CLASS, in the order of the samples"
    ):
        tilewright.quantize(
            model,
            tmp_path / "net.twa",
            calibration=tmp_path / "samples.npy",
            labels=tmp_path / "labels.txt",
        )


def test_preprocessing_of_other_channels_is_refused_for_arrays(tmp_path: Path) -> None:
    told = r"mean does not match the channels of the input; expected 1 or 3, found 2"
    for calibration in (SAMPLES, SAMPLES[:2]):
        with pytest.raises(CalibrationError, match=told):
            tilewright.compile(
                block(), output=tmp_path / "net.twa", calibration=calibration, preprocessing={"mean": [1, 2]}
            )
    with pytest.raises(CalibrationError, match=told):
        tilewright.quantize(block(), tmp_path / "net.onnx", calibration=SAMPLES, preprocessing={"mean": [1, 2]})


def test_a_sigmoid_says_yes_or_no_of_a_single_number() -> None:
    yes, no = np.asarray([0.51], np.float32), np.asarray([0.49], np.float32)
    found = score([yes, no, yes, no], [yes, yes, yes, no], [1, 0, 0, 0], (1, 1, 1))
    assert (found.agreement, found.top1) == (0.75, 0.5)


def test_a_single_number_is_no_answer_that_could_change(tmp_path: Path) -> None:
    """Whatever regression computes, the largest of one number is always the same."""
    weights = onnx.numpy_helper.from_array(np.ones((4, 1), np.float32), "w")
    ends = [onnx.helper.make_tensor_value_info(*each) for each in (("x", F32, [1, 4]), ("y", F32, [1, 1]))]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])], "one", [ends[0]], [ends[1]], [weights]
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    samples = np.random.default_rng(3).random((8, 4), np.float32)
    with pytest.raises(UsageError, match=r"the first output is no classes.*--min-sqnr"):
        tilewright.quantize(model, tmp_path / "one.twa", calibration=samples, max_drop=0.01)
    found = tilewright.quantize(model, tmp_path / "one.twa", calibration=samples)
    assert not found.has_answers
    assert "SQNR (dB)" in found.to_text()
    assert "same" not in found.to_text().partition("methods")[2] and "answers" not in found.to_text()
    samples = np.random.default_rng(3).random((200, 4), np.float32)
    others = samples.copy()
    others[1::2] *= 100
    same, found = (tilewright.quantize(model, tmp_path / "one.twa", calibration=each) for each in (samples, others))
    assert not same.warnings
    assert found.warnings[0].startswith(
        "the samples that judge are unlike those that were calibrated on: input 'x' has"
    )
