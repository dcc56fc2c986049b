"""Rules for pooling."""

from __future__ import annotations

from ....ir.core import Op
from ....ir.feature_map import map_shape, window_of
from ....ir.ops.pooling import AveragePool, Pool
from ....runtime.machines.machine import POOL_KERNEL_LIMIT, STRIDE_LIMIT, Machine
from .rule import Found, Rule, at_most, listed


def window_size(op: Op, machine: Machine) -> Found | None:
    """A pooling window has at most 255 rows and columns, that of a global pool the size of the map."""
    kernel = window_of(op).kernel
    return Found(op.inputs[0], f"{kernel[0]} x {kernel[1]}") if max(kernel) > POOL_KERNEL_LIMIT else None


def windows_meet_the_map(op: Op[Pool], machine: Machine) -> Found | None:
    """Every pooling window holds at least one element of the map."""
    pool, source, target = op.operator, map_shape(op.inputs[0].type), map_shape(op.result.type)
    window = window_of(op)
    for axis, (extent, outputs) in enumerate(((source.height, target.height), (source.width, target.width))):
        last = (outputs - 1) * window.stride[axis] - window.begin[axis]
        if window.begin[axis] >= window.kernel[axis] or last >= extent:
            return Found(op.result, f"kernel {listed(pool.kernel)} with padding {listed(pool.pads)}")
    return None


def no_overhang(op: Op[AveragePool], machine: Machine) -> Found | None:
    """Windows of an average pool end within its padding, which rounding the number of windows up may break."""
    overhang = op.operator.overhang
    return Found(op.result, f"{listed(overhang)} elements beyond") if any(overhang) else None


GLOBAL_RULES: tuple[Rule, ...] = (window_size,)
MAXIMUM_RULES: tuple[Rule, ...] = (
    window_size,
    at_most(1, "A pooling window has no dilation.", lambda op: window_of(op).dilation),
    at_most(STRIDE_LIMIT, "Strides of a pooling window are at most 31.", lambda op: window_of(op).stride),
    windows_meet_the_map,
)
AVERAGE_RULES: tuple[Rule, ...] = (*MAXIMUM_RULES, no_overhang)
