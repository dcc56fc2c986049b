"""Bring a network into the form that the later passes expect."""

from ...ir.core import Module
from ..base import PLAIN, UNPLANNED, Pass, Record
from ..pattern import Driver, Rule
from . import activation_rules, linear_rules, movement_rules, normalization_rules, window_rules

RULES: tuple[Rule, ...] = (
    *movement_rules.RULES,
    *activation_rules.RULES,
    *normalization_rules.RULES,
    *linear_rules.RULES,
    *window_rules.RULES,
)
"""In the order in which they are tried at each op."""


class Canonicalize(Pass):
    """Applies every rule until none matches: ops without effect go, arithmetic that spells one operator becomes that
    operator, and what a convolution or matrix product can take over is folded into it.
    ``limit``: how often a rule may fire for each op of the module before it is taken to fire for ever."""

    requires = (PLAIN, UNPLANNED)
    ensures = (PLAIN,)

    limit: int = 8

    def apply(self, module: Module, record: Record) -> bool:
        return Driver(RULES, self.limit).run(module, record)
