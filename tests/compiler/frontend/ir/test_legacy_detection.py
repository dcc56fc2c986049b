"""Detection layers as files of versions 2 to 7 spell them: imported as the operators that they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from legacy_ir import LegacyIr, text
from operators.detection_output import predictions
from operators.region_pooling import regions

import tilewright
from tilewright.compiler.frontend.formats import import_model
from tilewright.errors import ModelError, TilewrightError, UnsupportedError
from tilewright.ir import interp
from tilewright.ir.op import Operator
from tilewright.ir.ops.detection.detection_output import DetectionOutput
from tilewright.ir.ops.detection.priors import PriorBox, PriorBoxClustered
from tilewright.ir.ops.detection.proposal import Proposal
from tilewright.ir.ops.detection.region_pooling import PsroiPool, RoiPool
from tilewright.ir.ops.detection.yolo import RegionYolo, ReorgYolo
from tilewright.ir.ops.normalization import NormalizeL2
from tilewright.ir.types import TensorType

CENTER_SIZE = "caffe.PriorBoxParameter.CENTER_SIZE"


def layer_file(
    folder: Path,
    kind: str,
    attributes: Mapping[str, object],
    inputs: Sequence[Sequence[int]],
    outputs: Sequence[Sequence[int]],
    version: int = 4,
    blobs: Mapping[str, np.ndarray] | None = None,
) -> Path:
    """A network of this layer alone, whose inputs are ``x0``, ``x1``, …."""
    network = LegacyIr("net", version)
    tensors = [network.input(f"x{index}", shape) for index, shape in enumerate(inputs)]
    network.layer(kind, "y", tensors, outputs, attributes, blobs)
    return network.write(folder)


def found(path: Path, *arrays: np.ndarray) -> list[np.ndarray]:
    return list(interp.run(import_model(path), {f"x{index}": array for index, array in enumerate(arrays)}).values())


def computed(operator: Operator, *arrays: np.ndarray) -> list[np.ndarray]:
    types = [TensorType.of(array) for array in arrays]
    return list(operator.evaluate(arrays, types, operator.result_types(types)))


GRID, IMAGE = (3, 2), (48, 64)


@pytest.mark.parametrize(
    ("kind", "attributes", "operator"),
    [
        (
            "PriorBox",
            {"min_size": "12.0", "max_size": "20.0", "aspect_ratio": "2.0,3.0", "flip": 1, "clip": 0, "offset": 0.5}
            | {"step": 16, "variance": "0.1,0.1,0.2,0.2"},
            PriorBox(GRID, IMAGE, (0.1, 0.1, 0.2, 0.2), False, (12.0,), (20.0,), (2.0, 3.0), True, 16.0),
        ),
        (
            "PriorBox",
            {"min_size": "12", "max_size": "", "flip": 0, "clip": 1, "step": 0, "offset": 0, "variance": "0.1"}
            | {"scale_all_sizes": 1, "img_h": 32, "img_w": 0},
            PriorBox(GRID, (32, 64), (0.1,), True, (12.0,)),
        ),
        (
            "PriorBoxClustered",
            {"width": "9.4,25.1", "height": "15,39.6", "step": 16, "offset": 0.5, "clip": 0, "flip": 1}
            | {"variance": "0.1,0.1,0.2,0.2", "step_h": 0, "step_w": 0, "img_h": 0, "img_w": 0},
            PriorBoxClustered(GRID, IMAGE, (0.1, 0.1, 0.2, 0.2), False, (9.4, 25.1), (15.0, 39.6), 16.0, 16.0),
        ),
        (
            "PriorBoxClustered",
            {"width": "9", "height": "15", "variance": "0.1"},
            PriorBoxClustered(GRID, IMAGE, (0.1,), False, (9.0,), (15.0,)),
        ),
    ],
)
def test_priors(kind: str, attributes: dict[str, object], operator: Operator, tmp_path: Path) -> None:
    (expected,) = computed(operator)
    x = [np.zeros((1, 8, *GRID), np.float32), np.zeros((1, 3, *IMAGE), np.float32)]
    path = layer_file(tmp_path, kind, attributes, [array.shape for array in x], [[1, *expected.shape]])
    (y,) = found(path, *x)
    np.testing.assert_array_equal(y, expected[None])


@pytest.mark.parametrize("version", [2, 4, 7])
def test_detection_output(version: int, rng: np.random.Generator, tmp_path: Path) -> None:
    operator = DetectionOutput(0.45, 0.01, 0, 400, 20, "center_size", clip_before_nms=True)
    arrays = predictions(rng, operator, 2, 15, 3)
    attributes = {"num_classes": 3, "background_label_id": 0, "top_k": 400, "keep_top_k": 20, "nms_threshold": 0.45}
    attributes |= {"confidence_threshold": 0.01, "share_location": 1, "code_type": CENTER_SIZE, "clip": 1}
    attributes |= {"eta": 1.0, "visualize": "False", "resize_mode": "", "variance_encoded_in_target": 0}
    shapes = [array.shape for array in arrays]
    path = layer_file(tmp_path, "DetectionOutput", attributes, shapes, [(1, 1, 40, 7)], version)
    (expected,) = computed(operator, *arrays)
    (y,) = found(path, *arrays)
    np.testing.assert_array_equal(y, expected)
    with tilewright.load(tilewright.compile(path)) as session:
        inputs = {f"x{index}": array for index, array in enumerate(arrays)}
        np.testing.assert_allclose(session.run(inputs)["y"], expected, atol=1e-6)


def test_detection_output_of_few_attributes(rng: np.random.Generator, tmp_path: Path) -> None:
    """All scores count, all detections stay, locations are corners and shared."""
    operator = DetectionOutput(0.5)
    arrays = predictions(rng, operator, 1, 6, 2)
    shapes = [array.shape for array in arrays]
    attributes = {"num_classes": 2, "nms_threshold": 0.5}
    path = layer_file(tmp_path, "DetectionOutput", attributes, shapes, [(1, 1, 12, 7)])
    (y,) = found(path, *arrays)
    np.testing.assert_array_equal(y, computed(operator, *arrays)[0])


def test_normalize(rng: np.random.Generator, tmp_path: Path) -> None:
    x, w = rng.standard_normal((2, 3, 4, 5)).astype(np.float32), rng.standard_normal(3).astype(np.float32)
    for shared, across, weights in ((0, 0, w), (1, 1, w[:1])):
        attributes = {"across_spatial": across, "channel_shared": shared, "eps": 1e-3}
        path = layer_file(tmp_path, "Normalize", attributes, [x.shape], [x.shape], blobs={"weights": weights})
        (expected,) = computed(NormalizeL2((1, 2, 3) if across else (1,), 1e-3), x)
        np.testing.assert_array_equal(found(path, x)[0], expected * weights.reshape(-1, 1, 1))


def test_yolo(rng: np.random.Generator, tmp_path: Path) -> None:
    x = rng.standard_normal((2, 16, 3, 5)).astype(np.float32)
    common = {"classes": 3, "coords": 4, "anchors": "1.0,2.0,3.0,4.0"}
    for attributes, operator, shape in (
        ({"num": 2, "do_softmax": 1, "axis": 1, "end_axis": 3}, RegionYolo(2, 4, 3), (2, 240)),
        ({"num": 2, "do_softmax": 1}, RegionYolo(2, 4, 3), (2, 240)),
        ({"num": 9, "do_softmax": 0, "mask": "6,7", "axis": 1, "end_axis": -1}, RegionYolo(2, 4, 3, False), x.shape),
    ):
        path = layer_file(tmp_path, "RegionYolo", common | attributes, [x.shape], [shape])
        np.testing.assert_array_equal(found(path, x)[0], computed(operator, x)[0])
    x = rng.standard_normal((2, 8, 4, 6)).astype(np.float32)
    path = layer_file(tmp_path, "ReorgYolo", {"stride": 2}, [x.shape], [(2, 32, 2, 3)])
    np.testing.assert_array_equal(found(path, x)[0], computed(ReorgYolo(2), x)[0])


def test_regions(rng: np.random.Generator, tmp_path: Path) -> None:
    x, boxes = rng.standard_normal((2, 18, 7, 9)).astype(np.float32), regions(rng, 5, 2, 32.0)
    for kind, attributes, operator, shape in (
        ("ROIPooling", {"pooled_h": 2, "pooled_w": 3, "spatial_scale": 0.25}, RoiPool(0.25, (2, 3)), (5, 18, 2, 3)),
        (
            "PSROIPooling",
            {"output_dim": 2, "group_size": 3, "spatial_scale": 0.25},
            PsroiPool(0.25, 2, 3),
            (5, 2, 3, 3),
        ),
    ):
        path = layer_file(tmp_path, kind, attributes, [x.shape, boxes.shape], [shape])
        np.testing.assert_array_equal(found(path, x, boxes)[0], computed(operator, x, boxes)[0])


def test_proposal(rng: np.random.Generator, tmp_path: Path) -> None:
    operator = Proposal(16, (0.5, 1.0), (8.0, 16.0), 16, 16, 600, 30, 0.7)
    scores, deltas = (rng.random((1, channels, 4, 5)).astype(np.float32) for channels in (8, 16))
    image = np.array([[64, 80, 1.0]], np.float32)
    attributes = {"base_size": 16, "ratio": "0.5,1.0", "scale": "8,16", "feat_stride": 16, "min_size": 16}
    attributes |= {"pre_nms_topn": 600, "post_nms_topn": 30, "nms_thresh": 0.7}
    shapes = [array.shape for array in (scores, deltas, image)]
    for outputs in ([(30, 5)], [(30, 5), (30,)]):
        path = layer_file(tmp_path, "Proposal", attributes, shapes, outputs)
        expected = computed(operator, scores, deltas, image)[: len(outputs)]
        for ours, theirs in zip(found(path, scores, deltas, image), expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def interpolated(x: np.ndarray, side: int, corners: bool) -> np.ndarray:
    """The last dimension by straight lines between pixels."""
    extent = x.shape[-1]
    step = (extent - 1) / max(side - 1, 1) if corners else extent / side
    points = np.minimum(np.arange(side) * step, extent - 1)
    low = points.astype(int)
    high = np.minimum(low + 1, extent - 1)
    return x[..., low] + (x[..., high] - x[..., low]) * (points - low)


@pytest.mark.parametrize(
    ("attributes", "cut", "shape"),
    [
        ({"height": 9, "width": 4, "align_corners": 1}, 0, (9, 4)),
        ({"height": 3, "width": 13, "align_corners": 0}, 0, (3, 13)),
        ({"zoom_factor": 2, "pad_beg": 0, "pad_end": 0, "height": 0, "width": 0}, 0, (9, 13)),
        ({"factor": 2.0, "align_corners": 1}, 0, (10, 14)),
        ({"height": 6, "width": 6, "pad_beg": -1, "pad_end": -1}, 1, (6, 6)),
    ],
)
def test_interp(attributes: dict, cut: int, shape: tuple, rng: np.random.Generator, tmp_path: Path) -> None:
    x = rng.standard_normal((2, 3, 5, 7)).astype(np.float32)
    path = layer_file(tmp_path, "Interp", attributes, [x.shape], [(2, 3, *shape)])
    corners = bool(attributes.get("align_corners", 1))
    inner = x[:, :, cut : 5 - cut, cut : 7 - cut]
    rows = np.swapaxes(interpolated(np.swapaxes(inner, 2, 3), shape[0], corners), 2, 3)
    np.testing.assert_allclose(found(path, x)[0], interpolated(rows, shape[1], corners), atol=1e-5)


def resampled(x: np.ndarray, side: int, kind: str, shrinks: bool) -> np.ndarray:
    """The last dimension as the extension library computed it: nearest, or a triangle around the centre."""
    extent = x.shape[-1]
    ratio = extent / side
    found = []
    for index in range(side):
        point = index * ratio + ratio / 2 - 0.5
        if kind == "NEAREST":
            found.append(x[..., int(np.floor(point + 0.5))])
            continue
        width = ratio if shrinks else 1.0
        weights = np.maximum(0, 1 - np.abs(point - np.arange(extent)) / width)
        found.append((x * weights).sum(-1) / weights.sum())
    return np.stack(found, -1)


@pytest.mark.parametrize("kind", ["NEAREST", "LINEAR"])
@pytest.mark.parametrize(
    ("attributes", "shape"),
    [
        ({"factor": 2.0, "antialias": 0}, (12, 16)),
        ({"factor": 0.5, "antialias": 1}, (3, 4)),
        ({"antialias": 0, "height": 4, "width": 5}, (4, 5)),
        ({"antialias": 1, "factor": 1.0, "height": 4, "width": 5}, (4, 5)),
    ],
)
def test_resample(kind: str, attributes: dict, shape: tuple, rng: np.random.Generator, tmp_path: Path) -> None:
    x = rng.standard_normal((2, 3, 6, 8)).astype(np.float32)
    attributes = {"type": f"caffe.ResampleParameter.{kind}"} | attributes
    path = layer_file(tmp_path, "Resample", attributes, [x.shape], [(2, 3, *shape)], version=2)
    shrinks = bool(attributes["antialias"]) and shape[0] < 6
    rows = np.swapaxes(resampled(np.swapaxes(x, 2, 3), shape[0], kind, shrinks), 2, 3)
    np.testing.assert_allclose(found(path, x)[0], resampled(rows, shape[1], kind, shrinks), atol=1e-5)


def box_sizes(count: int) -> dict[str, str]:
    return {"width": text([9.0] * count), "height": text([9.0] * count)}


@pytest.mark.parametrize(
    ("kind", "attributes", "inputs", "output", "error", "message"),
    [
        ("PriorBox", {}, [(1, 3, 4, 4)] * 2, (1, 2, 4), TilewrightError, "a cell has too many priors, or none"),
        ("PriorBox", {"min_size": "nan"}, [(1, 3, 4, 4)] * 2, (1, 2, 4), TilewrightError, "'min_size' needs numbers"),
        (
            "PriorBox",
            {"fixed_size": "9", "density": "100000"},
            [(1, 3, 4, 4)] * 2,
            (1, 2, 4),
            TilewrightError,
            "found 10000000000",
        ),
        ("PriorBox", {"min_size": "4"}, [(1, 3), (1, 3)], (1, 2, 4), ModelError, "need four dimensions"),
        ("PriorBoxClustered", box_sizes(5000), [(1, 3, 4, 4)] * 2, (1, 2, 4), TilewrightError, "1 to 4096, found 5000"),
        (
            "DetectionOutput",
            {"nms_threshold": 0.5},
            [(1, 8), (1, 4)],
            (1, 1, 1, 7),
            ModelError,
            "wrong number of inputs",
        ),
        (
            "DetectionOutput",
            {"nms_threshold": 0.5, "num_classes": 3},
            [(1, 8), (1, 4), (1, 2, 8)],
            (1, 1, 4, 7),
            ModelError,
            "wrong number of classes; expected 3, found 2",
        ),
        (
            "DetectionOutput",
            {"nms_threshold": 0.5, "keep_top_k": 2**40},
            [(1, 8), (1, 4), (1, 2, 8)],
            (1, 1, 4, 7),
            TilewrightError,
            "a tensor is too large",
        ),
        (
            "DetectionOutput",
            {"nms_threshold": 0.5, "code_type": "caffe.PriorBoxParameter.CORNER_SIZE"},
            [(1, 8), (1, 4), (1, 2, 8)],
            (1, 1, 4, 7),
            UnsupportedError,
            "unknown code_type",
        ),
        ("ReorgYolo", {"stride": 0}, [(1, 4, 4, 4)], (1, 4, 4, 4), TilewrightError, "the stride does not divide"),
        ("Interp", {"pad_beg": 1}, [(1, 4, 4, 4)], (1, 4, 4, 4), UnsupportedError, "padding of an image"),
        ("Interp", {"pad_beg": -4}, [(1, 4, 4, 4)], (1, 4, 4, 4), ModelError, "cuts off the whole image"),
        ("Resample", {"type": "CUBIC"}, [(1, 4, 4, 4)], (1, 4, 4, 4), UnsupportedError, "unknown type of resampling"),
    ],
)
def test_what_does_not_fit_is_refused(
    kind: str, attributes: dict, inputs: list, output: tuple, error: type, message: str, tmp_path: Path
) -> None:
    path = layer_file(tmp_path, kind, attributes, inputs, [output])
    with pytest.raises(error, match=message):
        import_model(path)
