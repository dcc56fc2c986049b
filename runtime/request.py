"""Asynchronous requests: what the caller holds. `request_queue.py` has what runs them."""

import threading
from collections.abc import Callable, Generator
from concurrent.futures import CancelledError, Future, InvalidStateError
from time import monotonic
from typing import Any, TypeVar

from tilewright import errors
from tilewright.errors import RequestTimeoutError
from tilewright.limits import check_timeout

from .waiting import Abandoned, Asked, Latch

QUEUED, RUNNING, DONE, FAILED, CANCELLED = "queued", "running", "done", "failed", "cancelled"

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
