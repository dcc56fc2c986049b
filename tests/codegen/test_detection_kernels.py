"""Kernels of detection layers where scores are equal or no numbers, and on regions that nobody can pool."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_harness import Execution, described, run_kernels
from operators.detection_output import predictions

from tilewright.codegen.cpu.families import lower
from tilewright.errors import InputError
from tilewright.ir.core import Function, Op
from tilewright.ir.op import Operator
from tilewright.ir.ops.detection.detection_output import DetectionOutput
from tilewright.ir.ops.detection.proposal import Proposal
from tilewright.ir.ops.detection.region_pooling import PsroiPool, RoiAlign, RoiPool
from tilewright.ir.types import TensorType

NAN, INF = np.nan, np.inf


def op_of(operator: Operator, arrays: tuple[np.ndarray, ...]) -> Op:
    function = Function("main", [(f"x{index}", TensorType.of(array)) for index, array in enumerate(arrays)])
    return function.append(operator, function.parameters)


def computed(operator: Operator, *arrays: np.ndarray) -> tuple[np.ndarray, ...] | None:
    """What the kernel computes; None if it refuses."""
    target, op = described("host"), op_of(operator, arrays)
    kernel = lower(op, target)
    assert kernel is not None
    (found,) = run_kernels([Execution(op, kernel, arrays)], target)
    return None if found is None else tuple(found)


def check(operator: Operator, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    """The kernel equals the reference; what both compute."""
    found = computed(operator, *arrays)
    assert found is not None
    for array, expected in zip(found, op_of(operator, arrays).evaluate(arrays), strict=True):
        np.testing.assert_allclose(array, expected, rtol=1e-5, atol=1e-5)
    return found


def test_equal_scores_and_scores_without_number(rng: np.random.Generator) -> None:
    for is_single in (False, True):
        operator = DetectionOutput(0.5, 0.0, 0, 12, 9, decrease_label_id=is_single)
        location, confidence, priors = predictions(rng, operator, 2, 20, 4)
        confidence = rng.choice(np.array([0.25, 0.5, NAN, INF, -INF], np.float32), confidence.shape)
        location[0, :4] = (NAN, INF, -INF, 1e30)
        (rows,) = check(operator, location, confidence, priors)
        labels = rows[0, 0, rows[0, 0, :, 2] > 0, 1]
        assert len(labels) > 9
        assert labels.min() >= 1 - is_single


def test_the_better_of_equal_boxes_is_the_first() -> None:
    """Two equal boxes, two that do not touch: by score, then by prior; zeros follow the end."""
    corners = np.array([[0.1, 0.1, 0.3, 0.3], [0.1, 0.1, 0.3, 0.3], [0.5, 0.5, 0.6, 0.6], [0.7, 0.1, 0.9, 0.2]])
    priors = np.stack([corners.reshape(-1), np.ones(16)])[None].astype(np.float32)
    confidence = np.array([[0, 0.5, 0, 0.5, 0, 0.5, 0, 0.9]], np.float32)
    (rows,) = check(DetectionOutput(0.45, 0.1), np.zeros((1, 16), np.float32), confidence, priors)
    expected = np.zeros((8, 7), np.float32)
    expected[:3] = [[0, 1, 0.9, *corners[3]], [0, 1, 0.5, *corners[0]], [0, 1, 0.5, *corners[2]]]
    expected[3, 0] = -1
    np.testing.assert_array_equal(rows[0, 0], expected)


def test_proposals_of_equal_scores_end_with_a_mark(rng: np.random.Generator) -> None:
    for is_tensorflow in (False, True):
        operator = Proposal(16, (0.5, 1.0), (2.0, 4.0), 16, 8, 100, 60, 0.5, is_tensorflow=is_tensorflow)
        scores = rng.choice(np.array([0.25, 0.5, NAN], np.float32), (2, 8, 3, 4))
        deltas = rng.standard_normal((2, 16, 3, 4)).astype(np.float32)
        regions, found = check(operator, scores, deltas, np.array([48, 64, 1], np.float32))
        (ends,) = np.nonzero(regions[:, 0] == -1)
        assert len(ends) == 2
        assert not found[ends[0] : 60].any()
        assert not regions[ends[0] + 1 : 60].any()


@pytest.mark.parametrize("operator", [RoiPool(1.0, (2, 2)), PsroiPool(1.0, 1, 2), RoiPool(1.0, (3, 1), "bilinear")])
def test_regions_without_end(operator: RoiPool | PsroiPool, rng: np.random.Generator) -> None:
    x = rng.standard_normal((1, 4, 3, 5)).astype(np.float32)
    ends = np.array([NAN, INF, -INF, 1e30, -1e30, 0.5, 2.5, -0.5], np.float32)
    regions = np.concatenate([np.zeros((40, 1), np.float32), rng.choice(ends, (40, 4))], 1)
    check(operator, x, regions)
    for wrong in (1.0, -2.0, NAN):
        regions[7, 0] = wrong
        assert computed(operator, x, regions) is None
        with pytest.raises(InputError, match="a region is of no image; expected -1 to 0"):
            op_of(operator, (x, regions)).evaluate((x, regions))
    regions[5, 0] = -1
    (y,) = check(operator, x, regions)
    assert not y[5:].any()


def test_what_cannot_be_aligned(rng: np.random.Generator) -> None:
    x, regions = rng.standard_normal((1, 2, 3, 5)).astype(np.float32), np.array([[0, 0, 4, 3]], np.float32)
    image = np.zeros(1, np.int64)
    check(RoiAlign((2, 2), 2), x, np.array([[NAN, 0, INF, 3]], np.float32), image)
    check(RoiAlign((2, 2)), x, regions[:, ::-1].copy(), image)
    refused = ((regions, image + 1, "of no image"), (regions * 1e6, image, "too large"), (regions * NAN, image, "too"))
    for found, images, message in refused:
        assert computed(RoiAlign((2, 2)), x, found, images) is None
        with pytest.raises(InputError, match=message):
            op_of(RoiAlign((2, 2)), (x, found, images)).evaluate((x, found, images))


@pytest.mark.parametrize("image", [(0, 64, 1), (48, NAN, 1), (48, 64, -1), (INF, 64, 1)])
def test_an_image_without_size_has_no_proposals(image: tuple[float, ...]) -> None:
    operator = Proposal(16, (1.0,), (2.0,), 16, 1, 100, 10, 0.5)
    arrays = np.zeros((1, 2, 2, 2), np.float32), np.zeros((1, 4, 2, 2), np.float32), np.array(image, np.float32)
    assert computed(operator, *arrays) is None
    with pytest.raises(InputError, match="the image has no size"):
        op_of(operator, arrays).evaluate(arrays)
