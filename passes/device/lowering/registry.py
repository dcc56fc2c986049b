"""Which function lowers which operator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ....ir.core import Op, OperatorT
from ....ir.op import Operator
from .program import TileProgram

Lowering = Callable[[Op[OperatorT], TileProgram], None]

LOWERINGS: dict[type[Operator], Lowering[Any]] = {}
"""How each operator becomes tile operators."""


def lowers(*operators: type[OperatorT]) -> Callable[[Lowering[OperatorT]], Lowering[OperatorT]]:
    """Register the lowering of these operators and of classes derived from them."""

    def register(function: Lowering[OperatorT]) -> Lowering[OperatorT]:
        for cls in operators:
            LOWERINGS[cls] = function
        return function

    return register


def lowering_of(cls: type[Operator]) -> Lowering[Any] | None:
    """The lowering of a class, that of its nearest base."""
    return next((LOWERINGS[base] for base in cls.__mro__ if base in LOWERINGS), None)
