"""Waiting until a step can be taken: bounded queues are made of it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from time import monotonic
from typing import NamedTuple

from tilewright.errors import RequestTimeoutError, UsageError

from .waiting import Waiters

Hopeless = Callable[[], bool]
"""Tells one who waits without a limit of time whether nobody is left who could end it."""

_ASKED_AGAIN, _ASKED_EVERY = 0.005, 0.04
"""Seconds after which it is asked a second time, and after some doubling from then on: threads end without telling."""


class Wait(NamedTuple):
    """What one waits for: whether it comes without a call of another thread, and the words when it does not.

    `late` is the sentence for what is still so when the time is over, `hint` for who waits without end.
    """

    comes: Callable[[], bool]
    late: str
    expected: str
    found: str
    hint: str


class Monitor:
    """A lock, and those who wait for what others do under it.

    Ctrl-C ends every wait.

    Attributes:
        lock: held by whoever changes what others wait for.
    """

    def __init__(self) -> None:
        self.start_anew()

    def start_anew(self) -> None:
        """In a forked process, where only the thread that forked is left: unlocked, and nobody waits."""
        self.lock = threading.Lock()
        self._changed = Waiters()

    def wake(self) -> None:
        """Have all who wait look again; for who holds the lock."""
        self._changed.wake()

    def step(
        self, step: Callable[[], bool], wait: Wait, timeout: float | None = None, hopeless: Hopeless | None = None
    ) -> None:
        """Take a step as soon as it can be taken.

        Args:
            step: takes it under the lock, or tells that it cannot be taken yet; what it raises ends the wait.
            wait: what is waited for.
            timeout: seconds to wait, 0 for not at all; by default as long as it takes.
            hopeless: whether it can never be taken; asked again and again while this waits without a timeout and it
                takes another thread's call.

        Raises:
            RequestTimeoutError: it could not be taken within the time.
            UsageError: waiting is hopeless.
        """
        global _latest_step
        end = None if timeout is None else monotonic() + timeout
        slice, thread = 0.0, threading.get_ident()
        try:
            while True:
                _waits.pop(thread, None)
                with self.lock:
                    if step():
                        _latest_step = object()
                        self._changed.wake()
                        return
                    waiter = self._changed.enter()
                if end is not None:
                    remaining = end - monotonic()
                    self._changed.wait(waiter, remaining)
                    if remaining <= 0:
                        expected = f"{wait.expected} within {timeout} s"
                        raise RequestTimeoutError(wait.late, expected=expected, found=wait.found)
                    continue
                _waits[thread] = wait
                # What comes, and what takes it away, wakes this thread; that nobody is left does not.
                asked = None if wait.comes() else hopeless
                self._changed.wait(waiter, None if asked is None else slice)
                if asked is not None and not wait.comes():
                    # Others may have taken their steps before they were asked about, and wait for this thread now.
                    if asked() and not wait.comes():
                        what = "waiting would never end: no other thread of this program can change it"
                        raise UsageError(what, expected=wait.expected, found=wait.found, hint=wait.hint)
                    slice = min(max(2 * slice, _ASKED_AGAIN), _ASKED_EVERY)
        finally:
            _waits.pop(thread, None)


_waits: dict[int, Wait] = {}
_latest_step = object()


def latest_step() -> object:
    """A new object after each step: who finds the same one twice knows that none was taken between."""
    return _latest_step


def waits_for_others(thread: int) -> bool:
    """Whether a thread, by its identifier, waits for a step that only a call of another thread can make possible."""
    wait = _waits.get(thread)
    return wait is not None and not wait.comes()


if hasattr(os, "register_at_fork"):
    # Of those who waited, none is in the new process.
    os.register_at_fork(after_in_child=_waits.clear)
