"""Metrics: each formula, what passes, and the cases that formulas do not cover."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tilewright.runtime.api.simulator.metrics import METRICS, metric_name, sums


def value(metric: str, reference: object, test: object) -> float:
    return METRICS[metric].value(sums(np.asarray(reference), np.asarray(test)))


@pytest.fixture
def pair(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """More elements than are taken at a time."""
    reference = rng.standard_normal((3, 50_001)).astype(np.float32)
    return reference, reference + rng.standard_normal(reference.shape).astype(np.float32) * np.float32(0.1)


def test_the_formulas_are_those_of_the_documentation(pair: tuple[np.ndarray, np.ndarray]) -> None:
    reference, test = pair
    r, t = reference.astype(np.float64), test.astype(np.float64)
    mse = np.mean((r - t) ** 2)
    expected = {
        "snr": 10 * np.log10(np.sum(r**2) / np.sum((r - t) ** 2)),
        "psnr": 10 * np.log10(np.max(np.abs(r)) ** 2 / mse),
        "cosine": np.sum(r * t) / np.sqrt(np.sum(r**2) * np.sum(t**2)),
        "rmse": np.sqrt(mse),
        "mse": mse,
        "mae": np.mean(np.abs(r - t)),
        "max_abs": np.max(np.abs(r - t)),
    }
    assert expected.keys() == METRICS.keys()
    for metric, each in expected.items():
        assert value(metric, reference, test) == pytest.approx(each, rel=1e-12), metric


@pytest.mark.parametrize(
    ("reference", "test", "expected"),
    [
        ([1.0, -2.0], [1.0, -2.0], (math.inf, math.inf, 1, 0, 0, 0, 0)),
        ([], [], (math.inf, math.inf, 1, 0, 0, 0, 0)),
        ([0.0, 0.0], [0.0, 0.0], (math.inf, math.inf, 1, 0, 0, 0, 0)),
        ([0.0, 0.0], [3.0, 4.0], (-math.inf, -math.inf, 0, math.sqrt(12.5), 12.5, 3.5, 4)),
        ([3.0, 4.0], [0.0, 0.0], (0, 10 * math.log10(16 / 12.5), 0, math.sqrt(12.5), 12.5, 3.5, 4)),
        ([1.0, 0.0], [-1.0, 0.0], (10 * math.log10(1 / 4), 10 * math.log10(1 / 2), -1, math.sqrt(2), 2, 1, 2)),
        ([1e-200], [2e-200], (-math.inf, -math.inf, 0, 0, 0, 1e-200, 1e-200)),
        ([1.0, math.nan], [1.0, math.nan], (math.nan,) * 7),
        ([1.0, math.inf, -math.inf], [1.0, math.inf, -math.inf], (math.inf, math.inf, 1, 0, 0, 0, 0)),
        ([math.inf], [-math.inf], (math.nan,) * 7),
        ([1.0, math.inf], [2.0, math.inf], (math.nan,) * 7),
        ([math.nan], [math.nan], (math.nan,) * 7),
        ([1e200], [1e200], (math.inf, math.inf, 1, 0, 0, 0, 0)),
        ([1.0, 2.0], [1.0, -math.inf], (math.nan,) * 7),
        ([1e200], [2e200], (math.nan,) * 7),
    ],
)
def test_what_formulas_do_not_cover(reference: list[float], test: list[float], expected: tuple[float, ...]) -> None:
    found = [value(metric, reference, test) for metric in METRICS]
    assert found == pytest.approx(list(expected), rel=1e-12, nan_ok=True)


def test_numbers_of_every_type_are_compared() -> None:
    for dtype in (np.float16, np.float64, np.uint8, np.int64, np.bool_):
        assert value("max_abs", np.array([0, 1], dtype), np.array([1, 1], dtype)) == 1


@pytest.mark.parametrize("metric", ["snr", "psnr", "cosine"])
def test_more_is_better(metric: str) -> None:
    assert METRICS[metric].passes(0.5, 0.5) and METRICS[metric].passes(math.inf, 0.5)
    assert not METRICS[metric].passes(0.49, 0.5) and not METRICS[metric].passes(math.nan, -math.inf)


@pytest.mark.parametrize("metric", ["rmse", "mse", "mae", "max_abs"])
def test_less_is_better(metric: str) -> None:
    assert METRICS[metric].passes(0.5, 0.5) and METRICS[metric].passes(0.0, 0.5)
    assert not METRICS[metric].passes(0.51, 0.5) and not METRICS[metric].passes(math.nan, math.inf)


def test_names_are_told_in_any_case() -> None:
    assert [metric_name(text) for text in ("SNR", " Max-Abs ", "rmse", "sne")] == ["snr", "max_abs", "rmse", None]
