"""``compile --keep``: values in the middle of a network as outputs, by the tensors that they stand for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from json_results import result_of
from network_files import digits_model, graph_model
from onnx import TensorProto, helper

import tilewright
from tilewright.__main__ import main
from tilewright.compiler.demo import MODEL
from tilewright.errors import UsageError
from tilewright.runtime.artifact.artifact import Artifact
from tilewright.runtime.report.details import details_of


def relu_model() -> bytes:
    weights = np.random.default_rng(0).standard_normal((8, 4, 1, 1)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["block/conv"], name="Conv_0"),
        helper.make_node("Relu", ["block/conv"], ["block/act"], name="Relu_1"),
        helper.make_node("Identity", ["block/act"], ["same"]),
        helper.make_node("Transpose", ["same"], ["turned"], perm=[0, 2, 3, 1]),
        helper.make_node("Transpose", ["turned"], ["back"], perm=[0, 3, 1, 2]),
        helper.make_node("MaxPool", ["back"], ["y"], kernel_shape=[2, 2]),
    ]
    return graph_model(nodes, [("x", TensorProto.FLOAT, [1, 4, 5, 5])], ["y"], {"w": weights}).SerializeToString()


X = np.random.default_rng(1).standard_normal((6, 4, 5, 5)).astype(np.float32)


def test_what_is_kept_stands_behind_the_outputs() -> None:
    artifact = tilewright.compile(relu_model(), keep=["block/*"])
    with tilewright.load(artifact) as session:
        assert [spec.name for spec in session.outputs] == ["y", "block/conv", "block/act"]
        found = session.run({"x": X[:1]})
    np.testing.assert_array_equal(np.maximum(found["block/conv"], 0), found["block/act"])
    entries = {each.name: each for each in details_of(artifact).kept}
    assert entries["block/act"].inputs == ("block/conv",)
    assert entries["block/act"].nodes == ("Relu_1", "same")
    assert (entries["y"].is_output, entries["y"].inputs) == (True, ("block/act",))


def test_integers_are_kept_in_real_units_and_say_what_is_lost() -> None:
    plain = tilewright.compile(relu_model(), calibration=X, engines="device,software")
    artifact = tilewright.compile(relu_model(), calibration=X, engines="device,software", keep=["all"])
    results = []
    for engine in ("software", "device"):
        with tilewright.load(artifact, engine=engine) as session:
            results.append(session.run({"x": X[:1]}))
    assert results[0].keys() == results[1].keys() == {"y", "x", "block/act"}
    for name, array in results[0].items():
        np.testing.assert_array_equal(results[1][name], array)
    with tilewright.load(plain, engine="software") as session:
        np.testing.assert_array_equal(session.run({"x": X[:1]})["y"], results[0]["y"])
    details = details_of(artifact)
    act = next(each for each in details.kept if each.name == "block/act")
    assert act.dtype == "i8"
    assert act.scale is not None
    assert act.range is not None
    low, high = act.range
    assert low <= results[0]["block/act"].min()
    assert results[0]["block/act"].max() <= high
    steps = results[0]["block/act"] / act.scale
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-3)
    lost = next(each for each in details.warnings if "to keep" in each)
    assert lost.startswith("3 of 6 tensors to keep became part of others")
    assert "block/conv, turned, back" in lost


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        (["block/cov"], "found 'block/cov'. Did you mean 'block/conv'"),
        (["zzz*"], "found 'zzz*'. `tilewright inspect MODEL` lists the nodes with their names."),
        (["block/conv", "nothing"], "found 'nothing'"),
    ],
)
def test_names_that_stand_for_nothing_are_refused(asked: list[str], text: str) -> None:
    with pytest.raises(UsageError, match="--keep names a tensor that the network does not compute") as raised:
        tilewright.compile(relu_model(), keep=asked)
    assert text in str(raised.value)


def test_engines_that_compute_other_values_are_refused() -> None:
    with pytest.raises(UsageError, match="with --keep, all engines must compute in integers, or none"):
        tilewright.compile(relu_model(), calibration=X, engines="software,float", keep=["all"])


def test_classes_are_those_of_the_outputs_and_not_of_kept_values(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "kept.twa"
    tilewright.compile(MODEL, output=path, keep=["all"])
    details = details_of(Artifact.open(path))
    assert details.shares == ("probabilities",)
    kept = [each.name for each in details.kept if not each.is_output]
    assert kept
    assert main(["run", str(path), "--random", "1", "--top", "2"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("probabilities:\n")
    assert shown.endswith(f"{len(kept)} kept values not shown: --json prints, and -o FILE.npz saves them.\n")
    assert len(shown.splitlines()) == 4
    assert main(["run", str(path), "--random", "1"]) == 0
    assert kept[0] not in capsys.readouterr().out
    assert main(["run", str(path), "--random", "1", "--json"]) == 0
    assert {"probabilities", *kept} == result_of(capsys.readouterr().out).keys()


def test_extents_that_the_data_decide_stay_behind_what_is_kept() -> None:
    nodes = [helper.make_node("Abs", ["x"], ["a"]), helper.make_node("NonZero", ["a"], ["y"])]
    model = graph_model(nodes, [("x", TensorProto.FLOAT, [2, 3])], ["y"])
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    x = np.array([[0, -1, 0], [2, 0, 0]], np.float32)
    with tilewright.load(tilewright.compile(model, keep=["a"])) as session:
        found = session.run({"x": x})
    np.testing.assert_array_equal(found["y"], [[0, 1], [1, 0]])
    np.testing.assert_array_equal(found["a"], abs(x))


def test_networks_of_integers_keep_the_names_of_the_float_model(tmp_path: Path) -> None:
    """Those of a file that quantises what it brings along: names are those of its tensors."""
    path = tmp_path / "qdq.onnx"
    tilewright.export(relu_model(), path, quantized="qdq", calibration=X)
    artifact = tilewright.compile(path, keep=["all"], engines="software")
    with tilewright.load(artifact) as session:
        names = [spec.name for spec in session.outputs]
    assert any(name.startswith("block/act") for name in names)


def test_the_demo_keeps_everything_in_each_shape() -> None:
    model = digits_model()
    with tilewright.load(tilewright.compile(model, keep=["all"])) as session:
        assert len(session.outputs) > 4
