"""Arrays of ``.npy`` and ``.npz`` files, which may come from strangers.

Opening reads headers and nothing else, so that a caller compares type and shape with what it expects before memory is
taken for them. Then an array is read whole, or block by block in memory that does not grow with the file. The formats
are described in ``numpy.lib.format``; records, text and Python objects are not read.
"""

import math
import os
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import IO

import numpy as np

from tilewright import limits
from tilewright.errors import InputError
from tilewright.immutable import Immutable

from .input_file import InputFile, input_file, too_large

_MAGIC = b"\x93NUMPY"
_LENGTH_BYTES = {b"\1\0": 2, b"\2\0": 4, b"\3\0": 4}
"""How long the length of the header is, by version of the format."""
_FIELD = re.compile(
    r"""\s*(['"])(?P<key>\w+)\1\s*:\s*"""
    r"""(?:(['"])(?P<dtype>[^'"]*)\3|(?P<record>\[[^]]*\])|(?P<order>True|False)|\((?P<shape>[-\dL,\s]*)\))"""
    r"""\s*(?:,|(?=\}))""",
    re.ASCII,
)
_NUMBERS = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248]|c8|c16)")
_SAVE_NUMBERS = "Save it as an array of numbers with numpy.save or numpy.savez."
_SAVE_AGAIN = "Save it again with numpy."
_PIECE = 1 << 18


class StoredArray(Immutable):
    """An array in a file, of which the header has been read.
    ``member``: its name inside an archive (``.npz``); None for a file of its own (``.npy``).
    ``is_fortran``: whether the first dimension lies innermost."""

    path: str
    member: str | None
    dtype: np.dtype
    shape: tuple[int, ...]
    is_fortran: bool

    def __str__(self) -> str:
        return _called(self.path, self.member)

    def read(self) -> np.ndarray:
        """The whole array; the caller has compared the shape with what it expects.
        Raises InputError: it is larger than any tensor may be, or the file is damaged."""
        if math.prod(max(extent, 1) for extent in self.shape) > limits.ELEMENTS:
            raise too_large(str(self), limits.ELEMENTS, list(self.shape))
        with self._elements() as stream:
            return self._next(stream, self.shape)

    def blocks(self, rows: int, count: int, first: int = 0) -> Iterator[np.ndarray]:
        """``count`` blocks of ``rows`` rows each from the block ``first`` on, of which one at a time is in memory.

        What lies before them in a file of its own is not read; that in an archive is.

        An array in Fortran order is read as a whole, since each of its rows is spread over the file.
        Raises InputError: the file is damaged, or in Fortran order and large."""
        if self.is_fortran:
            size = math.prod(self.shape) * self.dtype.itemsize
            if size > limits.FORTRAN_ORDER:
                hint = "Save it in C order, with numpy.ascontiguousarray."
                raise too_large(str(self), limits.FORTRAN_ORDER, f"{size} bytes", hint)
            whole = self.read()
            yield from (whole[index * rows : (index + 1) * rows] for index in range(first, first + count))
            return
        shape = (rows, *self.shape[1:])
        with self._elements() as stream:
            if first:
                stream.seek(first * math.prod(shape) * self.dtype.itemsize, os.SEEK_CUR)
            for _ in range(count):
                yield self._next(stream, shape)

    @contextmanager
    def _elements(self) -> Iterator[IO[bytes]]:
        """The file from where the elements begin, if it is still what it was."""
        with input_file(self.path) as file, _opened(file, self.path, self.member) as (stream, size):
            if _read_header(stream, size, self.path, self.member) != self:
                raise InputError(f"{self} changed while it was read")
            yield stream

    def _next(self, stream: IO[bytes], shape: tuple[int, ...]) -> np.ndarray:
        array = np.empty(shape[::-1] if self.is_fortran else shape, self.dtype)
        content = array.reshape(-1).view(np.uint8).data
        position = 0
        while position < len(content):
            piece = stream.read(min(_PIECE, len(content) - position))
            if not piece:
                raise InputError(f"{self} is damaged: it ends early", hint=_SAVE_AGAIN)
            content[position : position + len(piece)] = piece
            position += len(piece)
        if self.dtype.kind == "b":
            # Kernels rely on a boolean to be 0 or 1.
            np.not_equal(content, 0, out=array.reshape(-1))
        return array.T if self.is_fortran else array


def open_arrays(path: str | os.PathLike[str], wanted: Collection[str] = ()) -> StoredArray | dict[str, StoredArray]:
    """The array of a ``.npy`` file, or those of a ``.npz`` file by name; what the file holds counts and not its name.
    ``wanted``: names. A ``.npz`` file that has all of these may hold others, such as answers, or values of inputs that
    are constants now, which are left out.
    Raises InputError: the file cannot be read, is neither of the two, damaged or encrypted, or holds more than
    numbers."""
    path = os.fspath(path)
    with input_file(path) as file:
        start = file.read(len(_MAGIC))
        file.seek(0)
        if start == _MAGIC:
            return _read_header(file, file.length, path, None)
        if start[:2] != b"PK":
            found = f"{start!r} at its beginning"
            raise InputError(f"{path!r} is not a .npy or .npz file", found=found, hint=_SAVE_NUMBERS)
        # Here and not above: few files are archives, and the modules that read them take their time to load.
        from .archive import Archive

        archive = Archive(file, path)
        arrays: dict[str, StoredArray] = {}
        names = archive.arrays.keys()
        for name in wanted if wanted and names >= {*wanted} else names:
            member = archive.arrays[name]
            with archive.open(name) as stream:
                arrays[name] = _read_header(stream, member.file_size, path, name)
        return arrays


def open_array(path: str | os.PathLike[str]) -> StoredArray:
    """The array of a ``.npy`` file. Raises InputError: as for `open_arrays`, or the file is an archive."""
    found = open_arrays(path)
    if isinstance(found, dict):
        raise InputError(f"{os.fspath(path)!r} is an archive", expected="a .npy file")
    return found


@contextmanager
def _opened(file: InputFile, path: str, member: str | None) -> Iterator[tuple[IO[bytes], int]]:
    """A file or a member of it from its beginning, and how long it says that it is."""
    if member is None:
        yield file, file.length
        return
    from .archive import Archive

    archive = Archive(file, path)
    if member not in archive.arrays:
        raise InputError(f"{_called(path, member)} changed while it was read")
    with archive.open(member) as stream:
        yield stream, archive.arrays[member].file_size


def _called(path: str, member: str | None) -> str:
    return repr(path) if member is None else f"array {member!r} of {path!r}"


def _read_header(stream: IO[bytes], size: int, path: str, member: str | None) -> StoredArray:
    """What the header says, up to its end. ``size``: length of header and elements together."""
    what = _called(path, member)

    def damaged(reason: str, expected: object = None, found: object = None) -> InputError:
        return InputError(f"{what} is damaged: {reason}", expected=expected, found=found, hint=_SAVE_AGAIN)

    start = stream.read(len(_MAGIC) + 2)
    magic, version = start[: len(_MAGIC)], start[len(_MAGIC) :]
    if magic != _MAGIC:
        raise InputError(f"{what} is not a .npy file", found=f"{magic!r} at its beginning", hint=_SAVE_NUMBERS)
    if version not in _LENGTH_BYTES:
        found = ".".join(map(str, version))
        raise InputError(f"{what} is of an unknown version of the format", expected="1.0 to 3.0", found=found)
    length = stream.read(_LENGTH_BYTES[version])
    header_bytes = int.from_bytes(length, "little")
    if header_bytes > limits.ARRAY_HEADER:
        raise too_large(f"the header of {what}", limits.ARRAY_HEADER, header_bytes)
    text = stream.read(header_bytes)
    fields = _fields(text.decode("latin-1"))
    if fields is None:
        raise damaged("its header is no description of an array")
    dtype, is_fortran, shape = fields
    if not _NUMBERS.fullmatch(dtype):
        raise InputError(f"{what} holds no numbers", found=f"elements of type {dtype!r}", hint=_SAVE_NUMBERS)
    if len(shape) > limits.RANK + 1 or any(extent < 0 for extent in shape):
        expected = f"at most {limits.RANK + 1} extents of at least 0"
        raise damaged("its shape is wrong", expected, list(shape))
    array = StoredArray(path, member, np.dtype(dtype), shape, is_fortran)
    elements = math.prod(shape)
    found = size - len(start) - len(length) - len(text)
    if found != elements * array.dtype.itemsize:
        raise damaged("its length is not that of its shape", f"{elements * array.dtype.itemsize} bytes", found)
    return array


def _fields(text: str) -> tuple[str, bool, tuple[int, ...]] | None:
    """Type, order and shape as a header spells them: a dictionary of Python, of which only this much is understood."""
    found: dict[str, str] = {}
    text = text.strip()
    position = 1
    while match := _FIELD.match(text, position):
        found[match["key"]] = match["dtype"] or match["record"] or match["order"] or match["shape"] or ""
        position = match.end()
    is_whole = text.startswith("{") and text[position:].strip() == "}"
    if not is_whole or found.keys() != {"descr", "fortran_order", "shape"}:
        return None
    extents = [extent.strip().removesuffix("L") for extent in found["shape"].split(",")]
    if any(len(extent) > 20 for extent in extents) or found["fortran_order"] not in ("True", "False"):
        return None
    try:
        shape = tuple(int(extent) for extent in extents if extent)
    except ValueError:
        return None
    return found["descr"], found["fortran_order"] == "True", shape
