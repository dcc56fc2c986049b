"""What shapes and attributes of a tile operator say of its instruction: the fields that are no addresses or distances.

Their names are those of the instruction set. The code generator adds where the places lie; what an instruction costs is
known before that.
"""

from __future__ import annotations

from typing import Any

from ..core import Op, Value, is_op
from ..layout import BLOCK
from .compute import Convolve, ConvolveDepthwise, Pool, Product, Resize, ResizeLinear
from .types import TileType

Fields = dict[str, Any]
"""Of an instruction by name; integers."""


def tile_type(value: Value) -> TileType:
    """The type of a value that is a place."""
    assert isinstance(value.type, TileType)
    return value.type


def moved_channels(first: int, count: int, channels: int, padded: bool) -> int:
    """Bytes that are moved of a pixel in DRAM for ``count`` of its ``channels``, from ``first`` on.

    Args:
        padded: whether the channels that fill the last block of 16 may be moved with the rest.
    """
    fills = padded and first % BLOCK == 0 and first + count == channels
    return -(-count // BLOCK) * BLOCK if fills else count


def map_fields(type: TileType) -> Fields:
    """The size of a map."""
    return {"height": type.shape[0], "width": type.shape[1], "blocks": type.blocks}


def _window_fields(windows: Product | Pool, x: TileType, kernel: tuple[int, ...]) -> Fields:
    return {
        "kernel_height": kernel[0],
        "kernel_width": kernel[1],
        "stride_height": windows.stride[0],
        "stride_width": windows.stride[1],
        "input_height": x.shape[0],
        "input_width": x.shape[1],
        "row_origin": windows.origin[0],
        "column_origin": windows.origin[1],
    }


def product_fields(op: Op[Convolve] | Op[ConvolveDepthwise]) -> Fields:
    """Of dense and depthwise convolution."""
    operands, product = op.operands, op.operator
    x = tile_type(operands.x)
    fields: Fields = {
        **_window_fields(product, x, operands.w.type.shape[2:]),
        "output_height": product.output[0],
        "output_width": product.output[1],
        "dilation_height": product.dilation[0],
        "dilation_width": product.dilation[1],
        "pad_value": product.pad_value,
        "weight_zero": product.weight_zero,
    }
    if not is_op(op, Convolve):
        return {**fields, "blocks": x.blocks}
    return {
        **fields,
        "output_blocks": tile_type(op.result).blocks,
        "input_channels": x.shape[2] if x.packed else x.blocks,
        "accumulate": int(op.operands.into is not None),
        "packed": int(x.packed),
    }


def pool_fields(op: Op[Pool]) -> Fields:
    """Of pooling, all but its kind."""
    pool = op.operator
    return {"include_pad": int(pool.include_pad), **_window_fields(pool, tile_type(op.operands.x), pool.kernel)}


def resize_fields(op: Op[Resize] | Op[ResizeLinear]) -> Fields:
    """Of both ways to resize: where the rows and columns of the result lie."""
    (step_height, step_width), (origin_height, origin_width) = op.operator.step, op.operator.origin
    fields: Fields = {
        "step_height": step_height,
        "step_width": step_width,
        "origin_height": origin_height,
        "origin_width": origin_width,
    }
    if is_op(op, ResizeLinear):
        rows, columns, _ = op.operands.x.type.shape
        fields.update(input_height=rows, input_width=columns)
    return fields
