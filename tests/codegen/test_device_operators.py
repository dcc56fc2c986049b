"""Every quantised sample that the device can run, on several machines, against the reference, byte for byte."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from device_runs import compile_for_device, run_on_device
from grouped_tests import grouped
from operator_samples import Case, all_cases, operator_of

from tilewright.errors import PassError
from tilewright.ir import interp
from tilewright.ir.core import Constant
from tilewright.passes.placement.device_support import is_weight, reject
from tilewright.runtime.machines.machine import Machine, load


def runs_on_device(case: Case) -> bool:
    """Whether the partition would place the sample on the device, as a whole: constants are given to it as inputs."""
    (op,) = case.module.main.ops
    has_constant_map = any(isinstance(v, Constant) and not is_weight(op, i) for i, v in enumerate(op.operands))
    return reject(op, load("m4096")) is None and not has_constant_map


CASES = [case for case in all_cases() if runs_on_device(case)]


def tiny(**changes: int) -> Machine:
    """A machine with very little memory, so that everything is cut into many tiles."""
    base = {"maps_bytes": 4096, "weight_bytes": 4096, "accumulator_bytes": 2048, "parameter_bytes": 1024}
    return dataclasses.replace(load("s256"), name="tiny", **{**base, **changes})


MACHINES = [load("m4096"), load("s256"), tiny(), tiny(maps_bytes=2048, weight_bytes=2560, accumulator_bytes=512)]


def test_there_are_samples_of_every_kind() -> None:
    names = {op.name for case in CASES for op in case.module.main.ops}
    assert {"conv", "max_pool", "average_pool", "global_average_pool", "add", "mul", "sigmoid"} <= names


NUMBERS = {case.name: number for number, case in enumerate(CASES)}


def check(case: Case, machine: Machine) -> None:
    expected = interp.run(case.module, case.inputs)
    try:
        compiled = compile_for_device(case.module, machine)
    except PassError as error:
        assert machine.name == "tiny"
        assert "not even the smallest tile fits" in str(error)
        pytest.skip("too small a machine for this sample")
    found = run_on_device(case.module, compiled, machine, case.inputs)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("machines", [MACHINES[:2], MACHINES[2:]], ids=["as they are", "tiny"])
@grouped(CASES, operator_of)
def test_device_equals_reference(case: Case, machines: list[Machine]) -> None:
    """Each on one of two; the sweep runs all on all."""
    check(case, machines[NUMBERS[case.name] % 2])


@pytest.mark.sweep
@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: f"{machine.name}-{machine.maps_bytes}")
@grouped(CASES, operator_of)
def test_device_equals_reference_on_every_machine(case: Case, machine: Machine) -> None:
    check(case, machine)
