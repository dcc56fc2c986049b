"""The two queues of a device, and the thread that stands for it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator

from ....monitor import Monitor, Wait
from ..refusal import Refusal
from ..return_codes import ApiReturnCode
from .job import Job, Result

INPUTS, RESULTS = 3, 3
"""Buffers of a device, unless its memory is shared out otherwise."""

Compute = Callable[[Job], Iterator[Result]]

_IDLE = Wait(lambda: True, "", "", "", "")
"""A worker's: whatever happens wakes it."""


class Lane:
    """A device at work: images that wait, the one that is inferred, and results that nobody has received.

    All attributes and methods are for who holds the lock of the monitor, `work` apart.

    Args:
        monitor: of the group that the device belongs to.
        compute: gives the results of a job one after the other, and raises nothing; called by the thread of this lane.

    Attributes:
        waiting: jobs that have not begun.
        running: the one that has.
        results: in order.
        inputs, room: how many buffers there are for jobs and for results.
    """

    def __init__(self, monitor: Monitor, compute: Compute) -> None:
        self._monitor = monitor
        self._compute = compute
        self._worker: threading.Thread | None = None
        self._closed = False
        self.waiting: deque[Job] = deque()
        self.running: Job | None = None
        self.results: deque[Result] = deque()
        self.inputs, self.room = INPUTS, RESULTS

    def has_room(self) -> bool:
        """Whether another job may come."""
        return len(self.waiting) + (self.running is not None) < self.inputs

    def goes_on(self) -> bool:
        """Whether room for jobs comes without anybody's taking results."""
        return len(self.results) < self.room

    def put(self, job: Job) -> None:
        """Append a job, and see to it that somebody works.

        Raises:
            Refusal: `KP_ERROR_MEMORY_ALLOCATION_FAILURE_9`, no thread can be started.
        """
        if self._worker is None or not self._worker.is_alive():
            self._start_worker()
        self.waiting.append(job)

    def _start_worker(self) -> None:
        self._worker = threading.Thread(target=self.work, name="tilewright-kp-device", daemon=True)
        try:
            self._worker.start()
        except RuntimeError as error:
            self._worker = None
            code = ApiReturnCode.KP_ERROR_MEMORY_ALLOCATION_FAILURE_9
            raise Refusal(code, f"no thread can be started for a device: {error}") from error

    def clear(self) -> None:
        """Forget all jobs and results; what is being inferred has no result."""
        self.waiting.clear()
        self.results.clear()
        self.running = None

    def leave_behind(self, error: Refusal) -> None:
        """In a forked process, which has no worker: what has not been inferred fails."""
        left = [*([] if self.running is None else [self.running]), *self.waiting]
        self.waiting.clear()
        self.running = self._worker = None
        self.results.extend(Result(job, 0, True, b"", error=error) for job in left)

    def close(self) -> threading.Thread | None:
        """End the worker when it has done what it is at; who it is."""
        self.clear()
        self._closed = True
        return self._worker

    def work(self) -> None:
        """Infer what comes until the lane is closed."""
        while (job := self._next()) is not None:
            for result in self._compute(job):
                if not self._deliver(result):
                    break
            del job

    def _next(self) -> Job | None:
        found: list[Job | None] = []

        def take() -> bool:
            if self._closed or threading.current_thread() is not self._worker:
                found.append(None)
            # As the firmware does it: a job begins when there is a buffer for its result.
            elif self.running is None and self.waiting and len(self.results) < self.room:
                self.running = self.waiting.popleft()
                found.append(self.running)
            return bool(found)

        self._monitor.step(take, _IDLE)
        return found[0]

    def _deliver(self, result: Result) -> bool:
        """Put a result where it is received; whether the job is still wanted."""
        wanted: list[bool] = []

        def append() -> bool:
            if self.running is not result.job:
                wanted.append(False)
            elif len(self.results) < self.room:
                self.results.append(result)
                if result.is_last:
                    self.running = None
                wanted.append(True)
            return bool(wanted)

        self._monitor.step(append, _IDLE)
        return wanted[0]
