"""How long the parts of a run take: what executors measure and `Session.profile` reports."""

from itertools import groupby
from typing import NamedTuple

import numpy as np

from tilewright.errors import printable

from .artifact.manifest import CpuStage, DeviceStage, Engine, StepInfo


class StepTime(NamedTuple):
    """One execution of a step.
    ``start``: in seconds of `time.perf_counter`.
    ``helpers``: numbers of the threads that were called to take part, beside the one that runs the step."""

    step: StepInfo
    kernel: str
    milliseconds: float
    start: float
    helpers: tuple[int, ...] = ()


class HostPiece(NamedTuple):
    """Stages [first, last) of an engine, which the host does in one piece.

    `after` and `before` name the device programs on either side, or are empty; `operators` counts steps."""

    first: int
    last: int
    after: str
    before: str
    operators: int


def host_pieces(engine: Engine) -> list[HostPiece]:
    """What the host does around and between device programs, in order."""
    found: list[HostPiece] = []
    after, at = "", 0
    for on_host, group in groupby(engine.stages, lambda stage: not isinstance(stage, DeviceStage)):
        stages = list(group)
        following = at + len(stages)
        if on_host:
            operators = sum(stage.last - stage.first if isinstance(stage, CpuStage) else 1 for stage in stages)
            next_one = engine.stages[following] if following < len(engine.stages) else None
            before = next_one.program if next_one is not None else ""
            found.append(HostPiece(at, following, after, before, operators))
        else:
            after = stages[-1].program
        at = following
    return found


class HostTime(NamedTuple):
    """What the host does in one piece, and the median of its times."""

    piece: HostPiece
    milliseconds: float


class StepProfile(NamedTuple):
    """A step of the network and the median of its times.

    `kernel` names what executed it: a kernel function, ``reference`` for the reference interpreter, or the device.
    `nodes` are the nodes of the source model; `macs` and `bytes` count per run."""

    name: str
    op: str
    nodes: tuple[str, ...]
    kernel: str
    macs: int
    bytes: int
    milliseconds: float


class Profile(NamedTuple):
    """Times of an engine: the median of whole runs in milliseconds, and of each step, in order of execution."""

    engine: str
    rounds: int
    milliseconds: float
    steps: tuple[StepProfile, ...]

    def _repr_html_(self) -> str:
        from html import escape

        columns = ((escape(printable(each.name)), escape(each.op), f"{each.milliseconds:.3f}") for each in self.steps)
        body = "".join(f"<tr><td>{'</td><td>'.join(each)}</td></tr>" for each in columns)
        return f"<table><caption>Engine {self.engine}: {self.milliseconds:.3f} ms</caption>{body}</table>"


def combine(rounds: list[list[StepTime]]) -> tuple[StepProfile, ...]:
    """Medians of each step over rounds that executed the same steps."""
    return tuple(
        StepProfile(
            first.step.name,
            first.step.op,
            first.step.loc,
            first.kernel,
            first.step.macs,
            first.step.bytes,
            float(np.median([times[index].milliseconds for times in rounds])),
        )
        for index, first in enumerate(rounds[0])
    )
