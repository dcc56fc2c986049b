"""What happens around a session: files that change, memory and threads that run out, signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from artifact_samples import compile_object, expected, small_artifact, small_manifest, small_sections

import tilewright
from tilewright.errors import ArtifactError, RequestCancelledError, ResourceError, UsageError
from tilewright.runtime import load
from tilewright.runtime.artifact import memory as checksum
from tilewright.runtime.artifact.artifact import Artifact, write_artifact
from tilewright.runtime.artifact.container import Section, SectionKind
from tilewright.runtime.artifact.manifest import TensorSpec
from tilewright.runtime.artifact.memory import Fill, reader
from tilewright.runtime.execution.buffers import Buffers
from tilewright.runtime.files.input_file import input_file
from tilewright.runtime.native.mapping import supported
from tilewright.runtime.waiting import Abandoned, Asked, Watchdog

pytestmark = pytest.mark.skipif(not supported(), reason="object code runs on Linux on x86-64 and AArch64 only")

X = np.random.default_rng(0).random((2, 8), dtype=np.float32)
PATIENCE = 120
"""Seconds after which a process that should have ended has failed."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_artifact(tmp_path / "small.twa", small_manifest(), small_sections())
    return tmp_path / "small.twa"


@pytest.mark.parametrize("length", [0, 100, 4096])
def test_a_file_that_is_truncated_later_concerns_no_session(path: Path, length: int) -> None:
    with load(path) as session:
        os.truncate(path, length)
        np.testing.assert_allclose(session.run({"x": X})["y"], expected(X.ravel()), rtol=1e-6)


def test_a_file_that_is_overwritten_later_concerns_no_session(path: Path) -> None:
    with load(path) as session:
        path.write_bytes(bytes(path.stat().st_size))
        np.testing.assert_allclose(session.run({"x": X})["y"], expected(X.ravel()), rtol=1e-6)
    with pytest.raises(ArtifactError, match="is not a Tilewright artifact"):
        load(path)


def test_a_file_may_be_mapped_instead(path: Path) -> None:
    assert not Artifact.open(path).mapped
    assert Artifact.open(path, copy=False).mapped
    with load(path, copy=False) as session:
        assert session.artifact.mapped
        np.testing.assert_allclose(session.run({"x": X})["y"], expected(X.ravel()), rtol=1e-6)
        # To replace a file by another is not to change it.
        write_artifact(path, replace(small_manifest(), precision="other"), small_sections())
        np.testing.assert_allclose(session.run({"x": X})["y"], expected(X.ravel()), rtol=1e-6)
    with pytest.raises(UsageError, match="only files can be mapped; expected a path with copy=False, found bytes"):
        load(path.read_bytes(), copy=False)


def test_a_file_that_shrinks_while_it_is_read_is_an_error(path: Path) -> None:
    size = path.stat().st_size
    memory = memoryview(bytearray(size))
    with pytest.raises(ArtifactError) as caught, input_file(str(path), ArtifactError, "load artifact") as file:
        os.truncate(path, 1000)
        checksum.crc32(memory, 0, size, reader(file, memory))
    assert str(caught.value) == (
        f"load artifact: cannot read {str(path)!r}: it ended after 1000 of {size} bytes, so something else changes it"
    )


def test_what_is_damaged_at_its_beginning_is_not_read_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = np.random.default_rng(0).bytes(5_000_000)
    extra = Section("extra", SectionKind.MODULE, content)
    write_artifact(tmp_path / "large.twa", small_manifest(), [*small_sections(), extra])
    assert bytes(Artifact.open(tmp_path / "large.twa").section("extra")) == content
    with open(tmp_path / "large.twa", "r+b") as file:
        file.seek(40)
        file.write(b"other")
    stretches: list[tuple[int, int]] = []
    monkeypatch.setattr("tilewright.runtime.artifact.artifact.reader", lambda *given: _told(reader(*given), stretches))
    with pytest.raises(ArtifactError, match="the checksum of its header is wrong"):
        Artifact.open(tmp_path / "large.twa")
    assert max(end for _, end in stretches) < 10_000


def _told(fill: Fill, stretches: list[tuple[int, int]]) -> Fill:
    def told(begin: int, end: int) -> None:
        stretches.append((begin, end))
        fill(begin, end)

    return told


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in (tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(ArtifactError) as caught:
            load(name)
        assert str(caught.value).startswith(f"load artifact: cannot read {str(name)!r}: it is not a regular file")
    with pytest.raises(ArtifactError, match="Is a directory"):
        load(tmp_path)


def test_a_memory_limit_names_what_is_needed(path: Path) -> None:
    size = path.stat().st_size
    code = len(Artifact.open(path).section("main.code"))
    # Two inputs and outputs of 64 bytes, and an arena of 128.
    needed = size + 128 + code + 128
    load(path, memory_limit=needed).close()
    with pytest.raises(ResourceError) as caught:
        load(path, memory_limit=needed - 1)
    assert str(caught.value) == (
        f"load artifact: the artifact does not fit the memory limit; expected at most {needed - 1} bytes, found "
        f"{needed} bytes: {size} of artifact, 128 of inputs and outputs, {code} of native code, 128 of work memory"
    )
    for source in (path, path.read_bytes()):
        with pytest.raises(ResourceError, match=f"does not fit the memory limit; .* found {size} bytes of artifact$"):
            load(source, memory_limit=1000)
    # A mapped file takes no memory of this process's own.
    load(path, copy=False, memory_limit=needed - size).close()


def test_a_manifest_that_asks_for_more_is_refused_before_anything_is_made() -> None:
    program = replace(small_manifest().cpu_programs["main"], arena_bytes=2**40)
    content = small_artifact(cpu_programs={"main": program})
    with pytest.raises(ResourceError, match=f"found {len(content) + 128 + 2**40} bytes: .* {2**40} of work memory$"):
        load(content, memory_limit=2**30)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"memory_limit": 0}, "memory_limit is out of range; expected an integer of at least 1, found 0"),
        ({"memory_limit": 1e9}, "memory_limit is out of range; expected an integer of at least 1, found 1000000000.0"),
        ({"time_limit": 0}, "time_limit is out of range; expected seconds, more than 0, found 0"),
        ({"time_limit": float("nan")}, "time_limit is out of range; expected seconds, more than 0, found nan"),
        ({"time_limit": "1"}, "time_limit is out of range; expected seconds, more than 0, found '1'"),
    ],
)
def test_limits_out_of_range(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(small_artifact(), **arguments)  # pyright: ignore[reportArgumentType]
    assert str(caught.value) == message


def python(script: str, *arguments: object) -> str:
    """What a script prints in a process of its own, which must end well and in time."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_many_stages_of_many_steps_are_checked_in_time() -> None:
    script = """
from dataclasses import replace
from artifact_samples import small_manifest, small_sections
from tilewright.errors import ArtifactError
from tilewright.runtime.artifact.manifest import CpuStage, Engine
from tilewright.runtime.artifact.manifest_check import check_manifest
manifest, count = small_manifest(), 2**16
program = manifest.cpu_programs["main"]
steps, engine = program.steps[:1] * count, Engine((CpuStage("main", 0, count),) * count)
sections = {section.name: (section.kind, len(section.data)) for section in small_sections()}
for steps in (steps, (*steps[:-1], replace(steps[0], name="last", kernel=None))):
    programs = {"main": replace(program, steps=steps)}
    try:
        check_manifest(replace(manifest, cpu_programs=programs, engines={"float": engine}), sections)
    except ArtifactError as error:
        print(error)
"""
    assert python(f"import sys; sys.path[:] = {sys.path!r}\n{script}") == (
        "artifact: engine 'float', stage 0: the manifest contradicts itself; expected steps with a kernel, "
        "found step 'last'\n"
    )


def test_outputs_that_do_not_fit_into_memory(tmp_path: Path) -> None:
    large = replace(small_manifest(), outputs=(TensorSpec("y", "f32", (2**29,)),))
    write_artifact(tmp_path / "large.twa", large, small_sections())
    script = """
import resource, sys
import numpy, tilewright
session = tilewright.load(sys.argv[1])
x = {"x": numpy.ones((2, 8), numpy.float32)}
taken = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + 2**30, resource.RLIM_INFINITY))
for use in (session.run, lambda x: session.submit(x).result(), lambda x: session.profile(x, rounds=1)):
    try:
        use(x)
    except tilewright.errors.ResourceError as error:
        print(error)
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(len(session.run(x)["y"]), len(session._runner._free))
session.close()
"""
    lines = python(script, tmp_path / "large.twa").splitlines()
    message = "run: this machine does not have enough memory; found Unable to allocate 2.00 GiB for an array "
    assert [line.startswith(message) for line in lines[:3]] == [True] * 3, lines
    assert lines[3] == f"{2**29} 1"


def test_memory_that_runs_out_costs_no_buffers(monkeypatch: pytest.MonkeyPatch) -> None:
    session = load(small_artifact())
    bind = Buffers.bind

    def exhaust(buffers: Buffers, inputs: list[np.ndarray], abandoned: Asked | None) -> None:
        bind(buffers, inputs, abandoned)
        raise MemoryError("no more")

    monkeypatch.setattr(Buffers, "bind", exhaust)
    with pytest.raises(ResourceError, match="run: this machine does not have enough memory; found no more"):
        session.run({"x": X})
    with pytest.raises(ResourceError, match="run: this machine does not have enough memory; found no more"):
        session.submit({"x": X}).result(PATIENCE)
    monkeypatch.undo()
    (buffers,) = session._runner._free
    assert (len(buffers.inputs), buffers.outputs) == (0, [])
    np.testing.assert_allclose(session.run({"x": X})["y"], expected(X.ravel()), rtol=1e-6)
    session.close()


WAITING = """
define i32 @tilewright_run(ptr %context, i64 %first, i64 %last) {
entry:
  %pio = getelementptr { ptr, ptr, ptr }, ptr %context, i32 0, i32 2
  %io = load ptr, ptr %pio
  %x = load ptr, ptr %io
  %second = getelementptr i32, ptr %x, i64 1
  %waits = icmp eq i64 %first, 0
  br i1 %waits, label %spin, label %mark
spin:
  %flag = load volatile i32, ptr %x
  %unset = icmp eq i32 %flag, 0
  br i1 %unset, label %spin, label %rest
rest:
  %pstop = getelementptr { ptr, ptr, ptr, ptr }, ptr %context, i32 0, i32 3
  %stop = load ptr, ptr %pstop
  %asked = load i32, ptr %stop
  %stopped = icmp ne i32 %asked, 0
  br i1 %stopped, label %abandon, label %onward
abandon:
  ret i32 2
onward:
  %more = icmp sgt i64 %last, 1
  br i1 %more, label %mark, label %done
mark:
  store volatile i32 1, ptr %second
  br label %done
done:
  ret i32 0
}
"""
"""Two or three steps: the first waits until x[0] is not 0; unless asked to stop, later ones write x[1]."""


@pytest.fixture
def waiting(tmp_path: Path) -> Path:
    write_artifact(tmp_path / "waiting.twa", small_manifest(), small_sections(compile_object(WAITING)))
    return tmp_path / "waiting.twa"


INTERRUPTED = """
import os, signal, sys, threading, time
import numpy, tilewright
session = tilewright.load(sys.argv[1], workers=2)
x = numpy.zeros((2, 8), numpy.float32)
def interrupt(before):
    while not {thread for thread in threading.enumerate() if thread.name == "tilewright-run"} - before:
        time.sleep(0.01)
    time.sleep(0.3)
    os.kill(os.getpid(), signal.SIGINT)
def interrupted(use):
    try:
        threading.Thread(target=interrupt, args=[{*threading.enumerate()}]).start()
        use()
    except KeyboardInterrupt:
        print("interrupted")
"""


def test_ctrl_c_interrupts_native_code(waiting: Path) -> None:
    script = """
interrupted(lambda: session.run({"x": x}))
interrupted(lambda: session.profile({"x": x}))
print(sorted(session.run({"x": x + 1})), len(session._runner._free))
session.close()
print("closed")
"""
    # Two computations still wait when the process ends, which they do not keep from it.
    assert python(INTERRUPTED + script, waiting).splitlines() == ["interrupted", "interrupted", "['y'] 1", "closed"]


def test_what_was_interrupted_ends_at_the_next_step(waiting: Path) -> None:
    script = """
interrupted(lambda: session.run({"x": x}))
(thread,) = [thread for thread in threading.enumerate() if thread.name == "tilewright-run"]
x[0, 0] = 1
thread.join()
print(x[0, 1], len(session._runner._free))
y = session.run({"x": x})
print(x[0, 1] != 0)
"""
    assert python(INTERRUPTED + script, waiting).splitlines() == ["interrupted", "0.0 1", "True"]


ENDLESS = """
define i32 @tilewright_run(ptr %context, i64 %first, i64 %last) {
entry:
  %place = getelementptr { ptr, ptr, ptr, ptr }, ptr %context, i32 0, i32 3
  %stop = load ptr, ptr %place
  br label %spin
spin:
  %asked = load volatile i32, ptr %stop
  %goes_on = icmp eq i32 %asked, 0
  br i1 %goes_on, label %spin, label %done
done:
  ret i32 1
}
"""
"""Runs until it is asked to stop."""


def test_requests_can_be_abandoned(tmp_path: Path) -> None:
    path = tmp_path / "endless.twa"
    write_artifact(path, small_manifest(), small_sections(compile_object(ENDLESS)))
    with load(path) as session:
        runs, waits = session.submit({"x": X}), session.submit({"x": X})
        while not runs.running():
            time.sleep(0.001)
        waits.abandon()
        runs.abandon()
        with pytest.raises(RequestCancelledError, match="the request was abandoned while it ran"):
            runs.result(PATIENCE)
        assert waits.cancelled()


def test_only_runs_that_may_be_long_take_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []
    start = threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", lambda self: (started.append(self.name), start(self)))
    with load(small_artifact()) as session:
        for _ in range(3):
            session.run({"x": X})
        assert started == ["tilewright-run"]
    monkeypatch.setattr("tilewright.runtime.session._LONG", 0.0)
    with load(small_artifact()) as session:
        for _ in range(3):
            session.run({"x": X})
    assert started == ["tilewright-run"] * 4


def test_runs_of_any_length_are_watched_and_begun_again_aside_where_they_are_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tilewright.runtime.session._watchdog", Watchdog(0.001))
    ran: list[str] = []

    def compute(asked: Asked | None) -> str:
        ran.append(threading.current_thread().name)
        while ran[-1] == "MainThread" and asked is not None and len(ran) > 1:
            if asked():
                raise Abandoned
        return f"result {len(ran)}"

    with load(small_artifact()) as session:
        runner = session._runner
        runner.may_be_long, runner.endless = False, True
        assert session._compute(runner, compute) == "result 1"
        assert session._compute(runner, compute) == "result 3"
    assert ran == ["MainThread", "MainThread", "tilewright-run"]


def test_what_a_signal_handler_raises_ends_a_watched_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_late(number: int, frame: object) -> None:
        raise RuntimeError("too late")

    ran: list[Asked | None] = []

    def compute(asked: Asked | None) -> None:
        ran.append(asked)
        if len(ran) == 1:
            signal.raise_signal(signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, too_late)
    try:
        with load(small_artifact()) as session:
            session._runner.may_be_long, session._runner.endless = False, True
            with pytest.raises(RuntimeError, match="too late"):
                session._compute(session._runner, compute)
            monkeypatch.setattr("tilewright.runtime.session._watchdog", Watchdog(0.001))
            monkeypatch.setattr(threading.Thread, "start", no_thread)
            session._compute(session._runner, compute)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert len(ran) == 2, "begun again"
    assert ran[1] is None, "watched without a thread"


def test_errors_of_a_long_run_are_those_of_a_short_one() -> None:
    with load(small_artifact()) as session, pytest.raises(tilewright.errors.InputError, match="step 'exponential'"):
        session.run({"x": -X - 1})


def no_thread(self: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_without_threads_submit_says_so_and_the_rest_works(monkeypatch: pytest.MonkeyPatch) -> None:
    session = load(small_artifact())
    monkeypatch.setattr(threading.Thread, "start", no_thread)
    np.testing.assert_allclose(session.run({"x": X})["y"], expected(X.ravel()), rtol=1e-6)
    for _ in range(20):
        with pytest.raises(ResourceError) as caught:
            session.submit({"x": X})
        assert str(caught.value) == (
            "submit: no thread can be started to run requests: can't start new thread. "
            "Use run, or end other threads first."
        )
    monkeypatch.undo()
    np.testing.assert_allclose(session.submit({"x": X}).result(PATIENCE)["y"], expected(X.ravel()), rtol=1e-6)
    session.close()
    session = load(small_artifact())
    monkeypatch.setattr(threading.Thread, "start", no_thread)
    with pytest.raises(ResourceError):
        session.submit({"x": X})
    session.close()


def test_with_fewer_threads_than_workers_requests_run(monkeypatch: pytest.MonkeyPatch) -> None:
    with load(small_artifact(), workers=4) as session:
        session.submit({"x": X}).result(PATIENCE)
        monkeypatch.setattr(threading.Thread, "start", no_thread)
        for request in [session.submit({"x": X}) for _ in range(8)]:
            np.testing.assert_allclose(request.result(PATIENCE)["y"], expected(X.ravel()), rtol=1e-6)
