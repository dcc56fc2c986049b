"""The end of an SSD network in plain loops: boxes to begin with, what becomes of them, and which of them stay.

Written from the rules of Caffe's layers, without a look at the operators.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in parts of the picture."""


@dataclass(frozen=True)
class Priors:
    """What a layer of boxes states.

    Attributes:
        sizes: width and height of each box at a place, in pixels.
        step: pixels from place to place; 0 for as many as the picture has for each.
        offset: of the first place, in steps.
    """

    sizes: Sequence[tuple[float, float]]
    variances: tuple[float, float, float, float]
    step: float = 0.0
    offset: float = 0.5


def caffe_sizes(
    min_sizes: Sequence[float], max_sizes: Sequence[float], ratios: Sequence[float], flip: bool
) -> list[tuple[float, float]]:
    """The boxes of ``PriorBox``: for each least size a square, one between it and the greatest, and oblong ones."""
    every = [r for ratio in ratios for r in ([ratio, 1 / ratio] if flip else [ratio]) if ratio != 1]
    found: list[tuple[float, float]] = []
    for index, least in enumerate(min_sizes):
        found.append((least, least))
        if max_sizes:
            side = math.sqrt(least * max_sizes[index])
            found.append((side, side))
        found += [(least * math.sqrt(ratio), least / math.sqrt(ratio)) for ratio in every]
    return found


def prior_boxes(priors: Priors, grid: tuple[int, int], image: tuple[int, int]) -> np.ndarray:
    """[1, 2, 4 * rows * columns * boxes]: corners and, behind them, variances."""
    boxes: list[float] = []
    variances: list[float] = []
    (rows, columns), (height, width) = grid, image
    step_y, step_x = (priors.step or height / rows), (priors.step or width / columns)
    for row in range(rows):
        for column in range(columns):
            x, y = (column + priors.offset) * step_x, (row + priors.offset) * step_y
            for w, h in priors.sizes:
                boxes += [(x - w / 2) / width, (y - h / 2) / height, (x + w / 2) / width, (y + h / 2) / height]
                variances += priors.variances
    return np.array([[boxes, variances]], np.float32)


def decoded(location: np.ndarray, prior: np.ndarray, variance: np.ndarray) -> Box:
    """The box that four numbers make of a prior: its centre moved, its sides scaled."""
    left, top, right, bottom = (float(each) for each in prior)
    w, h = right - left, bottom - top
    x = float(variance[0] * location[0]) * w + (left + right) / 2
    y = float(variance[1] * location[1]) * h + (top + bottom) / 2
    w, h = math.exp(float(variance[2] * location[2])) * w, math.exp(float(variance[3] * location[3])) * h
    return x - w / 2, y - h / 2, x + w / 2, y + h / 2


def overlap(a: Box, b: Box) -> float:
    """Area of the intersection over that of the union."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return both / (areas - both)


def detections(
    location: np.ndarray,
    confidence: np.ndarray,
    priors: np.ndarray,
    *,
    threshold: float,
    nms_threshold: float,
    top_k: int,
    keep_top_k: int,
) -> np.ndarray:
    """Rows [image, class, score, box], by image, class and score; class 0 is the background.

    Args:
        location: [images, priors * 4]; confidence: [images, priors * classes]; priors: [1, 2, priors * 4].
    """
    corners, variances = priors[0].reshape(2, -1, 4)
    rows: list[tuple[float, ...]] = []
    for image in range(location.shape[0]):
        offsets = location[image].reshape(-1, 4)
        scores = confidence[image].reshape(len(corners), -1)
        boxes = [decoded(*each) for each in zip(offsets, corners, variances, strict=True)]
        kept: list[tuple[float, int, int]] = []
        for label in range(1, scores.shape[1]):
            above = [index for index in range(len(boxes)) if scores[index, label] > threshold]
            order = sorted(above, key=lambda index: -scores[index, label])
            chosen: list[int] = []
            for index in order[:top_k]:
                if all(overlap(boxes[index], boxes[other]) <= nms_threshold for other in chosen):
                    chosen.append(index)
            kept += [(float(scores[index, label]), label, index) for index in chosen]
        best = sorted(kept, key=lambda each: -each[0])[:keep_top_k]
        best.sort(key=lambda each: (each[1], -each[0]))
        rows += [(image, label, score, *boxes[index]) for score, label, index in best]
    return np.array(rows, np.float32).reshape(-1, 7)
