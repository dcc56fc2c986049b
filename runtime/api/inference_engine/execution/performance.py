"""How long each layer of a network took: what ``get_perf_counts`` tells."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from ....profile import StepTime
from .facts import LayerFacts, NetworkFacts

EXECUTED, NOT_RUN, OPTIMIZED_OUT = "EXECUTED", "NOT_RUN", "OPTIMIZED_OUT"

_DEVICE = "device"
"""The operator of steps that run a device program."""

_ENDS = ("input", "parameter", "output", "result")
"""Types of layers that stand for what goes in and comes out, and compute nothing."""

_NO_KERNEL = "undef"
"""The kernel of layers that have none of their own."""

_DIGEST = re.compile(r"_[0-9a-f]{12,16}$")
"""What the names of kernels end in."""

Count = dict[str, "str | int"]


class Counters:
    """The times of the steps of a network over all runs of one request.

    Attributes:
        runs: how many.
        steps: the steps of one run, in order of execution.
        milliseconds: of each, all runs together.
    """

    def __init__(self) -> None:
        self.runs = 0
        self.steps: list[StepTime] = []
        self.milliseconds: list[float] = []

    def add(self, times: Sequence[StepTime], items: int) -> None:
        """Count one run, in which every step was executed for so many items, one item after the other."""
        length = len(times) // items
        if not self.steps:
            self.steps = list(times[:length])
            self.milliseconds = [0.0] * length
        for index, time in enumerate(times):
            self.milliseconds[index % length] += time.milliseconds
        self.runs += 1


def layers_on_device(details: object) -> list[tuple[str, ...]]:
    """The layers of each device program, in order of execution, by what an artifact records of its placement."""
    found: list[tuple[str, ...]] = []
    before = ""
    for op in details if isinstance(details, (list, tuple)) else ():
        place, nodes = (op.get("on"), op.get("nodes")) if isinstance(op, Mapping) else ("", ())
        if place == _DEVICE and isinstance(nodes, (list, tuple)):
            names = tuple(name for name in nodes if isinstance(name, str))
            found[-1:] = [(*found[-1], *names)] if before == _DEVICE else [*found[-1:], names]
        before = place
    return [tuple(dict.fromkeys(names)) for names in found]


def performance(
    facts: NetworkFacts, counters: Sequence[Counters], on_device: Sequence[tuple[str, ...]] = ()
) -> dict[str, Count]:
    """Averages over all runs by layer, in the order of names.

    The time of a step belongs to the first of the layers that it stands for. The others of them are ``NOT_RUN``, and
    layers that no step is left of are ``OPTIMIZED_OUT``. A step that stands for no layer has an entry of its own.

    Args:
        on_device: the layers of each device program.
    """
    with_runs = [each for each in counters if each.runs]
    runs = sum(each.runs for each in with_runs)
    layers = {layer.name: layer for layer in facts.layers}
    steps = with_runs[0].steps if with_runs else []
    fused: set[str] = set()
    found: dict[str, Count] = {}
    programs = iter(on_device)
    for index, step in enumerate(steps):
        nodes = next(programs, ()) if step.step.op == _DEVICE else step.step.loc
        known = [name for name in nodes if name in layers]
        name = known[0] if known else step.step.name
        fused.update(known[1:])
        microseconds = math.ceil(sum(each.milliseconds[index] for each in with_runs) / runs * 1000)
        layer = layers.get(name)
        entry = found.setdefault(_key(layer, name), _count(layer.type if layer else step.step.op, EXECUTED, index))
        if entry["exec_type"] == _NO_KERNEL:
            entry["exec_type"] = kernel_name(step.kernel)
        entry["real_time"] = entry["cpu_time"] = int(entry["real_time"]) + microseconds
    for layer in facts.layers:
        is_left = not steps or layer.name in fused or layer.type.lower() in _ENDS
        found.setdefault(_key(layer, layer.name), _count(layer.type, NOT_RUN if is_left else OPTIMIZED_OUT, len(steps)))
    return dict(sorted(found.items()))


def kernel_name(kernel: str | None) -> str:
    """The name of a kernel as programs print it."""
    return _DIGEST.sub("", kernel or "") or "ref_any"


def _key(layer: LayerFacts | None, name: str) -> str:
    return f"subgraph{layer.subgraph}: {name}" if layer is not None and layer.subgraph else name


def _count(layer_type: str, status: str, index: int) -> Count:
    return {
        "exec_type": _NO_KERNEL,
        "real_time": 0,
        "cpu_time": 0,
        "status": status,
        "layer_type": layer_type,
        "execution_index": index,
    }
