"""Windows that slide over a tensor: whether their geometry is sound, and what they see, without padding in memory.

Every operator with windows asks here, so that no attribute leads a reference or a kernel beyond its tensors: along each
dimension, positions of the padded tensor are below ``EXTENT``, and whatever kernels compute of them fits 64 bits.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from tilewright.errors import IRError
from tilewright.immutable import Immutable
from tilewright.limits import ELEMENTS, EXTENT

SHORT = 128
"""Taps along a dimension up to which there are kernels on blocked activations: those unroll what they read of a row."""

SIDE_BY_SIDE = 4
"""Stride up to which columns in row-major order are taken from vectors side by side: read one by one they take several
times as long.
"""


class WindowAxis(Immutable):
    """The windows along one spatial dimension.
    ``input``: extent of the tensor.
    ``stride``, ``dilation``: positions from window to window, and from tap to tap.
    ``before``: padding at the beginning; what the end needs follows from the extents."""

    input: int
    output: int
    kernel: int
    stride: int
    dilation: int
    before: int

    def position(self, window: int, tap: int) -> int:
        """Where a tap of a window lies; in the padding if below 0 or from ``input`` on."""
        return window * self.stride - self.before + tap * self.dilation

    def reach(self, tap: int, first: int = 0, count: int | None = None) -> tuple[int, int]:
        """Those of the windows ``first`` to ``first + count``, by default all, whose tap lies in the tensor, counted
        from ``first``."""
        offset = self.position(first, tap)
        low = max(0, -(offset // self.stride))
        high = min(self.output if count is None else count, (self.input - 1 - offset) // self.stride + 1)
        return (low, high) if low < high else (0, 0)

    @property
    def is_padded(self) -> bool:
        """Whether any tap of any window lies in the padding."""
        return self.position(0, 0) < 0 or self.position(self.output - 1, self.kernel - 1) >= self.input

    def seen_taps(self) -> Iterator[int]:
        """The taps that lie in the tensor in some window, ascending.

        In time that grows with extents and taps seen, not with those in the padding."""
        tap = 0
        while self.input and tap < self.kernel:
            if self.reach(tap) != (0, 0):
                yield tap
                tap += 1
                continue
            # Of the windows whose tap lies before the tensor, the last one is the first to see it.
            window = min(self.output - 1, (self.before - tap * self.dilation - 1) // self.stride)
            if window < 0:
                return
            tap = -((window * self.stride - self.before) // self.dilation)

    def counts(self, low: int, high: int) -> np.ndarray:
        """How many taps of each window lie at the positions ``low`` to ``high``; int64."""
        start = np.arange(self.output, dtype=np.int64) * self.stride - self.before
        first, last = (np.clip(-((start - bound) // self.dilation), 0, self.kernel) for bound in (low, high))
        return np.maximum(last - first, 0)

    def seen(self, tap: int) -> tuple[slice, slice]:
        """The windows whose tap lies in the tensor, and where it lies."""
        low, high = self.reach(tap)
        if low == high:
            return slice(0, 0), slice(0, 0)
        return slice(low, high), slice(self.position(low, tap), self.position(high - 1, tap) + 1, self.stride)


Each = Sequence[int]
"""A number for each spatial dimension, or two of padding: begins of all dimensions, then ends."""


def window_axes(
    image: Each, kernel: Each, strides: Each, dilations: Each, pads: Each, overhang: Each | None = None
) -> tuple[WindowAxis, ...]:
    """The windows over a tensor.
    ``image``: its spatial extents.
    ``overhang``: how far windows may reach beyond the end padding.
    Raises IRError: there is not one number for each dimension, a number makes no sense, or there are no windows."""
    overhang = (0,) * len(image) if overhang is None else overhang
    _check(len(image), kernel, strides, dilations, pads, "overhang", overhang)
    axes: list[WindowAxis] = []
    for d, extent in enumerate(image):
        padded = extent + pads[d] + pads[len(image) + d] + overhang[d]
        room = padded - dilations[d] * (kernel[d] - 1) - 1
        if room < 0:
            raise IRError("the window is larger than the padded x", found=f"{list(kernel)} on {list(image)}")
        _check_extent("the padded x", padded)
        axes.append(WindowAxis(extent, room // strides[d] + 1, kernel[d], strides[d], dilations[d], pads[d]))
    return tuple(axes)


def transposed_axes(
    image: Each, kernel: Each, strides: Each, dilations: Each, pads: Each, output_padding: Each
) -> tuple[WindowAxis, ...]:
    """The windows over the result of a transposed convolution, one for each position of ``image``.
    ``pads``: what is cut off the result.
    ``output_padding``: positions behind the last window.
    Raises IRError: as :func:`window_axes`, or nothing is left of the result."""
    _check(len(image), kernel, strides, dilations, pads, "output_padding", output_padding)
    axes: list[WindowAxis] = []
    for d, count in enumerate(image):
        whole = strides[d] * (count - 1) + dilations[d] * (kernel[d] - 1) + 1 + output_padding[d]
        extent = whole - pads[d] - pads[len(image) + d]
        if extent < 1:
            raise IRError("the pads are larger than the result", found=list(pads))
        _check_extent("the result, before its pads are cut off,", whole)
        axes.append(WindowAxis(extent, count, kernel[d], strides[d], dilations[d], pads[d]))
    return tuple(axes)


def _check(spatial: int, kernel: Each, strides: Each, dilations: Each, pads: Each, what: str, further: Each) -> None:
    """Raise IRError unless there is one number for each spatial dimension, and each is one that makes sense.
    ``what``: the name of the attribute ``further``."""
    lengths = len(kernel), len(strides), len(dilations), len(pads)
    if spatial < 1 or lengths != (spatial, spatial, spatial, 2 * spatial):
        raise IRError(
            "kernel, strides, dilations and pads do not match the spatial dimensions of x",
            expected=f"{spatial}, {spatial}, {spatial} and {2 * spatial} of them",
            found=f"{lengths[0]}, {lengths[1]}, {lengths[2]} and {lengths[3]}",
        )
    if len(further) != spatial or min(further) < 0:
        raise IRError(f"{what} is wrong", expected=f"{spatial} of at least 0", found=list(further))
    numbers = (*kernel, *strides, *dilations)
    if min(numbers) < 1 or min(pads) < 0:
        raise IRError(
            "kernel, strides and dilations are at least 1, pads at least 0",
            found=f"{list(kernel)}, {list(strides)}, {list(dilations)} and {list(pads)}",
        )
    # What the extents do not bound: the dilation of a single tap, the stride of a single window.
    _check_extent("a number of the window", max(numbers))
    if math.prod(kernel) > ELEMENTS:
        raise IRError("the window has too many taps", expected=f"at most {ELEMENTS}", found=list(kernel))


def _check_extent(what: str, found: int) -> None:
    if found > EXTENT:
        raise IRError(f"{what} is too large", expected=f"at most {EXTENT} {EXTENT.what}", found=found)
