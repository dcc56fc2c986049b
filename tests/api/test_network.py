"""Which engine computes what stands for the accelerator, and where the ranges of its integers come from."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from network_files import graph_model, write_model
from onnx import TensorProto, helper
from PIL import Image

import tilewright
from tilewright.compiler.calibration.dataset import Source
from tilewright.errors import CalibrationError, CalibrationWarning, MachineError, UsageError
from tilewright.runtime.api import network
from tilewright.runtime.api.network import accelerator_engine, open_session, prepare
from tilewright.runtime.artifact.artifact import Artifact
from tilewright.runtime.pictures.preprocessing import PreprocessingSource as Images

RNG = np.random.default_rng(5)
X = RNG.standard_normal((1, 3, 8, 8)).astype(np.float32)
SAMPLES = [RNG.standard_normal((1, 3, 8, 8)).astype(np.float32) * scale for scale in (1, 2)]
AS_IN_SAMPLES = {
    "resize": "stretch",
    "mean": (255 * 0.485, 255 * 0.456, 255 * 0.406),
    "scale": (1 / (255 * 0.229), 1 / (255 * 0.224), 1 / (255 * 0.225)),
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (network.ENGINE, network.CALIBRATION, network.PREPROCESS):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(network, "_warned", set())
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Colour images of 8x8 pixels through a convolution."""
    weights = np.random.default_rng(1).standard_normal((4, 3, 3, 3)).astype(np.float32)
    node = helper.make_node("Conv", ["image", "w"], ["y"], pads=[1, 1, 1, 1])
    image = ("image", TensorProto.FLOAT, [1, 3, 8, 8])
    return write_model(tmp_path / "net.onnx", graph_model([node], [image], initializers={"w": weights}))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for index in range(3):
        save(tmp_path / "images" / f"{index}.png", 40 * index + 50)
    return tmp_path / "images"


def save(path: Path, contrast: int) -> Path:
    path.parent.mkdir(exist_ok=True)
    pixels = np.random.default_rng(contrast).integers(0, contrast, (24, 32, 3))
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    return path


def outputs(artifact: Artifact, engine: str | None = None) -> np.ndarray:
    with open_session(artifact, engine) as session:
        return session.run({"image": X})["y"]


def is_int8_from(artifact: Artifact, model: Path, calibration: Source, preprocessing: Images | None = None) -> None:
    assert accelerator_engine(artifact) == "software"
    same = tilewright.compile(
        model, precision="int8", engines="device,software,float", calibration=calibration, preprocessing=preprocessing
    )
    np.testing.assert_array_equal(outputs(artifact), outputs(same))
    others = tilewright.compile(
        model, precision="int8", engines="device,software,float", calibration=np.float32(50) * X
    )
    assert np.any(outputs(artifact) != outputs(others))


def calibration_warnings(caught: Sequence[warnings.WarningMessage]) -> list[str]:
    return [str(each.message) for each in caught if issubclass(each.category, CalibrationWarning)]


def test_samples_come_before_the_environment_and_that_before_the_picture(
    model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = save(folder / "picture.jpg", 255)
    with pytest.warns(CalibrationWarning) as caught:
        is_int8_from(prepare(model, picture=picture), model, picture, AS_IN_SAMPLES)
    assert calibration_warnings(list(caught)) == [
        f"{model} has its ranges from one picture, {str(picture)!r}, and may fail on others. "
        "Give samples of its inputs: TILEWRIGHT_CALIBRATION=FOLDER of images, or a .npy, .npz, .csv or .wav file "
        "of inputs"
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        monkeypatch.setenv(network.CALIBRATION, str(folder))
        is_int8_from(prepare(model, picture=picture), model, folder, AS_IN_SAMPLES)
        np.savez("inputs.npz", image=np.concatenate(SAMPLES)[:1])
        monkeypatch.setenv(network.CALIBRATION, "inputs.npz")
        is_int8_from(prepare(model, picture=picture), model, "inputs.npz")
        is_int8_from(prepare(model, picture=picture, samples=SAMPLES), model, SAMPLES)


def test_the_scales_of_a_quantised_model_come_before_everything(
    model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tilewright.export(model, "quantised.onnx", quantized="qdq", calibration=SAMPLES)
    expected = outputs(prepare("quantised.onnx"))
    monkeypatch.setenv(network.CALIBRATION, str(folder))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prepared = prepare(Path("quantised.onnx").read_bytes(), samples=[50 * X])
        prepare("quantised.onnx", picture=folder / "0.png")
    assert accelerator_engine(prepared) == "software"
    np.testing.assert_array_equal(outputs(prepared), expected)


def test_the_environment_says_how_images_become_inputs(
    model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(network.PREPROCESS, "mean=0,scale=1/255")
    monkeypatch.setenv(network.CALIBRATION, str(folder / "0.png"))
    is_int8_from(prepare(model), model, folder / "0.png", "mean=0,scale=1/255")
    is_int8_from(prepare(model, samples=SAMPLES), model, SAMPLES)
    monkeypatch.setenv(network.PREPROCESS, "mean=dark")
    with pytest.raises(UsageError, match=r"^TILEWRIGHT_PREPROCESS: wrong preprocessing: mean; expected "):
        prepare(model, picture=folder / "0.png")


def test_without_ranges_it_is_floating_point_with_one_warning_for_each_model(model: Path) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        first = prepare(model, samples_by="samples= of Compile")
        prepare(model, machine="m4096")
        prepare(model.read_bytes())
        prepare(model.read_bytes(), called=str(model))
    named, unnamed = calibration_warnings(caught)
    assert named == (
        f"{model} is computed in floating point on the processor, not in the accelerator's integers: nothing tells "
        "the ranges of its values. Give samples of its inputs: TILEWRIGHT_CALIBRATION=FOLDER of images, or a .npy, "
        ".npz, .csv or .wav file of inputs; or by samples= of Compile"
    )
    assert unnamed.startswith(f"the model of {model.stat().st_size} bytes is computed in floating point")
    assert {each.filename for each in caught} == {__file__}
    assert accelerator_engine(first) == "float"
    np.testing.assert_array_equal(outputs(first), outputs(tilewright.compile(model), "float"))


def test_a_picture_that_fits_no_input_gives_no_ranges(tmp_path: Path, folder: Path) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    weights = {"w": np.ones((5, 3), np.float32)}
    model = graph_model(nodes, [("x", TensorProto.FLOAT, [1, 5])], initializers=weights)
    vector = write_model(tmp_path / "vector.onnx", model)
    with pytest.warns(CalibrationWarning, match=r"0\.png' gives no ranges \(images do not fit this input\)"):
        artifact = prepare(vector, picture=folder / "0.png")
    assert accelerator_engine(artifact) == "float"


def test_a_network_with_nothing_to_quantise_is_floating_point_without_a_warning(tmp_path: Path) -> None:
    node = helper.make_node("Add", ["a", "b"], ["y"])
    inputs = [(name, TensorProto.FLOAT, X.shape) for name in "ab"]
    sum_of_two = write_model(tmp_path / "add.onnx", graph_model([node], inputs))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for samples in (None, [{"a": X, "b": X}]):
            artifact = prepare(sum_of_two, samples=samples, output="add.twa", machine="s256")
            with open_session(artifact) as session:
                assert session.engine == "float"
                np.testing.assert_array_equal(session.run({"a": X, "b": X})["y"], X + X)
    assert Artifact.open("add.twa").manifest.precision == "fp32"


def test_what_is_wrong_is_told_with_where_it_was_given(
    model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(MachineError):
        prepare(model, machine="no such machine")
    with pytest.raises(CalibrationError, match=r"^calibration: sample 0 does not fit input 'image'"):
        prepare(model, samples=[np.zeros((1, 3, 9, 9), np.float32)])
    monkeypatch.setenv(network.CALIBRATION, "missing")
    with pytest.raises(CalibrationError) as caught:
        prepare(model, picture=folder / "0.png")
    assert str(caught.value) == (
        "TILEWRIGHT_CALIBRATION: there is no 'missing'; "
        "expected an image, a .npy, .npz or .wav file, a folder of these, a .csv file, or 'random' for random inputs"
    )


def test_the_environment_chooses_the_engine_of_what_holds_integers(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    integers, floating = prepare(model, samples=SAMPLES), tilewright.compile(model)
    for engine in ("device", "software", "float"):
        monkeypatch.setenv(network.ENGINE, engine)
        assert accelerator_engine(integers) == engine
        assert accelerator_engine(floating) == "float"
        with open_session(integers) as session:
            assert session.engine == engine
    np.testing.assert_array_equal(outputs(integers, "device"), outputs(integers, "software"))
    monkeypatch.setenv(network.ENGINE, "fpga")
    for artifact in (integers, floating):
        with pytest.raises(UsageError) as caught:
            accelerator_engine(artifact)
        assert str(caught.value) == (
            "TILEWRIGHT_ENGINE: unknown engine; expected device or software or float, found 'fpga'"
        )


def test_inputs_that_can_be_pictures_may_do_without_samples(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.warns(CalibrationWarning) as caught:
        artifact = prepare(model, takes_pictures=True)
    assert calibration_warnings(list(caught)) == [
        f"{model} is computed in integers of 16 bits, with ranges that hold for all pictures as inputs. Give samples "
        "of its inputs: TILEWRIGHT_CALIBRATION=FOLDER of images, or a .npy, .npz, .csv or .wav file "
        "of inputs"
    ]
    assert accelerator_engine(artifact) == "software"
    monkeypatch.setenv(network.CALIBRATION, "bounds")
    np.testing.assert_array_equal(outputs(artifact), outputs(prepare(model)))
    monkeypatch.delenv(network.CALIBRATION)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    vector = graph_model(nodes, [("x", TensorProto.FLOAT, [1, 5])], initializers={"w": np.ones((5, 3), np.float32)})
    reason = r"ranges of its values, and none hold for all pictures \(images do not fit this input\)\. Give samples"
    with pytest.warns(CalibrationWarning, match=reason):
        artifact = prepare(
            write_model(tmp_path / "vector.onnx", vector), takes_pictures=True, preprocessing={"mean": 0, "scale": 1}
        )
    assert accelerator_engine(artifact) == "float"


def test_the_warning_about_grey_pictures_says_whose_mean_does_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"])]
    weights = RNG.standard_normal((4, 1, 3, 3)).astype(np.float32)
    grey = graph_model(nodes, [("x", TensorProto.FLOAT, [1, 1, 8, 8])], initializers={"w": weights})
    file = write_model(tmp_path / "grey.onnx", grey)
    reason = (
        r"none hold for all pictures with ImageNet's mean and scale, in place of which TILEWRIGHT_PREPROCESS gives "
        r"others \(mean does not match the channels of the input\)"
    )
    with pytest.warns(CalibrationWarning, match=reason):
        assert accelerator_engine(prepare(file, takes_pictures=True)) == "float"
    monkeypatch.setenv(network.PREPROCESS, "mean=0,scale=1")
    monkeypatch.setattr(network, "_warned", set[str]())
    with pytest.warns(CalibrationWarning, match="computed in integers of 16 bits"):
        assert accelerator_engine(prepare(file, takes_pictures=True)) == "software"


def test_ranges_may_do_without_samples(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(network.CALIBRATION, "bounds")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        artifact = prepare(model)
    image = RNG.uniform(-2, 2, (1, 3, 8, 8)).astype(np.float32)
    with open_session(artifact) as session, open_session(artifact, "float") as exact:
        assert session.engine == "software"
        expected = exact.run({"image": image})["y"]
        # What weights of 8 bits leave.
        assert 0 < np.abs(session.run({"image": image})["y"] - expected).max() < 0.02 * np.abs(expected).max()
