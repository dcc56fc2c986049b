"""Kernels equal the reference on NaN, infinities, indices out of range and extreme attributes; on every target."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from extreme_values import ELEMENT_BY_ELEMENT, with_extreme_attributes, with_extreme_inputs, with_extreme_integers
from kernel_harness import TARGETS, Execution, described, run_kernels
from operator_samples import Case, make_case, samples
from samples import Sample

from tilewright.codegen.cpu.families import lowerings
from tilewright.codegen.cpu.llvm.target import TargetDescription
from tilewright.errors import InputError
from tilewright.ir import interp
from tilewright.ir.op import REGISTRY, Operator
from tilewright.ir.ops.activation import Celu, Clip
from tilewright.ir.ops.detection.proposal import Proposal
from tilewright.ir.ops.detection.region_pooling import PsroiPool
from tilewright.ir.ops.elementwise import Pow
from tilewright.ir.ops.normalization import GroupNorm, LpNorm, Lrn
from tilewright.ir.ops.pooling import LpPool
from tilewright.ir.ops.quantization import DynamicQuantizeLinear, QuantizeLinear
from tilewright.ir.ops.reduction import ReduceL2
from tilewright.ir.ops.resize import Resize
from tilewright.ir.ops.softmax import LogSoftmax
from tilewright.ir.types import DType

INF, NAN = math.inf, math.nan


def extreme_samples(name: str, every: int, inputs: int, attributes: int) -> Iterator[Sample]:
    """Variants of one in ``every`` samples of an operator: so many with other inputs, and with other attributes."""
    cls, rng = REGISTRY[name], np.random.default_rng(sum(map(ord, name)))
    for sample in list(samples(cls, np.random.default_rng(7)))[::every]:
        yield from with_extreme_inputs(sample, rng, inputs)
        if sample.types is None:
            yield from with_extreme_integers(sample, rng, 2)
        for changed in with_extreme_attributes(sample, rng, attributes):
            yield changed
            yield from with_extreme_inputs(changed, rng, 2)


def executions(case: Case, target: TargetDescription) -> Iterator[Execution]:
    """The op of a case with each kernel that there is for it."""
    op = next(case.module.main.ops)
    arrays = tuple(array for array in case.sample.inputs if array is not None)
    for lowering in lowerings(type(op.operator)):
        kernel = lowering(op, target)
        if kernel is not None:
            yield Execution(op, kernel, arrays)


def results_of_reference(case: Case) -> tuple[np.ndarray, ...] | None:
    """Results of the reference, or ``None`` where it refuses the data, as kernels then must."""
    try:
        return tuple(interp.run(case.module, case.inputs).values())
    except InputError:
        return None


def described_case(case: Case) -> str:
    return f"{case.name}: {case.sample.operator}\n" + "\n".join(f"{array!r}" for array in case.sample.inputs)


def assert_same(found: np.ndarray, expected: np.ndarray, case: Case) -> None:
    """Equal integers, NaNs and infinities, and numbers that are close."""
    about = described_case(case)
    if found.dtype.kind != "f":
        np.testing.assert_array_equal(found, expected, about)
        return
    tolerance = 2e-3 if found.dtype == np.float16 else 1e-5
    floats = [array for array in (*case.sample.inputs, expected) if array is not None and array.dtype.kind == "f"]
    size = max(float(np.abs(array[np.isfinite(array)]).max(initial=1e-6)) for array in floats)
    if case.sample.operator.family in ELEMENT_BY_ELEMENT:
        size = min(size, 1)
    wide = found.astype(np.float64), expected.astype(np.float64)
    np.testing.assert_allclose(*wide, rtol=tolerance, atol=tolerance * size, err_msg=about)


def check(name: str, targets: Sequence[str], every: int, inputs: int, attributes: int) -> None:
    cases = [make_case(f"{name}-{i}", s) for i, s in enumerate(extreme_samples(name, every, inputs, attributes))]
    with np.errstate(all="ignore"):
        expected = [results_of_reference(case) for case in cases]
    for target in targets:
        found = [(i, e) for i, case in enumerate(cases) for e in executions(case, described(target))]
        found.sort(key=lambda entry: entry[1].kernel.name)
        for start in range(0, len(found), 100):
            part = found[start : start + 100]
            for (index, _), results in zip(part, run_kernels([e for _, e in part], described(target)), strict=True):
                right = expected[index]
                assert (results is None) == (right is None), f"one alone refuses: {described_case(cases[index])}"
                for result, expected_result in zip(results or (), right or (), strict=True):
                    assert_same(result, expected_result, cases[index])


LARGE = np.float32(1e30)
"""Its square is infinite in single precision."""

FOUND: dict[str, tuple[Operator, list[object], list[object]]] = {
    "roots of -infinity and -0": (Pow(), [[-INF, -0.0, NAN], 0.5], [[INF, 0, NAN]]),
    "reciprocals of such roots": (Pow(), [[-INF, -0.0, NAN], -0.5], [[0, INF, NAN]]),
    "exponentials above 1": (Celu(-1.0), [[-LARGE, -1, 2]], [[-INF, 1 - math.e, 2]]),
    "an alpha of 0": (Celu(0.0), [[1, -1]], [[NAN, 0]]),
    "an alpha of -0": (Celu(-0.0), [[1, -1]], [[1, NAN]]),
    "bounds that are no numbers": (Clip(NAN, 6.0), [[-1, 7, NAN]], [[-1, 6, NAN]]),
    "a norm whose square overflows": (LpNorm(0, 2), [[LARGE, -LARGE, 0]], [[0.5**0.5, -(0.5**0.5), 0]]),
    "a sum of squares that overflows": (ReduceL2((0,)), [[LARGE, LARGE]], [[2**0.5 * LARGE]]),
    "a power that overflows": (LpPool((2,), (1,), (0, 0), (1,), 3), [[[[LARGE, LARGE]]]], [[[[2 ** (1 / 3) * LARGE]]]]),
    "the largest power": (LpPool((2,), (1,), (0, 0), (1,), 2**62), [[[[0.5, 1]]]], [[[[1]]]]),
    "large equal elements": (LogSoftmax(0), [[LARGE, LARGE]], [[-math.log(2)] * 2]),
    "rows of large equal elements": (LogSoftmax(1), [[[LARGE] * 16]], [[[-math.log(16)] * 16]]),
    "a negative base": (Lrn(1, -1.0, 0.75, -INF), [[[1, 2]]], [[[0, 0]]]),
    "a group of equal large numbers": (GroupNorm(1, 1.0), [[[[LARGE, LARGE]]], [1], [0]], [[[[0, 0]]]]),
    "a neighbour along what is kept": (
        Resize((1, 2, 2, 4), (1.0, 1.0, 1.0, 2.0), "linear"),
        [[[[[1, 1], [INF, INF]], [[NAN, NAN], [2, 2]]]]],
        [[[[[1] * 4, [NAN, INF, INF, NAN]], [[NAN] * 4, [2] * 4]]]],
    ),
    "boxes apart, and a threshold below no overlap": (
        Proposal(4, (1.0,), (1.0,), 8, 1, 2, 2, -1.0),
        [[[[[0, 0]], [[0.5, 0.25]]]], np.zeros((1, 4, 1, 2)), [8, 16, 1]],
        [[[0, 0, 0, 4, 4], [-1, 0, 0, 0, 0]], [0.5, 0]],
    ),
    "a region whose sides overflow": (PsroiPool(3.4e38, 1, 1), [[[[[1]]]], [[0, *[1e10] * 4]]], [[[[[0]]]]]),
}
"""What once differed: an operator, its operands in single precision, and its results."""


@pytest.mark.parametrize(("about", "target"), list(zip(FOUND, itertools.cycle(TARGETS), strict=False)))
def test_what_once_differed(about: str, target: str) -> None:
    operator, inputs, results = FOUND[about]
    arrays = tuple(np.array(values, np.float32) for values in inputs)
    constants = frozenset(index for index, array in enumerate(arrays) if index and array.ndim == 0)
    case = make_case(about, Sample(operator, arrays, constants))
    with np.errstate(all="ignore"):
        found = [tuple(interp.run(case.module, case.inputs).values())]
    kernels = list(executions(case, described(target)))
    found += [each or () for each in run_kernels(kernels, described(target))]
    assert kernels
    for each in found:
        for result, expected in zip(each, results, strict=True):
            np.testing.assert_allclose(result, np.array(expected, np.float32), rtol=1e-6)


@pytest.mark.parametrize(
    ("values", "stored", "scale", "zero"),
    [
        ([1, NAN, 2], [127, 0, 255], np.float32(2) / np.float32(255), 0),
        ([-INF, 2, 3], [0, 255, 255], INF, 255),
        ([1e-45, 0, 0], [255, 0, 0], 0, 255),
    ],
)
def test_ranges_that_are_no_numbers(values: list[float], stored: list[int], scale: float, zero: int) -> None:
    """The results are those of onnxruntime."""
    case = make_case("dynamic", Sample(DynamicQuantizeLinear(), (np.array(values, np.float32),)))
    with np.errstate(all="ignore"):
        reference = tuple(interp.run(case.module, case.inputs).values())
    kernels = run_kernels(list(executions(case, described("host"))), described("host"))
    for found in (reference, *kernels):
        assert found is not None
        assert [array.tolist() for array in found] == [stored, scale, zero]


def test_a_quotient_that_is_no_number_is_the_least_integer() -> None:
    x, scale = np.array([INF, NAN, 0, 1], np.float32), np.array([INF, 1, 0, 0], np.float32)
    case = make_case("quantize", Sample(QuantizeLinear(DType.I8, 0), (x, scale)))
    with np.errstate(all="ignore"):
        (reference,) = interp.run(case.module, case.inputs).values()
    (found,) = run_kernels(list(executions(case, described("host"))), described("host"))
    assert found is not None
    assert reference.tolist() == found[0].tolist() == [-128, -128, -128, 127]


@pytest.mark.parametrize(("name", "target"), list(zip(REGISTRY, itertools.cycle(TARGETS), strict=False)))
def test_kernels_equal_the_reference_at_extremes(name: str, target: str) -> None:
    check(name, [target], 36, 2, 1)


@pytest.mark.sweep
@pytest.mark.parametrize("name", REGISTRY)
def test_kernels_equal_the_reference_at_many_extremes(name: str) -> None:
    check(name, TARGETS, 1, 30, 20)
