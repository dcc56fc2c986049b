"""The samples of all operators, in the layouts that the compiler chooses, between guard pages on every target."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from grouped_tests import groups
from kernel_harness import TARGETS, Execution, described, run_kernels
from operator_samples import Case, all_cases, make_case

from tilewright.codegen.cpu.families import lower
from tilewright.codegen.cpu.llvm.target import TargetDescription
from tilewright.ir.core import Constant, Value
from tilewright.passes.cpu.choose_layouts import ChooseLayouts
from tilewright.passes.pipeline import Pipeline
from tilewright.passes.placement.place_on_cpu import PlaceOnCpu

CASES = groups(all_cases(), lambda case: case.sample.operator.family)


def executions(case: Case, target: TargetDescription) -> Iterator[Execution]:
    """Each op of a sample that has a kernel, conversions of layouts included, with the arrays that reach it."""
    case = make_case(case.name, case.sample)
    main = case.module.main
    if not any(value.type.layout for op in main.ops for value in (*op.inputs, *op.results)):
        Pipeline((PlaceOnCpu(), ChooseLayouts())).run(case.module)
    values: dict[Value, np.ndarray] = {p: case.inputs[p.name] for p in main.parameters}
    for op in main.ops:
        arrays = [v.array if isinstance(v, Constant) else values[v] if v is not None else None for v in op.operands]
        kernel = lower(op, target)
        if kernel is not None:
            yield Execution(op, kernel, tuple(array for array in arrays if array is not None))
        values.update(zip(op.results, op.evaluate(arrays), strict=True))


def keep_to_their_tensors(cases: Sequence[Case], target: str) -> None:
    """The harness fails where a kernel does not; what they compute is tested elsewhere."""
    description = described(target)
    run_kernels([each for case in cases for each in executions(case, description)], description)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("family", CASES)
def test_kernels_keep_to_their_tensors(family: str, target: str) -> None:
    """One sample in 24 on one target; the tests of each operator have guard pages, too."""
    keep_to_their_tensors(CASES[family][TARGETS.index(target) :: 24 * len(TARGETS)], target)


@pytest.mark.sweep
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("family", CASES)
def test_all_kernels_keep_to_their_tensors(family: str, target: str) -> None:
    keep_to_their_tensors(CASES[family], target)
