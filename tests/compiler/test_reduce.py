"""``tilewright reduce``: a model that fails becomes a small one that still fails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from json_results import result_of
from network_files import graph_model, write_model
from onnx import TensorProto, helper

from tilewright.__main__ import main
from tilewright.compiler.frontend.onnx.smaller_models import ReducibleModel
from tilewright.compiler.reduction import Reduction
from tilewright.errors import InputError

Capture = pytest.CaptureFixture[str]


def deep_model(nodes: int = 100) -> onnx.ModelProto:
    """A chain with shortcuts, of which one node, in the second half, is the only Softsign."""
    found: list[onnx.NodeProto] = []
    rng = np.random.default_rng(0)
    weights: dict[str, np.ndarray] = {}
    for number in range(nodes):
        inputs, pads = [f"t{number}"], None
        op_type = "Softsign" if number == nodes * 5 // 8 else ("Conv", "Relu", "Add", "Sigmoid")[number % 4]
        if op_type == "Conv":
            weights[f"w{number}"] = rng.standard_normal((12, 12, 3, 3)).astype(np.float32)
            inputs, pads = [*inputs, f"w{number}"], [1, 1, 1, 1]
        elif op_type == "Add":
            inputs = [*inputs, f"t{number - 1}"]
        found.append(helper.make_node(op_type, inputs, [f"t{number + 1}"], name=f"n{number}", pads=pads))
    model = graph_model(found, [("t0", TensorProto.FLOAT, [1, 12, 16, 16])], [f"t{nodes}"], weights)
    return onnx.shape_inference.infer_shapes(model)


def reduced(model: onnx.ModelProto, fails: Callable[[onnx.ModelProto], bool], limit: int = 1000) -> ReducibleModel:
    def test(content: bytes) -> str | None:
        found = onnx.load_model_from_string(content)
        onnx.checker.check_model(found, full_check=True)
        return None if fails(found) else "no failure"

    return Reduction(test, limit).run(ReducibleModel(model))


def kinds(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def test_one_wrong_op_of_a_hundred_remains_alone(tmp_path: Path, capsys: Capture) -> None:
    path, output = write_model(tmp_path / "deep.onnx", deep_model()), tmp_path / "small.onnx"
    words = ["reduce", str(path), "-o", str(output), "--while", "grep -q Softsign"]
    assert main(words) == 0
    assert capsys.readouterr().out.startswith(f"{output}: 1 node of 100 (1 Softsign) still fails, after ")
    small = onnx.load(output)
    onnx.checker.check_model(small, full_check=True)
    assert kinds(small) == ["Softsign"]
    shape = small.graph.input[0].type.tensor_type.shape
    assert [dimension.dim_value for dimension in shape.dim] == [1, 1, 1, 1]


def test_what_stands_behind_operators_that_onnx_does_not_know_is_cut_off(tmp_path: Path, capsys: Capture) -> None:
    model = deep_model()
    del model.graph.value_info[:]
    for node in model.graph.node:
        if node.op_type in ("Sigmoid", "Softsign"):
            node.op_type, node.domain = f"Fancy{node.op_type}", "com.example"
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    path, output = write_model(tmp_path / "deep.onnx", model), tmp_path / "small.onnx"
    assert main(["reduce", str(path), "-o", str(output), "--while", "grep -q FancySoftsign"]) == 0
    assert capsys.readouterr().out.startswith(f"{output}: 1 node of 100 (1 FancySoftsign) still fails, after ")
    assert kinds(onnx.load(output)) == ["FancySoftsign"]


def test_what_depends_on_two_ops_that_are_connected_keeps_both() -> None:
    def reaches(model: onnx.ModelProto) -> bool:
        """Whether the Softsign is computed of what the first Sigmoid gives."""
        found = {name for node in model.graph.node if node.name == "n3" for name in node.output}
        for node in model.graph.node:
            if found.intersection(node.input):
                if node.op_type == "Softsign":
                    return True
                found.update(node.output)
        return False

    small = reduced(deep_model(24), reaches)
    # Nodes between them are bypassed where the shapes are equal.
    assert small.kinds == ["Sigmoid", "Softsign"]
    assert small.elements < 12


def test_weights_follow_channels_and_become_plain() -> None:
    small = reduced(deep_model(8), lambda model: "Conv" in kinds(model))
    assert small.kinds == ["Conv"]
    model = onnx.load_model_from_string(small.content())
    weights = onnx.numpy_helper.to_array(model.graph.initializer[0])
    assert weights.shape[:2] == (1, 1)
    assert (weights == 1).all()


def test_the_number_of_tries_is_bounded_and_the_best_is_kept(tmp_path: Path, capsys: Capture) -> None:
    path, output = write_model(tmp_path / "deep.onnx", deep_model()), tmp_path / "small.onnx"
    words = ["reduce", str(path), "-o", str(output), "--while", "grep -q Softsign {}", "--tries", "4", "--json"]
    assert main(words) == 0
    found = result_of(capsys.readouterr().out)
    assert found["tries"] == 4
    assert 1 < sum(found["nodes"].values()) < found["before"] == 100
    assert kinds(onnx.load(output)).count("Softsign") == 1
    # It goes on from there.
    assert main(["reduce", str(output), "-o", str(tmp_path / "more.onnx"), "--while", "grep -q Softsign {}"]) == 0
    assert kinds(onnx.load(tmp_path / "more.onnx")) == ["Softsign"]


def test_a_command_that_takes_too_long_is_ended_and_does_not_count(tmp_path: Path, capsys: Capture) -> None:
    path = write_model(tmp_path / "deep.onnx", deep_model(4))
    words = ["reduce", str(path), "-o", str(tmp_path / "out.onnx"), "--while", "sleep 60; true", "--timeout", "0.05"]
    assert main(words) == 1
    assert capsys.readouterr().err == (
        "error: reduce: the model does not fail; expected exit code 0 of the command, which says that it still fails, "
        "found none within 0.05 s. Turn the command round, such as: ! COMMAND {}, or COMMAND {} | grep -q TEXT.\n"
    )
    assert not (tmp_path / "out.onnx").exists()


def test_nodes_with_subgraphs_take_what_these_read_along() -> None:
    then, other = (
        helper.make_graph(
            [helper.make_node(kind, ["a"], [f"{kind}_out"])],
            kind,
            [],
            [helper.make_tensor_value_info(f"{kind}_out", TensorProto.FLOAT, [2, 3])],
        )
        for kind in ("Neg", "Abs")
    )
    nodes = [
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("ReduceMax", ["x"], ["m"], keepdims=0),
        helper.make_node("Greater", ["m", "zero"], ["c"]),
        helper.make_node("If", ["c"], ["b"], then_branch=then, else_branch=other),
        helper.make_node("Exp", ["b"], ["y"]),
    ]
    model = graph_model(nodes, outputs=["y"], initializers={"zero": np.zeros((), np.float32)})
    small = reduced(onnx.shape_inference.infer_shapes(model), lambda found: "If" in kinds(found))
    assert small.kinds == ["If"]
    inputs = [info.name for info in onnx.load_model_from_string(small.content()).graph.input]
    assert sorted(inputs) == ["a", "c"]


def test_a_model_that_does_not_fail_is_refused() -> None:
    with pytest.raises(InputError, match="the model does not fail"):
        reduced(deep_model(4), lambda model: False)


@pytest.mark.parametrize("name", ["model.xml", "model.twa"])
def test_other_formats_are_refused(name: str, capsys: Capture) -> None:
    assert main(["reduce", name, "--while", "true"]) == 2
    assert f"reduce takes ONNX models; found {name}" in capsys.readouterr().err
