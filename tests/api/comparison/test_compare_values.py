"""``tilewright compare``: every value that two networks have, by the tensor that it stands for, in real units."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import pytest
from json_results import result_of
from network_files import graph_model, write_model
from numpy.typing import ArrayLike
from onnx import TensorProto, helper, numpy_helper

import tilewright
from tilewright.__main__ import main
from tilewright.compiler.frontend.onnx.importer import IMPORTS, Importer
from tilewright.compiler.frontend.onnx.node import Node
from tilewright.compiler.frontend.onnx.tensor_roles import tensor_roles
from tilewright.errors import CalibrationWarning, ModelError, UsageError
from tilewright.ir.ops.elementwise import Add
from tilewright.ir.types import DType
from tilewright.runtime.api.comparison import every_layer
from tilewright.runtime.api.comparison.comparison import read_samples
from tilewright.runtime.api.comparison.every_layer import Agreement, first_difference
from tilewright.runtime.api.comparison.measures import Result, Row, compare_values
from tilewright.runtime.api.comparison.party import Party, Value, open_party
from tilewright.runtime.api.comparison.tables import page
from tilewright.runtime.api.simulator.input_data import NodeArg
from tilewright.runtime.report.details import details_of

Capture = pytest.CaptureFixture[str]
MODEL = {"x": [1, 4, 6, 6]}


def network(path: Path, *, noise: float = 0.0, prefix: str = "") -> str:
    """x to two convolutions with activations, a sum and scores; noise goes into the weights of the second."""
    rng = np.random.default_rng(0)
    first = rng.standard_normal((4, 4, 3, 3)).astype(np.float32) / 6
    second = (rng.standard_normal((4, 4, 3, 3)) / 6 + noise * rng.standard_normal((4, 4, 3, 3))).astype(np.float32)
    names = {name: f"{prefix}{name}" for name in ("c1", "r1", "c2", "s", "flat", "y")}
    nodes = [
        helper.make_node("Conv", ["x", "w1"], [names["c1"]], name="first", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", [names["c1"]], [names["r1"]], name="act"),
        helper.make_node("Conv", [names["r1"], "w2"], [names["c2"]], name="second", pads=[1, 1, 1, 1]),
        helper.make_node("Add", [names["c2"], names["r1"]], [names["s"]], name="sum"),
        helper.make_node("Flatten", [names["s"]], [names["flat"]], name="flatten"),
        helper.make_node("MatMul", [names["flat"], "w3"], [names["y"]], name="scores"),
    ]
    third = rng.standard_normal((144, 5)).astype(np.float32) / 12
    weights = {"w1": first, "w2": second, "w3": third}
    model = graph_model(nodes, [("x", TensorProto.FLOAT, MODEL["x"])], [names["y"]], weights)
    return str(write_model(path, model))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``float.onnx``, the same in integers as ``qdq.onnx``, and ``data.npz`` of four samples."""
    found = tmp_path_factory.mktemp("values")
    data = np.random.default_rng(1).standard_normal((4, *MODEL["x"][1:])).astype(np.float32)
    np.savez(found / "data.npz", x=data)
    model = network(found / "float.onnx")
    tilewright.export(model, found / "qdq.onnx", quantized="qdq", calibration=data)
    return found


def compared(folder: Path, first: str, second: str) -> Result:
    parties = [open_party(f"{prefix}{sign}{folder / name}") for prefix, sign, name in map(split, (first, second))]
    _, samples = read_samples(str(folder / "data.npz"), parties[0].get_inputs())
    try:
        return compare_values(parties[0], parties[1], samples)
    finally:
        for party in parties:
            party.close()


def split(name: str) -> tuple[str, str, str]:
    prefix, sign, path = name.rpartition(":")
    return prefix, sign, path


def test_values_of_a_quantised_network_are_those_of_the_float_model(folder: Path) -> None:
    found = compared(folder, "float.onnx", "qdq.onnx")
    rows = {row.name: row for row in found.rows}
    assert {"r1", "s", "y"} <= {*rows}
    assert found.samples == 4
    for row in found.rows:
        assert 25 < row.sqnr < 80, row
        assert row.metric("cosine") > 0.99
    assert rows["r1"].saturated is not None
    assert rows["r1"].saturated < 0.05
    assert rows["y"].is_output
    assert rows["y"].top1 is not None
    assert rows["s"].inputs == ("c2", "r1") or rows["s"].inputs == ("r1",)
    # The activation became part of the convolution before it.
    assert "c1" in found.only_reference


def test_values_of_integers_in_ir_are_those_of_the_float_model(folder: Path, tmp_path: Path) -> None:
    """Layers are called after the conversions of the tensors that they round: outputs alone were in common."""
    model, data = str(folder / "float.onnx"), np.load(folder / "data.npz")["x"]
    tilewright.export(model, tmp_path / "qdq.xml", quantized="qdq", calibration=data)
    found = {row.name: row.sqnr for row in tilewright.compare(model, tmp_path / "qdq.xml", data).rows}
    assert {"r1", "s", "y"} <= {*found} and min(found.values()) > 25


def test_what_a_model_leaves_open_is_as_in_the_other_and_outputs_keep_their_names(tmp_path: Path) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["r"]), helper.make_node("Identity", ["r"], ["y"])]
    model = graph_model(nodes, [("x", TensorProto.FLOAT, ["batch", 2, None])], ["y"])
    tilewright.compile(model, output=tmp_path / "y.twa", input_shapes={"x": (1, 2, 5)})
    found = tilewright.compare(model, tmp_path / "y.twa", "random", limit=1)
    assert [row.name for row in found.rows] == ["y"]


def test_arrays_in_files_are_batches_of_the_size_that_the_other_network_has(tmp_path: Path) -> None:
    """They were taken for that many samples, which the artifact then refused."""
    nodes = [helper.make_node("Softmax", ["x"], ["y"], axis=0)]
    model = graph_model(nodes, [("x", TensorProto.FLOAT, ["batch", 2])], ["y"])
    tilewright.compile(model, output=tmp_path / "y.twa", input_shapes={"batch": (3,)})
    np.save(tmp_path / "x.npy", np.arange(6, dtype=np.float32).reshape(3, 2))
    found = tilewright.compare(model, tmp_path / "y.twa", tmp_path / "x.npy")
    assert (found.samples, [row.name for row in found.rows]) == (1, ["y"])


def test_a_model_is_itself_in_onnxruntime(folder: Path) -> None:
    pytest.importorskip("onnxruntime")
    found = compared(folder, "onnxruntime:float.onnx", "float.onnx")
    assert [row.name for row in found.rows] == ["c1", "r1", "c2", "s", "flat", "y"]
    assert all(row.sqnr > 100 for row in found.rows)
    assert found.only_reference == found.only_network == []


def test_what_a_sequence_holds_are_values_of_their_own(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    nodes = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("SplitToSequence", ["y", "n"], ["s"], axis=1)]
    inputs = [("x", TensorProto.FLOAT, [1, 4])]
    model = graph_model(nodes, inputs, ["s", "y"], {"n": np.asarray(2, np.int64)})
    declared = helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, [1, 2]))
    model.graph.output[0].type.CopyFrom(declared)
    assert [each.dtype for each in tensor_roles(model).outputs] == [DType.F32, DType.F32]
    party = open_party(f"onnxruntime:{write_model(tmp_path / 's.onnx', model)}")
    for _ in range(2):
        found = party.run({"x": np.arange(4, dtype=np.float32).reshape(1, 4)})
        assert {name: array.tolist() for name, array in found.items() if name != "y"} == {
            "s.0": [[0, 1]],
            "s.1": [[2, 3]],
        }
        assert (party.outputs, [value.name for value in party.values]) == (["s.0", "s.1", "y"], ["y", "s.0", "s.1"])


def test_integers_in_onnxruntime_are_ours(folder: Path) -> None:
    pytest.importorskip("onnxruntime")
    found = compared(folder, "onnxruntime:qdq.onnx", "qdq.onnx")
    rows = {row.name: row for row in found.rows}
    assert rows["r1"].sqnr > 50
    assert rows["r1"].reference.op == "Conv"
    assert rows["r1"].reference.range is not None
    assert rows["y"].sqnr > 40
    # Weights are no values, though nodes make them real.
    assert not any(name.startswith("w") for name in found.only_reference)


def test_integers_that_are_passed_on_are_real_in_onnxruntime_too(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    pytest.importorskip("onnxruntime")
    data = np.load(folder / "data.npz")["x"]
    tilewright.export(folder / "float.onnx", folder / "qlinear.onnx", quantized="qlinear", calibration=data)
    monkeypatch.chdir(folder)
    assert main(["compare", "qlinear.onnx", "--every-layer", "--data", "data.npz"]) == 0
    assert " values that qlinear.onnx has in common with onnxruntime:qlinear.onnx agree." in capsys.readouterr().out


@pytest.mark.filterwarnings("error")
def test_ranges_that_strangers_state_are_compared_whatever_they_are() -> None:
    value = Value("x", range=(-1e308, 1e308), step=1e306)
    row = Row("x", value, value, is_output=False)
    row.add(np.ones((1, 2), np.float32), np.ones((1, 2), np.float32))
    assert row.saturated == 0


@pytest.mark.parametrize(
    ("rows", "is_ranked"),
    [([[0.6, -0.8]], False), ([[1, 0], [0, 1]], True), ([[math.inf, -math.inf]], True), (np.ones((0, 5)), False)],
)
def test_directions_have_no_best_class(rows: ArrayLike, is_ranked: bool) -> None:
    row = Row("x", Value("x"), Value("x"), is_output=True)
    row.add(*[np.array(rows, np.float32)] * 2)
    assert row.top1 == (1 if is_ranked else None)


def test_the_first_loss_is_found_with_its_input(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    noisy = network(tmp_path / "noisy.onnx", noise=0.05)
    assert main(["compare", str(folder / "float.onnx"), noisy, "--data", str(folder / "data.npz")]) == 0
    shown = capsys.readouterr().out
    assert "noisy.onnx compared with float.onnx on 4 samples\n" in shown
    assert "The first value below 30 dB is c2, of conv (second): " in shown
    assert "; its input was still equal (r1).\n" in shown
    lines = [line.split()[0] for line in shown.splitlines() if " dB" not in line and line.startswith("  ")]
    assert lines[-2:] == ["c1", "r1"]


def test_json_has_every_figure(folder: Path, capsys: Capture) -> None:
    words = ("compare", folder / "float.onnx", folder / "qdq.onnx", "--data", folder / "data.npz", "--json")
    assert main([*map(str, words)]) == 0
    found = result_of(capsys.readouterr().out)
    assert found["samples"] == 4
    assert found["reference"] == "float.onnx"
    figures = {"name", "output", "op", "nodes", "inputs", "sqnr", "rmse", "max", "cosine", "saturated", "top1"}
    assert all(value.keys() == figures for value in found["values"])
    numbers = [value["sqnr"] for value in found["values"]]
    assert numbers == sorted(numbers)


def test_the_page_has_a_bar_for_each_value(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "page.html"
    words = ("compare", folder / "float.onnx", folder / "qdq.onnx", "--data", folder / "data.npz", "--html", file)
    assert main([*map(str, words), "--limit", "1", "--all"]) == 0
    shown, text = capsys.readouterr().out, file.read_text()
    assert "1 value of float.onnx alone: c1." in shown
    assert text.count("<rect") == text.count("<tr>") - 1 > 3
    assert "qdq.onnx compared with float.onnx" in text


def test_notebooks_show_a_comparison_worst_first(folder: Path, tmp_path: Path) -> None:
    hostile = network(tmp_path / "a&\u202eb.onnx", noise=0.05, prefix="<b>\u202e")
    found = tilewright.compare(hostile, hostile, folder / "data.npz", limit=2)
    assert found.samples == 2
    shown = found._repr_html_()
    assert "<td>&lt;b&gt;\\u202ec1</td>" in shown
    assert "&lt;b&gt;\\u202ec1</text>" in page(found)
    assert not [each for each in ("<b>", "\u202e") if each in page(found)]
    found = tilewright.compare(folder / "float.onnx", folder / "qdq.onnx", folder / "data.npz")
    shown = found._repr_html_()
    places = [shown.index(f"<td>{row.name}{' *' if row.is_output else ''}</td>") for row in found.worst_first]
    assert places == sorted(places)
    assert found.worst_first[0].sqnr < found.worst_first[-1].sqnr
    assert "qdq.onnx compared with float.onnx on 4 samples" in str(found)


def test_artifacts_show_the_values_that_they_keep(folder: Path, tmp_path: Path) -> None:
    model, artifact = str(folder / "float.onnx"), tmp_path / "kept.twa"
    tilewright.compile(model, output=artifact, keep=["r1", "s"])
    found = compared(folder, "float.onnx", str(artifact))
    assert [row.name for row in found.rows] == ["r1", "s", "y"]
    assert [row.is_output for row in found.rows] == [False, False, True]
    assert all(row.sqnr > 100 for row in found.rows)


def test_an_artifact_that_keeps_nothing_says_how_to_look_inside(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    artifact = tmp_path / "plain.twa"
    tilewright.compile(folder / "float.onnx", output=artifact)
    assert main(["compare", str(artifact), str(artifact), "--data", str(folder / "data.npz")]) == 0
    shown = capsys.readouterr().out
    assert "\nAll values are equal.\n" in shown
    # A model shows what it has without being asked.
    relu = graph_model([helper.make_node("Relu", ["x"], ["y"])])
    assert not tilewright.compare(relu, relu, "random").closed
    assert "plain.twa shows nothing but its outputs: compile it with --keep all to look inside.\n" in shown


def test_names_that_mean_other_tensors_are_noticed(tmp_path: Path, capsys: Capture) -> None:
    def written(name: str, first: str, second: str) -> str:
        nodes = [
            helper.make_node("Neg", ["x"], [first]),
            helper.make_node("Exp", [first], [second]),
            helper.make_node("Add", [first, second], ["y"]),
        ]
        return str(write_model(tmp_path / name, graph_model(nodes, [("x", TensorProto.FLOAT, [1, 3])], ["y"])))

    np.save(tmp_path / "data.npy", np.ones((1, 3), np.float32))
    words = [written("one.onnx", "a", "b"), written("two.onnx", "b", "a"), "--data", str(tmp_path / "data.npy")]
    assert main(["compare", *words]) == 0
    assert "Of a, b the two have little in common but the name, while outputs agree" in capsys.readouterr().out


def test_random_samples_and_images(folder: Path, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "black.png")
    party = open_party(network(tmp_path / "model.onnx"))
    count, samples = read_samples("random", party.get_inputs(), limit=3)
    assert (count, len([*samples])) == (3, 3)
    inputs = [type(party.get_inputs()[0])("x", "tensor(float)", ["batch", 3, 6, 6])]
    count, samples = read_samples(str(tmp_path), inputs, "mean=0,scale=1")
    assert [sample["x"].shape for _, sample in samples] == [(1, 3, 6, 6)]
    (tmp_path / "lines.csv").write_text("1,2\n3,4\n")
    count, samples = read_samples(str(tmp_path / "lines.csv"), [replace(inputs[0], shape=["batch", 2])])
    assert [sample["x"].tolist() for _, sample in samples] == [[[1, 2]], [[3, 4]]]
    inputs.append(replace(inputs[0], name="facts", shape=["batch", 2]))
    (tmp_path / "lines.csv").write_text("1,2\n")
    count, samples = read_samples(f"x={tmp_path / 'black.png'},facts={tmp_path / 'lines.csv'}", inputs, "tf")
    assert [[*sample] for _, sample in samples] == [["x", "facts"]]


@pytest.mark.parametrize("name", ["qdq.onnx", "qdq.xml"])
def test_images_are_prepared_as_a_quantised_model_says(tmp_path: Path, name: str, capsys: Capture) -> None:
    """They were prepared by default, without a word, for which the ranges were never measured."""
    image, photos = pytest.importorskip("PIL.Image"), tmp_path / "photos"
    photos.mkdir()
    for at, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (4, 6, 6, 3), np.uint8)):
        image.fromarray(pixels).save(photos / f"{at}.png")
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"]), helper.make_node("Flatten", ["c"], ["y"])]
    weights = {"w": np.random.default_rng(1).standard_normal((4, 3, 3, 3)).astype(np.float32)}
    inputs = [("x", TensorProto.FLOAT, [1, 3, 6, 6])]
    model = str(write_model(tmp_path / "float.onnx", graph_model(nodes, inputs, ["y"], weights)))
    with pytest.warns(CalibrationWarning, match="nothing says how images become input 'x', so it is resize=shorter"):
        tilewright.compare(model, model, photos)
    said = "resize=stretch,mean=255,scale=9"
    tilewright.export(model, tmp_path / name, quantized="qdq", calibration=photos, preprocessing=said)
    found = tilewright.compare(model, tmp_path / name, photos)
    assert min(row.sqnr for row in found.rows) > 25
    words = ["compare", model, str(tmp_path / name), "--data", str(photos)]
    assert main([*words, "--preprocess", "imagenet"]) == 2
    assert "the network was calibrated with another preprocessing of input 'x'" in capsys.readouterr().err
    assert main([*words, "--preprocess", said]) == main([*words, "--preprocess", "tf", "--force-preprocess"]) == 0
    artifact = tilewright.compile(tmp_path / name, output=tmp_path / "q.twa")
    assert main(["run", str(tmp_path / "q.twa"), str(photos / "0.png")]) == 0
    assert details_of(artifact).images == open_party(str(tmp_path / name)).images != {}
    otherwise = details_of(tilewright.compile(tmp_path / name, preprocessing="imagenet")).warnings
    assert any("input 'x' is prepared by resize=shorter" in each and "calibrated with" in each for each in otherwise)
    if name.endswith(".onnx"):
        pytest.importorskip("onnxruntime")
        assert open_party(f"onnxruntime:{tmp_path / name}").images == details_of(artifact).images
        turned = onnx.load(tmp_path / name)
        turned.metadata_props[0].value = turned.metadata_props[0].value.replace("nchw", "nhwc")
        assert not details_of(tilewright.compile(turned)).images  # It is of an input that was there before.
        damaged = onnx.load(tmp_path / name)
        damaged.metadata_props[0].value = damaged.metadata_props[0].value.replace("stretch", "tear")
        with pytest.raises(
            ModelError, match=r"says of images: field 'inputs\.x' is damaged; expected 'shorter', .*tear"
        ):
            open_party(damaged.SerializeToString())


def numbers(path: Path, value: float) -> str:
    nodes = [helper.make_node("Mul", ["x", "k"], ["a"]), helper.make_node("Log", ["a"], ["y"])]
    inputs = [("x", TensorProto.FLOAT, [1, 3])]
    return str(write_model(path, graph_model(nodes, inputs, ["y"], {"k": np.asarray(value, np.float32)})))


def test_numbers_that_are_none_stand_first(tmp_path: Path, capsys: Capture) -> None:
    np.save(tmp_path / "data.npy", np.ones((2, 3), np.float32))
    first, second = numbers(tmp_path / "one.onnx", 2), numbers(tmp_path / "two.onnx", -2)
    assert main(["compare", first, second, "--data", str(tmp_path / "data.npy")]) == 0
    shown = capsys.readouterr().out
    assert "  NaN" in shown
    assert math.isnan(compared_two(tmp_path, first, second).worst_first[0].sqnr)


def compared_two(folder: Path, first: str, second: str) -> Result:
    parties = open_party(first), open_party(second)
    _, samples = read_samples(str(folder / "data.npy"), parties[0].get_inputs())
    return compare_values(*parties, samples)


def stranger(path: Path, shape: Sequence[int]) -> str:
    nodes = [helper.make_node("Relu", ["x"], ["other"]), helper.make_node("Split", ["other"], ["p", "q"], axis=1)]
    return str(write_model(path, graph_model(nodes, [("x", TensorProto.FLOAT, shape)], ["p", "q"], opset=13)))


def test_pairs_that_do_not_belong_together(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    model, data = str(folder / "float.onnx"), str(folder / "data.npz")
    assert main(["compare", model, stranger(tmp_path / "other.onnx", MODEL["x"]), "--data", data]) == 1
    assert "have no value in common; expected names such as c1, r1, c2, found other" in capsys.readouterr().err
    assert main(["compare", model, stranger(tmp_path / "shape.onnx", [1, 4, 3, 3]), "--data", data]) == 1
    assert "the models do not take the same samples" in capsys.readouterr().err
    assert main(["compare", model, model, "--data", str(tmp_path / "none")]) == 1
    assert f"there is no {str(tmp_path / 'none')!r}" in capsys.readouterr().err
    np.savez(tmp_path / "wrong.npz", z=np.zeros(3, np.float32))
    assert main(["compare", model, model, "--data", str(tmp_path / "wrong.npz")]) == 1
    assert "does not have the names of the inputs; expected x, found z" in capsys.readouterr().err
    assert main(["compare", model, model, "--data", data, "--all", "--metric", "snr"]) == 2
    assert "--all is for the comparison of all values; found --metric" in capsys.readouterr().err
    assert main(["compare", model, "--every-layer", "--html", "page.html"]) == 2
    assert "--html is for the comparison of all values; found --every-layer" in capsys.readouterr().err
    assert main(["compare", model, model, "--data", data, "--tolerance", "1"]) == 2
    assert "--tolerance is for --every-layer" in capsys.readouterr().err
    assert main(["compare", f"onnxruntime:{tmp_path / 'none'}", model, "--data", data]) == 1
    assert main(["compare", model, model, "--data", data, "--preprocess", "scale=1"]) == 2
    assert "preprocessing is for images" in capsys.readouterr().err
    with pytest.raises(UsageError, match=r"preprocessing is for images; found arrays\. Leave"):
        tilewright.compare(model, model, np.zeros((1, 3, 4, 4), np.float32), preprocessing="scale=1")
    for limit in (0, -1):
        with pytest.raises(UsageError, match=f"the limit leaves no sample; expected at least 1, found {limit}"):
            tilewright.compare(model, model, data, limit=limit)
    for other in (None, 3, bytearray()):
        expected = f"network is no network; expected .* a ModelProto or an Artifact, found {type(other).__name__}"
        with pytest.raises(UsageError, match=expected):
            tilewright.compare(model, cast(bytes, other), data)


def test_encodings_round_the_values_that_they_name(folder: Path, tmp_path: Path) -> None:
    entry = {"bitwidth": 8, "dtype": "int", "is_symmetric": "False", "scale": 1 / 8, "offset": -128}
    document = {"version": "0.6.1", "activation_encodings": {"r1": [entry]}, "param_encodings": {}}
    path = tmp_path / "model.encodings"
    path.write_text(json.dumps(document))
    model = str(folder / "float.onnx")
    parties = open_party(model), open_party(model, str(path))
    _, samples = read_samples(str(folder / "data.npz"), parties[0].get_inputs())
    rows = {row.name: row for row in compare_values(*parties, samples).rows}
    assert rows["c1"].sqnr > 100
    assert 15 < rows["r1"].sqnr < 35


def test_open_extents_follow_the_samples(tmp_path: Path) -> None:
    nodes = [helper.make_node("Exp", ["x"], ["a"]), helper.make_node("Neg", ["a"], ["y"])]
    model = graph_model(nodes, [("x", TensorProto.FLOAT, ["batch", "length"])], ["y"])
    path = str(write_model(tmp_path / "open.onnx", onnx.shape_inference.infer_shapes(model)))
    folder = tmp_path / "data"
    folder.mkdir()
    for length in (3, 4):
        np.save(folder / f"{length}.npy", np.ones((1, length), np.float32))
    ir = tmp_path / "open.xml"
    tilewright.export(path, ir, input_shapes={"x": [1, 3]})
    ir.write_text(ir.read_text().replace("<dim>3</dim>", "<dim>-1</dim>").replace('shape="1,3"', 'shape="1,?"'))
    for reference, network in ((path, path), (str(ir), path), (path, str(ir))):
        parties = open_party(reference), open_party(network)
        _, samples = read_samples(str(folder), parties[0].get_inputs())
        found = compare_values(*parties, samples)
        assert found.samples == 2
        assert [row.name for row in found.rows] == ["a", "y"]
    assert main(["compare", str(ir), path, "--data", "random", "--input-shape", "x=1,5"]) == 0
    assert parties[1].get_inputs() == [NodeArg("x", "tensor(float)", [1, None])]


def test_a_shape_is_given_where_samples_bring_none(tmp_path: Path, capsys: Capture) -> None:
    nodes = [helper.make_node("Exp", ["x"], ["a"]), helper.make_node("MatMul", ["a", "w"], ["y"])]
    weights = {"w": np.ones((4, 2), np.float32)}
    model = graph_model(nodes, [("x", TensorProto.FLOAT, ["batch", "length"])], ["y"], weights)
    path = str(write_model(tmp_path / "open.onnx", onnx.shape_inference.infer_shapes(model)))
    artifact, ir = str(tmp_path / "open.twa"), str(tmp_path / "open.xml")
    tilewright.compile(path, output=artifact, input_shapes={"batch": [2, 3], "length": [4]})
    tilewright.export(path, ir, input_shapes={"x": [2, 4]})
    random = ("--data", "random", "--limit", "1")
    assert main(["compare", path, artifact, *random]) == 0
    for given in (["--input-shape", "x=2,4"], ["--input-shape", "length=4", "--input-shape", "batch=2"]):
        for pair in ([path, artifact], [artifact, path], [path, ir]):
            assert main(["compare", *pair, *random, *given]) == 0
            assert "1 sample" in capsys.readouterr().out
        assert main(["compare", path, "--every-layer", *given]) == 0
    # What is given in part is 1 elsewhere, or what the samples are.
    one, data = str(tmp_path / "one.xml"), str(tmp_path / "data.npy")
    tilewright.export(path, one, input_shapes={"x": [1, 4]})
    np.save(data, np.ones((3, 1, 4), np.float32))
    for words in ([*random, "--input-shape", "length=4"], ["--data", data, "--input-shape", "batch=1"]):
        assert main(["compare", path, one, *words]) == 0
        assert "All values are equal." in capsys.readouterr().out
    found = tilewright.compare(path, path, "random", limit=1, input_shapes={"length": [4]})
    assert [row.name for row in found.rows] == ["a", "y"]
    for wrong, words in (
        (["width=4"], "a shape was given for an input that the model does not have; expected x; open extents batch,"),
        (["x=1,4", "--input-shape", "x=2,4"], "only one shape can be chosen; found x=1,4 x=2,4"),
        (["x=2,4", "--metric", "snr"], "--input-shape is for the comparison of all values; found --metric"),
    ):
        assert main(["compare", path, path, "--data", "random", "--input-shape", *wrong]) != 0
        assert words in capsys.readouterr().err


def test_help_says_which_shape_is_meant_without_one(capsys: Capture) -> None:
    for command, words in (
        ("compare", "the one to compare in, by that of an input or by an open extent (batch=4). Default: 1 for what a"),
        ("compare", "model leaves open and samples do not say, the first of an artifact."),
        ("simulate", "the one to show, by that of an input or by an open extent (batch=4). Default: the first."),
    ):
        assert main([command, "--help"]) == 0
        assert words in " ".join(capsys.readouterr().out.split())


def with_wrong_add(monkeypatch: pytest.MonkeyPatch) -> None:
    inner = IMPORTS["", "Add"]

    def wrong(node: Node, importer: Importer) -> object:
        result = inner(node, importer)
        assert isinstance(result, tuple)
        return importer.emit_one(Add(), result[0], importer.constant(np.asarray(0.25, np.float32)))

    monkeypatch.setitem(IMPORTS, ("", "Add"), wrong)


def test_the_first_op_that_differs_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    pytest.importorskip("onnxruntime")
    model = str(folder / "float.onnx")
    assert main(["compare", model, "--every-layer"]) == 0
    told = "All 6 values that float.onnx has in common with onnxruntime:float.onnx agree.\n"
    assert capsys.readouterr().out == told
    with_wrong_add(monkeypatch)
    assert main(["compare", model, "--every-layer", "--data", str(folder / "data.npz")]) == 1
    shown = capsys.readouterr()
    assert shown.out.startswith("The first value that differs is s, of Add (sum): expected ")
    assert shown.out.endswith(". What it is computed of agrees: c2, r1.\n")
    assert "differs from onnxruntime:float.onnx" in shown.err
    assert main(["compare", model, "--every-layer", "--json"]) == 1
    found = result_of(capsys.readouterr().out)["difference"]
    assert found["expected"] + 0.25 == pytest.approx(found["found"], abs=1e-5)
    assert found["largest"] == pytest.approx(0.25, abs=1e-5)
    assert main(["compare", model, "--every-layer", "--tolerance", "10"]) == 0


def test_what_is_computed_of_rounded_values_may_differ_as_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The product behind a step of rounding was blamed for it."""
    pytest.importorskip("onnxruntime")
    rng = np.random.default_rng(0)
    ends = [("x", TensorProto.FLOAT, [1, 8, 9, 9])]
    weights = {each: rng.integers(-7, 8, (8, 8, 3, 3)).astype(np.int8) for each in ("v", "w")}
    constants = {"s": np.float32(0.07), "t": np.float32(0.03), "z": np.int8(0), "l": np.int8(-8), "h": np.int8(7)}
    nodes: list[onnx.NodeProto] = []
    for name, reads, weight in (("a", "x", None), ("b", "a", "v"), ("y", "b", "w")):
        value = reads
        if weight is not None:
            nodes.append(helper.make_node("DequantizeLinear", [weight, "t", "z"], [f"{weight}_d"]))
            value = "y" if name == "y" else f"{name}_conv"
            nodes.append(helper.make_node("Conv", [reads, f"{weight}_d"], [value], name=name))
        if name != "y":
            nodes.append(helper.make_node("QuantizeLinear", [value, "s", "z"], [f"{name}_q"]))
            nodes.append(helper.make_node("Clip", [f"{name}_q", "l", "h"], [f"{name}_c"]))
            nodes.append(helper.make_node("DequantizeLinear", [f"{name}_c", "s", "z"], [name]))
    initializers = {**weights, **{name: np.asarray(value) for name, value in constants.items()}}
    path = str(write_model(tmp_path / "qcdq.onnx", graph_model(nodes, ends, ["y"], initializers, 19)))
    reference, model = open_party(f"onnxruntime:{path}"), open_party(path)
    feeds = [(str(at), {"x": rng.normal(0, 0.4, (1, 8, 9, 9)).astype(np.float32)}) for at in range(8)]
    found = first_difference(reference, model, feeds)
    assert found.difference is None, found.text
    result = compare_values(reference, model, feeds)
    assert {row.name for row in result.rows if row.metric("max_abs") > 0} >= {"b", "y"}
    monkeypatch.setattr(every_layer, "_is_right_by_itself", lambda *_: False)
    assert first_difference(reference, model, feeds).difference is not None
    for party in (reference, model):
        party.close()


@pytest.fixture(name="rounded")
def rounded_pair(tmp_path: Path) -> Iterator[Callable[[float], tuple[Party, Party]]]:
    """Makes a network of five layers in int8 in onnxruntime, and one whose weights of the third are so many times as
    large."""
    pytest.importorskip("onnxruntime")
    rng = np.random.default_rng(0)
    weights = {f"w{at}": rng.integers(-127, 128, (8, 8, 3, 3)).astype(np.int8) for at in range(5)}
    nodes: list[onnx.NodeProto] = []
    for at in range(5):
        nodes.append(helper.make_node("DequantizeLinear", [f"w{at}", f"t{at}", "z"], [f"w{at}_d"]))
        nodes.append(helper.make_node("Conv", [f"v{at}", f"w{at}_d"], [f"c{at}"], pads=[1] * 4, name=f"conv{at}"))
        nodes.append(helper.make_node("QuantizeLinear", [f"c{at}", "s", "z"], [f"q{at}"]))
        nodes.append(helper.make_node("DequantizeLinear", [f"q{at}", "s", "z"], [f"v{at + 1}"]))
    nodes.append(helper.make_node("Softmax", ["v5"], ["y"]))
    parties: list[Party] = []

    def made(factor: float) -> tuple[Party, Party]:
        for path, third in (("onnxruntime:", 1.0), ("", factor)):
            scales = {f"t{at}": np.float32(0.0018 * (third if at == 2 else 1)) for at in range(5)}
            constants = {**weights, **scales, "s": np.float32(0.03), "z": np.int8(0)}
            ends = [("v0", TensorProto.FLOAT, [1, 8, 9, 9])]
            arrays = {name: np.asarray(value) for name, value in constants.items()}
            file = write_model(tmp_path / f"{third}.onnx", graph_model(nodes, ends, ["y"], arrays, 19))
            parties.append(open_party(f"{path}{file}"))
        return parties[-2], parties[-1]

    yield made
    for party in parties:
        party.close()


@pytest.mark.parametrize("factor", [1.0, 1.02, 0.95])
def test_a_wrong_layer_is_no_rounding(rounded: Callable[[float], tuple[Party, Party]], factor: float) -> None:
    """What steps of rounding explained grew from layer to layer, and hid nine of ten such layers."""
    rng = np.random.default_rng(1)
    feeds = [(str(at), {"v0": rng.normal(0, 1, (1, 8, 9, 9)).astype(np.float32)}) for at in range(2)]
    found = first_difference(*rounded(factor), feeds)
    assert (found.difference and found.difference.name) == (None if factor == 1 else "q2"), found.text


def test_integers_may_differ_in_no_element(tmp_path: Path) -> None:
    def chosen(path: Path, last: int) -> str:
        nodes = [helper.make_node("ArgMax", ["x"], ["a"], axis=1), helper.make_node("Add", ["a", "k"], ["y"])]
        model = graph_model(nodes, [("x", TensorProto.FLOAT, [1, 3])], ["y"], {"k": np.array([last])})
        model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
        return str(write_model(path, model))

    parties = open_party(chosen(tmp_path / "a.onnx", 1000)), open_party(chosen(tmp_path / "b.onnx", 1001))
    _, samples = read_samples("random", parties[0].get_inputs(), limit=2)
    found = first_difference(*parties, samples).difference
    assert found is not None
    assert (found.name, found.largest, found.inputs) == ("y", 1.0, ("a",))


@pytest.mark.parametrize("op", ["TopK", "ArgMax"])
def test_elements_within_rounding_of_each_other_may_change_places(tmp_path: Path, op: str) -> None:
    """Nothing can be told of what is computed of their indices, and all as ever of the rest."""
    last = {"largest": 0} if op == "TopK" else {"select_last_index": 1}

    def chosen(name: str, added: Sequence[float], scale: float = 2, **which: Any) -> str:
        top = helper.make_node("TopK", ["s", "two"], ["v", "i"], axis=1, **which)
        nodes = [
            helper.make_node("Add", ["x", "added"], ["s"]),
            top if op == "TopK" else helper.make_node("ArgMax", ["s"], ["i"], axis=1, keepdims=0, **which),
            helper.make_node("Add", ["i", "two"], ["y"]),
            helper.make_node("Mul", ["x", "scale"], ["z"]),
        ]
        arrays = {"added": np.asarray([added]), "scale": np.asarray([scale])}
        model = graph_model(nodes, [("x", TensorProto.FLOAT, [2, 3])], ["y", "z"], {"two": np.array([2])})
        model.graph.initializer.extend(numpy_helper.from_array(a.astype(np.float32), n) for n, a in arrays.items())
        model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
        return str(write_model(tmp_path / f"{name}.onnx", model))

    def found(first: str, second: str) -> Agreement:
        parties = open_party(first), open_party(second)
        _, samples = read_samples(np.asarray([[[0, 0, 0], [0, 0, 2]]], np.float32), parties[0].get_inputs())
        return first_difference(*parties, samples)

    near, turned, equal = (1, 1 + 1e-6, 0.5), (1 + 1e-6, 1, 0.5), (1, 1, 0.5)
    reference = chosen("near", near)
    told = found(reference, chosen("turned", turned))
    assert told.difference is None and told.ties == ("i",)
    assert told.text.endswith(
        " agree. Elements within rounding of each other change places in i: what is computed of that is not compared "
        "on such samples."
    )
    told = found(reference, chosen("scaled", turned, 3))
    assert told.difference is not None and (told.difference.name, told.ties) == ("z", ("i",))
    masked = (1, 1 + 1e-6, -np.inf), (1 + 1e-6, 1, -np.inf)
    told = found(*(chosen(name, each) for name, each in zip(("first", "second"), masked, strict=True)))
    assert told.difference is None and told.ties == ("i",)
    # Elements that lie apart have an order, and equal ones that are the same in both.
    told = found(chosen("equal", equal), chosen("last", equal, **last))
    assert told.difference is not None and told.difference.op[:5] in ("top_k", "arg_m") and told.ties == ()


def test_elements_further_apart_than_both_networks_are_chosen_in_their_order(tmp_path: Path) -> None:
    """Be they nothing beside the largest, as most probabilities are."""
    parties: list[Party] = []
    for name, scale in (("right", 1), ("wrong", 1 + 1e-6)):
        nodes = [
            helper.make_node("Mul", ["x", "scale"], ["s"]),
            helper.make_node("Softmax", ["s"], ["p"], axis=1),
            helper.make_node("TopK", ["p", "four"], ["v", "i" if name == "right" else "all"], axis=1),
            *([helper.make_node("Gather", ["all", "order"], ["i"], axis=1)] if name == "wrong" else []),
        ]
        arrays = {"four": np.array([4]), "order": np.array([0, 2, 1, 3]), "scale": np.asarray([scale], np.float32)}
        model = graph_model(nodes, [("x", TensorProto.FLOAT, [1, 6])], ["p", "i"])
        model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in arrays.items())
        model.graph.output[1].type.tensor_type.elem_type = TensorProto.INT64
        parties.append(open_party(str(write_model(tmp_path / f"{name}.onnx", model))))
    _, samples = read_samples(np.asarray([[10, 1, 0.5, 0, -1, -2]], np.float32), parties[0].get_inputs())
    told = first_difference(parties[0], parties[1], samples)
    assert told.difference is not None and told.ties == ()
    assert (told.difference.name, told.difference.index, told.difference.inputs) == ("i", (0, 1), ("p",))


@pytest.mark.parametrize(("factor", "differs"), [(1.0, False), (1.5, True)])
def test_what_a_layer_makes_of_a_step_is_no_difference_however_far(
    tmp_path: Path, factor: float, differs: bool
) -> None:
    """A step of what it reads may decide all that it makes: the reference is asked for what it makes of that."""
    pytest.importorskip("onnxruntime")
    nodes = [
        helper.make_node("Mul", ["x", "k"], ["m"]),
        helper.make_node("QuantizeLinear", ["m", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("Mul", ["d", "w"], ["y"]),
    ]
    parties: list[Party] = []
    for name, near, by in (("onnxruntime:", 1.0, 1.0), ("", 1 + 2**-22, factor)):
        arrays = {"k": near, "s": 0.125, "w": [[100 * by, 0.001]]}
        known = {each: np.asarray(array, np.float32) for each, array in arrays.items()} | {"z": np.asarray(0, np.int8)}
        model = graph_model(nodes, [("x", TensorProto.FLOAT, [1, 2])], ["y"], known, 19)
        parties.append(open_party(f"{name}{write_model(tmp_path / f'{near}.onnx', model)}"))
    # Half a step, which one of the two rounds down.
    feeds = {"x": np.asarray([[0.0625, 8]], np.float32)}
    expected, found = (party.run(feeds)["y"] for party in parties)
    assert (expected[0, 0], found[0, 0]) == (0, np.float32(12.5 * factor))
    told = first_difference(parties[0], parties[1], [("0", feeds)])
    assert (told.difference is not None and told.difference.name) == (differs and "y"), told.text
    for party in parties:
        party.close()


def test_one_value_in_common_is_one(tmp_path: Path, capsys: Capture) -> None:
    pytest.importorskip("onnxruntime")
    model = graph_model([helper.make_node("Relu", ["x"], ["y"])], [("x", TensorProto.FLOAT, [1, 2])], ["y"])
    assert main(["compare", str(write_model(tmp_path / "m.onnx", model)), "--every-layer"]) == 0
    assert capsys.readouterr().out == "The one value that m.onnx has in common with onnxruntime:m.onnx agrees.\n"


def test_numbers_without_dimensions_are_compared(folder: Path) -> None:
    nodes = [helper.make_node("ReduceMax", ["x"], ["m"], keepdims=0), helper.make_node("Mul", ["x", "m"], ["y"])]
    model = write_model(
        folder / "scalar.onnx", graph_model(nodes, [("x", TensorProto.FLOAT, MODEL["x"])], ["m", "y"], {})
    )
    assert main(["compare", str(model), "--every-layer", "--data", str(folder / "data.npz")]) == 0


def test_what_a_model_is_imported_with_is_given_to_both(tmp_path: Path, capsys: Capture) -> None:
    nodes = [helper.make_node("Cast", ["k"], ["f"], to=TensorProto.FLOAT), helper.make_node("Mul", ["x", "f"], ["y"])]
    inputs = [("x", TensorProto.FLOAT, ["N", 3]), ("k", TensorProto.INT64, [])]
    onnx.save(graph_model(nodes, inputs), path := tmp_path / "k.onnx")
    artifact = str(tmp_path / "k.twa")
    tilewright.compile(path, output=artifact, freeze={"k": 3}, input_shapes={"N": (1,)})
    for first, second in ((str(path), artifact), (f"onnxruntime:{path}", artifact), (artifact, str(path))):
        assert main(["compare", first, second, "--data", "random", "--freeze", "k=3"]) == 0
        assert "All values are equal." in capsys.readouterr().out
    assert not tilewright.compare(path, artifact, "random", freeze={"k": 4}).rows[0].sqnr > 100
    assert main(["compare", str(path), artifact, "--data", "random", "--freeze", "c=3"]) == 2
    assert capsys.readouterr().err == "error: a value is given for an input that neither has; found c\n"


def test_samples_that_no_network_is_exact_on_are_told(folder: Path, tmp_path: Path) -> None:
    data = np.load(folder / "data.npz")["x"]
    data[1:] = np.nan
    np.save(tmp_path / "nan.npy", data)
    told = r"^sample '.*' holds NaN or infinity in x, and so may what is computed of it: repair such samples, or leave"
    with pytest.warns(CalibrationWarning, match=told) as found:
        tilewright.compare(folder / "float.onnx", folder / "qdq.onnx", tmp_path / "nan.npy")
    assert len(found) == 1
