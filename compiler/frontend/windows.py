"""Automatic padding and rounded up numbers of windows, made explicit for the importers of all formats."""

from collections.abc import Sequence

Integers = tuple[int, ...]

Window = tuple[Integers, Integers, Integers, Integers]
"""Kernel, strides, pads (begins then ends) and dilations, in the order in which operators take them."""


def same_pads(
    extents: Sequence[int], kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int], *, lower: bool
) -> Integers:
    """Pads, begins then ends, with which there is a window for each ``stride`` positions.
    ``lower``: an odd one goes to the beginning, else to the end."""
    total = (
        max(0, (-(-extent // stride) - 1) * stride + dilation * (taps - 1) + 1 - extent)
        for extent, taps, stride, dilation in zip(extents, kernel, strides, dilations, strict=True)
    )
    return halved(tuple(total), lower=lower)


def halved(totals: Sequence[int], *, lower: bool) -> Integers:
    """Pads, begins then ends, that add up to these; see `same_pads`."""
    small, large = [t // 2 for t in totals], [t - t // 2 for t in totals]
    return (*large, *small) if lower else (*small, *large)


def slack(extent: int, begin: int, end: int, reach: int, stride: int, *, drop: bool = True) -> int:
    """How far the last window reaches beyond the end padding where the number of windows is rounded up.
    ``drop``: a window that would start in the end padding is none; the result may be negative then."""
    room = extent + begin + end - reach
    last = -(-room // stride) * stride
    if drop and last >= extent + begin:
        last -= stride
    return last - room


def rounded_up(extents: Sequence[int], window: Window, *, drop: bool = True) -> tuple[Window, Integers]:
    """The window with padding for a number of windows that is rounded up, and what reaches beyond that padding."""
    kernel, strides, pads, dilations = window
    spatial = len(extents)
    begins, ends = list(pads[:spatial]), list(pads[spatial:])
    overhang = [0] * spatial
    for d in range(spatial):
        reach = dilations[d] * (kernel[d] - 1) + 1
        beyond = slack(extents[d], begins[d], ends[d], reach, strides[d], drop=drop)
        overhang[d] = max(0, beyond)
        # A dropped window may leave padding that would make it again.
        ends[d] += beyond if beyond <= -strides[d] else 0
    return (kernel, strides, (*begins, *ends), dilations), tuple(overhang)


def widened(window: Window, overhang: Integers) -> Window:
    """The window for operators to which padding and what reaches beyond it are the same."""
    kernel, strides, pads, dilations = window
    wide = (pad + extra for pad, extra in zip(pads, (0,) * len(kernel) + overhang, strict=True))
    return kernel, strides, tuple(wide), dilations
