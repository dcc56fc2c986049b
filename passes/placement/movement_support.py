"""Rules for what moves maps: choices of channels, joins, slices, and other names of the same bytes."""

from ...ir.core import Constant, Op
from ...ir.feature_map import exchanges, map_shape
from ...ir.ops.indexing import Gather
from ...ir.ops.movement import Concat, DepthToSpace, Slice, Transpose
from ...ir.quantized import is_wide
from ...ir.types import TensorType
from ...runtime.machines.machine import CHANNEL_BLOCK, ROW_LIMIT, Machine
from .rule import Found, listed


def picks_channels(op: Op[Gather], machine: Machine) -> Found | None:
    """A gather picks channels, axis 1, by a list of indices that is known."""
    x, indices = op.operands
    if not isinstance(indices, Constant):
        return Found(indices, "a computed tensor")
    if op.operator.axis != 1 or indices.type.rank != 1:
        return Found(indices, f"{list(indices.type.shape)} along axis {op.operator.axis}")
    channels = x.type.shape[1]
    outside = [index for index in indices.array.tolist() if not -channels <= index < channels]
    return Found(indices, f"{outside[0]} of {channels} channels") if outside else None


def whole_pairs(op: Op[Concat], machine: Machine) -> Found | None:
    """Feature maps of i16 that are joined along channels have multiples of 16, but for the last of them."""
    others = (
        v for v in op.inputs[:-1] if op.operator.axis == 1 and is_wide(v.type) and v.type.shape[1] % CHANNEL_BLOCK
    )
    return next((Found(v, f"{v.type.shape[1]} channels") for v in others), None)


def neighbours(op: Op[Slice], machine: Machine) -> Found | None:
    """A slice takes neighbouring elements, with step 1, and of feature maps of i16 all channels."""
    cut, before, after = op.operator, op.inputs[0].type, op.result.type
    if is_wide(before) and before.shape[1] != after.shape[1]:
        return Found(op.result, f"{after.shape[1]} of {before.shape[1]} channels")
    steps = tuple(step if extent > 1 else 1 for step, extent in zip(cut.step, cut.extent, strict=True))
    return Found(op.result, f"steps {listed(steps)}") if set(steps) != {1} else None


def whole_pixels(op: Op[DepthToSpace], machine: Machine) -> Found | None:
    """Depth to space takes the channels of a pixel of the result one after the other, mode DCR."""
    return Found(op.result, f"mode {op.operator.mode}") if op.operator.mode != "DCR" else None


def whole_phases(op: Op[DepthToSpace], machine: Machine) -> Found | None:
    """Phases of feature maps of i16 have multiples of 16 channels."""
    y = op.result
    is_cut = is_wide(y.type) and y.type.shape[1] % CHANNEL_BLOCK
    return Found(y, f"{y.type.shape[1]} channels") if is_cut else None


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


def pixels_in_order(op: Op[Transpose], machine: Machine) -> Found | None:
    """A transposition keeps channels, axis 1, and the order of all else of several elements, so that pixels stay as
    they lie, channels last, or exchanges channels and pixels, axes 0, 2, 1 and 3 of one column."""
    perm, shape = op.operator.perm, op.inputs[0].type.shape
    moved = [axis for axis in perm if axis != 1 and shape[axis] > 1]
    is_moved = (perm[1] != 1 or moved != sorted(moved)) and not exchanges(op)
    return Found(op.result, f"axes {listed(perm)}") if is_moved else None
