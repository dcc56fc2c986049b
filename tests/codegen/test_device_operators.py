"""Every quantised sample that the device can run, on several machines, against the reference, byte for byte."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from device_runs import compile_for_device, run_on_device
from operator_samples import Case, all_cases

from tilewright.codegen.device.emit import lowering_of
from tilewright.errors import PassError
from tilewright.ir import interp
from tilewright.ir.core import Constant, Op
from tilewright.ir.feature_map import MAP_RANKS, map_shape
from tilewright.ir.ops.elementwise import Binary
from tilewright.ir.ops.pooling import AveragePool, Pool
from tilewright.ir.quantized import not_eight_bit
from tilewright.runtime.machine import load


def _broadcasts_by_pixel(op: Op) -> bool:
    """Whether the operands of an elementwise op are maps of the same channels."""
    if any(isinstance(v, Constant) or v.type.rank not in MAP_RANKS for v in op.inputs):
        return False
    shapes = [map_shape(v.type) for v in (*op.inputs, op.result)]
    same_rank = len({v.type.rank for v in (*op.inputs, op.result)}) == 1
    return same_rank and len({s.channels for s in shapes}) == 1


def runs_on_device(case: Case) -> bool:
    """Whether everything about the sample is what device code expects; the partition decides this for users."""
    (op,) = case.module.main.ops
    operator = op.operator
    values = [*op.inputs[:1], *op.results]
    eight_bit = all(not_eight_bit(v.type, v.name) is None for v in values)
    ranks = all(v.type.rank in MAP_RANKS for v in values)
    if isinstance(operator, Pool) and max(operator.dilations) > 1:
        return False
    if isinstance(operator, AveragePool) and any(operator.overhang):
        return False
    if isinstance(operator, Binary) and not _broadcasts_by_pixel(op):
        return False
    constants = all(v.producer is None and v.name.startswith("c") for v in op.inputs[1:]) or op.name != "conv"
    return eight_bit and ranks and constants and lowering_of(type(operator)) is not None


CASES = [case for case in all_cases() if runs_on_device(case)]


def tiny(**changes):
    """A machine with very little memory, so that everything is cut into many tiles."""
    base = {"maps_bytes": 4096, "weight_bytes": 4096, "accumulator_bytes": 2048, "parameter_bytes": 1024}
    return dataclasses.replace(load("s256"), name="tiny", **{**base, **changes})


MACHINES = [load("m4096"), load("s256"), tiny(), tiny(maps_bytes=2048, weight_bytes=2560, accumulator_bytes=512)]


def test_there_are_samples_of_every_kind() -> None:
    names = {op.name for case in CASES for op in case.module.main.ops}
    assert {"conv", "max_pool", "average_pool", "global_average_pool", "add", "mul", "sigmoid"} <= names


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: f"{machine.name}-{machine.maps_bytes}")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_device_equals_reference(case: Case, machine) -> None:
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
