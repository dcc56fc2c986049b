"""The fast arithmetic of the device against its meaning, and the meaning against onnxruntime, ties above all.

Weights of the convolutions are small or zero, so that onnxruntime's saturating uint8 kernels on older x86 cannot
matter: accumulators come in through the bias.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np
import pytest
import qlinear_oracle as oracle
from numpy.typing import NDArray

from tilewright.ir import arithmetic as meaning
from tilewright.runtime.isa.layouts import pack_record, unpack_record
from tilewright.runtime.simulator import arithmetic as fast

TYPES = (np.int8, np.uint8)
# onnxruntime's addition in binary32 may differ where the sum lies this close to a tie.
ADD_TIE = 2.0**-14


def scale(rng: np.random.Generator, low: float, high: float) -> np.float32:
    return np.float32(np.exp2(rng.uniform(low, high)))


def scales(rng: np.random.Generator, low: float, high: float, count: int) -> NDArray[np.float32]:
    return np.exp2(rng.uniform(low, high, count)).astype(np.float32)


def tie_prone(rng: np.random.Generator, factor: NDArray[np.float32]) -> NDArray[np.int32]:
    """Accumulators whose product with the factor lies at or next to half an integer."""
    target = rng.integers(-140, 140, factor.shape) + 0.5
    near = np.rint(target / factor.astype(np.float64)) + rng.integers(-1, 2, factor.shape)
    return np.clip(near, -(2**31) + 2**16, 2**31 - 2**16).astype(np.int32)


def coarse(values: NDArray[np.float32], bits: int) -> NDArray[np.float32]:
    """Keep few significant bits, so that exact ties occur."""
    fraction, exponent = np.frexp(values)
    return np.ldexp(np.round(np.ldexp(fraction, bits)), exponent - bits).astype(np.float32)


def cases(rng: np.random.Generator, count: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Accumulators and factors: a third near ties, a third exact ties, a third of any kind."""
    factor = scales(rng, -24, 0, count)
    kind = rng.integers(0, 3, count)
    factor = np.where(kind == 1, coarse(factor, 4), factor).astype(np.float32)
    anything = rng.integers(-(2**30), 2**30, count) >> rng.integers(0, 30, count)
    return np.where(kind == 2, anything, tie_prone(rng, factor)).astype(np.int32), factor


def test_round_shift_rounds_to_even() -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.integers(-(2**60), 2**60, 200), np.arange(-40, 40)])
    for shift in (0, 1, 2, 3, 17, 62):
        expected = [round(Fraction(int(value), 1 << shift)) for value in values]
        assert meaning.round_shift(values, shift).tolist() == expected


def test_requantize_equals_its_meaning() -> None:
    rng = np.random.default_rng(1)
    accumulator, factor = cases(rng, 200_000)
    for zero_point, low, high in ((0, -128, 127), (-128, -128, 127), (127, -3, 100), (5, -128, 0)):
        expected = meaning.requantize(accumulator, factor, zero_point, low, high)
        np.testing.assert_array_equal(fast.requantize(accumulator, factor, zero_point, low, high), expected)


def test_the_cases_tell_one_rounding_from_two() -> None:
    """A device that rounded the exact product once would be caught: the cases hold products that near a tie."""
    accumulator, factor = cases(np.random.default_rng(1), 200_000)
    once = np.clip(np.rint(accumulator.astype(np.float64) * factor), -128, 127)
    assert (once != meaning.requantize(accumulator, factor, 0, -128, 127)).sum() > 100


def extreme(choose: np.ufunc) -> Callable[..., np.ndarray]:
    """As :func:`tilewright.ir.arithmetic.add`, with one of the products instead of their sum."""

    def rule(
        a: np.ndarray, b: np.ndarray, multipliers: tuple[int, int, int], zeros: Sequence[int], low: int, high: int
    ) -> np.ndarray:
        first, second, shift = multipliers
        chosen = choose((np.asarray(a, np.int64) - zeros[0]) * first, (np.asarray(b, np.int64) - zeros[1]) * second)
        return np.clip(meaning.round_shift(chosen + (zeros[2] << shift), shift), low, high)

    return rule


def test_elementwise_equals_its_meaning() -> None:
    rng = np.random.default_rng(2)
    values = np.arange(-128, 128)
    a, b = values[:, None], values[None, :]
    order = values.astype(np.int8).view(np.uint8)
    for trial in range(30):
        first, second, third = (scale(rng, -8, 2) for _ in range(3))
        if trial % 3 == 0:
            second, third = first, np.float32(first * 2)
        unsigned = trial % 2
        zeros = [int(rng.integers(-128, 128)) for _ in range(3)]
        stated = (zeros[0], zeros[1], zeros[2] + 128 * unsigned)
        offset = -128 * unsigned
        factors = meaning.add_multipliers(first, second, third)
        factor = np.float32(meaning.multiplier(first, np.asarray(second), third))
        record = unpack_record(
            pack_record(
                zero_a=zeros[0],
                zero_b=zeros[1],
                zero_output=stated[2],
                offset=offset,
                multiplier_a=factors[0],
                multiplier_b=factors[1],
                shift=factors[2],
                multiplier=float(factor),
            )
        )
        low, high = -128 - offset, 127 - offset
        for kind, rule in ((0, meaning.add), (2, extreme(np.maximum)), (3, extreme(np.minimum))):
            expected = rule(a, b, factors, stated, low, high) + offset
            np.testing.assert_array_equal(
                fast.elementwise_table(kind, record, -128, 127)[np.ix_(order, order)], expected
            )
        expected = meaning.multiply(a, b, factor, stated, low, high) + offset
        np.testing.assert_array_equal(fast.elementwise_table(1, record, -128, 127)[np.ix_(order, order)], expected)


def against_convolution(rng: np.random.Generator, count: int) -> int:
    """Differences from QLinearConv on ``count`` accumulators, one output channel each, given as biases."""
    accumulator, factor = cases(rng, count)
    dtype = TYPES[int(rng.integers(2))]
    low, high = oracle.limits(dtype)
    scale_x, scale_y = scale(rng, -6, 2), scale(rng, -4, 4)
    scale_w = (factor * scale_y / scale_x).astype(np.float32)
    exact = meaning.multiplier(scale_x, scale_w, scale_y)
    zero_point = int(rng.integers(low, high + 1))
    found = oracle.run(
        "QLinearConv",
        {
            "x": np.zeros((1, 1, 1, 1), dtype),
            "scale_x": np.array(scale_x),
            "zero_x": np.array(0, dtype),
            "w": np.zeros((count, 1, 1, 1), np.int8),
            "scale_w": scale_w,
            "zero_w": np.zeros(count, np.int8),
            "scale_y": np.array(scale_y),
            "zero_y": np.array(zero_point, dtype),
            "b": accumulator,
        },
        np.dtype(dtype).name,
    ).ravel()
    return int((meaning.requantize(accumulator, exact, zero_point, low, high) != found).sum())


def against_product(rng: np.random.Generator, count: int) -> int:
    """Differences from QLinearMatMul on ``count`` products of two, with a factor for each column."""
    dtype = TYPES[int(rng.integers(2))]
    low, high = oracle.limits(dtype)
    x = rng.integers(low, high + 1, (1, 2)).astype(dtype)
    w = rng.integers(-64, 65, (2, count)).astype(np.int8)
    zero_x, zero_y = (int(rng.integers(low, high + 1)) for _ in range(2))
    accumulator = (x.astype(np.int64) - zero_x) @ w.astype(np.int64)
    scale_x, scale_y = scale(rng, -6, 2), scale(rng, -4, 4)
    halves = rng.integers(-140, 140, count) + 0.5
    wanted = np.abs(halves / np.where(accumulator[0] == 0, 1, accumulator[0])) * scale_y / scale_x
    scale_w = np.where(rng.random(count) < 0.5, coarse(wanted.astype(np.float32), 8), wanted).astype(np.float32)
    found = oracle.run(
        "QLinearMatMul",
        {
            "x": x,
            "scale_x": np.array(scale_x),
            "zero_x": np.array(zero_x, dtype),
            "w": w,
            "scale_w": scale_w,
            "zero_w": np.zeros(count, np.int8),
            "scale_y": np.array(scale_y),
            "zero_y": np.array(zero_y, dtype),
        },
        np.dtype(dtype).name,
    )
    factor = meaning.multiplier(scale_x, scale_w, scale_y)
    return int((meaning.requantize(accumulator, factor, zero_y, low, high) != found).sum())


def pool_setting(rng: np.random.Generator) -> tuple[type, tuple[np.float32, np.float32], tuple[int, int]]:
    """Type, scales with simple ratios half of the time, zero points."""
    dtype = TYPES[int(rng.integers(2))]
    low, high = oracle.limits(dtype)
    scale_x = scale(rng, -8, 2)
    scale_y = np.float32(scale_x * np.float32(rng.choice([1, 0.5, 0.75, 2, rng.uniform(0.3, 2)])))
    zero_x, zero_y = (int(rng.integers(low, high + 1)) for _ in range(2))
    return dtype, (scale_x, scale_y), (zero_x, zero_y)


def pool_inputs(x: NDArray, dtype: type, scales: tuple, zeros: tuple) -> dict[str, NDArray | None]:
    return {
        "x": x,
        "scale_x": np.array(scales[0]),
        "zero_x": np.array(zeros[0], dtype),
        "scale_y": np.array(scales[1]),
        "zero_y": np.array(zeros[1], dtype),
    }


def against_average(rng: np.random.Generator, channels: int) -> tuple[int, int]:
    """(differences, cases) from QLinearAveragePool, padding counted or not."""
    dtype, scales, zeros = pool_setting(rng)
    low, high = oracle.limits(dtype)
    size, kernel, include = 9, int(rng.integers(2, 5)), int(rng.integers(2))
    x = rng.integers(low, high + 1, (1, channels, size, size)).astype(dtype)
    attributes = {"kernel_shape": [kernel, kernel], "strides": [2, 2], "pads": [1] * 4, "count_include_pad": include}
    found = oracle.run(
        "QLinearAveragePool", pool_inputs(x, dtype, scales, zeros), np.dtype(dtype).name, attributes, "com.microsoft"
    )
    wrong = 0
    for oy in range(found.shape[2]):
        for ox in range(found.shape[3]):
            rows = [row for row in range(2 * oy - 1, 2 * oy - 1 + kernel) if 0 <= row < size]
            columns = [column for column in range(2 * ox - 1, 2 * ox - 1 + kernel) if 0 <= column < size]
            window = [(..., x[0, :, row, column]) for row in rows for column in columns]
            count = kernel * kernel if include else len(window)
            expected = meaning.average(window, (channels,), count, scales, zeros, low, high)
            wrong += int((expected != found[0, :, oy, ox]).sum())
    return wrong, found.size


def against_global_average(rng: np.random.Generator, channels: int) -> tuple[int, int]:
    """(differences, cases) from QLinearGlobalAveragePool."""
    dtype, scales, zeros = pool_setting(rng)
    low, high = oracle.limits(dtype)
    size = int(rng.integers(1, 9))
    x = rng.integers(low, high + 1, (1, channels, size, size)).astype(dtype)
    found = oracle.run(
        "QLinearGlobalAveragePool",
        pool_inputs(x, dtype, scales, zeros),
        np.dtype(dtype).name,
        {"channels_last": 0},
        "com.microsoft",
    ).ravel()
    total = (x.astype(np.int64) - zeros[0]).sum(axis=(2, 3)).ravel()
    factor = meaning.global_average_multiplier(*scales, size * size)
    return int((meaning.requantize(total, np.asarray(factor), zeros[1], low, high) != found).sum()), found.size


def pairs(rng: np.random.Generator, operator: str) -> tuple[NDArray, NDArray, NDArray]:
    """Result of QLinearAdd or QLinearMul on all pairs of values, the meaning's result, and how near a tie each is."""
    dtype = TYPES[int(rng.integers(2))]
    low, high = oracle.limits(dtype)
    a, b = (side.ravel().astype(dtype) for side in np.meshgrid(*2 * [np.arange(low, high + 1)]))
    scale_a, scale_b = scale(rng, -8, 2), scale(rng, -8, 2)
    if rng.random() < 0.5:
        scale_b = np.float32(scale_a * np.float32(rng.choice([0.25, 0.5, 1, 2])))
    ratio = np.float32(rng.choice([1, 2, rng.uniform(0.5, 4)]))
    scale_y = np.float32(scale_a * ratio * (scale_b * np.float32(100) if operator == "QLinearMul" else np.float32(1)))
    zero_a, zero_b, zero_y = (int(rng.integers(low, high + 1)) for _ in range(3))
    zeros = (zero_a, zero_b, zero_y)
    inputs: dict[str, NDArray | None] = {
        "a": a,
        "scale_a": np.array(scale_a),
        "zero_a": np.array(zeros[0], dtype),
        "b": b,
        "scale_b": np.array(scale_b),
        "zero_b": np.array(zeros[1], dtype),
        "scale_y": np.array(scale_y),
        "zero_y": np.array(zeros[2], dtype),
    }
    found = oracle.run(operator, inputs, np.dtype(dtype).name, {}, "com.microsoft").astype(np.int64)
    if operator == "QLinearMul":
        factor = meaning.multiplier(scale_a, np.asarray(scale_b), scale_y)
        return found, meaning.multiply(a, b, np.float32(factor), zeros, low, high), np.zeros(a.shape)
    expected = meaning.add(a, b, meaning.add_multipliers(scale_a, scale_b, scale_y), zeros, low, high)
    ratios = float(np.float32(scale_a / scale_y)), float(np.float32(scale_b / scale_y))
    exact = (a.astype(np.float64) - zeros[0]) * ratios[0] + (b.astype(np.float64) - zeros[1]) * ratios[1]
    return found, expected, np.abs(np.abs(exact - np.floor(exact)) - 0.5)


def check_add(rng: np.random.Generator, trials: int) -> tuple[int, int]:
    """(exceptions, cases) of QLinearAdd; every exception is by one and next to a tie."""
    exceptions = total = 0
    for _ in range(trials):
        found, expected, distance = pairs(rng, "QLinearAdd")
        wrong = found != expected
        assert np.abs(found - expected).max() <= 1
        assert distance[wrong].max(initial=0) < ADD_TIE
        exceptions += int(wrong.sum())
        total += found.size
    return exceptions, total


def differing_table_entries(rng: np.random.Generator, operator: str) -> int:
    dtype = TYPES[int(rng.integers(2))]
    low, high = oracle.limits(dtype)
    scale_x, zeros = scale(rng, -8, -3), tuple(int(rng.integers(low, high + 1)) for _ in range(2))
    scale_y = np.float32(1 / 256) if operator == "QLinearSigmoid" else scale(rng, -8, -3)
    x = np.arange(low, high + 1).astype(dtype)
    attributes = {"alpha": 0.1} if operator == "QLinearLeakyRelu" else {}
    inputs = pool_inputs(x, dtype, (scale_x, scale_y), zeros)
    found = oracle.run(operator, inputs, np.dtype(dtype).name, attributes, "com.microsoft").astype(np.int64)

    def sigmoid(value: NDArray[np.float32]) -> NDArray[np.float32]:
        return (1 / (1 + np.exp(-value.astype(np.float64)))).astype(np.float32)

    def leaky(value: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.where(value >= 0, value, np.float32(0.1) * value).astype(np.float32)

    function = sigmoid if operator == "QLinearSigmoid" else leaky
    limits = ((low, high), (low, high))
    return int((meaning.table(function, (scale_x, scale_y), (zeros[0], zeros[1]), limits) != found).sum())


def test_few_cases_against_onnxruntime() -> None:
    rng = np.random.default_rng(10)
    assert against_convolution(rng, 1 << 14) == 0
    assert against_product(rng, 1 << 13) == 0
    assert all(against_average(rng, 64)[0] == 0 for _ in range(6))
    assert all(against_global_average(rng, 64)[0] == 0 for _ in range(6))
    for _ in range(2):
        found, expected, _ = pairs(rng, "QLinearMul")
        np.testing.assert_array_equal(found, expected)
    check_add(rng, 2)


@pytest.mark.parametrize("operator", ["QLinearSigmoid", "QLinearLeakyRelu"])
def test_tables_against_onnxruntime(operator: str) -> None:
    rng = np.random.default_rng(11)
    assert sum(differing_table_entries(rng, operator) for _ in range(20)) == 0


@pytest.mark.sweep
def test_a_million_requantisations_against_onnxruntime(capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(12)
    assert sum(against_convolution(rng, 1 << 16) for _ in range(48)) == 0
    assert sum(against_product(rng, 1 << 16) for _ in range(32)) == 0
    with capsys.disabled():
        print(f"\nQLinearConv 0 of {48 << 16}, QLinearMatMul 0 of {32 << 16} differ")


@pytest.mark.sweep
def test_a_million_pools_products_and_sums_against_onnxruntime(capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(13)
    report: list[str] = []
    for name, check in (("QLinearAveragePool", against_average), ("QLinearGlobalAveragePool", against_global_average)):
        results = [check(rng, 1024) for _ in range(1000 if check is against_global_average else 80)]
        report.append(f"{name} 0 of {sum(total for _, total in results)} differ")
        assert sum(wrong for wrong, _ in results) == 0
    for _ in range(64):
        found, expected, _ = pairs(rng, "QLinearMul")
        np.testing.assert_array_equal(found, expected)
    report.append(f"QLinearMul 0 of {64 << 16} differ")
    exceptions, total = check_add(rng, 64)
    report.append(f"QLinearAdd {exceptions} of {total} differ, by one, each within 2^-14 of a tie")
    with capsys.disabled():
        print("\n" + ", ".join(report))
