"""Which operator is lowered by which function. The one place that knows what has a CPU kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ...ir.core import Op
from ...ir.op import Operator
from .kernel import Kernel
from .target import TargetDescription

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


def _load_families() -> None:
    from . import families  # noqa: F401  # fills the registry


def lowerings(cls: type[Operator]) -> list[Lowering]:
    """The lowerings of a class, those of its bases last."""
    _load_families()
    return [lowering for base in cls.__mro__ for lowering in LOWERINGS.get(base, [])]


def has_kernel(cls: type[Operator]) -> bool:
    """Whether some op of this class gets a kernel."""
    return bool(lowerings(cls))


def lower(op: Op, target: TargetDescription) -> Kernel | None:
    """The kernel of an op, or ``None`` if only the reference can run it."""
    for lowering in lowerings(type(op.operator)):
        kernel = lowering(op, target)
        if kernel is not None:
            return kernel
    return None
