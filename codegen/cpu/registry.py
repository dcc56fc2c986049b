"""Where lowerings of operators to CPU kernels register; the families are in ``kernels`` and ``numba``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ...ir.core import Op
from ...ir.op import Operator
from .kernel import Kernel
from .llvm.target import TargetDescription

Lowering = Callable[[Op, TargetDescription], "Kernel | None"]
LoweringFunction = TypeVar("LoweringFunction", bound=Lowering)

LOWERINGS: dict[type[Operator], list[Lowering]] = {}
"""Lowerings by operator class, the preferred one first."""


def lowers(*operators: type[Operator]) -> Callable[[LoweringFunction], LoweringFunction]:
    """Register a function that makes kernels for these operators, after those registered before.

    The function may return ``None`` for an op that it does not cover (a layout, a dtype, a rank); the next one is
    asked then.
    """

    def register(function: LoweringFunction) -> LoweringFunction:
        for cls in operators:
            LOWERINGS.setdefault(cls, []).append(function)
        return function

    return register
