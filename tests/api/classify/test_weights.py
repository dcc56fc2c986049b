"""Other integers for the last layer: the same ones change nothing, others what they must, on every engine alike."""

from __future__ import annotations

import contextlib
import tempfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper, numpy_helper
from property_tests import given, st

import tilewright
from tilewright import limits
from tilewright.__main__ import main
from tilewright.compiler.demo import MODEL
from tilewright.compiler.weights import Parameters, WeightedLayer, last_layer, layers_of, with_parameters
from tilewright.errors import InputError, UsageError
from tilewright.runtime.api.classify.application import Application, read_integers, with_last_layer
from tilewright.runtime.api.classify.power import measure
from tilewright.runtime.api.classify.results import read_labels
from tilewright.runtime.artifact.artifact import Artifact

from .conftest import DIGITS, Task

Capture = pytest.CaptureFixture[str]
ENGINES = ("software", "device", "float")
IMAGES = DIGITS.prepare(DIGITS.images[:6])


def outputs(artifact: Artifact, engine: str, images: np.ndarray = IMAGES) -> np.ndarray:
    with tilewright.load(artifact, engine=engine) as session:
        name = session.inputs[0].name
        return np.concatenate([next(iter(session.run({name: image[None]}).values())) for image in images])


def giving(integers: np.ndarray) -> Callable[[int, str], np.ndarray]:
    return lambda count, what: integers.reshape(-1)


@pytest.fixture(scope="module")
def artifact(task: Task) -> Artifact:
    return Artifact.open(task.artifact)


@pytest.mark.parametrize("engine", ENGINES)
def test_its_own_weights_change_no_byte(engine: str, artifact: Artifact) -> None:
    layer = last_layer(artifact, engine)
    again = with_parameters(artifact, engine, {layer.name: Parameters(layer.weights, layer.bias)})
    assert [*again.manifest.engines] == [engine]
    assert outputs(again, engine).tobytes() == outputs(artifact, engine).tobytes()
    own = last_layer(artifact, "software").weights
    assert with_last_layer(artifact, engine, giving(own)) is artifact


@pytest.mark.parametrize("engine", ENGINES)
def test_classes_exchanged(engine: str, artifact: Artifact) -> None:
    layer = last_layer(artifact, engine)
    assert layer.bias is not None
    parameters = Parameters(np.roll(layer.weights, 3, 0), np.roll(layer.bias, 3))
    turned = outputs(with_parameters(artifact, engine, {layer.name: parameters}), engine)
    if layer.is_quantized and layer.scale.size > 1:
        # The scales of the classes stay where they are.
        assert (turned != outputs(artifact, engine)).any()
    else:
        np.testing.assert_allclose(turned, np.roll(outputs(artifact, engine), 3, 1), rtol=1e-6)


def test_any_layer_on_the_device_as_in_software(artifact: Artifact, rng: np.random.Generator) -> None:
    software, device = layers_of(artifact, "software"), layers_of(artifact, "device")
    assert [layer.name for layer in software] == [layer.name for layer in device]
    assert len(software) > 1
    for index, layer in enumerate(software):
        weights = rng.integers(-128, 128, layer.weights.size).astype(np.int8)
        found = [
            outputs(with_parameters(artifact, engine, {layer.name: Parameters(weights)}), engine)
            for engine in ("software", "device")
        ]
        assert found[0].tobytes() == found[1].tobytes(), index
        assert found[0].tobytes() != outputs(artifact, "software").tobytes()


def test_layers_whose_groups_kernels_join_have_the_weights_of_the_model(rng: np.random.Generator) -> None:
    weights = rng.standard_normal((12, 5, 3, 3)).astype(np.float32)
    node = helper.make_node("Conv", ["x", "w"], ["y"], group=4, name="grouped")
    x, y = (helper.make_tensor_value_info(name, 1, (1, channels, 6, 6)) for name, channels in (("x", 20), ("y", None)))
    graph = helper.make_graph([node], "groups", [x], [y], [numpy_helper.from_array(weights, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    made = tilewright.compile(model, precision="int8", engines=("software",), calibration="random")
    (layer,) = layers_of(made, "software")
    assert layer.weights.shape == weights.shape
    image = rng.standard_normal((1, 1, 20, 6, 6)).astype(np.float32)
    found = {}
    for name, integers in (("own", layer.weights), ("others", layer.weights[::-1].copy())):
        changed = with_parameters(made, "software", {"grouped": Parameters(integers)})
        found[name] = outputs(changed, "software", image[0])
    assert found["own"].tobytes() == outputs(made, "software", image[0]).tobytes()
    (again,) = layers_of(with_parameters(changed, "software", {"grouped": Parameters(layer.weights)}), "software")
    assert (again.weights == layer.weights).all()
    assert found["own"].tobytes() != found["others"].tobytes()


def test_an_artifact_of_other_weights_can_be_given_others_again(artifact: Artifact) -> None:
    for engine in ("software", "device"):
        layer = last_layer(artifact, engine)
        other = with_parameters(artifact, engine, {layer.name: Parameters(np.zeros_like(layer.weights))})
        assert not last_layer(other, engine).weights.any()
        back = with_parameters(other, engine, {layer.name: Parameters(layer.weights)})
        assert outputs(back, engine).tobytes() == outputs(artifact, engine).tobytes()


def test_floating_point_gets_what_the_integers_stand_for(artifact: Artifact) -> None:
    layer, own = last_layer(artifact, "software"), last_layer(artifact, "float")
    changed = with_last_layer(artifact, "float", giving(np.roll(layer.weights, 1, 1)))
    expected = layer.real(np.roll(layer.weights, 1, 1)).reshape(own.weights.shape)
    np.testing.assert_array_equal(last_layer(changed, "float").weights, expected)


def test_real_numbers_are_stored_as_the_layer_has_them() -> None:
    scale, zero = np.array([[0.5], [2.0]], np.float32), np.array([[0], [3]])
    layer = WeightedLayer("x", np.zeros((2, 3), np.int8), None, scale, zero, 0.25)
    real = np.array([[0.25, 0.75, 1000.0], [-1.0, 4.0, -1000.0]])
    stored = layer.stored(real)
    assert stored.dtype == np.int8
    assert stored.tolist() == [[0, 2, 127], [3, 5, -128]]
    np.testing.assert_array_equal(layer.real(stored)[:, :2], [[0.0, 1.0], [0.0, 4.0]])
    assert layer.stored_bias(np.array([1.0, 1.0])).tolist() == [8, 2]


def test_layers_and_weights_that_are_not_there(artifact: Artifact, tmp_path: Path) -> None:
    layer = last_layer(artifact, "software")
    with pytest.raises(InputError, match="there is no layer 'x' with weights; expected "):
        with_parameters(artifact, "software", {"x": Parameters()})
    message = rf"the weights do not fit layer '{layer.name}'; expected {layer.weights.size} of int8, .* found 7 of int8"
    with pytest.raises(InputError, match=message):
        with_parameters(artifact, "software", {layer.name: Parameters(np.zeros(7, np.int8))})
    with pytest.raises(InputError, match=r"the bias does not fit layer .*; expected 10 of int32, .* found 3 of int32"):
        with_parameters(artifact, "software", {layer.name: Parameters(bias=np.zeros(3, np.int32))})
    huge = Parameters(np.full(layer.weights.shape, 127, np.int8), np.full(10, 2**31 - 1, np.int32))
    with pytest.raises(InputError, match=r"an accumulator of layer .* may overflow"):
        with_parameters(artifact, "software", {layer.name: huge})
    floating = tilewright.compile(MODEL)
    with pytest.raises(InputError, match="this network has no integers to replace: it is in floating point"):
        with_last_layer(floating, "float", giving(layer.weights))


def test_the_option(task: Task, artifact: Artifact, tmp_path: Path, capsys: Capture) -> None:
    layer = last_layer(artifact, "software")
    path = tmp_path / "fc.csv"
    found = []
    for integers in (layer.weights, layer.weights, np.zeros_like(layer.weights)):
        path.write_text(",".join(map(str, integers.reshape(-1).tolist())) + "," * (not found))
        for engine in ("software", "device"):
            assert main([*task.words, "--engine", engine, "--fcweights", str(path), "--json"]) == 0
            out = capsys.readouterr().out
            found.append(out[out.index('"results"') :])
    assert main([*task.words, "--json"]) == 0
    out = capsys.readouterr().out
    assert found[:4] == [out[out.index('"results"') :]] * 4
    assert found[4] == found[5] != found[0]


def test_files_that_do_not_fit(task: Task, artifact: Artifact, tmp_path: Path, capsys: Capture) -> None:
    count = last_layer(artifact, "software").weights.size
    path = tmp_path / "fc.csv"
    words = [*task.words, "--fcweights", str(path)]
    for text, message in (
        ("1," * (count - 1), f"expected {count} integers, row by row, found {count - 1}\n"),
        ("1," * (count + 2), f"expected {count} integers, row by row, found more than {count + 1}\n"),
        ("", f"expected {count} integers, row by row, found 0\n"),
        ("1," * 3 + "0.5,", f"error: {str(path)!r} holds more than integers; expected -128 to 255, found b'0.5' as "
         "number 4\n"),
        ("1,-", "found b'-' as number 2\n"),
        ("256", "found b'256' as number 1\n"),
        ("1,-129", "found b'-129' as number 2\n"),
        ("1," * (count - 1) + "200", f"of 10 outputs and {count // 10} inputs; expected -128 to 127, found 1 to 200\n"),
    ):  # fmt: skip
        path.write_text(text)
        assert main(words) == 1
        shown = capsys.readouterr()
        assert shown.out == ""
        assert shown.err.endswith(message)


@pytest.mark.parametrize("count", [0, -1, float("nan"), True, "3", 3.0, [3]])
def test_what_is_no_count(count: Any, task: Task, artifact: Artifact) -> None:
    images = [str(path) for path in sorted(task.folder.glob("*.png"))[:2]]
    with pytest.raises(UsageError, match="batch is out of range; expected an integer of at least 1"):
        Application(artifact, batch=count)
    with Application(artifact, batch=2**70) as application:
        with pytest.raises(UsageError, match="threads is out of range; expected an integer of at least 1"):
            application.classify(images, threads=count)
        assert application.classify(images, threads=2**70)
        for numbers in ({"batch": count, "repetitions": 1}, {"batch": 1, "repetitions": count}):
            with pytest.raises(UsageError, match="out of range; expected an integer of at least 1"):
                measure(application.session, **numbers)
    if count not in (0, 1):
        with pytest.raises(UsageError, match="--label-offset is out of range; expected 0 to 9"):
            Application(artifact, label_offset=count)


def test_what_is_not_expected_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "fc.csv"
    for text in (b"1," * 2**22, b"," * 2**23):
        path.write_bytes(text)
        tracemalloc.start()
        try:
            with pytest.raises(InputError, match="does not fit it; expected 3 integers, row by row, found "):
                read_integers(path, 3, "it")
            assert tracemalloc.get_traced_memory()[1] < 2**26
        finally:
            tracemalloc.stop()
    # Over the borders of the pieces that it is read in.
    path.write_bytes(b"-128, \n" * 400_000)
    assert (read_integers(path, 400_000, "it") == -128).all()


def test_lines_of_labels_are_as_many_as_there_are_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "labels"
    for digits in (10, 5000, 10**6):
        path.write_bytes(b"0.png " + b"1" * digits)
        with pytest.raises(InputError, match=r"line 1 of .* is no label"):
            read_labels(path, 10)
    monkeypatch.setattr(limits, "LABELS", limits.Limit(3, limits.LABELS.what))
    path.write_bytes(b"a 1\r\nb 2\r\nc 3")
    assert read_labels(path, 10) == {"a": 1, "b": 2, "c": 3}
    path.write_bytes(b'image,"class"\na b.png,1\n"c, d", 2')
    assert read_labels(path, 10) == {"a b.png": 1, "c, d": 2}
    # As spreadsheets write them where commas are in numbers, and tables with all cells in quotes.
    for content in ("image;class\na b.png;1\nc, d;2", '"image","class"\r\n"a b.png","1"\r\n"c, d","2"'):
        path.write_text(content)
        assert read_labels(path, 10) == {"a b.png": 1, "c, d": 2}
    path.write_bytes(b"\n" * 3)
    with pytest.raises(InputError, match="is too large; expected at most 3 lines of a file of labels, found 4"):
        read_labels(path, 10)


@given(st.binary(max_size=40) | st.text("0123456789,-+. \n", max_size=40).map(str.encode))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        with contextlib.suppress(InputError):
            found = read_integers(file.name, 3, "it")
            words = content.replace(b",", b" ").split()
            assert [int(word) for word in words][:3] == found.tolist()
        with contextlib.suppress(InputError):
            assert all(0 <= label < 10 for label in read_labels(file.name, 10).values())


@given(st.lists(st.integers(-128, 255), max_size=60), st.sampled_from([",", ", ", ",\n", "\n"]), st.booleans())
def test_integers_are_read_as_they_are_written(numbers: list[int], separator: str, has_last: bool) -> None:
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(separator.join(map(str, numbers)) + separator * has_last)
        file.flush()
        assert read_integers(file.name, len(numbers), "it").tolist() == numbers
        if numbers:
            assert read_integers(file.name, len(numbers) - 1, "it").tolist() == numbers[:-1]


def test_zeros_that_numpy_writes_of_small_numbers(tmp_path: Path) -> None:
    np.savetxt(tmp_path / "w.csv", [[-0.4, 1, -1]], fmt="%.0f", delimiter=",")
    assert read_integers(tmp_path / "w.csv", 3, "it").tolist() == [0, 1, -1]
