"""Extents that the data decide, against onnxruntime: selected, carried on by operators, and cut at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx.helper import make_node as node

import tilewright
from tilewright.errors import InputError, UnsupportedError
from tilewright.runtime.session import Session

Arrays = Mapping[str, np.ndarray]


def model_of(
    nodes: Sequence[onnx.NodeProto],
    inputs: Arrays,
    outputs: Sequence[str],
    constants: Mapping[str, Any],
    opset: int = 18,
) -> onnx.ModelProto:
    of = onnx.helper.np_dtype_to_tensor_dtype
    graph = onnx.helper.make_graph(
        nodes,
        "open",
        [onnx.helper.make_tensor_value_info(name, of(array.dtype), array.shape) for name, array in inputs.items()],
        [onnx.helper.make_empty_tensor_value_info(name) for name in outputs],
        [onnx.numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
    model.ir_version = 9
    return onnx.shape_inference.infer_shapes(model)


def check(
    nodes: Sequence[onnx.NodeProto], cases: Sequence[Arrays], outputs: Sequence[str], **constants: Any
) -> Session:
    """Compile for the first of several inputs, and compare with onnxruntime for all of them."""
    model = model_of(nodes, cases[0], outputs, constants)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    oracle = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    session = tilewright.load(tilewright.compile(model))
    assert all(step.kernel for program in session.artifact.manifest.cpu_programs.values() for step in program.steps)
    for inputs in cases:
        found = session.run(inputs)
        assert list(found) == list(outputs)
        for name, array in zip(outputs, oracle.run(list(outputs), dict(inputs)), strict=True):
            expected = np.asarray(array)
            assert (found[name].dtype, found[name].shape) == (expected.dtype, expected.shape), name
            np.testing.assert_allclose(found[name], expected, rtol=1e-5, atol=1e-6, err_msg=name)
    return session


def sparse(rng: np.random.Generator, *shape: int) -> list[Arrays]:
    """Arrays with some elements, all and none that are not zero."""
    x = rng.standard_normal(shape).astype(np.float32)
    return [{"x": np.where(rng.random(shape) < share, x, np.float32(0))} for share in (0.4, 1.0, 0.1, 0.0)]


SCORES = {"most": np.array([4]), "iou": np.array([0.5], np.float32), "threshold": np.array([0.3], np.float32)}


def detections(rng: np.random.Generator, boxes: int = 30, classes: int = 3, images: int = 1) -> list[Arrays]:
    """Boxes and their scores; all, some and none above the threshold."""
    corners = 20 * rng.random((images, boxes, 2))
    found = np.concatenate([corners, corners + 2 + 6 * rng.random((images, boxes, 2))], -1).astype(np.float32)
    scores = rng.random((images, classes, boxes)).astype(np.float32)
    return [{"boxes": found, "scores": scores * np.float32(factor)} for factor in (1, 2, 0.35, 0.1)]


SUPPRESSION = node("NonMaxSuppression", ["boxes", "scores", "most", "iou", "threshold"], ["kept"], name="nms")


def test_outputs_are_cut(rng: np.random.Generator) -> None:
    session = check([node("NonZero", ["x"], ["places"])], sparse(rng, 4, 5), ["places"])
    assert str(session.outputs[0]) == "places: i64[2,≤20]"
    session = check([SUPPRESSION], detections(rng, images=2), ["kept"], **SCORES)
    assert str(session.outputs[0]) == "kept: i64[≤24,3]"


def test_a_detector_with_suppression_inside(rng: np.random.Generator) -> None:
    """As exporters of YOLO write it: rows of image, box, score and class."""
    nodes = [
        SUPPRESSION,
        node("Gather", ["kept", "two"], ["box"], axis=1),
        node("Slice", ["kept", "one_line", "two_line", "one_line"], ["label"]),
        node("Slice", ["kept", "zero_line", "one_line", "one_line"], ["image"]),
        node("Gather", ["kept", "two_line"], ["box_line"], axis=1),
        node("Concat", ["image", "box_line"], ["place"], axis=1),
        node("GatherND", ["boxes", "place"], ["corners"]),
        node("GatherND", ["scores", "kept"], ["score"]),
        node("Unsqueeze", ["score", "one_line"], ["score_line"]),
        node("Cast", ["label"], ["label_number"], to=onnx.TensorProto.FLOAT),
        node("Cast", ["image"], ["image_number"], to=onnx.TensorProto.FLOAT),
        node("Concat", ["image_number", "corners", "score_line", "label_number"], ["rows"], axis=1),
        node("ReduceMax", ["score"], ["best"], keepdims=1),
        node("Shape", ["rows"], ["shape"]),
    ]
    numbers = {"zero_line": [0], "one_line": [1], "two_line": [2], "two": 2}
    cases = detections(rng, images=2)[:3]
    session = check(nodes, cases, ["rows", "shape", "best", "box"], **SCORES, **numbers)
    assert str(session.outputs[0]) == "rows: f32[≤24,7]"


def test_a_mask_of_scores_and_the_best_of_what_it_leaves(rng: np.random.Generator) -> None:
    """As torchvision exports its heads: NonZero, Gather, and TopK of at most so many."""
    nodes = [
        node("Greater", ["scores", "threshold"], ["mask"]),
        node("NonZero", ["mask"], ["places"]),
        node("Transpose", ["places"], ["rows"], perm=[1, 0]),
        node("GatherND", ["scores", "rows"], ["score"]),
        node("Split", ["rows", "halves"], ["box", "label"], axis=1),
        node("Squeeze", ["box", "one_line"], ["box_index"]),
        node("Gather", ["boxes", "box_index"], ["corners"], axis=0),
        node("Shape", ["score"], ["count"]),
        node("Concat", ["limit", "count"], ["both"], axis=0),
        node("ReduceMin", ["both"], ["k"], keepdims=1),
        node("TopK", ["score", "k"], ["best", "which"], axis=0),
        node("Gather", ["corners", "which"], ["best_corners"], axis=0),
        node("Sub", ["best_corners", "shift"], ["moved"]),
        node("Clip", ["moved", "low", "high"], ["clipped"]),
    ]
    constants = {"limit": [6], "one_line": [1], "halves": [1, 1], "shift": np.float32(2)}
    constants |= {"low": np.float32(0), "high": np.float32(15), "threshold": np.float32(0.8)}
    cases = []
    for factor in (1.0, 0.85, 0.5):
        boxes = (20 * rng.random((12, 4))).astype(np.float32)
        cases.append({"boxes": boxes, "scores": (factor * rng.random((12, 3))).astype(np.float32)})
    session = check(nodes, cases, ["best", "which", "clipped", "label"], **constants)
    assert str(session.outputs[0]) == "best: f32[≤6]"


def test_what_decides_nothing_is_refused(rng: np.random.Generator) -> None:
    x = {"x": rng.standard_normal((4, 5)).astype(np.float32)}
    nodes = [node("NonZero", ["x"], ["places"]), node("EyeLike", ["places"], ["y"], name="eye")]
    with pytest.raises(UnsupportedError, match=r"(?s)'eye'.*EyeLike.*\[2, ≤20\]") as raised:
        tilewright.compile(model_of(nodes, x, ["y"], {}))
    assert raised.value.hint is not None and "--freeze" in raised.value.hint


def test_indices_behind_the_true_extent_are_an_error(rng: np.random.Generator) -> None:
    nodes = [node("NonZero", ["x"], ["places"]), node("Gather", ["places", "i"], ["y"], axis=1, name="pick")]
    x = np.array([[0, 1, 2, 0, 3]], np.float32)
    session = tilewright.load(tilewright.compile(model_of(nodes, {"x": x, "i": np.array([0])}, ["y"], {})))
    for index in (0, 2, -1, -3):
        found = session.run({"x": x, "i": np.array([index])})["y"]
        np.testing.assert_array_equal(found, np.stack(np.nonzero(x))[:, [index]])
    for index in (3, 4, -4):
        with pytest.raises(InputError, match="'pick'"):
            session.run({"x": x, "i": np.array([index])})
