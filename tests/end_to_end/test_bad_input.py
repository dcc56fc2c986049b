"""Whatever is wrong with what the user gives: one clear message, an exit code, and nothing left behind."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from ir_networks import Opset
from json_results import result_of
from network_files import digits_artifact, digits_model, graph_model, write_model
from onnx import TensorProto, helper

import tilewright
from tilewright.__main__ import main
from tilewright.compiler.demo import MODEL
from tilewright.compiler.frontend.onnx.reader import import_onnx
from tilewright.errors import ArtifactError, ModelError

Fails = Callable[..., str]
FLOAT = TensorProto.FLOAT
CHECK = "Check it with onnx.checker.check_model."


# Files that are no models


@pytest.mark.parametrize(
    "content",
    [b"\x80 Dear reader,\nthis is text.\n", bytes(1000), b"\xff" * 50],
    ids=["text", "zeros", "ones"],
)
def test_not_a_model(content: bytes, tmp_path: Path, fails: Fails) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    expected = f"import: 'm.onnx' is not an ONNX model, or is truncated. {CHECK}"
    assert fails(["compile", "m.onnx"]) == expected
    assert fails(["inspect", "m.onnx"]) == expected


def test_a_model_without_a_version_of_its_operators(fails: Fails) -> None:
    model = onnx.load(MODEL)
    del model.opset_import[:]
    Path("m.onnx").write_bytes(model.SerializeToString())
    assert fails(["compile", "m.onnx"]) == (
        "import: 'm.onnx' names no version of its operators. "
        "Add the version that its exporter wrote: model.opset_import.add(version=...) in Python."
    )


def test_no_file_and_a_folder(tmp_path: Path, fails: Fails) -> None:
    (tmp_path / "folder.onnx").mkdir()
    assert fails(["compile", "none.onnx"]) == "import: cannot read 'none.onnx': No such file or directory"
    assert fails(["compile", "folder.onnx"]) == "import: cannot read 'folder.onnx': Is a directory"
    assert fails(["inspect", "none.twa"]) == "load artifact: cannot read 'none.twa': No such file or directory"
    for unnamed in ("", ".", "/"):
        assert "cannot read" in fails(["compile", unnamed])


def test_a_model_where_an_artifact_belongs_and_the_reverse(fails: Fails) -> None:
    assert fails(["run", MODEL, "--random", "1"]) == (
        f"load artifact: {MODEL} is not a Tilewright artifact; expected a .twa file, "
        f"found {MODEL.stat().st_size} bytes that start with {MODEL.read_bytes()[:8]!r}. "
        "Of a model, `tilewright compile` makes one."
    )
    artifact = digits_artifact()
    assert fails(["compile", artifact]) == (
        f"import: '{artifact}' is a Tilewright artifact, no ONNX model. Run it with `tilewright run`."
    )


def test_truncated_models(tmp_path: Path, fails: Fails) -> None:
    content = MODEL.read_bytes()
    for length in (*range(0, 200, 3), *range(200, len(content), 997), len(content) - 1):
        with pytest.raises(ModelError):
            import_onnx(content[:length])
    (tmp_path / "m.onnx").write_bytes(content[: len(content) // 2])
    assert fails(["compile", "m.onnx"]) == f"import: 'm.onnx' is not an ONNX model, or is truncated. {CHECK}"


# Models that make no sense, or are not supported


def relu(x: str = "x", y: str = "y", name: str = "r") -> onnx.NodeProto:
    return helper.make_node("Relu", [x], [y], name=name)


def repeated_attribute() -> onnx.NodeProto:
    node = helper.make_node("Softmax", ["x"], ["y"], name="s", axis=0)
    node.attribute.append(helper.make_attribute("axis", 1))
    return node


LISTED = (
    "`tilewright inspect --supported-ops` lists what is; "
    "onnx.utils.extract_model cuts out a part of the model that needs no more."
)
FUNCTIONS = "Others run where the model brings functions that say what they compute: export it with them."

MODELS: dict[str, tuple[onnx.ModelProto, str]] = {
    "unknown operator": (
        graph_model([relu(y="t"), helper.make_node("Blur", ["t"], ["y"], name="b")]),
        f"import: node 'b': operator 'Blur' (opset 17) is not supported. {LISTED}",
    ),
    "unknown operator behind an open shape": (
        graph_model([helper.make_node("Blur", ["x"], ["y"], name="b")], [("x", TensorProto.FLOAT, ["N", 3])]),
        f"import: node 'b': operator 'Blur' (opset 17) is not supported. {LISTED}",
    ),
    "operator of another domain": (
        graph_model([helper.make_node("Attention", ["x"], ["y"], name="a", domain="com.acme")], domains=["com.acme"]),
        f"import: node 'a': operator 'Attention' (com.acme:1) is not supported. {LISTED} {FUNCTIONS}",
    ),
    "operator of onnxruntime for one processor": (
        graph_model(
            [helper.make_node("Conv", ["x"], ["y"], name="c", domain="com.microsoft.nchwc")],
            domains=["com.microsoft.nchwc"],
        ),
        "import: node 'c': operator 'Conv' (com.microsoft.nchwc:1) is not supported. onnxruntime writes this "
        "domain for one processor: optimise the model at level extended at most.",
    ),
    "node without a name": (
        graph_model([helper.make_node("Blur", ["x"], ["y"])]),
        f"import: node 'y': operator 'Blur' (opset 17) is not supported. {LISTED}",
    ),
    "cycle": (
        graph_model([helper.make_node("Add", ["x", "b"], ["a"], name="first"), relu("a", "b", "second"), relu("b")]),
        "import: the graph has a cycle; found nodes 'first', 'second', 'r'",
    ),
    "missing tensor": (
        graph_model([helper.make_node("Add", ["x", "bias"], ["y"], name="add")]),
        "import: node 'add': tensor 'bias' is read but nothing produces it",
    ),
    "missing output": (
        graph_model([relu()], outputs=["z"]),
        "import: node 'graph output': tensor 'z' is read but nothing produces it",
    ),
    "no outputs": (graph_model([relu()], outputs=[]), "import: the graph has no outputs"),
    "tensor produced twice": (
        graph_model([relu(name="first"), relu(name="second")]),
        "import: node 'second': tensor 'y' is produced twice; expected one producer, found node 'first' and this node",
    ),
    "input produced again": (
        graph_model([relu(y="x"), relu()]),
        "import: node 'r': tensor 'x' is produced twice; expected one producer, found an input and this node",
    ),
    "two inputs of one name": (
        graph_model([relu()], [("x", TensorProto.FLOAT, [2]), ("x", TensorProto.FLOAT, [3])]),
        "import: two inputs are named 'x'. Rename one of them, or remove it.",
    ),
    "input of 17 dimensions": (
        graph_model([relu()], [("x", TensorProto.FLOAT, [1] * 17)]),
        "import: input 'x': a tensor has too many dimensions; expected at most 16 dimensions of a tensor, found 17",
    ),
    "attribute given twice": (
        graph_model([repeated_attribute()]),
        "import: Softmax: node 's': an attribute is given twice",
    ),
    "fraction for an integer": (
        graph_model([helper.make_node("Softmax", ["x"], ["y"], name="s", axis=0.5)]),
        "import: Softmax: node 's': the node is not as ONNX defines its operator "
        "(TypeError: 'float' object cannot be interpreted as an integer). "
        "Check the model with onnx.checker.check_model.",
    ),
    "text for integers": (
        graph_model([helper.make_node("Transpose", ["x"], ["y"], name="t", perm="10")]),
        "import: Transpose: node 't': the node is not as ONNX defines its operator "
        "(TypeError: 'str' object cannot be interpreted as an integer). "
        "Check the model with onnx.checker.check_model.",
    ),
    "fractions for a shape": (
        graph_model(
            [helper.make_node("Reshape", ["x", "s"], ["y"], name="r")],
            initializers={"s": np.array([2.5, 1], np.float32)},
        ),
        "import: Reshape: node 'r': the shape must be integers; found float32",
    ),
    "a depth without end": (
        graph_model(
            [helper.make_node("OneHot", ["x", "d", "v"], ["y"], name="h")],
            initializers={"d": np.array(np.inf, np.float32), "v": np.array([0, 1], np.float32)},
        ),
        "import: OneHot: node 'h': the depth must be one whole number; found [inf]",
    ),
    "missing operand": (
        graph_model([helper.make_node("Add", ["x"], ["y"], name="add")]),
        "import: Add: node 'add': input 1 is missing",
    ),
    "missing attribute": (
        graph_model([helper.make_node("Concat", ["x", "x"], ["y"], name="c")]),
        "import: Concat: node 'c': attribute 'axis' is missing",
    ),
    "attribute of the wrong kind": (
        graph_model([helper.make_node("Transpose", ["x"], ["y"], name="t", perm=1)]),
        "import: Transpose: node 't': the node is not as ONNX defines its operator "
        "(TypeError: 'int' object is not iterable). Check the model with onnx.checker.check_model.",
    ),
    "shapes that do not fit": (
        graph_model(
            [helper.make_node("Add", ["x", "c"], ["y"], name="add")], initializers={"c": np.zeros(4, np.float32)}
        ),
        "import: add: node 'add': the shapes do not broadcast; "
        "expected extents that are equal or 1, from the last dimension backwards, found [2, 3] and [4]",
    ),
    "several operators that are not known": (
        graph_model(
            [
                *(helper.make_node("Blur", [f"b{i}"], [f"b{i + 1}"], name=f"blur{i}") for i in range(3)),
                helper.make_node("Sharpen", ["x"], ["b0"], domain="own"),
                relu(),
            ],
            domains=("own",),
        ),
        "import: 2 operators are not supported; found 'Blur' (opset 17): 3, first 'blur0'; "
        f"'Sharpen' (own:1): 1, first 'b0'. {LISTED} {FUNCTIONS}",
    ),
    "strings": (
        graph_model([relu()], [("x", TensorProto.STRING, [2])]),
        "import: 'x' has an element type that is not supported; "
        "expected f16, f32, f64, i8, i16, i32, i64, u8, u16, u32, u64, bool, found STRING. "
        "Compute with it outside of the network: onnx.utils.extract_model cuts out the part with other numbers.",
    ),
    "open shape": (
        graph_model([relu()], [("x", FLOAT, ["N", 3, None])]),
        "import: input 'x' has an open shape [N, 3, ?]. "
        "Fix it with --input-shape x=1,3,1 (input_shapes={'x': [1,3,1]} in Python).",
    ),
    "open image": (
        graph_model([relu()], [("x", FLOAT, [None, 3, None, None])]),
        "import: input 'x' has an open shape [?, 3, ?, ?]. "
        "Fix it with --input-shape x=1,3,224,224 (input_shapes={'x': [1,3,224,224]} in Python).",
    ),
    "image of any width": (
        graph_model([relu()], [("x", FLOAT, [None, 1, 32, None])]),
        "import: input 'x' has an open shape [?, 1, 32, ?]. "
        "Fix it with --input-shape x=1,1,32,32 (input_shapes={'x': [1,1,32,32]} in Python).",
    ),
    "image of named extents": (
        graph_model([relu()], [("x", FLOAT, [1, "height", "width", 3])]),
        "import: input 'x' has an open shape [1, height, width, 3]. "
        "Fix it with --input-shape height=224 --input-shape width=224 (input_shapes={'height': [224], 'width': [224]} "
        "in Python); several shapes as --input-shape height=224,896.",
    ),
    "extent with a number as its name": (
        graph_model([relu()], [("x", FLOAT, [1, "1000", 80])]),
        "import: input 'x' has an open shape [1, 1000, 80]. Fix it with --input-shape 1000=1000 "
        "(input_shapes={'1000': [1000]} in Python); several shapes as --input-shape 1000=1000,4000.",
    ),
    "image with a number as a name": (
        graph_model([relu()], [("x", FLOAT, ["1", "3", "H", "W"])]),
        "import: input 'x' has an open shape [1, 3, H, W]. Fix it with --input-shape 1=1 --input-shape 3=3 "
        "--input-shape H=224 --input-shape W=224 (input_shapes={'1': [1], '3': [3], 'H': [224], 'W': [224]} in Python)"
        "; several shapes as --input-shape 1=1,4.",
    ),
    "unknown rank": (
        graph_model([relu()], [("x", FLOAT, None)]),
        "import: input 'x' has an open shape of unknown rank. "
        "Fix it with --input-shape x=1,3,224,224 (input_shapes={'x': [1,3,224,224]} in Python).",
    ),
    "several open inputs": (
        graph_model(
            [relu()],
            [
                ("x", FLOAT, [2, 3]),
                ("ids", FLOAT, ["batch", "h"]),
                ("image", FLOAT, [None, 3, "h", "w"]),
                ("mask", FLOAT, [None, 2]),
                ("state", FLOAT, None),
            ],
        ),
        "import: input 'ids' has an open shape [batch, h]; input 'image' has an open shape [?, 3, h, w]; "
        "input 'mask' has an open shape [?, 2]; input 'state' has an open shape of unknown rank. "
        "Fix it with --input-shape batch=1 --input-shape h=224 --input-shape image=1,3,224,224 --input-shape mask=1,2 "
        "--input-shape state=1,3,224,224 (input_shapes={'batch': [1], 'h': [224], 'image': [1,3,224,224], "
        "'mask': [1,2], 'state': [1,3,224,224]} in Python); several shapes as --input-shape batch=1,4.",
    ),
    "extents of zero and less": (
        graph_model([relu()], [("x", FLOAT, [0, 3, -1])]),
        "import: input 'x' has an open shape [?, 3, ?]. "
        "Fix it with --input-shape x=1,3,1 (input_shapes={'x': [1,3,1]} in Python).",
    ),
    "tensor of terabytes": (
        graph_model(
            [helper.make_node("Expand", ["x", "s"], ["y"], name="e")],
            initializers={"s": np.array([2**40, 2, 3], np.int64)},
        ),
        "import: expand: node 'e': a tensor is too large; "
        "expected at most 2147483647 elements of a tensor, where an extent of 0 counts as 1, "
        "found [1099511627776, 2, 3]",
    ),
    "shape computed from data": (
        graph_model(
            [
                helper.make_node("Cast", ["x"], ["s"], to=TensorProto.INT64),
                helper.make_node("Reshape", ["x", "s"], ["y"]),
            ],
            [("x", FLOAT, [2])],
        ),
        "import: Reshape: node 'y': nothing says at compile time that the shape has as many elements as x; "
        "expected [2], found [?, ?]. Give the inputs that decide with --freeze NAME=VALUE, or let the model end before "
        "this node.",
    ),
    "axes computed from data": (
        graph_model(
            [
                helper.make_node("Cast", ["x"], ["a"], to=TensorProto.INT64),
                helper.make_node("Squeeze", ["x", "a"], ["y"]),
            ],
            [("x", FLOAT, [1])],
        ),
        "import: Squeeze: node 'y': axes must be known at compile time, but %a is computed from the inputs. "
        "Give the inputs that decide with --input-shape or --freeze NAME=VALUE, make it a constant, or let "
        "the model end before this node.",
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_models_that_cannot_be_compiled(name: str, tmp_path: Path, fails: Fails) -> None:
    model, message = MODELS[name]
    write_model(tmp_path / "m.onnx", model)
    assert fails(["compile", "m.onnx", "-o", "m.twa"]) == message


def test_strict_tells_unsupported_from_wrong(tmp_path: Path, fails: Fails) -> None:
    write_model(tmp_path / "unsupported.onnx", MODELS["unknown operator"][0])
    write_model(tmp_path / "wrong.onnx", MODELS["cycle"][0])
    fails(["compile", "unsupported.onnx", "--strict"], code=3)
    fails(["compile", "wrong.onnx", "--strict"], code=1)


def test_inputs_that_are_no_tensors(tmp_path: Path, fails: Fails) -> None:
    model = graph_model([relu()])
    tensor = helper.make_tensor_type_proto(FLOAT, [2])
    model.graph.input[0].type.CopyFrom(helper.make_map_type_proto(onnx.TensorProto.INT64, tensor))
    write_model(tmp_path / "m.onnx", model)
    assert fails(["compile", "m.onnx"]) == "import: input 'x' is no tensor, and no sequence of them; found map"


@pytest.mark.parametrize(
    "model",
    [graph_model([relu(name="AAAA")]), graph_model([relu()], [("x", FLOAT, ["AAAA", 3])])],
    ids=["node", "extent"],
)
def test_names_that_are_no_text(model: onnx.ModelProto, tmp_path: Path, fails: Fails) -> None:
    content = model.SerializeToString().replace(b"AAAA", b"\xff\xfeAA")
    (tmp_path / "m.onnx").write_bytes(content)
    assert fails(["compile", "m.onnx"]) in (
        "import: a name is not UTF-8 text; found b'\\xff\\xfeAA'",
        f"import: 'm.onnx' is not an ONNX model, or is truncated. {CHECK}",  # other implementations of protobuf
    )


def test_names_cannot_play_tricks_with_the_terminal(tmp_path: Path, fails: Fails) -> None:
    write_model(tmp_path / "m.onnx", graph_model([helper.make_node("Blur\x1b[2J", ["x"], ["y"], name="a\nb")]))
    assert fails(["compile", "m.onnx"]) == (
        f"import: node 'a\\nb': operator 'Blur\\x1b[2J' (opset 17) is not supported. {LISTED}"
    )


@pytest.mark.parametrize("declared", ["open shape", "extents of zero and less"])
def test_open_shapes_can_be_fixed(declared: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = write_model(tmp_path / "m.onnx", MODELS[declared][0])
    assert main(["compile", str(model), "-o", str(tmp_path / "m.twa"), "--input-shape", "x=2,3,4"]) == 0
    with tilewright.load(tmp_path / "m.twa") as session:
        assert session.run({"x": np.ones((2, 3, 4), np.float32)})["y"].shape == (2, 3, 4)


def test_open_shapes_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = str(write_model(tmp_path / "m.onnx", MODELS["open shape"][0]))
    assert main(["inspect", model]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "input x has an open shape: [N, 3, ?]"
    assert lines[1].startswith("Fix it with --input-shape x=1,3,1 (input_shapes=")
    assert lines[-1].split() == ["r", "Relu", "y"]
    assert main(["inspect", model, "--json"]) == 0
    found = result_of(capsys.readouterr().out)
    nodes = [{"name": "r", "op": "Relu", "result": "y"}]
    assert found == {"name": "m", "open_inputs": {"x": "[N, 3, ?]"}, "unsupported": [], "nodes": nodes}
    blurs = [helper.make_node("Blur\x1b[2J", ["x"], ["z"], domain="own"), helper.make_node("Sharpen", ["z"], ["y"])]
    other = str(write_model(tmp_path / "o.onnx", graph_model(blurs, [("x", FLOAT, ["N"])], domains=("own",))))
    assert main(["inspect", other]) == 0
    shown = capsys.readouterr().out
    assert "\nnot supported: Sharpen\n" in shown and "\nnot supported: own:Blur\\x1b[2J\n" in shown
    assert "\x1b" not in shown
    assert main(["inspect", model, "--input-shape", "x=2,3,4"]) == 0
    assert "f32[2,3,4]" in capsys.readouterr().out


def test_open_shapes_of_ir_files_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = Opset()
    x = made.parameter("x", (-1, 3))
    y = made.layer("ReLU", "r", [x], (-1, 3))
    made.result(made.layer("Sharpen", "s", [y], (-1, 3)))
    model = str(made.write(tmp_path, "m"))
    assert main(["inspect", model]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["input x has an open shape: [?, 3]", "not supported: Sharpen (opset1)"]
    assert lines[-2].split() == ["r", "ReLU", "FP32[?,", "3]"]
    assert main(["inspect", model, "--input-shape", "x=2,3"]) == 1
    assert "layer type 'Sharpen' (opset1) is not supported" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ("x=1,4,5", "import: the given shape does not fit input 'x'; expected [N, 3, ?], found [1, 4, 5]"),
        ("x=3,5", "import: the given shape does not fit input 'x'; expected [N, 3, ?], found [3, 5]"),
        (
            "z=1,3,5",
            "import: a shape was given for an input that the model does not have; expected x; open extents N, found z",
        ),
        (
            "N=1,x=1,3,5",
            "import: a shape was given for an input that the model does not have; expected x; open extents N, found "
            "N=1,x. Give --input-shape once for each.",
        ),
    ],
)
def test_wrong_input_shapes(shape: str, message: str, tmp_path: Path, fails: Fails) -> None:
    write_model(tmp_path / "m.onnx", MODELS["open shape"][0])
    assert fails(["compile", "m.onnx", "--input-shape", shape]) == message


@pytest.mark.parametrize(("shape", "found"), [("x=2,3", "[2, 3]")])
def test_an_extent_of_zero_is_open(shape: str, found: str, tmp_path: Path, fails: Fails) -> None:
    write_model(tmp_path / "m.onnx", graph_model([relu()], [("x", FLOAT, [0])]))
    message = f"import: the given shape does not fit input 'x'; expected [?], found {found}"
    assert fails(["compile", "m.onnx", "--input-shape", shape]) == message
    assert main(["compile", "m.onnx", "--input-shape", "x=2"]) == 0


def test_a_name_of_many_digits_is_no_extent(tmp_path: Path, fails: Fails) -> None:
    write_model(tmp_path / "m.onnx", graph_model([relu()], [("x", FLOAT, ["9" * 5000])]))
    assert "input 'x' has an open shape [9999" in fails(["compile", "m.onnx"])


# Inputs of a run


def test_inputs_that_do_not_fit(tmp_path: Path, fails: Fails) -> None:
    np.save(tmp_path / "right.npy", np.zeros((1, 1, 8, 8), np.float32))
    np.save(tmp_path / "shape.npy", np.zeros((1, 8, 8), np.float32))
    np.save(tmp_path / "double.npy", np.zeros((1, 1, 8, 8)))
    np.savez(tmp_path / "other.npz", picture=np.zeros((1, 1, 8, 8), np.float32))
    artifact = digits_artifact()
    assert fails(["run", artifact, "shape.npy"]) == (
        "input 'image' has the wrong shape; expected (1, 1, 8, 8), found (1, 8, 8)"
    )
    assert fails(["run", artifact, "double.npy"]) == (
        "input 'image' has the wrong dtype; expected float32, found float64. Convert it with array.astype('float32')."
    )
    assert fails(["run", artifact, "picture=right.npy"]) == "unknown input 'picture'; expected 'image'"
    assert fails(["run", artifact, "other.npz"]) == "unknown input 'picture'; expected 'image'"


@pytest.mark.parametrize("special", ["fifo", "/dev/zero"])
def test_what_is_no_regular_file_is_never_waited_for(special: str, tmp_path: Path, fails: Fails) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "m.onnx").symlink_to(special)
    (tmp_path / "m.tw").symlink_to(special)
    hint = ". Save what comes from a pipe in a file, and give its path."
    assert fails(["compile", "-"]) == f"import: cannot read '-': No such file or directory{hint}"
    reason = f"it is not a regular file{hint if special == 'fifo' else ''}"
    assert fails(["compile", "m.onnx"]) == f"import: cannot read 'm.onnx': {reason}"
    assert fails(["inspect", "m.onnx"]) == f"import: cannot read 'm.onnx': {reason}"
    assert fails(["opt", "m.tw", "--passes", "canonicalize"]) == f"cannot read 'm.tw': {reason}"
    assert fails(["key", "import", special]).startswith(f"cannot read '{special}': it is not a regular file")
    int8 = ["compile", MODEL, "--calibration", "random"]
    assert fails([*int8, "--affinity", special]) == f"cannot read '{special}': {reason}"
    assert fails([*int8, "--machine", special]) == (
        f"machine '{special}' is neither a sample nor a readable file (it is not a regular file). Samples: m4096, "
        "s256, u250."
    )


def test_input_files_that_cannot_be_read(tmp_path: Path, fails: Fails) -> None:
    (tmp_path / "text.npy").write_text("1 2 3")
    (tmp_path / "empty.npy").touch()
    np.save(tmp_path / "short.npy", np.zeros((1, 1, 8, 8), np.float32))
    with open(tmp_path / "short.npy", "r+b") as file:
        file.truncate(200)
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04" + bytes(30))
    np.save(tmp_path / "objects.npy", np.array([{}, None]), allow_pickle=True)
    (tmp_path / "folder").mkdir()
    artifact = digits_artifact()
    assert fails(["run", artifact, "none.npy"]) == "cannot read 'none.npy': No such file or directory"
    assert fails(["run", artifact, "folder"]) == (
        "'folder' is a folder; expected one file for image. Give a file. `tilewright classify` and `tilewright batch "
        "infer` take folders."
    )
    assert fails(["run", artifact, "text.npy"]) == (
        "'text.npy' is not a .npy or .npz file; found b'1 2 3' at its beginning. "
        "Save it as an array of numbers with numpy.save or numpy.savez."
    )
    assert fails(["run", artifact, "empty.npy"]).startswith("'empty.npy' is not a .npy or .npz file; found b'' at its ")
    assert fails(["run", artifact, "short.npy"]) == (
        "'short.npy' is damaged: its length is not that of its shape; expected 256 bytes, found 72. "
        "Save it again with numpy."
    )
    assert fails(["run", artifact, "broken.npz"]) == (
        "'broken.npz' is damaged: File is not a zip file. Write it again with numpy.savez."
    )
    assert fails(["run", artifact, "objects.npy"]) == (
        "'objects.npy' holds no numbers; found elements of type '|O'. "
        "Save it as an array of numbers with numpy.save or numpy.savez."
    )


def test_inputs_that_do_not_fit_are_not_read(tmp_path: Path, fails: Fails) -> None:
    """A hole in a file takes no room on the disk, but would in memory."""
    with open(tmp_path / "hole.npy", "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (2**36,)})
        file.truncate(file.tell() + 2**38)
    assert fails(["run", digits_artifact(), "hole.npy"]) == (
        f"input 'image' has the wrong shape; expected (1, 1, 8, 8), found ({2**36},)"
    )
    start, end = fails(["run", digits_artifact(), "a" * 5000]).split(" … ")
    assert start.startswith("cannot read 'aaa")
    assert end.endswith("aaa': File name too long")


# Damaged artifacts


def test_damaged_artifacts(rng: np.random.Generator) -> None:
    content = digits_artifact().read_bytes()
    for length in (*range(0, 400, 7), *rng.integers(0, len(content), 150)):
        with pytest.raises(ArtifactError):
            tilewright.load(content[:length])
    for place in rng.integers(0, len(content), 400):
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(rng.integers(8))
        if 64 <= place < 96:
            continue  # The tag that proves where the artifact was made: without it the kernels are generated again.
        with pytest.raises(ArtifactError):
            tilewright.load(damaged)


def test_damaged_artifacts_on_the_command_line(tmp_path: Path, fails: Fails) -> None:
    content = digits_artifact().read_bytes()
    (tmp_path / "short.twa").write_bytes(content[:-1])
    (tmp_path / "flipped.twa").write_bytes(content[:5000] + bytes([content[5000] ^ 4]) + content[5001:])
    for command in (["run", "short.twa", "--random", "1"], ["inspect", "short.twa"]):
        assert fails(command) == (
            "load artifact: short.twa is damaged: its length is not the one in its header; "
            f"expected {len(content)} bytes, found {len(content) - 1}. Copy or compile it again."
        )
    for command in (["run", "flipped.twa", "--random", "1"], ["inspect", "flipped.twa"]):
        message = fails(command)
        assert message.startswith("load artifact: flipped.twa is damaged: the ")
        assert message.endswith(". Copy or compile it again.")


def test_checksums_made_right_again_do_not_help(tmp_path: Path, fails: Fails) -> None:
    """Someone who repairs the checksums of the header gets as far as the digest."""
    content = bytearray(digits_artifact().read_bytes())
    content[24] ^= 1
    content[20:24] = bytes(4)
    content[20:24] = zlib.crc32(content[:128]).to_bytes(4, "little")
    (tmp_path / "a.twa").write_bytes(content)
    assert fails(["run", "a.twa", "--random", "1"]).startswith("load artifact: a.twa is damaged: ")


def test_an_engine_that_is_not_there(fails: Fails) -> None:
    artifact = digits_artifact()
    assert fails(["run", artifact, "--random", "1", "--engine", "device"]) == (
        f"load artifact: {artifact} does not hold engine 'device'; expected float, found device. "
        "Compile the model with --precision int8 --engines float,device."
    )


# Outputs that cannot be written

FOLDER = "Choose an output in a folder that exists and that you may write."


def test_compile_to_where_nothing_can_be_written(tmp_path: Path, fails: Fails) -> None:
    (tmp_path / "file").write_text("precious")
    (tmp_path / "folder").mkdir()
    for output, reason in (
        ("none/a.twa", f"No such file or directory. {FOLDER}"),
        ("file/a.twa", f"Not a directory. {FOLDER}"),
        ("folder", f"Is a directory. {FOLDER}"),
        (".", f"Is a directory. {FOLDER}"),
        ("/proc/a.twa", f"No such file or directory. {FOLDER}"),
        ("a" * 300 + ".twa", "File name too long"),
    ):
        assert fails(["compile", MODEL, "-o", output]) == f"cannot write {output!r}: {reason}"
    assert (tmp_path / "file").read_text() == "precious"


def test_an_output_that_cannot_be_written_is_found_out_before_the_work(
    fails: Fails, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tilewright.compiler.driver.build", lambda *_: pytest.fail("compiled in vain"))
    fails(["compile", MODEL, "-o", "none/a.twa"])


def test_the_model_is_not_overwritten(tmp_path: Path, fails: Fails) -> None:
    write_model(tmp_path / "m.onnx", digits_model())
    message = "the output would replace the model; found m.onnx. Choose another output."
    assert fails(["compile", "m.onnx", "-o", "m.onnx"], code=2) == message
    (tmp_path / "link.twa").symlink_to("m.onnx")
    assert "would replace the model" in fails(["compile", "m.onnx", "-o", "link.twa"], code=2)


def test_run_to_where_nothing_can_be_written(tmp_path: Path, fails: Fails) -> None:
    (tmp_path / "folder").mkdir()
    words = ["run", digits_artifact(), "--random", "1", "-o"]
    assert fails([*words, "none/a.npz"]) == f"cannot write 'none/a.npz': No such file or directory. {FOLDER}"
    assert fails([*words, "folder"]) == f"cannot write 'folder': Is a directory. {FOLDER}"
    assert fails([*words, ""], code=2) == "the name of the output is empty. Give the output a name, or leave it out."
    assert fails([*words, "-"], code=2) == (
        "the name of the output is that of no file; found -. /dev/stdout writes to stdout, ./- to a file of this name."
    )


def test_run_does_not_overwrite_the_artifact(tmp_path: Path, fails: Fails) -> None:
    (tmp_path / "a.twa").write_bytes(digits_artifact().read_bytes())
    message = "the output would replace the model; found a.twa. Choose another output."
    assert fails(["run", "a.twa", "--random", "1", "-o", "a.twa"], code=2) == message


def test_an_output_with_the_name_of_another_format(fails: Fails) -> None:
    wrong = "the output has the name of another format; expected a name that ends in"
    other = "`tilewright export` and `tilewright quantize` write .onnx and .xml."
    assert fails(["compile", MODEL, "-o", "z.onnx"], code=2) == f"{wrong} .twa, found z.onnx. {other}"
    words = ["quantize", MODEL, "--calibration", "random", "-o", "z.tflite"]
    assert fails(words, code=2) == f"{wrong} .twa, found z.tflite. {other}"
    words = ["run", digits_artifact(), "--random", "1", "-o"]
    hint = "--json prints them, FILE.png is a picture; a .npz becomes sounds elsewhere."
    for name in ("o.webp", "o.wav"):
        assert fails([*words, name], code=2) == f"{wrong} .npz, found {name}. {hint}"
    # Known before the run, which would take an input.
    assert fails([*words[:2], "none.npy", "-o", "o.png"]).startswith("no output is a picture; expected ")
    assert fails([*words[:-1], "--trace", "t.png"], code=2) == f"{wrong} .json, found t.png"


def test_demo_and_dump_to_where_nothing_can_be_written(tmp_path: Path, fails: Fails) -> None:
    (tmp_path / "file").touch()
    assert fails(["demo", "-o", "file/demo"]) == f"cannot write 'file/demo': Not a directory. {FOLDER}"
    words = ["compile", MODEL, "-o", "a.twa", "--dump", "file"]
    assert fails(words) == f"cannot write 'file/01_float': Not a directory. {FOLDER}"


def program(words: list[str], folder: Path, before: str = "", limit: int | None = None) -> subprocess.CompletedProcess:
    """The command line in a process of its own, after the Python code ``before``, with files of ``limit`` bytes."""
    code = f"import sys\nfrom tilewright.__main__ import main\n{before}\nsys.exit(main(sys.argv[1:]))"
    limits = (lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))) if limit is not None else None
    return subprocess.run(
        # Where files have a limit Python leaves bytecode that is cut off, over which every later process stumbles.
        [sys.executable, "-B", "-c", code, *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=limits,
    )


@pytest.mark.parametrize("before", [{}, {"a.twa": b"the last good artifact"}])
def test_a_disk_that_is_full_in_the_middle(before: dict[str, bytes], tmp_path: Path) -> None:
    for name, content in before.items():
        (tmp_path / name).write_bytes(content)
    done = program(["compile", str(MODEL), "-o", "a.twa", "--quiet"], tmp_path, limit=20_000)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: cannot write 'a.twa': File too large\n"
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == before


def test_outputs_on_a_full_disk(tmp_path: Path) -> None:
    done = program(["run", str(digits_artifact()), "--random", "1", "-o", "a.npz"], tmp_path, limit=100)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: cannot write 'a.npz': File too large\n"
    assert list(tmp_path.iterdir()) == []


# Under a job that runs in the background an interrupt is ignored unless asked for.
INTERRUPT = """
import os, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from tilewright.runtime.artifact import artifact
pieces = artifact.chunks
def chunks(*arguments):
    for index, piece in enumerate(pieces(*arguments)):
        if index == 3:
            os.kill(os.getpid(), signal.SIGINT)
        yield piece
artifact.chunks = chunks
"""


def test_an_interrupt_while_writing_leaves_nothing(tmp_path: Path) -> None:
    done = program(["compile", str(MODEL), "-o", "a.twa", "--quiet"], tmp_path, INTERRUPT)
    assert (done.returncode, done.stdout, done.stderr) == (128 + signal.SIGINT, "", "error: interrupted\n")
    assert list(tmp_path.iterdir()) == []
