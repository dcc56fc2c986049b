"""Traces of runs, measured or modelled, as Perfetto and Chromium show them: JSON of the Trace Event Format.

Its fields: https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU. A process groups tracks; a
track holds slices, which are apart or one inside the other; an arrow leads from inside one slice to inside another,
where it ends no earlier than it begins. Times are whole nanoseconds here, and microseconds in the file.

Of the modelled execution, a slice of a unit lasts until the unit takes the next instruction. Beside the units are the
DRAM of each card, the links between cards, and the layers as `layer_times` charges them: those of a device program add
up to its cycles, and device programs to those of the artifact.
"""

import gzip
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from threading import get_ident
from time import perf_counter
from typing import Any, NamedTuple, TypeVar

import numpy as np

from ..execution.buffers import Outputs
from ..files.output_file import write_file
from ..isa.encoding import Stream
from ..isa.program import NO_LAYER
from ..machines.machine import Machine
from ..profile import StepTime
from ..request import Request
from ..request_queue import RequestQueue
from ..session import Session
from ..simulator.dram import Service
from ..simulator.left_out import INSTRUCTIONS, LAYERS
from ..simulator.timeline import Event
from ..simulator.verifier import OrderedProgram, Place
from .layer_times import charges
from .simulation import SimulatedProgram

COMPRESSED = ".gz"
"""What a path ends in that gets compressed text, which Perfetto opens as well."""


class Track(NamedTuple):
    """A line of slices: the numbers of its process and of itself, which no other track has."""

    process: int
    number: int


class Slice(NamedTuple):
    """From one time of a track to another, at which the next may begin."""

    track: Track
    start: int
    end: int

    def within(self, time: int) -> int:
        """The time that is nearest to ``time`` and certain to be inside: a slice does not contain its end."""
        return max(self.start, min(time, self.end - 1))


class Trace:
    """Events that are collected one by one and written at the end."""

    def __init__(self) -> None:
        self._metadata: list[dict[str, Any]] = []
        self._slices: list[dict[str, Any]] = []
        self._arrows: list[dict[str, Any]] = []
        # Of processes and tracks: viewers take a track with the number of its process for its main thread.
        self._numbers = self._ids = 0

    def process(self, name: str) -> int:
        """The number of a new group of tracks, which is to be shown below those that are there."""
        self._numbers += 1
        self._describe("process", self._numbers, 0, name)
        return self._numbers

    def track(self, process: int, name: str) -> Track:
        """A new track, the last of its process."""
        self._numbers += 1
        self._describe("thread", process, self._numbers, name)
        return Track(process, self._numbers)

    def _describe(self, what: str, process: int, track: int, name: str) -> None:
        place = {"ph": "M", "pid": process, "tid": track, "ts": 0}
        self._metadata.append({"name": f"{what}_name", **place, "args": {"name": name}})
        self._metadata.append({"name": f"{what}_sort_index", **place, "args": {"sort_index": self._numbers}})

    def slice(
        self, track: Track, name: str, kind: str, start: int, end: int, details: Mapping[str, object] | None = None
    ) -> Slice:
        """Add a slice; of two that begin together, the outer one first.
        ``kind``: its category, by which viewers search and filter.
        ``details``: what is shown of it when it is selected."""
        event = {"name": name, "cat": kind, "ph": "X", **_place(track, start), "dur": (end - start) / 1e3}
        self._slices.append({**event, "args": dict(details)} if details else event)
        return Slice(track, start, end)

    def arrow(self, kind: str, source: Slice, target: Slice, begun: int, ended: int) -> None:
        """Add an arrow between two slices, at those times or the nearest in them; none where one is an instant."""
        if source.start == source.end or target.start == target.end:
            return
        self._ids += 1
        ended = target.within(ended)
        common = {"name": kind, "cat": kind, "id": self._ids}
        self._arrows.append({**common, "ph": "s", **_place(source.track, source.within(min(begun, ended)))})
        # "e": it ends in the slice around it and not in the next.
        self._arrows.append({**common, "ph": "f", "bp": "e", **_place(target.track, ended)})

    def tracks(self) -> list[tuple[str, str, list[dict[str, Any]]]]:
        """Each track in order: the name of its process, its own, and its slices by time, as the file has them."""
        named = {(each["pid"], each["tid"]): each["args"] for each in self._metadata if "name" in each["args"]}
        own: dict[tuple[int, int], list[dict[str, Any]]] = {key: [] for key in named if key[1]}
        for each in _in_order(self._slices):
            own[each["pid"], each["tid"]].append(each)
        return [(named[key[0], 0]["name"], named[key]["name"], slices) for key, slices in own.items()]

    def write(self, path: Path, about: Mapping[str, object]) -> int:
        """Write the file, one event a line; the bytes that it has. ``about``: what is said of the whole."""
        events = [*self._metadata, *_in_order(self._slices), *_in_order(self._arrows)]
        head = f'{{"displayTimeUnit":"ns","otherData":{_json(about)},"traceEvents":[\n'
        text = (head + ",\n".join(map(_json, events)) + "\n]}\n").encode()
        # Without the time at which it was made: the same trace is the same bytes.
        content = gzip.compress(text, mtime=0) if path.suffix == COMPRESSED else text
        write_file(path, content)
        return len(content)


def _place(track: Track, time: int) -> dict[str, object]:
    return {"pid": track.process, "tid": track.number, "ts": time / 1e3}


def _in_order(events: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(events, key=lambda event: event["ts"])


def _json(found: Mapping[str, object]) -> str:
    return json.dumps(found, separators=(",", ":"))


FETCH = "fetch"
"""What slices of the DRAM are called in which instructions come."""

DUST = 1e-6
"""Cycles that are only the rounding of sums."""

Item = TypeVar("Item")


class DeviceTrace:
    """Collects the device programs of an artifact, one after the other."""

    def __init__(self, machine: Machine, detail: str) -> None:
        self.trace = Trace()
        self._machine, self._detail = machine, detail
        network = self.trace.process("network")
        self._programs, self._layers = (self.trace.track(network, name) for name in ("device programs", "layers"))
        self._cards: dict[int, int] = {}
        self._tracks: dict[tuple[int, object], Track] = {}
        self._start = 0.0

    def add(self, program: SimulatedProgram) -> None:
        """Draw a device program behind those that are there: its first run, then the time that the others take."""
        name, ordered, timeline, traffic, in_turn = program
        cycles = timeline.cycles * in_turn
        details = {"cycles": cycles, "runs": in_turn, "clusters": timeline.clusters, "cards": timeline.cards}
        self.trace.slice(self._programs, name, "program", self._at(0), self._at(cycles), details)
        for layer, group in groupby(charges(timeline), lambda charge: charge.layer):
            spans = [*group]
            begun, ended = spans[0].start, spans[-1].end
            if ended - begun > DUST:
                details = {"cycles": ended - begun}
                self.trace.slice(self._layers, layer, "layer", self._at(begun), self._at(ended), details)
        self._draw_units(ordered, timeline.events)
        for card, services in sorted(traffic.dram.items()):
            self._draw_services(self._track(card, "DRAM", "DRAM"), services, ordered)
        for (sender, receiver), services in sorted(traffic.links.items()):
            self._draw_services(self._track(sender, receiver, f"link to card {receiver}"), services, ordered)
        self._start += cycles

    def _draw_units(self, ordered: OrderedProgram, events: Sequence[Event]) -> None:
        of_stream: dict[Stream, list[Event]] = {stream: [] for stream in ordered.queues}
        for event in events:
            of_stream[event.stream].append(event)
        slices: dict[Place, tuple[Slice, Event]] = {}
        for stream, own in of_stream.items():
            track = self._track(stream.card, stream, f"cluster {stream.cluster}: {stream.queue.name}")
            for part in self._parts(own, lambda event: event.layer):
                first, last = part[0], part[-1]
                title = first.layer if self._detail == LAYERS and first.layer else first.mnemonic
                found = self.trace.slice(
                    *(track, title, stream.queue.name, self._at(first.start), self._at(last.free)), _facts(part)
                )
                slices.update(((stream, event.index), (found, event)) for event in part)
        self._draw_arrows(ordered, slices)

    def _draw_arrows(self, ordered: OrderedProgram, slices: Mapping[Place, tuple[Slice, Event]]) -> None:
        """One for each wait; of those between the same two slices, the first."""
        drawn: set[tuple[Slice, Slice]] = set()
        for place, (target, event) in slices.items():
            for stream, position in ordered.targets[place[0]][place[1]]:
                if not position or stream == place[0]:
                    continue
                source, before = slices[stream, position - 1]
                if (source, target) in drawn:
                    continue
                drawn.add((source, target))
                kind = "message" if ordered.receives.get((stream, position - 1)) == place else "wait"
                self.trace.arrow(kind, source, target, self._at(before.free) - 1, self._at(event.start))

    def _draw_services(self, track: Track, services: Sequence[Service], ordered: OrderedProgram) -> None:
        """What a DRAM or a link is busy with."""
        chunk = min(self._machine.fetch_instructions, self._machine.queue_depth)

        def layer_of(service: Service) -> str | None:
            is_fetch, stream, number = service.request
            program = ordered.programs[stream.card]
            layer = int(program.layer_of[stream._replace(card=0)][number * chunk if is_fetch else number])
            return None if layer == NO_LAYER else program.layers[layer]

        for part in self._parts(services, layer_of):
            is_fetch, stream, number = part[0].request
            name = FETCH if is_fetch else ordered.queues[stream][number].MNEMONIC
            layer = layer_of(part[0])
            details = {"layer": layer, "busy cycles": sum(each.end - each.start for each in part)}
            if self._detail == LAYERS:
                name, details["requests"] = layer or name, len(part)
            else:
                details["for"] = stream.name
            self.trace.slice(track, name, "transfer", self._at(part[0].start), self._at(part[-1].end), details)

    def _parts(self, items: Sequence[Item], layer_of: Callable[[Item], object]) -> Iterable[list[Item]]:
        """What becomes a slice each."""
        if self._detail == INSTRUCTIONS:
            return ([item] for item in items)
        return (list(group) for _, group in groupby(items, layer_of))

    def _track(self, card: int, key: object, name: str) -> Track:
        """The track of a card that has this key; a new one where there is none."""
        if (card, key) not in self._tracks:
            if card not in self._cards:
                self._cards[card] = self.trace.process(f"card {card} ({self._machine.name})")
            self._tracks[card, key] = self.trace.track(self._cards[card], name)
        return self._tracks[card, key]

    def _at(self, cycles: float) -> int:
        """A time of the program that is drawn, in nanoseconds from the start of the first."""
        return round((self._start + cycles) * 1e9 / self._machine.clock_hertz)


def _facts(part: Sequence[Event]) -> dict[str, object]:
    """What is shown of instructions in one slice; counts of nothing are left out."""
    counts = {
        "busy cycles": sum(event.cost.unit for event in part),
        "multiply-accumulates": sum(event.cost.macs for event in part),
        "DRAM bytes": sum(event.cost.dram_bytes for event in part),
    }
    numbers = {"number": part[0].index} if len(part) == 1 else {"first": part[0].index, "instructions": len(part)}
    return {"layer": part[0].layer, **numbers, **{name: count for name, count in counts.items() if count}}


def write_trace(path: Path, model: str, programs: Sequence[SimulatedProgram], detail: str) -> int:
    """Write the trace of all device programs of a network; the bytes of the file. ``detail``: of `DETAILS`."""
    machine = programs[0].ordered.machine
    drawn = DeviceTrace(machine, detail)
    for program in programs:
        drawn.add(program)
    about = {
        "model": model,
        "machine": machine.name,
        "clock (Hz)": machine.clock_hertz,
        "cycles": sum(program.timeline.cycles * program.in_turn for program in programs),
        "times": "modelled with the constants of the machine description, not measured on silicon",
    }
    return drawn.trace.write(path, about)


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
    ``requests``: how many, at least 1.
    ``workers``: how many run at a time."""

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
    """Write the trace of requests, which begins when the first is submitted; the bytes of the file."""
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
            step = self.trace.slice(worker, time.step.name, "step", begun, ended, _occasion(time))
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


def _occasion(time: StepTime) -> dict[str, object]:
    step, seconds = time.step, time.milliseconds / 1e3
    facts: dict[str, object] = {"operator": step.op, "kernel": time.kernel, "threads": 1 + len(time.helpers)}
    if step.loc:
        facts["nodes"] = list(step.loc)
    if step.macs and seconds:
        facts |= {"multiply-accumulates": step.macs, "GMAC/s": round(step.macs / seconds / 1e9, 3)}
    return facts
