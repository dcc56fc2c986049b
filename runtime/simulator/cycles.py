"""The cycle model: when every instruction of a program runs, if each unit takes its own one by one.

No data is touched. A unit starts an instruction when it is free, the instruction has been fetched and set up and its
waits are satisfied; it sets one up while it works on the one before. Where it waits, it starts some cycles after what
it waits for is complete: until the counter is raised, seen and compared. All streams of a card share its DRAM, which
serves one request after the other, of those that wait the most urgent, see :mod:`.urgency`; the latency of a transfer
delays its completion but not the next request. Cards that run together have a link each way between any two: a message
is on it from when the DRAM begins to read it, as long as its bytes take there or on the link, whatever is slower; what
one card waits for of another it learns the latency of the link later, so that a message is written when all of it has
arrived. Instructions come from DRAM as well, some of a stream at a time, as far ahead as its queue has room.

Moves and the vector unit share a port of the maps with transfers, and yield to them, see :mod:`.ports`.

The order in which a DRAM serves requests is fixed by the program: it is that on the machine that the program was
planned for, with all costs. On another machine, or with costs left out, the order stays, as does what passes a port
while others work.
So every time is a maximum of sums of durations, and a shorter duration never makes a program slower.

All constants come from the machine description and are assumptions, so results are "modelled". A program never takes
less time than its multiplications at full rate, nor than its DRAM traffic at full bandwidth.
"""

import heapq
from collections.abc import Collection, Sequence
from dataclasses import replace
from enum import IntEnum

from ..isa.encoding import Queue, Stream
from ..isa.program import NO_LAYER
from ..isa.transfer import Send
from ..machines.cost import Cost, cost, follows_closely, handover, link_cycles
from ..machines.machine import Machine
from .dram import Dram, Request, Service, Traffic, urgencies
from .ports import Part, Parts, Ports, Yielding, clusters_of
from .timeline import Event, Timeline
from .verifier import OrderedProgram


class _Kind(IntEnum):
    """What happens next in a stream; of what could happen at the same time, the first happens first."""

    START = 0
    FETCH = 1
    TRANSFER = 2
    PORT = 3
    TURN = 4


def simulate(
    ordered: OrderedProgram,
    machine: Machine | None = None,
    without: Collection[str] = frozenset(),
    traffic: Traffic | None = None,
) -> Timeline:
    """When every instruction of a program runs, in modelled time.
    ``machine``: whose lanes, ports, DRAM and constants count; by default those of the machine it was compiled for. The
    depth of the queues is that machine's in any case.
    ``without``: names of `left_out.COSTS` to leave out.
    ``traffic``: what to fill with what DRAMs and links do."""
    own, planned = ordered.machine, [program.planned_machine for program in ordered.programs]
    every = [machine or own] * len(planned)
    if planned == every and not without:
        return _Engine(ordered, every, frozenset(), traffic=traffic).timeline()
    first = _Engine(ordered, planned, frozenset())
    orders = first.run()
    if "instruction-fetch" in without:
        orders = [[request for request in order if not request.is_fetch] for order in orders]
    parts = {} if "port-contention" in without else first.passed
    return _Engine(ordered, every, frozenset(without), orders, parts, traffic).timeline()


class _Engine:
    """One pass over a program; runs once.

    Args:
        machines: for each card, the one whose constants count.
        orders: for each card, in which its DRAM serves requests; None where that is found out.
        parts: what passes the ports of maps while others work; None where that is found out.
        traffic: what to fill, if anything.

    Attributes:
        passed: what passed the ports of maps while others worked, where it was found out.
    """

    def __init__(
        self,
        ordered: OrderedProgram,
        machines: list[Machine],
        without: frozenset[str],
        orders: list[list[Request]] | None = None,
        parts: Parts | None = None,
        traffic: Traffic | None = None,
    ) -> None:
        self._traffic, self._parts, self._ports = traffic, parts, Ports()
        self.passed: dict[tuple[Stream, int], list[Part]] = {}
        self._yielding: dict[Stream, list[Yielding]] = {}
        self._contention = 0.0
        self._ordered, self._machines, self._without = ordered, machines, without
        own = ordered.machine
        self._streams = list(ordered.queues)
        self._depth = None if "queue-depth" in without else own.queue_depth
        self._chunk = min(own.fetch_instructions, own.queue_depth)
        self._has_fetches = "instruction-fetch" not in without
        self._sizes = {stream: self._fetched_sizes(stream) for stream in self._streams}
        self._starts: dict[Stream, list[float]] = {stream: [] for stream in self._streams}
        self._ends: dict[Stream, list[float]] = {stream: [] for stream in self._streams}
        self._fetched: dict[Stream, list[float]] = {stream: [] for stream in self._streams}
        self._unit_free = dict.fromkeys(self._streams, 0.0)
        self._fetch_free = dict.fromkeys(self._streams, 0.0)
        own_orders = orders or [None] * len(machines)
        self._drams = [*map(Dram, ordered.programs, machines, own_orders)]
        self._urgency = {} if orders else urgencies(ordered, machines)
        # Of the links, by sender and receiver.
        self._link_free: dict[tuple[int, int], float] = {}
        self._link_latency = 0 if "card-link" in without else machines[0].link_latency
        self._handover = [0 if "synchronisation" in without else handover(each) for each in machines]
        self._events: list[Event] = []
        # What can happen, in order of time and then of streams.
        self._heap: list[tuple[float, _Kind, Stream]] = []
        # Who waits for the next start, fetch or end of a stream.
        self._waiting: dict[tuple[_Kind, Stream], set[tuple[_Kind, Stream]]] = {}
        # Of the instruction that each stream started last: when, and its cost.
        self._asking: dict[Stream, tuple[float, Cost]] = {}
        # Of the next instruction of each stream.
        self._next: dict[Stream, Cost] = {}

    def run(self) -> list[list[Request]]:
        """Every instruction; for each card, the requests in the order in which its DRAM served them."""
        for stream in self._streams:
            self._offer(_Kind.START, stream)
            self._offer(_Kind.FETCH, stream)
        # By kind.
        handlers = self._start, self._fetch, self._transfer, self._share, self._choose
        while self._heap:
            time, kind, stream = heapq.heappop(self._heap)
            handlers[kind](stream, time)
        return [dram.served for dram in self._drams]

    def timeline(self) -> Timeline:
        """The whole program in time."""
        self.run()
        events, machine = self._events, self._machines[0]
        cycles = max((event.end for event in events), default=0.0)
        macs = sum(event.cost.macs for event in events)
        fetched = sum(map(sum, self._sizes.values()))
        moved = sum(event.cost.dram_bytes for event in events) + fetched
        openings = sum(event.cost.row_openings for event in events) + sum(dram.opened for dram in self._drams)
        turnarounds = sum(dram.turnarounds for dram in self._drams)
        timing, clusters = machine.timing, {(stream.card, stream.cluster) for stream in self._streams}
        sent = [event.cost.link_bytes for event in events if event.cost.link_bytes]
        parts = {
            "bank-conflicts": float(sum(event.cost.bank_conflicts for event in events)),
            "port-stalls": float(sum(event.cost.port_stalls for event in events)),
            "row-openings": float(openings * timing.dram_row_activation),
            "turnaround": float(turnarounds * timing.dram_turnaround) if "turnaround" not in self._without else 0.0,
            "instruction-fetch": fetched / machine.dram_bytes_per_cycle,
            "card-link": link_cycles(machine, sum(sent)) + len(sent) * machine.link_latency
            if "card-link" not in self._without
            else 0.0,
            "port-contention": self._contention,
            "synchronisation": float(sum(self._handover[event.stream.card] for event in events if self._waits(event))),
        }
        return Timeline(
            events,
            cycles,
            cycles / machine.clock_hertz,
            macs,
            moved,
            macs / (machine.cluster_macs_per_cycle * len(clusters)),
            moved / (machine.dram_bytes_per_cycle * len(self._drams)),
            self._sizes,
            turnarounds,
            max(program.clusters for program in self._ordered.programs),
            len(self._drams),
            sum(sent),
            parts,
        )

    def _fetched_sizes(self, stream: Stream) -> list[int]:
        """Bytes fetched for each instruction of a stream; what fills the last burst of a fetch counts to its last."""
        if not self._has_fetches:
            return [0] * len(self._ordered.queues[stream])
        sizes = self._ordered.programs[stream.card].packed_sizes(stream._replace(card=0))
        for first in range(0, len(sizes), self._chunk):
            some = sizes[first : first + self._chunk]
            sizes[first + len(some) - 1] += -sum(some) % self._ordered.machine.dram_burst_bytes
        return sizes

    def _offer(self, kind: _Kind, stream: Stream) -> None:
        """Put the next fetch or instruction of a stream into the heap, if it is known when it can start."""
        time = self._fetch_time(stream) if kind == _Kind.FETCH else self._start_time(stream)
        if time is not None:
            heapq.heappush(self._heap, (time, kind, stream))

    def _waits(self, event: Event) -> bool:
        """Whether an instruction waits for others of its card."""
        targets = self._ordered.targets[event.stream][event.index]
        return any(position and other.card == event.stream.card for other, position in targets)

    def _fetch_time(self, stream: Stream) -> float | None:
        """When the queue has room for the next instructions."""
        number = len(self._fetched[stream])
        if not self._has_fetches or number * self._chunk >= len(self._ordered.queues[stream]):
            return None
        taken = 0 if self._depth is None else (number + 1) * self._chunk - self._depth
        if taken <= 0:
            return self._fetch_free[stream]
        if len(self._starts[stream]) < taken:
            self._waiting.setdefault((_Kind.START, stream), set()).add((_Kind.FETCH, stream))
            return None
        return max(self._fetch_free[stream], self._starts[stream][taken - 1])

    def _start_time(self, stream: Stream) -> float | None:
        """When the next instruction is there and set up, its unit free and its waits are satisfied."""
        index = len(self._starts[stream])
        if index == len(self._ordered.queues[stream]):
            return None
        # There are registers for two: one is set up from when the one before it starts.
        known = self._starts[stream][-1] if index else 0.0
        if self._has_fetches:
            fetched = self._fetched[stream]
            if len(fetched) <= index // self._chunk:
                self._waiting.setdefault((_Kind.FETCH, stream), set()).add((_Kind.START, stream))
                return None
            known = max(known, fetched[index // self._chunk])
        ready = 0.0
        for other, position in self._ordered.targets[stream][index]:
            if position > len(self._ends[other]):
                self._waiting.setdefault((_Kind.TRANSFER, other), set()).add((_Kind.START, stream))
                return None
            if position:
                latency = self._handover[stream.card] if other.card == stream.card else self._link_latency
                ready = max(ready, self._ends[other][position - 1] + latency)
        item = self._ordered.queues[stream][index]
        price = self._next[stream] = self._priced(cost(item, self._machines[stream.card]))
        before = self._ends[stream][-1] if index and not follows_closely(item) else 0.0
        return max(ready, self._unit_free[stream], known + price.setup, before)

    def _fetch(self, stream: Stream, time: float) -> None:
        number = len(self._fetched[stream])
        size = sum(self._sizes[stream][number * self._chunk : (number + 1) * self._chunk])
        latency = self._machines[stream.card].timing.dram_latency
        price = Cost(dram_bytes=size, latency=latency)
        if self._serve(Request(True, stream, number), time, price) is None:
            return
        served = self._fetch_free[stream] = self._drams[stream.card].free
        self._fetched[stream].append(served + latency)
        self._wake(_Kind.FETCH, stream)
        self._offer(_Kind.FETCH, stream)

    def _start(self, stream: Stream, time: float) -> None:
        price = self._next[stream]
        self._starts[stream].append(time)
        self._wake(_Kind.START, stream)
        self._asking[stream] = time, price
        if price.dram_bytes:
            heapq.heappush(self._heap, (time + price.unit, _Kind.TRANSFER, stream))
        elif price.port:
            index = len(self._ends[stream])
            item = self._ordered.queues[stream][index]
            if stream.queue != Queue.VEC:
                self._ports.use(item, stream, index, price.port, (time, time + price.unit))
            if self._parts is None:
                every = clusters_of(item, stream)
                self._yielding[stream] = [Yielding(stream, each, time, price.unit, price.port) for each in every]
            heapq.heappush(self._heap, (time + price.unit, _Kind.PORT, stream))
        else:
            self._complete(stream, time, price, time + price.unit)

    def _share(self, stream: Stream, time: float) -> None:
        """An instruction ends that yields the port of maps, or goes on while others pass."""
        start, price = self._asking[stream]
        index = len(self._ends[stream])
        if self._parts is not None:
            parts = self._parts.get((stream, index), ())
        else:
            look = max(each.next_look(self._ports, time) for each in self._yielding[stream])
            if look > time:
                heapq.heappush(self._heap, (look, _Kind.PORT, stream))
                return
            every = ([Part(*of, share) for of, share in each.parts.items()] for each in self._yielding.pop(stream))
            parts = self.passed[stream, index] = max(every, key=self._cycles)
        held_up = max(price.port + self._cycles(parts) - price.unit, 0.0)
        self._contention += held_up
        self._complete(stream, start, price, start + price.unit + held_up)

    def _cycles(self, parts: Sequence[Part]) -> float:
        """Cycles of a port that parts of instructions take."""
        queues, machines = self._ordered.queues, self._machines
        return sum(self._priced(cost(queues[on][index], machines[on.card])).port * share for on, index, share in parts)

    def _transfer(self, stream: Stream, time: float) -> None:
        start, price = self._asking[stream]
        price = self._serve(Request(False, stream, len(self._ends[stream])), time, price)
        if price is not None:
            served = self._drams[stream.card].free
            self._complete(stream, start, price, self._cross(stream, served, price) if price.link_bytes else served)

    def _cross(self, stream: Stream, read: float, price: Cost) -> float:
        """When a message, which the DRAM has read by then, has left the card."""
        if "card-link" in self._without:
            return read
        item, machine = self._ordered.queues[stream][len(self._ends[stream])], self._machines[stream.card]
        assert isinstance(item, Send)
        link = stream.card, item.peer
        begun = max(read - price.dram(machine), self._link_free.get(link, 0.0))
        self._link_free[link] = max(read, begun + price.link(machine))
        if self._traffic is not None:
            request = Request(False, stream, len(self._ends[stream]))
            self._traffic.links.setdefault(link, []).append(Service(request, begun, self._link_free[link]))
        return self._link_free[link]

    def _complete(self, stream: Stream, start: float, price: Cost, free: float) -> None:
        """An instruction leaves its unit, which takes the next; it is complete after all before it."""
        index, ends, program = len(self._ends[stream]), self._ends[stream], self._ordered.programs[stream.card]
        self._unit_free[stream] = free
        end = max(free + price.latency, ends[-1]) if ends else free + price.latency
        ends.append(end)
        layer = int(program.layer_of[stream._replace(card=0)][index])
        name = None if layer == NO_LAYER else program.layers[layer]
        mnemonic = self._ordered.queues[stream][index].MNEMONIC
        self._events.append(Event(stream, index, mnemonic, start, free, end, price, name))
        self._wake(_Kind.TRANSFER, stream)
        self._offer(_Kind.START, stream)

    def _serve(self, request: Request, asked: float, price: Cost) -> Cost | None:
        """The cost of a request with the rows that the DRAM opens for it, which then is free when it has served it;
        None while it serves others first."""
        card = request.stream.card
        dram, machine = self._drams[card], self._machines[card]
        if request != dram.turn:
            if dram.order is None and dram.turn is None and not dram.waiting:
                heapq.heappush(self._heap, (max(asked, dram.free), _Kind.TURN, request.stream))
            dram.waiting[request] = asked
            return None
        item = None if request.is_fetch else self._ordered.queues[request.stream][request.number]
        if "row-openings" not in self._without:
            opened = dram.fetch(price.dram_bytes) if item is None else dram.transfer(item, price.row_openings)
            price = replace(price, row_openings=opened) if opened != price.row_openings else price
        dram.opened += request.is_fetch * price.row_openings
        dram.served.append(request)
        turns = price.writes != dram.wrote
        dram.turnarounds += turns
        dram.wrote = price.writes
        pause = machine.timing.dram_turnaround if turns and "turnaround" not in self._without else 0
        begun = max(asked, dram.free) + pause
        dram.free = begun + price.dram(machine)
        if item is not None and price.port:
            # It has waited for the port ahead of its turn, where that takes longer than the DRAM.
            self._ports.use(item, *request[1:], price.port, (begun, dram.free))
        if self._traffic is not None:
            self._traffic.dram.setdefault(card, []).append(Service(request, begun, dram.free))
        self._pass_on(dram)
        return price

    def _pass_on(self, dram: Dram) -> None:
        """Who is next at a DRAM."""
        dram.turn = None
        if dram.order is None:
            if dram.waiting:
                stream = next(iter(dram.waiting)).stream
                heapq.heappush(self._heap, (max(dram.free, min(dram.waiting.values())), _Kind.TURN, stream))
        elif len(dram.served) < len(dram.order):
            dram.turn = dram.order[len(dram.served)]
            self._ask_again(dram)

    def _choose(self, stream: Stream, time: float) -> None:
        """The DRAM takes up the most urgent request of those that wait for it; of equally urgent ones the first."""
        dram = self._drams[stream.card]

        def urgency(request: Request) -> tuple[tuple[int, float, float], float]:
            number = request.number * (self._chunk if request.is_fetch else 1)
            return self._urgency[request.stream][number], dram.waiting[request]

        dram.turn = min(dram.waiting, key=urgency)
        self._ask_again(dram)

    def _ask_again(self, dram: Dram) -> None:
        """Let the one whose turn it is be served, if it has asked already."""
        asked = dram.waiting.pop(dram.turn, None) if dram.turn is not None else None
        if dram.turn is not None and asked is not None:
            kind = _Kind.FETCH if dram.turn.is_fetch else _Kind.TRANSFER
            heapq.heappush(self._heap, (asked, kind, dram.turn.stream))

    def _priced(self, price: Cost) -> Cost:
        """A cost without what is left out."""
        if not self._without:
            return price
        names = ("bank_conflicts", "port_stalls")
        left_out = {name: 0 for name in names if name.replace("_", "-") in self._without}
        stalls = sum(getattr(price, name) for name in left_out)
        return replace(price, **left_out, row_openings=0, port=max(price.port - stalls, 0))

    def _wake(self, kind: _Kind, stream: Stream) -> None:
        for waiting in self._waiting.pop((kind, stream), ()):
            self._offer(*waiting)
