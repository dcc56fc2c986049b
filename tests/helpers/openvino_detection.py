"""Random detection layers, built by openvino, beside those of `openvino_layers`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from openvino_layers import Layers, maker

VARIANCES = ([0.1], [0.1, 0.1, 0.2, 0.2], [])


def given(layers: Layers, array: np.ndarray) -> Any:
    """A parameter that gets these elements."""
    parameter = layers.input(array.shape, array.dtype.type, 0, 0)
    layers.arrays[-1] = array
    return parameter


def some(layers: Layers, count: int, low: float, high: float) -> list[float]:
    return [float(number) for number in np.round(layers.rng.uniform(low, high, count), 2)]


def extents(layers: Layers) -> list[np.ndarray]:
    grid = np.array(layers.integers(1, 7, 2), np.int64)
    return [grid, grid * layers.integers(8, 20, 2)]


def _sizes(layers: Layers) -> dict[str, Any]:
    ratios = [layers.pick(1.0, 2.0, 3.0, 0.5, 1.5) for _ in range(layers.pick(0, 1, 3))]
    if layers.pick(True, False, False):
        count = layers.pick(1, 2)
        density = [float(number) for number in layers.integers(1, 3, count)]
        return {"fixed_size": some(layers, count, 8, 40), "density": density, "aspect_ratio": ratios}
    smallest = some(layers, layers.pick(1, 2), 5, 40)
    if layers.pick(True, False, False):
        return {"min_size": [s / 50 for s in smallest], "scale_all_sizes": False, "aspect_ratio": ratios}
    largest = [size + 20 for size in smallest[: layers.pick(0, 1, 2)]]
    return {"min_size": smallest, "max_size": largest, "aspect_ratio": ratios}


@maker
def prior_box(layers: Layers) -> Sequence[Any]:
    common = {"flip": layers.pick(True, False), "clip": layers.pick(True, False), "variance": layers.pick(*VARIANCES)}
    sizes = {"min_size": [], "scale_all_sizes": True, **_sizes(layers)}
    step = layers.pick(0.0, 8.0) if sizes["scale_all_sizes"] else 0.0
    order = {"min_max_aspect_ratios_order": layers.pick(True, False)}
    attributes = {**common, **sizes, **order, "step": step, "offset": layers.pick(0.5, 0.25)}
    return [layers.opset(8).prior_box(*map(layers.opset(1).constant, extents(layers)), attributes)]


@maker
def prior_box_clustered(layers: Layers) -> Sequence[Any]:
    count = layers.pick(1, 3)
    width, height = some(layers, count, 5, 60), some(layers, count, 5, 60)
    steps = layers.pick((0.0, 0.0), (8.0, 4.0), (0.0, 8.0))
    attributes = {"width": width, "height": height, "step_w": steps[0], "step_h": steps[1], "offset": 0.25}
    attributes |= {"clip": layers.pick(True, False), "variance": layers.pick(*VARIANCES)}
    return [layers.opset(1).prior_box_clustered(*map(layers.opset(1).constant, extents(layers)), attributes)]


@maker
def detection_output(layers: Layers) -> Sequence[Any]:
    """Scores of a class may be equal, those of two classes are not: their order is left open."""
    rng, (images, priors) = layers.rng, layers.integers(1, 3, 1) + layers.integers(2, 30, 1)
    classes, shares, encoded = layers.pick(2, 3, 5), layers.pick(True, False), layers.pick(True, False)
    single, sets, refined = layers.pick(True, False, False), layers.pick(1, images), layers.pick(True, False)
    normalized = refined or layers.pick(True, True, False)
    sides = (1, 1) if normalized else (30, 50)
    low = rng.random((sets, priors, 2))
    boxes = np.concatenate([low, low + 0.5 * rng.random((sets, priors, 2))], -1) * [*sides[::-1], *sides[::-1]]
    if not normalized:
        boxes = np.concatenate([np.zeros((sets, priors, 1)), boxes], -1)
        boxes[:, -1, 0] = layers.pick(0, -1)
    rows = boxes.reshape(sets, 1, -1)
    rows = rows if encoded else np.concatenate([rows, 0.2 * rng.random(rows.shape)], 1)
    scores = np.round(4 * rng.random((images, priors, classes))) / 5 + 0.001 * np.arange(classes)
    location = rng.standard_normal((images, priors * (1 if shares else classes) * 4)) / 2
    arrays = [location, scores.reshape(images, -1), rows]
    arrays += [rng.random((images, 2 * priors)), rng.standard_normal(location.shape) / 3] if refined else []
    attributes = {
        "num_classes": classes,
        "background_label_id": 0 if single else layers.pick(0, -1, 1),
        "top_k": layers.pick(-1, 3, 100),
        "keep_top_k": [layers.pick(-1, 1, 5, 100)],
        "code_type": "caffe.PriorBoxParameter." + layers.pick("CORNER", "CENTER_SIZE"),
        "share_location": shares,
        "variance_encoded_in_target": encoded,
        "nms_threshold": layers.pick(0.2, 0.45),
        "confidence_threshold": layers.pick(0.0, 0.3),
        "clip_before_nms": layers.pick(True, False),
        "clip_after_nms": layers.pick(True, False),
        "decrease_label_id": single,
        "normalized": normalized,
        "input_height": sides[0],
        "input_width": sides[1],
        "objectness_score": 0.4,
    }
    version = layers.pick(1, 8)
    if version == 8:
        del attributes["num_classes"]
    first, second, third, *rest = (given(layers, array.astype(np.float32)) for array in arrays)
    return [layers.opset(version).detection_output(first, second, third, attributes, *rest)]


@maker
def region_yolo(layers: Layers) -> Sequence[Any]:
    regions, classes, height, width = layers.integers(1, 4, 4)
    x = layers.input([2, regions * (5 + classes), height, width])
    if layers.pick(True, False):
        axis, end = layers.pick((1, 3), (1, 1), (2, 3), (0, 1))
        return [layers.opset(1).region_yolo(x, 4, classes, regions, True, [], axis, end, [])]
    return [layers.opset(1).region_yolo(x, 4, classes, 9, False, list(range(regions)), 1, 3, [])]


@maker
def reorg_yolo(layers: Layers) -> Sequence[Any]:
    stride, (channels, height, width) = layers.pick(1, 2, 3), layers.integers(1, 3, 3)
    return [
        layers.opset(2).reorg_yolo(layers.input([2, stride**2 * channels, stride * height, stride * width]), [stride])
    ]


@maker
def normalize_l2(layers: Layers) -> Sequence[Any]:
    axes = np.array(layers.pick([1], [1, 2, 3], [-1], [2, 3]), np.int64)
    return [layers.opset(1).normalize_l2(layers.input(layers.integers(1, 5, 4)), axes, layers.pick(1e-6, 1.0), "add")]


def _regions(layers: Layers, count: int, images: int, sides: tuple[float, float]) -> np.ndarray:
    low = 1.2 * layers.rng.random((count, 2)) - 0.1
    ends = np.concatenate([low, low + layers.rng.random((count, 2))], 1) * [*sides, *sides]
    found = np.concatenate([layers.rng.integers(0, images, (count, 1)), ends], 1)
    found[-1, 0] = layers.pick(0, -1)
    return found.astype(np.float32)


@maker
def roi_pooling(layers: Layers) -> Sequence[Any]:
    batch, channels, height, width, rows, columns = layers.integers(1, 6, 6)
    mode, scale = layers.pick("max", "bilinear"), layers.pick(1.0, 0.5)
    sides = (width / scale, height / scale) if mode == "max" else (1.0, 1.0)
    regions = _regions(layers, 4, batch, sides)
    x = layers.input([batch, channels, height, width])
    return [layers.opset(2).roi_pooling(x, given(layers, regions), [rows, columns], scale, mode)]


@maker
def psroi_pooling(layers: Layers) -> Sequence[Any]:
    batch, outputs, height, width, group = layers.integers(1, 5, 5)
    mode, scale, bins = layers.pick("average", "bilinear"), layers.pick(1.0, 0.5), layers.integers(1, 3, 2)
    channels = outputs * (group**2 if mode == "average" else bins[0] * bins[1])
    sides = (width / scale, height / scale) if mode == "average" else (1.0, 1.0)
    regions = _regions(layers, 4, batch, sides)
    x = layers.input([batch, channels, height, width])
    return [layers.opset(1).psroi_pooling(x, given(layers, regions), outputs, group, scale, *bins, mode)]


@maker
def roi_align(layers: Layers) -> Sequence[Any]:
    batch, channels, height, width, rows, columns = layers.integers(1, 5, 6)
    scale = layers.pick(1.0, 0.5)
    regions = _regions(layers, 4, batch, (width / scale, height / scale))
    images = layers.rng.integers(0, batch, 4).astype(np.int32)
    x = layers.input([batch, channels, height, width])
    settings = rows, columns, layers.pick(0, 1, 3), scale, layers.pick("avg", "max")
    operands = x, given(layers, regions[:, 1:].copy()), given(layers, images)
    if layers.pick(True, False):
        return [layers.opset(3).roi_align(*operands, *settings)]
    return [layers.opset(9).roi_align(*operands, *settings, layers.pick("asymmetric", "half_pixel"))]


@maker
def proposal(layers: Layers) -> Sequence[Any]:
    """Without equal scores, of which any may be first, and with more boxes than come out: the rest has no scores."""
    ratios, scales = [0.5, 1.0, 2.0], [2.0, 4.0][: layers.pick(1, 2)]
    anchors, (batch, rows, columns) = 3 * len(scales), layers.integers(1, 2, 1) + layers.integers(3, 5, 2)
    scores = layers.rng.permutation(batch * 2 * anchors * rows * columns).reshape(batch, 2 * anchors, rows, columns)
    deltas = 0.3 * layers.rng.standard_normal((batch, 4 * anchors, rows, columns))
    image = np.array([16 * rows, 16 * columns, 1.5, 1.25][: layers.pick(3, 4)])
    integers = {"base_size": 16, "feat_stride": 16, "min_size": 1, "pre_nms_topn": 30, "post_nms_topn": 3}
    attributes = {name: np.uint32(number) for name, number in integers.items()}
    attributes |= {"ratio": ratios, "scale": scales, "nms_thresh": layers.pick(0.5, 0.8), "clip_before_nms": False}
    attributes |= {name: layers.pick(True, False) for name in ("clip_after_nms", "normalize")}
    attributes |= layers.pick({}, {"box_coordinate_scale": 10.0, "box_size_scale": 5.0})
    attributes |= layers.pick({}, {"framework": "tensorflow"})
    operands = [given(layers, array.astype(np.float32)) for array in (scores / scores.size, deltas, image)]
    node = layers.opset(layers.pick(1, 4)).proposal(*operands, attributes)
    return list(node.outputs())
