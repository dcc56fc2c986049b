"""The machine that the schedule of a device function is made for."""

from __future__ import annotations

from ...ir.annotations import PLAN
from ...ir.core import Function
from ...runtime.machines.machine import Machine


def planned_machine(function: Function, machine: Machine) -> Machine:
    """The machine, or one that has less of what the function's ``plan`` names.

    Raises:
        MachineError: there is no such machine.
    """
    plan = PLAN.get(function)
    return machine.reduced(dict(plan.reduced)) if plan is not None else machine
