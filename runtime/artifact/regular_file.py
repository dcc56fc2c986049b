"""Reading files that someone else may change meanwhile: what is read is private, and nothing is waited for."""

from __future__ import annotations

import mmap
import os
import threading
from io import FileIO

from tilewright.errors import ArtifactError

from ..files.input_file import open_regular
from .checksum import Fill


class RegularFile:
    """A file opened for reading; a context manager.

    Attributes:
        size: its length in bytes when it was opened.

    Raises:
        ArtifactError: there is no such file, it cannot be read, or it is a folder, a FIFO or a device.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.Lock()
        try:
            self._file = open_regular(path, FileIO)
        except OSError as error:
            raise self._unreadable(error) from error
        self.size = os.fstat(self._file.fileno()).st_size

    def __enter__(self) -> RegularFile:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def _unreadable(self, error: OSError | ValueError | str) -> ArtifactError:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        return ArtifactError(f"cannot read {self._path!r}: {reason}", stage="load artifact")

    def mapped(self) -> memoryview:
        """The file itself in memory, read-only; it must not be empty.

        Raises:
            ArtifactError: the system refuses to map it.
        """
        try:
            return memoryview(mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ))
        except (OSError, ValueError) as error:
            raise self._unreadable(error) from error

    def reader(self, memory: memoryview) -> Fill:
        """What reads stretches of the file into the same places of memory of its size; several threads may call it.

        It raises ArtifactError when the file cannot be read or has become shorter.
        """

        def fill(begin: int, end: int) -> None:
            done = begin
            while done < end:
                try:
                    count = self._read_at(memory[done:end], done)
                except OSError as error:
                    raise self._unreadable(error) from error
                if not count:
                    ended = f"it ended after {done} of {len(memory)} bytes, so something else changes it"
                    raise self._unreadable(ended)
                done += count

        return fill

    def _read_at(self, memory: memoryview, offset: int) -> int:
        if hasattr(os, "preadv"):
            return os.preadv(self._file.fileno(), [memory], offset)
        with self._lock:
            self._file.seek(offset)
            return self._file.readinto(memory) or 0
