"""Kernels for quantised tensors against the references, byte for byte."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from kernel_harness import EMULATED, TARGETS, Invocation, described, in_two_calls, invoke
from operator_samples import Case, all_cases, make_case, samples
from quantized_cases import check, integers, product_sample, random_activation, random_type, weight_type
from samples import Sample

from tilewright.codegen.cpu.families import lower
from tilewright.codegen.cpu.kernels.quantization import CHUNK, TableLookup, inverses
from tilewright.errors import IRError
from tilewright.ir import interp
from tilewright.ir.arithmetic import add_multipliers
from tilewright.ir.op import REGISTRY, QuantizationRule
from tilewright.ir.ops.comparison import Where
from tilewright.ir.ops.convolution import Conv
from tilewright.ir.ops.elementwise import Add, Mul, Sub
from tilewright.ir.ops.fused import FusedElementwise
from tilewright.ir.ops.matmul import MatMul
from tilewright.ir.ops.pooling import AveragePool, GlobalAveragePool
from tilewright.ir.ops.quantization import Dequantize, DynamicQuantizeLinear, Quantize
from tilewright.ir.ops.shape import Cast
from tilewright.ir.quantized import parameters
from tilewright.ir.types import DType, Quantization, TensorType


def is_quantized(case: Case) -> bool:
    (op,) = case.module.main.ops
    return any(value.type.quant is not None for value in (*op.inputs, *op.results))


SAMPLES = [case for case in all_cases() if is_quantized(case)]


@pytest.mark.parametrize("target", TARGETS)
def test_samples(target: str) -> None:
    """Every other one on one target: LLVM takes ten seconds for all of them."""
    assert len(SAMPLES) > 150
    check(SAMPLES[TARGETS.index(target) :: 2 * len(TARGETS) + 1], target)


@pytest.mark.sweep
@pytest.mark.parametrize("target", TARGETS)
def test_all_samples(target: str) -> None:
    check(SAMPLES, target)


@pytest.mark.parametrize("target", TARGETS)
def test_tables_of_any_length(target: str, rng: np.random.Generator) -> None:
    """Whole vectors or several bytes at once, and a rest; the result beside the operand or over it."""
    entries, runs = tuple(int(entry) for entry in rng.permutation(256) - 128), []
    for count in (1, 7, 8, 9, 63, 64, 65, CHUNK - 1, 2 * CHUNK + 71):
        kernel, x = TableLookup(count, entries).generate(described(target)), rng.integers(0, 256, count, np.uint8)
        result = ((count,), np.dtype(np.int8))
        runs.append(Invocation(in_two_calls(kernel, 2), [x], [result], 0 if count % 2 else None))
    for run, found in zip(runs, invoke(runs, described(target)), strict=True):
        assert found is not None
        np.testing.assert_array_equal(found[0], np.array(entries, np.int8)[run.operands[0]])


def random_convolution(rng: np.random.Generator) -> Sample:
    rank = int(rng.choice([1, 2, 2, 3]))

    def numbers(low: int, high: int, count: int = rank) -> tuple[int, ...]:
        return tuple(int(n) for n in rng.integers(low, high + 1, count))

    kernel, dilations, strides, pads = numbers(1, 4), numbers(1, 2), numbers(1, 3), numbers(0, 3, 2 * rank)
    reach = [d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True)]
    image = tuple(int(rng.integers(max(1, r - pads[i] - pads[rank + i]), r + 9)) for i, r in enumerate(reach))
    group = int(rng.choice([1, 1, 2, 5]))
    channels, outputs = (group * int(n) for n in rng.integers(1, 9, 2))
    x = random_type(rng, DType.I8 if rng.random() < 0.5 else DType.U8, (int(rng.integers(1, 3)), channels, *image))
    w = weight_type(rng, (outputs, channels // group, *kernel), 0)
    return product_sample(rng, Conv(strides, pads, dilations, group, *random_activation(rng)), x, w, 0)


def random_matmul(rng: np.random.Generator) -> Sample:
    m, n, k = (int(n) for n in rng.integers(1, 40, 3))
    transpose_a, transpose_b = (bool(rng.random() < 0.5) for _ in range(2))
    batches = [((), ()), ((3,), ()), ((2, 1), (3,)), ((), (2,))][int(rng.integers(4))]
    x_shape = (*batches[0], *((k, m) if transpose_a else (m, k)))
    w_shape = (*batches[1], *((n, k) if transpose_b else (k, n)))
    x = random_type(rng, DType.I8 if rng.random() < 0.5 else DType.U8, x_shape)
    axis = len(w_shape) - (2 if transpose_b else 1)
    w = weight_type(rng, w_shape, axis)
    return product_sample(rng, MatMul(transpose_a, transpose_b, *random_activation(rng)), x, w, axis)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("convolutions", "products"), [(3, 2), pytest.param(8, 5, marks=pytest.mark.sweep)])
def test_random_products(target: str, convolutions: int, products: int, rng: np.random.Generator) -> None:
    makers = [random_convolution] * convolutions + [random_matmul] * products
    check([make_case(f"{make.__name__}-{i}", make(rng)) for i, make in enumerate(makers)], target)


@pytest.mark.parametrize("target", [*TARGETS, *EMULATED])
def test_random_products_of_two_activations(target: str, rng: np.random.Generator) -> None:
    """As in attention: batches, zero points on both sides, extents with remainders; by vectors, not by plain loops."""
    samples = []
    first = EMULATED.index(target) if target in EMULATED else 0
    for index in range(first, first + (2 if target in EMULATED else 4)):
        rows, inner, columns = (int(n) for n in rng.integers(1, 90, 3))
        batch, of_right = [((), ()), ((2, 3), (2, 3)), ((2, 3), (1, 3)), ((4,), ())][index % 4]
        types = tuple(
            random_type(rng, DType.I8 if rng.random() < 0.5 else DType.U8, shape)
            for shape in ((*batch, rows, inner), (*of_right, inner, columns))
        )
        scale = 100 * float(np.sqrt(inner)) * float(np.prod([parameters(type)[0] for type in types]))
        y = random_type(rng, types[0].dtype, (*batch, rows, columns), scale)
        operator, arrays = MatMul(False, False, *random_activation(rng)), tuple(integers(rng, type) for type in types)
        samples.append(Sample(operator, arrays, types=types, result_types=(y,)))
    cases = [make_case(f"activations-{i}", sample) for i, sample in enumerate(samples)]
    kernels = [lower(op, described(target)) for case in cases for op in case.module.main.ops]
    assert all(
        kernel is not None and kernel.name.startswith(("word_product", "computed_product")) for kernel in kernels
    )
    check(cases, target)


@pytest.mark.parametrize("target", [*TARGETS, "x86-64-v2"])
def test_convolutions_in_odd_groups(target: str, rng: np.random.Generator) -> None:
    """As many that no few make whole blocks of channels, each result with a scale of its own: by vectors, not loops."""
    samples = []
    for index in range(6):
        group, inputs, outputs = 17, *(int(n) for n in rng.integers(1, 8, 2))
        kernel, image = ((3,), (70,)) if index % 2 else ((3, 2), (9, 12))
        spatial = len(kernel)
        x = random_type(rng, (DType.I8, DType.U8)[index // 2 % 2], (2, group * inputs, *image))
        shape, scales = (group * outputs, inputs, *kernel), rng.uniform(0.002, 0.02, group * outputs)
        quant = Quantization.per_channel(scales.astype(np.float32), 0, [int(rng.integers(-9, 9))] * len(scales))
        geometry = (1 + index % 3,) * spatial, (1,) * 2 * spatial, (1,) * spatial
        conv = Conv(*geometry, group, *random_activation(rng))
        samples.append(product_sample(rng, conv, x, TensorType(shape, DType.I8, quant), 0))
    cases = [make_case(f"groups-{i}", sample) for i, sample in enumerate(samples)]
    kernels = [lower(op, described(target)) for case in cases for op in case.module.main.ops]
    assert all(
        kernel is not None and kernel.name.startswith(("word_product", "computed_product")) for kernel in kernels
    )
    check(cases, target)


def random_binary(rng: np.random.Generator) -> Sample:
    operator = [Add(), Sub(), Mul()][int(rng.integers(3))]
    left, right = [((3, 40, 5), (3, 40, 5)), ((2, 7, 33), (7, 1)), ((1,), (700,)), ((64, 1, 5), (1, 70, 1))][
        int(rng.integers(4))
    ]
    dtype = DType.I8 if rng.random() < 0.5 else DType.U8
    a, b = random_type(rng, dtype, left), random_type(rng, dtype, right)
    assert a.quant is not None
    assert b.quant is not None
    # Powers of two, so that many results are exact ties.
    scale = 2 * a.quant.scale[0] if not isinstance(operator, Mul) else 128 * a.quant.scale[0] * b.quant.scale[0]
    y = random_type(rng, dtype, np.broadcast_shapes(left, right), scale)
    return Sample(operator, (integers(rng, a), integers(rng, b)), types=(a, b), result_types=(y,))


@pytest.mark.parametrize("target", TARGETS)
def test_random_binary(target: str, rng: np.random.Generator) -> None:
    check([make_case(f"binary-{i}", random_binary(rng)) for i in range(20)], target)


@pytest.mark.parametrize("target", TARGETS)
def test_scales_far_apart(target: str, rng: np.random.Generator) -> None:
    samples = []
    for scales in ((1e-9, 1e-10, 1.0), (1e-6, 1e-2, 1e-4), (1e-3, 3e-12, 1e-8)):
        types = [random_type(rng, DType.I8, (512,), scale) for scale in scales]
        arrays = tuple(integers(rng, type) for type in types[:2])
        samples += [Sample(op, arrays, types=tuple(types[:2]), result_types=(types[2],)) for op in (Add(), Sub())]
    check([make_case(f"far-{i}", sample) for i, sample in enumerate(samples)], target)


@pytest.mark.parametrize("target", [*TARGETS, *EMULATED])
def test_every_pair_of_bytes(target: str) -> None:
    """All 65536 pairs at scales at which one in four sums and many products are ties."""
    every = np.arange(256, dtype=np.uint8)
    left, right = (np.ascontiguousarray(array) for array in np.broadcast_arrays(every[:, None], every))
    a = TensorType((256, 256), DType.U8, Quantization.per_tensor(0.25, 131))
    samples = []
    for operator, scale in ((Add(), 1.0), (Sub(), 0.5), (Mul(), 16.0)):
        y = TensorType((256, 256), DType.U8, Quantization.per_tensor(scale, 120))
        samples.append(Sample(operator, (left, right), types=(a, a), result_types=(y,)))
    check([make_case(f"pairs-{i}", sample) for i, sample in enumerate(samples)], target)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dtype", [DType.I8, DType.U8])
def test_every_sum_without_ties(dtype: DType, target: str) -> None:
    """At scales at which sums are shifted by 12, 25 and 30 bits, and by 10, 31 and 46."""
    every = np.arange(256, dtype=np.uint8).view(dtype.numpy)
    left, right = (np.ascontiguousarray(array) for array in np.broadcast_arrays(every[:, None], every))
    samples, shifts = [], set[int]()
    for scales in (
        (130.0, 0.7, 0.033),
        (0.137, 0.071, 0.31),
        (0.0151, 0.0009, 0.97),
        (130.0, 0.7, 0.013),
        (0.007, 0.005, 0.97),
        # The zero point of the result, with as large a shift as that of the ratio, was beyond 64 bits.
        (1e-20, 1e-21, 0.97),
    ):
        a, b, y = (
            TensorType((256, 256), dtype, Quantization.per_tensor(scale, zero))
            for scale, zero in zip(scales, (11, 101, 57), strict=True)
        )
        shifts.add(add_multipliers(*map(np.float32, scales))[2])
        samples += [Sample(op, (left, right), types=(a, b), result_types=(y,)) for op in (Add(), Sub())]
    assert shifts == {10, 12, 25, 30, 31, 46}
    check([make_case(f"sums-{i}", sample) for i, sample in enumerate(samples)], target)


@pytest.mark.parametrize("target", TARGETS)
def test_special_numbers(target: str) -> None:
    x = np.array([np.nan, np.inf, -np.inf, 1e38, -1e38, 0.0, -0.0, 2.5, 3.5, -2.5, 1e-45] * 3, np.float32)
    samples = [
        Sample(Quantize(), (x,), result_types=(TensorType(x.shape, dtype, Quantization.per_tensor(scale, zero)),))
        for dtype in (DType.I8, DType.U8, DType.I16, DType.U16)
        for scale, zero in ((1.0, 3), (1e-38, 0))
    ]
    bias = np.array([-(2**31), 2**31 - 1, 2**24 + 1, -(2**24) - 3, 7], np.int32)
    types = [TensorType(bias.shape, DType.I32, Quantization.per_tensor(0.3, zero)) for zero in (0, 5, -9)]
    samples += [Sample(Dequantize(), (bias,), types=(type,)) for type in types]
    check([make_case(f"special-{i}", sample) for i, sample in enumerate(samples)], target)


NEAR_A_MIDDLE = 0.014302718453109264
"""A scale at which a quotient with some integer and a half in it lies within 2^-44 of a middle."""


@pytest.mark.parametrize("target", TARGETS)
def test_neighbours_of_halves(target: str, rng: np.random.Generator) -> None:
    """What a division rounds to an integer or its neighbour, also where a kernel multiplies."""
    # At some steps of words it does not, as near such a middle lies a number; nor where there are many to look at.
    tenth = float(np.float32(0.1))
    assert all(inverses([tenth, 0.5], dtype) for dtype in (DType.I8, DType.I16, DType.U16))
    assert inverses([tenth, NEAR_A_MIDDLE], DType.I16) is None
    assert inverses([tenth] * 65, DType.U16) is None
    samples = []
    scales = np.float32(2.0) ** rng.uniform(-9, 3, 8).astype(np.float32)
    for i, scale in enumerate([*scales, np.float32(NEAR_A_MIDDLE)]):
        dtype = (DType.I8, DType.U8, DType.I16)[i % 3]
        most = 2 ** (8 * dtype.bytes)
        halves = (rng.permutation(np.arange(-most, most))[:2048] + 0.5).astype(np.float32) * scale
        x = np.concatenate([halves, *(np.nextafter(halves, np.float32(way)) for way in (-np.inf, np.inf))])
        quant = Quantization.per_tensor(float(scale), int(rng.integers(0, 99)))
        samples.append(Sample(Quantize(), (x,), result_types=(TensorType(x.shape, dtype, quant),)))
    check([make_case(f"halves-{i}", sample) for i, sample in enumerate(samples)], target)


@pytest.mark.parametrize("target", [*TARGETS, *EMULATED])
def test_numbers_become_bytes(target: str, rng: np.random.Generator) -> None:
    """By whole vectors and a rest, of what 32 bits do not hold, too; over a range on either side of 0, or on both."""
    far = np.array([2.0**31, -(2.0**31), 2.0**31 - 128, 3e9, -3e9, 1e20, np.inf, -np.inf, np.nan, -0.0], np.float32)
    samples = []
    for count in (1, 15, 64, 65, 331):
        x = rng.uniform(-700, 700, count).astype(np.float32)
        samples += [Sample(DynamicQuantizeLinear(), (each.astype(np.float32),)) for each in (x, abs(x), -abs(x) - 9)]
        halves = np.rint(x) / 2 * np.float32(255) / np.float32(max(1, np.ptp([0, *np.rint(x)])))
        samples.append(Sample(DynamicQuantizeLinear(), (halves.astype(np.float32),)))
        x[rng.permutation(count)[: len(far)]] = far[:count]
        samples += [Sample(Cast(dtype), (x,)) for dtype in (DType.I8, DType.U8)]
        for dtype in (DType.I8, DType.U8):
            body = (
                "t0 = neg(a0)",
                "t1 = clip(t0) {min=-0x1.fp+5, max=inf}",
                f"t2 = cast(t1) {{to={dtype.name.lower()}}}",
            )
            samples.append(Sample(FusedElementwise(body), (x,)))
    with np.errstate(invalid="ignore"):
        check([make_case(f"bytes-{i}", sample) for i, sample in enumerate(samples)], target)


@pytest.mark.parametrize("target", TARGETS)
def test_averages(target: str, rng: np.random.Generator) -> None:
    samples = []
    for i in (0, 3, 5, 6):
        x = random_type(rng, (DType.I8, DType.U8)[i % 2], (2, 5, 9, 8))
        assert x.quant is not None
        operator = AveragePool((3, 2), (2, 1), (1, 1, 1, 0), (1, 1), i < 4, (1, 0))
        for average in (operator, GlobalAveragePool()):
            y = random_type(rng, x.dtype, average.infer(x.with_quant(None)).shape, x.quant.scale[0] * (1, 0.7)[i % 2])
            samples.append(Sample(average, (integers(rng, x),), types=(x,), result_types=(y,)))
    check([make_case(f"average-{i}", sample) for i, sample in enumerate(samples)], target)


@pytest.mark.parametrize("target", TARGETS)
def test_choice(target: str, rng: np.random.Generator) -> None:
    x = random_type(rng, DType.I8, (3, 1, 37))
    y = TensorType((5, 1), DType.I8, x.quant)
    condition = rng.random((5, 37)) < 0.5
    types = (TensorType.of(condition), x, y)
    result = TensorType((3, 5, 37), DType.I8, x.quant)
    arrays = (condition, integers(rng, x), integers(rng, y))
    check([make_case("where", Sample(Where(), arrays, types=types, result_types=(result,)))], target)


def moved_cases(rng: np.random.Generator, most: int) -> Iterator[Case]:
    """Samples of operators that move stored integers, their floats replaced by bytes of one quantised type: about so
    many of each operator, evenly from among all."""
    quant = Quantization.per_tensor(0.5, 3)
    for name, cls in REGISTRY.items():
        if cls.QUANTIZATION not in (QuantizationRule.PRESERVE, QuantizationRule.UNIFY):
            continue
        every = [*samples(cls, np.random.default_rng(7))]
        for index, sample in enumerate(every[:: max(1, len(every) // most)]):
            plain = sample.operand_types()
            first = plain[0]
            unifies = cls.QUANTIZATION is QuantizationRule.UNIFY
            if first is None or first.quant is not None or not (unifies or first.dtype is DType.F32):
                continue
            types = list(plain)
            for i, type in enumerate(plain):
                if type is not None and type.dtype is DType.F32 and (unifies or i == 0):
                    types[i] = TensorType(type.shape, DType.I8, quant)
            arrays = tuple(
                integers(rng, type) if type is not None and type.quant is not None else array
                for array, type in zip(sample.inputs, types, strict=True)
            )
            try:
                results = sample.operator.result_types(types)
            except IRError:
                continue
            results = tuple(r.with_quant(quant) if r.dtype is DType.I8 else r for r in results)
            if sample.operator.check_quantized(types, results) is None and any(t and t.quant for t in types):
                yield make_case(
                    f"{name}-{index}", Sample(sample.operator, arrays, sample.constants, tuple(types), results)
                )


@pytest.mark.parametrize("most", [1, pytest.param(1000, marks=pytest.mark.sweep)])
def test_movement(most: int, rng: np.random.Generator) -> None:
    cases = list(moved_cases(rng, most))
    assert {"concat", "slice", "resize", "pad", "where", "gather", "reduce_max"} <= {
        c.name.split("-")[0] for c in cases
    }
    check(cases, "host")


@pytest.mark.parametrize("target", TARGETS)
def test_a_factor_beyond_all_numbers_makes_the_ends_of_the_range(target: str, rng: np.random.Generator) -> None:
    """0 times infinity was no number in kernels, and 0 in the reference."""
    large, small = (Quantization.per_tensor(scale, 0) for scale in (1e38, 1e-38))
    x, w, y = (TensorType((4, 4), DType.I8, each) for each in (large, Quantization.per_tensor(1.0, 0), small))
    weights = np.eye(4, dtype=np.int8)
    elements = rng.integers(-1, 2, (4, 4)).astype(np.int8)
    operands = elements, weights
    case = make_case("product", Sample(MatMul(False, False), operands, types=(x, w), result_types=(y,)))
    (found,) = interp.run(case.module, case.inputs).values()
    assert found.tolist() == np.select([elements > 0, elements < 0], [127, -128]).tolist()
    check([case], target)
