"""Results into files: complete or not at all, and nothing but the result."""

from __future__ import annotations

import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tilewright.errors import OutputError, UsageError
from tilewright.runtime.files.output_file import check_output, is_stream, make_folder, output_file

FOLDER = "Choose an output in a folder that exists and that you may write."


def write(path: Path | str, content: bytes = b"new") -> None:
    check_output(path)
    with output_file(path) as file:
        file.write(content)


@pytest.fixture(params=["unnamed", "named"], autouse=True)
def temporary(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to write a file: without a name until it is complete, and under a temporary one."""
    if request.param == "named":
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    elif not hasattr(os, "O_TMPFILE"):
        pytest.skip("this system has no files without a name")
    return request.param


def names(folder: Path) -> list[str]:
    return sorted(item.name for item in folder.iterdir())


def test_a_new_file_has_the_permissions_that_the_user_asks_for(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write(tmp_path / "a")
    finally:
        os.umask(before)
    assert (tmp_path / "a").read_bytes() == b"new"
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640
    assert names(tmp_path) == ["a"]


def test_a_file_that_is_replaced_keeps_mode_and_owner(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    (tmp_path / "a").chmod(0o604)
    if os.geteuid() == 0:
        os.chown(tmp_path / "a", 1234, 5678)
    before = (tmp_path / "a").stat()
    write(tmp_path / "a")
    after = (tmp_path / "a").stat()
    assert (tmp_path / "a").read_bytes() == b"new"
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert names(tmp_path) == ["a"]


def test_until_the_end_the_old_file_is_there_and_after_a_failure_too(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(OutputError, match=r"No space left on device$"), output_file(tmp_path / "a") as file:
        file.write(b"new" * 1_000_000)
        assert (tmp_path / "a").read_bytes() == b"old"
        raise OSError(28, "No space left on device")
    with pytest.raises(KeyboardInterrupt), output_file(tmp_path / "b"):
        raise KeyboardInterrupt
    assert (tmp_path / "a").read_bytes() == b"old"
    assert names(tmp_path) == ["a"]


def test_links_stay_and_what_they_lead_to_is_written(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a").write_bytes(b"old")
    (tmp_path / "link").symlink_to("folder/a")
    (tmp_path / "to nothing").symlink_to("folder/b")
    write(tmp_path / "link")
    write(tmp_path / "to nothing")
    assert os.readlink(tmp_path / "link") == "folder/a"
    assert os.readlink(tmp_path / "to nothing") == "folder/b"
    assert (tmp_path / "folder" / "a").read_bytes() == (tmp_path / "folder" / "b").read_bytes() == b"new"
    assert (names(tmp_path), names(tmp_path / "folder")) == (["folder", "link", "to nothing"], ["a", "b"])
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OutputError, match=r"Too many levels of symbolic links$"):
        write(tmp_path / "loop")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("none/a", f"cannot write 'none/a': No such file or directory. {FOLDER}"),
        ("file/a", f"cannot write 'file/a': Not a directory. {FOLDER}"),
        ("none/", f"cannot write 'none/': Is a directory. {FOLDER}"),
        ("folder", f"cannot write 'folder': Is a directory. {FOLDER}"),
        ("socket", "cannot write 'socket': Is a socket"),
        ("a" * 256, f"cannot write '{'a' * 256}': File name too long"),
        ("a\0b", "cannot write 'a\\x00b': embedded null byte"),
        ("", "the name of the output is empty. Give the output a name, or leave it out."),
    ],
)
@pytest.mark.parametrize("begin", [check_output, lambda path: write(path)], ids=["check", "write"])
def test_places_that_cannot_be_written(
    path: str, message: str, begin: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        with pytest.raises(OutputError) as caught:
            begin(path)
    assert str(caught.value) == message
    assert names(tmp_path) == ["file", "folder", "socket"]


def test_a_file_that_may_not_be_written_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The superuser may write everything: what the system would say is said for it.
    (tmp_path / "a").write_bytes(b"old")
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(OutputError, match=re.escape(f"Permission denied. {FOLDER}")):
        write(tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"old"


def test_the_output_is_not_what_it_is_made_of(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    (tmp_path / "link").symlink_to("a")
    (tmp_path / "other").touch()
    with pytest.raises(UsageError, match=r"the output would replace the model; found .*link. Choose another output"):
        check_output(tmp_path / "link", source=tmp_path / "a")
    for source in (b"content", tmp_path / "other", "none", "a" * 5000, "a\0b"):
        check_output(tmp_path / "a", source=source)


def test_a_fifo_is_written_to(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("fifo")
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "fifo").read_bytes()), daemon=True)
    check_output(tmp_path / "fifo")
    reader.start()
    with output_file(tmp_path / "link") as file:
        assert not file.seekable()
        file.write(b"new" * 1_000_000)
    reader.join(120)
    assert read == [b"new" * 1_000_000]
    assert stat.S_ISFIFO((tmp_path / "fifo").lstat().st_mode)
    assert is_stream(tmp_path / "fifo") and not is_stream(tmp_path / "other")
    assert names(tmp_path) == ["fifo", "link"]


def test_a_reader_that_goes_is_an_error(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    reader = threading.Thread(target=lambda: open(tmp_path / "fifo", "rb").close(), daemon=True)
    reader.start()
    with pytest.raises(OutputError, match=r"Broken pipe$"):
        write(tmp_path / "fifo", bytes(10_000_000))


def node(path: Path, kind: int, major: int, minor: int) -> Path:
    """A device of the test's own."""
    try:
        os.mknod(path, 0o666 | kind, os.makedev(major, minor))
    except PermissionError:
        pytest.skip("only the superuser makes devices")
    if kind == stat.S_IFCHR:
        try:
            os.close(os.open(path, os.O_RDONLY))
        except PermissionError:
            pytest.skip("devices do not work on this file system")
    return path


@pytest.mark.parametrize("named", [False, True])
def test_room_is_looked_for_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: bool) -> None:
    if not hasattr(os, "posix_fallocate"):
        pytest.skip("this system cannot be asked for room")
    if named:
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    check_output(tmp_path / "a", room=1 << 16)
    with pytest.raises(OutputError, match=r"cannot write '.*a': (No space left on device|File too large)$"):
        check_output(tmp_path / "a", room=1 << 62)
    assert names(tmp_path) == []


def test_character_devices_are_written_to_and_stay(tmp_path: Path) -> None:
    null, full = node(tmp_path / "null", stat.S_IFCHR, 1, 3), node(tmp_path / "full", stat.S_IFCHR, 1, 7)
    write(null)
    with pytest.raises(OutputError, match=r"cannot write '.*full': No space left on device$"):
        write(full)
    for device in (null, full):
        assert stat.S_ISCHR(device.lstat().st_mode)
        assert is_stream(device)
    assert names(tmp_path) == ["full", "null"]


def test_block_devices_are_refused(tmp_path: Path) -> None:
    device = node(tmp_path / "block", stat.S_IFBLK, 7, 200)
    with pytest.raises(OutputError, match=r"cannot write '.*block': Is a block device$"):
        write(device)
    assert stat.S_ISBLK(device.lstat().st_mode)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="there is no /proc here")
def test_an_open_file_is_written_to_from_where_it_stands(tmp_path: Path) -> None:
    with open(tmp_path / "a", "wb", buffering=0) as opened:
        opened.write(b"before ")
        write(f"/dev/fd/{opened.fileno()}")
        assert is_stream(f"/dev/fd/{opened.fileno()}")
        opened.write(b" after")
        number = opened.fileno()
    assert (tmp_path / "a").read_bytes() == b"before new after"
    with pytest.raises(OutputError, match="No such file or directory"):
        write(f"/dev/fd/{number}")


def test_folders(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=re.escape(f"cannot write '{tmp_path}/file/c': Not a directory. {FOLDER}")):
        make_folder(tmp_path / "file" / "c")
    message = f"cannot make folder '{tmp_path}/file': it is a file. Name a folder, or what is not there yet."
    with pytest.raises(OutputError, match=f"^{re.escape(message)}$"):
        make_folder(tmp_path / "file")


def test_a_process_that_is_killed_leaves_nothing(tmp_path: Path, temporary: str) -> None:
    if temporary == "named":
        pytest.skip("a name of its own stays behind a process that is killed")
    program = f"""
import os
from tilewright.runtime.files.output_file import output_file
with output_file({str(tmp_path / "a")!r}) as file:
    file.write(bytes(5_000_000))
    print("writing", flush=True)
    input()
"""
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"writing\n"
        process.send_signal(signal.SIGKILL)
        process.wait(120)
    assert names(tmp_path) == []
