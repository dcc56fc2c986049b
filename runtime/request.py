"""Asynchronous requests: what the caller holds, and the bounded queue with its workers."""

from __future__ import annotations

import atexit
import os
import threading
from collections import deque
from collections.abc import Callable
from time import monotonic
from weakref import WeakSet

import numpy as np

from tilewright.errors import RequestCancelledError, RequestTimeoutError, ResourceError, UsageError
from tilewright.limits import check_timeout

from .waiting import Latch, Waiters

QUEUED, RUNNING, DONE, FAILED, CANCELLED = "queued", "running", "done", "failed", "cancelled"

Outputs = dict[str, np.ndarray]
Callback = Callable[["Request"], object]


class Request:
    """One inference that runs in the background, with inputs and outputs of its own.

    `status` is ``queued``, ``running``, ``done``, ``failed`` or ``cancelled``; the last three are final. `started` and
    `finished` are when it began to run and ended, in seconds of `time.monotonic`, 0 before and if it was cancelled.
    """

    def __init__(self, inputs: list[np.ndarray], callback: Callback | None) -> None:
        self.status = QUEUED
        self.started = self.finished = 0.0
        self._inputs = inputs
        self._callback = callback
        self._outputs: Outputs | None = None
        self._error: BaseException | None = None
        self._finished = Latch()
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

    def result(self, timeout: float | None = None) -> Outputs:
        """Wait for the outputs, by name. They belong to the caller: no later run writes to them.

        Raises:
            RequestTimeoutError: it has not finished within `timeout` seconds; it goes on and can be asked again.
            RequestCancelledError: it was cancelled, or this process was forked off before it had finished.
            Exception: whatever went wrong while it ran.
        """
        if not self.wait(timeout):
            raise RequestTimeoutError("the request has not finished", expected=f"within {timeout} s", found=self.status)
        if self._error is not None:
            raise self._error
        assert self._outputs is not None
        return self._outputs

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

    def _finish_cancelled(self) -> None:
        self._finish(CANCELLED, None, RequestCancelledError("the request was cancelled before it ran"))

    def leave_behind(self) -> None:
        """In a process forked off before it had finished: fail, without the callback. Its locks may be locked."""
        if self.done():
            return
        self._lock, self._callback = threading.Lock(), None
        error = RequestCancelledError(
            "the request belongs to the process that this one was forked from",
            found=f"it was {self.status}",
            hint="Submit it again in this process.",
        )
        self._finish(CANCELLED, None, error)

    def execute(self, run: Callable[[list[np.ndarray]], Outputs]) -> None:
        """Run the request unless it has been cancelled; for the workers of its queue."""
        with self._lock:
            cancelled = self.status != QUEUED
            if not cancelled:
                self.status = RUNNING
        if cancelled:
            # Whoever began that may have been interrupted.
            if not self.done():
                self._finish_cancelled()
            return
        self.started = monotonic()
        try:
            outputs = run(self._inputs)
        except BaseException as error:
            self.finished = monotonic()
            self._finish(FAILED, None, error)
        else:
            self.finished = monotonic()
            self._finish(DONE, outputs, None)

    def _finish(self, status: str, outputs: Outputs | None, error: BaseException | None) -> None:
        self._inputs = []
        self._outputs, self._error, self.status = outputs, error, status
        self._finished.open()
        with self._lock:
            callback, self._callback = self._callback, None
        if callback is not None:
            try:
                callback(self)
            except BaseException as wrong:
                # The request itself is fine and its worker must go on; report as for any thread that fails.
                arguments = (type(wrong), wrong, wrong.__traceback__, threading.current_thread())
                threading.excepthook(threading.ExceptHookArgs(arguments))


class RequestQueue:
    """Requests waiting for a fixed number of worker threads, which start with the first requests.

    A process that is forked off has a queue of its own, empty and without workers until the next request; what waited
    or ran when it was forked fails there.

    Args:
        run: computes the outputs from checked inputs; called by several workers at a time.
        workers: how many requests run at once.
        length: how many may wait.
    """

    def __init__(self, run: Callable[[list[np.ndarray]], Outputs], workers: int, length: int) -> None:
        self._run = run
        self._workers = workers
        self._length = length
        self._closed = False
        self._cancels = False
        self._start_anew()
        _queues.add(self)

    def _start_anew(self) -> None:
        self._lock = threading.Lock()
        self._changed = Waiters()
        self._threads: list[threading.Thread] = []
        self._waiting: deque[Request] = deque()
        self._requests: WeakSet[Request] = WeakSet()

    def leave_behind(self) -> None:
        """In a forked process: be a queue of this process. Only the thread that forked is left, wherever it is."""
        left = list(self._requests)
        self._start_anew()
        for request in left:
            request.leave_behind()

    def put(self, request: Request, timeout: float | None) -> None:
        """Append a request, waiting for room for at most `timeout` seconds.

        Raises:
            RequestTimeoutError: there was no room within the time; a callback, which occupies a worker, never waits.
            ResourceError: there is no worker, and no thread can be started.
            UsageError: the queue is closed.
        """
        if threading.current_thread() in self._threads:
            timeout = 0
        end = None if timeout is None else monotonic() + timeout
        while True:
            with self._lock:
                if self._closed:
                    raise UsageError("the session is closed")
                if len(self._waiting) >= self._length:
                    self._discard_cancelled()
                if len(self._waiting) < self._length:
                    # Some may have ended, or never begun, because of Ctrl-C while they were started.
                    self._threads[:] = [thread for thread in self._threads if thread.is_alive()]
                    if len(self._threads) < self._workers:
                        self._start_worker()
                    self._requests.add(request)
                    self._changed.wake()
                    self._waiting.append(request)
                    return
                waiter = self._changed.enter()
            remaining = None if end is None else end - monotonic()
            self._changed.wait(waiter, remaining)
            if remaining is not None and remaining <= 0:
                raise RequestTimeoutError(
                    "the queue is full", expected=f"room within {timeout} s", found=f"{self._length} requests waiting"
                )

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

    def _discard_cancelled(self) -> None:
        for request in [request for request in self._waiting if request.done()]:
            self._waiting.remove(request)

    def _work(self, threads: list[threading.Thread]) -> None:
        while (request := self._next(threads)) is not None:
            if self._cancels:
                request.cancel()
            request.execute(self._run)
            del request
        # A process ends with its last thread, and the callback may have made it submit requests.
        if threads is not self._threads:
            close_all()

    def _next(self, threads: list[threading.Thread]) -> Request | None:
        """What waits longest, when there is something; None when the calling worker has to end."""
        while True:
            # A callback may fork: in the new process, this thread is none of the queue's.
            if threads is not self._threads:
                return None
            with self._lock:
                if threading.current_thread() not in threads:
                    return None
                if self._waiting:
                    self._changed.wake()
                    return self._waiting.popleft()
                if self._closed:
                    return None
                waiter = self._changed.enter()
            self._changed.wait(waiter)

    @property
    def closed(self) -> bool:
        """Whether it accepts nothing more."""
        return self._closed

    def end(self) -> None:
        """Have the workers end when nothing waits, and accept nothing more."""
        with self._lock:
            self._closed = True
            self._changed.wake()

    def close(self) -> None:
        """Cancel what waits, let what runs finish, and end the workers. Idempotent."""
        # What waits stays where it is: should this be interrupted, the workers go on with it.
        self._cancels = True
        self.end()
        for request in tuple(self._waiting):
            request.cancel()
        for thread in tuple(self._threads):
            # A callback may close the session: its own worker cannot be waited for.
            if thread is not threading.current_thread() and thread.is_alive():
                thread.join()


_queues: WeakSet[RequestQueue] = WeakSet()


def close_all() -> None:
    """Close the queues of this process."""
    for queue in list(_queues):
        queue.close()


def _leave_behind() -> None:
    for queue in list(_queues):
        queue.leave_behind()


atexit.register(close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_behind)
