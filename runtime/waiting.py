"""Waiting that a signal handler may interrupt, and a fork cut off, at any point: nothing stays locked.

`threading.Condition` and `Event` do not promise that: KeyboardInterrupt that arrives while they take or return their
own lock leaves it locked, and whoever needs it next waits for ever.
"""

from __future__ import annotations

import threading
from contextlib import suppress


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
    """Closed until it is opened for good.

    Attributes:
        is_open: whether it has been.
    """

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
