"""The two queues of a device, and the thread that stands for it.

A group of devices that programs use as one: jobs go to them in turn, results come in the order of the jobs.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from functools import partial
from threading import Thread
from weakref import WeakSet

from tilewright.errors import RequestTimeoutError, UsageError

from ....monitor import Monitor, Wait
from ...deadlock import nobody_else
from ..enums import ApiReturnCode
from ..exceptions import Refusal
from ..values.descriptors import DdrManageAttributes
from .device import FirmwareLog, VirtualDevice
from .jobs import Job, Result, results_of
from .models import Loaded

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


INPUT_SIZE = 3840 * 2160 * 2 + 1024
"""Bytes of an input buffer, unless memory is shared out otherwise: an image of two bytes a pixel, and its header."""


class Group:
    """Connected devices of one product.

    `InOrder`, which the other interfaces queue with, does not fit: here images wait before they are preprocessed and
    may be dropped, an image has several results that are received one by one, and jobs and results have buffers of
    their own. The waiting itself is the same.

    All methods may be called from many threads at once.

    Attributes:
        devices: in the order in which they take turns.
        timeout: milliseconds after which sending and receiving end; 0 for as long as it takes.
        loaded: what models each device has; None before any were loaded.
        log: what the program hears of the devices.
    """

    def __init__(self, devices: Sequence[VirtualDevice]) -> None:
        self.devices = tuple(devices)
        self.timeout = 0
        self.loaded: tuple[Loaded, ...] | None = None
        self.log = FirmwareLog()
        self._memory: DdrManageAttributes | None = None
        self._monitor = Monitor()
        self._lanes = tuple(Lane(self._monitor, partial(self._compute, device)) for device in devices)
        self._next = 0
        self._order: deque[tuple[Lane, Job]] = deque()
        self._drops_frames = False
        # Waits that began before it changed end.
        self._reset = object()
        self._ended: str | None = None
        _all.add(self)

    def _compute(self, device: VirtualDevice, job: Job) -> Iterator[Result]:
        for result in results_of(job):
            self.log.write(device, result)
            yield result

    def turn(self) -> int:
        """The number of the device that the next job is for. It is the next one's turn even if nothing is sent then."""
        with self._monitor.lock:
            turn, self._next = self._next, (self._next + 1) % len(self._lanes)
            return turn

    def send(self, turn: int, job: Job) -> None:
        """Give a job to a device.

        Raises:
            Refusal: `KP_ERROR_USB_TIMEOUT_N7`, there was no room within the time; `KP_ERROR_USB_INTERRUPTED_N10`, the
                group was reset; `KP_ERROR_USB_NO_DEVICE_N4`, it was disconnected, or its devices are gone.
        """
        lane, began = self._lanes[turn], self._reset
        entry = (lane, job)

        def put() -> bool:
            self._check(began)
            if not lane.has_room() and not self._drop_oldest(lane):
                return False
            lane.put(job)
            self._order.append(entry)
            return True

        wait = Wait(
            lane.goes_on,
            late="there is no room yet",
            expected="a free buffer of the device",
            found=f"images in all {lane.inputs}",
            hint="Receive results, on this thread or on another, before more is sent.",
        )
        try:
            self._step(put, wait)
        except BaseException:
            # Ctrl-C may come anywhere: what this raises for is not sent.
            with self._monitor.lock:
                if entry in self._order and job in lane.waiting:
                    lane.waiting.remove(job)
                    self._order.remove(entry)
            raise

    def _drop_oldest(self, lane: Lane) -> bool:
        """Make room by giving up the image that has waited longest; whether frames may be dropped at all."""
        if self._drops_frames and lane.waiting:
            dropped = lane.waiting.popleft()
            self._order.remove((lane, dropped))
        return self._drops_frames

    def receive(self) -> Result:
        """The next result.

        Raises:
            Refusal: `KP_ERROR_USB_TIMEOUT_N7`, there was none within the time; otherwise as `send`.
        """
        found: list[Result] = []
        began = self._reset

        def take() -> bool:
            self._check(began)
            if not self._order or not self._order[0][0].results:
                return False
            result = self._order[0][0].results.popleft()
            if result.is_last:
                self._order.popleft()
            found.append(result)
            return True

        wait = Wait(
            lambda: bool(self._order),
            late="there is nothing yet",
            expected="a result",
            found="nothing sent" if not self._order else "none ready",
            hint="Send something before results are waited for.",
        )
        self._step(take, wait)
        return found[0]

    def _step(self, step: Callable[[], bool], wait: Wait) -> None:
        timeout = self.timeout / 1000 if self.timeout else None
        try:
            self._monitor.step(step, wait, timeout, nobody_else)
        except (RequestTimeoutError, UsageError) as error:
            code = ApiReturnCode.KP_ERROR_USB_TIMEOUT_N7
            raise Refusal(code, error.message, expected=error.expected, found=error.found, hint=error.hint) from None

    def _check(self, began: object) -> None:
        if self._ended is not None:
            raise Refusal(ApiReturnCode.KP_ERROR_USB_NO_DEVICE_N4, self._ended)
        if self._reset is not began:
            code = ApiReturnCode.KP_ERROR_USB_INTERRUPTED_N10
            raise Refusal(code, "the queues of the devices were reset meanwhile")

    def set_frame_drop(self, drops: bool) -> None:
        """Whether sending makes room by dropping the oldest image that waits, instead of waiting itself."""
        with self._monitor.lock:
            self._check(self._reset)
            self._drops_frames = drops
            self._monitor.wake()

    def share_out(self, attributes: DdrManageAttributes) -> None:
        """Say how the memory of the devices is shared out, unless that has been said before."""
        with self._monitor.lock:
            self._check(self._reset)
            self._memory = self._memory or copy(attributes)

    def load(self, loaded: Sequence[Loaded]) -> None:
        """Take these models for those of the devices.

        Raises:
            Refusal: `KP_ERROR_FIFOQ_SETTING_FAILED_43`, a result does not fit the memory that was shared out for it.
        """
        with self._monitor.lock:
            self._check(self._reset)
            memory = self._memory or DdrManageAttributes()
            largest = max(model.raw_size for each in loaded for model in each.models.values())
            if memory.result_buffer_size and memory.result_buffer_size < largest:
                code = ApiReturnCode.KP_ERROR_FIFOQ_SETTING_FAILED_43
                expected, found = f"result_buffer_size of {largest}", memory.result_buffer_size
                raise Refusal(code, "results do not fit their buffers", expected=expected, found=found)
            self.loaded = tuple(loaded)
            for lane in self._lanes:
                lane.inputs, lane.room = memory.input_buffer_count or INPUTS, memory.result_buffer_count or RESULTS
            self._monitor.wake()

    @property
    def input_size(self) -> int:
        """Bytes of an input buffer, header and image."""
        return (self._memory.input_buffer_size if self._memory else 0) or INPUT_SIZE

    @property
    def inputs(self) -> int:
        """How many buffers for inputs each device has."""
        return self._lanes[0].inputs

    def check_open(self) -> None:
        """Refuse what is done with a group that was disconnected, or whose devices are gone."""
        with self._monitor.lock:
            self._check(self._reset)

    def reset(self) -> None:
        """Empty all queues; who waits for them gets an error."""
        with self._monitor.lock:
            self._check(self._reset)
            self._reset = object()
            self._clear()

    def end(self, reason: str) -> list[Thread]:
        """Empty all queues for good: every call that waits, or comes, gets an error. The threads that end."""
        with self._monitor.lock:
            self._ended = self._ended or reason
            self._clear()
            return [worker for lane in self._lanes if (worker := lane.close()) is not None]

    def _clear(self) -> None:
        self._order.clear()
        self._next = 0
        for lane in self._lanes:
            lane.clear()
        self._monitor.wake()

    def leave_behind(self) -> None:
        """In a forked process: only the thread that forked is left, and no device has one."""
        self._monitor.start_anew()
        code = ApiReturnCode.KP_ERROR_USB_INTERRUPTED_N10
        for lane in self._lanes:
            lane.leave_behind(Refusal(code, "it was sent by the process that this one was forked from"))


_all: WeakSet[Group] = WeakSet()


def _end_all() -> None:
    """Before the interpreter takes apart what devices compute with."""
    for worker in [worker for group in list(_all) for worker in group.end("the program has ended")]:
        if worker.is_alive():
            worker.join()


def _leave_behind() -> None:
    for group in list(_all):
        group.leave_behind()


atexit.register(_end_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_behind)
