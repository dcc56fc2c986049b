"""Outputs of commands: into FIFOs and devices, under names that are none, and when the process is told to end."""

from __future__ import annotations

import os
import select
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from network_files import digits_artifact

import tilewright
from tilewright.__main__ import main
from tilewright.compiler.demo import MODEL
from tilewright.errors import OutputError
from tilewright.runtime.report.execution import save_outputs
from tilewright.runtime.termination import orderly_termination

Capture = pytest.CaptureFixture[str]


def commands() -> dict[str, list[str]]:
    return {
        "compile": ["compile", str(MODEL), "--quiet"],
        "run": ["run", str(digits_artifact()), "--random", "1"],
        "export": ["export", str(MODEL)],
        "opt": ["opt", str(MODEL)],
    }


@pytest.mark.parametrize("command", [*commands(), "demo"])
def test_an_output_without_a_name_is_refused(command: str, capsys: Capture) -> None:
    assert main([*commands().get(command, [command]), "-o", ""]) == 2
    assert capsys.readouterr().err == (
        "error: the name of the output is empty. Give the output a name, or leave it out.\n"
    )


@pytest.mark.parametrize("command", commands())
def test_the_name_of_a_folder_is_no_file(command: str, tmp_path: Path, capsys: Capture) -> None:
    assert main([*commands()[command], "-o", f"{tmp_path / 'new'}/"]) == 2
    message = "error: the output is a file, and this names a folder; found "
    assert capsys.readouterr().err.startswith(message)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("command", commands())
def test_every_command_writes_into_a_fifo(command: str, tmp_path: Path, capsys: Capture) -> None:
    os.mkfifo(tmp_path / "fifo")
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "fifo").read_bytes()), daemon=True)
    reader.start()
    assert main([*commands()[command], "-o", str(tmp_path / "fifo")]) == 0, capsys.readouterr().err
    reader.join(120)
    assert main([*commands()[command], "-o", str(tmp_path / "file")]) == 0, capsys.readouterr().err
    assert stat.S_ISFIFO((tmp_path / "fifo").lstat().st_mode)
    if command == "run":
        # An archive that is written without going back has other marks in it.
        (tmp_path / "read").write_bytes(read[0])
        with np.load(tmp_path / "file") as one, np.load(tmp_path / "read") as other:
            assert one.files == other.files
            for name in one.files:
                np.testing.assert_array_equal(one[name], other[name])
    else:
        assert read == [(tmp_path / "file").read_bytes()]


def test_beside_a_fifo_no_arrays_are_written(tmp_path: Path) -> None:
    for name in ("file", "fifo"):
        (tmp_path / name).mkdir()
    assert main(["opt", str(MODEL), "-o", str(tmp_path / "file" / "a.tw")]) == 0
    os.mkfifo(tmp_path / "fifo" / "a.tw")
    reader = threading.Thread(target=(tmp_path / "fifo" / "a.tw").read_bytes, daemon=True)
    reader.start()
    assert main(["opt", str(MODEL), "-o", str(tmp_path / "fifo" / "a.tw")]) == 0
    assert sorted(os.listdir(tmp_path / "file")) == ["a.tw", "blobs"]
    assert os.listdir(tmp_path / "fifo") == ["a.tw"]


@pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="there is no /dev/stdout here")
@pytest.mark.parametrize("command", ["compile", "run", "export"])
def test_behind_a_result_on_stdout_comes_nothing_else(command: str, tmp_path: Path) -> None:
    """Of the commands that begin with the compiler one into a pipe, the other into a file."""
    words = [sys.executable, "-m", "tilewright", *commands()[command], "-o", "/dev/stdout"]
    found: list[bytes] = []
    if command != "compile":
        found.append(subprocess.run(words, stdout=subprocess.PIPE, timeout=120, check=True).stdout)
    if command != "export":
        with open(tmp_path / "redirected", "wb") as redirected:
            subprocess.run(words, stdout=redirected, timeout=120, check=True)
        found.append((tmp_path / "redirected").read_bytes())
    assert main([*commands()[command], "-o", str(tmp_path / "file")]) == 0
    if command == "run":
        assert found[0] == found[1]
        with np.load(tmp_path / "redirected") as saved:
            assert saved.files == ["probabilities"]
    else:
        assert found == [(tmp_path / "file").read_bytes()]


def test_an_output_of_any_name_is_saved(tmp_path: Path) -> None:
    """numpy.savez has an argument of this name."""
    save_outputs(tmp_path / "a.npz", {"file": np.arange(3), "a/b:0": np.arange(2)})
    with np.load(tmp_path / "a.npz") as saved:
        assert saved.files == ["file", "a/b:0"]
        assert saved["file"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("name", ["a\0b", "a" * 70_000])
def test_an_output_of_a_name_that_no_archive_can_hold_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(OutputError) as caught:
        save_outputs(tmp_path / "a.npz", {name: np.arange(3)})
    assert str(caught.value) == (
        "an output has a name that no .npz file can hold; expected at most 60000 bytes without a zero, "
        f"found {name[:80]!r}"
    )
    assert os.listdir(tmp_path) == []


SLOW = """
import os, sys, time
from tilewright.__main__ import main
from tilewright.runtime.artifact import artifact

# As on a file system without files that have no name.
vars(os).pop("O_TMPFILE", None)
pieces = artifact.chunks

def slowly(*arguments):
    for piece in pieces(*arguments):
        print("writing", flush=True)
        time.sleep(1000)
        yield piece

artifact.chunks = slowly
sys.exit(main(sys.argv[1:]))
"""


def writing(folder: Path, ignored: signal.Signals | None = None) -> subprocess.Popen[bytes]:
    """A process that has begun to write an artifact."""
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, "compile", str(MODEL), "-o", "a.twa", "--quiet"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=(lambda: signal.signal(ignored, signal.SIG_IGN)) if ignored is not None else None,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"writing\n"
    assert [name.endswith(".part") for name in os.listdir(folder)] == [True]
    return process


# SIGHUP goes the way of SIGTERM.
@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGHUP, marks=pytest.mark.sweep), signal.SIGINT]
)
def test_a_command_that_is_told_to_end_leaves_nothing(number: signal.Signals, tmp_path: Path) -> None:
    with writing(tmp_path) as process:
        process.send_signal(number)
        _, said = process.communicate(timeout=120)
    expected = b"error: interrupted\n" if number == signal.SIGINT else b""
    assert (process.returncode, said) == (128 + number, expected)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_waits_until_an_import_is_complete(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An extension module that is stopped while it initialises ends the process by SIGSEGV."""
    (tmp_path / "told_to_end.py").write_text(
        f"import signal\nfor number in range(20):\n    signal.raise_signal({int(number)})\nis_complete = True\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    expected = KeyboardInterrupt if number == signal.SIGINT else SystemExit
    with pytest.raises(expected) as caught, orderly_termination():
        import told_to_end  # pyright: ignore[reportMissingImports]

        # Comes at last.
        signal.pause()
    assert sys.modules.pop("told_to_end").is_complete
    assert caught.value.args in ((), (128 + number,))
    with pytest.raises(expected), orderly_termination():
        import told_to_end  # noqa: F401  # pyright: ignore[reportMissingImports]
    assert sys.modules.pop("told_to_end").is_complete


def test_ctrl_c_while_the_compiler_is_imported_leaves_it_usable() -> None:
    """Python keeps parts of a package whose import ends early, which then does not fit together."""
    program = """
import signal, sys
import tilewright
class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == "networkx.algorithms.bipartite":
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Interrupting())
try:
    tilewright.compile
except KeyboardInterrupt:
    print("interrupted")
tilewright.compile(sys.argv[1], calibration="random")
print("compiled", signal.getsignal(signal.SIGINT) is signal.default_int_handler)
"""
    words = [sys.executable, "-c", program, str(MODEL)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=600, check=False)
    assert done.stdout.split() == ["interrupted", "compiled", "True"], done.stderr


def test_a_signal_that_someone_else_handles_meanwhile_is_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a server that ends in order, and is told to when it has just begun to listen."""
    (tmp_path / "told_early.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    taken = threading.Event()
    with orderly_termination():
        import told_early  # noqa: F401  # pyright: ignore[reportMissingImports]

        signal.signal(signal.SIGTERM, lambda *_: taken.set())
        assert taken.wait(60)
    del sys.modules["told_early"]


def test_a_signal_that_is_ignored_stays_so(tmp_path: Path) -> None:
    """As under nohup."""
    with writing(tmp_path, signal.SIGHUP) as process:
        process.send_signal(signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM
    assert os.listdir(tmp_path) == []


def test_a_command_that_waits_for_a_reader_ends_when_told(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.twa")
    words = [sys.executable, "-m", "tilewright", "compile", str(MODEL), "-o", "a.twa", "--quiet"]
    with subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.PIPE) as process:
        # A reader that opens the FIFO and takes nothing: the artifact is larger than what a FIFO holds.
        reader = os.open(tmp_path / "a.twa", os.O_RDONLY | os.O_NONBLOCK)
        try:
            assert select.select([reader], [], [], 120)[0], "the command began to write"
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=120)
        finally:
            os.close(reader)
    assert (process.returncode, said) == (128 + signal.SIGTERM, b"")


def test_handlers_are_those_of_commands_and_not_of_the_library() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with orderly_termination():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before
    with tilewright.load(digits_artifact()):
        assert signal.getsignal(signal.SIGTERM) is before
    ends: list[int] = []
    worker = threading.Thread(target=lambda: ends.append(main(["--version"])))
    worker.start()
    worker.join()
    assert ends == [0]
