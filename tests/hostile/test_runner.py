"""The runner takes no answer but a refusal or a result and tells how to get any other again; guards name tensors."""

from __future__ import annotations

import ctypes
import mmap
import os
import select
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from guard_pages import PLACEMENTS, GuardedMemory, Placement, guarded_copy

from tilewright.errors import IRError

from . import runner
from .generator import Case, Generator
from .runner import Report, _Child, reproduction, run_forked


@dataclass(frozen=True)
class Listed(Generator):
    """A generator whose cases are given."""

    runs: tuple[Callable[[], object], ...] = ()

    def case(self, seed: int) -> Case:
        return Case("", self.runs[seed])


def outcomes(*runs: Callable[[], object]) -> Report:
    """What becomes of these cases."""
    return run_forked(
        Listed("listed", lambda rng: Case("", lambda: None), lambda: None, len(runs), runs), range(len(runs))
    )


def refuse() -> None:
    raise IRError("no")


def go_on() -> None:
    pass


def crash() -> None:
    ctypes.string_at(8)


def divide() -> None:
    assert 1 // int("0")


def test_what_is_refused_and_what_runs() -> None:
    report = outcomes(go_on, refuse, refuse)
    assert (report.ran, report.refused, report.failures) == (1, {"IRError": 2}, {})


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (crash, "the process ended: signal SIGSEGV"),
        (divide, "ZeroDivisionError"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "the process ended: signal SIGKILL"),
        (lambda: os._exit(0), "the process ended: exit status 0"),
        (lambda: bytearray(4 << 30), "MemoryError"),
    ],
)
def test_what_fails(wrong: Callable[[], object], message: str) -> None:
    """Those before and after it are not concerned."""
    report = outcomes(refuse, wrong, go_on, refuse)
    assert (report.ran, report.refused, list(report.failures)) == (1, {"IRError": 2}, [1])
    assert message in report.failures[1]
    assert report.text().startswith(reproduction("listed", 1))


def test_a_hang_says_where(monkeypatch: pytest.MonkeyPatch) -> None:
    hangs, line = mmap.mmap(-1, 1), _Child._line

    def hang() -> None:
        hangs[0] = 1
        time.sleep(1000)

    def hurried(self: _Child, seconds: float) -> bytes | None:
        if seconds != runner.CLOCK:
            return line(self, seconds)
        # On a busy machine the others may take a second, too.
        while not hangs[0] and b"\n" not in self._pending and not select.select([self._lines], [], [], 0.01)[0]:
            pass
        try:
            return line(self, 0.1 if hangs[0] else seconds)
        except TimeoutError:
            hangs[0] = 0
            raise

    monkeypatch.setattr(runner, "CLOCK", runner.PATIENCE + 1)
    monkeypatch.setattr(_Child, "_line", hurried)
    report = outcomes(go_on, hang, go_on)
    assert (report.ran, list(report.failures)) == (2, [1])
    assert f"did not finish within {runner.CLOCK} s" in report.failures[1]
    assert "test_runner.py" in report.failures[1], "no traceback of the place"


def test_who_computes_without_an_end_is_stopped_and_says_where(monkeypatch: pytest.MonkeyPatch) -> None:
    def compute() -> None:
        while True:
            pass

    monkeypatch.setattr(runner, "SECONDS", 0)
    report = outcomes(compute, go_on)
    assert (report.ran, list(report.failures)) == (1, [0])
    assert "signal SIGXCPU" in report.failures[0]
    assert "test_runner.py" in report.failures[0], "no traceback of the place"


def test_a_message_must_be_fit_to_be_shown() -> None:
    class Said(IRError):
        def __str__(self) -> str:
            return self.message

    def surrogate() -> None:
        raise Said("\ud800")

    def long() -> None:
        raise Said("x" * 100_000)

    report = outcomes(surrogate, long)
    assert "cannot be shown" in report.failures[0]
    assert "a message of 100000 characters" in report.failures[1]


def test_equal_failures_are_shown_once() -> None:
    report = outcomes(divide, divide, crash)
    assert report.text().count("hostile.reproduce") == 2
    assert "(2 like it)" in report.text()


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_who_goes_beyond_a_tensor_dies_and_says_which(placement: Placement) -> None:
    """The placements differ in the side that is guarded to the byte."""
    array = np.arange(9, dtype=np.int16)

    def beyond(offset: int, read: bool) -> Callable[[], object]:
        def run() -> None:
            copy = guarded_copy(array, "the tensor", placement)
            address = copy.ctypes.data + offset
            ctypes.string_at(address, 1) if read else ctypes.memset(address, 1, 1)

        return run

    behind, before = {"end": (18, -4079), "begin": (4096, -1), "middle": (8128, -65)}[placement]
    report = outcomes(beyond(0, True), beyond(17, False), beyond(behind, True), beyond(before, False))
    assert report.ran == 2
    assert f"SIGSEGV: read {behind - 18} bytes behind the end of the tensor (18 bytes)" in report.failures[2]
    assert f"SIGSEGV: write {-before} bytes before the tensor (18 bytes)" in report.failures[3]


@pytest.mark.parametrize("size", [0, 1, 63, 64, 4095, 4096, 4097])
@pytest.mark.parametrize("placement", PLACEMENTS)
def test_what_is_written_beside_guarded_memory_is_seen(placement: Placement, size: int) -> None:
    memory = GuardedMemory(size, "memory", placement, alignment=64)
    assert memory.address % 64 == 0
    memory.bytes[:] = 1
    memory.check()
    if placement != "begin" and memory.address % 4096:
        ctypes.memset(memory.address - 1, 1, 1)
        with pytest.raises(AssertionError, match="before"):
            memory.check()
    if placement != "end" and (memory.address + size) % 4096:
        ctypes.memset(memory.address + size, 1, 1)
        with pytest.raises(AssertionError):
            memory.check()
