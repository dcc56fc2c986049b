"""Runs on this machine as a trace: requests as they wait and run, the steps of each, and the threads that compute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import get_ident
from time import perf_counter
from typing import NamedTuple

import numpy as np

from ..profile import StepTime
from ..request import Outputs, Request, RequestQueue
from ..session import Session
from .trace import Slice, Trace, Track


class TracedRequest(NamedTuple):
    """A request and its outputs; ``submitted``, ``started`` and ``finished`` in seconds of `time.perf_counter`."""

    outputs: Outputs
    steps: list[StepTime]
    submitted: float
    started: float
    finished: float
    thread: int


def traced_requests(
    session: Session, inputs: Mapping[str, np.ndarray], requests: int, workers: int
) -> list[TracedRequest]:
    """Run requests, all submitted at once, after one that is not told of: it makes what others find.

    Args:
        requests: how many, at least 1.
        workers: how many run at a time.
    """

    def compute() -> TracedRequest:
        started = perf_counter()
        outputs, steps = session.run_timed(inputs)
        return TracedRequest(outputs, steps, 0.0, started, perf_counter(), get_ident())

    session.run_timed(inputs)
    queue, submitted = RequestQueue(workers, requests), list[tuple[float, Request[TracedRequest]]]()
    try:
        for _ in range(requests):
            submitted.append((perf_counter(), Request(compute)))
            queue.put(submitted[-1][1], None)
        return [request.result()._replace(submitted=time) for time, request in submitted]
    finally:
        queue.close()


def write_run_trace(path: Path, session: Session, requests: Sequence[TracedRequest]) -> int:
    """Write the trace of requests, which begins when the first is submitted; the bytes of the file.

    Raises:
        OutputError: it cannot be written.
    """
    drawn = _RunTrace(min(request.submitted for request in requests))
    for number, request in enumerate(requests):
        drawn.add(number, request)
    drawn.add_helpers()
    about = {
        "model": session.artifact.manifest.model.name,
        "engine": session.engine,
        "times": "measured on this machine, each step called alone; on the engine device they are the simulator's",
    }
    return drawn.trace.write(path, about)


class _RunTrace:
    def __init__(self, begin: float) -> None:
        self.trace, self._begin = Trace(), begin
        self._requests, self._threads = self.trace.process("requests"), self.trace.process("threads")
        self._workers: dict[int, Track] = {}
        self._helped: dict[int, list[tuple[int, int, str, Slice]]] = {}

    def _at(self, seconds: float) -> int:
        return round((seconds - self._begin) * 1e9)

    def add(self, number: int, request: TracedRequest) -> None:
        """Draw a request on a track of its own, and what its thread does for it."""
        title, own = f"request {number}", self.trace.track(self._requests, f"request {number}")
        submitted, started, finished = map(self._at, request[2:5])
        waits = self.trace.slice(own, "waits", "request", submitted, started)
        self.trace.slice(own, "runs", "request", started, finished)
        if request.thread not in self._workers:
            name = f"worker {len(self._workers)}"
            self._workers[request.thread] = self.trace.track(self._threads, name)
        worker = self._workers[request.thread]
        runs = self.trace.slice(worker, title, "request", started, finished)
        self.trace.arrow("request", waits, runs, started, started)
        for time in request.steps:
            begun, ended = self._at(time.start), self._at(time.start + time.milliseconds / 1e3)
            step = self.trace.slice(worker, time.step.name, "step", begun, ended, _facts(time))
            for helper in time.helpers:
                self._helped.setdefault(helper, []).append((begun, ended, time.step.name, step))

    def add_helpers(self) -> None:
        """Draw the helpers of all steps: called, which does not say that each found work."""
        for number, helped in sorted(self._helped.items()):
            track = self.trace.track(self._threads, f"helper {number}")
            helped.sort(key=lambda call: call[:2])
            nexts = [*(call[0] for call in helped[1:]), helped[-1][1]]
            for (begun, ended, name, step), following in zip(helped, nexts, strict=True):
                # Another step may have called it before this one's end was noted.
                called = self.trace.slice(track, name, "help", begun, min(ended, following))
                self.trace.arrow("help", step, called, begun, begun)


def _facts(time: StepTime) -> dict[str, object]:
    step, seconds = time.step, time.milliseconds / 1e3
    facts: dict[str, object] = {"operator": step.op, "kernel": time.kernel, "threads": 1 + len(time.helpers)}
    if step.loc:
        facts["nodes"] = list(step.loc)
    if step.macs and seconds:
        facts |= {"multiply-accumulates": step.macs, "GMAC/s": round(step.macs / seconds / 1e9, 3)}
    return facts
