"""What makes integers more exact than ranges alone, and the command that tries it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import onnxruntime
import pytest
from exact_onnxruntime import qdq_session

import tilewright
from tilewright.__main__ import main
from tilewright.compiler.calibration.windows import windows
from tilewright.compiler.demo import MODEL, load_digits
from tilewright.compiler.frontend.formats import import_model
from tilewright.compiler.options import CompileOptions
from tilewright.compiler.quantization.methods import methods_of
from tilewright.compiler.quantization.quantize import quantize_module
from tilewright.compiler.quantization.round_weights import optimised
from tilewright.errors import UsageError
from tilewright.ir import interp
from tilewright.ir.core import Constant, is_op
from tilewright.ir.ops.convolution import Conv

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


def test_each_method_makes_integers_more_exact() -> None:
    alone, channels, every = noise("none"), noise("channels"), noise("all")
    assert channels > alone + 10
    assert noise("outputs,channels") > channels
    assert every > channels + 0.5


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
    weights, products = rng.uniform(-20, 20, (1, 5, 12)), (inputs.T @ inputs)[None]
    found = optimised(weights, products)
    assert (found == np.rint(found)).all() and np.abs(found).max() <= 127

    def error(rounded: np.ndarray) -> float:
        return float((((rounded - weights)[0] @ inputs.T) ** 2).sum())

    assert error(found) < 0.7 * error(np.rint(weights))
    np.testing.assert_array_equal(optimised(np.rint(weights), products), np.rint(weights))


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


def test_names_of_methods() -> None:
    assert methods_of("none") == ()
    assert methods_of("rounding,channels") == ("channels", "rounding")
    with pytest.raises(UsageError, match=r"unknown method of quantisation; expected all, none or some of channels"):
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
    found = json.loads(capsys.readouterr().out)
    assert found["reached"] is True and found["calibrated"] == 40 and found["judged"] == 20
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
    assert "* was written" in shown.out and "Goal: SQNR of at least 150 dB: not reached." in shown.out
    assert max(map(len, shown.out.splitlines()[1:])) <= 80
    assert any(node.op_type == "DequantizeLinear" for node in onnx.load(written).graph.node)
