"""Files elsewhere, by URLs that fsspec knows: ``s3://…``, ``gs://…``, ``https://…``, ``memory://…``.

Users name them, on a command line or in a call; what stands in models and artifacts never gets here.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tilewright.errors import TilewrightError

from ..compiler import NotInstalledError
from .output_file import output_file

_URL = re.compile(r"([a-z][a-z0-9+.-]+::)*[a-z][a-z0-9+.-]+://")
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
    return isinstance(path, str) and _URL.match(path) is not None


@contextmanager
def _file_system(url: str, what: str) -> Iterator[tuple[Any, str]]:
    """What reads and writes there, and how it calls the place."""
    try:
        import fsspec.core
    except ModuleNotFoundError:
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

    Args:
        at_most: bytes; of a longer file there are a few more, which tell it.

    Raises:
        NotInstalledError: fsspec is not installed.
        RemoteError: it cannot be read.
    """
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

    Raises:
        NotInstalledError: fsspec is not installed.
        RemoteError: the folder cannot be read, or holds none.
    """
    with _file_system(url, "list") as (files, place):
        through, chained, _ = url.rpartition("::")
        found = files.find(place)
        if not found:
            raise FileNotFoundError
        return [through + chained + files.unstrip_protocol(each) for each in sorted(found)]


def write(path: str, content: bytes) -> None:
    """Write a file, complete or not at all, to a URL or a path.

    Raises:
        NotInstalledError: fsspec is not installed.
        OutputError, RemoteError: it cannot be written.
    """
    if not is_url(path):
        with output_file(Path(path)) as file:
            file.write(content)
        return
    with _file_system(path, "write") as (files, place):
        files.makedirs(files._parent(place), exist_ok=True)
        files.pipe_file(place, content)
