"""Tensors as feature maps: images of pixels, and the windows that slide over them.

The accelerator, and everything that prepares work for it, sees tensors this way.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from .core import Op, Value, is_op
from .layout import CHANNEL_BLOCK
from .ops.attention import Attention
from .ops.convolution import Conv
from .ops.elementwise import Add, Max, Min, Mul, Sub
from .ops.indexing import Gather
from .ops.movement import Concat, DepthToSpace, Slice, Transpose
from .ops.pooling import AveragePool, GlobalPool, MaxPool
from .ops.quantization import Requantize
from .ops.shape import Reshape
from .ops.skip_normalization import SkipLayerNorm
from .ops.unary import Unary
from .types import DType, TensorType

WIDE = (DType.I16, DType.U16)
"""Elements of maps of 16 bits."""

MAP_RANKS = (2, 3, 4)
"""Ranks of the tensors that are feature maps."""

VIEWS = (Reshape, Transpose)
"""Operators that, where the accelerator has them, give pixels other images, rows and columns and move no byte."""

MOVEMENT = (Concat, DepthToSpace, Slice, *VIEWS)
"""Operators of the accelerator that only load and store."""


def exchanges(op: Op) -> bool:
    """Whether an op makes pixels of the channels of each image and channels of its pixels: [N, C, L, 1] to
    [N, L, C, 1]."""
    return is_op(op, Transpose) and op.operator.perm == (0, 2, 1, 3) and op.result.type.shape[3] == 1


def is_view(op: Op) -> bool:
    """Whether an op of the accelerator moves no byte, but gives pixels other images, rows and columns."""
    return is_op(op, *VIEWS) and not exchanges(op)


class MapShape(NamedTuple):
    """Shape of a feature map."""

    images: int
    height: int
    width: int
    channels: int

    @property
    def blocks(self) -> int:
        """Channels in blocks of 16, the last one padded."""
        return -(-self.channels // CHANNEL_BLOCK)

    @property
    def padded_channels(self) -> int:
        """Channels with those that fill the last block."""
        return self.blocks * CHANNEL_BLOCK

    @property
    def padded_elements(self) -> int:
        """Elements of all images, padding of the channels included."""
        return self.images * self.height * self.width * self.padded_channels


def map_shape(type: TensorType) -> MapShape:
    """[N, C, H, W] as it is; [N, C, L] as one row; [M, K] as a row of M pixels with K channels.

    Of 16 bits, blocks of 16 channels are two of bytes each, see :func:`in_bytes`."""
    shape = type.shape
    if type.dtype in WIDE:
        shape = (*shape[:1], 2 * -(-shape[1] // CHANNEL_BLOCK) * CHANNEL_BLOCK, *shape[2:])
    if len(shape) == 4:
        return MapShape(shape[0], shape[2], shape[3], shape[1])
    if len(shape) == 3:
        return MapShape(shape[0], 1, shape[2], shape[1])
    return MapShape(1, 1, shape[0], shape[1])


def map_axis(type: TensorType, axis: int) -> int:
    """Which dimension of :func:`map_shape` one of a tensor is."""
    return ((2, 3), (0, 3, 2), (0, 3, 1, 2))[type.rank - MAP_RANKS[0]][axis]


def in_bytes(numbers: np.ndarray) -> np.ndarray:
    """Integers of 16 bits [..., channels] as int8 [..., bytes], the channels of the last block filled up with 0.

    Each block of 16 channels is two: a number q is the byte floor(q / 256) in the first, the byte q modulo 256 - 128
    in the second."""
    filled = np.pad(numbers, [*[(0, 0)] * (numbers.ndim - 1), (0, -numbers.shape[-1] % CHANNEL_BLOCK)])
    blocks = filled.reshape(*numbers.shape[:-1], -1, 1, CHANNEL_BLOCK).astype(np.int64)
    pairs = np.concatenate([blocks >> 8, (blocks & 255) - 128], axis=-2)
    return pairs.astype(np.int8).reshape(*numbers.shape[:-1], -1)


def of_bytes(bytes: np.ndarray, channels: int | None = None) -> np.ndarray:
    """The inverse, int64 [..., channels]; by default of all channels that there is room for."""
    pairs = bytes.reshape(*bytes.shape[:-1], -1, 2, CHANNEL_BLOCK).astype(np.int64)
    numbers = 256 * pairs[..., 0, :] + pairs[..., 1, :] + 128
    return numbers.reshape(*bytes.shape[:-1], -1)[..., :channels]


class Window(NamedTuple):
    """Geometry of a window op, rows then columns; ``begin`` is the padding before the map."""

    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    begin: tuple[int, int] = (0, 0)

    @property
    def taps(self) -> int:
        """Elements of the window."""
        return self.kernel[0] * self.kernel[1]


def _pair(values: tuple[int, ...], default: int) -> tuple[int, int]:
    return (default, values[0]) if len(values) == 1 else (values[0], values[1])


def window_of(op: Op) -> Window:
    """The window of a convolution or pooling op, that of a pointwise op for all others."""
    operator = op.operator
    if isinstance(operator, (Conv, MaxPool, AveragePool)):
        kernel = op.inputs[1].type.shape[2:] if isinstance(operator, Conv) else operator.kernel
        return Window(
            _pair(kernel, 1),
            _pair(operator.strides, 1),
            _pair(operator.dilations, 1),
            _pair(operator.pads[: len(kernel)], 0),
        )
    if isinstance(operator, GlobalPool):
        shape = map_shape(op.inputs[0].type)
        return Window((shape.height, shape.width))
    if is_of_images(op):
        height, width = map_shape(op.result.type)[1:3]
        return Window((2 * height - 1, 2 * width - 1), begin=(height - 1, width - 1))
    return Window()


def is_of_images(op: Op) -> bool:
    """Whether an op normalises all pixels of an image together, by groups of channels."""
    return is_op(op, SkipLayerNorm) and op.operator.groups > 0 and not op.operator.by_pixel


def convolution_maps(op: Op) -> tuple[MapShape, MapShape]:
    """Operand and result of a convolution.

    Where each pixel of the result comes from one pixel alone, images are taken as further rows, or as pixels of a row
    if they are columns of single pixels with few channels: in memory they follow each other anyway, and larger maps
    cost less."""
    source, target, window = map_shape(op.inputs[0].type), map_shape(op.result.type), window_of(op)
    is_pointwise = window.taps == 1 and window.stride == (1, 1) and window.begin == (0, 0)
    if not is_pointwise or source[:3] != target[:3]:
        return source, target
    rows = source.images * source.height
    # Without padding between pixels, the array reads bytes of few rows at once.
    is_row = source.width == 1 and source.channels < CHANNEL_BLOCK
    height, width = (1, rows) if is_row else (rows, source.width)
    return MapShape(1, height, width, source.channels), MapShape(1, height, width, target.channels)


def sum_products(op: Op) -> int:
    """Products that each element of the result of a convolution is a sum of."""
    return window_of(op).taps * op.inputs[1].type.shape[1] if isinstance(op.operator, Conv) else 1


def is_product(op: Op) -> bool:
    """Whether the array computes an op, as sums of products: a convolution, or a choice of channels, which is one with
    a 1 for each."""
    return isinstance(op.operator, (Conv, Gather))


def is_by_pixel(op: Op) -> bool:
    """Whether an op that is no product makes each pixel from those at its place alone, or one that all read."""
    if not is_op(op, Unary, Requantize, Add, Sub, Mul, Max, Min):
        return is_op(op, SkipLayerNorm) and not is_of_images(op)
    pixels = map_shape(op.result.type)[:3]
    return all(map_shape(value.type)[:3] in (pixels, (1, 1, 1)) for value in op.inputs)


def computed_map(op: Op) -> MapShape:
    """The result of an op as the device computes it: that of a product may have images as rows; that of attention and
    what is made pixel by pixel have."""
    if is_op(op, Attention) or is_by_pixel(op):
        shape = map_shape(op.result.type)
        return shape._replace(images=1, height=shape.images * shape.height)
    return convolution_maps(op)[1] if is_product(op) else map_shape(op.result.type)


def read_map(op: Op, value: Value) -> MapShape:
    """An operand of an op that is no product as the device reads it: with images as rows where the result has."""
    shape = map_shape(value.type)
    has_pixels = is_by_pixel(op) and shape[:3] == map_shape(op.result.type)[:3]
    return computed_map(op)._replace(channels=shape.channels) if has_pixels else shape


def is_depthwise(op: Op) -> bool:
    """Whether every channel of a convolution is a group of its own."""
    return is_block_by_block(op) and op.inputs[1].type.shape[1] == 1


def is_block_by_block(op: Op) -> bool:
    """Whether a convolution is depthwise, or in groups of equal channels of which blocks of 16 hold whole ones."""
    if not isinstance(op.operator, Conv):
        return False
    outputs, inputs = op.inputs[1].type.shape[:2]
    return op.operator.group * inputs == outputs and op.operator.group > 1 and CHANNEL_BLOCK % inputs == 0


def may_be_packed(value: Value, readers: Iterable[Op]) -> bool:
    """Whether a map has so few channels that its pixels may lie without padding, for convolutions that read it row by
    row: those are all of its readers on the device."""

    def reads_rows(op: Op) -> bool:
        conv = op.operator
        reads = isinstance(conv, Conv) and conv.group == 1 and conv.dilations[-1] == 1
        return reads and op.operands[0] is value and value not in op.operands[1:]

    return value.type.rank > 2 and map_shape(value.type).channels < CHANNEL_BLOCK and all(map(reads_rows, readers))


def is_packed(value: Value) -> bool:
    """Whether a parameter of a device function is packed, see `may_be_packed`."""
    return value.producer is None and not value.is_returned and may_be_packed(value, value.users)
