"""Extents that the data decide, against onnxruntime: selected, carried on by operators, and cut at the end."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx.helper import make_node as node
from open_models import REPEATED, Arrays, check, model_of

import tilewright
from tilewright.__main__ import main
from tilewright.compiler.frontend.onnx.reader import import_onnx
from tilewright.compiler.frontend.onnx.writer import export_onnx
from tilewright.errors import InputError, ResourceError, UnsupportedError, UsageError
from tilewright.ir.ops.selection import Unique
from tilewright.runtime.artifact.manifest import ENGINES


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


def test_what_is_left_is_padded_to_a_fixed_number(rng: np.random.Generator) -> None:
    """As exporters of detectors write it, of rows and of all their numbers; and to what the data decide."""
    nodes = [
        node("NonZero", ["x"], ["places"]),
        node("Transpose", ["places"], ["all_rows"], perm=[1, 0]),
        node("Slice", ["all_rows", "zero", "seven", "zero"], ["some_rows"]),
        node("Cast", ["some_rows"], ["rows"], to=onnx.TensorProto.FLOAT),
        node("Shape", ["rows"], ["count"], end=1),
        node("Sub", ["seven", "count"], ["rest"]),
        node("Mul", ["rest", "two"], ["numbers"]),
        node("Concat", ["zero", "zero", "rest", "zero"], ["pads"], axis=0),
        node("Concat", ["zero", "numbers"], ["flat_pads"], axis=0),
        node("Concat", ["one", "cut", "count", "two"], ["open_pads"], axis=0),
        node("Pad", ["rows", "pads", "filler"], ["fixed"]),
        node("Reshape", ["rows", "line"], ["flat"]),
        node("Pad", ["flat", "flat_pads"], ["flat_whole"]),
        node("Reshape", ["flat_whole", "shape"], ["whole"]),
        node("Pad", ["rows", "open_pads", "filler"], ["open"]),
    ]
    numbers = {"zero": [0], "one": [1], "two": [2], "cut": [-1], "seven": [7], "line": [-1], "shape": [7, 2]}
    constants = {name: np.array(array) for name, array in numbers.items()} | {"filler": np.float32(-3)}
    session = check(nodes, sparse(rng, 4, 5), ["fixed", "whole", "open"], **constants)
    assert [str(output) for output in session.outputs] == ["fixed: f32[7,2]", "whole: f32[7,2]", "open: f32[≤15,3]"]
    nodes[-1] = node("Pad", ["rows", "moving"], ["open"])
    nodes.insert(-1, node("Concat", ["rest", "zero", "zero", "zero"], ["moving"], axis=0))
    with pytest.raises(UnsupportedError, match="the data decide how a pad moves what is there"):
        tilewright.compile(model_of(nodes, sparse(rng, 4, 5)[0], ["open"], constants))


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


PICKED = [
    node("NonZero", ["x"], ["places"]),
    node("Transpose", ["places"], ["rows"], perm=[1, 0]),
    node("GatherND", ["x", "rows"], ["picked"]),
]
"""What of x is not zero, and where."""


def test_joined_tensors_are_closed_up(rng: np.random.Generator) -> None:
    nodes = [
        node("Neg", ["picked"], ["negative"]),
        node("Concat", ["picked", "ones", "negative", "picked"], ["y"], axis=0),
        node("Concat", ["ones", "picked"], ["behind"], axis=0),
    ]
    check([*PICKED, *nodes], sparse(rng, 6, 5), ["y", "behind"], ones=np.ones(3, np.float32))


def test_filler_changes_no_reduction(rng: np.random.Generator) -> None:
    kinds = ("Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "SumSquare", "LogSumExp")
    nodes = [node(f"Reduce{kind}", ["picked"], [kind], keepdims=0) for kind in kinds]
    nodes += [
        node("Softmax", ["picked"], ["softmax"], axis=0),
        node("Hardmax", ["picked"], ["hardmax"], axis=0),
        node("ArgMin", ["picked"], ["least"], axis=0),
        node("CumSum", ["picked", "zero"], ["sums"], reverse=1),
        node("TopK", ["picked", "k"], ["best", "which"], axis=0, largest=0),
    ]
    outputs = [*kinds, "softmax", "hardmax", "least", "sums", "best", "which"]
    session = check([*PICKED, *nodes], sparse(rng, 6, 5)[:2], outputs, zero=0, k=[3])
    x = np.zeros((6, 5), np.float32)
    x[0, :2] = 1
    with pytest.raises(InputError, match=r"'which'|'best'"):
        session.run({"x": x})


def test_models_compute_with_extents(rng: np.random.Generator) -> None:
    nodes = [
        node("Shape", ["rows"], ["shape"]),
        node("Gather", ["shape", "zero"], ["count"], axis=0),
        node("Unsqueeze", ["count", "line"], ["count_line"]),
        node("Concat", ["count_line", "one", "two"], ["wanted"], axis=0),
        node("Reshape", ["rows", "wanted"], ["reshaped"]),
        node("Reshape", ["places", "any"], ["places_flat"]),
        node("Reshape", ["rows", "any"], ["rows_flat"]),
        node("ConstantOfShape", ["wanted"], ["zeros"]),
        node("Unsqueeze", ["picked", "one"], ["column"]),
        node("Concat", ["count_line", "three"], ["wide"], axis=0),
        node("Expand", ["column", "wide"], ["expanded"]),
        node("Unsqueeze", ["picked", "line"], ["row"]),
        node("Mul", ["column", "row"], ["outer"]),
        node("Range", ["zero", "count", "step"], ["numbers"]),
        node("Size", ["places"], ["size"]),
        node("TopK", ["picked", "count_line"], ["all", "order"], axis=0),
    ]
    outputs = ["reshaped", "places_flat", "rows_flat", "zeros", "expanded", "outer", "numbers", "size", "all", "order"]
    constants = {"zero": 0, "line": [0], "one": [1], "two": [2], "three": [3], "any": [-1], "step": 2}
    session = check([*PICKED, *nodes], sparse(rng, 6, 5), outputs, **constants)
    assert str(session.outputs[5]) == "outer: f32[≤30,≤30]"


def test_parts_of_open_extents(rng: np.random.Generator) -> None:
    bounds = {"first": (1, 4), "last": (-3, 2**63 - 1), "but_last": (0, -1), "none": (7, 3)}
    nodes = [node("Slice", ["picked", f"{name}_0", f"{name}_1"], [name]) for name in bounds]
    nodes += [
        node("Slice", ["picked", "but_last_1", "before", "axis", "but_last_1"], ["reversed"]),
        node("Slice", ["picked", "first_0", "last_1", "axis", "two"], ["every_other"]),
    ]
    constants = {f"{name}_{i}": [bound] for name, pair in bounds.items() for i, bound in enumerate(pair)}
    constants |= {"before": [-(2**63)], "axis": [0], "two": [2]}
    check([*PICKED, *nodes], sparse(rng, 6, 5), [*bounds, "reversed", "every_other"], **constants)


def test_slices_and_best_by_inputs(rng: np.random.Generator) -> None:
    x = rng.standard_normal((6, 5)).astype(np.float32)
    pairs = ((1, 4), (-3, -1), (0, 99), (4, 2), (-99, 3))
    cases = [{"x": x, "a": np.array([a]), "b": np.array([b])} for a, b in pairs]
    check([node("Slice", ["x", "a", "b"], ["y"])], cases, ["y"])
    best = [node("TopK", ["x", "k"], ["y", "i"], name="best")]
    session = check(best, [{"x": x, "k": np.array([k])} for k in (1, 3, 5)], ["y", "i"])
    for k in (6, -1):
        with pytest.raises(InputError, match="'best'"):
            session.run({"x": x, "k": np.array([k])})


def test_parts_between_the_same_places_have_the_same_extents(rng: np.random.Generator) -> None:
    """A patch of an image, as PyTorch exports what is assigned to it: each index gets a dimension anew."""
    names = {name: [f"{name}_{i}" for i in range(2)] for name in ("a", "b", "c", "d")}
    nodes = [node("Unsqueeze", [name, "front"], [each], name=each) for name, found in names.items() for each in found]
    nodes += [
        node("Slice", ["x", "a_0", "b_0", "rows"], ["some_rows"]),
        node("Slice", ["some_rows", "c_0", "d_0", "columns"], ["patch"]),
        node("Slice", ["numbers", "a_1", "b_1", "rows"], ["other_rows"]),
        node("Slice", ["other_rows", "c_1", "d_1", "columns"], ["other"]),
        node("Shape", ["other"], ["shape"]),
        node("Concat", ["one", "shape"], ["wanted"], axis=0),
        node("Reshape", ["patch", "wanted"], ["y"]),
    ]
    x = rng.standard_normal((6, 5)).astype(np.float32)
    places = ((1, 4, 0, 5), (2, 3, 1, 2), (-3, 9, -2, -1))
    cases = [{"x": x, **{name: np.array(e) for name, e in zip("abcd", each, strict=True)}} for each in places]
    known = {"front": [0], "one": [1], "rows": [0], "columns": [1]}
    check(nodes, cases, ["y"], numbers=np.arange(30).reshape(6, 5), **known)


def test_products_of_open_extents(rng: np.random.Generator) -> None:
    nodes = [
        node("Slice", ["rows", "zero", "one", "one"], ["column"]),
        node("Squeeze", ["column", "one"], ["index"]),
        node("Gather", ["table", "index"], ["found"], axis=0),
        node("Gemm", ["found", "w", "b"], ["y"]),
        node("Transpose", ["found"], ["turned"], perm=[1, 0]),
        node("MatMul", ["turned", "found"], ["gram"]),
        node("Neg", ["picked"], ["negative"]),
        node("ScatterND", ["x", "rows", "negative"], ["scattered"]),
    ]
    shapes = {"table": (6, 4), "w": (4, 3), "b": (3,)}
    weights = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    check([*PICKED, *nodes], sparse(rng, 6, 5), ["y", "gram", "scattered"], zero=[0], one=[1], **weights)


def test_products_of_bytes_of_open_extents(rng: np.random.Generator) -> None:
    """As onnxruntime's dynamic quantisation writes them."""
    nodes = [
        *PICKED,
        node("Slice", ["rows", "zero", "one", "one"], ["column"]),
        node("Squeeze", ["column", "one"], ["index"]),
        node("Gather", ["table", "index"], ["found"], axis=0),
        node("DynamicQuantizeLinear", ["found"], ["bytes", "scale", "zero_point"]),
        node("MatMulInteger", ["bytes", "w", "zero_point"], ["sums"]),
        node("Transpose", ["bytes"], ["turned"], perm=[1, 0]),
        node("MatMulInteger", ["turned", "bytes"], ["gram"]),
    ]
    cases = sparse(rng, 6, 5)
    table, w = rng.standard_normal((6, 7)).astype(np.float32), rng.integers(-128, 128, (7, 3)).astype(np.int8)
    constants = {"zero": [0], "one": [1], "table": table, "w": w}
    # Of no rows onnxruntime leaves what lay in the memory of the sums.
    session = check(nodes, cases[:-1], ["sums", "gram"], **constants)
    assert not session.run(cases[-1])["gram"].any()
    # What is not there is no zero point.
    nodes[-1] = node("MatMulInteger", ["turned", "bytes", "zero_point"], ["gram"])
    with pytest.raises(UnsupportedError, match="the data decide an extent of what matmul_integer reads"):
        tilewright.compile(model_of(nodes, cases[0], ["gram"], constants))


def test_heads_on_the_regions_that_are_left(rng: np.random.Generator) -> None:
    """As two-stage detectors have them: what is left is pooled, and classified region by region."""
    nodes = [
        SUPPRESSION,
        node("Gather", ["kept", "two"], ["box"], axis=1),
        node("Squeeze", ["boxes", "zero"], ["table"]),
        node("Gather", ["table", "box"], ["regions"], axis=0),
        node("Shape", ["box"], ["count"]),
        node("ConstantOfShape", ["count"], ["images"], value=onnx.numpy_helper.from_array(np.array([0]))),
        node("RoiAlign", ["map", "regions", "images"], ["pooled"], output_height=3, output_width=3, spatial_scale=0.25),
        node("Conv", ["pooled", "filters"], ["maps"], pads=[1, 1, 1, 1]),
        node("Relu", ["maps"], ["positive"]),
        node("Flatten", ["positive"], ["flat"]),
        node("MatMul", ["flat", "w"], ["classes"]),
        node("Softmax", ["classes"], ["y"], axis=1),
        node("GlobalAveragePool", ["positive"], ["means"]),
    ]
    shapes = {"map": (1, 4, 8, 8), "filters": (5, 4, 3, 3), "w": (45, 6)}
    weights = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    session = check(nodes, detections(rng)[:3], ["y", "means"], two=2, zero=[0], **SCORES, **weights)
    assert str(session.outputs[0]) == "y: f32[≤12,6]"


def test_two_searches_of_one_mask_find_the_same(rng: np.random.Generator) -> None:
    nodes = [node("Greater", ["x", "zero"], ["mask"])]
    for name in "ab":
        nodes += [node("NonZero", ["mask"], [f"places_{name}"])]
        nodes += [node("Transpose", [f"places_{name}"], [f"rows_{name}"], perm=[1, 0])]
        nodes += [node("GatherND", ["x", f"rows_{name}"], [name])]
    nodes += [
        node("Add", ["a", "b"], ["y"]),
        node("Mod", ["rows_b", "two"], ["odd"]),
        node("Split", ["odd"], ["which", "other"], axis=1, num_outputs=2),
        node("GatherND", ["rows_a", "which"], ["picked"], batch_dims=1),
    ]
    check(nodes, sparse(rng, 6, 5), ["y", "picked"], zero=np.float32(0), two=2)


def test_extents_that_differ_at_run_are_an_error(rng: np.random.Generator) -> None:
    nodes = [node("NonZero", [name], [f"places_{name}"]) for name in "ab"]
    nodes += [node("Sub", ["places_a", "places_b"], ["y"], name="differ")]
    same = [{"a": np.array([1, 0, 2, 0], np.float32), "b": np.array([0, 3, 0, 5, 0], np.float32)}]
    session = check(nodes, same, ["y"])
    with pytest.raises(InputError, match="'differ'") as raised:
        session.run({"a": np.array([1, 0, 2, 3], np.float32), "b": same[0]["b"]})
    assert "extent" in str(raised.value)


def test_what_is_compressed_and_unique(rng: np.random.Generator) -> None:
    nodes = [
        node("Compress", ["x", "condition"], ["columns"], axis=1),
        node("Compress", ["x", "condition"], ["elements"]),
        node("ReduceMax", ["x", "line"], ["most"], keepdims=0),
        node("Greater", ["most", "half"], ["mask"]),
        node("Compress", ["x", "mask"], ["rows"], axis=0),
        node("Unique", ["x"], ["values", "first", "which", "often"]),
        node("Unique", ["x"], ["in_order", "", "", "often_in_order"], sorted=0),
    ]
    outputs = ["columns", "elements", "rows", "values", "first", "which", "often", "in_order", "often_in_order"]
    constants = {"condition": [True, False, True], "line": [1], "half": np.float32(0.5)}
    check(nodes, sparse(rng, 6, 5), outputs, **constants)


def test_what_is_unique_is_at_least_one(rng: np.random.Generator) -> None:
    """As sums over groups are exported, which takes the first of the groups for the shape of all others."""
    nodes = [
        node("Unique", ["x"], ["groups", "", "which", ""]),
        node("Slice", ["groups", "zeros", "ones"], ["first"]),
        node("Shape", ["first"], ["shape"]),
        node("Expand", ["w", "shape"], ["rows"]),
        node("Shape", ["groups"], ["count"]),
        node("ConstantOfShape", ["count"], ["nothing"]),
        node("ScatterElements", ["nothing", "which", "rows"], ["sums"], axis=0, reduction="add"),
    ]
    cases = [{"x": np.array(x, np.float32)} for x in ([1, 0, 1, 0, 1], [4, 2, 0, 3, 1], [2, 2, 2, 2, 2])]
    constants = {"zeros": [0], "ones": [1], "w": rng.random(5, np.float32)}
    session = check(nodes, cases, ["sums", "first", "rows"], **constants)
    assert [str(output) for output in session.outputs] == ["sums: f32[≤5]", "first: f32[1]", "rows: f32[5]"]


def test_of_nothing_nothing_is_unique() -> None:
    for axis, count in ((None, 0), (0, 0), (1, 1)):
        positions, _, often, found = Unique(axis, True).reference(np.zeros((0, 2), np.float32))
        assert (positions[:found].size, often[:found].size, int(found)) == (count, count, count)


def test_known_sizes_say_how_many_there_are(rng: np.random.Generator) -> None:
    """As experts that were chosen when a model was traced: each gets its rows, and no others are chosen."""
    nodes = [
        node("NonZero", ["x"], ["found"]),
        node("Transpose", ["found"], ["rows"], perm=[1, 0]),
        node("Split", ["rows", "sizes"], ["first", "others"], axis=0),
        node("Squeeze", ["first", "zeros"], ["place"]),
        node("Gather", ["w", "place"], ["y"]),
    ]
    cases = [{"x": np.array(x, np.float32)} for x in ([1, 0, 1, 0, 1], [0, 2, 0, 3, 4])]
    session = check(nodes, cases, ["y", "others"], sizes=[1, 2], zeros=[0], w=rng.random((5, 3), np.float32))
    for x in ([1, 0, 1, 0, 0], [1, 1, 1, 1, 0]):
        with pytest.raises(InputError, match="has another value than the node, or --bound, allows"):
            session.run({"x": np.array(x, np.float32)})


def test_ranges_that_begin_anywhere_end_at_an_extent(rng: np.random.Generator) -> None:
    nodes = [
        node("NonZero", ["x"], ["found"]),
        node("Size", ["found"], ["size"]),
        node("Range", ["start", "size", "step"], ["numbers"]),
    ]
    check(nodes, sparse(rng, 3, 5), ["numbers"], start=np.int64(1), step=np.int64(2))


def test_a_fixed_shape_is_that_of_the_data_or_an_error(rng: np.random.Generator) -> None:
    """A shape that has the room's extent, and elements that are left over."""
    x = rng.standard_normal((2, 4)).astype(np.float32)
    masks = [np.array(mask, np.float32) for mask in ([1, 1, 1, 1], [0, 1, 1, 1], [1, 0, 0, 0])]
    whole, three, one = ({"x": x, "mask": mask} for mask in masks)
    kept = [node("Cast", ["mask"], ["keep"], to=9), node("Compress", ["x", "keep"], ["kept"], axis=1)]
    expanded = check([*kept, node("Expand", ["kept", "four"], ["y"])], [whole], ["y"], four=[4])
    with pytest.raises(InputError, match="extent"):
        expanded.run(three)
    reshaped = check([*kept, node("Reshape", ["kept", "rows"], ["y"])], [whole], ["y"], rows=[4, -1])
    with pytest.raises(InputError, match="extent"):
        reshaped.run(three)
    with pytest.raises(InputError, match="extent"):
        reshaped.run(one)


def test_only_what_is_known_to_be_one_is_squeezed(rng: np.random.Generator) -> None:
    nodes = [
        node("NonZero", ["x"], ["found"]),
        node("Squeeze", ["found", "last"], ["y"]),
    ]
    with pytest.raises(UnsupportedError, match="squeeze"):
        tilewright.compile(model_of(nodes, {"x": np.ones(3, np.float32)}, ["y"], {"last": [1]}))


@pytest.mark.parametrize(("start", "step"), [(0, 1), (1, 3)])
def test_a_range_without_bound_is_refused(start: int, step: int) -> None:
    inputs = {"limit": np.array(3)}
    numbers = {"start": start, "step": step}
    model = model_of([node("Range", ["start", "limit", "step"], ["y"], name="range")], inputs, ["y"], numbers)
    with pytest.raises(UnsupportedError, match="'range'") as raised:
        tilewright.compile(model)
    assert raised.value.hint is not None and "--freeze" in raised.value.hint
    session = tilewright.load(tilewright.compile(model, freeze={"limit": 3}))
    np.testing.assert_array_equal(session.run({})["y"], np.arange(start, 3, step))


BOUNDED: dict[str, tuple[list[onnx.NodeProto], int]] = {
    "min": ([node("Min", ["n", "ten"], ["stop"])], 10),
    "max of min": ([node("Min", ["n", "ten"], ["a"]), node("Max", ["a", "three"], ["stop"])], 10),
    "clip": ([node("Clip", ["n", "three", "ten"], ["stop"])], 10),
    "mod": ([node("Mod", ["n", "ten"], ["stop"])], 9),
    "fmod": ([node("Mod", ["n", "ten"], ["a"], fmod=1), node("Abs", ["a"], ["stop"])], 9),
    "where": (
        [
            node("Greater", ["n", "three"], ["c"]),
            node("Min", ["n", "ten"], ["a"]),
            node("Where", ["c", "a", "three"], ["stop"]),
        ],
        10,
    ),
    "arithmetic": (
        [
            node("Min", ["n", "ten"], ["a"]),
            node("Max", ["a", "zero"], ["b"]),
            node("Mul", ["b", "three"], ["c"]),
            node("Sub", ["c", "b"], ["d"]),
            node("Div", ["d", "three"], ["stop"]),
        ],
        10,
    ),
    "through floats": (
        [
            node("Min", ["n", "ten"], ["a"]),
            node("Max", ["a", "zero"], ["b"]),
            node("Cast", ["b"], ["c"], to=onnx.TensorProto.FLOAT),
            node("Mul", ["c", "half"], ["d"]),
            node("Ceil", ["d"], ["e"]),
            node("Cast", ["e"], ["stop"], to=onnx.TensorProto.INT64),
        ],
        5,
    ),
    "a truth value": ([node("Greater", ["n", "three"], ["c"]), node("Cast", ["c"], ["stop"], to=7)], 2),
    "a byte": ([node("Cast", ["n"], ["a"], to=onnx.TensorProto.UINT8), node("Cast", ["a"], ["stop"], to=7)], 255),
    "the place of the largest": (
        [
            node("Mul", ["x", "sign"], ["s"]),
            node("ArgMax", ["s"], ["a"], axis=0, keepdims=0),
            node("Cast", ["n"], ["sign"], to=onnx.TensorProto.FLOAT),
            node("Squeeze", ["a"], ["stop"]),
        ],
        6,
    ),
}


@pytest.mark.parametrize("what", BOUNDED)
def test_what_operators_leave_of_a_number_bounds_a_range(what: str) -> None:
    nodes, most = BOUNDED[what]
    nodes = [*nodes, node("Range", ["zero", "stop", "one"], ["y"])]
    numbers = {"zero": 0, "one": 1, "three": 3, "ten": 10, "half": np.float32(0.5)}
    x = np.array([3, 1, 4, 1, 5, -9, 2], np.float32) if "x" in nodes[0].input else None
    cases = [{"n": np.array(n)} | ({"x": x} if x is not None else {}) for n in (4, 0, 7, 200, 10**12, -5)]
    session = check(nodes, cases, ["y"], **numbers)
    assert session.outputs[0].shape == (most,)


@pytest.mark.parametrize(
    "nodes",
    [
        [node("Max", ["n", "ten"], ["stop"])],
        [node("Mod", ["ten", "n"], ["stop"])],
        [node("Min", ["n", "ten"], ["a"]), node("Abs", ["a"], ["stop"])],
        [node("Min", ["n", "ten"], ["a"]), node("Mul", ["a", "a"], ["stop"])],
        [node("Clip", ["n", "", "ten"], ["a"]), node("Cast", ["a"], ["b"], to=6), node("Cast", ["b"], ["stop"], to=7)],
        [
            node("Cast", ["n"], ["a"], to=onnx.TensorProto.FLOAT),
            node("Min", ["a", "half"], ["b"]),
            node("Cast", ["b"], ["stop"], to=onnx.TensorProto.INT64),
        ],
    ],
)
def test_what_bounds_no_range(nodes: list[onnx.NodeProto]) -> None:
    numbers = {"zero": 0, "one": 1, "ten": 10, "half": np.float32(0.5)}
    ranged = [*nodes, node("Range", ["zero", "stop", "one"], ["y"])]
    with pytest.raises(UnsupportedError, match="nothing says how large it can be"):
        tilewright.compile(model_of(ranged, {"n": np.array(3)}, ["y"], numbers))


def repeated() -> onnx.ModelProto:
    inputs = {"often": np.zeros(4, np.int64), "x": np.zeros((4, 3), np.float32)}
    return model_of(REPEATED, inputs, ["y"], {"zero": 0, "one": 1, "last": [1]})


@pytest.mark.parametrize("bounds", [{"n": 20}, {"often": 9}, {"n": 20, "often": 9}])
def test_what_users_say_bounds_extents(bounds: Mapping[str, int]) -> None:
    model = repeated()
    oracle = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    x = np.random.default_rng(0).random((4, 3), np.float32)
    with tilewright.load(tilewright.compile(model, bounds=bounds)) as session:
        for often in ([1, 2, 3, 4], [0, 0, 1, 0], [0, 0, 0, 0], [9, 1, 1, 9]):
            given = {"often": np.array(often), "x": x}
            np.testing.assert_array_equal(session.run(given)["y"], oracle.run(None, given)[0])
        for often in ([10, 9, 9, 9], [3, -1, 0, 0] if "often" in bounds else [-1, 0, 0, 0]):
            with pytest.raises(InputError, match=r"expected 0 to \d+, found .* or --bound, allows"):
                session.run({"often": np.array(often), "x": x})


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        (
            {},
            r"how large it can be; found \[\?\]\. Say how large it can be, such as --bound n=1000 \(bounds={'n': 1000}",
        ),
        ({"n": 20, "oftener": 5}, "bound was given for 'oftener', a tensor that the model does not have. Did you mean"),
        ({"n": -1}, r"wrong --bound; expected a whole number from 0 to 2305843009213693951, found n=-1"),
        ({"n": 1 << 61}, r"wrong --bound; .* found n=2305843009213693952"),
        ({"n": 2.5}, r"wrong --bound; .* found n=2.5"),
        ({"x": 20}, r"--bound is for numbers that decide extents; expected integers, found 'x' of type f32\[4,3\]"),
    ],
)
def test_bounds_that_are_missing_or_of_something_else(bounds: Mapping[str, int], message: str) -> None:
    with pytest.raises((UnsupportedError, UsageError), match=message):
        tilewright.compile(repeated(), bounds=bounds)


def test_all_bounds_that_are_missing_are_asked_for_at_once() -> None:
    """As many tries as bounds were needed to learn all of them."""
    numbers = [f"n{at}" for at in range(3)]
    nodes = [node("Range", ["zero", name, "one"], [f"r{name}"]) for name in numbers]
    nodes += [node("ReduceSum", [f"r{name}"], [f"y{name}"], keepdims=0) for name in numbers]
    inputs = {name: np.array(3) for name in numbers}
    model = model_of(nodes, inputs, [f"y{name}" for name in numbers], {"zero": 0, "one": 1})
    for given, hint in (
        (
            {},
            r"Say how large each .* --bound n0=1000 --bound n1=1000 --bound n2=1000 \(bounds={'n0': 1000, 'n1': 1000, ",
        ),
        ({"n0": 5}, r"Say how large each can be, such as --bound n1=1000 --bound n2=1000 \(bounds="),
        (
            {"n0": 5, "n2": 4},
            r"Say how large it can be, such as --bound n1=1000 \(bounds={'n1': 1000} in Python\)\. Give",
        ),
    ):
        with pytest.raises(UnsupportedError, match=hint):
            tilewright.compile(model, bounds=given)
    bounds = {"n0": 5, "n1": 5, "n2": 5}
    with tilewright.load(tilewright.compile(model, bounds=bounds)) as session:
        assert [int(each) for each in session.run(inputs).values()] == [3, 3, 3]


def test_what_is_imported_with_a_bound_is_shown(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The error that asks for a bound is one of `inspect`, too."""
    onnx.save(repeated(), tmp_path / "speech.onnx")
    assert main(["inspect", str(tmp_path / "speech.onnx"), "--bound", "n=20"]) == 0
    assert "f32[3,20]" in capsys.readouterr().out


def test_images_are_sampled_at_places_that_the_data_choose() -> None:
    """As many of them as there are, of which there may be none."""
    rng = np.random.default_rng(4)
    nodes = [
        node("NonZero", ["keep"], ["found"]),
        node("Squeeze", ["found", "first"], ["rows"]),
        node("Gather", ["x", "rows"], ["images"]),
        node("Gather", ["grid", "rows"], ["places"]),
        node("GridSample", ["images", "places"], ["y"]),
    ]
    x, grid = rng.random((5, 2, 4, 3), np.float32), rng.uniform(-1.2, 1.2, (5, 3, 6, 2)).astype(np.float32)
    inputs = {"keep": np.zeros(5, np.float32), "x": x, "grid": grid}
    model = model_of(nodes, inputs, ["y"], {"first": [0]})
    oracle = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    with tilewright.load(tilewright.compile(model)) as session:
        for keep in ([1, 0, 1, 1, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]):
            given = {**inputs, "keep": np.array(keep, np.float32)}
            np.testing.assert_allclose(session.run(given)["y"], np.asarray(oracle.run(None, given)[0]), atol=1e-6)


def test_what_to_bound_within_a_branch_is_named() -> None:
    """Which branch is taken is not all that can be said there."""
    result = [onnx.helper.make_tensor_value_info("sum", onnx.TensorProto.INT64, [])]
    ranged = [node("Range", ["zero", "n", "one"], ["places"]), node("ReduceSum", ["places"], ["sum"], keepdims=0)]
    then = onnx.helper.make_graph(ranged, "then", [], result)
    other = onnx.helper.make_graph([node("Identity", ["n"], ["sum"])], "other", [], result)
    nodes = [node("If", ["is_long"], ["y"], then_branch=then, else_branch=other)]
    inputs = {"is_long": np.array(True), "n": np.array(4)}
    model = model_of(nodes, inputs, ["y"], {"zero": 0, "one": 1})
    with pytest.raises(UnsupportedError, match=r"--freeze is_long=VALUE .*\. Say how .* --bound n=1000"):
        tilewright.compile(model)
    with tilewright.load(tilewright.compile(model, bounds={"n": 9})) as session:
        assert session.run(inputs)["y"] == 6


def test_the_number_that_decides_is_named_behind_what_moves_it() -> None:
    """As exporters expand: sizes are picked, joined and compared before they are a shape."""
    nodes = [
        node("Split", ["sizes"], ["a", "b"], axis=0, num_outputs=2),
        node("Concat", ["a", "three"], ["wanted"], axis=0),
        node("Equal", ["wanted", "minus"], ["same"]),
        node("Where", ["same", "ones", "wanted"], ["shape"]),
        node("Expand", ["x", "shape"], ["wide"]),
        # Which has to know how many there are along the last dimension.
        node("LayerNormalization", ["wide", "three_ones"], ["y"]),
    ]
    inputs = {"sizes": np.array([4, 5]), "x": np.ones((1, 3), np.float32)}
    constants = {"three": [3], "minus": [-1, -1], "ones": [1, 1], "three_ones": np.ones(3, np.float32)}
    model = model_of(nodes, inputs, ["y"], constants)
    # Not a part of it, of which there are others.
    with pytest.raises(UnsupportedError, match="--bound sizes=1000 "):
        tilewright.compile(model)
    for bounds in ({"sizes": 6}, {"a": 6}):
        with tilewright.load(tilewright.compile(model, bounds=bounds)) as session:
            assert session.run(inputs)["y"].shape == (4, 3)


def test_two_lengths_of_which_one_is_made_as_the_other_are_the_same() -> None:
    """A model that adds up durations one by one, and all at once for the shape: a run in which they differ ends."""
    nodes = [
        *REPEATED,
        node("Concat", ["one_row", "other", "three"], ["shape"], axis=0),
        node("Reshape", ["repeated", "shape"], ["z"]),
    ]
    constants = {"zero": 0, "one": 1, "last": [1], "one_row": [1], "three": [3]}
    x = np.random.default_rng(0).random((4, 3), np.float32)
    inputs = {"often": np.array([1, 2, 3, 4]), "x": x, "other": np.array([10])}
    model = model_of(nodes, inputs, ["z"], constants)
    with tilewright.load(tilewright.compile(model, bounds={"n": 20, "other": 30})) as session:
        np.testing.assert_array_equal(session.run(inputs)["z"], np.repeat(x, [1, 2, 3, 4], axis=0)[np.newaxis])
        for other in (9, 11):
            with pytest.raises(InputError, match="An extent that follows from the data"):
                session.run({**inputs, "other": np.array([other])})


@pytest.mark.parametrize("op_type", ["RandomNormalLike", "RandomUniformLike"])
def test_random_numbers_of_open_shapes(op_type: str) -> None:
    model = model_of(
        [
            *REPEATED,
            node(op_type, ["y"], ["noise"]),
            node("Mul", ["noise", "nothing"], ["no"]),
            node("Add", ["y", "no"], ["z"]),
        ],
        {"often": np.zeros(4, np.int64), "x": np.zeros((4, 3), np.float32)},
        ["noise", "z", "y"],
        {"zero": 0, "one": 1, "last": [1], "nothing": np.float32(0)},
    )
    x = np.random.default_rng(0).random((4, 3), np.float32)
    with tilewright.load(tilewright.compile(model, bounds={"n": 20})) as session:
        found = session.run({"often": np.array([1, 2, 3, 1]), "x": x})
    assert found["noise"].shape == (3, 7)
    assert len(np.unique(found["noise"])) == 21
    np.testing.assert_array_equal(found["z"], found["y"])


def test_what_is_split_into_a_single_element_has_no_more() -> None:
    """As where a trace gave one token to one expert: further ones were lost."""
    nodes = [*REPEATED, node("Split", ["y", "sizes"], ["a", "b"], axis=-1)]
    constants = {"zero": 0, "one": 1, "last": [1], "sizes": [0, 1]}
    model = model_of(nodes, {"often": np.zeros(4, np.int64), "x": np.zeros((4, 3), np.float32)}, ["a", "b"], constants)
    x = np.random.default_rng(4).random((4, 3), np.float32)
    with tilewright.load(tilewright.compile(model, bounds={"n": 20})) as session:
        found = session.run({"often": np.array([0, 0, 1, 0]), "x": x})
        np.testing.assert_array_equal(found["b"], x[2:3].T)
        with pytest.raises(InputError, match="expected 0 to 1, found 3"):
            session.run({"often": np.array([1, 0, 2, 0]), "x": x})


def test_extents_beyond_every_memory_are_refused() -> None:
    """A range of 20 GB of numbers, and a product that no integer holds."""
    found = [node("NonZero", ["x"], ["found"]), node("Shape", ["found"], ["shape"])]
    counted = [*found, node("Size", ["found"], ["size"]), node("Mul", ["size", "many"], ["stop"])]
    ranged = [*counted, node("Range", ["zero", "stop", "one"], ["y"])]
    squares = [node("Mul", [f"s{i}", f"s{i}"], [f"s{i + 1}"]) for i in range(3)]
    powers = [*found, node("Mul", ["shape", "many"], ["s0"]), *squares, node("ConstantOfShape", ["s3"], ["y"])]
    inputs = {"x": np.ones(3, np.float32)}
    with pytest.raises(ResourceError, match="too large"):
        tilewright.compile(model_of(ranged, inputs, ["y"], {"many": 5 * 10**8, "zero": 0, "one": 1}))
    with pytest.raises(UnsupportedError, match="nothing says how large"):
        tilewright.compile(model_of(powers, inputs, ["y"], {"many": 10**9}))


@pytest.mark.parametrize(
    ("then", "otherwise"),
    [
        (["Identity", "places"], ["Neg", "places"]),
        # As torchvision keeps no box of none.
        (["Identity", "none"], ["Neg", "places"]),
        (["Identity", "places"], ["Identity", "some"]),
        (["Identity", "none"], ["Identity", "some"]),
    ],
)
def test_branches_return_what_the_data_decide(then: list[str], otherwise: list[str]) -> None:
    info = onnx.helper.make_tensor_value_info("out", onnx.TensorProto.INT64, None)
    bodies = [
        onnx.helper.make_graph([node(operator, [read], ["out"])], operator, [], [info])
        for operator, read in (then, otherwise)
    ]
    nodes = [
        node("NonZero", ["x"], ["places"]),
        node("If", ["condition"], ["kept"], then_branch=bodies[0], else_branch=bodies[1]),
        node("Gather", ["x", "kept"], ["y"]),
        node("ReduceSum", ["y"], ["sum"], keepdims=0),
    ]
    cases = [
        {"x": np.array(x, np.float32), "condition": np.array(condition)}
        for x in ([0, 3, 5], [0, 0, 0], [7, 2, 4])
        for condition in (True, False)
    ]
    constants = {"none": np.zeros((1, 0), np.int64), "some": np.array([[2, 1, 2, 2]])}
    check(nodes, cases, ["kept", "y", "sum"], **constants)


def test_exports_are_cut_as_well(rng: np.random.Generator) -> None:
    """What is written as ONNX returns what is there, and means the same when it is read again."""
    (inputs, *_) = sparse(rng, 4, 5)
    model = export_onnx(import_onnx(model_of(PICKED, inputs, ["picked", "rows"], {})))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    again = tilewright.load(tilewright.compile(model)).run(inputs)
    for name, array in zip(["picked", "rows"], session.run(None, dict(inputs)), strict=True):
        np.testing.assert_array_equal(again[name], np.asarray(array))
    assert len(again["picked"]) == np.count_nonzero(inputs["x"])


def test_a_quantised_detector_selects_the_same_on_the_device_and_in_software(rng: np.random.Generator) -> None:
    nodes = [
        node("Conv", ["image", "first"], ["maps"], pads=[1, 1, 1, 1]),
        node("Relu", ["maps"], ["positive"]),
        node("Conv", ["positive", "second"], ["predictions"], pads=[1, 1, 1, 1]),
        node("Reshape", ["predictions", "flat"], ["lines"]),
        node("Split", ["lines", "sizes"], ["corners", "scores"], axis=1),
        node("Transpose", ["corners"], ["boxes"], perm=[0, 2, 1]),
        SUPPRESSION,
    ]
    weights = {name: rng.normal(0, 0.3, (7, c, 3, 3)).astype(np.float32) for name, c in (("first", 3), ("second", 7))}
    images = rng.standard_normal((4, 3, 8, 8)).astype(np.float32)
    constants = {**SCORES, **weights, "flat": [1, 7, -1], "sizes": [4, 3]}
    model = model_of(nodes, {"image": images[:1]}, ["kept", "boxes"], constants)
    artifact = tilewright.compile(model, precision="int8", calibration={"image": images}, effort="quick")
    device, software = (tilewright.load(artifact, engine=engine).run({"image": images[1:2]}) for engine in ENGINES[:2])
    assert len(device["kept"]) > 0
    for name in ("kept", "boxes"):
        np.testing.assert_array_equal(device[name], software[name])


def test_filler_does_not_stand_before_an_infinity() -> None:
    """Scores are masked with infinities: these must come before what is not there, and nothing is lower than them."""
    x = np.array([-np.inf, 0, 2, 0, -np.inf, 1], np.float32)
    reductions, last = ("ReduceMax", "ReduceMin", "ArgMax", "ArgMin"), ("ArgMax", "ArgMin")
    nodes = [
        node("NonZero", ["x"], ["at"]),
        node("Squeeze", ["at", "first"], ["positions"]),
        node("Gather", ["x", "positions"], ["kept"]),
        node("Shape", ["kept"], ["count"]),
        node("TopK", ["kept", "count"], ["sorted", "order"]),
        *(node(name, ["kept"], [name], keepdims=0) for name in reductions),
        *(node(name, ["kept"], [f"last {name}"], select_last_index=1) for name in last),
    ]
    cases = [{"x": x}, {"x": np.where(x > 0, 0, x)}, {"x": -np.where(x > 0, 0, x)}, {"x": -x}]
    check(nodes, cases, ["sorted", "order", *reductions, *(f"last {name}" for name in last)], first=[0])
