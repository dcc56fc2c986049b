"""The generic kernels at their limits: what they refuse, and the numbers that samples do not hold."""

from __future__ import annotations

import importlib
import math
import pkgutil
import re
import subprocess
import sys
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from generic_kernels import TARGET, assert_close, assert_equals_reference, execution, generic_kernel, of_family, the_op
from kernel_harness import Execution, described, run_kernels
from network_files import graph_model
from onnx import TensorProto, helper
from onnxruntime_oracle import Oracle
from operator_samples import Case, all_cases, cases_of, make_case, samples
from quantized_cases import check
from samples import Sample

from tilewright.codegen.cpu import numba as kernels
from tilewright.codegen.cpu.families import lower
from tilewright.codegen.cpu.numba.generation.function import compile_kernel, library
from tilewright.codegen.cpu.numba.generation.scalar_functions import hyperbolic_tangent
from tilewright.errors import CodegenError, InputError
from tilewright.ir import interp
from tilewright.ir.core import Function, Op
from tilewright.ir.op import REGISTRY
from tilewright.ir.ops.activation import Clip
from tilewright.ir.ops.elementwise import Div, Elementwise, Max, Min, Mod
from tilewright.ir.ops.indexing import Gather, GatherElements, GatherND, ScatterElements, ScatterND
from tilewright.ir.ops.pooling import MaxPoolWithIndices
from tilewright.ir.ops.reduction import (
    ArgMax,
    ArgMin,
    CumSum,
    Reduce,
    ReduceL2,
    ReduceLogSumExp,
    ReduceMax,
    ReduceMean,
    ReduceSum,
    TopK,
)
from tilewright.ir.ops.shape import Cast
from tilewright.ir.ops.softmax import LogSoftmax, Softmax
from tilewright.ir.ops.trees import TreeEnsemble
from tilewright.ir.ops.unary import Abs, Neg, Sign
from tilewright.ir.types import DType, TensorType


def as_cases(*samples: Sample) -> list[Case]:
    return [make_case(f"{type(s.operator).name}-{i}", s) for i, s in enumerate(samples)]


NAN, INF = np.nan, np.inf


def test_special_floats() -> None:
    x = np.array([NAN, 1.0, -INF, INF, -0.0, 0.0, 3.5, -2.0], np.float32)
    y = np.array([2.0, NAN, INF, -INF, 0.0, -1.0, NAN, NAN], np.float32)
    lines = np.stack([x, y, np.full(8, -INF, np.float32), np.full(8, NAN, np.float32)])
    # Few, the best of short rows, and many, which are sorted.
    ranked = [(5, lines), (1, lines.reshape(-1, 2)), (1, lines.reshape(-1, 4)), (90, np.tile(lines, 20))]
    assert_equals_reference(
        as_cases(
            *(Sample(operator(), (x, y)) for operator in (Min, Max, Div)),
            *(Sample(operator(), (x,)) for operator in (Sign, Abs, Neg)),
            Sample(Clip(-1.0, 2.0), (x,)),
            *(Sample(operator(1), (lines,)) for operator in (ArgMax, ArgMin)),
            *(Sample(operator(0, select_last_index=True), (lines,)) for operator in (ArgMax, ArgMin)),
            *(Sample(TopK(1, k, largest), (x,)) for largest in (True, False) for k, x in ranked),
            Sample(MaxPoolWithIndices((1, 3), (1, 2), (1, 2, 1, 2), (1, 1), False), (lines[None, None],)),
            *(Sample(operator((1,)), (lines,)) for operator in (ReduceMax, ReduceLogSumExp)),
            *(Sample(operator(1), (lines[:1, 3:],)) for operator in (Softmax, LogSoftmax)),
        )
    )


@pytest.mark.parametrize("target", ["portable", "avx2"])
def test_windows_whose_extremes_have_places_are_compared_side_by_side(target: str) -> None:
    function = Function("main", [("x", TensorType((1, 3, 28, 41), DType.F32))])
    pool = MaxPoolWithIndices((2, 2), (2, 2), (0, 0, 0, 0), (1, 1), column_major=False)
    kernel = lower(function.append(pool, function.parameters), described(target))
    assert kernel is not None and re.search(r"fcmp[^\n]*<\d+ x float>", kernel.text)


@pytest.mark.parametrize("shape", [(300, 4), (3, 100, 1)])
def test_rows_that_are_gathered_are_not_divided_by_their_number(shape: tuple[int, ...]) -> None:
    """Where a batch of them begins is found once for all."""
    operands = [("x", TensorType(shape, DType.F32)), ("indices", TensorType((77,), DType.I64))]
    function = Function("main", operands)
    kernel = lower(function.append(Gather(len(shape) - 2), function.parameters), described("avx2"))
    assert kernel is not None
    reading = [block for block in kernel.text.split("\n\n") if "load i64" in block]
    assert reading and not any(re.search("[su](div|rem)", block) for block in reading)


def test_integers_wrap_and_division_by_zero_gives_zero() -> None:
    cases: list[Sample] = []
    for dtype in (np.int8, np.int32, np.int64, np.uint64):
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
        x = np.array([low, high, high, high - 1, 7, 7, 7, 0, low, high], dtype)
        y = np.array([1, 1, 3, high, high, 0, 3, 0, high, low], dtype)
        cases += [Sample(operator, (x, y)) for operator in (Div(), Mod(), Mod(fmod=True))]
        unary = (Abs(), Sign(), ReduceSum((0,)), ReduceMean((0,)), CumSum(0))
        cases += [Sample(operator, (x,)) for operator in unary]
        if low < 0:
            cases.append(Sample(Div(), (np.array([low, high], dtype), np.array([-1, -1], dtype))))
            cases.append(Sample(Mod(), (np.array([low, high], dtype), np.array([-1, -1], dtype))))
    assert_equals_reference(as_cases(*cases))


def test_every_half_float_is_converted_and_rounded_once(rng: np.random.Generator) -> None:
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    bits = rng.integers(0, 1 << 32, 100_000, dtype=np.uint32)
    singles = bits.view(np.float32)
    # Just beside the middle between two half floats: rounding to float32 first would land on it.
    finite = every[np.isfinite(every)].astype(np.float64)
    middles = (finite[:-1] + finite[1:]) / 2
    doubles = np.concatenate([middles, np.nextafter(middles, INF), np.nextafter(middles, -INF)])
    samples = [Sample(Cast(DType.F32), (every,)), Sample(Cast(DType.F16), (singles,))]
    executions = [execution(case) for case in as_cases(*samples, Sample(Cast(DType.F16), (doubles,)))]
    found = run_kernels([e for e in executions if e is not None], TARGET)
    with np.errstate(all="ignore"):
        expected = [every.astype(np.float32), singles.astype(np.float16), doubles.astype(np.float16)]
    for results, right in zip(found, expected, strict=True):
        assert results is not None
        np.testing.assert_array_equal(results[0], right)


@pytest.mark.parametrize("reduction", ["add", "mul", "min", "max"])
@pytest.mark.parametrize("dtype", [np.float16, np.bool_])
def test_updates_of_other_types_meet_in_one_element(reduction: str, dtype: type, rng: np.random.Generator) -> None:
    """onnxruntime has no such sums, so that no sample asks for them."""
    x, updates = (rng.standard_normal(5).astype(np.float32) for _ in range(2))
    x, updates = (x.astype(dtype), updates.astype(dtype)) if dtype is np.float16 else (x > 0, updates > 0)
    indices = np.array([1, -2, 1, 0, 1])
    elements = Sample(ScatterElements(0, reduction), (x, indices, updates))
    slices = Sample(ScatterND(reduction), (x, indices[:, None], updates))
    assert_equals_reference(as_cases(elements, slices))


def test_indices_out_of_range_are_refused() -> None:
    x = np.arange(12, dtype=np.float32).reshape(4, 3)
    updates = np.ones((1, 3), np.float32)
    samples: list[Sample] = []
    for index in (4, -5, 2**40):
        where = np.array([[index]])
        samples += [
            Sample(Gather(0), (x, where)),
            Sample(GatherElements(0), (x, where)),
            Sample(GatherND(), (x, where)),
            Sample(ScatterElements(0), (x, where, updates[:, :1])),
            Sample(ScatterND(), (x, where, updates)),
        ]
    executions = [execution(case) for case in as_cases(*samples)]
    found = run_kernels([e for e in executions if e is not None], TARGET)
    assert found == [None] * len(samples)


def test_tables_of_trees_that_lead_astray_have_no_kernel(rng: np.random.Generator) -> None:
    """Entries of each table are changed: the reference refuses them, or the kernel computes what it does."""
    good, changed = next(samples(TreeEnsemble, rng)), []
    for place in (1, 3, 4, 5):
        for odd in (-(2**31), -70, -2, 0, 5, 40, 2**31 - 1):
            table = np.array(good.inputs[place])
            table.reshape(-1)[rng.integers(table.size, size=3)] = odd
            inputs = (*good.inputs[:place], table, *good.inputs[place + 1 :])
            changed.append(Sample(good.operator, inputs, good.constants))
    cases = as_cases(*changed)
    refused = []
    for case, sample in zip(cases, changed, strict=True):
        try:
            the_op(case).evaluate(sample.inputs)
        except InputError:
            refused.append(case)
            assert generic_kernel(the_op(case)) is None
    sound = [case for case in cases if case not in refused]
    assert_equals_reference(sound)
    assert len(sound) > 2
    assert len(refused) > 15
    # Tables that are computed are not known: the reference runs.
    (computed,) = as_cases(replace(good, constants=frozenset()))
    assert generic_kernel(the_op(computed)) is None


def an_op() -> Op:
    """One whose kernel takes x and y, both of single precision."""
    return the_op(make_case("neg", Sample(Neg(), (np.ones(4, np.float32),))))


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("y[0] = x[0].sum()", "Unknown attribute 'sum' of type float32 (<string>, line 2)"),
        ("y[0] = nearest(x[0])", "NameError: name 'nearest' is not defined"),
    ],
)
def test_what_numba_cannot_type_is_said_without_its_traceback(statement: str, problem: str) -> None:
    source = f"def kernel(x, y, n, f, scratch, begin, end):\n    {statement}\n    return 0\n"
    with pytest.raises(CodegenError) as caught:
        compile_kernel(an_op(), source, TARGET, units=1)
    assert str(caught.value) == (
        f"cpu code: neg: numba cannot compile the kernel's function kernel; found {problem}. "
        "This is a fault of Tilewright, not of the model."
    )


def test_names_of_the_library_mean_the_same_in_every_module_of_kernels() -> None:
    """Kernels are compiled with these names in scope, whatever the module of a function means by them."""
    meanings = {"np": np, "math": math, **library()}
    for each in pkgutil.walk_packages(kernels.__path__, f"{kernels.__name__}."):
        names = vars(importlib.import_module(each.name))
        for name, meaning in meanings.items():
            assert names.get(name, meaning) is meaning, f"{name} in {each.name}"


def test_a_network_of_vector_kernels_is_compiled_without_numba(tmp_path: Path) -> None:
    program = (
        "import sys, tilewright\n"
        "from tilewright.compiler.demo import MODEL\n"
        "tilewright.compile(MODEL, output=sys.argv[1], precision='fp32')\n"
        "assert 'numba' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "digits.twa")], check=True)


def test_tensors_without_elements(rng: np.random.Generator) -> None:
    empty = np.zeros((2, 0, 3), np.float32)
    assert_equals_reference(
        as_cases(
            Sample(ReduceSum((1,)), (empty,)),
            Sample(ReduceMax((1,)), (empty,)),
            Sample(ReduceSum((2,)), (empty,)),
            Sample(Softmax(1), (empty,)),
            Sample(Neg(), (empty,)),
            Sample(Cast(DType.I32), (empty,)),
            Sample(Gather(0), (rng.standard_normal((2, 3)).astype(np.float32), np.zeros((0,), np.int64))),
        )
    )


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.sweep)])
def test_results_may_replace_operands_of_the_same_shape(every: bool) -> None:
    """The first sample of each operator and types of elements among those whose functions are compiled in any case, and
    of each operator of which none is; or every one."""
    executions: list[Execution] = []
    expected: list[np.ndarray] = []
    met = set[object]()
    chosen = {case.name: case for cls in REGISTRY.values() for case in of_family(cls.family)[cls.name]}
    for case in (*({} if every else chosen).values(), *all_cases()):
        op = the_op(case)
        kind = op.name, *(value.type.dtype for value in op.inputs)
        if not every and (kind in met or (op.name in met and case.name not in chosen)):
            continue
        replaced = 3 if op.name in ("conv", "matmul") else 0 if isinstance(op.operator, Elementwise) else -1
        present = {i: value.type for i, value in enumerate(op.operands) if value is not None}
        if present.get(replaced) == op.results[0].type and (e := execution(case)) is not None:
            met |= {kind, op.name}
            executions.append(replace(e, in_place=[*present].index(replaced)))
            expected += interp.run(case.module, case.inputs).values()
    assert {e.op.name for e in executions} >= {"conv", "matmul", "add", "fused_elementwise", "relu"}
    for results, right, e in zip(run_kernels(executions, TARGET), expected, executions, strict=True):
        assert results is not None
        assert_close(results[0], right, e.op.name)


def test_kernels_of_equal_specifications_are_one(rng: np.random.Generator) -> None:
    first, second = (as_cases(Sample(Neg(), (rng.standard_normal((3, 4)).astype(np.float32),)))[0] for _ in range(2))
    other = as_cases(Sample(Neg(), (rng.standard_normal((3, 5)).astype(np.float32),)))[0]
    kernels = [generic_kernel(the_op(case)) for case in (first, second, other)]
    assert kernels[0] == kernels[1]
    assert kernels[0] is not None and kernels[2] is not None and kernels[0].name != kernels[2].name


@pytest.mark.parametrize("name", ["reduce_sum", "transpose", "average_pool", "matmul", "lrn", "softmax", "gather"])
def test_work_can_be_split_anywhere(name: str) -> None:
    """Every kernel in two calls: the first part of its work items, then, into the same result, the others."""
    for case in islice(cases_of(name), 6):
        whole = execution(case)
        if whole is None or whole.kernel.units < 2:
            continue
        middle = whole.kernel.units // 2
        text = whole.kernel.text
        both = f"""
define i32 @both_{whole.kernel.name}({_parameters(whole)}, i64 %begin, i64 %end) {{
  %first = call i32 @{whole.kernel.name}({_parameters(whole)}, i64 0, i64 {middle})
  %second = call i32 @{whole.kernel.name}({_parameters(whole)}, i64 {middle}, i64 {whole.kernel.units})
  %status = or i32 %first, %second
  ret i32 %status
}}
"""
        split = replace(whole, kernel=replace(whole.kernel, name=f"both_{whole.kernel.name}", text=text + both))
        ((found,), (expected,)) = (run_kernels([e], TARGET) for e in (split, whole))
        assert found is not None and expected is not None
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, other, case.name)


def _parameters(execution: Execution) -> str:
    count = len(execution.op.inputs) + len(execution.op.results)
    return ", ".join([*(f"ptr %t{i}" for i in range(count)), "ptr %scratch"])


INTEGERS = (np.int8, np.uint8, np.int32, np.int64, np.uint64)


def ends_of_the_range(rng: np.random.Generator, dtype: type, shape: tuple[int, ...]) -> np.ndarray:
    limits = np.iinfo(dtype)
    x = rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)
    x.flat[::3], x.flat[1::5] = limits.min, limits.max
    return x


@pytest.mark.parametrize("cls", [ReduceMean, ReduceL2, ReduceSum])
def test_reductions_whose_sums_leave_the_range_of_their_integers(cls: type[Reduce], rng: np.random.Generator) -> None:
    chosen = INTEGERS if cls is ReduceMean else (np.int32, np.uint8)
    shapes = (((3, 18), (0,)), ((4, 3, 5), (0, 2)))
    cases = [
        make_case(f"{cls.__name__} of {dtype.__name__}, {axes}", Sample(cls(axes), (ends_of_the_range(rng, dtype, s),)))
        for dtype in chosen
        for s, axes in shapes
    ]
    check(cases, "host")


@pytest.mark.parametrize(
    ("shape", "axes"), [((3, 18), (0,)), ((18, 3), (1,)), ((2, 3, 4, 5), (2, 3)), ((4, 5), (0, 1))]
)
def test_the_mean_of_integers_is_that_of_onnxruntime(
    shape: tuple[int, ...], axes: tuple[int, ...], rng: np.random.Generator
) -> None:
    """It fits whatever its sum is; sums that do not fit onnxruntime saturates, and others wrap."""
    x = ends_of_the_range(rng, np.int32, shape)
    node = helper.make_node("ReduceMean", ["x"], ["y"], axes=list(axes))
    model = graph_model([node], [("x", TensorProto.INT32, shape)], opset=13)
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT32
    (expected,) = Oracle(model).run({"x": x}).values()
    np.testing.assert_array_equal(ReduceMean(axes).reference(x), expected)


def test_programs_that_log_everything_read_nothing_of_kernels() -> None:
    program = """
import logging
logging.basicConfig(level=logging.DEBUG)
from tilewright.codegen.cpu.numba.generation.function import numba_text
from tilewright.ir.types import DType
def double(x, y, n):
    for i in range(n):
        y[i] = x[i] + x[i]
    return 0
numba_text("double", double, (DType.F32, DType.F32), 1)
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stderr == ""


def test_hyperbolic_tangent_in_double_precision(rng: np.random.Generator) -> None:
    """Within a few units of the last place, however small it is; signs of zero and what is no number stay."""
    sizes = (1e-300, 1e-9, 1e-7, 1e-3, 0.1, 1, 3, 30, 1e300)
    x = np.concatenate([rng.standard_normal(40) * size for size in sizes] + [np.array([0.0, -0.0, np.inf, -np.inf])])
    y = np.array([hyperbolic_tangent(np.float64(each)) for each in x])
    np.testing.assert_allclose(y, np.tanh(x), rtol=1e-15, atol=0)
    np.testing.assert_array_equal(np.signbit(y), np.signbit(x))
    assert np.isnan(hyperbolic_tangent(np.float64(np.nan)))
