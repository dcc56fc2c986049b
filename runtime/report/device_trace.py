"""The modelled execution of an artifact as a trace: a track for each unit of each cluster and card, arrows for waits.

A slice of a unit lasts until the unit takes the next instruction. Beside the units are the DRAM of each card, the links
between cards, and the layers as `layer_times` charges them: those of a device program add up to its cycles, and device
programs to those of the artifact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TypeVar

from ..isa.encoding import Stream
from ..isa.program import NO_LAYER
from ..machines.machine import Machine
from ..simulator.dram import Service
from ..simulator.left_out import INSTRUCTIONS, LAYERS
from ..simulator.timeline import Event
from ..simulator.verifier import OrderedProgram, Place
from .layer_times import charges
from .simulation import SimulatedProgram
from .trace import Slice, Trace, Track

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
    """Write the trace of all device programs of a network; the bytes of the file.

    Args:
        detail: of `DETAILS`.

    Raises:
        OutputError: it cannot be written.
    """
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
