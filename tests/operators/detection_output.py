"""Samples of the family ``detection_output``."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from samples import (
    Sample,
    samples_of,
)

from tilewright.ir.ops.detection.detection_output import DetectionOutput


def predictions(
    rng: np.random.Generator, operator: DetectionOutput, images: int, priors: int, classes: int, sets: int = 1
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Location, confidence and priors, some scores of a class equal."""
    low = rng.random((sets, priors, 2))
    boxes = np.concatenate([low, low + 0.1 + 0.4 * rng.random((sets, priors, 2))], -1)
    if not operator.normalized:
        sides = np.array([operator.input_width, operator.input_height] * 2)
        boxes = np.concatenate([np.zeros((sets, priors, 1)), boxes * sides], -1)
        boxes[-1, -2, 0] = -1
    rows = boxes.reshape(sets, 1, -1)
    if not operator.variance_encoded_in_target:
        rows = np.concatenate([rows, np.full(rows.shape, 0.2)], 1)
    scores = np.round(4 * rng.random((images, priors, classes))) / 5 + 0.001 * np.arange(classes)
    locations = rng.standard_normal((images, priors * (1 if operator.share_location else classes) * 4))
    arrays = locations, scores.reshape(images, -1), rows
    location, confidence, found = (array.astype(np.float32) for array in arrays)
    return location, confidence, found


@samples_of(DetectionOutput)
def detection_output(cls: type[DetectionOutput], rng: np.random.Generator) -> Iterator[Sample]:
    for operator in (
        cls(0.45, 0.1, code_type="center_size", top_k=10, keep_top_k=7),
        cls(0.3, -1e30, -1, keep_top_k=200, clip_before_nms=True),
        cls(0.45, 0.5, 1, share_location=False, variance_encoded_in_target=True, clip_after_nms=True),
        cls(0.2, 0.3, 0, 4, -1, "center_size", False, normalized=False, input_height=30, input_width=50),
        cls(0.4, 0.3, 0, 12, 5, "center_size", decrease_label_id=True, clip_after_nms=True),
        cls(0.4, 0.3, 0, -1, -1, share_location=False, decrease_label_id=True),
    ):
        yield Sample(operator, predictions(rng, operator, 2, 15, 4, 1 + operator.clip_before_nms))
    for is_single in (False, True):
        operator = cls(0.45, 0.1, 0, 20, 10, "center_size", objectness_score=0.4, decrease_label_id=is_single)
        arrays = predictions(rng, operator, 2, 15, 3)
        refinement = (0.3 * rng.standard_normal(arrays[0].shape)).astype(np.float32)
        yield Sample(operator, (*arrays, rng.random((2, 30)).astype(np.float32), refinement))
