"""What a user names as input: regular files, which are never waited for, and copies of files elsewhere.

Those elsewhere go by URLs that fsspec knows: ``s3://…``, ``gs://…``, ``https://…``, ``memory://…``. Users name them, on
a command line or in a call; what stands in models and artifacts never gets here.
"""

import errno
import io
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from tilewright import limits
from tilewright.errors import InputError, TilewrightError

SAMPLE_FILES = "a .npy, .npz, .csv or .wav file"
"""The files of samples that calibration and inference read, beside images, for messages."""
_URL = r"([a-z][a-z0-9+.-]+::)*[a-z][a-z0-9+.-]+://"
_PIECE = 1 << 20
_NUMBERS = {
    FileNotFoundError: errno.ENOENT,
    PermissionError: errno.EACCES,
    IsADirectoryError: errno.EISDIR,
    NotADirectoryError: errno.ENOTDIR,
}


class RemoteError(TilewrightError):
    """A file elsewhere cannot be read or written, now: no fault of what it holds."""


def is_url(path: object) -> bool:
    """Whether it is the URL of a file and no path."""
    # Most paths need no pattern, whose compilation a fresh process would wait for.
    return isinstance(path, str) and "://" in path and re.match(_URL, path) is not None


@contextmanager
def _file_system(url: str, what: str) -> Iterator[tuple[Any, str]]:
    """What reads and writes there, and how it calls the place."""
    try:
        import fsspec.core
    except ModuleNotFoundError:
        from ..compiler import NotInstalledError

        raise NotInstalledError("a file named by a URL", "fsspec") from None
    try:
        yield fsspec.core.url_to_fs(url)
    except Exception as error:
        # Each of its many backends has errors of its own.
        raise RemoteError(f"cannot {what} {url!r}: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    """In words, which those of the standard library's errors say only with a number: backends give the path alone."""
    known = next((number for kind, number in _NUMBERS.items() if isinstance(error, kind)), None)
    return os.strerror(known) if known is not None else str(error) or type(error).__name__


def fetched(url: str, at_most: int) -> int:
    """A descriptor of a copy without a name, from its beginning.
    ``at_most``: bytes; of a longer file there are a few more, which tell it.
    Raises NotInstalledError: fsspec is not installed; RemoteError: it cannot be read."""
    # Not above: it brings what few programs need, and every program imports this module.
    from tempfile import TemporaryFile

    with TemporaryFile() as copy, _file_system(url, "read") as (files, place), files.open(place, "rb") as stream:
        while copy.tell() <= at_most and (piece := stream.read(_PIECE)):
            copy.write(piece)
        copy.flush()
        copy.seek(0)
        return os.dup(copy.fileno())


def listed(url: str) -> list[str]:
    """URLs of the files of a folder and those below it, in order; of a file, its own.
    Raises NotInstalledError: fsspec is not installed; RemoteError: the folder cannot be read, or holds none."""
    with _file_system(url, "list") as (files, place):
        through, chained, _ = url.rpartition("::")
        found = files.find(place)
        if not found:
            raise FileNotFoundError
        return [through + chained + files.unstrip_protocol(each) for each in sorted(found)]


def write(path: str, content: bytes) -> None:
    """Write a file, complete or not at all, to a URL or a path.
    Raises NotInstalledError: fsspec is not installed; OutputError, RemoteError: it cannot be written."""
    from .output_file import write_file

    if not is_url(path):
        write_file(path, content)
        return
    with _file_system(path, "write") as (files, place):
        files.makedirs(files._parent(place), exist_ok=True)
        files.pipe_file(place, content)


class InputFile(io.FileIO):
    """A regular file. ``at_once``: how much one read may ask for, where that is up to the file itself."""

    at_once: limits.Limit | None = None

    def read(self, size: int | None = -1, /) -> bytes:
        if self.at_once is not None and size is not None and size > self.at_once:
            raise too_large(repr(self.name), self.at_once, f"{size} bytes")
        return super().read(size) or b""

    def seek(self, position: int, whence: int = os.SEEK_SET, /) -> int:
        if whence == os.SEEK_SET and position < 0:
            raise ValueError("it refers to what lies before its beginning")
        return super().seek(position, whence)

    @property
    def length(self) -> int:
        """The length of the file, in bytes."""
        return os.fstat(self.fileno()).st_size


_File = TypeVar("_File", bound=io.FileIO)


def open_regular(path: str, kind: type[_File], at_most: limits.Limit = limits.FETCHED) -> _File:
    """Open a file for reading, as a FileIO or a class derived from it.
    ``at_most``: how much of a file that a URL names is fetched, which tells a longer one.
    Raises OSError: it cannot be opened, or is a folder, a FIFO or a device."""
    if is_url(path):
        file = kind(fetched(path, at_most), "rb")
        file.name = path
        return file
    # Without O_NONBLOCK, opening a FIFO waits for someone to write to it.
    flag = getattr(os, "O_NONBLOCK", 0)
    try:
        file = kind(path, "rb", opener=lambda name, flags: os.open(name, flags | flag))
    except ValueError as error:
        raise OSError(str(error)) from None
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError("it is not a regular file")
    return file


@contextmanager
def input_file(
    path: str,
    refusal: type[TilewrightError] = InputError,
    stage: str | None = None,
    at_most: limits.Limit = limits.FETCHED,
) -> Iterator[InputFile]:
    """Open a file; of one that a URL names, a copy.
    Raises TilewrightError: of type ``refusal``: it cannot be read, or is a folder, a FIFO, a device; also for an
    OSError from within the block."""
    try:
        with open_regular(path, InputFile, at_most) as file:
            yield file
    except OSError as error:
        # Late: only refusals need them.
        from pathlib import Path

        from .foreign_model import foreign_folder

        if (known := foreign_folder(path)) is not None:
            message = f"cannot read {path!r}: it is a folder, of {known.name}"
            raise refusal(message, stage=stage, hint=known.advice(path)) from None
        is_piped = path == "-" or (os.path.exists(path) and Path(path).is_fifo())
        hint = "Save what comes from a pipe in a file, and give its path." if is_piped else None
        raise refusal(f"cannot read {path!r}: {error.strerror or error}", stage=stage, hint=hint) from None


def contents(
    path: str,
    limit: limits.Limit,
    what: str | None = None,
    refusal: type[TilewrightError] = InputError,
    stage: str | None = None,
    hint: str | None = None,
) -> bytes:
    """The bytes of a file.
    ``what``: the file in the message about its size, by default its path in quotes.
    Raises TilewrightError: of type ``refusal``: as for `input_file`, or it is longer than the limit."""
    with input_file(path, refusal, stage, limit) as file:
        length = file.length
        if length > limit:
            raise too_large(what or repr(path), limit, f"{length} bytes", hint, refusal, stage)
        return file.read(length)


def too_large(
    what: str,
    limit: limits.Limit,
    found: object,
    hint: str | None = None,
    refusal: type[TilewrightError] = InputError,
    stage: str | None = None,
) -> TilewrightError:
    """The error about a file that asks for more than a limit allows."""
    expected = f"at most {limit} {limit.what}"
    return refusal(f"{what} is too large", stage=stage, expected=expected, found=found, hint=hint)
