"""Where no test is about schedules they are made once, for all of the machine, by the tiles that prices choose.

Drafts of others take half of a compilation for the accelerator. Programs, which run outside this process, are compiled
as they are everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

from tilewright.ir.annotations import Plan
from tilewright.runtime.machines.machine import Machine

ABOUT_OTHERS = ("tests/api/", "tests/compiler/")
ABOUT_PLANS = ("tests/compiler/test_plans.py",)


@contextmanager
def quick_plans(module: str) -> Iterator[None]:
    """While this lasts, `--effort normal` makes no drafts, if this module of tests is about something else."""
    if not module.startswith(ABOUT_OTHERS) or module in ABOUT_PLANS:
        yield
        return
    # Late: it imports all of the compiler.
    from tilewright.compiler.device import plans

    every = plans.plans

    def one(machine: Machine, clusters: int, effort: str) -> Iterator[Plan]:
        return every(machine, clusters, "quick" if effort == "normal" else effort)

    with (
        mock.patch.object(plans, "plans", one),
        mock.patch.object(plans._Drafts, "best_with_other_tiles", plans._Drafts.best),
    ):
        yield
