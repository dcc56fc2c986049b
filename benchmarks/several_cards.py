"""Several cards in modelled time: a batch shared out over them, and one network cut over them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from device_networks import Scheduled, Schedules, outlined

from tilewright.codegen.device.program import assemble, feature_maps
from tilewright.ir.core import Function, Module, is_op
from tilewright.ir.ops.call import Call
from tilewright.runtime.execution.device import as_map
from tilewright.runtime.machines.machine import Machine, load
from tilewright.runtime.simulator.cycles import simulate
from tilewright.runtime.simulator.functional import CardsEngine
from tilewright.runtime.simulator.verifier import drafted

BATCH_SPEEDUP = 1.95
"""Two cards over one at batch, at least."""


@dataclass(frozen=True)
class CardCase:
    """A network on one card or several.

    Attributes:
        clusters: of each card, that work.
        images: that the network takes at once; one is cut over the cards, several are shared out.
        images_per_cluster: how many images each cluster works on at once; 0: all clusters of a card on each.
    """

    network: str
    machine: str
    clusters: int
    images: int
    cards: int
    images_per_cluster: int = 0

    @property
    def key(self) -> str:
        """Its name among the rows."""
        parts = [self.network, self.machine, _counted(self.clusters, "cluster"), _counted(self.images, "image")]
        parts.append(_counted(self.cards, "card"))
        if self.images_per_cluster:
            parts.append(f"{self.images_per_cluster} for a cluster")
        return ", ".join(parts)


CARD_CASES = (
    *(CardCase("ResNet-50", "m4096", 4, 16, cards, 1) for cards in (1, 2)),
    *(CardCase("ResNet-50", "m4096", 4, 4, *how) for how in ((1, 0), (1, 1), (2, 0))),
    *(CardCase("ResNet-50", "s256", 1, 4, cards, 1) for cards in (1, 2)),
    *(CardCase("ResNet-50", "u250", 8, 8 * each, 1, each) for each in (1, 2)),
    *(CardCase(network, "m4096", 4, 1, cards) for network in ("ResNet-50", "MobileNetV2") for cards in (1, 2)),
)


@dataclass(frozen=True)
class CardRow:
    """A case in modelled time, its device functions one after the other on the card that takes longest.

    Attributes:
        images, cards, images_per_cluster: of the case.
        calls: how often the card calls each function.
        dram_bytes: of all cards.
        link_bytes: from card to card.
        link: cycles of the links for that, the latency of each message with them.
        busiest: cycles of the card that takes longest if no message is waited for.
        bytes: a digest of the results for operands made up by chance; empty for several images.
    """

    key: str
    network: str
    machine: str
    clusters: int
    images: int
    cards: int
    images_per_cluster: int
    calls: int
    cycles: float
    dram_bytes: int
    link_bytes: int
    link: float
    busiest: float
    bytes: str


class CardRows:
    """Makes rows.

    Args:
        machine_file: writes the description of a machine; its path.
    """

    def __init__(self, schedules: Schedules, machine_file: Callable[[Machine], str]) -> None:
        self._schedules = schedules
        self._machine_file = machine_file

    def row(self, case: CardCase, network: Module, machine: Machine, report: Callable[[int, int], None]) -> CardRow:
        """The row of a case.

        Args:
            network: with ops on quantised types, for as many images as the case.
            machine: with as many cards.
        """
        name = self._machine_file(machine)
        cards, split = (1, case.cards) if case.images == 1 else (case.cards, 1)
        module = outlined(network, name, case.clusters, cards, case.images_per_cluster, split)
        found = self._schedules.recall(module, name, case.clusters, report)
        shared = {op.operator.callee: op.operator.shares for op in module.main.ops if is_op(op, Call)}
        calls = [-(-shared[each.name] // cards) for each in found]
        timelines = [each.timeline for each in found]
        sent = sum(timeline.link_bytes for timeline in timelines)
        return CardRow(
            case.key,
            case.network,
            load(case.machine).name,
            case.clusters,
            case.images,
            case.cards,
            case.images_per_cluster,
            max(calls),
            sum(timeline.cycles * count for timeline, count in zip(timelines, calls, strict=True)),
            sum(time.dram_bytes * shared[each.name] for time, each in zip(timelines, found, strict=True)),
            sent,
            sum(timeline.parts["card-link"] for timeline in timelines) if sent else 0.0,
            sum(_busiest(each, machine) for each in found),
            results_digest(module, found, machine) if case.images == 1 else "",
        )


def _busiest(found: Scheduled, machine: Machine) -> float:
    """Cycles of the card that takes longest if no message is waited for."""
    return max(simulate(drafted(assemble(each, machine).assembler)).cycles for each in found.lowered)


def results_digest(module: Module, found: Sequence[Scheduled], machine: Machine) -> str:
    """A digest of what the functional engine computes of operands made up by chance."""
    digest = hashlib.sha256()
    for each in found:
        whole = module.functions[each.name]
        rng = np.random.default_rng(0)
        operands = []
        for value in whole.parameters:
            bounds = np.iinfo(value.type.dtype.numpy)
            operands.append(rng.integers(bounds.min, bounds.max + 1, value.type.shape).astype(bounds.dtype))
        for array in run(whole, each, machine, operands):
            digest.update(array.tobytes())
    return digest.hexdigest()


def run(whole: Function, found: Scheduled, machine: Machine, operands: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The results of what the device runs at one call, by the functional engine.

    Args:
        operands: for the parameters of ``whole``, stored integers.
    """
    programs = [each.program for each in found.built]
    constants = [{"constants": np.frombuffer(each.constants, np.uint8)} for each in found.built]
    # A schedule that another case made has functions of its own, of the same names.
    functions = found.functions if len(found.functions) > 1 else [whole]
    inputs, outputs = feature_maps(whole, functions, found.built)
    regions = [
        {region.name: np.zeros(region.size, np.uint8) for region in program.regions if region.name == "input"}
        for program in programs
    ]
    for ref, array in zip(inputs, operands, strict=True):
        ref.view(regions[ref.card]["input"])[...] = as_map(np.ascontiguousarray(array))
    produced = CardsEngine(programs, machine, constants).run(regions)
    results: list[np.ndarray] = []
    for ref, value in zip(outputs, whole.results, strict=True):
        array = np.empty(value.type.shape, value.type.dtype.numpy)
        as_map(array)[...] = ref.view(produced[ref.card]["output"])
        results.append(array)
    return results


def batch_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Two cards over one for several images, each in the faster of its modes."""
    best: dict[tuple[str, str, int, int], Mapping[str, Any]] = {}
    for row in rows:
        key = row["network"], row["machine"], row["images"], row["cards"]
        if key not in best or row["cycles"] < best[key]["cycles"]:
            best[key] = row
    lines: list[str] = []
    for (network, machine, images, cards), one in best.items():
        two = best.get((network, machine, images, 2))
        if cards > 1 or images == 1 or two is None:
            continue
        speedup = one["cycles"] / two["cycles"]
        lines.append(
            f"{network} on {machine}, {images} images on two cards over one: **{speedup:.2f}x** "
            f"({_thousands(one['cycles'])}, {_mode(one)}, to {_thousands(two['cycles'])} k cycles, {_mode(two)}), "
            f"target ≥ {BATCH_SPEEDUP}: {'met' if speedup >= BATCH_SPEEDUP else 'missed'}"
        )
    return lines


def cut_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """One network cut over two cards beside one card."""
    single = {(row["network"], row["machine"], row["cards"]): row for row in rows if row["images"] == 1}
    lines: list[str] = []
    for (network, machine, cards), one in single.items():
        two = single.get((network, machine, 2))
        if cards > 1 or two is None:
            continue
        same = "the bytes of one card" if one["bytes"] == two["bytes"] else "**other bytes than one card**"
        lines.append(
            f"{network} on {machine}, one image cut over two cards: {_thousands(two['cycles'])} k cycles beside "
            f"{_thousands(one['cycles'])} on one (**{one['cycles'] / two['cycles']:.2f}x**), {same}; "
            f"{two['link_bytes'] / 1000:,.0f} kB cross, {_thousands(two['link'])} k cycles of the link; "
            f"the busier card alone takes {_thousands(two['busiest'])}, the least for each image of a stream of them"
        )
    return lines


def _thousands(cycles: float) -> str:
    return f"{cycles / 1000:,.1f}"


def _mode(row: Mapping[str, Any]) -> str:
    each = row["images_per_cluster"]
    mode = f"{_counted(each, 'image')} for each cluster" if each else "all clusters on each image"
    return mode + (f", {row['calls']} calls" if row["calls"] > 1 else "")


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"
