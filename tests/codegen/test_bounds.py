"""Kernels whose attributes and extents are at their limits: what they read, and how long they loop."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_harness import TARGETS, Execution, described, run_kernels
from random_seeds import in_turn

from tilewright.codegen.cpu.families import lower
from tilewright.codegen.cpu.kernels.window import Axis, PixelTile, TileRow, cut
from tilewright.ir.core import Function, Op
from tilewright.ir.op import Operator
from tilewright.ir.ops.convolution import Conv, ConvTranspose
from tilewright.ir.ops.elementwise import Add
from tilewright.ir.ops.indexing import Gather, OneHot
from tilewright.ir.ops.integer_products import ConvInteger
from tilewright.ir.ops.matmul import MatMul
from tilewright.ir.ops.movement import Concat, Pad, Split, Tile
from tilewright.ir.ops.pooling import AveragePool, LpPool, MaxPool
from tilewright.ir.ops.reduction import ReduceSum
from tilewright.ir.types import DType, Quantization, TensorType

LONGEST = 2**31 - 1


def op_of(operator: Operator, *types: TensorType, result: TensorType | None = None) -> Op:
    function = Function("main", [(f"x{index}", type) for index, type in enumerate(types)])
    return function.append(operator, function.parameters, None if result is None else [result])


def check(op: Op, *arrays: np.ndarray, target: str = "host") -> None:
    """The kernel of the op equals its reference."""
    kernel = lower(op, described(target))
    assert kernel is not None
    (found,) = run_kernels([Execution(op, kernel, arrays)], described(target))
    assert found is not None
    for array, expected in zip(found, op.evaluate(arrays), strict=True):
        np.testing.assert_allclose(array, expected, rtol=1e-6)


FAR = {
    "stride": (Conv((2**30,), (2**30, 2**30 - 9), (1,), 2), 1),
    "dilation": (Conv((2**29,), (2**30, 2**30 - 9), (2**30,), 2), 2),
    "one window": (Conv((LONGEST,), (0, 0), (LONGEST,), 2), 1),
    "rows": (Conv((2**30, 1), (2**30, 0, 2**30 - 9, 0), (2**29, 1), 2), 2),
}
"""Convolutions with positions at the largest extent, and the taps of their windows along a dimension."""


@pytest.mark.parametrize(("name", "target"), in_turn(FAR, TARGETS))
def test_positions_of_a_convolution_at_the_largest_extent(name: str, target: str, rng: np.random.Generator) -> None:
    conv, taps = FAR[name]
    image, kernel = ((8,), (taps,)) if len(conv.strides) == 1 else ((8, 5), (taps, 1))
    for dtype in (np.float32, np.float64):
        x, w = (rng.standard_normal(shape).astype(dtype) for shape in ((1, 6, *image), (4, 3, *kernel)))
        check(op_of(conv, TensorType.of(x), TensorType.of(w)), x, w, target=target)
    integer = ConvInteger(conv.strides, conv.pads, conv.dilations, conv.group)
    x, w = (rng.integers(-9, 9, shape, np.int8) for shape in ((1, 6, *image), (4, 3, *kernel)))
    check(op_of(integer, TensorType.of(x), TensorType.of(w)), x, w, target=target)
    quant = Quantization.per_tensor(0.5, 3)
    types = [TensorType.of(array).with_quant(quant) for array in (x, w)]
    result = TensorType(conv.result_types(types)[0].shape, DType.I8, Quantization.per_tensor(8.0))
    check(op_of(conv, *types, result=result), x, w, target=target)


def test_a_blocked_convolution_at_the_largest_extent(rng: np.random.Generator) -> None:
    for conv, taps in FAR.values():
        conv = Conv(conv.strides, conv.pads, conv.dilations)
        image, kernel = ((8,), (taps,)) if len(conv.strides) == 1 else ((8, 5), (taps, 1))
        x, w = (rng.standard_normal(shape).astype(np.float32) for shape in ((1, 6, *image), (4, 6, *kernel)))
        types = TensorType.of(x).with_layout("c16"), TensorType.of(w).with_layout("o16i16")
        (result,) = conv.result_types(types)
        check(op_of(conv, *types, result=result.with_layout("c16")), x, w)


def test_a_transposed_convolution_at_the_largest_extent(rng: np.random.Generator) -> None:
    conv = ConvTranspose((2**29,), (2**29 - 1, 2**29 - 1), (1,), (0,))
    x, w = rng.standard_normal((1, 2, 3)).astype(np.float32), rng.standard_normal((2, 3, 2)).astype(np.float32)
    check(op_of(conv, TensorType.of(x), TensorType.of(w)), x, w)


POOLS = [
    MaxPool((LONGEST - 8,), (1,), (2**30, LONGEST - 8 - 2**30), (1,)),
    MaxPool((2**29,), (2**29,), (2**29, 2**30 - 9), (1,)),
    MaxPool((2**28, 2), (2**28, 1), (2**28, 0, 2**30, 0), (3, 1)),
    LpPool((2**30 - 8,), (1,), (2**30 - 8, 0), (1,), 1),
    AveragePool((2**30,), (2**30,), (0, 2**30 - 8), (1,), True, (0,)),
    AveragePool((2**30,), (2**30,), (0, 2**30 - 8), (1,), False, (0,)),
    AveragePool((3, 2**28), (1, 2**28), (1, 2**28, 1, 2**30), (1, 3), True, (0, 5)),
]


@pytest.mark.parametrize("pool", POOLS, ids=lambda pool: f"{pool.name}{list(pool.kernel)}")
def test_windows_of_pools_cost_nothing_where_they_see_padding(pool: MaxPool, rng: np.random.Generator) -> None:
    x = rng.standard_normal((2, 3, *((8,) if len(pool.kernel) == 1 else (6, 8)))).astype(np.float32)
    check(op_of(pool, TensorType.of(x)), x)
    if isinstance(pool, AveragePool):
        stored = rng.integers(-128, 128, x.shape, np.int8)
        quant = Quantization.per_tensor(0.5, 3)
        result = TensorType(pool.result_types([TensorType.of(x)])[0].shape, DType.I8, quant)
        check(op_of(pool, TensorType.of(stored).with_quant(quant), result=result), stored)


def test_blocked_pools_have_short_windows() -> None:
    """Their taps are unrolled, and code grows with them."""
    type = TensorType((1, 16, 4096), DType.F32, layout="c16")
    for kernel, has_kernel in ((128, True), (129, False)):
        pool = MaxPool((kernel,), (1,), (0, 0), (1,))
        op = op_of(pool, type, result=pool.result_types([type])[0].with_layout("c16"))
        assert (lower(op, described("host")) is not None) == has_kernel


@pytest.mark.parametrize(
    ("operator", "types"),
    [
        (Gather(1), (TensorType((2**20, 3, 0), DType.F32), TensorType((500,), DType.I64))),
        (MatMul(), (TensorType((2**15, 2**14, 3), DType.F32), TensorType((2**15, 3, 0), DType.F32))),
        (ReduceSum((1,)), (TensorType((0, 2**30), DType.F32),)),
        (MaxPool((3,), (1,), (1, 1), (1,)), (TensorType((0, 2**8, 2**22), DType.F32),)),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_ops_without_elements_in_their_results_do_nothing(operator: Operator, types: tuple[TensorType, ...]) -> None:
    op = op_of(operator, *types)
    kernel = lower(op, described("host"))
    assert kernel is not None and kernel.units == 0
    arrays = [np.zeros(type.shape, type.dtype.numpy) for type in types if not type.elements]
    if len(arrays) == len(types):
        (found,) = run_kernels([Execution(op, kernel, tuple(arrays))], described("host"))
        assert found is not None and [array.shape for array in found] == [result.type.shape for result in op.results]


def test_an_operand_in_blocks_has_the_rank_of_the_result() -> None:
    """Otherwise its blocks of channels stand where those of the result do not."""
    quant = Quantization.per_tensor(0.5)
    x = TensorType((1, 32, 4), DType.I8, quant, "c16")
    y = TensorType((1, 32, 32, 4), DType.I8, quant, "c16")
    assert lower(op_of(Add(), x, y, result=y), described("host")) is None


def test_pads_are_found_by_arithmetic(rng: np.random.Generator) -> None:
    executions: list[Execution] = []
    for mode in ("constant", "edge", "reflect", "wrap"):
        for _ in range(8):
            shape = tuple(int(extent) for extent in rng.integers(1, 5, rng.integers(1, 4)))
            most = [extent - 1 if mode == "reflect" else 9 for extent in shape] * 2
            x = rng.integers(-9, 9, shape).astype(np.int16)
            op = op_of(Pad(tuple(int(rng.integers(0, m + 1)) for m in most), mode, 3.0), TensorType.of(x))
            kernel = lower(op, described("host"))
            assert kernel is not None
            executions.append(Execution(op, kernel, (x,)))
    for execution, found in zip(executions, run_kernels(executions, described("host")), strict=True):
        assert found is not None
        np.testing.assert_array_equal(found[0], execution.op.evaluate(execution.arrays)[0], str(execution.op))


@pytest.mark.parametrize(
    ("operator", "types"),
    [
        (Pad((2**30, 0, 0, 0)), (TensorType((1, 1), DType.F32),)),
        (MatMul(), (TensorType((2**29, 1, 1), DType.F64), TensorType((2**29, 1, 1), DType.F64))),
        (Tile((2**29, 1)), (TensorType((1, 2), DType.F32),)),
        (OneHot(2**30, 0), (TensorType((1,), DType.I64), TensorType((2,), DType.F32))),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_kernels_of_long_results_are_short(operator: Operator, types: tuple[TensorType, ...]) -> None:
    kernel = lower(op_of(operator, *types), described("host"))
    assert kernel is not None and len(kernel.text) < 100_000


@pytest.mark.parametrize("count", [16, 17, 40])
def test_many_parts_are_copied_by_functions_of_their_own(count: int, rng: np.random.Generator) -> None:
    """All in one function, LLVM took time with the square of them: 44 s for 500."""
    parts = [rng.standard_normal((3, int(rng.integers(0, 4)), 2)).astype(np.float32) for _ in range(count)]
    check(op_of(Concat(1), *map(TensorType.of, parts)), *parts)
    whole = np.concatenate(parts, 1)
    op = op_of(Split(1, tuple(part.shape[1] for part in parts)), TensorType.of(whole))
    kernel = lower(op, described("host"))
    assert kernel is not None
    (found,) = run_kernels([Execution(op, kernel, (whole,))], described("host"))
    assert found is not None
    for array, part in zip(found, parts, strict=True):
        np.testing.assert_array_equal(array, part)


def one_by_one(axis: Axis, pixels: int, neighbours: bool) -> list[TileRow]:
    """What ``cut`` gives, tile by tile."""
    count = -(-axis.output // pixels)
    small, larger = divmod(axis.output, count)
    rows: list[TileRow] = []
    start = 0
    for index in range(count):
        size = small + (index < larger)
        tile = PixelTile.at(axis, start, size, neighbours=neighbours)
        if rows and rows[-1].tile == tile:
            rows[-1] = TileRow(tile, rows[-1].start, rows[-1].count + 1)
        else:
            rows.append(TileRow(tile, start, 1))
        start += size
    return rows


def random_axis(rng: np.random.Generator) -> Axis:
    return Axis(*(int(rng.integers(low, high)) for low, high in ((1, 40), (1, 60), (1, 9), (1, 7), (1, 6), (0, 12))))


def test_a_row_is_cut_into_the_tiles_that_differ(rng: np.random.Generator) -> None:
    for _ in range(500):
        axis, pixels, neighbours = random_axis(rng), int(rng.integers(1, 15)), bool(rng.integers(2))
        assert cut(axis, pixels, neighbours=neighbours) == one_by_one(axis, pixels, neighbours), axis
        reached = [
            any(low <= pixel < high for low, high in map(axis.reach, range(axis.kernel)))
            for pixel in range(axis.output)
        ]
        assert axis.always_reaches == all(reached), axis


def test_a_long_row_is_cut_at_once() -> None:
    axis = Axis(LONGEST, LONGEST, 3, 1, 1, 1)
    assert sum(run.count for run in cut(axis, 14)) == -(-LONGEST // 14)
    assert axis.always_reaches
