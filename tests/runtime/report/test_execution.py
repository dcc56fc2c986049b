"""What `tilewright run` reads of tables and prints of outputs."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tilewright.errors import InputError, UsageError
from tilewright.runtime.artifact.manifest import TensorSpec
from tilewright.runtime.report.classes import best_classes, classes_text, with_no
from tilewright.runtime.report.execution import Images, gather_inputs, random_inputs, results_text
from tilewright.runtime.report.picture import check_picture, write_picture

LAST = "  largest: [2] inf, [1] 1, [0] nan\n"
"""Of infinity, 1 and no number."""

BEST = "the best class of each pixel, a colour for each, of output 'y'"


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (np.array([False, True, True]), "bool[3]\n  min 0, max 1, mean 0.666667\n  largest: [1] 1, [2] 1, [0] 0\n"),
        (np.array([3, 0, 255], np.uint8), "uint8[3]\n  min 0, max 255, mean 86\n  largest: [2] 255, [0] 3, [1] 0\n"),
        (np.array([-128, 3], np.int8), "int8[2]\n  min -128, max 3, mean -62.5\n  largest: [1] 3, [0] -128\n"),
        (
            np.array([3e38, 3e38], np.float32),
            "float32[2]\n  min 3e+38, max 3e+38, mean 3e+38\n  largest: [0] 3e+38, [1] 3e+38\n",
        ),
        (np.full((1, 2, 2), 1.7e308), "float64[1,2,2]\n  min 1.7e+308, max 1.7e+308, mean 1.7e+308\n"),
        (np.array(2.5, np.float16), "float16[]\n  min 2.5, max 2.5, mean 2.5\n  largest: [0] 2.5\n"),
        (np.zeros((3, 0)), "float64[3,0]\n"),
        (
            np.array([np.nan, 1, np.inf]),
            "float64[3]\n  min nan, max nan, mean nan\n  largest: [2] inf, [1] 1, [0] nan\n",
        ),
    ],
    ids=lambda value: str(value.dtype) if isinstance(value, np.ndarray) else "",
)
def test_the_largest_elements_of_every_type(array: np.ndarray, text: str) -> None:
    assert results_text({"y": array}) == f"y: {text}"


def test_a_name_feigns_no_other_line() -> None:
    assert results_text({"y\x1b[2J\nz": np.zeros(0, np.int8)}) == "y\\x1b[2J\\nz: int8[0]\n"


def test_points_beside_probabilities_are_no_classes() -> None:
    found = {"points": np.array([[3.0, 9.0, 1.0]]), "scores": np.array([[0.75, 0.25]], np.float32)}
    assert [*best_classes(found, 1, shares=["scores"])] == ["scores"]
    assert [*best_classes(found, 1, ["a", "b", "c"], shares=["scores"])] == ["points"]
    # Numbers that happen to add up to 1 are no probabilities for that.
    assert [*best_classes(found, 1)] == ["points", "scores"]


def test_rows_have_classes_each_and_maps_those_of_most_pixels() -> None:
    tokens = np.zeros((1, 3, 4), np.float32)
    tokens[0, range(3), (2, 0, 3)] = 1, 2, 3
    boxes = np.full((1, 100, 2), 9.0)
    found = best_classes({"boxes": boxes, "tokens": tokens}, 2)
    assert [[each.number for each in row] for row in found["tokens"]] == [[2, 0], [0, 1], [3, 0]]
    assert [*found] == ["tokens"]
    named = best_classes({"boxes": boxes, "tokens": tokens}, 1, ["left", "right"])
    lines = classes_text(named, {"boxes": boxes}).splitlines()
    assert (lines[0], len(lines)) == ("boxes, row 0:  9  [0] left", 100)
    # Of many boxes the surest, of many items all.
    many = np.zeros((1, 150, 2))
    many[0, 130, 1] = 1
    lines = classes_text(best_classes({"y": many}, 1), {"y": many}).splitlines()
    assert (lines[0], lines[100:]) == ("y, row 130:  1  [1]", ["y: 50 less sure rows, which --json prints"])
    assert len(classes_text(best_classes({"y": many[0]}, 1), {"y": many[0]}).splitlines()) == 300
    # A map of scores, channels first or last as the image says, and one of integers, as an ArgMax makes it.
    scores = np.zeros((2, 3, 4, 8))
    scores[:, 1, :, 6:] = scores[1, 2, :2] = 2
    for scored in (scores, scores.transpose(0, 2, 3, 1), scores.argmax(1), scores.argmax(1, keepdims=True)):
        found = best_classes({"map": scored}, 2, image=(64, 128))
        assert [[each[::2] for each in row] for row in found["map"]] == [
            [(0, 0.75), (1, 0.25)],
            [(0, 0.375), (2, 0.375)],
        ]
    assert classes_text(found, {"map": scores}).startswith(
        "map, item 0, share of the pixels:\n        0.75  [0]\n        0.25  [1]\nmap, item 1, share"
    )
    with pytest.raises(UsageError, match=r"of such classes; expected \[N, 9 or 10\], found map\[2,3,4,8\]"):
        best_classes({"map": scores}, 2, ["name"] * 9)


def test_truths_of_pixels_are_classes_of_a_map() -> None:
    pixels = np.array([0.25, 0.75, 0.125, 0.5], np.float32)
    for shape in ((1, 1, 2, 2), (1, 2, 2, 1), (1, 2, 2)):
        found = best_classes({"y": pixels.reshape(shape)}, 2, ["no", "yes"], ["y"], image=(2, 2))
        assert [each[1:] for each in found["y"][0]] == [("no", 0.75), ("yes", 0.25)]


def test_several_truths_without_a_batch_are_no_items() -> None:
    assert with_no(np.array([0.25])).tolist() == with_no(np.array([[0.25]])).tolist() == [[0.75, 0.25]]
    assert with_no(np.array([0.2, 0.9, 0.4])).shape == (3,)
    assert with_no(np.array(0.5)).shape == ()
    # Classes of boxes, beside an image of other extents.
    assert with_no(np.ones((1, 5, 3)), (5, 5)).shape == (1, 5, 3)


def test_random_lengths_leave_something_to_compute() -> None:
    expected = [TensorSpec("n", "i64", (64, 1)), TensorSpec("ids", "i32", (1, 64))]
    found = random_inputs(expected, np.random.default_rng(0))
    assert (set(found["n"].ravel()), set(found["ids"].ravel())) == ({1}, {0, 1})


def test_an_image_gets_the_shape_that_is_most_like_it(tmp_path: Path) -> None:
    shapes = [{"x": (batch, 1, 4, width)} for batch in (1, 2) for width in (4, 8, 12)]
    images = Images(shapes, {}, "colour=gray,resize=stretch")
    for name, size in (("wide", (25, 12)), ("square", (4, 4))):
        Image.new("L", size).save(tmp_path / f"{name}.png")
    spec = TensorSpec("x", "f32", (1, 1, 4, 4))
    for names, shape in ((["wide"], (1, 1, 4, 8)), (["square", "wide"], (2, 1, 4, 4))):
        paths = [str(tmp_path / f"{name}.png") for name in names]
        assert gather_inputs([spec], paths, None, lambda found: None, images)["x"].shape == shape
    # Shapes that take no image are not compared with it.
    others = replace(images, shapes=[{"x": each} for each in ((1, 5, 4, 8), (1, 1, 0, 8), (1, 1, 4, 4), (1, 1, 4, 5))])
    assert gather_inputs([spec], paths[1:], None, lambda found: None, others)["x"].shape == (1, 1, 4, 5)


def test_integers_of_a_file_may_be_narrower(tmp_path: Path) -> None:
    """As samples for calibration may; wider ones may hold what the network does not take."""
    np.save(tmp_path / "ids.npy", np.array([[1, -2]], np.int32))
    found = gather_inputs([TensorSpec("ids", "i64", (1, 2))], [str(tmp_path / "ids.npy")], None)["ids"]
    assert (found.dtype, found.tolist()) == (np.int64, [[1, -2]])
    with pytest.raises(InputError, match=r"has the wrong dtype; expected int16, found int32"):
        gather_inputs([TensorSpec("ids", "i16", (1, 2))], [str(tmp_path / "ids.npy")], None)


def test_a_table_is_one_batch(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("a,b\n1,2\n3,4\n")
    found = gather_inputs([TensorSpec("x", "f32", (2, 2))], [str(file)], None)
    assert found["x"].dtype == np.float32
    assert found["x"].tolist() == [[1, 2], [3, 4]]
    nothing = [TensorSpec("x", "f32", (2, 0)), TensorSpec("b", "f32", (2, 1))]
    assert gather_inputs(nothing, [f"x={file}", f"b={file}"], None)["x"].shape == (2, 0)
    two = [TensorSpec("b", "i32", (2, 1)), TensorSpec("a", "f32", (2, 1))]
    assert gather_inputs(two, [str(file)], None)["b"].tolist() == [[2], [4]]
    with pytest.raises(InputError, match=r"is not one batch; expected 1 line, found 2\. `tilewright batch infer`"):
        gather_inputs([TensorSpec("x", "f32", (1, 2))], [str(file)], None)


@pytest.mark.parametrize(
    ("array", "pixels", "words"),
    [
        (np.linspace(0, 1, 12).reshape(1, 3, 2, 2), ("RGB", (70, 162, 255)), "output 'y', taken to be in units 0-1"),
        (np.full((1, 2, 2, 1), 260.0), ("L", 255), "output 'y', taken to be in units 0-255"),
        (np.array([[[10, 20], [30, 60.0]]]), ("L", 255), "output 'y', black at 10 and white at 60"),
        (np.arange(4).reshape(1, 2, 2), ("P", 3), BEST),
        (np.arange(4, dtype=np.uint8).reshape(1, 1, 2, 2), ("P", 3), BEST),
        (np.eye(5)[[[0, 1], [2, 4]]][None], ("P", 4), BEST),
        (np.eye(5, dtype=np.int8)[[[0, 1], [2, 4]]][None], ("P", 4), BEST),
        (np.full((1, 2, 2, 3), 7, np.uint8), ("RGB", (7, 7, 7)), "output 'y' as it is"),
        (np.array([[[-9, 90], [0, 2]]], np.int8), ("L", 28), "output 'y', black at -9 and white at 90"),
        (np.array([[[0, 90], [0, 300]]]), ("L", 255), "output 'y', black at 0 and white at 300"),
        (np.array([[[0, np.nan], [1, np.inf]]]), ("L", 255), "output 'y', taken to be in units 0-1"),
    ],
)
def test_outputs_become_pictures(array: np.ndarray, pixels: tuple[str, object], words: str) -> None:
    file = io.BytesIO()
    assert write_picture(file, {"boxes": np.zeros((1, 4)), "y": array}, [(1, 3, 2, 2)]) == f"shows {words}"
    picture = Image.open(file)
    assert (picture.mode, picture.getpixel((1, 1))) == pixels


@pytest.mark.parametrize(("channels", "low", "mode"), [(4, 0.0, "RGBA"), (3, 0.0, "P"), (4, -9.0, "P")])
def test_four_channels_are_colours_and_opacity_where_the_network_takes_them(
    channels: int, low: float, mode: str
) -> None:
    file, array = io.BytesIO(), np.linspace(low, 1, 16).reshape(1, 4, 2, 2)
    write_picture(file, {"y": array}, [(1, channels, 2, 2)])
    assert Image.open(file).mode == mode


def test_what_is_no_picture_is_none() -> None:
    for array in (np.zeros((2, 3, 4, 4)), np.zeros((1, 4)), np.zeros((1, 5, 1, 1))):
        with pytest.raises(InputError, match=r"no output is a picture; expected \[1, 1, H, W\], .* found y\["):
            write_picture(io.BytesIO(), {"y": array}, [])
        with pytest.raises(InputError, match=r"no output is a picture"):
            check_picture([TensorSpec("y", "f32", array.shape)], [])
    check_picture([TensorSpec("y", "f32", (1, 4)), TensorSpec("z", "f32", (1, 4, 2, 2))], [])
