"""How device functions were planned, written down for the artifact."""

from __future__ import annotations

from ...ir.annotations import CARDS, CASCADE, IMAGES, PLAN
from ...ir.calls import device_programs
from ...ir.core import Module
from ...ir.tile.program import clusters_of
from ...runtime.report.schedules import Schedule


def schedules(module: Module, tiles: Module, effort: str) -> list[Schedule]:
    """The plan of each device program.

    Args:
        module: has device functions with plans.
        tiles: the same functions as tile programs.
        effort: with which plans were compared.
    """
    found: list[Schedule] = []
    for name, functions in device_programs(module).items():
        first = functions[0]
        plan = PLAN.get(first)
        assert plan is not None
        _, images = IMAGES.get(first) or (0, 0)
        clusters = max(clusters_of(tiles.functions[each.name]) for each in functions)
        cards = max(CARDS.get(first) or 1, len(functions))
        numbers = [{CASCADE.get(op) for op in tiles.functions[each.name].ops} for each in functions]
        cascades = sum(len({place[0] for place in each if place is not None}) for each in numbers)
        found.append(Schedule(name, clusters, cards, images, plan.kept_share, dict(plan.reduced), effort, cascades))
    return found
