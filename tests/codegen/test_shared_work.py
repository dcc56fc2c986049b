"""How work items are cut, so that threads which share them have equal work and read what they wrote."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from kernel_harness import CANARY, Invocation, described, in_two_calls, invoke

from tilewright.codegen.cpu.estimates import nanoseconds
from tilewright.codegen.cpu.families import lower
from tilewright.codegen.cpu.kernel import Kernel
from tilewright.codegen.cpu.kernels.convolutions.convolution import Convolution
from tilewright.codegen.cpu.kernels.convolutions.depthwise import Depthwise
from tilewright.codegen.cpu.kernels.products.blocking import Blocking, rows_of_item
from tilewright.codegen.cpu.kernels.window import Axis
from tilewright.codegen.cpu.parallel import shared_steps, shared_within
from tilewright.ir.core import Function, Module
from tilewright.ir.ops.activation import Relu, Tanh
from tilewright.ir.ops.detection.region_pooling import RoiAlign
from tilewright.ir.ops.fused import FusedElementwise
from tilewright.ir.ops.indexing import Gather
from tilewright.ir.ops.integer_products import MatMulInteger
from tilewright.ir.ops.matmul import MatMul
from tilewright.ir.ops.reduction import TopK
from tilewright.ir.ops.softmax import Softmax
from tilewright.ir.types import DType, TensorType

EXTENT = 28
LINE, SAME = Axis.line(EXTENT), Axis(EXTENT, EXTENT, 3, 1, 1, 1)

STEPS = {
    "pointwise": (Convolution(1, 144, LINE, LINE, 80), 9 * 16 * 80),
    "window": (Convolution(1, 16, SAME, SAME, 80), 9 * 16 * 80),
    "depthwise": (Depthwise(1, 144, SAME, SAME), 9 * 9 * 16),
}


@pytest.mark.parametrize("name", STEPS)
def test_half_of_the_items_is_half_of_the_image(name: str) -> None:
    spec, weights = STEPS[name]
    kernel = spec.generate(described("host"))
    assert kernel.units % 2 == 0
    half = replace(kernel, units=kernel.units // 2)
    (y,) = _results(half, spec, weights)
    written = (y.view(np.uint8) != CANARY).any(axis=-1)
    assert written[:, : EXTENT // 2].all()
    assert not written[:, EXTENT // 2 :].any()


def _results(kernel: Kernel, spec: Convolution | Depthwise, weights: int) -> list[np.ndarray]:
    channels, outputs = spec.channels, spec.outputs if isinstance(spec, Convolution) else spec.channels
    operands = [np.zeros(count, np.float32) for count in (channels * EXTENT**2, weights)]
    (found,) = invoke(
        [Invocation(kernel, operands, [((outputs // 16, EXTENT, EXTENT, 16), np.dtype(np.float32))])],
        described("host"),
    )
    assert found is not None
    return found


@pytest.mark.parametrize("outputs", [70, 112, 256])
def test_tiles_of_unequal_size_are_the_whole(outputs: int, rng: np.random.Generator) -> None:
    """5, 7 and 16 vectors of channels in tiles of three at most, the last channels absent or not."""
    blocks = -(-outputs // 16)
    shapes = (16 * EXTENT**2,), (blocks * 16 * 16,)
    operands = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
    found: list[bytes] = []
    for vectors in (1, 3):
        spec = Convolution(1, 16, LINE, LINE, outputs, blocking=Blocking(1, 2, vectors, 1, 5))
        kernel = in_two_calls(spec.generate(described("host")), len(spec.arguments))
        result = [((blocks, EXTENT, EXTENT, 16), np.dtype(np.float32))]
        (arrays,) = invoke([Invocation(kernel, operands, result)], described("host"))
        assert arrays is not None
        found.append(arrays[0].tobytes())
    assert found[0] == found[1]


def test_threads_get_equal_parts_of_rows() -> None:
    # Fewer rows than fit, because channels alone are no work for several threads.
    assert rows_of_item(28, 28, 1, by_rows=False) == 7
    assert rows_of_item(28, 28, 3, by_rows=False) == 14
    assert rows_of_item(28, 28, 20, by_rows=False) == 28
    assert rows_of_item(28, 28, 20, by_rows=True) == 7
    # 18 rows would fit and leave 10 for the other thread.
    assert rows_of_item(28, 18, 20, by_rows=False) == 14
    assert rows_of_item(1, 1, 1, by_rows=True) == 1


def test_products_of_bytes_take_as_long_whatever_their_sums_become() -> None:
    """Those with results of 32 bits were taken for four times as long, and shared out too soon."""
    module, target = Module("products"), described("avx2")
    times = []
    for dtype, product in ((DType.U8, MatMulInteger()), (DType.F32, MatMul())):
        function = module.add_function(Function(dtype.name))
        factors = [function.add_parameter(name, TensorType((512, 512), dtype)) for name in "xw"]
        times.append(nanoseconds(module, function.append(product, factors), target, _kernel("product")))
    moved = [(2 * size + 4) * 512**2 // 96 for size in (1, 4)]
    assert times[0] - moved[0] == (times[1] - moved[1]) // 2


def _kernel(family: str) -> Kernel:
    return Kernel(f"{family}_0123456789ab", "", units=2)


def test_families_take_times_of_their_own() -> None:
    """A map was taken for as long whatever is computed of it, and for six times as long as moving it takes."""
    function, module = Function("main", [("x", TensorType((64, 1024), DType.F32))]), Module("paces")
    moved = 2 * 4 * 64 * 1024 // 96
    relu, tanh = (function.append(operator(), function.parameters) for operator in (Relu, Tanh))
    body = ("t0 = relu(a0)", "t1 = tanh(t0)")
    fused = function.append(FusedElementwise(body), function.parameters)
    nest, target = _kernel("vector_nest"), described("host")
    assert [nanoseconds(module, op, target, nest) for op in (relu, tanh, fused)] == [moved, 3 * moved, 3 * moved]
    assert nanoseconds(module, relu, target, _kernel("vector_softmax")) == int(4.5 * moved)


def test_what_is_computed_without_vectors_takes_longer() -> None:
    """Rows of half a megabyte in double precision take 300 microseconds and were taken for eleven, so one thread had
    all of them."""
    function = Function("main", [("x", TensorType((256, 256), DType.F64))])
    op = function.append(Softmax(1), function.parameters)
    kernel = lower(op, described("host"))
    assert kernel is not None
    assert shared_steps({0: nanoseconds(Module("rows"), op, described("host"), kernel)}) == {0: True}


def test_short_programs_have_no_team() -> None:
    assert shared_steps({0: 15_000, 3: 24_000}) == {}
    # But where a loop has one.
    assert shared_steps({0: 15_000, 3: 12_000}, has_team=True) == {0: True, 3: False}
    # Woken for a long step, or for what is left of the run.
    assert shared_steps({0: 9_000, 1: 40_000, 4: 7_000, 5: 16_000, 7: 3_000}) == {
        0: True,
        1: True,
        4: True,
        5: True,
        7: False,
    }


def test_ranking_is_taken_for_more_than_moving() -> None:
    """The best hundred of some rows were found by one thread, as if they were copied."""
    function = Function("main", [("x", TensorType((32, 1000), DType.F32))])
    op = function.append(TopK(1, 100, True), function.parameters)
    assert shared_steps({0: nanoseconds(Module("ranks"), op, described("host"), _kernel("top_k"))}) == {0: True}


def test_regions_are_taken_for_more_than_moving() -> None:
    """Each element of 50 regions is a mean of samples of four pixels each; one of two threads made all of them."""
    operands = {"x": (1, 48, 29, 41), "regions": (50, 4), "images": (50,)}
    dtypes = (DType.F32, DType.F32, DType.I64)
    types = [(name, TensorType(shape, dtype)) for (name, shape), dtype in zip(operands.items(), dtypes, strict=True)]
    function = Function("main", types)
    op = function.append(RoiAlign((7, 7), 2), function.parameters)
    assert shared_steps({0: nanoseconds(Module("regions"), op, described("host"), _kernel("roi_align"))}) == {0: True}


def test_a_few_rows_of_a_long_table_are_no_work_for_several_threads() -> None:
    """Threads were woken for the words of a text as if all of the vocabulary were read."""
    function = Function("main", [("table", TensorType((30_000, 128), DType.F32)), ("x", TensorType((64,), DType.I64))])
    op = function.append(Gather(0), function.parameters)
    assert shared_steps({0: nanoseconds(Module("words"), op, described("host"), _kernel("gather"))}) == {}


def test_elements_that_are_picked_out_of_rows_are_taken_for_more_than_moving() -> None:
    function = Function("main", [("x", TensorType((512, 512), DType.F32)), ("which", TensorType((512,), DType.I64))])
    op = function.append(Gather(1), function.parameters)
    kernel = lower(op, described("host"))
    assert kernel is not None
    assert shared_steps({0: nanoseconds(Module("columns"), op, described("host"), kernel)}) == {0: True}


def test_calls_within_a_loop_are_shared_by_the_time_of_all_its_steps() -> None:
    times = {1: 9_000, 4: 4_000}
    assert shared_within(times, 4) == {1, 4}
    assert shared_within(times, 3) == set()
