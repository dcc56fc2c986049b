"""A group of devices that programs use as one: jobs go to them in turn, results come in the order of the jobs."""

from __future__ import annotations

import atexit
from collections.abc import Callable, Sequence
from copy import copy
from functools import partial
from typing import TypeVar
from weakref import WeakSet

from tilewright.errors import RequestCancelledError, RequestTimeoutError, ResourceError, UsageError

from ....in_order import Ordered, Submission
from ....request import Request
from ....request_queue import RequestQueue
from ....waiting import Wait
from ...deadlock import nobody_else
from ..enums import ApiReturnCode
from ..exceptions import Refusal
from ..values.descriptors import DdrManageAttributes
from .device import FirmwareLog, VirtualDevice
from .jobs import Job, Result, result_of
from .models import Loaded

INPUT_SIZE = 3840 * 2160 * 2 + 1024
"""Bytes of an input buffer, unless memory is shared out otherwise: an image of two bytes a pixel, and its header."""

INPUTS, RESULTS = 3, 3
"""Buffers of a device, unless its memory is shared out otherwise."""

T = TypeVar("T")


class Lane:
    """A device at work; for who holds the lock of its group's monitor.
    ``device``: which.
    ``queue``: what it has not begun: as the firmware does it, a crop box begins when there is a buffer for its result.
    ``inputs``, ``room``: how many buffers there are for jobs and for results."""

    def __init__(self, group: Group, device: VirtualDevice) -> None:
        self._group = group
        self.device = device
        self.queue = RequestQueue(1, 0, group.monitor, self.goes_on)
        self.inputs, self.room = INPUTS, RESULTS

    def results(self) -> int:
        """How many results nobody has received."""
        return sum(request.done() for each in self._sent() for part in list(each.parts) for request in part)

    def has_room(self) -> bool:
        """Whether another job may come: one takes a buffer until its last result is there."""
        return sum(not each.tag[1][-1].done() for each in self._sent()) < self.inputs

    def goes_on(self) -> bool:
        """Whether room for jobs comes without anybody's taking results."""
        return self.results() < self.room

    def oldest(self) -> Submission[Sent] | None:
        """The job that has waited longest."""
        return next((each for each in self._sent() if each.tag[1][0] in self.queue.waiting), None)

    def _sent(self) -> list[Submission[Sent]]:
        return [each for each in list(self._group.submissions) if each.tag[0] is self]


Sent = tuple[Lane, list[Request[Result]]]
"""Where a job went, and the request of each of its crop boxes."""


class Group(Ordered[Sent]):
    """Connected devices of one product.

    Attributes:
        devices: in the order in which they take turns.
        timeout: milliseconds after which sending and receiving end; 0 for as long as it takes.
        loaded: what models each device has; None before any were loaded.
        log: what the program hears of the devices.
    """

    def __init__(self, devices: Sequence[VirtualDevice]) -> None:
        super().__init__()
        self.devices = tuple(devices)
        self.timeout = 0
        self.loaded: tuple[Loaded, ...] | None = None
        self.log = FirmwareLog()
        self.lanes = tuple(Lane(self, device) for device in devices)
        self._memory: DdrManageAttributes | None = None
        self._next = 0
        self._drops_frames = False
        # Waits that began before it changed end.
        self._reset = object()
        self._ended: str | None = None
        _all.add(self)

    def turn(self) -> int:
        """The number of the device that the next job is for. It is the next one's turn even if nothing is sent then."""
        with self.monitor.lock:
            turn, self._next = self._next, (self._next + 1) % len(self.lanes)
            return turn

    def send(self, turn: int, job: Job) -> None:
        """Give a job to a device.
        Raises Refusal: `KP_ERROR_USB_TIMEOUT_N7`, there was no room within the time; `KP_ERROR_USB_INTERRUPTED_N10`,
        the group was reset; `KP_ERROR_USB_NO_DEVICE_N4`, it was disconnected, or its devices are gone."""
        lane, began = self.lanes[turn], self._reset
        requests = [Request(partial(self._infer, lane, job, box), self.computed) for box in range(len(job.crops))]
        submission = Submission([[request] for request in requests], (lane, requests))

        def enters() -> bool:
            self._check(began)
            if not lane.has_room() and not self._drop_oldest(lane):
                return False
            for request in requests:
                lane.queue.add(request)
            return True

        wait = Wait(
            lane.goes_on,
            late="there is no room yet",
            expected="a free buffer of the device",
            found=f"images in all {lane.inputs}",
            hint="Receive results, on this thread or on another, before more is sent.",
        )
        try:
            self._wait(lambda timeout: self.enter(submission, enters, wait, timeout, nobody_else))
        except BaseException:
            self.withdraw(submission)
            raise

    def _infer(self, lane: Lane, job: Job, box: int) -> Result:
        result = result_of(job, box)
        self.log.write(lane.device, result)
        return result

    def _drop_oldest(self, lane: Lane) -> bool:
        """Make room by giving up the image that has waited longest; whether frames may be dropped at all."""
        if self._drops_frames and (oldest := lane.oldest()) is not None:
            for request in oldest.tag[1]:
                lane.queue.waiting.remove(request)
            self.submissions.remove(oldest)
        return self._drops_frames

    def receive(self) -> Result:
        """The next result.
        Raises Refusal: `KP_ERROR_USB_TIMEOUT_N7`, there was none within the time; `KP_ERROR_USB_INTERRUPTED_N10`, the
        process that this one was forked from had sent what it is of; otherwise as `send`."""
        began = self._reset
        wait = Wait(
            lambda: bool(self.submissions),
            late="there is nothing yet",
            expected="a result",
            found="nothing sent" if not self.submissions else "none ready",
            hint="Send something before results are waited for.",
        )
        (request,), _ = self._wait(lambda timeout: self.take(lambda: self._check(began), wait, timeout, nobody_else))
        try:
            return request.result()
        except RequestCancelledError as error:
            code = ApiReturnCode.KP_ERROR_USB_INTERRUPTED_N10
            raise Refusal(code, "it was sent by the process that this one was forked from") from error

    def _wait(self, call: Callable[[float | None], T]) -> T:
        try:
            return call(self.timeout / 1000 if self.timeout else None)
        except ResourceError as error:
            raise Refusal(ApiReturnCode.KP_ERROR_MEMORY_ALLOCATION_FAILURE_9, error.message) from error
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
        with self.monitor.lock:
            self._check(self._reset)
            self._drops_frames = drops
            self.monitor.wake()

    def share_out(self, attributes: DdrManageAttributes) -> None:
        """Say how the memory of the devices is shared out, unless that has been said before."""
        with self.monitor.lock:
            self._check(self._reset)
            self._memory = self._memory or copy(attributes)

    def load(self, loaded: Sequence[Loaded]) -> None:
        """Take these models for those of the devices.
        Raises Refusal: `KP_ERROR_FIFOQ_SETTING_FAILED_43`, a result does not fit the memory that was shared out for
        it."""
        with self.monitor.lock:
            self._check(self._reset)
            memory = self._memory or DdrManageAttributes()
            largest = max(model.raw_size for each in loaded for model in each.models.values())
            if memory.result_buffer_size and memory.result_buffer_size < largest:
                code = ApiReturnCode.KP_ERROR_FIFOQ_SETTING_FAILED_43
                expected, found = f"result_buffer_size of {largest}", memory.result_buffer_size
                raise Refusal(code, "results do not fit their buffers", expected=expected, found=found)
            self.loaded = tuple(loaded)
            for lane in self.lanes:
                lane.inputs, lane.room = memory.input_buffer_count or INPUTS, memory.result_buffer_count or RESULTS
            self.monitor.wake()

    @property
    def input_size(self) -> int:
        """Bytes of an input buffer, header and image."""
        return (self._memory.input_buffer_size if self._memory else 0) or INPUT_SIZE

    @property
    def inputs(self) -> int:
        """How many buffers for inputs each device has."""
        return self.lanes[0].inputs

    def check_open(self) -> None:
        """Refuse what is done with a group that was disconnected, or whose devices are gone."""
        with self.monitor.lock:
            self._check(self._reset)

    def reset(self) -> None:
        """Empty all queues; who waits for them gets an error."""
        with self.monitor.lock:
            self._check(self._reset)
            self._reset = object()
            self._clear()

    def end(self, reason: str) -> None:
        """Empty all queues for good: calls that wait, or come, get an error. What is inferred comes to its end."""
        with self.monitor.lock:
            self._ended = self._ended or reason
            self._clear()
        for lane in self.lanes:
            lane.queue.end()

    def _clear(self) -> None:
        self.submissions.clear()
        self._next = 0
        for lane in self.lanes:
            lane.queue.waiting.clear()
        self.monitor.wake()


_all: WeakSet[Group] = WeakSet()


@atexit.register
def _end_all() -> None:
    """Before the workers, whose queues end later, compute what is sent now."""
    for group in list(_all):
        group.end("the program has ended")
