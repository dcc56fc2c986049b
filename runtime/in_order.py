"""Results in the order of their submissions, with a bounded number of submissions whose results nobody has taken.

What the documented interfaces have in common: programs put inputs with an object of their own, and get the results with
that object back, in the same order, perhaps on another thread.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar
from weakref import WeakSet

import numpy as np

from tilewright.errors import UsageError

from .monitor import Hopeless, Monitor, Wait
from .request import Outputs, Request
from .session import Session

Tag = TypeVar("Tag")
Run = Mapping[str, np.ndarray] | tuple[Session, Mapping[str, np.ndarray]]
"""Inputs by name; in a pair with the session that is to compute them, if that is another."""


class _Submission(Generic[Tag]):
    """One `put`; it has `requests` unless it is an end marker, and is `complete` when all of them are submitted."""

    def __init__(self, requests: list[Request] | None, tag: Tag) -> None:
        self.requests = requests
        self.tag = tag
        self.complete = requests is None

    def ready(self) -> bool:
        return self.complete and all(request.done() for request in self.requests or ())

    def cancel(self) -> None:
        for request in self.requests or ():
            request.cancel()


class InOrder(Generic[Tag]):
    """Submissions to a session whose results come in the order of `put`, whichever is computed first.

    All methods may be called from many threads at once; each result goes to one of those who wait for it. Ctrl-C ends
    every wait, and what was submitted stays as it is. In a process that is forked off, what had not been computed
    fails.

    Args:
        session: what computes; it stays open when this is closed. `put` also waits for room in its queue, if that is
            shorter than the runs in all buffers.
        buffers: how many submissions there may be whose results have not been taken, end markers apart.
    """

    def __init__(self, session: Session, buffers: int = 2) -> None:
        self._session = session
        self._buffers = buffers
        self._submissions: deque[_Submission[Tag]] = deque()
        self._closed = False
        self._monitor = Monitor()
        _all.add(self)

    def leave_behind(self) -> None:
        """In a forked process: only the thread that forked is left, and no `put` of another comes to its end."""
        self._monitor.start_anew()
        self._submissions = deque(each for each in self._submissions if each.complete)

    def put(
        self,
        batch: Sequence[Run] | None,
        tag: Tag,
        timeout: float | None = None,
        hopeless: Hopeless | None = None,
    ) -> None:
        """Submit inputs for one run or several; they are copied before this returns.

        Args:
            batch: the runs; None is an end marker, which takes no buffer and comes out of `get` in its turn.
            tag: comes out of `get` with the results.
            timeout: seconds to wait for a buffer, 0 for not at all; by default as long as it takes.
            hopeless: whether none can ever become free; asked again and again while this waits without a timeout.

        Raises:
            RequestTimeoutError: no buffer became free within the time.
            InputError: an input is unknown, missing, or of the wrong shape or dtype.
            ResourceError: this machine does not have enough memory, or cannot start a thread.
            UsageError: this or the session is closed; or waiting for a buffer is hopeless.
        """
        requests: list[Request] | None = None if batch is None else []
        submission = _Submission(requests, tag)

        def enter() -> bool:
            self._check_open()
            if requests is not None and not self._has_room():
                return False
            self._submissions.append(submission)
            return True

        wait = Wait(
            self._has_room,
            late="there is no room yet",
            expected="a free buffer",
            found=f"results in all {self._buffers}",
            hint="Get results, on this thread or on another, before more is put.",
        )
        try:
            self._monitor.step(enter, wait, timeout, hopeless)
            if batch is None or requests is None:
                return
            for run in batch:
                session, inputs = run if isinstance(run, tuple) else (self._session, run)
                requests.append(session.submit(inputs, self._computed))
            with self._monitor.lock:
                self._check_open()
                submission.complete = True
                self._monitor.wake()
        except BaseException:
            # Ctrl-C may come anywhere: what this raises for is not in the queue.
            submission.cancel()
            with self._monitor.lock:
                if submission in self._submissions:
                    self._submissions.remove(submission)
                self._monitor.wake()
            raise

    def get(self, timeout: float | None = None, hopeless: Hopeless | None = None) -> tuple[list[Outputs] | None, Tag]:
        """The results of the oldest submission, and its tag. Its buffer is free from then on.

        Args:
            timeout: seconds to wait for them, 0 for not at all; by default as long as it takes.
            hopeless: whether nothing can ever be put; asked again and again while this waits without a timeout and
                nothing has been.

        Returns:
            The outputs of each run in order of the batch, or None for an end marker; and the tag.

        Raises:
            RequestTimeoutError: they were not there within the time; they can be asked for again.
            UsageError: this is closed; or waiting for a submission is hopeless.
            RequestCancelledError: it had not been computed when this process was forked off.
            Exception: whatever went wrong in the worker. Here, too, its buffer is free.
        """
        taken: list[_Submission[Tag]] = []

        def take() -> bool:
            self._check_open()
            if not self._submissions or not self._submissions[0].ready():
                return False
            taken.append(self._submissions.popleft())
            return True

        wait = Wait(
            lambda: bool(self._submissions),
            late="there is nothing yet",
            expected="a result",
            found="nothing put" if not self._submissions else "none computed",
            hint="Put inputs before results are waited for.",
        )
        self._monitor.step(take, wait, timeout, hopeless)
        (submission,) = taken
        if submission.requests is None:
            return None, submission.tag
        return [request.result() for request in submission.requests], submission.tag

    def computing(self) -> bool:
        """Whether anything that was put is not computed yet."""
        return any(not each.ready() for each in tuple(self._submissions))

    def close(self) -> None:
        """Cancel what has not begun, and end every wait with an error. Idempotent."""
        with self._monitor.lock:
            self._closed = True
            left, self._submissions = self._submissions, deque()
            self._monitor.wake()
        for submission in left:
            submission.cancel()

    def _has_room(self) -> bool:
        return sum(each.requests is not None for each in list(self._submissions)) < self._buffers

    def _check_open(self) -> None:
        if self._closed:
            raise UsageError("the queue of results is closed")

    def _computed(self, request: Request) -> None:
        with self._monitor.lock:
            self._monitor.wake()


_all: WeakSet[InOrder] = WeakSet()


def _leave_behind() -> None:
    for each in list(_all):
        each.leave_behind()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_behind)
