"""Results that are maps: what their answers are, and folders of masks as labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import pytest
from PIL import Image

import tilewright
from tilewright.compiler.calibration.dataset import open_calibration_set
from tilewright.compiler.frontend.formats import import_model
from tilewright.compiler.quantization.ladder.goal import Goal
from tilewright.compiler.quantization.ladder.judging import UNLABELLED, doubts, first_shape, read_labels, score
from tilewright.compiler.quantization.ladder.result import Quantization
from tilewright.errors import CalibrationError, InputError, TilewrightError, UsageError
from tilewright.ir.types import DType, TensorType

F32 = onnx.TensorProto.FLOAT
Shape = list[int]


@pytest.mark.parametrize(
    ("image", "shape", "rows"),
    [
        (None, [5], (1, 5, 1)),
        (None, [2, 5], (2, 5, 1)),
        (None, [2, 5, 1, 1], (2, 5, 1)),
        (None, [2, 1, 1, 5], (2, 5, 1)),
        (None, [2, 5, 1], (2, 5, 1)),
        (None, [2, 7, 5], (14, 5, 1)),
        (None, [2, 3, 8, 8], (2, 3, 64)),
        (None, [2, 19, 8, 8], (2, 19, 64)),
        (None, [2, 3, 6, 8], (2, 3, 48)),
        (None, [2, 8, 8, 19], (128, 19, 1)),
        (None, [2, 6, 8, 3], (96, 3, 1)),
        (None, [2, 8, 8, 8], (2, 8, 64)),
        ([1, 3, 256, 384], [1, 150, 32, 48], (1, 150, 1536)),
        ([1, 256, 384, 3], [1, 32, 48, 150], (1536, 150, 1)),
        ([1, 256, 384, 3], [1, 150, 32, 48], (1, 150, 1536)),
        ([1, 3, 416, 832], [1, 255, 13, 26], (1, 255, 338)),
        ([1, 3, 832, 416], [1, 26, 13, 255], (338, 255, 1)),
        ([1, 3, 500, 375], [1, 40, 63, 47], (1, 40, 2961)),
        ([1, 3, 64, 64], [1, 1, 64, 64], (1, 1, 4096)),
        ([1, 64, 32, 3], [2, 64, 32, 1], (4096, 1, 1)),
        ([1, 3, 80, 80], [1, 3, 80, 80, 85], (1, 1632000, 1)),
        (None, [2, 3, 4, 4, 4], (2, 192, 1)),
    ],
)
def test_answers_are_the_largest_number_of_each_row(
    image: Shape | None, shape: Shape, rows: tuple[int, int, int]
) -> None:
    """Classes are the second dimension of four or the last: the others are those of a map, as the image is."""
    ends = [onnx.helper.make_tensor_value_info(name, F32, shape) for name in "xy"]
    images = [onnx.helper.make_tensor_value_info("image", F32, image)] if image is not None else []
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "rows", images + ends[:1], ends[1:])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    assert first_shape(import_model(model.SerializeToString())) == rows


def test_pixels_of_a_sigmoid_without_channels_are_answers(tmp_path: Path) -> None:
    shapes = ("image", [2, 1, 8, 12]), ("y", [2, 8, 12])
    ends = [onnx.helper.make_tensor_value_info(name, F32, shape) for name, shape in shapes]
    axes = onnx.numpy_helper.from_array(np.array([1]), "axes")
    nodes = onnx.helper.make_node("Sigmoid", ["image"], ["s"]), onnx.helper.make_node("Squeeze", ["s", "axes"], ["y"])
    graph = onnx.helper.make_graph(nodes, "mask", ends[:1], ends[1:], [axes])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    assert first_shape(import_model(model.SerializeToString())) == (2, 1, 96)


def segmentation(classes: int = 3) -> bytes:
    """Pixels are of the class of their colour; other classes than the three are never answered."""
    weights = onnx.numpy_helper.from_array(np.eye(classes, 3, dtype=np.float32)[..., None, None], "w")
    ends = [onnx.helper.make_tensor_value_info(*each) for each in (("x", F32, [1, 3, 16, 16]), ("y", F32, None))]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Conv", ["x", "w"], ["y"])], "masks", ends[:1], ends[1:], [weights]
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)]).SerializeToString()


@pytest.fixture
def masks(tmp_path: Path) -> Path:
    """A folder of masks with palettes, beside photographs in three colours."""
    rng, folder = np.random.default_rng(5), tmp_path / "masks"
    (tmp_path / "photos").mkdir()
    folder.mkdir()
    for index in range(12):
        classes = rng.integers(0, 3, (4, 6)).repeat(4, 0).repeat(4, 1).astype(np.uint8)
        Image.fromarray(np.eye(3, dtype=np.uint8)[classes] * 200).save(tmp_path / "photos" / f"{index:02}.png")
        classes[:4, :4] = 255 if index % 2 else classes[:4, :4]
        mask = Image.fromarray(classes)
        mask.putpalette(rng.integers(0, 256, 768).tolist())
        mask.save(folder / f"{index:02}.png")
    return folder


def quantize(
    masks: Path, model: bytes, calibration: str | np.ndarray | None = None, drop: float | None = 0.01
) -> Quantization:
    return tilewright.quantize(
        model,
        masks.parent / "net.twa",
        calibration=masks.parent / "photos" if calibration is None else calibration,
        labels=masks,
        max_drop=drop,
        preprocessing="interpolation=nearest,fraction=1,units=0-1",
    )


def test_masks_are_labels_of_segmentation(masks: Path) -> None:
    for mask in [*masks.iterdir()]:
        mask.with_suffix(".txt").write_text("a note beside a mask")
    found = quantize(masks, segmentation())
    assert found.top1 == 1.0
    assert found.rungs[found.chosen].score.top1 == found.iou == 1.0
    assert found.goal == "mean IoU at most 1 % lower"
    assert "Mean IoU is 100.00 %, in floating point 100.00 %." in found.to_text()


def test_mean_iou_is_of_the_classes_of_masks_and_answers() -> None:
    answers = np.array([1, 1, 2, 0, 3, 1], np.float32)
    labels = np.array([1, 2, 2, 0, UNLABELLED, UNLABELLED])
    found = score([answers], [answers], labels, (1, 0, 6), has_masks=True)
    assert (found.top1, found.iou, found.right) == (0.75, pytest.approx((1 + 1 / 2 + 1 / 2) / 3), found.iou)
    assert not Goal(0.05, None, 0.75, (), "mean IoU").met(found)
    assert score([answers], [answers], labels, (1, 0, 6)).right == 0.75
    # Integers that are no classes of a mask.
    answers[:2] = -1, 1e12
    assert score([answers], [answers], labels, (1, 0, 6), has_masks=True).iou == pytest.approx((1 + 1 / 2) / 5)


@pytest.mark.parametrize(("axis", "kept"), [(1, 0), (1, 1), (3, 1)])
def test_integers_are_classes(masks: Path, axis: int, kept: int) -> None:
    """What an ArgMax at the end gives is compared as it is, with floating point and with masks."""
    model = onnx.load_from_string(segmentation())
    last = "y"
    if axis == 3:
        model.graph.node.append(onnx.helper.make_node("Transpose", ["y"], ["rows"], perm=[0, 2, 3, 1]))
        last = "rows"
    model.graph.node.append(onnx.helper.make_node("ArgMax", [last], ["classes"], axis=axis, keepdims=kept))
    model.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("classes", onnx.TensorProto.INT64, None))
    rows, numbers, pixels = first_shape(import_model(model.SerializeToString()))
    assert (rows * pixels, numbers) == (256, 0)
    assert quantize(masks, model.SerializeToString()).top1 == 1.0
    for mask in masks.iterdir():
        Image.new("L", (24, 16), 1).save(mask)
    found = quantize(masks, model.SerializeToString(), drop=None)
    assert found.top1 is not None and 0.1 < found.top1 < 0.6


@pytest.mark.parametrize("shape", [[1], [6], [6, 1]])
def test_integers_of_a_classifier_are_its_classes(tmp_path: Path, shape: Shape) -> None:
    count = shape[0]
    answers, others = np.arange(count, dtype=np.float32), np.arange(count, dtype=np.float32)
    others[-1] += 1
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.INT64, shape) for name in "xy"]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Abs", ["x"], ["y"])], "classes", ends[:1], ends[1:])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    rows = first_shape(import_model(model.SerializeToString()))
    found = score([answers], [others], np.arange(count), rows)
    assert found.agreement == found.top1 == pytest.approx((count - 1) / count)
    assert score([answers], [answers], np.arange(count), rows).top1 == 1.0
    np.save(tmp_path / "labels.npy", np.tile(np.arange(count), 3))
    type = import_model(model.SerializeToString()).main.results[0].type
    samples = open_calibration_set(np.ones((3 * count, *shape[1:]), np.int64), {"x": type})
    assert [*read_labels(tmp_path / "labels.npy", samples, type, rows, [1])] == [*range(count)]
    np.save(tmp_path / "labels.npy", np.full(3 * count, -1))
    with pytest.raises(CalibrationError, match="hold a class that the network lacks"):
        read_labels(tmp_path / "labels.npy", samples, type, rows, [1])


COLOURS = Image.new("RGB", (24, 16), (1, 0, 0))
WIDE = Image.fromarray(np.full((16, 24), 2, np.uint16))


def test_classes_of_images_are_none_of_pixels(masks: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("".join(f"{each.name} 1\n" for each in masks.iterdir()))
    with pytest.raises(CalibrationError, match=r"found several answers a sample\. Of a map, give masks"):
        quantize(labels, segmentation())


@pytest.mark.parametrize(
    ("mask", "error", "message"),
    [
        (COLOURS, InputError, "its pixels are of mode RGB, and no numbers of classes in 8 bits"),
        (WIDE, InputError, "its pixels are of mode I;16, and no numbers of classes in 8 bits"),
        (3, CalibrationError, "expected pixels that are classes, and 255 where there is none: 0 to 2, found 3"),
        (255, CalibrationError, "none: 0 to 2, found 255 alone"),
        (None, CalibrationError, "lack masks; expected an image of the same name, found none for '0"),
    ],
)
def test_masks_that_say_nothing_are_refused(
    masks: Path, mask: Image.Image | int | None, error: type[TilewrightError], message: str
) -> None:
    for each in masks.iterdir():
        each.unlink()
        if mask is not None:
            (Image.new("L", (24, 16), mask) if isinstance(mask, int) else mask).save(each)
    with pytest.raises(error, match=message):
        quantize(masks, segmentation())


def test_masks_of_black_and_white_are_told_what_yes_is(masks: Path) -> None:
    for each in masks.iterdir():
        Image.fromarray(np.repeat(np.asarray([[0, 255]], np.uint8), 8, 1).repeat(16, 0)).save(each)
    with pytest.raises(
        CalibrationError, match=r"no pixel of a class above 0\. Give pixels that are yes as 1, not as 255"
    ):
        quantize(masks, segmentation(2))


def test_masks_may_show_the_first_class_alone(masks: Path) -> None:
    """Of few samples that is no mistake."""
    for each in masks.iterdir():
        Image.new("L", (24, 16), 0).save(each)
    type = TensorType((1, 3, 16, 16), DType.F32)
    samples = open_calibration_set(masks.parent / "photos", {"x": type})
    assert not read_labels(masks, samples, type, (1, 3, 256), [0, 1]).any()


def test_a_folder_of_masks_needs_images_and_a_map_whose_classes_fit(masks: Path) -> None:
    for samples in ("random", np.ones((8, 3, 16, 16), np.float32)):
        with pytest.raises(CalibrationError, match="by the names of images; expected one input of images, found 0"):
            quantize(masks, segmentation(), samples)
    with pytest.raises(CalibrationError, match=r"suits maps of 2 to 255 classes; .* found f32\[1, ?256, ?16, ?16\]"):
        quantize(masks, segmentation(256))
    for drop in (0.01, None):
        with pytest.raises(UsageError, match=r"no classes: of one number, for a sample or pixel, .* --labels"):
            quantize(masks, segmentation(1), drop=drop)


def test_pixels_left_out_are_not_counted_as_answers() -> None:
    labels = np.asarray([1, 1, 1, 1, UNLABELLED, UNLABELLED])
    (said,) = doubts([np.asarray([1.0] * 6 + [0.0] * 6, np.float32)], labels, (1, 2, 6))
    assert said.startswith("in floating point 0.00 % of 4 answers are as labelled")
