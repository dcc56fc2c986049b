"""The shares of layers in the modelled time of a device program, the bytes they move on chip, and what the host does.

Messages over its link are modelled with the constants of the machine description. Operators on the CPU are measured, on
the machine at hand: their times say nothing of another host, and no sum with modelled times is made.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from tilewright.errors import ArtifactError, InputError, ResourceError, TrustError
from tilewright.immutable import Immutable

from ..artifact.artifact import Artifact
from ..isa.accesses import Space
from ..isa.encoding import Instruction, Queue
from ..isa.matrix import Convolve, ConvolveDepthwise
from ..isa.program import NO_LAYER, Program, RegionKind
from ..isa.vector import MapInstruction
from ..machines.cost import cost, host_link_cycles
from ..machines.machine import CHANNEL_BLOCK, Machine
from ..machines.vector_unit import map_bytes
from ..profile import host_pieces
from ..session import load
from ..simulator.timeline import Event, Timeline
from ..simulator.verifier import OrderedProgram
from .table import on_one_line, show_bytes, show_number, show_seconds

_COMPUTING = (Queue.MAC, Queue.VEC)


class LayerTime(Immutable):
    """The share of a layer in a timeline.

    Attributes:
        name: of the layer.
        cycles: time that passes while the frontier of completed work is in this layer; layers sum to the total.
        macs, dram_bytes: totals of its instructions, their own bytes included.
        array_steps: cycles in which the arrays multiply, of all clusters.
        clusters: how many compute, of all cards.
        mac_utilization: macs over the peak of the clusters that the program uses while the layer runs: in its cycles,
            or in the time that its multiplications take if part of that is charged to the layer before.
        bound: what is busy longest: ``mac``, ``vector``, ``dram`` or ``link``.
        bound_share: how much of the cycles that is busy, at most 1: the rest is waiting.
    """

    name: str
    cycles: float
    macs: int
    array_steps: int
    clusters: int
    mac_utilization: float
    dram_bytes: int
    bound: str
    bound_share: float


class Charge(NamedTuple):
    """The time from the end of one event to that of the next, which is charged for it to a layer."""

    layer: str
    event: Event
    start: float
    end: float


def charges(timeline: Timeline) -> Iterator[Charge]:
    """What each event of a timeline costs, overlapping work once: events are taken by their ends, and each charges its
    layer with the time since the end before it. What is of no layer, the end of a queue, belongs to the layer before
    it, or else to the first."""
    events = sorted(timeline.events, key=lambda entry: entry.end)
    at, name = 0.0, next((event.layer for event in events if event.layer), "(other)")
    for event in events:
        name = event.layer or name
        yield Charge(name, event, at, event.end)
        at = event.end


def layer_times(timeline: Timeline, machine: Machine) -> list[LayerTime]:
    """The layers of a timeline, in order of completion; their cycles add up to its own."""
    layers: dict[str, list[tuple[Event, float]]] = {}
    for name, event, start, end in charges(timeline):
        layers.setdefault(name, []).append((event, end - start))
    # Weights are loaded ahead: where a layer begins says nothing of what it reads.
    completed = sorted(layers.items(), key=lambda layer: layer[1][-1][0].end)
    return [_layer_time(name, charged, timeline, machine) for name, charged in completed]


def _layer_time(name: str, charged: list[tuple[Event, float]], timeline: Timeline, machine: Machine) -> LayerTime:
    """The table's row of a layer from its events and the time charged for each."""
    cycles = sum(time for _, time in charged)
    macs = sum(event.cost.macs for event, _ in charged)
    fetched = sum(timeline.instruction_bytes[event.stream][event.index] for event, _ in charged)
    moved = sum(event.cost.dram_bytes for event, _ in charged) + fetched
    clusters = timeline.clusters
    busy = {
        "mac": sum(event.cost.unit for event, _ in charged if event.stream.queue == Queue.MAC) / clusters,
        "vector": sum(event.cost.unit for event, _ in charged if event.stream.queue == Queue.VEC) / clusters,
        "dram": sum(event.cost.dram(machine) for event, _ in charged) + fetched / machine.dram_bytes_per_cycle,
        "link": sum(event.cost.link(machine) for event, _ in charged) if timeline.parts["card-link"] else 0.0,
    }
    peak = machine.cluster_macs_per_cycle * clusters * timeline.cards
    utilization = macs / peak / (max(cycles, busy["mac"]) or 1.0)
    bound = max(busy, key=lambda unit: busy[unit])
    steps = sum(event.cost.steps for event, _ in charged if event.stream.queue == Queue.MAC)
    computing = {event.stream[::2] for event, _ in charged if event.layer and event.stream.queue in _COMPUTING}
    share = min(busy[bound] / cycles, 1.0) if cycles else 0.0
    return LayerTime(name, cycles, macs, steps, len(computing), utilization, moved, bound, share)


def scratchpad_traffic(ordered: OrderedProgram, machine: Machine) -> Counter[str]:
    """Bytes of scratchpads that instructions read and write, by layer, see `scratchpad_bytes`."""
    found = Counter[str]()
    for stream, items in ordered.queues.items():
        program = ordered.programs[stream.card]
        for item, layer in zip(items, program.layer_of[stream._replace(card=0)].tolist(), strict=True):
            moved = scratchpad_bytes(item, stream.cluster, machine) if layer != NO_LAYER else 0
            if moved:
                found[program.layers[layer]] += moved
    return found


def scratchpad_bytes(item: Instruction, cluster: int, machine: Machine) -> int:
    """Bytes that an instruction of a cluster reads from scratchpads and writes to them.

    The array reads weights in every step, and the pixels of a dense convolution; of a depthwise one it keeps lines
    along a row. The vector unit reads what it makes an element of, window by window. All else passes once."""
    read = {Space.MAPS, Space.WEIGHTS} if isinstance(item, (Convolve, ConvolveDepthwise)) else set[Space]()
    again = 0
    if isinstance(item, Convolve):
        again = cost(item, machine).steps * machine.input_lanes * (machine.output_lanes + machine.pixel_lanes)
    elif isinstance(item, ConvolveDepthwise):
        rows = item.output_height * item.kernel_height * item.input_width * item.blocks * CHANNEL_BLOCK
        again = cost(item, machine).steps * machine.depthwise_taps * machine.output_lanes + rows
    elif isinstance(item, MapInstruction):
        read, again = {Space.MAPS}, map_bytes(item)
    touched = (access for access in item.accesses(cluster) if access.space not in {Space.DRAM, *read})
    return again + sum(access.bytes for access in touched)


ROUNDS = 5
"""How often each stage of the host is measured; the median counts."""


class Message(Immutable):
    """Inputs of a device program on their way to the card, or its outputs on theirs to the host.

    Attributes:
        program: the device program.
        card: of those that run it together, from 0.
        to: ``card`` or ``host``.
        bytes: the whole region, channels that are padded to blocks included, for every run of the program.
        seconds: modelled, one run after the other.
    """

    program: str
    card: int
    to: str
    bytes: int
    seconds: float


class HostStage(Immutable):
    """Operators that the CPU runs in one piece.

    Attributes:
        after, before: the device programs on either side; empty at the begin and the end of the network.
        operators: how many.
        seconds: measured on this machine; None where it was not.
    """

    after: str
    before: str
    operators: int
    seconds: float | None


class HostReport(Immutable):
    """What happens beside the device's total, in none of whose figures it is.

    Attributes:
        messages: over the link, modelled; empty where that is left out.
        stages: on the CPU, in order.
        rounds: how often each stage was measured; 0 for not at all.
        not_measured: why not; empty where they were.
    """

    messages: tuple[Message, ...]
    stages: tuple[HostStage, ...]
    rounds: int
    not_measured: str

    def lines(self) -> list[str]:
        """The report as lines for people."""
        found: list[str] = []
        if self.messages:
            moved, seconds = sum(each.bytes for each in self.messages), sum(each.seconds for each in self.messages)
            found.append(f"beside it, modelled: link to the host {show_seconds(seconds)} for {show_bytes(moved)}")
            for each in self.messages:
                end = f"{'to the card' if each.to == 'card' else 'to the host'}, {on_one_line(each.program)}"
                card = f", card {each.card}" if each.card else ""
                found.append(f"  {end}{card}: {show_seconds(each.seconds)} for {show_bytes(each.bytes)}")
        if self.rounds:
            found.append(
                f"beside it, measured on this machine's CPU, median of {self.rounds}, no part of any total above:"
            )
        elif self.stages:
            found.append(f"beside it, operators on the CPU, not measured: {on_one_line(self.not_measured)}")
        found += [f"  {_place(each)}: {_work(each)}" for each in self.stages]
        return found


def _place(stage: HostStage) -> str:
    if stage.after and stage.before:
        return f"between {on_one_line(stage.after)} and {on_one_line(stage.before)}"
    if stage.before:
        return f"before {on_one_line(stage.before)}"
    return f"after {on_one_line(stage.after)}" if stage.after else "alone"


def _work(stage: HostStage) -> str:
    operators = show_number(stage.operators, "operator")
    return operators if stage.seconds is None else f"{show_seconds(stage.seconds)} for {operators}"


def report_host(
    artifact: Artifact, programs: Mapping[str, Sequence[Program]], *, link: bool = True, measured: bool = False
) -> HostReport:
    """What the host does for one inference of engine ``device``.
    ``programs``: the device programs by name, for each card that runs one together.
    ``link``: whether to report messages.
    ``measured``: whether to run the operators on the CPU. The code of the artifact runs only if it is trusted and
    fits this processor; nothing is compiled. Device programs run once, in the simulator."""
    engine = artifact.manifest.engines.get("device")
    messages = tuple(
        each
        for name, cards in programs.items()
        for card, program in enumerate(cards)
        for each in _messages(name, card, program, engine.runs_of(name) if engine is not None else 1)
        if link and (each.bytes or len(cards) == 1)
    )
    stages = tuple(HostStage(*piece[2:], None) for piece in host_pieces(engine)) if engine is not None else ()
    if not stages or not measured:
        return HostReport(messages, stages, 0, "left out" if stages else "")
    try:
        with load(artifact, engine="device", regenerate=False) as session:
            times = session.host_times(rounds=ROUNDS)
    except (ArtifactError, InputError, ResourceError, TrustError) as error:
        return HostReport(messages, stages, 0, str(error))
    measured_stages = tuple(HostStage(*each.piece[2:], each.milliseconds / 1e3) for each in times)
    return HostReport(messages, measured_stages, ROUNDS, "")


def _messages(name: str, card: int, program: Program, runs: int) -> list[Message]:
    """One to send the inputs of each run of a device program to a card, and one to fetch its outputs from there."""
    machine = program.machine
    found: list[Message] = []
    for kind, to in ((RegionKind.INPUT, "card"), (RegionKind.OUTPUT, "host")):
        moved = sum(region.size for region in program.regions if region.kind is kind)
        seconds = host_link_cycles(machine, moved) / machine.clock_hertz
        found.append(Message(name, card, to, moved * runs, seconds * runs))
    return found
