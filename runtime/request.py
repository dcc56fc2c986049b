"""Asynchronous requests: what the caller holds, and the bounded queue with its workers."""

import atexit
import threading
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import CancelledError, Future, InvalidStateError
from time import monotonic
from typing import Any, TypeVar
from weakref import WeakSet

import numpy as np

from tilewright import errors
from tilewright.errors import RequestTimeoutError, ResourceError, UsageError
from tilewright.limits import check_timeout

from .waiting import Abandoned, Asked, Latch, Monitor, Wait, at_fork

QUEUED, RUNNING, DONE, FAILED, CANCELLED = "queued", "running", "done", "failed", "cancelled"

Outputs = dict[str, np.ndarray]
Result = TypeVar("Result")
Callback = Callable[["Request[Any]"], object]


class RequestCancelledError(errors.RequestCancelledError, CancelledError):
    """What futures raise as well; the errors that all import do without `concurrent.futures`."""


class Request(Future[Result]):
    """One inference that runs in the background, with inputs and outputs of its own.

    It is a `concurrent.futures.Future`: `asyncio.wrap_future`, ``await`` and `concurrent.futures.wait` take it. What
    was cancelled raises `RequestCancelledError` from `result`, which is a `concurrent.futures.CancelledError`, and
    `asyncio.CancelledError` where it is awaited.

    Args:
        compute: gives its result, when its turn comes; called once.
        callback: called with this when it has its final status, and not in a process that is forked off.

    `status` is ``queued``, ``running``, ``done``, ``failed`` or ``cancelled``; the last three are final. `started` and
    `finished` are when it began to run and ended, in seconds of `time.monotonic`, 0 before and if it was cancelled.

    Attributes:
        abandoned: tells what computes it that nobody waits any more.
        returned: open when the callback has returned as well.
        thread: the identifier of the thread that calls it, while it does.
    """

    def __init__(self, compute: Callable[[], Result], callback: Callback | None = None) -> None:
        super().__init__()
        self.status = QUEUED
        self.started = self.finished = 0.0
        self._compute: Callable[[], Result] | None = compute
        self._callback = callback
        self._outcome: list[Result] = []
        self._error: BaseException | None = None
        self._finished = Latch()
        self.abandoned = Asked()
        self.returned = Latch()
        self.thread: int | None = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<Request {self.status}{f': {self._error!r}' if self._error is not None else ''}>"

    def done(self) -> bool:
        """Whether the request has reached its final status."""
        return self._finished.is_open

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the final status for at most `timeout` seconds; whether it has been reached.

        Raises:
            UsageError: the timeout is no number.
        """
        check_timeout(timeout)
        return self._finished.wait(timeout)

    def result(self, timeout: float | None = None) -> Result:
        """Wait for the result, of a session the outputs by name, which are the caller's: no later run writes to them.

        Raises:
            RequestTimeoutError: it has not finished within `timeout` seconds; it goes on and can be asked again.
            RequestCancelledError: it was cancelled, or this process was forked off before it had finished.
            Exception: whatever went wrong while it ran.
        """
        error = self.exception(timeout)
        if error is not None:
            raise error
        return self._outcome[0]

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait as `result` does; what went wrong, None if nothing did.

        Raises:
            RequestTimeoutError: it has not finished within `timeout` seconds.
        """
        if not self.wait(timeout):
            raise RequestTimeoutError("the request has not finished", expected=f"within {timeout} s", found=self.status)
        return self._error

    def cancelled(self) -> bool:
        """Whether it was cancelled before it ran."""
        return self.status == CANCELLED

    def running(self) -> bool:
        """Whether it has begun and not finished."""
        return self.status == RUNNING

    def __await__(self) -> Generator[Any, None, Result]:
        from asyncio import wrap_future

        return wrap_future(self).__await__()

    @property
    def error(self) -> BaseException | None:
        """What went wrong; None while it has not finished and when it has succeeded."""
        return self._error

    def cancel(self) -> bool:
        """Prevent the request from running; False when it has begun or finished."""
        if self.done():
            return False
        with self._lock:
            if self.status != QUEUED:
                return False
            self.status = CANCELLED
        self._finish_cancelled()
        return True

    def abandon(self) -> None:
        """Prevent the request from running, or have a run that has begun end, and fail, at its next step."""
        self.abandoned.flag.value = 1
        self.cancel()

    def _finish_cancelled(self) -> None:
        self._finish(CANCELLED, [], RequestCancelledError("the request was cancelled before it ran"))

    def leave_behind(self) -> None:
        """In a process forked off before it had finished: fail, without the callback. Its locks may be locked."""
        if self.done():
            self.returned.open()
            return
        self._lock, self._callback = threading.Lock(), None
        # What waits for the future, and its callbacks, are of the other process.
        super().__init__()
        error = RequestCancelledError(
            "the request belongs to the process that this one was forked from",
            found=f"it was {self.status}",
            hint="Submit it again in this process.",
        )
        self._finish(CANCELLED, [], error)

    def execute(self) -> None:
        """Run the request unless it has been cancelled; for the workers of its queue."""
        with self._lock:
            compute, cancelled = self._compute, self.status != QUEUED
            if not cancelled:
                self.status = RUNNING
        if cancelled or compute is None:
            # Whoever began that may have been interrupted.
            if not self.done():
                self._finish_cancelled()
            return
        self.started = monotonic()
        try:
            result = [compute()]
        except BaseException as error:
            self.finished = monotonic()
            if isinstance(error, Abandoned):
                error = RequestCancelledError("the request was abandoned while it ran")
            self._finish(FAILED, [], error)
        else:
            self.finished = monotonic()
            self._finish(DONE, result, None)

    def _finish(self, status: str, result: list[Result], error: BaseException | None) -> None:
        self._compute = None
        self._outcome, self._error, self.status = result, error, status
        self._finished.open()
        self._tell_waiters(status, error)
        with self._lock:
            callback, self._callback = self._callback, None
        if callback is not None:
            self.thread = threading.get_ident()
            try:
                callback(self)
            except BaseException as wrong:
                # The request itself is fine and its worker must go on; report as for any thread that fails.
                arguments = (type(wrong), wrong, wrong.__traceback__, threading.current_thread())
                threading.excepthook(threading.ExceptHookArgs(arguments))
            finally:
                self.thread = None
        self.returned.open()

    def _tell_waiters(self, status: str, error: BaseException | None) -> None:
        """Finish as a future, too, whose own state is read by what waits for several."""
        try:
            if status == CANCELLED:
                super().cancel()
                self.set_running_or_notify_cancel()
            elif error is not None:
                self.set_exception(error)
            else:
                self.set_result(self._outcome[0])
        except (InvalidStateError, RuntimeError):
            # It was finished by someone else; its status is that of the request all the same.
            return


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

        Raises:
            RequestTimeoutError: there was no room within the time; a callback, which occupies a worker, never waits.
            ResourceError: there is no worker, and no thread can be started.
            UsageError: the queue is closed.
        """

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

        Raises:
            ResourceError: there is no worker, and no thread can be started.
        """
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
            thread.start()
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
