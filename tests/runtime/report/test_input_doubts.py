"""Inputs of a run that are unlike the samples of calibration are told; those that are alike are not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tilewright.runtime.report.details import InputStatistics
from tilewright.runtime.report.input_doubts import doubts


def photo(rng: np.random.Generator) -> np.ndarray:
    """Smooth, from black to white: float32[1, 3, 32, 32] of 0 to 255."""
    ramp = np.linspace(0, 255, 32, dtype=np.float32)
    return np.clip(np.add.outer(ramp / 2, ramp / 2) + rng.uniform(-9, 9, (1, 3, 32, 32)), 0, 255).astype(np.float32)


def statistics(low: float, high: float) -> InputStatistics:
    middle, spread = (low + high) / 2, (high - low) / 4
    return InputStatistics("x", 50, low, high, (middle,) * 3, (spread,) * 3, None, 0.0, 0)


def doubt(array: np.ndarray, known: InputStatistics) -> str:
    return " ".join(doubts({"x": array.astype(np.float32)}, [known]))


UNITS = {"0-255": (0.0, 255.0), "0-1": (0.0, 1.0), "-1-1": (-1.0, 1.0), "normalised": (-2.1, 2.6)}


@pytest.mark.parametrize("right", UNITS)
@pytest.mark.parametrize("given", UNITS)
def test_other_units_are_told(right: str, given: str, rng: np.random.Generator) -> None:
    low, high = UNITS[given]
    array = photo(rng) / 255 * (high - low) + low
    found = doubt(array, statistics(*UNITS[right]))
    if given == right:
        assert found == ""
    elif (given, right) == ("-1-1", "normalised"):
        # A photograph of less contrast looks the same.
        assert found == ""
    else:
        assert found.startswith("input 'x' has values of ")
        assert "the samples of calibration had " in found


def test_what_is_constant_or_in_another_layout_is_told(rng: np.random.Generator) -> None:
    known = statistics(0, 255)
    assert doubt(np.full((1, 3, 32, 32), 7), known).startswith("input 'x' is 7 throughout; the samples")
    assert doubt(np.full((1, 3, 32, 32), -0.0), known).startswith("input 'x' is 0 throughout; the samples")
    colours = photo(rng) * np.asarray([1, 0.5, 0.1]).reshape(1, 3, 1, 1)
    interleaved = colours.transpose(0, 2, 3, 1).reshape(1, 3, 32, 32)
    assert "colours lie one after the other" in doubt(interleaved, known)
    # Of a line of a table nothing of it is strange.
    assert doubt(np.full((1, 5), 7), known) == doubt(np.full((1, 5), 200) + np.arange(5), known) == ""
    assert doubt(photo(rng), known) == ""


def test_what_is_no_number_is_counted(rng: np.random.Generator) -> None:
    array = photo(rng)
    array[0, 0, 0, 0] = np.nan
    known = statistics(0, 255)
    told = "input 'x' has values that are no numbers in {} of 3,072 places; the samples of "
    assert doubt(array, known).startswith(told.format(1))
    assert doubt(array * np.nan, known).startswith(told.format("3,072"))


def test_what_samples_of_calibration_had_outside_is_not_told(rng: np.random.Generator) -> None:
    array, known = rng.standard_normal((1, 3, 64, 64)), replace(statistics(-4, 4), expected=(-2.1, 2.6))
    assert " lie outside -2.1 to 2.6, which pixels become; " in doubt(array, known)
    assert doubt(array, replace(known, clipped=0.02)) == ""
    assert " lie outside " in doubt(array * 2, replace(known, clipped=0.02))


def test_what_has_no_statistics_is_not_judged(rng: np.random.Generator) -> None:
    integers = InputStatistics("x", 50, 0, 9, (), (), None, 0.0, 0)
    assert doubts({"x": photo(rng)}, [integers]) == doubts({"y": photo(rng)}, [statistics(0, 1)]) == []


@pytest.mark.parametrize("mean", [100, 127.5, 150])
def test_another_mean_is_told_where_the_range_of_pixels_is_known(mean: float, rng: np.random.Generator) -> None:
    """Most photographs have some light and some dark pixels, which become numbers that no pixel becomes."""
    known = replace(statistics(-1, 1), expected=(-1.0, 1.0))
    found = doubt((photo(rng) - mean) / 127.5, known)
    assert (found == "") == (mean == 127.5)
    assert found == "" or " lie outside -1 to 1, which pixels become; the samples of calibration had " in found
