"""Rules for what moves the pixels and channels of feature maps."""

from __future__ import annotations

from ....ir.arithmetic import INTERPOLATION_BITS
from ....ir.core import Op
from ....ir.feature_map import map_shape
from ....ir.ops.movement import Concat, DepthToSpace, Slice
from ....ir.ops.resize import Resize
from ....ir.types import TensorType
from ....runtime.machines.machine import ROW_LIMIT, Machine
from ...device.resampling import resize_axes
from .rule import Found, Rule, listed


def along_channels(op: Op[Concat], machine: Machine) -> Found | None:
    """Feature maps are joined along channels, axis 1."""
    axis = op.operator.axis
    return Found(op.result, f"axis {axis}") if axis != 1 else None


def neighbours(op: Op[Slice], machine: Machine) -> Found | None:
    """A slice takes neighbouring elements, with step 1."""
    cut = op.operator
    steps = tuple(step if extent > 1 else 1 for step, extent in zip(cut.step, cut.extent, strict=True))
    return Found(op.result, f"steps {listed(steps)}") if set(steps) != {1} else None


def whole_pixels(op: Op[DepthToSpace], machine: Machine) -> Found | None:
    """Depth to space takes the channels of a pixel of the result one after the other, mode DCR."""
    mode = op.operator.mode
    return Found(op.result, f"mode {mode}") if mode != "DCR" and op.operator.blocksize > 1 else None


def rows_of_phases(op: Op[DepthToSpace], machine: Machine) -> Found | None:
    """As many rows of the result as a block has take less than 16 MiB, channels padded to a multiple of 16."""
    shape, step = map_shape(op.result.type), op.operator.blocksize
    found = step * shape.width * shape.padded_channels
    return Found(op.result, f"{step} rows of {found // step} bytes") if found > ROW_LIMIT else None


def _images_channels_pixels(type: TensorType) -> tuple[int, int, int]:
    images, channels = type.shape[:2]
    return images, channels, type.elements // (images * channels)


def moves_no_byte(op: Op, machine: Machine) -> Found | None:
    """A reshape keeps images, channels and the number of pixels, so that pixels stay as they lie, channels last."""
    before, after = (_images_channels_pixels(value.type) for value in (op.inputs[0], op.result))
    single_channel = before[1] == after[1] == 1
    if before == after or (single_channel and before[0] * before[2] == after[0] * after[2]):
        return None
    return Found(op.result, f"{list(op.inputs[0].type.shape)} to {list(op.result.type.shape)}")


def rows_and_columns_only(op: Op, machine: Machine) -> Found | None:
    """A resize keeps images and channels."""
    before, after = op.inputs[0].type.shape, op.result.type.shape
    if len(before) > 2 and before[:2] == after[:2]:
        return None
    return Found(op.result, f"{list(before)} to {list(after)}")


def nearest_or_linear(op: Op[Resize], machine: Machine) -> Found | None:
    """A resize takes the nearest element, or interpolates linearly."""
    mode = op.operator.mode
    return Found(op.result, mode) if mode not in ("nearest", "linear") else None


def equal_steps(op: Op[Resize], machine: Machine) -> Found | None:
    """The rows, and the columns, that a resize takes follow each other in equal steps of less than 16."""
    for what, axis in zip(("rows", "columns"), resize_axes(op), strict=True):
        if axis.steps is None:
            unit = 1 << INTERPOLATION_BITS if axis.interpolates else 1
            shown = ", ".join(f"{position / unit:g}" for position in axis.positions[:8].tolist())
            return Found(op.result, f"{what} {shown}{', …' if len(axis.positions) > 8 else ''}")
    return None


RESIZE_RULES: tuple[Rule, ...] = (rows_and_columns_only, nearest_or_linear, equal_steps)
