"""Rules for arithmetic on two feature maps."""

from __future__ import annotations

from ....ir.core import Op
from ....ir.feature_map import map_shape
from ....runtime.machines.machine import Machine
from .rule import Found, Rule


def equal_ranks(op: Op, machine: Machine) -> Found | None:
    """Operands have as many dimensions as the result."""
    rank = op.result.type.rank
    others = (value for value in op.inputs if value.type.rank != rank)
    return next((Found(value, f"{value.type.rank} dimensions instead of {rank}") for value in others), None)


def channels_of_the_result(op: Op, machine: Machine) -> Found | None:
    """Operands have all channels of the result, so that only images, rows and columns are repeated."""
    channels = map_shape(op.result.type).channels
    others = ((value, found) for value in op.inputs if (found := map_shape(value.type).channels) != channels)
    return next((Found(value, f"{found} channels instead of {channels}") for value, found in others), None)


RULES: tuple[Rule, ...] = (equal_ranks, channels_of_the_result)
