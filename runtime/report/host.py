"""What the host does beside the device programs of an artifact: messages over the link, and operators on the CPU.

The link is modelled with the constants of the machine description. Operators on the CPU are measured, on the machine at
hand: their times say nothing of another host, and no sum with modelled times is made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tilewright.errors import ArtifactError, InputError, ResourceError, TrustError
from tilewright.immutable import Immutable

from ..artifact.artifact import Artifact
from ..isa.program import Program, RegionKind
from ..machines.cost import host_link_cycles
from ..session import load
from .table import on_one_line, show_bytes, show_number, show_seconds

ROUNDS = 5
"""How often each stage of the host is measured; the median counts."""


@dataclass(frozen=True)
class Message:
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

    Args:
        programs: the device programs by name, for each card that runs one together.
        link: whether to report messages.
        measured: whether to run the operators on the CPU. The code of the artifact runs only if it is trusted and fits
            this processor; nothing is compiled. Device programs run once, in the simulator.
    """
    engine = artifact.manifest.engines.get("device")
    messages = tuple(
        each
        for name, cards in programs.items()
        for card, program in enumerate(cards)
        for each in _messages(name, card, program, engine.runs_of(name) if engine is not None else 1)
        if link and (each.bytes or len(cards) == 1)
    )
    stages = tuple(HostStage(*piece[2:], None) for piece in engine.host_pieces) if engine is not None else ()
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
