"""Arrays of ``.h5`` files, which may come from strangers.

Of what the format can do, this reads datasets of numbers that lie in the file itself, in groups or not. Links, datasets
that are made of other files, and such as were never written whole are refused. HDF5 itself, which takes the file apart,
is a library in C.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from tilewright import limits
from tilewright.errors import InputError
from tilewright.immutable import Immutable

from ...compiler import NotInstalledError
from ...files.input_file import input_file, too_large

_SAVE_NUMBERS = "Save the inputs as datasets of numbers with h5py's create_dataset."


class H5Array(Immutable):
    """A dataset in a file, of which no element has been read.
    ``path``: the file.
    ``member``: its name in the file, with those of its groups before it: ``group/name``."""

    path: str
    member: str
    dtype: np.dtype
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"dataset {self.member!r} of {self.path!r}"

    def read(self) -> np.ndarray:
        """The whole array; the caller has compared the shape with what it expects.
        Raises InputError: it is larger than any tensor may be, or the file is damaged."""
        if math.prod(max(extent, 1) for extent in self.shape) > limits.ELEMENTS:
            raise too_large(str(self), limits.ELEMENTS, list(self.shape))
        with self._opened() as dataset:
            return _numbers(dataset[()])

    def blocks(self, rows: int, count: int, first: int = 0) -> Iterator[np.ndarray]:
        """``count`` blocks of ``rows`` rows each from the block ``first`` on, of which one at a time is in memory."""
        with self._opened() as dataset:
            for index in range(first, first + count):
                yield _numbers(dataset[index * rows : (index + 1) * rows])

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        with _file(self.path) as root:
            dataset = root.get(self.member)
            if dataset is None or _described(self.path, self.member, dataset) != self:
                raise InputError(f"{self} changed while it was read")
            yield dataset


def open_h5(path: str) -> dict[str, H5Array]:
    """The arrays of a file by name."""
    with _file(path) as root:
        return {member: _described(path, member, dataset) for member, dataset in _members(path, root)}


@contextmanager
def _file(path: str) -> Iterator[Any]:
    """The root of a file; whatever HDF5 finds wrong within the block is an error about the file."""
    try:
        # Here and not above: only this kind of file needs the package.
        import h5py
    except ModuleNotFoundError:
        raise NotInstalledError(f"reading {path!r}", "h5py") from None
    with input_file(path) as file, _reported(path), h5py.File(file, "r", rdcc_nbytes=int(limits.H5_CHUNK)) as root:
        yield root


@contextmanager
def _reported(path: str) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError) as error:
        reason = str(error.args[0] if error.args else error)
        raise InputError(f"{path!r} is damaged, or no .h5 file: {reason}", hint="Write it again with h5py.") from None


def _members(path: str, root: Any) -> Iterator[tuple[str, Any]]:
    """What is no group, by name; groups may lead to each other, and to themselves."""
    import h5py

    seen = 0
    groups = [("", root)]
    while groups:
        prefix, group = groups.pop()
        for name in group:
            member = prefix + name
            seen += 1
            if seen > limits.H5_MEMBERS:
                raise too_large(f"the list of what {path!r} holds", limits.H5_MEMBERS, "more")
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise InputError(f"{member!r} of {path!r} is a link", expected="a dataset", hint=_SAVE_NUMBERS)
            item = group[name]
            if isinstance(item, h5py.Group):
                groups.append((f"{member}/", item))
            else:
                yield member, item


def _described(path: str, member: str, dataset: Any) -> H5Array:
    import h5py

    if not isinstance(dataset, h5py.Dataset) or dataset.shape is None:
        raise InputError(f"{member!r} of {path!r} is no dataset of numbers", hint=_SAVE_NUMBERS)
    array = H5Array(path, member, dataset.dtype, dataset.shape)
    if array.dtype.kind not in "biufc" or array.dtype.itemsize > 16:
        found = f"elements of type {str(array.dtype)!r}"
        raise InputError(f"{array} holds no numbers", found=found, hint=_SAVE_NUMBERS)
    if len(array.shape) > limits.RANK + 1:
        raise too_large(str(array), limits.RANK, f"{len(array.shape)}")
    if dataset.is_virtual or dataset.external:
        raise InputError(f"{array} lies in other files", expected="a dataset in the file itself", hint=_SAVE_NUMBERS)
    whole = math.prod(array.shape)
    if dataset.chunks is None:
        is_written = dataset.id.get_storage_size() == whole * array.dtype.itemsize
    else:
        size = math.prod(dataset.chunks) * array.dtype.itemsize
        if size > limits.H5_CHUNK:
            raise too_large(f"a chunk of {array}", limits.H5_CHUNK, size)
        pairs = zip(array.shape, dataset.chunks, strict=True)
        is_written = dataset.id.get_num_chunks() == math.prod(-(-extent // chunk) for extent, chunk in pairs)
    if not is_written:
        raise InputError(f"{array} was not written whole", hint=_SAVE_NUMBERS)
    return array


def _numbers(elements: np.ndarray) -> np.ndarray:
    """Elements as they were read; kernels rely on a boolean to be 0 or 1."""
    return np.not_equal(elements.view(np.uint8), 0) if elements.dtype.kind == "b" else elements
