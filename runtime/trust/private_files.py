"""Files of this user that nobody else may write: keys, the list of trusted keys, kernels kept for later.

They lie in folders that nobody else may write either: who may could put another file of this user in their place, or
lead what is deleted here to another folder. After ``su`` or ``sudo`` that keep ``HOME``, nothing is touched there.
"""

import contextlib
import os
import stat
from collections.abc import Iterator

from tilewright.errors import TrustError


def configured(name: str) -> str | None:
    """A file in ``$XDG_CONFIG_HOME/tilewright`` or ``~/.config/tilewright``; None without a home."""
    return _place("XDG_CONFIG_HOME", "~/.config", name)


def cached(name: str) -> str | None:
    """A file in ``$XDG_CACHE_HOME/tilewright`` or ``~/.cache/tilewright``; None without a home."""
    return _place("XDG_CACHE_HOME", "~/.cache", name)


def _place(variable: str, default: str, name: str) -> str | None:
    for folder in (os.environ.get(variable, ""), os.path.expanduser(default)):
        if os.path.isabs(folder):
            return os.path.join(folder, "tilewright", name)
    return None


def read(path: str | None, maximum: int, *, secret: bool = True) -> bytes | None:
    """The content of a file; None where there is none, or no home for it. Never waits, whatever lies there.
    ``maximum``: bytes that it may have.
    ``secret``: whether nobody else may be able to read it either.
    Raises TrustError: someone else could have written or, if `secret`, read it, or may write its folder; or it cannot
    be read."""
    if path is None:
        return None
    try:
        _check_folder(os.path.dirname(path))
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        return None
    except OSError as error:
        why = "it is a symbolic link" if os.path.islink(path) else error.strerror or str(error)
        raise TrustError(f"{path} counts for nothing: {why}") from None
    try:
        flaw = _flaw(os.fstat(descriptor), maximum, 0o077 if secret else 0o022)
        if flaw is not None:
            raise TrustError(f"{path} counts for nothing: {flaw}")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(maximum)
    except OSError as error:
        raise TrustError(f"{path} counts for nothing: {error.strerror}") from None
    finally:
        os.close(descriptor)


def _flaw(status: os.stat_result, maximum: int, forbidden: int) -> str | None:
    if not stat.S_ISREG(status.st_mode):
        return "it is a folder" if stat.S_ISDIR(status.st_mode) else "it is no regular file"
    if status.st_size > maximum:
        return f"it has {status.st_size} bytes, more than {maximum}"
    return _access_of_others(status, forbidden)


def _access_of_others(status: os.stat_result, forbidden: int) -> str | None:
    if not hasattr(os, "geteuid"):
        return None
    if status.st_uid != os.geteuid():
        return "it belongs to another user"
    return f"others may use it (mode {stat.S_IMODE(status.st_mode):o})" if status.st_mode & forbidden else None


def _provide_folder(folder: str) -> None:
    os.makedirs(folder, mode=0o700, exist_ok=True)
    _check_folder(folder)


def _check_folder(folder: str) -> None:
    status = os.stat(folder)
    flaw = _access_of_others(status, 0o022)
    if flaw is not None:
        hint = f"Nobody else may write there: chmod go-w {folder}" if status.st_mode & 0o022 else None
        raise TrustError(f"the folder {folder} counts for nothing: {flaw}", hint=hint)


@contextlib.contextmanager
def changing(folder: str) -> Iterator[None]:
    """Hold up other threads and processes that are about to change a folder; makes it where there is none.
    Raises TrustError: someone else may write it; OSError: it cannot be made."""
    _provide_folder(folder)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        _lock(descriptor, True)
        yield
    finally:
        # Closing alone would not do where a process has been forked off meanwhile.
        _lock(descriptor, False)
        os.close(descriptor)


def _lock(descriptor: int, locked: bool) -> None:
    # Some systems and file systems have no such locks.
    with contextlib.suppress(ImportError, OSError):
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX if locked else fcntl.LOCK_UN)


def write(path: str, content: bytes, *, replace: bool) -> None:
    """Put a file in place that only this user may read, complete and durable or not at all.
    ``replace``: whether a file that is there goes; otherwise it stays.
    Raises FileExistsError: it is there and is not to be replaced; TrustError: someone else may write its folder;
    OSError: it cannot be written."""
    # Late: whoever loads an artifact only reads.
    from ..files.output_file import complete_file

    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}.{os.getpid()}-{os.urandom(4).hex()}")
    _provide_folder(folder)
    with complete_file(path, temporary, access=0o600, replace=replace) as file:
        file.write(content)
    _synchronize(folder)


def _synchronize(folder: str) -> None:
    """Make the names in a folder durable, where system and file system have that."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
