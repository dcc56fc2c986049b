"""Plans: which there are, what a program says of its own, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from device_programs import pointwise

from tilewright.compiler.device.plans import plans, rank
from tilewright.errors import MachineError
from tilewright.ir.annotations import Plan
from tilewright.passes.device.tile_device import KEPT_SHARE
from tilewright.runtime.isa.program import Program
from tilewright.runtime.machines.machine import Machine, load
from tilewright.runtime.simulator.cycles import simulate
from tilewright.runtime.simulator.verifier import verify

M4096 = load("m4096")


def planned(device: Machine, reduced: dict[str, int]) -> Program:
    """A program of the device that is planned for less of it."""
    return replace(pointwise(device, 8, columns=13, blocks=4), reduced=reduced)


def test_efforts_compare_more_and_more() -> None:
    quick, normal, thorough = ({*plans(M4096, 4, effort)} for effort in ("quick", "normal", "thorough"))
    assert quick < normal < thorough
    (own,) = quick
    assert own == Plan(4, KEPT_SHARE, ())
    assert {plan.clusters for plan in thorough} == {1, 2, 4}


def test_the_plans_of_a_machine_are_among_those_of_one_with_twice_as_much() -> None:
    half = replace(M4096, maps_bytes=M4096.maps_bytes // 2, pixel_lanes=4, clusters=2)

    def absolute(device: Machine) -> set[tuple[object, ...]]:
        """Plans by the machines that they are for."""
        found = [*plans(device, device.clusters, "thorough")]
        names = ("maps_bytes", "weight_bytes", "dram_bytes_per_second", "pixel_lanes", "vector_lanes")
        made = [(plan.clusters, device.reduced(dict(plan.reduced))) for plan in found]
        return {(clusters, *(getattr(each, name) for name in names)) for clusters, each in made}

    assert absolute(half) < absolute(M4096)


def test_a_program_says_what_it_was_planned_for_and_keeps_the_order_of_that() -> None:
    slow = {"dram_bytes_per_second": M4096.dram_bytes_per_second // 8}
    program = planned(M4096, slow)
    again = Program.from_bytes(program.to_bytes())
    assert again.reduced == slow
    assert again.planned_machine == replace(M4096, dram_bytes_per_second=M4096.dram_bytes_per_second // 8)
    own = verify(planned(again.planned_machine, {}), again.planned_machine)
    assert simulate(verify(program, M4096), again.planned_machine).cycles == simulate(own).cycles
    assert simulate(verify(program, M4096)).cycles < simulate(own).cycles


@pytest.mark.parametrize(
    ("reduced", "message"),
    [
        ({"maps_bytes": M4096.maps_bytes * 2}, "a machine that is reduced has no more of 'maps_bytes'"),
        ({"clock_hertz": 1}, "a machine cannot be reduced in field 'clock_hertz'"),
        ({"maps_bytes": 0}, r"field 'maps_bytes' \(feature-map scratchpad of a cluster\) is out of range"),
        ({"maps_banks": 3}, "'maps_bytes' does not divide into 'maps_banks' banks of lines"),
    ],
)
def test_programs_that_are_planned_for_no_machine_are_refused(reduced: dict[str, int], message: str) -> None:
    with pytest.raises(MachineError, match=message):
        Program.from_bytes(planned(M4096, reduced).to_bytes())


def test_less_of_a_machine_is_a_machine() -> None:
    rng = np.random.default_rng(0)
    for plan in plans(M4096, 4, "thorough"):
        if rng.random() < 0.2:
            assert M4096.reduced(dict(plan.reduced)).maps_bytes <= M4096.maps_bytes


def test_a_plan_that_moves_much_more_for_next_to_no_time_is_not_taken() -> None:
    few, many = (1_000_000.0, 4_000_000), (999_500.0, 5_000_000)
    assert rank(*few, exact=False) < rank(*many, exact=False)
    assert rank(*many, exact=True) < rank(*few, exact=True)
    assert rank(0.99 * many[0], many[1], exact=False) < rank(*few, exact=False)
    assert rank(few[0], few[1] - 64, exact=True) < rank(*few, exact=True)
