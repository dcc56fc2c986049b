"""Regions become functions, and not one byte of any output changes."""

from __future__ import annotations

import numpy as np
import pytest
from before_after import canonical, clone, parse, run_pass
from grouped_tests import grouped
from operator_samples import Case, all_cases, operator_of
from quantized_graphs import random_quantized_graph
from random_seeds import seeds

from tilewright.ir import interp
from tilewright.ir.core import Module
from tilewright.passes.base import Verification
from tilewright.passes.device.legalize_for_device import LegalizeForDevice
from tilewright.passes.device.outline_device import OutlineDevice
from tilewright.passes.placement.device_support import reject
from tilewright.passes.placement.partition import Partition
from tilewright.runtime.machines.machine import load

Q = "<s=0x1.0p-4, z=3>"
DEVICE = 'on=device, why="supported"'


def outlined(text: str) -> Module:
    module = parse(text)
    run_pass(OutlineDevice(), module)
    return module


def test_a_region_becomes_a_function() -> None:
    """A result that is read inside, outside and returned is one result; the order of main changes where it must."""
    before = f"""
  func @main(%x: i8[1,2]{Q}, %z: i8[1,2]{Q}) -> (%y: i8[1,2]{Q}, %n: i8[1,2]{Q}) {{
    %a = neg(%x) [on=device, region=0] : i8[1,2]{Q} loc("A")
    %t = transpose(%z) {{perm=[0, 1]}} [on=cpu] : i8[1,2]{Q}
    %b = add(%a, %t) [on=device, region=0] : i8[1,2]{Q} loc("B")
    %c = transpose(%a) {{perm=[0, 1]}} [on=cpu] : i8[1,2]{Q}
    %d = add(%b, %c) [on=device, region=1] : i8[1,2]{Q}
    return %d, %a
  }}"""
    after = f"""
  func @main(%x: i8[1,2]{Q}, %z: i8[1,2]{Q}) -> (%y: i8[1,2]{Q}, %n: i8[1,2]{Q}) {{
    %t = transpose(%z) {{perm=[0, 1]}} [on=cpu] : i8[1,2]{Q}
    %a, %b = call(%x, %t) {{callee=device_0, shares=1}} [on=device, region=0] : i8[1,2]{Q}, i8[1,2]{Q} loc("A", "B")
    %c = transpose(%a) {{perm=[0, 1]}} [on=cpu] : i8[1,2]{Q}
    %d = call(%b, %c) {{callee=device_1, shares=1}} [on=device, region=1] : i8[1,2]{Q}
    return %d, %a
  }}
  func @device_0(%x: i8[1,2]{Q}, %t: i8[1,2]{Q}) -> (%a: i8[1,2]{Q}, %b: i8[1,2]{Q}) [on=device] {{
    %a = neg(%x) [on=device, region=0] : i8[1,2]{Q} loc("A")
    %b = add(%a, %t) [on=device, region=0] : i8[1,2]{Q} loc("B")
    return %a, %b
  }}
  func @device_1(%b: i8[1,2]{Q}, %c: i8[1,2]{Q}) -> (%d: i8[1,2]{Q}) [on=device] {{
    %d = add(%b, %c) [on=device, region=1] : i8[1,2]{Q}
    return %d
  }}"""
    assert canonical(outlined(before)) == canonical(parse(after))


def test_weights_stay_constants_and_constant_maps_are_passed() -> None:
    conv = 'strides=[1, 1], pads=[0, 0, 0, 0], dilations=[1, 1], group=1, act="none", act_args=[]'
    constants = f"""
  const @w : i8[1,1,1,1]{Q} = [3]
  const @c : i8[1,1,1,1]{Q} = [7]"""
    before = f"""{constants}
  func @main(%x: i8[1,1,2,2]{Q}) -> (%y: i8[1,1,2,2]{Q}) {{
    %a = conv(%x, @w, _) {{{conv}}} [on=device, region=0] : i8[1,1,2,2]{Q}
    %b = mul(@c, %a) [on=device, region=0] : i8[1,1,2,2]{Q}
    return %b
  }}"""
    after = f"""{constants}
  func @main(%x: i8[1,1,2,2]{Q}) -> (%y: i8[1,1,2,2]{Q}) {{
    %b = call(%x, @c) {{callee=device_0, shares=1}} [on=device, region=0] : i8[1,1,2,2]{Q}
    return %b
  }}
  func @device_0(%x: i8[1,1,2,2]{Q}, %c: i8[1,1,1,1]{Q}) -> (%y: i8[1,1,2,2]{Q}) [on=device] {{
    %a = conv(%x, @w, _) {{{conv}}} [on=device, region=0] : i8[1,1,2,2]{Q}
    %b = mul(%c, %a) [on=device, region=0] : i8[1,1,2,2]{Q}
    return %b
  }}"""
    assert canonical(outlined(before)).replace("%b:", "%y:") == canonical(parse(after)).replace("%b:", "%y:")


def test_names_are_unique_where_hints_are_not() -> None:
    module = parse(f"""
  func @main(%x: i8[1,2]{Q}) -> (%y: i8[1,2]{Q}, %z: i8[1,2]{Q}) {{
    %a = neg(%x) [on=device, region=0] : i8[1,2]{Q}
    %b = neg(%a) [on=device, region=0] : i8[1,2]{Q}
    return %a, %b
  }}""")
    for op in module.main.ops:
        op.result.name = "x"
    run_pass(OutlineDevice(), module)
    function = module.functions["device_0"]
    assert [p.name for p in function.parameters] == ["x"]
    assert len(set(function.result_names)) == 2


def test_a_module_without_regions_and_one_that_is_outlined_stay() -> None:
    module = outlined(f"""
  func @main(%x: i8[1,2]{Q}) -> (%y: i8[1,2]{Q}) {{
    %a = neg(%x) [on=device, region=0] : i8[1,2]{Q}
    return %a
  }}""")
    assert [op.name for op in module.main.ops] == ["call"]
    assert not OutlineDevice().run(module, verification=Verification.FULL).modified


def check_equal_bytes(module: Module, inputs: dict[str, np.ndarray]) -> Module:
    """Lower, partition and outline a copy of ``module``; it must compute the same."""
    after = clone(module)
    for current in (LegalizeForDevice(), Partition("m4096", keep_islands=True), OutlineDevice()):
        run_pass(current, after)
    found = interp.run(after, inputs)
    for name, array in interp.run(module, inputs).items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
    for function in after.functions.values():
        if function is not after.main:
            assert function.annotations["on"] == "device"
            assert not set(function.parameters) & set(function.results)
            assert all(reject(op, load("m4096")) is None for op in function.ops)
    return after


QUANTIZED = [
    case
    for case in all_cases()
    for op in case.module.ops
    if any(value.type.quant is not None for value in (*op.inputs, *op.results))
    and not any(value.type.layout for value in (*op.inputs, *op.results))
]


@grouped(QUANTIZED, operator_of)
def test_samples_keep_every_byte(case: Case) -> None:
    check_equal_bytes(case.module, case.inputs)


def test_samples_do_reach_the_device() -> None:
    reached = {op.name for case in QUANTIZED for op in case.module.ops if reject(op, load("m4096")) is None}
    assert {"conv", "add", "max_pool", "average_pool", "global_average_pool", "requantize", "sigmoid"} <= reached


@pytest.mark.parametrize("activations", ["i8", "u8"])
@pytest.mark.parametrize("seed", seeds(8, 25))
def test_random_networks_keep_every_byte(seed: int, activations: str) -> None:
    rng = np.random.default_rng(1000 + seed)
    module = random_quantized_graph(rng, activations=activations)
    inputs = {p.name: rng.standard_normal(p.type.shape).astype(np.float32) for p in module.main.parameters}
    check_equal_bytes(module, inputs)
