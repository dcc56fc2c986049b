"""Kernels of the generic family, which numba compiles, on cases of operators."""

from __future__ import annotations

from unittest import mock

import numpy as np
from kernel_harness import Execution, run_kernels
from operator_samples import Case

from tilewright.codegen.cpu.families import lowerings
from tilewright.codegen.cpu.kernel import Kernel
from tilewright.codegen.cpu.llvm.target import TargetDescription
from tilewright.codegen.cpu.numba.generation import function as functions
from tilewright.ir import interp
from tilewright.ir.core import Op

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
