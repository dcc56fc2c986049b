"""The bounded queue of requests, with its workers.

It stands apart from them because they are futures, and importing these takes a twentieth of a fresh process's time.
"""

from __future__ import annotations

import atexit
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from tilewright.errors import ResourceError, UsageError

from .waiting import Monitor, Wait, at_fork, start

if TYPE_CHECKING:
    from .request import Request


class RequestQueue:
    """Requests waiting for a fixed number of worker threads, which start with the first requests.

    A process that is forked off has a queue of its own, empty and without workers until the next request; what waited
    or ran when it was forked fails there.

    Args:
        workers: how many requests run at once.
        length: how many may wait.
        monitor: what is waited for with; by default one of its own.
        may_begin: whether the request that waits longest may run; asked under the lock of the monitor, after its steps.

    Attributes:
        waiting: requests that have not begun; for who holds the lock of the monitor.
    """

    def __init__(
        self, workers: int, length: int, monitor: Monitor | None = None, may_begin: Callable[[], bool] = lambda: True
    ) -> None:
        self._workers = workers
        self._length = length
        self._monitor = monitor or Monitor()
        self._may_begin = may_begin
        self._full = Wait(lambda: True, late="the queue is full", expected="room", found=f"{length} requests waiting")
        self._closed = False
        self._cancels = False
        self._start_anew()
        _queues.add(self)
        at_fork(self)

    def _start_anew(self) -> None:
        self._threads: list[threading.Thread] = []
        self.waiting: deque[Request[Any]] = deque()
        self._requests: WeakSet[Request[Any]] = WeakSet()

    def leave_behind(self) -> None:
        """In a forked process: be a queue of this process. Only the thread that forked is left, wherever it is."""
        left = list(self._requests)
        self._start_anew()
        for request in left:
            request.leave_behind()

    def put(self, request: Request[Any], timeout: float | None) -> None:
        """Append a request, waiting for room for at most `timeout` seconds.
        Raises RequestTimeoutError: there was no room within the time; a callback, which occupies a worker, never waits;
        ResourceError: there is no worker, and no thread can be started; UsageError: the queue is closed."""

        def append() -> bool:
            if self._closed:
                raise UsageError("the session is closed")
            if len(self.waiting) >= self._length:
                # Where Ctrl-C cuts this off, as anywhere, none is lost.
                self.waiting = deque(each for each in self.waiting if not each.done())
            if len(self.waiting) >= self._length:
                return False
            self.add(request)
            return True

        self._monitor.step(append, self._full, 0 if self.computes_here() else timeout)

    def computes_here(self) -> bool:
        """Whether the calling thread is one of the workers, in a callback or in what it computes."""
        return threading.current_thread() in self._threads

    def adopt(self, request: Request[Any]) -> None:
        """Have a request fail in forked processes even before it is put."""
        self._requests.add(request)

    def add(self, request: Request[Any]) -> None:
        """Append a request, room or not, in a step of the monitor.
        Raises ResourceError: there is no worker, and no thread can be started."""
        # Some may have ended, or never begun, because of Ctrl-C while they were started.
        self._threads[:] = [thread for thread in self._threads if thread.is_alive()]
        if len(self._threads) < self._workers:
            self._start_worker()
        self.adopt(request)
        self.waiting.append(request)

    def _start_worker(self) -> None:
        name = f"tilewright-worker-{len(self._threads)}"
        thread = threading.Thread(target=self._work, args=(self._threads,), name=name, daemon=True)
        self._threads.append(thread)
        try:
            start(thread)
        except RuntimeError as error:
            self._threads.remove(thread)
            if not self._threads:
                raise ResourceError(
                    f"no thread can be started to run requests: {error}",
                    stage="submit",
                    hint="Use run, or end other threads first.",
                ) from error

    def _work(self, threads: list[threading.Thread]) -> None:
        while (request := self._next(threads)) is not None:
            if self._cancels:
                request.cancel()
            request.execute()
            del request
        # A process ends with its last thread, and the callback may have made it submit requests.
        if threads is not self._threads:
            close_all()

    def _next(self, threads: list[threading.Thread]) -> Request[Any] | None:
        """What waits longest, when there is something; None when the calling worker has to end."""
        found: list[Request[Any] | None] = []

        def take() -> bool:
            # A callback may fork: in the new process, this thread is none of the queue's.
            if threads is not self._threads or threading.current_thread() not in threads:
                found.append(None)
            elif self.waiting and self._may_begin():
                found.append(self.waiting.popleft())
            elif self._closed and not self.waiting:
                found.append(None)
            return bool(found)

        self._monitor.step(take, self._full)
        return found[0]

    @property
    def closed(self) -> bool:
        """Whether it accepts nothing more."""
        return self._closed

    def end(self) -> None:
        """Have the workers end when nothing waits, and accept nothing more."""
        with self._monitor.lock:
            self._closed = True
            self._monitor.wake()

    def close(self) -> None:
        """Cancel what waits, let what runs finish, and end the workers. Idempotent."""
        # What waits stays where it is: should this be interrupted, the workers go on with it.
        self._cancels = True
        self.end()
        for request in tuple(self.waiting):
            request.cancel()
        # A callback may close the session: its worker waits for none, not even for others that may be doing the same.
        for thread in () if self.computes_here() else tuple(self._threads):
            if thread.is_alive():
                thread.join()


_queues: WeakSet[RequestQueue] = WeakSet()


def close_all() -> None:
    """Close the queues of this process."""
    for queue in list(_queues):
        queue.close()


atexit.register(close_all)
