"""What a page tells of each layer of a network: its place and why, what it computes, and every time that is known."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from tilewright.errors import InputError
from tilewright.immutable import Immutable

from ...runtime.artifact.artifact import Artifact
from ...runtime.files.input_file import input_file
from ...runtime.profile import Profile
from ...runtime.report.details import EngineLayer, details_of
from ...runtime.report.placement import first_of
from ...runtime.report.simulation import SimulatedLayer, Simulation
from ...runtime.report.table import MACS, Column, Table, show_bytes, show_kernel

ACCELERATOR, CPU, REFERENCE, NOWHERE = PLACES = ("accelerator", "CPU", "reference", "nowhere")
"""Where layers run; the third is the slow reference, for operators without a kernel, and the last of layers that only
give elements of another one a shape."""

_LONGEST = 2**26
"""Bytes of a comparison."""

_EQUAL = 1e3
"""dB that stand for no difference at all."""


class _Step(Protocol):
    """What has a name and an operator."""

    @property
    def name(self) -> str: ...
    @property
    def op(self) -> str: ...


T = TypeVar("T", bound=_Step)


class Layer(Immutable):
    """A layer of the engine that is shown.

    Attributes:
        name, op, output: of its result, the operator, the shape.
        operands: names of the tensors that it reads.
        place: of `PLACES`; ``why`` says why not on the accelerator.
        seconds: modelled on the accelerator; ``simulated`` has the rest of the model.
        cpu_seconds, cpu_bytes, kernel: measured on this CPU, in the engine that was measured; what it moves there.
        sqnr: dB of its result in a comparison.
    """

    name: str
    op: str
    output: tuple[int, ...]
    operands: tuple[str, ...]
    place: str
    why: str = ""
    nodes: tuple[str, ...] = ()
    macs: int = 0
    seconds: float | None = None
    simulated: SimulatedLayer | None = None
    cpu_seconds: float | None = None
    cpu_bytes: int = 0
    kernel: str = ""
    sqnr: float | None = None


def layers_of(
    artifact: Artifact, engine: str, simulation: Simulation | None, profile: Profile | None, sqnr: Mapping[str, float]
) -> list[Layer]:
    """The layers of an engine, in order of execution.
    ``simulation``: of the device's programs, where the engine has any.
    ``profile``: of an engine on this CPU.
    ``sqnr``: dB by node of the model, as `read_comparison` gives it."""
    manifest, details = artifact.manifest, details_of(artifact)
    steps = _Named(manifest.steps_of(engine))
    placed = _Named(details.placement if engine == "device" else ())
    times = {each.name: each for each in simulation.layers} if simulation is not None and engine == "device" else {}
    cycle = simulation.total.seconds / simulation.total.cycles if simulation is not None and times else 0.0
    measured = _Named(profile.steps if profile is not None else ())
    found: list[Layer] = []
    for each in details.layers or placed.items or steps.items:
        name, op = each.name, each.op
        own, step, timed = placed.pop(name, op), steps.pop(name, op), measured.pop(name, op)
        shape = each if isinstance(each, EngineLayer) else None
        on_device = own is not None and own.on == "device"
        time = times.get(name) if on_device else None
        is_slow = not on_device and step is not None and step.reference and not step.on_device
        nodes = own.nodes if own is not None else step.loc if step is not None else ()
        known = [sqnr[node] for node in reversed((name, *nodes)) if node in sqnr]
        kernel = timed.kernel if timed is not None else step.kernel if step is not None else None
        found.append(
            Layer(
                name,
                op,
                shape.output if shape is not None else (),
                shape.operands if shape is not None else (),
                ACCELERATOR if on_device else NOWHERE if step is None else REFERENCE if is_slow else CPU,
                "no kernel computes it" if is_slow else own.why if own is not None and not on_device else "",
                nodes,
                own.macs if own is not None else step.macs if step is not None else 0,
                time.cycles * cycle if time is not None else None,
                time,
                timed.milliseconds / 1e3 if timed is not None else None,
                timed.bytes if timed is not None else 0,
                show_kernel(kernel or ""),
                known[0] if known else None,
            )
        )
    return found


class _Named(Generic[T]):
    """Items by name and operator: what lays out a result anew has the name of what computes it."""

    def __init__(self, items: Sequence[T]) -> None:
        self.items = items
        self._own: dict[str, list[T]] = {}
        for each in items:
            self._own.setdefault(each.name, []).append(each)

    def pop(self, name: str, op: str) -> T | None:
        """The first that has this name, and this operator if any of that name has; none is given twice."""
        own = self._own.get(name, [])
        found = next((each for each in own if each.op == op), own[0] if own else None)
        if found is not None:
            own.remove(found)
        return found


def layer_table(layers: list[Layer]) -> Table:
    """A row for each layer, with the columns of which any layer has a value; numbers are what columns sort by."""
    columns = [
        Column("number", "#", right=True),
        Column("name", "layer"),
        Column("op", "operator"),
        Column("place", "runs on"),
        Column("output", "output"),
        MACS,
        Column("microseconds", "modelled (µs)", show=lambda time: f"{time:.2f}", right=True),
        Column("bound", "bound"),
        Column("utilization", "MAC use", show="{:.1%}".format, right=True),
        Column("fill", "lane fill", show="{:.1%}".format, right=True),
        Column("clusters", "clusters", right=True),
        Column("dram", "DRAM", show=show_bytes, right=True),
        Column("sram", "SRAM", show=show_bytes, right=True),
        Column("cpu", "CPU (µs)", show=lambda time: f"{time:.1f}", right=True),
        Column("rate", "GMAC/s", show=lambda rate: f"{rate:.1f}", right=True),
        Column("kernel", "CPU kernel"),
        Column("sqnr", "SQNR (dB)", show=lambda value: "equal" if value >= _EQUAL else f"{value:.1f}", right=True),
        Column("why", "why there"),
        Column("nodes", "source nodes"),
    ]
    rows: list[Mapping[str, object]] = []
    for number, each in enumerate(layers, 1):
        time, cpu = each.simulated, each.cpu_seconds
        row = {
            "number": number,
            "name": each.name,
            "op": each.op,
            "place": each.place,
            "output": "×".join(map(str, each.output)) or None,
            "macs": each.macs or None,
            "microseconds": each.seconds * 1e6 if each.seconds is not None else None,
            "bound": time.bound if time else None,
            "utilization": time.mac_utilization or None if time else None,
            "fill": time.lane_fill if time else None,
            "clusters": time.clusters if time else None,
            "dram": time.dram_bytes or None if time else None,
            "sram": time.sram_bytes or None if time else None,
            "cpu": cpu * 1e6 if cpu is not None else None,
            "rate": each.macs / cpu / 1e9 if cpu and each.macs else None,
            "kernel": each.kernel or None,
            "sqnr": each.sqnr,
            "why": each.why or None,
            "nodes": first_of(each.nodes) or None,
        }
        rows.append({key: value for key, value in row.items() if value is not None})
    used = {key for row in rows for key in row}
    return Table([column for column in columns if column.key in used], rows)


def read_comparison(path: Path) -> dict[str, float]:
    """dB by value and by node of the model, of what ``tilewright compare --json`` wrote.
    Raises InputError: the file cannot be read, or holds something else."""
    with input_file(str(path)) as file:
        text = file.read(_LONGEST)
    found: dict[str, float] = {}
    try:
        for each in json.loads(text)["result"]["values"]:
            value = float(each["sqnr"])
            decibels = 0.0 if math.isnan(value) else min(max(value, -_EQUAL), _EQUAL)
            found.update({str(name): decibels for name in (each["name"], *each["nodes"][-1:])})
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InputError(
            f"{path} holds no comparison",
            expected="JSON with result.values, each with 'name', 'nodes' and a number 'sqnr'",
            hint="`tilewright compare MODEL X.twa --data … --json comparison.json` writes one.",
        ) from None
    return found
