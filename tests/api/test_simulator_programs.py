"""Programs for the Simulator API: the calls of its documents, in both spellings, under ``tilewright.compat``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from compat_programs import Programs, floating_point, lay_out, picture_model, read_arrays


def encodings_of(model: Path, file: Path, rng: np.random.Generator) -> Path:
    """Encodings 0.6.1 of every weight, symmetric, and of input and activations from random samples."""
    graph = onnx.load(model).graph
    every = onnx.load(model)
    every.graph.output.extend(onnx.ValueInfoProto(name=name) for node in graph.node for name in node.output[:1])
    del every.graph.output[: len(graph.output)]
    whole = file.with_suffix(".all.onnx")
    onnx.save(every, whole)
    image = rng.standard_normal([extent.dim_value for extent in graph.input[0].type.tensor_type.shape.dim])
    activations = {graph.input[0].name: image}
    found = floating_point(whole, image.astype(np.float32))
    activations |= dict(zip((output.name for output in every.graph.output), found, strict=True))

    def asymmetric(array: np.ndarray) -> list[dict[str, object]]:
        low, high = min(float(array.min()), 0.0), max(float(array.max()), 1e-3)
        scale = (high - low) / 255
        offset = round(low / scale)
        return [_entry(scale, offset, "False")]

    def symmetric(array: np.ndarray) -> list[dict[str, object]]:
        return [_entry(float(np.abs(array).max()) / 127, -128, "True")]

    weights = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}
    content = {
        "version": "0.6.1",
        "activation_encodings": {name: asymmetric(array) for name, array in activations.items()},
        "param_encodings": {name: symmetric(array) for name, array in weights.items() if name.startswith("w")},
    }
    file.write_text(json.dumps(content))
    return file


def _entry(scale: float, offset: int, symmetric: str) -> dict[str, object]:
    return {
        "bitwidth": 8,
        "dtype": "int",
        "is_symmetric": symmetric,
        "scale": scale,
        "offset": offset,
        "min": scale * offset,
        "max": scale * (offset + 255),
    }


@pytest.fixture
def programs(tmp_path: Path) -> Programs:
    return lay_out("simulator", tmp_path)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return picture_model(tmp_path / "network.onnx")


@pytest.fixture
def encodings(model: Path, tmp_path: Path, rng: np.random.Generator) -> Path:
    return encodings_of(model, tmp_path / "network.encodings", rng)


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    file = tmp_path / "empty.encodings"
    file.write_text(json.dumps({"version": "0.6.1", "activation_encodings": {}, "param_encodings": {}}))
    return file


@pytest.fixture
def samples(tmp_path: Path, rng: np.random.Generator) -> Path:
    folder = tmp_path / "samples"
    folder.mkdir()
    for name in ("first", "second"):
        np.save(folder / f"{name}.npy", rng.standard_normal((1, 3, 32, 32)).astype(np.float32))
    return folder


def test_run_inference(programs: Programs, model: Path, empty: Path, samples: Path, tmp_path: Path) -> None:
    programs.run("run_inference.py", model, empty, samples, tmp_path / "found.npz", "r1", "mean", fresh=True)
    found = read_arrays(tmp_path / "found.npz")
    assert {name.split("|")[0] for name in found} == {"first", "second"}
    for sample in ("first", "second"):
        names = [name.split("|")[1] for name in found if name.startswith(sample)]
        assert names[1:] == ["r1", "mean"]
        (expected,) = floating_point(model, np.load(samples / f"{sample}.npy"))
        np.testing.assert_allclose(found[f"{sample}|{names[0]}"], expected, rtol=1e-4, atol=1e-5)


def test_a_database_of_samples(programs: Programs, model: Path, empty: Path, samples: Path, tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    stack = np.concatenate([np.load(file) for file in sorted(samples.iterdir())])
    with h5py.File(tmp_path / "database.h5", "w") as file:
        file["image"] = stack
    programs.run("run_inference.py", model, empty, tmp_path / "database.h5", tmp_path / "found.npz")
    found = read_arrays(tmp_path / "found.npz")
    assert [name.split("|")[0] for name in found] == ["database[0]", "database[1]"]
    for array, sample in zip(found.values(), stack, strict=True):
        np.testing.assert_allclose(array, floating_point(model, sample)[0], rtol=1e-4, atol=1e-5)


def test_feature_maps_are_quantized(
    programs: Programs, model: Path, encodings: Path, samples: Path, tmp_path: Path
) -> None:
    programs.run("run_inference.py", model, encodings, samples, tmp_path / "found.npz", "r1")
    found = read_arrays(tmp_path / "found.npz")["first|r1"]
    (entry,) = json.loads(encodings.read_text())["activation_encodings"]["r1"]
    steps = found / np.float32(entry["scale"])
    assert 3 < len(np.unique(np.rint(steps))) <= 256
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-3)


@pytest.mark.parametrize("quantized", [False, True])
def test_sessions(
    quantized: bool, programs: Programs, model: Path, encodings: Path, empty: Path, samples: Path, tmp_path: Path
) -> None:
    arguments = (model, encodings if quantized else empty, samples / "first.npy", tmp_path / "found.npz")
    shown = programs.run("sessions.py", *arguments)
    assert "image [1, 3, 32, 32] tensor(float)\n" in shown.replace("(1, 3, 32, 32)", "[1, 3, 32, 32]")
    ((name, found),) = read_arrays(tmp_path / "found.npz").items()
    assert name == "scores", "Flatten takes no quantiser"
    (expected,) = floating_point(model, np.load(samples / "first.npy"))
    largest = np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=(0.1 if quantized else 1e-4) * largest)
    assert (found != expected).any() or not quantized


def test_compare_by_inference(programs: Programs, model: Path, empty: Path, encodings: Path, samples: Path) -> None:
    shown = programs.run("compare_by_inference.py", model, empty, encodings, samples)
    assert shown.count("first ") == 2
    assert shown.count("second ") == 2


def test_compare_by_layer(
    programs: Programs, model: Path, empty: Path, encodings: Path, samples: Path, tmp_path: Path
) -> None:
    shown = programs.run("compare_by_layer.py", model, empty, encodings, samples, tmp_path / "maps", "r1", "r2", "mean")
    values = {
        tuple(line.split()[:2]): float(line.split()[2]) for line in shown.splitlines() if line.startswith("first ")
    }
    assert list(values) == [("first", "r1"), ("first", "r2"), ("first", "mean")]
    assert all(10 < value < 100 for value in values.values()), "decibels of a network of 8 bits"


def test_both_spellings_and_ways_to_import(programs: Programs, model: Path, encodings: Path, samples: Path) -> None:
    shown = programs.run("both_spellings.py", model, encodings, samples)
    assert "samples 2\n" in shown
    assert "refused: ('use_cuda',)" in shown
