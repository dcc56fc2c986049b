"""Traces as Perfetto and Chromium show them: JSON of the Trace Event Format.

Its fields: https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU. A process groups tracks; a
track holds slices, which are apart or one inside the other; an arrow leads from inside one slice to inside another,
where it ends no earlier than it begins. Times are whole nanoseconds here, and microseconds in the file.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..files.output_file import output_file

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

        Args:
            kind: its category, by which viewers search and filter.
            details: what is shown of it when it is selected.
        """
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
        """Write the file, one event a line; the bytes that it has.

        Args:
            about: what is said of the whole.

        Raises:
            OutputError: it cannot be written.
        """
        events = [*self._metadata, *_in_order(self._slices), *_in_order(self._arrows)]
        head = f'{{"displayTimeUnit":"ns","otherData":{_json(about)},"traceEvents":[\n'
        text = f"{head}{_lines(events)}\n]}}\n".encode()
        # Without the time at which it was made: the same trace is the same bytes.
        content = gzip.compress(text, mtime=0) if path.suffix == COMPRESSED else text
        with output_file(path) as file:
            file.write(content)
        return len(content)


def _place(track: Track, time: int) -> dict[str, object]:
    return {"pid": track.process, "tid": track.number, "ts": time / 1e3}


def _in_order(events: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(events, key=lambda event: event["ts"])


def _lines(events: Iterable[Mapping[str, object]]) -> str:
    return ",\n".join(map(_json, events))


def _json(found: Mapping[str, object]) -> str:
    return json.dumps(found, separators=(",", ":"))
