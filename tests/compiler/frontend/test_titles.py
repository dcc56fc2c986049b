"""What a module is called."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from network_files import graph_model, write_model
from onnx import helper

from tilewright.compiler.frontend.onnx.reader import import_onnx
from tilewright.ir.text.parser import parse_module
from tilewright.passes.named_ops import find_named

MODEL = graph_model([helper.make_node("Relu", ["x"], ["y"])])


@pytest.mark.parametrize("graph", ["torch-jit-export", "g", ""])
def test_a_module_is_called_after_its_file(graph: str, tmp_path: Path) -> None:
    MODEL.graph.name = graph
    assert import_onnx(write_model(tmp_path / "resnet50.v2.onnx", MODEL)).name == "resnet50.v2"


def test_without_a_file_it_has_the_name_of_the_graph() -> None:
    MODEL.graph.name = "g"
    assert import_onnx(MODEL.SerializeToString()).name == import_onnx(MODEL).name == "g"
    MODEL.graph.name = ""
    assert import_onnx(MODEL).name == "network"


def test_a_file_name_that_is_no_text(tmp_path: Path) -> None:
    module = import_onnx(write_model(Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.onnx")), MODEL))
    assert parse_module(str(module)).name == module.name == "caf?"


def test_nodes_that_pass_a_value_on_name_what_makes_it() -> None:
    """They were gone before anything could be found by their names."""
    nodes = [helper.make_node("Relu", ["x"], ["r"], name="act")]
    for at in range(20):
        names = ["r" if at == 0 else f"i{at - 1}"], [f"i{at}"]
        nodes.append(helper.make_node("Dropout" if at == 1 else "Identity", *names, name=f"pass{at}"))
    nodes.append(helper.make_node("Exp", ["i19"], ["y"], name="exp"))
    ops = [*import_onnx(graph_model(nodes)).ops]
    for found in find_named(ops, ["act", "pass0", "pass1"], "what", "test").values():
        assert [op.name for op in found] == ["relu"]
    assert max(len(op.loc) for op in ops) < 10
