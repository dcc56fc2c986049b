"""`tilewright graph`: node data and graphs as Model Explorer reads them, and what passes made side by side."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from json_results import result_of

from tilewright.__main__ import main
from tilewright.compiler.demo import MODEL
from tilewright.compiler.network_page.layers import ACCELERATOR, CPU, Layer
from tilewright.compiler.network_page.node_data import graphs, node_data
from tilewright.compiler.network_page.rewrites import History, rewrites_page
from tilewright.ir.text.parser import parse_module
from tilewright.passes.pipeline import Pipeline

Capture = pytest.CaptureFixture[str]


def layer(name: str, nodes: tuple[str, ...], place: str = CPU, macs: int = 0, operands: tuple[str, ...] = ()) -> Layer:
    return Layer(name, "conv", (1, 8), operands, place, nodes=nodes, macs=macs)


LAYERS = [
    layer("a", ("block/conv", "block/relu"), ACCELERATOR, 64),
    layer("b", ("block/conv",), CPU, 36, ("a",)),
    layer("c", (), CPU, 7, ("a", "b", "x")),
]


def test_every_node_has_its_place_and_amounts_are_counted_once() -> None:
    found = node_data(LAYERS)
    assert found.keys() == {"place", "macs"}
    places = {node: each["value"] for node, each in found["place"]["results"].items()}
    assert places == {"block/conv": "accelerator, CPU", "block/relu": "accelerator"}
    assert len({each["bgColor"] for each in found["place"]["results"].values()}) == 2
    assert found["macs"]["results"] == {"block/conv": {"value": 100}}
    assert [each["stop"] for each in found["macs"]["gradient"]] == [0, 1]


def test_the_graph_has_every_layer_and_its_edges() -> None:
    (graph,) = graphs("net", LAYERS)
    assert graph["id"] == "net"
    assert [(node["id"], node["label"], node["namespace"]) for node in graph["nodes"]] == [
        *(("0", "conv", "block"), ("1", "conv", "block"), ("2", "conv", ""))
    ]
    edges = [[edge["sourceNodeId"] for edge in node["incomingEdges"]] for node in graph["nodes"]]
    assert edges == [[], ["0"], ["0", "1"]]
    assert [edge["targetNodeInputId"] for edge in graph["nodes"][2]["incomingEdges"]] == ["0", "1"]
    assert {"key": "runs on", "value": "accelerator"} in graph["nodes"][0]["attrs"]


TEXT = """
module @net {
  func @main(%x: f32[1,4]) -> (%y: f32[1,4]) {
    %"<b>\u2028\u202e" = sigmoid(%x) : f32[1,4] loc("first")
    %c = mul(%x, %"<b>\u2028\u202e") : f32[1,4] loc("second")
    %d = relu(%c) : f32[1,4] loc("third")
    %e = relu(%d) : f32[1,4] loc("fourth")
    return %e
  }
}
"""


def test_passes_are_shown_side_by_side_with_the_rule_that_made_a_line() -> None:
    history = History()
    Pipeline.parse("canonicalize,fuse").run(parse_module(TEXT), instruments=[history])
    ((name, (first, *steps)),) = history.pipelines
    assert first.record is None and len(first.lines) > max(len(step.lines) for step in steps)
    rules = {rule for step in steps if step.record for rule in step.record.applied.values()}
    assert {"clip_as_relu", "swish"} <= rules
    text = rewrites_page("net", history)
    assert f"<h2>{name}</h2>" in text and "<summary><b>canonicalize</b>clip_as_relu 1, clip_of_clip 1" in text
    assert all(f"<i>{rule}</i>" in text for rule in rules)
    assert not [each for each in ("<b>\u2028", "\u202e") if each in text]
    assert r"%&quot;&lt;b&gt;\u2028\u202e&quot; = sigmoid(%x)" in text


def test_values_of_the_same_name_stand_beside_each_other() -> None:
    history = History()
    Pipeline.parse("fuse").run(parse_module(FUSED), instruments=[history])
    row = next(line for line in rewrites_page("net", history).splitlines() if "<i>activation</i>" in line)
    old, new = row.split("</td>")[:2]
    assert "%r = relu(%c)" in old and "%r = conv(%x, @w)" in new


FUSED = """
module @net {
  const @w : f32[1,1,1,1] = [0x1.0p+0]
  func @main(%x: f32[1,1,2,2]) -> (%y: f32[1,1,2,2]) {
    %c = conv(%x, @w) {strides=[1,1], pads=[0,0,0,0], dilations=[1,1], group=1, act="none", act_args=[]} : f32[1,1,2,2]
    %r = relu(%c) : f32[1,1,2,2]
    return %r
  }
}
"""


def test_the_command_writes_what_lies_over_the_model(tmp_path: Path, capsys: Capture) -> None:
    command = ["graph", str(MODEL), "--precision", "fp32", "--measure", "--threads", "1", "-o", str(tmp_path), "--json"]
    assert main(command) == 0
    files = [Path(each["path"]) for each in result_of(capsys.readouterr().out)["files"]]
    endings = ("place.json", "measured_us.json", "macs.json", "graph.json", "passes.html")
    assert [file.name for file in files] == [f"digits.{ending}" for ending in endings]
    names = {node.name for node in onnx.load(MODEL).graph.node}
    for file in files[:3]:
        assert json.loads(file.read_text())["results"].keys() <= names
    assert json.loads(files[0].read_text())["results"]
    assert "<b>fuse</b>" in files[-1].read_text()


def test_an_artifact_has_no_passes_and_takes_no_options_of_models(tmp_path: Path, capsys: Capture) -> None:
    artifact = tmp_path / "digits.twa"
    assert main(["compile", str(MODEL), "--precision", "fp32", "-o", str(artifact)]) == 0
    assert main(["graph", str(artifact), "-o", str(tmp_path)]) == 0
    assert sorted(each.suffix for each in tmp_path.iterdir()) == [".json", ".json", ".json", ".twa"]
    capsys.readouterr()
    assert main(["graph", str(artifact), "--precision", "fp32", "-o", str(tmp_path)]) == 2
    assert "--precision is for models" in capsys.readouterr().err
    assert main(["graph", str(artifact), "-o", str(tmp_path / "a.html")]) == 2
    assert "the output has the name of a file; expected a folder, found" in capsys.readouterr().err
    (tmp_path / "a.html").mkdir()
    assert main(["graph", str(artifact), "-o", str(tmp_path / "a.html")]) == 0
