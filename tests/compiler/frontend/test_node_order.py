"""Nodes that stand in the file before what they read."""

from __future__ import annotations

import numpy as np
import pytest
from network_files import graph_model
from onnx import GraphProto, NodeProto, TensorProto, helper

from tilewright.compiler.frontend.onnx import importer, node_order
from tilewright.compiler.frontend.onnx.reader import import_onnx


def chain(length: int) -> list[NodeProto]:
    return [helper.make_node("Neg", [f"t{i}"], [f"t{i + 1}"]) for i in range(length)]


def imported(nodes: list[NodeProto], output: str) -> list[str]:
    model = graph_model(nodes, [("t0", TensorProto.FLOAT, [2])], [output], dict[str, np.ndarray]())
    return [op.result.name for op in import_onnx(model.SerializeToString()).ops]


def test_a_reversed_chain_is_put_right_and_looked_at_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[str] = []

    def counted(node: NodeProto) -> list[str]:
        looks.append(node.output[0])
        return list(node.input)

    for module in (importer, node_order):
        monkeypatch.setattr(module, "read_names", counted)
    assert imported(chain(500)[::-1], "t500") == [f"t{i + 1}" for i in range(500)]
    # Once to order the nodes, once to find out what is read.
    assert len(looks) == 2 * 500


def test_nodes_keep_their_order_as_far_as_they_can() -> None:
    pair = [helper.make_node("Add", ["t1", "b"], ["c"]), helper.make_node("Abs", ["t0"], ["b"])]
    assert imported([*pair, *chain(2), helper.make_node("Add", ["c", "t2"], ["d"])], "d") == ["b", "t1", "t2", "c", "d"]


def test_a_branch_reads_what_it_returns_of_the_graph_around() -> None:
    def branch(name: str) -> GraphProto:
        return helper.make_graph([], name, [], [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2])])

    chosen = helper.make_node("If", ["c"], ["y"], then_branch=branch("a"), else_branch=branch("t0"))
    model = graph_model(
        [chosen, helper.make_node("Neg", ["t0"], ["a"])],
        [("t0", TensorProto.FLOAT, [2]), ("c", TensorProto.BOOL, [])],
    )
    assert [op.name for op in import_onnx(model).ops] == ["neg", "if"]
