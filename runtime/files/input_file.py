"""What a user names as input: regular files, which are never waited for, and copies of files elsewhere."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from tilewright import limits
from tilewright.errors import InputError, TilewrightError

from .remote import fetched, is_url


class InputFile(io.FileIO):
    """A regular file.

    Attributes:
        at_once: how much one read may ask for, where that is up to the file itself.
    """

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

    Args:
        at_most: how much of a file that a URL names is fetched, which tells a longer one.

    Raises:
        OSError: it cannot be opened, or is a folder, a FIFO or a device.
    """
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

    Raises:
        TilewrightError: of type ``refusal``: it cannot be read, or is a folder, a FIFO, a device; also for an OSError
            from within the block.
    """
    try:
        with open_regular(path, InputFile, at_most) as file:
            yield file
    except OSError as error:
        # Late: only refusals need it.
        from .foreign_model import foreign_folder

        if (known := foreign_folder(path)) is not None:
            message = f"cannot read {path!r}: it is a folder, of {known.name}"
            raise refusal(message, stage=stage, hint=known.advice(path)) from None
        raise refusal(f"cannot read {path!r}: {error.strerror or error}", stage=stage) from None


def contents(
    path: str,
    limit: limits.Limit,
    what: str | None = None,
    refusal: type[TilewrightError] = InputError,
    stage: str | None = None,
    hint: str | None = None,
) -> bytes:
    """The bytes of a file.

    Args:
        what: the file in the message about its size, by default its path in quotes.

    Raises:
        TilewrightError: of type ``refusal``: as for `input_file`, or it is longer than the limit.
    """
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
