"""Waiting that a signal handler may interrupt, and a fork cut off, at any point: nothing stays locked.

`threading.Condition` and `Event` do not promise that: KeyboardInterrupt that arrives while they take or return their
own lock leaves it locked, and whoever needs it next waits for ever. Bounded queues are made of steps of a `Monitor`.
"""

import ctypes
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from time import monotonic, sleep
from typing import NamedTuple, Protocol, TypeVar
from weakref import WeakSet

from tilewright.errors import RequestTimeoutError, UsageError

Hopeless = Callable[[], bool]
"""Tells one who waits without a limit of time whether nobody is left who could end it."""

_ASKED_AGAIN, _ASKED_EVERY = 0.005, 0.04
"""Seconds after which it is asked a second time, and after some doubling from then on: threads end without telling."""


class LeftBehind(Protocol):
    """What a forked process puts right before anything else happens in it.

    Only the thread that forked is left there: what others had begun never goes on, and their locks stay locked."""

    def leave_behind(self) -> None: ...


_forked: WeakSet[LeftBehind] = WeakSet()
_held: list[threading.RLock] = []  # pyright: ignore[reportGeneralTypeIssues]


def at_fork(each: LeftBehind) -> None:
    """Have something put right in forked processes for as long as it lives, in no order with others."""
    _forked.add(each)


def hold_while_forking(lock: threading.RLock) -> None:  # pyright: ignore[reportGeneralTypeIssues]
    """Have forks wait until nobody holds a lock, but for the thread that forks."""
    _held.append(lock)


def _before_fork() -> None:
    for lock in _held:
        lock.acquire()


def _after_fork() -> None:
    for lock in _held:
        lock.release()


def _in_child() -> None:
    _after_fork()
    _waits.clear()
    for each in list(_forked):
        each.leave_behind()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_in_child)


class Guard:
    """A lock that nobody holds in a forked process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        at_fork(self)

    def leave_behind(self) -> None:
        """In a forked process."""
        self.lock = threading.Lock()


class Waiters:
    """Threads that wait until they are woken, each on a lock of its own."""

    def __init__(self) -> None:
        self._locks: list[threading.Lock] = []

    def enter(self) -> threading.Lock:
        """Begin to wait: `wake` counts from here on. The lock is for `wait`, which must follow."""
        lock = threading.Lock()
        lock.acquire()
        self._locks.append(lock)
        return lock

    def wait(self, lock: threading.Lock, timeout: float | None = None) -> None:
        """Return when woken, or after `timeout` seconds."""
        try:
            lock.acquire(timeout=-1 if timeout is None else min(max(timeout, 0), threading.TIMEOUT_MAX))
        finally:
            self._locks.remove(lock)

    def wake(self) -> None:
        """Wake all. Who was interrupted in here may call it again."""
        for lock in tuple(self._locks):
            # It has been woken already.
            with suppress(RuntimeError):
                lock.release()


class Latch:
    """Closed until it is opened for good."""

    def __init__(self) -> None:
        self.is_open = False
        self._waiters = Waiters()

    def open(self) -> None:
        """Open it and wake all who wait."""
        self.is_open = True
        self._waiters.wake()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is open, for at most `timeout` seconds; whether it is."""
        lock = self._waiters.enter()
        # Asked after entering: whoever opens it later wakes this thread.
        self._waiters.wait(lock, 0 if self.is_open else timeout)
        return self.is_open


class Wait(NamedTuple):
    """What one waits for: whether it comes without a call of another thread, and the words when it does not.

    `late` is the sentence for what is still so when the time is over, `hint` for who waits without end."""

    comes: Callable[[], bool]
    late: str = ""
    expected: str = ""
    found: str = ""
    hint: str = ""


class Monitor(Guard):
    """A lock, and those who wait for what others do under it; in a forked process nobody waits.

    Ctrl-C ends every wait.
    ``lock``: held by whoever changes what others wait for."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = Waiters()

    def leave_behind(self) -> None:
        """In a forked process."""
        super().leave_behind()
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


def start(thread: threading.Thread) -> None:
    """Start a thread. Raises RuntimeError: none can be started, such as while the interpreter ends: CPython before 3.12
    would wait for it for ever."""
    if sys.is_finalizing():
        raise RuntimeError("the interpreter ends")
    thread.start()


Result = TypeVar("Result")


class Asked:
    """Tells a computation whether it has been abandoned: nobody waits for its result any more.
    ``flag``: not 0 from then on; also for native code, which looks while it runs."""

    def __init__(self) -> None:
        self.flag = ctypes.c_int32(0)

    def __call__(self) -> bool:
        return self.flag.value != 0


class Abandoned(Exception):
    """Ends a computation that has been abandoned."""


def compute_aside(compute: Callable[[Asked | None], Result]) -> Result:
    """What `compute` returns or raises, computed by a thread of its own while this one waits.

    An exception that a signal handler raises here, such as KeyboardInterrupt, goes out at once. The computation is then
    abandoned: it ends where it asks, and everything that it refers to lives until then. It does not keep the process
    from ending. Where no thread can be started, it is computed on this one, and is never abandoned."""
    results, errors = list[Result](), list[BaseException]()
    finished, abandoned = Latch(), Asked()

    def work() -> None:
        try:
            results.append(compute(abandoned))
        except BaseException as error:
            errors.append(error)
        finally:
            finished.open()

    thread = threading.Thread(target=work, name="tilewright-run", daemon=True)
    try:
        start(thread)
        finished.wait()
    except BaseException as error:
        abandoned.flag.value = 1
        if isinstance(error, RuntimeError) and thread.ident is None:
            return compute(None)
        raise
    if errors:
        raise errors.pop()  # The traceback refers to this frame, which must not refer to it.
    return results.pop()


class Watchdog:
    """Abandons what the main thread itself computes for longer than some seconds: a thread looks while there are such
    computations, which costs these nothing, where a thread for each costs tens of microseconds."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._asked: Asked | None = None
        self._thread: threading.Thread | None = None

    def attempt(self, compute: Callable[[Asked], Result]) -> Result:
        """What `compute` returns or raises; `Abandoned` where it took too long, or no thread can be started."""
        # A signal handler may compute in the middle of another computation, which is watched again afterwards.
        outer, asked = self._asked, Asked()
        try:
            self._asked = asked
            thread = self._thread
            if thread is None or not thread.is_alive():
                self._thread = thread = threading.Thread(target=self._look, name="tilewright-watchdog", daemon=True)
                try:
                    start(thread)
                except RuntimeError:
                    # Otherwise a signal handler has raised it.
                    if thread.ident is None:
                        raise Abandoned from None
                    raise
            return compute(asked)
        finally:
            self._asked = outer

    def _look(self) -> None:
        while True:
            seen = self._asked
            sleep(self.seconds)
            if seen is None:
                self._thread = None  # Who saw it before computes by now, or is done.
                if self._asked is None:
                    return
            elif seen is self._asked:
                seen.flag.value = 1
