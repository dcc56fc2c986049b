"""Rules that hold for the feature maps of every op on the device."""

from __future__ import annotations

from ....ir.core import Op, Value
from ....ir.feature_map import MAP_RANKS, map_shape
from ....ir.ops.convolution import Conv
from ....ir.quantized import EIGHT_BIT
from ....runtime.machines.machine import ROW_LIMIT, Machine
from ...device.tiling.tile_search import misfit
from .rule import Found, Rule


def is_weight(op: Op, index: int) -> bool:
    """Whether operand ``index`` is part of the program, rather than a feature map."""
    return isinstance(op.operator, Conv) and index > 0


def map_operands(op: Op) -> list[Value]:
    """The feature maps that an op reads."""
    return [v for index, v in enumerate(op.operands) if v is not None and not is_weight(op, index)]


def maps_of(op: Op) -> list[Value]:
    """The feature maps that an op reads and writes."""
    return [*map_operands(op), *op.results]


def quantized_to_eight_bits(op: Op, machine: Machine) -> Found | None:
    """Feature maps are i8 or u8, quantised with one scale and zero point for the whole tensor."""
    for value in maps_of(op):
        type = value.type
        if type.quant is None or type.dtype not in EIGHT_BIT:
            return Found(value, f"{type.dtype.value}, {'quantised' if type.quant else 'not quantised'}")
        if type.quant.axis is not None:
            return Found(value, f"{len(type.quant.scale)} scales along axis {type.quant.axis}")
    return None


def of_two_to_four_dimensions(op: Op, machine: Machine) -> Found | None:
    """Feature maps have the form [M, K], [N, C, L] or [N, C, H, W]."""
    others = (value for value in maps_of(op) if value.type.rank not in MAP_RANKS)
    return next((Found(value, f"{value.type.rank} dimensions, {list(value.type.shape)}") for value in others), None)


def not_empty(op: Op, machine: Machine) -> Found | None:
    """Feature maps have at least one element."""
    return next((Found(v, str(list(v.type.shape))) for v in maps_of(op) if not v.type.elements), None)


def rows_within_reach(op: Op, machine: Machine) -> Found | None:
    """A row of a feature map takes less than 16 MiB, its channels padded to a multiple of 16."""
    for value in maps_of(op):
        shape = map_shape(value.type)
        if shape.width * shape.padded_channels > ROW_LIMIT:
            return Found(value, f"{shape.width} pixels of {shape.padded_channels} bytes")
    return None


def fits_the_scratchpads(op: Op, machine: Machine) -> Found | None:
    """The smallest tile of the op must fit the scratchpads."""
    found = misfit(op, machine)
    if found is None:
        return None
    return Found(
        op.inputs[1] if found.memory == "weight" else op.result,
        f"{found.needed} bytes needed of the {found.memory} scratchpad, which has {found.available} on {machine.name}",
    )


FIRST: tuple[Rule, ...] = (quantized_to_eight_bits, of_two_to_four_dimensions, not_empty, rows_within_reach)
"""What every other rule may rely on."""

LAST: tuple[Rule, ...] = (fits_the_scratchpads,)
"""What relies on every other rule."""
