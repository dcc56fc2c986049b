"""The packaged digits network: what it promises, and that its training script still makes it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from tilewright.compiler.demo import MODEL, load_digits

SCRIPT = Path(__file__).parents[2] / "examples" / "digits" / "train.py"


def probabilities(model: Path, inputs: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    outputs = [session.run(None, {"image": image[None]})[0] for image in inputs]
    return np.concatenate([np.asarray(output) for output in outputs])


def test_the_network_reads_the_held_out_digits() -> None:
    digits = load_digits()
    guesses = probabilities(MODEL, digits.prepare(digits.images)).argmax(1)
    assert (guesses == digits.labels).mean() >= 0.97


def test_the_images_are_what_the_docstring_says() -> None:
    digits = load_digits()
    assert digits.images.shape == (500, 1, 8, 8)
    assert digits.calibration_images.shape == (100, 1, 8, 8)
    assert digits.images.dtype == digits.calibration_images.dtype == np.uint8
    assert digits.images.max() == 16
    assert digits.prepare(digits.images).max() == 1
    assert set(digits.labels) == set(digits.calibration_labels) == set(range(10))


def test_calibration_and_held_out_images_are_disjoint() -> None:
    digits = load_digits()
    held_out = {image.tobytes() for image in digits.images}
    assert not held_out & {image.tobytes() for image in digits.calibration_images}


def test_the_network_exercises_the_operator_families_it_was_designed_for() -> None:
    model = onnx.load(MODEL)
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    groups = {a.i for node in convolutions for a in node.attribute if a.name == "group"}
    assert groups == {1, 16}
    assert {node.op_type for node in model.graph.node} == {
        *("Conv", "Relu", "Clip", "MaxPool", "Add", "GlobalAveragePool", "Flatten", "Gemm", "Softmax"),
    }
    assert MODEL.stat().st_size < 100_000


def test_the_training_script_says_what_it_needs(tmp_path: Path) -> None:
    (tmp_path / "sklearn.py").write_text("raise ModuleNotFoundError(name='sklearn')")
    path = f"import sys, runpy; sys.path[:0] = [{str(tmp_path)!r}, {str(SCRIPT.parent)!r}]; "
    command = [sys.executable, "-c", f"{path}runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr == (
        "train.py needs onnx and scikit-learn, and sklearn is not here: "
        "from a checkout, pip install -c constraints.txt '.[dev]' installs them\n"
    )


def test_the_training_script_writes_both_files(tmp_path: Path) -> None:
    pytest.importorskip("sklearn", reason="the training data come with scikit-learn, of the dev extra")
    command = [sys.executable, str(SCRIPT), "--epochs", "2", "--output", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    digits = load_digits()
    with np.load(tmp_path / "digits_heldout.npz") as arrays:
        np.testing.assert_array_equal(arrays["images"], digits.images)
        np.testing.assert_array_equal(arrays["calibration_images"], digits.calibration_images)
    outputs = probabilities(tmp_path / "digits.onnx", digits.prepare(digits.images[::5]))
    np.testing.assert_allclose(outputs.sum(1), 1, rtol=1e-5)
    assert (outputs.argmax(1) == digits.labels[::5]).mean() > 0.15


def test_gradients_of_the_training_layers_are_those_of_their_outputs(tmp_path: Path) -> None:
    """Central differences in float64 against every layer's backward pass."""
    program = """
import numpy as np, layers
rng = np.random.default_rng(3)
cases = [
    (layers.Convolution(rng, 3, 4, 3), (2, 3, 4, 4)), (layers.Convolution(rng, 3, 4, 1), (2, 3, 4, 4)),
    (layers.DepthwiseConvolution(rng, 3), (2, 3, 4, 4)), (layers.MaxPool(), (2, 3, 4, 4)),
    (layers.GlobalAverage(), (2, 3, 4, 4)), (layers.Dense(rng, 6, 5), (3, 6)),
    (layers.Residual(layers.Convolution(rng, 3, 3, 3)), (2, 3, 4, 4)),
]
for layer, shape in cases:
    x = rng.normal(size=shape)
    upstream = rng.normal(size=layer.forward(x).shape)
    arrays = [x, *layer.parameters]
    for array in layer.parameters:
        array[...] += rng.normal(size=array.shape) / 4
    layer.forward(x)
    slopes = [layer.backward(upstream), *layer.gradients]
    for array, slope in zip(arrays, slopes, strict=True):
        direction = rng.normal(size=array.shape)
        start, step = array.copy(), 2.0 ** -8
        array[...] = start + step * direction
        after = layer.forward(x)
        array[...] = start - step * direction
        before = layer.forward(x)
        array[...] = start
        found = ((after - before) * upstream).sum() / (2 * step)
        expected = (slope * direction).sum()
        error = abs(found - expected) / max(1, abs(expected))
        assert error <= 2e-3, (type(layer).__name__, array.shape, found, expected)
print("checked", len(cases))
"""
    run = subprocess.run([sys.executable, "-c", program], cwd=SCRIPT.parent, capture_output=True, text=True)
    assert run.stdout == "checked 7\n", run.stderr
