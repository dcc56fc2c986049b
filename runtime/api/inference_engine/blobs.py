"""Blobs as releases since 2020 show them: memory with a description of what is in it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tilewright import limits
from tilewright.errors import resources

from .constants import Layout, format_map, layout_str_to_enum, supported_precisions
from .errors import (
    WrongAttributeError,
    WrongSettingError,
    WrongTypeError,
    WrongValueError,
    bare,
    checked,
    documented,
    is_whole,
    shown,
)


@dataclass
class TensorDesc:
    """What the memory of a blob holds.

    Attributes:
        precision: of the elements, such as ``FP32`` or ``U8``.
        dims: in the order of the network, such as N, C, H, W, whatever the layout.
        layout: the order of the dimensions in memory, such as ``NCHW`` or ``NHWC``.

    Raises:
        ValueError, AttributeError: one error that is both, also on setting: there is no such precision or layout.
        ValueError: the dimensions are out of range, or too many or too few for the layout.
        TypeError: they are no list of whole numbers.
    """

    precision: str
    dims: Sequence[int]
    layout: str

    def __setattr__(self, name: str, value: object) -> None:
        if name in _CHECKS:
            value = _CHECKS[name](value)
        now = {**vars(self), name: value}
        layout, extents = now.get("layout", "ANY"), now.get("dims", [])
        if name != "precision" and "layout" in now and len(extents) != _RANKS.get(layout, len(extents)):
            raise WrongValueError(f"layout {layout} is one of {_RANKS[layout]} dimensions", found=shown(extents))
        super().__setattr__(name, value)


class Blob:
    """Memory with its description."""

    @documented
    @resources("a blob")
    def __init__(self, tensor_desc: TensorDesc | None = None, array: np.ndarray | None = None) -> None:
        """Make a blob of an array, or of zeros.

        Args:
            tensor_desc: what it holds.
            array: its memory, which stays that of the program unless it is in another order than that of C. Its shape
                may be any one of as many elements.

        Raises:
            AttributeError: the array has another number of elements.
            ValueError: it has elements of another type; those of BOOL may be uint8 as well.
            TypeError: there is no description, or an argument is of a wrong type.
            RuntimeError: there is not so much memory.
        """
        self._desc = replace(checked(tensor_desc, TensorDesc, "a blob needs a description", "a TensorDesc"))
        precision, dims = self._desc.precision, self._desc.dims
        dtype, shape = np.dtype(format_map[precision]), in_layout(dims, self._desc.layout)
        if array is None:
            array = np.zeros(shape, dtype)
        array = checked(array, np.ndarray, "a blob is made of an array", "a numpy.ndarray")
        size = math.prod(dims)
        if array.size != size:
            raise WrongAttributeError(
                f"Number of elements in provided numpy array {array.size} and required by TensorDesc {size} "
                "are not equal"
            )
        if array.dtype != dtype and (precision, array.dtype) != ("BOOL", np.uint8):
            raise WrongValueError(
                f"Data type {array.dtype} of provided numpy array doesn't match to TensorDesc precision {precision}",
                expected=dtype,
            )
        self._array = array if array.flags.c_contiguous else array.copy()

    @property
    def buffer(self) -> np.ndarray:
        """The memory: an array of the shape that it was given with, otherwise in the order of the layout.

        Original: without an array the shape was that of the dimensions in any layout."""
        return np.atleast_1d(self._array)

    @property
    def tensor_desc(self) -> TensorDesc:
        """What it holds, in an object that belongs to the caller."""
        return replace(self._desc)

    def __repr__(self) -> str:
        return f"<Blob of {self._desc!r}>"


_CHANNELS_LAST = ("NHWC", "NDHWC")
_REORDERED = (*_CHANNELS_LAST, "CN")


def blob_of(array: np.ndarray, layout: str, precision: str = "FP32") -> Blob:
    """A blob of an array that is in the order of its layout."""
    return Blob(TensorDesc(precision, dims_of(array.shape, layout), layout), array)


def array_of(blob: Blob) -> np.ndarray:
    """The memory of a blob, without a dimension where it is one number."""
    return blob._array


def in_order_of_network(blob: Blob) -> np.ndarray:
    """What a blob holds, in the order of its dimensions."""
    dims, layout = blob._desc.dims, blob._desc.layout
    if layout not in _REORDERED:
        return blob._array.reshape(dims)
    return blob._array.reshape(in_layout(dims, layout)).transpose(np.argsort(_axes(layout, len(dims))))


def _axes(layout: str, rank: int) -> list[int]:
    """The dimensions of the network in the order of a layout."""
    if layout in _CHANNELS_LAST and rank > 2:
        return [0, *range(2, rank), 1]
    return [*reversed(range(rank))] if layout == "CN" else [*range(rank)]


def in_layout(shape: Sequence[int], layout: str) -> tuple[int, ...]:
    """A shape in the order of the network as programs see it in a layout."""
    return tuple(shape[axis] for axis in _axes(layout, len(shape)))


def dims_of(shape: Sequence[int], layout: str) -> tuple[int, ...]:
    """The reverse of `in_layout`."""
    return tuple(shape[axis] for axis in np.argsort(_axes(layout, len(shape))))


_BY_RANK = ("SCALAR", "C", "NC", "CHW", "NCHW", "NCDHW")

_RANKS = {"SCALAR": 0, "C": 1, "HW": 2, "NC": 2, "CN": 2, "CHW": 3, "NCHW": 4, "NHWC": 4, "OIHW": 4}
_RANKS |= {"NCDHW": 5, "NDHWC": 5}


def layout_of(rank: int) -> str:
    """The layout that a blob of so many dimensions has unless somebody says otherwise."""
    return _BY_RANK[rank] if rank < len(_BY_RANK) else "BLOCKED"


def layouts_for(rank: int, *, is_input: bool) -> list[str]:
    """The layouts that a blob of so many dimensions may have; what is no input stays in the order of the network."""
    fitting = [layout.name for layout in Layout if _RANKS.get(layout.name, rank) == rank]
    return fitting if is_input else [name for name in fitting if name not in _REORDERED]


def checked_precision(precision: object) -> str:
    """The name of a precision in capitals. Raises WrongSettingError: there is none of that name."""
    name = precision.upper() if isinstance(precision, str) else None
    if name not in format_map:
        text = f"Unsupported precision {bare(precision)}! List of supported precisions: {supported_precisions}"
        raise WrongSettingError(text)
    return name


def checked_layout(layout: object) -> str:
    """The name of a layout. Raises WrongSettingError: there is none of that name."""
    if not isinstance(layout, str) or layout not in layout_str_to_enum:
        text = f"Unsupported layout {bare(layout)}! List of supported layouts: {[*layout_str_to_enum]}"
        raise WrongSettingError(text)
    return layout


def _checked_dims(dims: object) -> list[int]:
    extents = whole_numbers(dims)
    if extents is None:
        raise WrongTypeError("dimensions are whole numbers", expected="such as [1, 3, 224, 224]", found=shown(dims))
    if len(extents) > limits.RANK or min(extents, default=0) < 0 or math.prod(extents) > limits.ELEMENTS:
        expected = f"at most {limits.RANK} from 0, and {limits.ELEMENTS} elements"
        raise WrongValueError("the dimensions are out of range", expected=expected, found=shown(extents))
    return extents


def whole_numbers(value: object) -> list[int] | None:
    """The numbers of a list or the like; None if it is none, or holds anything else."""
    listed = value.tolist() if isinstance(value, np.ndarray) else value
    if not isinstance(listed, Iterable) or isinstance(listed, (str, bytes, Mapping)):
        return None
    found = list(listed)
    return [int(each) for each in found] if all(map(is_whole, found)) else None


_CHECKS: dict[str, Callable[[object], object]] = {
    "precision": checked_precision,
    "dims": _checked_dims,
    "layout": checked_layout,
}
