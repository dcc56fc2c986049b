"""Results into files: whatever Tilewright writes goes through here.

What lies at the path decides how:

- nothing, or a regular file: the result is written into a file without a name where the file system has such
  (``O_TMPFILE``), otherwise under a temporary name that ends in ``.part``, and takes its place when it is complete. The
  place holds either what it held or the whole result, whatever ends the process or the power. Mode and owner of a file
  that was there are kept; other names of it (hard links) keep the old content.
- a symbolic link: it stays, and all this is done where it leads.
- a FIFO, or a character device such as ``/dev/null``: written to from the beginning to the end, and never replaced.
- ``/dev/stdout``, ``/dev/fd/N``: the open file itself, from where it stands. Commands then print nothing behind it.
- anything else (a folder, a socket, a block device) is refused, and so is a file that may not be written.
"""

import errno
import io
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

from tilewright.errors import OutputError, UsageError

Path = str | os.PathLike[str]

_BUFFER = 1 << 20
_ENDINGS = (".csv", ".h5", ".html", ".json", ".npy", ".npz", ".onnx", ".pt", ".tflite", ".twa", ".txt", ".xml")
_ENDINGS += (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".wav", ".webp")
"""Of formats that a reader of a name takes the file to have."""

_FOLDER_IS_WRONG = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM, errno.EROFS)


@contextmanager
def output_file(path: Path) -> Iterator[BinaryIO]:
    """The file to write a result to; a regular one takes its place at the end of the block, and not after an exception.
    Raises OutputError: it cannot be written; also for an OSError from within the block."""
    with _reported(path):
        standing = _standing(path)
        if _is_stream(path, standing):
            opened = _written(_stream(path))
        else:
            target = os.path.realpath(path)
            opened = complete_file(target, _temporary(os.path.dirname(target)), standing)
        with opened as file:
            yield file


def write_file(path: Path, content: bytes) -> None:
    """Write a result that is there as a whole, as `output_file`."""
    with output_file(path) as file:
        file.write(content)


def check_output(path: Path, *, source: object = None, inputs: Iterable[object] = (), room: int = 1) -> None:
    """Find out whether a result can be written, before the work and not after it; leaves nothing behind.
    ``source``: the model that the result is made of; anything but a path is no file.
    ``inputs``: further files that are read for it, as the source.
    ``room``: bytes that the result takes at the least.
    Raises OutputError: `output_file` could not begin to write it, or there is no room for it; UsageError: the output
    is one of them."""
    with _reported(path):
        standing = _standing(path)
        if not _is_stream(path, standing):
            folder = os.path.dirname(os.path.realpath(path))
            temporary = _temporary(folder)
            descriptor = _create(folder, temporary)
            try:
                _take_room(descriptor, room)
            finally:
                os.close(descriptor)
                with suppress(FileNotFoundError):
                    os.unlink(temporary)
    if standing is None:
        return
    for each, what in ((source, "the model"), *((each, "an input") for each in inputs)):
        with suppress(OSError, ValueError):
            if isinstance(each, (str, os.PathLike)) and os.path.samestat(standing, os.stat(each)):
                hint = "Choose another output."
                raise UsageError(f"the output would replace {what}", found=os.fspath(path), hint=hint)


def check_ending(path: Path, ending: str, hint: str | None = None) -> None:
    """Find out whether the name of a result is that of another format; names without an ending that is known are free,
    and of a folder, whose ending is empty, those alone, but for one that is there. Raises UsageError: it is."""
    found = os.path.splitext(os.fspath(path))[1].lower()
    if found != ending and found in _ENDINGS and (ending or not os.path.isdir(path)):
        expected = f"a name that ends in {ending}" if ending else "a folder"
        what = "the output has the name of another format" if ending else "the output has the name of a file"
        raise UsageError(what, expected=expected, found=os.fspath(path), hint=hint)


def check_artifact_name(output: Path) -> None:
    """Find out whether an artifact may have this name. Raises UsageError: it is that of a file of another format."""
    check_ending(output, ".twa", "`tilewright export` and `tilewright quantize` write .onnx and .xml.")


def check_outputs(paths: Iterable[Path | None], *, source: object = None, inputs: Iterable[object] = ()) -> None:
    """As `check_output`, for several results, of which those that are None are not written.
    Raises OutputError: as `check_output`; UsageError: an output is one of the inputs, or of the others."""
    found: set[str] = set()
    for path in paths:
        if path is None:
            continue
        check_output(path, source=source, inputs=inputs)
        place = os.path.realpath(path)
        if place in found and not is_stream(path):
            raise UsageError("two results would be one file", found=os.fspath(path), hint="Choose another output.")
        found.add(place)


def is_stream(path: Path) -> bool:
    """Whether what is written there cannot be read back from there: a FIFO, a device, an open file.
    Raises OutputError: it is neither that nor a place for a file."""
    with _reported(path):
        return _is_stream(path, _standing(path))


def is_standard_output(path: Path) -> bool:
    """Whether the result goes to stdout, where nothing else may follow it."""
    return _own_descriptor(path) == 1


def make_folder(path: Path) -> None:
    """Make a folder for results, and those above it, unless it is there. Raises OutputError: it cannot be made."""
    with _reported(path):
        try:
            os.makedirs(path, exist_ok=True)
        except FileExistsError:
            hint = "Name a folder, or what is not there yet."
            raise OutputError(f"cannot make folder {os.fspath(path)!r}: it is a file", hint=hint) from None


@contextmanager
def _reported(path: Path) -> Iterator[None]:
    if not os.fspath(path):
        raise OutputError("the name of the output is empty", hint="Give the output a name, or leave it out.")
    try:
        yield
    except OSError as error:
        is_elsewhere = error.errno in _FOLDER_IS_WRONG
        hint = "Choose an output in a folder that exists and that you may write." if is_elsewhere else None
        raise OutputError(f"cannot write {os.fspath(path)!r}: {error.strerror or error}", hint=hint) from error


def _standing(path: Path) -> os.stat_result | None:
    """What lies at a path, behind all links, if it may be written."""
    try:
        standing = os.stat(path)
    except FileNotFoundError:
        if os.fsdecode(path).endswith(os.sep):
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR)) from None
        return None
    except ValueError as error:
        raise OSError(f"{error}") from None
    mode = standing.st_mode
    if _own_descriptor(path) is not None:
        return standing
    if stat.S_ISDIR(mode):
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
    if stat.S_ISSOCK(mode) or stat.S_ISBLK(mode):
        raise OSError(errno.EINVAL, "Is a socket" if stat.S_ISSOCK(mode) else "Is a block device")
    if not os.access(path, os.W_OK):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))
    return standing


def _is_stream(path: Path, standing: os.stat_result | None) -> bool:
    if standing is None:
        return False
    is_sequential = stat.S_ISCHR(standing.st_mode) or stat.S_ISFIFO(standing.st_mode)
    return is_sequential or _own_descriptor(path) is not None


def _own_descriptor(path: Path) -> int | None:
    """The descriptor of this process that a path such as ``/dev/stdout`` leads to."""
    path = os.fsdecode(path)
    own = os.path.join("/proc", str(os.getpid()), "fd")
    for _ in range(40):
        folder, name = os.path.split(path)
        if name.isdecimal() and os.path.realpath(folder) == own:
            return int(name)
        if not os.path.islink(path):
            break
        path = os.path.join(folder, os.readlink(path))
    return None


class _Stream(io.FileIO):
    """Written from the beginning to the end, also where a device claims to know a position."""

    def seekable(self) -> bool:
        return False

    def seek(self, position: int, whence: int = 0, /) -> int:
        raise io.UnsupportedOperation("seek")

    def tell(self) -> int:
        raise io.UnsupportedOperation("tell")


def _stream(path: Path) -> io.FileIO:
    own = _own_descriptor(path)
    return _Stream(os.open(path, os.O_WRONLY | os.O_NOCTTY) if own is None else os.dup(own), "wb")


@contextmanager
def _written(raw: io.FileIO) -> Iterator[BinaryIO]:
    with io.BufferedWriter(raw, _BUFFER) as file:
        try:
            yield file
            file.flush()
        except BaseException:
            # What is still in the buffer is not worth waiting for a pipe that nobody reads.
            raw.close()
            raise


@contextmanager
def complete_file(
    target: str, temporary: str, standing: os.stat_result | None = None, *, access: int = 0o666, replace: bool = True
) -> Iterator[BinaryIO]:
    """A new file that gets its name at the end of the block, complete and on the disk, and not after an exception.

    Args:
        temporary: a name in the same folder, for where no file can be without one.
        standing: a file whose owner and permissions it is given.
        access: its permissions otherwise, which the user's umask cuts down.
        replace: whether what has the name goes; otherwise it stays.

    Raises:
        FileExistsError: something has the name and stays.
        OSError: it cannot be written.
    """
    try:
        with _written(io.FileIO(_create(os.path.dirname(target), temporary, access), "wb")) as file:
            yield file
            file.flush()
            descriptor = file.fileno()
            if standing is not None:
                _keep_access(descriptor, standing)
            os.fsync(descriptor)
            if not os.path.lexists(temporary):
                # A descriptor to start from makes Python follow the link, though the path is absolute.
                os.link(f"/proc/self/fd/{descriptor}", temporary, src_dir_fd=descriptor)
        (os.replace if replace else os.link)(temporary, target)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temporary)


def _temporary(folder: str) -> str:
    return os.path.join(folder, f".tilewright-{os.getpid()}-{os.urandom(4).hex()}.part")


def _create(folder: str, temporary: str, access: int = 0o666) -> int:
    """A descriptor of a new file in ``folder``: without a name, which leaves nothing behind, or else ``temporary``."""
    if hasattr(os, "O_TMPFILE") and os.path.isdir("/proc/self/fd"):
        with suppress(OSError):
            return os.open(folder, os.O_WRONLY | os.O_TMPFILE, access)
    return os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), access)


def _take_room(descriptor: int, room: int) -> None:
    """Give a new file so many bytes of the disk. What cannot do so on its own has each of its blocks written for it."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(descriptor, 0, room)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise


def _keep_access(descriptor: int, standing: os.stat_result) -> None:
    """Give a file the owner, as far as this user may, and the permissions of the one that it replaces."""
    for owner, group in ((-1, standing.st_gid), (standing.st_uid, -1)):
        with suppress(OSError):
            os.fchown(descriptor, owner, group)
    os.fchmod(descriptor, standing.st_mode & 0o777)
