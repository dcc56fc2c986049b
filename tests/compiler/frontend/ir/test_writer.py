"""Networks as IR files, and documents as the files that they were read from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tilewright
from tilewright.compiler.frontend.formats import import_model
from tilewright.compiler.frontend.ir.document import Channel, Document, Edge, Layer, Port, PreProcess
from tilewright.compiler.frontend.ir.exporter import export_document
from tilewright.compiler.frontend.ir.reader import read_document
from tilewright.compiler.frontend.ir.writer import write_document
from tilewright.errors import ModelError, OutputError, UnsupportedError
from tilewright.ir.core import Module
from tilewright.ir.text.parser import parse_module


def module() -> Module:
    return parse_module("""module @m {
  func @main(%x: f32[2]) -> (%b: f32[2], %x: f32[2], %relu: f32[2], %c: f32[2]) {
    %a = relu(%x) : f32[2]
    %b = relu(%a) : f32[2]
    return %b, %x, %a, %b
  }
}""")


def written(document: Document, folder: Path) -> Document:
    folder.mkdir(exist_ok=True)
    write_document(document, folder / "net.xml")
    return read_document(folder / "net.xml")


def facts(document: Document) -> list[object]:
    """All that a document says, in a form that compares."""
    layers = [
        (layer.id, layer.name, layer.type, layer.version, layer.precision, layer.inputs, layer.outputs)
        for layer in document.layers.values()
    ]
    blobs = [
        (layer.name, name, array.dtype.str, array.tolist())
        for layer in document.layers.values()
        for name, array in layer.blobs.items()
    ]
    attributes = [
        {key: text for key, text in layer.attributes.items() if key not in ("offset", "size")}
        for layer in document.layers.values()
    ]
    return [document.name, document.version, document.batch, document.precision, layers, blobs, attributes]


def test_outputs_keep_their_names(tmp_path: Path) -> None:
    document = written(export_document(module()), tmp_path)
    again = [(layer.name, port.names) for layer, port in document.outputs()]
    assert again == [("b", ("b",)), ("x", ("x",)), ("relu", ("relu",)), ("c", ("c",))]
    assert [layer.name for layer in document.inputs()] == ["x"]


def test_the_same_document_gives_the_same_bytes(tmp_path: Path) -> None:
    first = written(export_document(module()), tmp_path / "first")
    written(export_document(module()), tmp_path / "second")
    written(first, tmp_path / "third")
    texts = {(tmp_path / each / "net.xml").read_bytes() for each in ("first", "second", "third")}
    assert len(texts) == 1


def constants(*arrays: np.ndarray) -> Document:
    document = Document("constants", 11)
    kinds = {"float32": ("f32", "FP32"), "int64": ("i64", "I64"), "int8": ("i8", "I8")}
    for array in arrays:
        element, precision = kinds[array.dtype.name]
        index = len(document.layers)
        attributes = {"element_type": element, "shape": ", ".join(map(str, array.shape))}
        layer = Layer(index, f"c{index}", "Const", "opset1", attributes=attributes)
        layer.outputs.append(Port(0, array.shape, precision))
        layer.blobs["custom"] = array.reshape(-1)
        document.layers[index] = layer
    return document


def test_equal_constants_share_their_place(tmp_path: Path) -> None:
    ones, numbers = np.ones(6, np.float32), np.arange(3, dtype=np.int8)
    document = constants(numbers, ones, np.arange(4), ones.reshape(2, 3).copy(), numbers.copy())
    again = written(document, tmp_path)
    assert facts(again) == facts(document)
    places = [int(layer.attributes["offset"]) for layer in again.layers.values()]
    assert places == [0, 4, 32, 4, 0]
    assert again.weights.size == 32 + 4 * 8


def legacy() -> Document:
    document = Document("old <net>", 5, batch=2, precision="FP16")
    weights = np.arange(4, dtype=np.float16)
    document.layers[3] = Layer(3, 'in "put"', "Input", precision="FP32", outputs=[Port(0, (2, 3, 1, 2), "FP32")])
    document.layers[7] = Layer(
        7,
        "prod & sum",
        "ScaleShift",
        precision="FP16",
        attributes={"broadcast": "1"},
        inputs=[Port(0, (2, 3, 1, 2))],
        outputs=[Port(1, (2, 3, 1, 2), "FP16")],
        blobs={"weights": weights[:3], "biases": np.arange(3, dtype=np.float32)},
    )
    document.edges.append(Edge((3, 0), (7, 0)))
    image = np.full(2, 0.5, np.float16)
    channels = [Channel(0, image, 2.0), Channel(1, image.copy(), 0.1), Channel(2)]
    document.pre_process.append(PreProcess('in "put"', channels))
    return document


def test_versions_2_to_7_keep_their_form(tmp_path: Path) -> None:
    document = legacy()
    again = written(document, tmp_path)
    assert facts(again) == facts(document)
    assert again.edges == document.edges
    (pre_process,) = again.pre_process
    assert pre_process.layer == 'in "put"'
    assert [channel.scale for channel in pre_process.channels] == [2.0, 0.1, 1.0]
    means = [np.asarray(channel.mean).tolist() for channel in pre_process.channels]
    assert means == [[0.5, 0.5], [0.5, 0.5], 0.0]
    assert again.weights.size == 6 + 2 + 12 + 4, "the two images lie at one place"
    assert (tmp_path / "net.xml").read_text().count("\n") > 20


def test_names_of_any_form_come_back(tmp_path: Path) -> None:
    document = export_document(module())
    layer, port = document.outputs()[0]
    layer.name = 'a\t"b"\n<&>\r'
    port.names = ("x,y", "z")
    again = written(document, tmp_path).outputs()[0]
    assert (again[0].name, again[1].names) == (layer.name, port.names)


@pytest.mark.parametrize("name", ["bell\x07", "half \ud800"])
def test_names_that_files_cannot_hold_are_refused(name: str, tmp_path: Path) -> None:
    document = export_document(module())
    document.outputs()[0][0].name = name
    with pytest.raises(ModelError, match=r"export: a name (holds characters|cannot be written)"):
        write_document(document, tmp_path / "net.xml")
    assert not list(tmp_path.iterdir())


def test_the_export_replaces_what_xml_has_no_form_for(tmp_path: Path) -> None:
    odd = module()
    odd.main.result_names[0] = "bell\x07"
    assert written(export_document(odd), tmp_path).outputs()[0][0].name == "bell_"


def test_added_outputs_become_results(tmp_path: Path) -> None:
    document = export_document(module())
    document.added_outputs = [(document.named("relu").id, 0), (0, 0)]
    relu = document.named("relu/sink_port_0")
    del document.layers[relu.id]
    document.edges = [edge for edge in document.edges if edge.target[0] != relu.id]
    names = [layer.name for layer, _ in document.outputs()]
    assert names == ["b", "x", "c", "relu"]
    assert [layer.name for layer, _ in written(document, tmp_path).outputs()] == names


def test_nothing_is_left_of_files_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(OutputError):
        write_document(export_document(module()), tmp_path / "net.xml", tmp_path / "none" / "net.bin")
    assert not list(tmp_path.iterdir())


def test_no_weights_are_left_of_a_document_that_finds_no_room(tmp_path: Path) -> None:
    (tmp_path / "m.xml").symlink_to("/dev/full")
    with pytest.raises(OutputError, match="No space left on device"):
        write_document(export_document(module()), tmp_path / "m.xml")
    assert [each.name for each in tmp_path.iterdir()] == ["m.xml"]


def test_operators_without_a_form_are_named() -> None:
    fused = parse_module("""module @m {
  func @main(%x: i8[2]<s=0x1.0p-4, z=3>) -> (%y: i8[2]<s=0x1.0p-4, z=3>) {
    %y = relu(%x) : i8[2]<s=0x1.0p-4, z=3> loc("act")
    return %y
  }
}""")
    with pytest.raises(UnsupportedError, match="operator relu on quantised tensors has no IR form"):
        export_document(fused)


def test_files_that_are_written_compile_again(tmp_path: Path) -> None:
    write_document(export_document(module()), tmp_path / "net.xml")
    assert [op.node for op in import_model(tmp_path / "net.xml").main.ops][:2] == ["relu", "b"]
    x = np.array([-1, 2], np.float32)
    with tilewright.load(tilewright.compile(export_document(module()))) as session:
        results = session.run({"x": x})
    assert {name: array.tolist() for name, array in results.items()} == {
        "b": [0, 2],
        "x": [-1, 2],
        "relu": [0, 2],
        "c": [0, 2],
    }
