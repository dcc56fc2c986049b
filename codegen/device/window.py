"""What a tile reads through a window that slides over a map."""

from __future__ import annotations

from ...ir.feature_map import MapShape, Window
from .maps import Box


def read_through(window: Window, shape: MapShape, box: Box) -> tuple[Box, dict[str, int]]:
    """The box of a map of ``shape`` that a box of the result reads, of its channels, and the fields that say how."""
    top, height, row_origin = _span(window, 0, *box.rows, shape.height)
    left, width, column_origin = _span(window, 1, *box.columns, shape.width)
    fields = {
        "kernel_height": window.kernel[0],
        "kernel_width": window.kernel[1],
        "stride_height": window.stride[0],
        "stride_width": window.stride[1],
        "input_height": height,
        "input_width": width,
        "row_origin": row_origin,
        "column_origin": column_origin,
    }
    return Box(box.image, (top, height), (left, width), box.channels), fields


def _span(window: Window, axis: int, first: int, count: int, extent: int) -> tuple[int, int, int]:
    """Input rows (or columns) that outputs [first, first + count) read: (first, count, origin of the window).

    The origin is the coordinate, inside the span, of tap 0 of the first output. A window that lies in the padding
    altogether still gets one row.
    """
    start = first * window.stride[axis] - window.begin[axis]
    reach = (count - 1) * window.stride[axis] + (window.kernel[axis] - 1) * window.dilation[axis] + 1
    low = min(max(start, 0), extent - 1)
    high = max(min(start + reach, extent), low + 1)
    return low, high - low, start - low
