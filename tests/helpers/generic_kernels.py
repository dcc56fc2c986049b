"""Kernels of the generic family, which numba compiles, on cases of operators."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from functools import cache
from unittest import mock

import numpy as np
from kernel_harness import Execution, run_kernels
from operator_samples import Case, cases_of

from tilewright.codegen.cpu.families import lowerings
from tilewright.codegen.cpu.kernel import Kernel
from tilewright.codegen.cpu.llvm.target import TargetDescription
from tilewright.codegen.cpu.numba.generation import function as functions
from tilewright.ir import interp
from tilewright.ir.core import Op
from tilewright.ir.op import REGISTRY

TARGET = TargetDescription.host()


def generic_kernel(op: Op) -> Kernel | None:
    """The kernel of the generic family, whatever family is asked before it."""
    for lowering in lowerings(type(op.operator)):
        if ".numba." in lowering.__module__:
            kernel = lowering(op, TARGET)
            if kernel is not None:
                return kernel
    return None


def the_op(case: Case) -> Op:
    return next(case.module.main.ops)


class _AskedFor(Exception):
    """Tells what numba would compile, in place of it."""


def function_of(case: Case) -> tuple[object, ...]:
    """What numba compiles first for the kernel of a case, nothing where there is no kernel: cases of equal functions
    and element types share what takes most of their time."""

    def compiled(function: functions.KernelFunction, *asked: object) -> tuple[str, str]:
        raise _AskedFor(function.__code__, *asked)

    with mock.patch.object(functions, "_compiled", compiled):
        try:
            generic_kernel(the_op(case))
        except _AskedFor as asked:
            return asked.args
    return ()


def execution(case: Case) -> Execution | None:
    kernel = generic_kernel(the_op(case))
    arrays = tuple(array for array in case.sample.inputs if array is not None)
    return None if kernel is None else Execution(the_op(case), kernel, arrays)


@cache
def of_family(family: str) -> dict[str, list[Case]]:
    """What is chosen of each of its operators. They share what computes with element types: each is met once."""
    met: set[object] = set()
    return {name: [*chosen(cases_of(name), met)] for name, cls in REGISTRY.items() if cls.family == family}


def chosen(cases: Iterable[Case], types: set[object]) -> Iterator[Case]:
    """Cases that between them have every rank and value of an attribute, and what element types are not yet among
    ``types``, to which theirs are added; those first that bring most of it for what is left to compile; and of those
    for whose functions nothing is left the ones that have types, or two of all that together, anew."""
    left: dict[str, tuple[Case, object, set[object], set[object]]] = {}
    for case in cases:
        op = the_op(case)
        values = [(name, repr(value)) for name, value in sorted(asdict(op.operator).items())]
        own = [(f"operand {index}", value.type.dtype.value) for index, value in enumerate(op.inputs)]
        single = {*values, *((index, value.type.rank) for index, value in enumerate(op.inputs)), *own} - types
        values += own
        found = {*single, tuple(str(value.type) for value in op.inputs), *itertools.combinations(values, 2)}
        left[case.name] = case, function_of(case), single, found
    met: set[object] = set()
    compiled: set[object] = {()}
    while left:
        # To compile a function takes some thirty times as long as to run a case.
        name = max(left, key=lambda each: len(left[each][2] - met) * (30 if left[each][1] in compiled else 1))
        case, function, single, found = left[name]
        if single <= met:
            break
        yield case
        compiled.add(function)
        met |= found
        types.update((f"operand {index}", value.type.dtype.value) for index, value in enumerate(the_op(case).inputs))
        del left[name]
    for case, function, _, found in left.values():
        if function in compiled and not found <= met:
            yield case
            met |= found


def assert_equals_reference(cases: list[Case]) -> None:
    """Run those of the cases that have a generic kernel, all in one object."""
    executions = [(case, e) for case in cases if (e := execution(case)) is not None]
    found = run_kernels([e for _, e in executions], TARGET)
    for (case, _), results in zip(executions, found, strict=True):
        assert results is not None, f"{case.name}: refused"
        for result, expected in zip(results, interp.run(case.module, case.inputs).values(), strict=True):
            assert_close(result, expected, case.name)


def assert_close(found: np.ndarray, expected: np.ndarray, name: str) -> None:
    assert found.dtype == expected.dtype, name
    assert found.shape == expected.shape, name
    if found.dtype.kind != "f":
        np.testing.assert_array_equal(found, expected, name)
        return
    scale = float(np.abs(expected[np.isfinite(expected)]).max(initial=1e-6))
    tolerance = (2e-3 if found.dtype == np.float16 else 1e-5) * scale
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance, err_msg=name)
