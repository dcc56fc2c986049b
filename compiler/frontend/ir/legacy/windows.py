"""Kernels, strides, pads and dilations of IR of versions 2 to 7: lists from version 3 on, numbers before."""

from __future__ import annotations

from collections.abc import Sequence

from ...windows import Integers, Window, same_pads
from ..importer import IrNode

_AXES = (("x", "w"), ("y", "h"), ("z", "d"))
"""Endings of attributes in version 2, from the last dimension on: those of the IR, then those of Caffe."""

_ENDS = ("pad-r", "pad-b")
"""What version 2 calls the pads behind the last and the last but one dimension."""


def numbers(node: IrNode, name: str, old: str, spatial: int, default: int | None = None) -> Integers:
    """One number for each spatial dimension.

    Args:
        name: of the list, since version 3.
        old: what the attributes of single dimensions begin with, and in Caffe that of all of them.

    Raises:
        ModelError: there is another number of them, or none and no default.
    """
    if node.has(name):
        values = node.ints(name)
        if len(values) != spatial:
            raise node.model_error(
                f"attribute {name!r} does not match the input", expected=f"{spatial} numbers", found=list(values)
            )
        return values
    common = next((node.int(each) for each in (f"{old}_size", old) if node.has(each)), default)
    result: list[int] = []
    for ir, caffe in reversed(_AXES[:spatial]):
        spelling = next((each for each in (f"{old}-{ir}", f"{old}_{caffe}") if node.has(each)), None)
        if spelling is None and common is None:
            raise node.model_error(f"attribute {name!r} is missing", expected=f"{name}, or {old}-{ir} before version 3")
        result.append(node.int(spelling) if spelling is not None else common or 0)
    return tuple(result)


def explicit_pads(node: IrNode, spatial: int) -> Integers:
    """Pads as the attributes state them, begins then ends; ends are as begins where there are none."""
    begins = numbers(node, "pads_begin", "pad", spatial, 0)
    if node.has("pads_end"):
        return (*begins, *numbers(node, "pads_end", "pad", spatial, 0))
    ends = list(begins)
    for position, name in enumerate(_ENDS[:spatial]):
        ends[-1 - position] = node.int(name, ends[-1 - position])
    return (*begins, *ends)


def auto_pad(node: IrNode) -> str:
    """How pads are found: ``same_upper`` | ``same_lower`` | ``valid``, or ``explicit``."""
    mode = node.word("auto_pad", "explicit")
    if mode in ("", "notset", "explicit"):
        return "explicit"
    if mode not in ("same_upper", "same_lower", "valid"):
        raise node.model_error(
            "unknown auto_pad", expected="same_upper, same_lower, valid or explicit", found=repr(mode[:60])
        )
    return mode


def window(node: IrNode, extents: Sequence[int], kernel: Integers) -> Window:
    """The window of a layer on these spatial extents, its padding explicit."""
    spatial = len(extents)
    strides = numbers(node, "strides", "stride", spatial, 1)
    dilations = numbers(node, "dilations", "dilation", spatial, 1)
    mode = auto_pad(node)
    if mode == "explicit":
        pads = explicit_pads(node, spatial)
    elif mode == "valid":
        pads = (0,) * 2 * spatial
    else:
        check_positive(node, strides)
        pads = same_pads(extents, kernel, strides, dilations, lower=mode == "same_lower")
    return kernel, strides, pads, dilations


def check_positive(node: IrNode, strides: Sequence[int]) -> None:
    """Raise ModelError unless one can divide by each of them."""
    if min(strides, default=1) < 1:
        raise node.model_error("strides are at least 1", found=list(strides))


def spatial_extents(node: IrNode) -> Integers:
    """The spatial extents of the first input.

    Raises:
        ModelError: it has none.
    """
    x = node.input(0).type
    if x.rank < 3:
        raise node.model_error("the input needs spatial dimensions", expected="rank of at least 3", found=x)
    return x.shape[2:]
