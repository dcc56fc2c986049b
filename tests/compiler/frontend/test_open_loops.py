"""Loops over what the data decide: pieces that are stacked, and lists that grow."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx.helper import make_node as node
from open_models import check, model_of

import tilewright
from tilewright.errors import InputError, IRError, ModelError, UnsupportedError


def test_a_bound_on_steps_gives_what_a_loop_stacks_room() -> None:
    info = onnx.helper.make_tensor_value_info
    boolean, integer = onnx.TensorProto.BOOL, onnx.TensorProto.INT64
    body = onnx.helper.make_graph(
        [node("Identity", ["going"], ["goes"]), node("Mul", ["step", "step"], ["square"])],
        "body",
        [info("step", integer, []), info("going", boolean, [])],
        [info("goes", boolean, []), info("square", integer, [])],
    )
    nodes = [node("ReduceSum", ["often"], ["n"], keepdims=0), node("Loop", ["n", ""], ["y"], body=body)]
    inputs = {"often": np.array([2, 3])}
    model = model_of(nodes, inputs, ["y"], {})
    with pytest.raises(UnsupportedError, match=r"how many steps the loop takes .* such as --bound n=1000"):
        tilewright.compile(model)
    with tilewright.load(tilewright.compile(model, bounds={"n": 70000})) as session:
        assert session.run(inputs)["y"].tolist() == [0, 1, 4, 9, 16]


def growing(axis: int, begun: Sequence[int], piece: Sequence[onnx.NodeProto]) -> onnx.ModelProto:
    """A loop that takes rows which the data choose, makes a piece of each, and joins it to what there is."""
    info, element = onnx.helper.make_tensor_value_info, onnx.TensorProto
    held = "held" if any("held" in each.output for each in piece) else "list"
    body = onnx.helper.make_graph(
        [
            node("Gather", ["rows", "step"], ["row"]),
            *piece,
            node("Concat", [held, "piece"], ["longer"], axis=axis),
            node("Add", ["total", "row"], ["sum"]),
            node("Identity", ["going"], ["goes"]),
        ],
        "body",
        [
            info("step", element.INT64, []),
            info("going", element.BOOL, []),
            info("list", element.FLOAT, None),
            info("total", element.FLOAT, [4]),
        ],
        [info("goes", element.BOOL, []), info("longer", element.FLOAT, None), info("sum", element.FLOAT, [4])],
    )
    nodes = [
        node("NonZero", ["keep"], ["found"]),
        node("Squeeze", ["found", "zeros"], ["places"]),
        node("Gather", ["x", "places"], ["rows"]),
        node("Size", ["places"], ["n"]),
        node("Loop", ["n", "", "begin", "total"], ["all", "sums"], body=body),
    ]
    inputs = {"keep": np.zeros(6, np.float32), "x": np.zeros((6, 4), np.float32), "total": np.zeros(4, np.float32)}
    constants = {"zeros": [0], "ones": [1], "begin": np.ones(begun, np.float32)}
    return model_of(nodes, inputs, ["all", "sums"], constants)


CHOSEN = [
    node("NonZero", ["row"], ["where"]),
    node("Gather", ["row", "where"], ["piece"]),
]
"""As long as the row has elements that are not zero."""


@pytest.mark.parametrize(
    ("axis", "begun", "piece"),
    [
        (0, (0, 4), [node("Unsqueeze", ["row", "zeros"], ["piece"])]),
        (0, (2, 4), [node("Unsqueeze", ["row", "zeros"], ["piece"])]),
        (-1, (4, 1), [node("Unsqueeze", ["row", "ones"], ["piece"])]),
        (0, (0, 4), CHOSEN),
        (0, (2, 4), [node("Cast", ["list"], ["held"], to=1), node("Unsqueeze", ["row", "zeros"], ["piece"])]),
    ],
)
def test_a_loop_joins_pieces_to_a_list(axis: int, begun: Sequence[int], piece: list[onnx.NodeProto]) -> None:
    """As Mask R-CNN pastes its masks: as many as there are, into images whose extents nothing else says."""
    model = growing(axis, begun, piece)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    oracle = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    x = np.random.default_rng(5).random((6, 4), np.float32) + 1
    with tilewright.load(tilewright.compile(model)) as session:
        for keep in ([1, 0, 1, 1, 0, 0], [0, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1]):
            given = {"keep": np.array(keep, np.float32), "x": x, "total": np.ones(4, np.float32)}
            found, expected = session.run(given), oracle.run(None, given)
            for name, array in zip(("all", "sums"), expected, strict=True):
                np.testing.assert_allclose(found[name], np.asarray(array), rtol=1e-6)
        if piece is CHOSEN:
            given = {"keep": np.ones(6, np.float32), "x": x * (x > 1.5), "total": np.ones(4, np.float32)}
            with pytest.raises(InputError):
                session.run(given)


def test_a_loop_joins_pieces_to_several_lists() -> None:
    """Beside a state that changes and results that are stacked."""
    info, element = onnx.helper.make_tensor_value_info, onnx.TensorProto
    lists, longer = ("rows_list", "columns_list", "negatives_list"), ("more_rows", "more_columns", "more_negatives")
    body = onnx.helper.make_graph(
        [
            node("Gather", ["x", "step"], ["row"]),
            node("Unsqueeze", ["row", "zeros"], ["line"]),
            node("Unsqueeze", ["row", "ones"], ["column"]),
            node("Neg", ["line"], ["negative"]),
            node("Concat", ["rows_list", "line"], ["more_rows"], axis=0),
            node("Concat", ["columns_list", "column"], ["more_columns"], axis=-1),
            node("Concat", ["negatives_list", "negative"], ["more_negatives"], axis=0),
            node("Add", ["total", "row"], ["sum"]),
            node("Exp", ["row"], ["power"]),
            node("Identity", ["going"], ["goes"]),
        ],
        "body",
        [
            info("step", element.INT64, []),
            info("going", element.BOOL, []),
            *(info(name, element.FLOAT, None) for name in (*lists[:1], "total", *lists[1:])),
        ],
        [
            info("goes", element.BOOL, []),
            *(info(name, element.FLOAT, None) for name in (*longer[:1], "sum", *longer[1:], "power")),
        ],
    )
    nodes = [
        node("NonZero", ["keep"], ["found"]),
        node("Size", ["found"], ["n"]),
        node("Loop", ["n", "", "none", "nothing", "no_columns", "begun"], ["a", "b", "c", "d", "e"], body=body),
    ]
    begun = {"none": np.zeros((0, 4)), "nothing": np.zeros(4), "no_columns": np.zeros((4, 0)), "begun": np.ones((2, 4))}
    constants = {"zeros": [0], "ones": [1], **{name: array.astype(np.float32) for name, array in begun.items()}}
    x = np.random.default_rng(5).random((6, 4), np.float32)
    cases = [{"keep": np.array(keep, np.float32), "x": x} for keep in ([1, 0, 1, 1, 0, 0], [0] * 6, [1] * 6)]
    check(nodes, cases, ["a", "b", "c", "d", "e"], **constants)


def test_a_loop_joins_what_is_no_part_of_a_list() -> None:
    with pytest.raises(IRError, match=r"a loop joins tensors of different ranks; expected 2, found f32\[4\]"):
        tilewright.compile(growing(0, (0, 4), [node("Identity", ["row"], ["piece"])]))


def test_a_loop_joins_what_nodes_of_onnx_join() -> None:
    """Nothing of one element type, and pieces of another; and along a dimension that nobody names."""
    pieces = [
        node("Unsqueeze", ["row", "zeros"], ["line"]),
        node("Cast", ["line"], ["piece"], to=onnx.TensorProto.INT64),
    ]
    with pytest.raises(IRError, match=r"concat: node 'all': .*f32"):
        tilewright.compile(growing(0, (0, 4), pieces))
    model = growing(0, (0, 4), [node("Unsqueeze", ["row", "zeros"], ["piece"])])
    body = next(each for each in model.graph.node if each.op_type == "Loop").attribute[0].g
    del next(each for each in body.node if each.op_type == "Concat").attribute[:]
    with pytest.raises(ModelError, match=r"Concat: node 'longer': .*axis"):
        tilewright.compile(model)


def test_a_loop_keeps_nothing_open() -> None:
    """A state has one extent for all steps."""
    body = onnx.helper.make_graph(
        [node("Identity", ["going"], ["on"]), node("Neg", ["state"], ["after"])],
        "body",
        [
            onnx.helper.make_tensor_value_info(n, t, s)
            for n, t, s in (("step", 7, []), ("going", 9, []), ("state", 7, None))
        ],
        [onnx.helper.make_tensor_value_info(n, t, s) for n, t, s in (("on", 9, []), ("after", 7, None))],
    )
    nodes = [node("NonZero", ["x"], ["places"]), node("Loop", ["n", "", "places"], ["y"], body=body, name="loop")]
    inputs = {"x": np.ones(3, np.float32), "n": np.array(3)}
    with pytest.raises(UnsupportedError, match=r"'loop'.* what a loop reads"):
        tilewright.compile(model_of(nodes, inputs, ["y"], {}))


def test_a_loop_that_the_data_end_stacks_as_many_pieces(rng: np.random.Generator) -> None:
    """With a bound from the model, or from an extent that the data decide."""
    value = onnx.helper.make_tensor_value_info
    number, truth, flag = onnx.TensorProto.FLOAT, onnx.TensorProto.BOOL, onnx.TensorProto.INT64
    body = onnx.helper.make_graph(
        [
            node("Add", ["state", "state"], ["doubled"]),
            node("Less", ["doubled", "limit"], ["going"]),
            node("Unsqueeze", ["doubled", "line"], ["piece"]),
        ],
        "body",
        [value("step", flag, []), value("before", truth, []), value("state", number, [])],
        [value("going", truth, []), value("doubled", number, []), value("piece", number, [1])],
    )
    nodes = [
        node("Loop", ["most", "true", "x"], ["last", "pieces"], body=body, name="doubling"),
        node("Neg", ["pieces"], ["negative"]),
        node("NonZero", ["mask"], ["places"]),
        node("Shape", ["places"], ["count"], start=1),
        node("Squeeze", ["count"], ["steps"]),
        node("Loop", ["steps", "true", "x"], ["last_of_some", "some"], body=body, name="bounded_doubling"),
    ]
    masks = [(rng.random(9) < share).astype(np.float32) for share in (0.5, 1, 0.1)]
    cases = [{"x": np.float32(x), "mask": mask} for x, mask in zip((1, 30, 1e-3), masks, strict=True)]
    cases = [{name: np.asarray(array) for name, array in case.items()} for case in cases]
    constants = {"most": 300, "true": True, "limit": np.float32(50), "line": [0]}
    session = check(nodes, cases, ["last", "pieces", "negative", "some"], **constants)
    assert str(session.outputs[1]) == "pieces: f32[≤300,1]"
