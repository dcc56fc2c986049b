"""Results in the order of their submissions, whichever is computed first.

What the documented interfaces have in common: programs put inputs with an object of their own, and get the results with
that object back, in the same order, perhaps on another thread.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import numpy as np

from tilewright.errors import UsageError

from .execution.buffers import Outputs
from .request import Request
from .session import Session
from .waiting import Hopeless, Monitor, Wait, at_fork

Tag = TypeVar("Tag")
Run = Mapping[str, np.ndarray] | tuple[Session, Mapping[str, np.ndarray]]
"""Inputs by name; in a pair with the session that is to compute them, if that is another."""


class Submission(Generic[Tag]):
    """What is put at once.

    Attributes:
        parts: the requests of each result that it has; a result is there when all of its requests have finished.
        tag: what belongs to the results.
        is_marker: whether it has a result without requests, which takes no room.
        is_complete: whether all requests are there.
    """

    def __init__(
        self, parts: Iterable[list[Request[Any]]], tag: Tag, *, is_marker: bool = False, is_complete: bool = True
    ) -> None:
        self.parts = deque(parts)
        self.tag = tag
        self.is_marker = is_marker
        self.is_complete = is_complete

    def ready(self) -> bool:
        """Whether the next result is there."""
        return self.is_complete and all(request.done() for request in self.parts[0])

    def cancel(self) -> None:
        """Have nothing of it computed that has not begun."""
        for request in [request for part in self.parts for request in part]:
            request.cancel()


class Ordered(Generic[Tag]):
    """Submissions that enter when there is room, and whose results are taken in the order in which they entered.

    All methods may be called from many threads at once; each result goes to one of those who wait for it. Ctrl-C ends
    every wait, and what was submitted stays as it is. In a process that is forked off, what had not been computed
    fails."""

    def __init__(self) -> None:
        self.monitor = Monitor()
        self.submissions: deque[Submission[Tag]] = deque()
        at_fork(self)

    def leave_behind(self) -> None:
        """In a forked process: only the thread that forked is left, and nothing of another is submitted to its end."""
        self.submissions = deque(each for each in self.submissions if each.is_complete)

    def enter(
        self,
        submission: Submission[Tag],
        enters: Callable[[], bool],
        wait: Wait,
        timeout: float | None,
        hopeless: Hopeless | None,
    ) -> None:
        """Append a submission as soon as it may enter. Where this or what follows raises, `withdraw` must be called.
        ``enters``: whether it does so now; under the lock of the monitor.
        ``wait``, ``timeout``, ``hopeless``: as for `Monitor.step`."""

        def step() -> bool:
            if not enters():
                return False
            self.submissions.append(submission)
            return True

        self.monitor.step(step, wait, timeout, hopeless)

    def withdraw(self, submission: Submission[Tag]) -> None:
        """Take out a submission wherever it is, as if it had never entered: Ctrl-C may come anywhere."""
        submission.cancel()
        with self.monitor.lock:
            if submission in self.submissions:
                self.submissions.remove(submission)
            self.monitor.wake()

    def take(
        self, check: Callable[[], None], wait: Wait, timeout: float | None, hopeless: Hopeless | None
    ) -> tuple[list[Request[Any]], Submission[Tag]]:
        """The requests of the next result, which have finished, and what it is a result of.
        ``check``: raises what ends the wait; under the lock of the monitor.
        ``wait``, ``timeout``, ``hopeless``: as for `Monitor.step`."""
        taken: list[tuple[list[Request[Any]], Submission[Tag]]] = []

        def step() -> bool:
            check()
            if not self.submissions or not self.submissions[0].ready():
                return False
            first = self.submissions[0]
            # One call takes out a result: Ctrl-C leaves no submission without any.
            if len(first.parts) > 1:
                taken.append((first.parts.popleft(), first))
            else:
                taken.append((first.parts[0], self.submissions.popleft()))
            return True

        self.monitor.step(step, wait, timeout, hopeless)
        return taken[0]

    def computed(self, request: Request[Any]) -> None:
        """Have all who wait look again: the callback of every request."""
        with self.monitor.lock:
            self.monitor.wake()


class InOrder(Ordered[Tag]):
    """Submissions to a session, of which so many may be untaken.
    ``session``: what computes; it stays open when this is closed. `put` also waits for room in its queue, if that is
    shorter than the runs in all buffers.
    ``buffers``: how many submissions there may be whose results have not been taken, end markers apart."""

    def __init__(self, session: Session, buffers: int = 2) -> None:
        super().__init__()
        self._session = session
        self._buffers = buffers
        self._closed = False

    def put(
        self, batch: Sequence[Run] | None, tag: Tag, timeout: float | None = None, hopeless: Hopeless | None = None
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
        requests: list[Request[Any]] = []
        submission = Submission([requests], tag, is_marker=batch is None, is_complete=batch is None)

        def enters() -> bool:
            self._check_open()
            return submission.is_marker or self._has_room()

        wait = Wait(
            self._has_room,
            late="there is no room yet",
            expected="a free buffer",
            found=f"results in all {self._buffers}",
            hint="Get results, on this thread or on another, before more is put.",
        )
        try:
            self.enter(submission, enters, wait, timeout, hopeless)
            for run in batch or ():
                session, inputs = run if isinstance(run, tuple) else (self._session, run)
                requests.append(session.submit(inputs, self.computed))
            with self.monitor.lock:
                self._check_open()
                submission.is_complete = True
                self.monitor.wake()
        except BaseException:
            self.withdraw(submission)
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
        wait = Wait(
            lambda: bool(self.submissions),
            late="there is nothing yet",
            expected="a result",
            found="nothing put" if not self.submissions else "none computed",
            hint="Put inputs before results are waited for.",
        )
        requests, submission = self.take(self._check_open, wait, timeout, hopeless)
        return None if submission.is_marker else [request.result() for request in requests], submission.tag

    def computing(self) -> bool:
        """Whether anything that was put is not computed yet."""
        with self.monitor.lock:
            return any(not each.ready() for each in self.submissions)

    def close(self) -> None:
        """Cancel what has not begun, and end every wait with an error. Idempotent."""
        with self.monitor.lock:
            self._closed = True
            left, self.submissions = self.submissions, deque()
            self.monitor.wake()
        for submission in left:
            submission.cancel()

    def _has_room(self) -> bool:
        return sum(not each.is_marker for each in list(self.submissions)) < self._buffers

    def _check_open(self) -> None:
        if self._closed:
            raise UsageError("the queue of results is closed")
