"""The rules of the Trace Event Format that viewers rely on, held against a trace."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Event = Mapping[str, Any]


@dataclass
class CheckedTrace:
    """A trace that follows the rules.

    Attributes:
        slices: by the names of process and track, in order.
        arrows: pairs of start and end.
        about: what it says of itself.
    """

    slices: dict[tuple[str, str], list[Event]] = field(default_factory=lambda: defaultdict(list))
    arrows: list[tuple[Event, Event]] = field(default_factory=list)
    about: Mapping[str, Any] = field(default_factory=dict)

    def total(self, process: str, track: str, fact: str) -> float:
        """The sum of what the slices of a track say under a name."""
        return sum(each["args"].get(fact, 0) for each in self.slices[process, track])


def nanoseconds(microseconds: float) -> int:
    """A time of the file, which is a whole number of nanoseconds."""
    found = round(microseconds * 1e3)
    assert abs(found - microseconds * 1e3) < 1e-3
    return found


def ends(event: Event) -> tuple[int, int]:
    """The first and the last time of a slice."""
    start, duration = nanoseconds(event["ts"]), nanoseconds(event["dur"])
    assert start >= 0 <= duration
    return start, start + duration


def read_trace(path: Path) -> CheckedTrace:
    """A trace from a file, every rule checked."""
    content = path.read_bytes()
    whole = json.loads(gzip.decompress(content) if path.suffix == ".gz" else content)
    assert whole.keys() == {"displayTimeUnit", "otherData", "traceEvents"}
    assert whole["displayTimeUnit"] in ("ms", "ns")
    names = _names(whole["traceEvents"])
    found = CheckedTrace(about=whole["otherData"])
    flows: dict[int, dict[str, Event]] = defaultdict(dict)
    for event in whole["traceEvents"]:
        assert isinstance(event["name"], str)
        assert event["name"]
        if event["ph"] == "X":
            found.slices[names["process", event["pid"], 0], names["thread", event["pid"], event["tid"]]].append(event)
        elif event["ph"] in "sf":
            assert event["ph"] not in flows[event["id"]], "an arrow has one start and one end"
            flows[event["id"]][event["ph"]] = event
        else:
            assert event["ph"] == "M"
    for events in found.slices.values():
        _check_nesting(events)
    spans: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for events in found.slices.values():
        spans[events[0]["tid"]] = [ends(event) for event in events]
    for each in flows.values():
        assert each.keys() == {"s", "f"}
        start, end = each["s"], each["f"]
        assert (start["name"], start["cat"]) == (end["name"], end["cat"])
        assert end["bp"] == "e"
        assert start["ts"] <= end["ts"]
        for event in (start, end):
            time = nanoseconds(event["ts"])
            assert any(first <= time < last for first, last in spans[event["tid"]]), "it is inside a slice"
        found.arrows.append((start, end))
    return found


def _names(events: list[Event]) -> dict[tuple[str, int, int], str]:
    """What metadata calls processes and tracks; each has one name and one place, and tracks have different numbers."""
    names: dict[tuple[str, int, int], str] = {}
    places: dict[tuple[str, int, int], int] = {}
    for event in events:
        assert {"ph", "pid", "tid", "ts"} <= event.keys()
        if event["ph"] != "M":
            continue
        what, _, kind = event["name"].partition("_")
        key = what, event["pid"], event["tid"] if what == "thread" else 0
        target, fact = (names, "name") if kind == "name" else (places, "sort_index")
        assert kind in ("name", "sort_index")
        assert key not in target
        target[key] = event["args"][fact]
    assert names.keys() == places.keys()
    numbers = [number if what == "thread" else process for what, process, number in names]
    assert len(set(numbers)) == len(numbers), "a track with the number of a process is its main thread"
    assert min(numbers) > 0, "0 is the idle thread"
    return names


def _check_nesting(events: list[Event]) -> None:
    """Slices of a track are apart or one inside the other, and come in order, the outer one first."""
    around: list[int] = []
    before = 0
    for event in events:
        start, end = ends(event)
        assert start >= before
        before = start
        while around and around[-1] <= start:
            around.pop()
        assert not around or end <= around[-1], "slices overlap"
        around.append(end)
