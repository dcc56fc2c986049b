"""The checker of device addresses: sound plans pass, and whatever address is shifted is found out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from before_after import parse, random_inputs
from device_runs import generate, plan_for_device, run_on_device
from quantized_graphs import random_quantized_graph
from random_seeds import seeds

from tilewright.errors import PassError
from tilewright.ir import interp
from tilewright.ir.annotations import ON
from tilewright.ir.core import Function, Module
from tilewright.ir.text.literals import Literal
from tilewright.passes.device.legalize_for_device import LegalizeForDevice
from tilewright.passes.device.outline_device import OutlineDevice
from tilewright.passes.device.planning.check_device_memory import check_device_memory
from tilewright.passes.device.planning.plan_device_memory import PlanDeviceMemory
from tilewright.passes.device.tile_device import tile_of
from tilewright.passes.device.tiling.tile_searches import set_tile
from tilewright.passes.memory.plan import Buffer
from tilewright.passes.placement.partition import Partition
from tilewright.runtime.machines.machine import load

MACHINE = load("s256")

# %a to %d are alive at once, and %e stands between two that are: there is no room for any of them elsewhere.
TIGHT = """
func @main(%x: i8[1,16,2,2]<s=0x1.0p-4, z=3>) -> (%f: i8[1,16,2,2]<s=0x1.0p-4, z=3>) {
  %a = sigmoid(%x) : i8[1,16,2,2]<s=0x1.0p-8, z=-128>
  %b = tanh(%x) : i8[1,16,2,2]<s=0x1.0p-7, z=0>
  %c = relu(%x) : i8[1,16,2,2]<s=0x1.0p-4, z=3>
  %d = add(%a, %b) : i8[1,16,2,2]<s=0x1.0p-6, z=0>
  %e = add(%c, %d) : i8[1,16,2,2]<s=0x1.0p-4, z=3>
  %f = add(%e, %a) : i8[1,16,2,2]<s=0x1.0p-4, z=3>
  return %f
}
"""

# %a and %b are written into the buffer of %c; 20 and 12 channels fill a pixel of 32 bytes.
JOINED = """
func @main(%x: i8[1,20,2,2]<s=0x1.0p-4, z=3>, %y: i8[1,12,2,2]<s=0x1.0p-4, z=3>)
    -> (%d: i8[1,32,2,2]<s=0x1.0p-4, z=3>) {
  %a = relu(%x) : i8[1,20,2,2]<s=0x1.0p-4, z=3>
  %b = relu(%y) : i8[1,12,2,2]<s=0x1.0p-4, z=3>
  %c = concat(%a, %b) {axis=1} : i8[1,32,2,2]<s=0x1.0p-4, z=3>
  %d = relu(%c) : i8[1,32,2,2]<s=0x1.0p-4, z=3>
  return %d
}
"""


def planned(text: str) -> Module:
    """A module whose ``main`` runs on the device, with tiles and addresses."""
    module = parse(text)
    plan_for_device(module, MACHINE)
    return module


def tensors(module: Module) -> list[str]:
    """Names of all that has an address: parameters, then op results."""
    function = module.main
    return [value.name for value in (*function.parameters, *(op.result for op in function.ops))]


@contextmanager
def shifted(module: Module, number: int, distance: int) -> Iterator[Function]:
    """``main`` of a planned module while tensor ``number`` of :func:`tensors` lies ``distance`` bytes further."""
    function, ops = module.main, [*module.main.ops]
    count = len(function.parameters)
    owner, key = (function, "inputs") if number < count else (ops[number - count], "dram")
    before = owner.annotations[key]
    assert isinstance(before, tuple)
    if number < count:
        owner.annotations[key] = tuple(moved(a, distance) if i == number else a for i, a in enumerate(before))
    else:
        owner.annotations[key] = moved(before, distance)
    yield function
    owner.annotations[key] = before


def moved(address: object, distance: int) -> Literal:
    assert isinstance(address, tuple)
    region, offset, pixel, padded = address
    return (region, offset + distance, pixel, padded)


@pytest.mark.parametrize("distance", [64, -64, 16, -16, 1, -1])
def test_every_shift_of_a_tight_plan_is_found(distance: int) -> None:
    module = planned(TIGHT)
    check_device_memory(module.main)
    for number, name in enumerate(tensors(module)):
        with shifted(module, number, distance) as function, pytest.raises(PassError):
            check_device_memory(function)
            pytest.fail(f"nothing was noticed of %{name}, {distance} bytes away")


@pytest.mark.parametrize(("name", "distance"), [("a", 1), ("a", 4), ("b", -1), ("b", -16), ("b", 12), ("c", 1)])
def test_parts_of_a_concatenation_that_overlap_are_found(name: str, distance: int) -> None:
    module = planned(JOINED)
    check_device_memory(module.main)
    with shifted(module, tensors(module).index(name), distance) as function, pytest.raises(PassError):
        check_device_memory(function)


@pytest.mark.parametrize("seed", seeds(6, 12))
def test_a_shift_that_passes_changes_no_byte(seed: int) -> None:
    """Whatever the checker lets through computes what the reference does."""
    rng = np.random.default_rng(seed)
    module = random_quantized_graph(rng, groups=10)
    for current in (LegalizeForDevice(), Partition("s256", keep_islands=True), OutlineDevice()):
        current.run(module)
    functions = [f for f in module.functions.values() if f.annotations.get("on") == "device"]
    refused = 0
    for function in functions:
        alone = Module(function.name)
        alone.constants, alone.functions["main"] = module.constants, function
        plan_for_device(alone, MACHINE)
        inputs = random_inputs(alone, rng)
        expected = interp.run(alone, inputs)
        distance = int(rng.choice([-64, -16, -3, 16, 64, 256]))
        for number, name in enumerate(tensors(alone)):
            with shifted(alone, number, distance) as moved_function:
                try:
                    check_device_memory(moved_function)
                except PassError:
                    refused += 1
                    continue
                found = run_on_device(alone, generate(alone, MACHINE), MACHINE, inputs)
            for result, array in expected.items():
                np.testing.assert_array_equal(found[result], array, f"%{name}, {distance} bytes away")
    assert refused > 0


def test_messages_name_op_address_and_reader() -> None:
    module = planned(TIGHT)

    def message(name: str, distance: int) -> str:
        number = tensors(module).index(name)
        with shifted(module, number, distance) as function, pytest.raises(PassError) as caught:
            check_device_memory(function)
        return str(caught.value)

    assert message("a", 64) == "add: %a at scratch 64 has been overwritten before this op reads it"
    assert message("x", 16) == "@main: %x leaves region 'input'; expected bytes 0 to 64, found 16 to 80"
    assert message("f", -64) == "add: %f leaves region 'output'; expected bytes 0 to 64, found -64 to 0"


def broken(function: Function, name: str, address: object) -> str:
    """What is said of a function where op result ``name`` has this address."""
    op = next(op for op in function.ops if op.result.name == name)
    op.annotations["dram"] = address  # pyright: ignore[reportArgumentType]
    with pytest.raises(PassError) as caught:
        check_device_memory(function)
    return str(caught.value)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        (("input", 0, 16, True), "relu: result %c lies in the input, which is never written"),
        (("scratch", 0, 8, True), "relu: the pixels of %c overlap; expected at least 16 bytes apart, found 8"),
        (("elsewhere", 0, 16, True), "relu: %c has a malformed address in device memory; found "),
        (("scratch", "a", 16, True), "relu: %c has a malformed address in device memory; found "),
        (None, "relu: %c has no address in device memory"),
    ],
)
def test_malformed_addresses(address: object, message: str) -> None:
    assert broken(planned(TIGHT).main, "c", address).startswith(message)


def test_the_result_of_the_function_stays_whole() -> None:
    module = planned(TIGHT)
    free = next(op.annotations["dram"] for op in module.main.ops if op.result.name == "c")
    assert broken(module.main, "f", free) == "@main: result %f lies outside the output"


def test_the_planner_is_held_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A planner that forgets how long tensors live is found out by what the pass ensures."""
    from tilewright.passes.memory import plan

    def short(bytes: int, first: int, last: int) -> Buffer:
        return Buffer(bytes, first, first)

    monkeypatch.setattr(plan, "Buffer", short)
    module = parse(TIGHT)
    ON.set(module.main, "device")
    for op in module.main.ops:
        ON.set(op, "device")
        set_tile(op, tile_of(op, MACHINE))
    with pytest.raises(PassError, match=r"no byte is overwritten before its last use.* has been overwritten before"):
        PlanDeviceMemory().run(module)
