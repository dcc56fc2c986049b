"""Training of a linear layer: the integers of hardware and software, how they learn, and every way to get it wrong."""

from __future__ import annotations

import warnings
from fractions import Fraction
from math import floor
from typing import Any

import numpy as np
import pytest

from tilewright.runtime.api.accelerator import training as training_module
from tilewright.runtime.api.accelerator.errors import AcceleratorError, SaturationWarning
from tilewright.runtime.api.accelerator.fixed_point import shifted, to_fixed
from tilewright.runtime.api.accelerator.training import LinearTraining

NIN, NOUT, BATCH = 6, 3, 4
BITS = (12, 10, 10, 11)


def problem(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Weights and biases to start with, inputs, and targets of another layer."""
    rng = np.random.default_rng(seed)
    a, truth = rng.standard_normal((2, NOUT, NIN)).astype(np.float32)
    b = rng.standard_normal(NOUT).astype(np.float32)
    x = rng.standard_normal((NIN, BATCH)).astype(np.float32)
    return a, b, x, truth @ x


def start(rate: float = 0.05, seed: int = 0, bits: tuple[int, int, int, int] = BITS) -> LinearTraining:
    a, b, x, y = problem(seed)
    training = LinearTraining(BATCH, a, b, *bits, rate)
    training.data(x, y if rate else None, 0)
    return training


def state(training: LinearTraining) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    a, b, y = np.empty((NOUT, NIN), "f4"), np.empty(NOUT, "f4"), np.empty((NOUT, BATCH), "f4")
    training.get(a, b)
    training.outputs(y)
    return a, b, y


def half_up(value: Fraction) -> int:
    return floor(value + Fraction(1, 2))


def narrow(value: int) -> int:
    return max(-(2**15), min(2**15 - 1, value))


def exact_step(a, b, x, y, rate: Fraction, bits) -> tuple[list, list, list]:
    """One step in exact rational arithmetic, a number at a time; all arguments are integers."""
    wb, xb, yb, gb = bits
    outputs = [
        [
            narrow(half_up(Fraction(sum(a[o][i] * x[i][n] for i in range(NIN)) + b[o]) / 2 ** (wb + xb) * 2**yb))
            for n in range(BATCH)
        ]
        for o in range(NOUT)
    ]
    g = [[narrow(half_up(Fraction(outputs[o][n] - y[o][n], 2**yb) * 2**gb)) for n in range(BATCH)] for o in range(NOUT)]
    updated = [
        [
            narrow(a[o][i] - half_up(rate * sum(g[o][n] * x[i][n] for n in range(BATCH)) / 2 ** (gb + xb) * 2**wb))
            for i in range(NIN)
        ]
        for o in range(NOUT)
    ]
    biases = [b[o] - half_up(rate * sum(g[o]) / Fraction(2**gb) * 2 ** (wb + xb)) for o in range(NOUT)]
    return updated, biases, outputs


@pytest.mark.parametrize("bits", [BITS, (8, 8, 8, 8), (15, 0, 15, 0), (0, 15, 0, 15), (4, 4, 15, 15)])
@pytest.mark.parametrize("rate", [0.05, 1.0, 0.3333, 1e-6])
@pytest.mark.filterwarnings("ignore::tilewright.runtime.api.accelerator.errors.SaturationWarning")
def test_a_step_is_the_formula_in_exact_arithmetic(bits: tuple[int, int, int, int], rate: float) -> None:
    a, b, x, y = problem()
    whole = [to_fixed(array, count).tolist() for array, count in ((a, bits[0]), (x, bits[1]), (y, bits[2]))]
    biases = np.rint(b.astype(np.float64) * 2.0 ** (bits[0] + bits[1])).astype(np.int64).tolist()
    scale = min(15 - np.frexp(rate)[1], 30)
    multiplier = Fraction(round(rate * 2.0**scale)) / Fraction(2) ** int(scale)
    wanted = exact_step(whole[0], biases, whole[1], whole[2], multiplier, bits)
    training = start(rate, bits=bits)
    training.step(0)
    found = state(training)
    for array, expected, count in zip(found, wanted, (bits[0], bits[0] + bits[1], bits[2]), strict=True):
        np.testing.assert_array_equal(array, (np.array(expected) * 2.0**-count).astype(np.float32))


@pytest.mark.parametrize("seed", range(5))
def test_hardware_and_software_are_equal_in_every_bit(seed: int) -> None:
    training = start(seed=seed)
    for _ in range(20):
        training.step(0)
        hardware = state(training)
        training.step_software()
        assert all(np.array_equal(one, other) for one, other in zip(hardware, state(training), strict=True))


def test_fixed_point_follows_floating_point() -> None:
    training = start()
    for _ in range(10):
        training.step(0)
        fixed = state(training)
        training.step_float()
        for one, other in zip(fixed, state(training), strict=True):
            np.testing.assert_allclose(one, other, atol=0.02)


def test_it_learns() -> None:
    training, (_, _, _, y) = start(), problem()
    for _ in range(300):
        training.step(0)
    assert np.abs(state(training)[2] - y).max() < 0.05


def test_with_rate_0_the_caller_gives_the_gradient() -> None:
    _, _, x, y = problem()
    own, given = start(rate=1.0), start(rate=0)
    x, y = 0.2 * x, 0.2 * y
    own.data(x, y, 0)
    for _ in range(3):
        given.data(x, None, 0)
        given.step(0)
        outputs = state(given)[2]
        gradient = (outputs - to_fixed(y, BITS[2]) * 2.0 ** -BITS[2]).astype(np.float32)
        given.data(None, gradient, 0)
        given.step(0)
        own.step(0)
        assert all(np.array_equal(one, other) for one, other in zip(state(given), state(own), strict=True))


def test_new_inputs_drop_the_gradient_of_the_old_ones() -> None:
    a, _, x, y = problem()
    training = start(rate=0)
    training.data(x, y, 0)
    training.data(x, None, 0)
    training.step(0)
    np.testing.assert_array_equal(state(training)[0], to_fixed(a, BITS[0]) * np.float32(2.0 ** -BITS[0]))


def test_each_index_has_its_own_data_and_arrays_are_copied() -> None:
    _, _, x, y = problem()
    training, other = start(), start()
    training.data(2 * x, y, 7)
    x2, y2 = x.copy(), y.copy()
    training.data(x2, y2, 3)
    x2[...], y2[...] = 0, 0
    other.step(0)
    training.step(3)
    assert all(np.array_equal(one, two) for one, two in zip(state(training), state(other), strict=True))
    training.step(7)
    other.step(0)
    assert not np.array_equal(state(training)[2], state(other)[2])


def test_results_go_into_arrays_of_any_shape() -> None:
    training = start()
    training.step(0)
    flat = np.empty(NOUT * NIN, np.float32), np.empty((NOUT, 1), np.float32)
    training.get(*flat)
    np.testing.assert_array_equal(flat[0].reshape(NOUT, NIN), state(training)[0])


@pytest.mark.parametrize("rate", [1e-300, 5e-324, 2.0**14.9])
@pytest.mark.filterwarnings("ignore::tilewright.runtime.api.accelerator.errors.SaturationWarning")
def test_rates_at_the_ends_of_the_range_do_not_overflow(rate: float) -> None:
    training = start(rate, bits=(15, 0, 15, 0))
    with np.errstate(all="raise"):
        for _ in range(3):
            training.step(0)
    weights = state(training)[0]
    assert np.abs(weights).max() <= 1


def test_multiplying_shifts_saturate() -> None:
    assert shifted(np.array([2**60, -(2**60), 3]), -10).tolist() == [2**62, -(2**62), 3072]
    assert shifted(np.array([3, -3, 5, -5]), 1).tolist() == [2, -1, 3, -2]


def test_numbers_that_do_not_fit_are_told_once_an_array_and_cut_off() -> None:
    a, b, x, y = problem()
    with pytest.warns(SaturationWarning) as caught:
        training = LinearTraining(BATCH, a * 100, b, *BITS, 0.1)
    assert str(caught[0].message) == "17 of 18 numbers of A do not fit ±8 and are cut off"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        LinearTraining(BATCH, a * 100, b, *BITS, 0.1, warnings=False)
    training.data(x, y, 0)
    training.step(0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batchsize": 0}, "batchsize is out of range; expected a whole number from 1 to 65536, found 0"),
        ({"batchsize": 2.0}, "batchsize is out of range; expected a whole number from 1 to 65536, found 2.0"),
        ({"Ashift": 16}, "Ashift is out of range; expected a whole number from 0 to 15, found 16"),
        ({"Ygshift": -1}, "Ygshift is out of range; expected a whole number from 0 to 15, found -1"),
        ({"rate": -1.0}, "rate is out of range; expected a number from 0 to below 32768, found -1.0"),
        ({"rate": float("nan")}, "rate is out of range; expected a number from 0 to below 32768, found nan"),
        ({"A": np.zeros(6, "f4")}, "A is no matrix of weights; expected an array [nout, nin], found float32[6]"),
        ({"A": [[1.0]]}, "A is no matrix of weights; expected an array [nout, nin], found list"),
        ({"A": np.full((NOUT, NIN), np.nan, "f4")}, "A is not finite; expected numbers, found infinity or NaN"),
        (
            {"b": np.zeros(4, "f4")},
            "b has the wrong size or type; expected an array of numbers [3], found float32[4]",
        ),
    ],
)
def test_wrong_arguments_of_start(change: dict[str, object], message: str) -> None:
    a, b, _, _ = problem()
    names = ("batchsize", "A", "b", "Ashift", "Xshift", "Yshift", "Ygshift", "rate")
    arguments: dict[str, Any] = dict(zip(names, (BATCH, a, b, *BITS, 0.1), strict=True)) | change
    with pytest.raises(AcceleratorError) as caught:
        LinearTraining(*arguments.values())
    assert str(caught.value) == f"Trainlinear: {message}"
    assert caught.value.code == -1


def test_wrong_data_and_order_of_calls() -> None:
    a, b, x, y = problem()
    training = LinearTraining(BATCH, a, b, *BITS, 0.1)

    def refusal(call, *arguments) -> str:
        with pytest.raises(AcceleratorError) as caught:
            call(*arguments)
        return str(caught.value)

    for step in (training.step_software, training.step_float, lambda: training.step(0)):
        assert refusal(step) == (
            "Trainlinear: there are no inputs to train on; expected TrainlinearData with X before, found idx 0"
        )
    assert refusal(training.outputs, y) == ("Trainlinear: there are no outputs yet; expected TrainlinearStep before")
    assert refusal(training.data, x[:, :2], None, 0) == (
        "Trainlinear: X has the wrong size or type; expected an array of numbers [6, 4], found float32[6, 2]"
    )
    assert refusal(training.data, None, y, -1) == (
        "Trainlinear: idx is out of range; expected a whole number from 0 to 2147483648, found -1"
    )
    training.data(x, y, 0)
    training.step(0)
    assert refusal(training.get, np.empty(1, "f4"), b) == (
        "Trainlinear: A cannot take the result; expected a float32 array of 18 elements, found float32[1]"
    )
    assert refusal(training.outputs, np.empty((NOUT, BATCH), np.int32)) == (
        "Trainlinear: Y cannot take the result; expected a float32 array of 12 elements, found int32[3, 4]"
    )
    silent = LinearTraining(BATCH, a, b, *BITS, 0)
    assert refusal(silent.step_software) == (
        "Trainlinear: the software model computes the gradient itself; expected a rate above 0, found 0"
    )


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_module, "_ELEMENTS_LIMIT", 80)
    _, _, x, y = problem()
    training = start()
    for _ in range(3):
        training.data(x, y, 0)
    training.data(x, None, 1)
    with pytest.raises(AcceleratorError) as caught:
        training.data(None, y, 1)
    assert str(caught.value) == (
        "Trainlinear: the data for training is too much; expected at most 80 elements, found 90"
    )
