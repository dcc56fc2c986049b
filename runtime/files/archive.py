"""The members of a ``.npz`` file: a zip archive as numpy writes it, checked as one from strangers must be."""

import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from tilewright import limits
from tilewright.errors import InputError

from .input_file import InputFile

_SUFFIX = ".npy"
_DAMAGED = (zipfile.BadZipFile, NotImplementedError, EOFError, OverflowError, ValueError, struct.error, zlib.error)


class Archive:
    """An archive of arrays.
    ``arrays``: what describes each member, by the name of its array.
    Raises InputError: it is damaged, or holds what numpy does not write: other members, two of one name, secrets."""

    def __init__(self, file: InputFile, path: str) -> None:
        self._path = path
        self.arrays: dict[str, zipfile.ZipInfo] = {}
        # The directory is what is read in one piece; its length is one of the numbers in the file.
        file.at_once = limits.ARCHIVE_DIRECTORY
        with self._checked():
            self._zip = zipfile.ZipFile(file)
        for member in self._zip.infolist():
            name = member.filename.removesuffix(_SUFFIX)
            if name == member.filename or name in self.arrays:
                what = "what is no array" if name == member.filename else "two arrays of one name"
                raise InputError(f"{path!r} holds {what}", found=member.filename)
            if member.flag_bits & 1:
                raise InputError(f"array {name!r} of {path!r} is encrypted", hint="Decrypt the archive first.")
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise InputError(
                    f"array {name!r} of {path!r} is compressed by an unknown method",
                    expected="stored or deflated, as numpy does it",
                    found=f"method {member.compress_type}",
                )
            self.arrays[name] = member

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """The content of a member; an end before its time is no error of this stream.
        Raises InputError: the archive is damaged; also for such an error from within the block."""
        with self._checked(), self._zip.open(self.arrays[name]) as stream:
            yield stream

    @contextmanager
    def _checked(self) -> Iterator[None]:
        try:
            yield
        except _DAMAGED as error:
            raise InputError(f"{self._path!r} is damaged: {error}", hint="Write it again with numpy.savez.") from None
