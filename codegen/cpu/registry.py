"""Where lowerings of operators to CPU kernels register; the families are in ``kernels`` and ``numba``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...ir.core import Op, OperatorT
from ...ir.op import Operator
from .kernel import Kernel
from .llvm.target import TargetDescription

Lowering = Callable[[Op[OperatorT], TargetDescription], "Kernel | None"]

LOWERINGS: dict[type[Operator], list[Lowering[Any]]] = {}
"""Lowerings by operator class, the preferred one first."""


def lowers(*operators: type[OperatorT]) -> Callable[[Lowering[OperatorT]], Lowering[OperatorT]]:
    """Register a function that makes kernels for these operators, after those registered before.

    The function may return ``None`` for an op that it does not cover (a layout, a dtype, a rank); the next one is
    asked then.
    """

    def register(function: Lowering[OperatorT]) -> Lowering[OperatorT]:
        for cls in operators:
            LOWERINGS.setdefault(cls, []).append(function)
        return function

    return register
