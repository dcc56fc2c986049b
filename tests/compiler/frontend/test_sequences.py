"""Sequences and optionals of ONNX: resolved when importing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

import tilewright.compiler.onnx_backend as backend
from tilewright.compiler.frontend.onnx.reader import import_onnx
from tilewright.errors import TilewrightError

X = np.arange(12, dtype=np.float32).reshape(3, 4)


def model(text: str) -> onnx.ModelProto:
    return onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 18]> {text}')


def check(text: str, *inputs: np.ndarray) -> None:
    """Compile, run, and compare with onnxruntime."""
    made = model(text)
    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    expected = session.run(None, dict(zip(names, inputs, strict=True)))
    for mine, theirs in zip(backend.run_model(made, [*inputs]), expected, strict=True):
        pairs = zip(mine, theirs, strict=True) if isinstance(theirs, list) else [(mine, theirs)]
        for a, b in pairs:
            np.testing.assert_allclose(a, np.asarray(b), rtol=1e-6)


@pytest.mark.parametrize(
    "nodes",
    [
        "s = SplitToSequence <axis = 1> (x)  p = Constant <value_int = -1> ()  y = SequenceAt (s, p)",
        "s = SplitToSequence <axis = 1, keepdims = 0> (x)  y = ConcatFromSequence <axis = 0, new_axis = 1> (s)",
        "n = Constant <value_ints = [3, 1]> ()  s = SplitToSequence <axis = 1> (x, n)"
        "  y = ConcatFromSequence <axis = 1> (s)",
        "n = Constant <value_int = 3> ()  s = SplitToSequence <axis = 1> (x, n)  y = SequenceLength (s)",
        "a = Neg (x)  s = SequenceConstruct (x, a)  e = SequenceErase (s)  p = Constant <value_int = 0> ()"
        "  i = SequenceInsert (e, a, p)  y = ConcatFromSequence <axis = 0> (i)",
        "s = SequenceConstruct (x)  m = Constant <value_int = -1> ()  a = Neg (x)  i = SequenceInsert (s, a, m)"
        "  y = ConcatFromSequence <axis = 0> (i)",
        "e = SequenceEmpty ()  i = SequenceInsert (e, x)  y = ConcatFromSequence <axis = 0> (i)",
        "e = SequenceEmpty ()  s = SequenceMap <body = each (float[M] a) => (float[M] b) { b = Neg (a) }> (e)"
        "  y = SequenceLength (s)",
        "p = Constant <value_ints = [0]> ()  z = Slice (x, p, p, p)  s = SplitToSequence (z)  y = SequenceLength (s)",
        "o = Optional (x)  h = OptionalHasElement (o)  f = Cast <to = 1> (h)  g = OptionalGetElement (o)"
        "  y = Add (f, g)",
    ],
)
def test_as_onnxruntime(nodes: str) -> None:
    kind = "int64" if "SequenceLength" in nodes else "float"
    check(f"g (float[3, 4] x) => ({kind}[] y) {{ {nodes} }}".replace("[] y", "[N] y" if kind == "float" else "[] y"), X)


def test_a_list_that_a_loop_builds() -> None:
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["going"], ["on"]),
            helper.make_node("Gather", ["x", "step"], ["row"]),
            helper.make_node("SequenceInsert", ["list", "row"], ["longer"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("step", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_sequence_value_info("list", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_sequence_value_info("longer", TensorProto.FLOAT, None),
        ],
    )
    nodes = [
        helper.make_node("SequenceEmpty", [], ["empty"]),
        helper.make_node("Constant", [], ["three"], value_int=3),
        helper.make_node("Loop", ["three", "", "empty"], ["list_of_rows"], body=body),
    ]
    graph = helper.make_graph(
        nodes,
        "rows",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3, 4])],
        [helper.make_tensor_sequence_value_info("list_of_rows", TensorProto.FLOAT, None)],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    (rows,) = backend.run_model(made, [X])
    assert np.array_equal(np.stack(rows), X)
    assert import_onnx(made).main.result_names == ["list_of_rows.0", "list_of_rows.1", "list_of_rows.2"]


def test_tensors_of_a_sequence_are_inputs_and_outputs() -> None:
    made = model(
        "g (seq(float[N]) x) => (seq(float[N]) y) { p = Constant <value_int = 0> ()  a = SequenceAt (x, p)"
        "  n = Neg (a)  y = SequenceInsert (x, n) }"
    )
    shapes: dict[str, Sequence[int]] = {"x.0": (2,), "x.1": (5,)}
    module = import_onnx(made, input_shapes=shapes)
    assert [each.name for each in module.main.parameters] == ["x.0", "x.1"]
    assert module.main.result_names == ["y.0", "y.1", "y.2"]
    found = backend.run_model(made, [[X[0], X[1, :2]]])[0]
    assert [each.tolist() for each in found] == [[0, 1, 2, 3], [4, 5], [-0.0, -1, -2, -3]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "g (seq(float[N]) x) => (float[N] y) { y = ConcatFromSequence <axis = 0> (x) }",
            "import: input 'x' is a sequence, and nobody says of how many tensors. Give the shape of each, in order: "
            "--input-shape x.0=2,3 --input-shape x.1=2,3 …",
        ),
        (
            "g (float[3] x) => (float[3] y) { s = SequenceConstruct (x)  p = Constant <value_int = 1> ()"
            "  y = SequenceAt (s, p) }",
            "import: SequenceAt: node 'y': the sequence has no such position; expected -1 to 0, found 1",
        ),
        (
            "g (float[3] x, int64[1] p) => (float[3] y) { s = SequenceConstruct (x)  y = SequenceAt (s, p) }",
            "import: SequenceAt: node 'y': the position in a sequence must be known at compile time, but %p is "
            "computed from the inputs. Give the inputs that decide with --input-shape or --freeze NAME=VALUE, make "
            "it a constant, or let the model end before this node.",
        ),
        (
            "g (float[3] x) => (float[3] y) { s = SequenceConstruct (x)  y = Neg (s) }",
            "import: Neg: node 'y': %s is a sequence or optional where a tensor is read. Only what is known when "
            "importing can be done with them.",
        ),
        (
            "g (float[3] x) => (seq(float[3]) y) { s = SequenceConstruct (x)  y = SequenceConstruct (s) }",
            "import: SequenceConstruct: node 'y': %s is a sequence or optional: a sequence holds tensors alone",
        ),
        (
            "g (float[3] x) => (float[3] y) { i = Cast <to = 7> (x)  s = SequenceConstruct (x, i)"
            "  y = ConcatFromSequence <axis = 0> (s)}",
            "import: concat: node 'y': the operands do not join along axis 0; expected f32[3], found i64[3]",
        ),
        (
            "g (float[3] x) => (seq(float[3]) y) { y = SequenceEmpty () }",
            "import: the outputs are sequences that hold nothing",
        ),
        (
            "g (float[3] x) => (float[3] y) { y = SequenceLength (x) }",
            "import: SequenceLength: node 'y': the first input is no sequence; found %x: f32[3]",
        ),
        (
            "g (float[3] x) => (float[3] y) { o = Optional <type = float[3]> ()  y = OptionalGetElement (o) }",
            "import: OptionalGetElement: node 'y': the optional holds nothing",
        ),
        (
            "g (float[100000, 1] x) => (float[1] y) { s = SplitToSequence (x)  p = Constant <value_int = 1> ()"
            "  y = SequenceAt (s, p) }",
            "import: SplitToSequence: node 's': the node takes too many steps in time; expected at most 4096 in all "
            "such nodes of the model, found 100000",
        ),
    ],
)
def test_bad_input(text: str, message: str) -> None:
    with pytest.raises(TilewrightError) as caught:
        import_onnx(model(text))
    assert str(caught.value) == message
