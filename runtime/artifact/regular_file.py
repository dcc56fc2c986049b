"""Reading files that someone else may change meanwhile: what is read is private, and nothing is waited for."""

from __future__ import annotations

import mmap
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from queue import SimpleQueue

from tilewright.errors import ArtifactError

from ..files.input_file import open_regular

_PIECE = 1 << 20
_LARGE = 1 << 22
"""Bytes from which on a thread of its own reads ahead."""

Fill = Callable[[int], None]
"""Called with an end, it returns when the memory has been filled up to there."""


class RegularFile:
    """A file opened for reading; a context manager.

    Attributes:
        size: its length in bytes when it was opened.

    Raises:
        ArtifactError: there is no such file, it cannot be read, or it is a folder, a FIFO or a device.
    """

    def __init__(self, path: str) -> None:
        self._path = path
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

    def _reader(self, memory: memoryview) -> Fill:
        done = 0

        def fill(end: int) -> None:
            nonlocal done
            while done < end:
                try:
                    count = self._file.readinto(memory[done:end])
                except OSError as error:
                    raise self._unreadable(error) from error
                if not count:
                    ended = f"it ended after {done} of {len(memory)} bytes, so something else changes it"
                    raise self._unreadable(ended)
                done += count

        return fill

    @contextmanager
    def read_into(self, memory: memoryview) -> Iterator[Fill]:
        """Read the file into memory of its size, as fast as the caller asks for it, or faster if it is large.

        Raises:
            ArtifactError: by the function that it yields, when the file cannot be read or has become shorter.
        """
        read = self._reader(memory)
        pieces: SimpleQueue[int | BaseException] = SimpleQueue()
        ended = threading.Event()

        def read_ahead() -> None:
            try:
                for start in range(0, len(memory), _PIECE):
                    if ended.is_set():
                        break
                    end = min(start + _PIECE, len(memory))
                    read(end)
                    pieces.put(end)
            except BaseException as error:
                pieces.put(error)

        done = 0

        def wait(end: int) -> None:
            nonlocal done
            while done < end:
                piece = pieces.get()
                if isinstance(piece, BaseException):
                    raise piece
                done = piece

        thread = threading.Thread(target=read_ahead, name="tilewright-read", daemon=True)
        try:
            if len(memory) >= _LARGE:
                # Where there is no thread to be had, it takes a little longer.
                with suppress(RuntimeError):
                    thread.start()
            yield read if thread.ident is None else wait
        finally:
            ended.set()
            if thread.ident is not None:
                thread.join()
