"""Modelled time of networks on the sample accelerators, against their targets and what no schedule can be faster than.

    TILEWRIGHT_DATA=FOLDER python benchmarks/device_performance.py [--write docs/device_performance.md] [--json FILE]
        [--filter TEXT] [--effort normal]

Batch 1, and batches on several cards; int8, all costs of the cycle model. Nothing here is measured on silicon. Rows of
an existing JSON file that the filter leaves out stay, so that the document can be made of rows from several runs. Exits
with 0 whatever is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from device_bounds import convolution_cycles, floors, is_convolution, weight_bytes
from device_networks import NETWORKS, Scheduled, Schedules, is_there, outlined, quantized
from device_performance_document import document
from report import replace_section
from several_cards import CARD_CASES, CardCase, CardRow, CardRows

from tilewright.ir.core import Module
from tilewright.runtime.commands.console import progress_bar
from tilewright.runtime.isa.encoding import Queue
from tilewright.runtime.machines.machine import Machine, load


@dataclass(frozen=True)
class Case:
    """A network on a machine.

    Attributes:
        clusters: that work on an image.
        slower: what the bandwidth of the DRAM is divided by.
    """

    network: str
    machine: str
    clusters: int = 1
    slower: int = 1

    @property
    def key(self) -> str:
        """Its name among the rows."""
        parts = [self.network, self.machine, f"{self.clusters} cluster{'s' * (self.clusters > 1)}"]
        return ", ".join(parts + [f"DRAM / {self.slower}"] * (self.slower > 1))


CASES = (
    *(Case(network, machine, count) for machine, count in (("s256", 1), ("m4096", 4)) for network in NETWORKS),
    *(Case(network, "u250", 8) for network in ("ResNet-50", "GoogLeNet", "MobileNetV2")),
    Case("ResNet-50", "m4096", 1, slower=4),
    Case("ResNet-50", "m4096", 1),
)


@dataclass(frozen=True)
class Row:
    """A case in modelled time, its device functions one after the other.

    Attributes:
        macs, convolution_macs: of the network's ops on the device, without padding; those of convolutions alone.
        convolution_cycles: as `device_bounds.convolution_cycles` counts.
        dram_bytes: moved, those of instructions included.
        needed_bytes: weights, inputs and outputs of the device functions, each once.
        peak: multiplications of all clusters of the machine in a cycle.
        floor, convolution_floor: cycles that no schedule goes below, of all ops and of the convolutions alone.
        floor_of: the resource that says so.
        array, vector, dram: cycles that each is busy, on average over clusters.
        plan: what schedules were made for, where not for all of the machine.
    """

    key: str
    network: str
    machine: str
    clusters: int
    slower: int
    clock_hertz: int
    peak: int
    cycles: float
    macs: int
    convolution_cycles: float
    convolution_macs: int
    dram_bytes: int
    needed_bytes: int
    floor: float
    floor_of: str
    convolution_floor: float
    convolution_floor_of: str
    array: float
    vector: float
    dram: float
    plan: str


def row_of(case: Case, machine: Machine, found: list[Scheduled]) -> Row:
    """The figures of a case whose functions are scheduled."""
    sums: dict[str, float] = dict.fromkeys(
        ("floor", "convolution_floor", "array", "vector", "dram", "convolution_cycles"), 0.0
    )
    needed, plans, reasons = 0, [], {"floor": ("", 0.0), "convolution_floor": ("", 0.0)}
    ops = [op for each in found for op in each.functions[0].ops]
    for each in found:
        (function,), timeline = each.functions, each.timeline
        own, convolutions = [*function.ops], [op for op in function.ops if is_convolution(op)]
        ends = sum(value.type.elements for value in (*function.parameters, *function.results))
        traffic = sum(map(weight_bytes, own)) + ends
        needed += traffic
        for name, some, moved in (
            ("floor", own, traffic),
            ("convolution_floor", convolutions, sum(map(weight_bytes, convolutions))),
        ):
            what, cycles = floors(some, machine, case.clusters, moved, ends=name == "floor").highest
            sums[name] += cycles
            reasons[name] = max(reasons[name], (what, cycles), key=lambda reason: reason[1])
        layers = {op.result.name for op in convolutions}
        sums["convolution_cycles"] += convolution_cycles(timeline.events, layers)
        for unit, queue in (("array", Queue.MAC), ("vector", Queue.VEC)):
            busy = sum(event.cost.unit for event in timeline.events if event.stream.queue == queue)
            sums[unit] += busy / case.clusters
        openings = timeline.parts["row-openings"] + timeline.parts["turnaround"]
        sums["dram"] += timeline.dram_bound + openings
        if each.plan is not None and (each.plan.reduced or each.plan.clusters != case.clusters):
            reduced = [f"{name}={value}" for name, value in each.plan.reduced]
            fewer = [f"clusters={each.plan.clusters}"] if each.plan.clusters != case.clusters else []
            plans.append(f"{function.name}: {', '.join([*fewer, *reduced])}")
    return Row(
        case.key,
        case.network,
        machine.name,
        case.clusters,
        case.slower,
        machine.clock_hertz,
        machine.cluster_macs_per_cycle * machine.clusters * machine.cards,
        sum(each.timeline.cycles for each in found),
        sum(op.macs for op in ops),
        sums["convolution_cycles"],
        sum(op.macs for op in ops if is_convolution(op)),
        sum(each.timeline.dram_bytes for each in found),
        needed,
        sums["floor"],
        reasons["floor"][0],
        sums["convolution_floor"],
        reasons["convolution_floor"][0],
        sums["array"],
        sums["vector"],
        sums["dram"],
        "; ".join(plans),
    )


def measure(case: Case, module: Module, folder: Path, schedules: Schedules, report: Callable[[int, int], None]) -> Row:
    """The row of a case.

    Args:
        module: the network with ops on quantised types.
        folder: for a machine file.
    """
    machine, name = load(case.machine), case.machine
    if case.slower > 1:
        machine = replace(machine, dram_bytes_per_second=machine.dram_bytes_per_second // case.slower)
        name = machine_file(folder, machine)
    return row_of(case, machine, schedules.make(outlined(module, name, case.clusters), name, case.clusters, report))


def machine_file(folder: Path, machine: Machine) -> str:
    """The description of a machine as a file; its path."""
    file = folder / f"{machine.hash}.json"
    file.write_text(json.dumps({"format": 1, **machine.to_dictionary()}), encoding="utf-8")
    return str(file)


def _wanted(name: str) -> list[Case | CardCase]:
    """The case of this name, or those whose names contain it."""
    every = [*CASES, *CARD_CASES]
    return [case for case in every if case.key == name] or [case for case in every if name in case.key]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--filter", default="", help="only cases whose name contains this, or the one that has this name"
    )
    parser.add_argument("--effort", default="normal", help="as of tilewright compile")
    parser.add_argument("--json", type=Path, help="where to write the rows")
    parser.add_argument("--write", type=Path, help="the document whose section to replace")
    options = parser.parse_args()
    sys.setrecursionlimit(100_000)
    rows: dict[str, Mapping[str, object]] = {}
    if options.json is not None and options.json.exists():
        rows = {row["key"]: row for row in json.loads(options.json.read_text(encoding="utf-8"))}
    modules: dict[tuple[str, int], Module] = {}
    with progress_bar() as report, tempfile.TemporaryDirectory() as folder:
        schedules = Schedules(options.effort)
        of_cards = CardRows(schedules, partial(machine_file, Path(folder)))
        for case in _wanted(options.filter):
            if not is_there(case.network):
                sys.stderr.write(f"{case.network} is left out: TILEWRIGHT_DATA names no folder\n")
                continue
            network = case.network, case.images if isinstance(case, CardCase) else 1
            if network not in modules:
                modules = {network: quantized(*network)}
            found: Row | CardRow
            watch = partial(report, case.key)
            if isinstance(case, CardCase):
                machine = replace(load(case.machine), cards=case.cards)
                found = of_cards.row(case, modules[network], machine, watch)
            else:
                found = measure(case, modules[network], Path(folder), schedules, watch)
            rows[case.key] = asdict(found)
            sys.stderr.write(f"{case.key}: {found.cycles:,.0f} cycles\n")
            if options.json is not None:
                options.json.write_text(json.dumps([*rows.values()], indent=2) + "\n", encoding="utf-8")
    own, cards = ([rows[case.key] for case in cases if case.key in rows] for cases in (CASES, CARD_CASES))
    text = document(own, cards)
    print(text, end="")
    if options.write is not None:
        replace_section(options.write, "device-performance", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
