"""How much faster a network gets by hill climbing on the cycle engine, starting from the tiles that the compiler chose.

    TILEWRIGHT_DATA=FOLDER python benchmarks/tile_hill_climbing.py [--network MobileNetV2] [--machine m4096]
        [--clusters 4] [--seconds 200] [--seed 0] [--write docs/device_performance.md]

A step changes the annotation of one layer: the rows, columns, output or input blocks of its tile, what is stationary,
what clusters share out, or whether its result stays on chip. Layers are drawn by the time that they take. Each step is
tried on the layer and its neighbours alone; what is faster there is tried on the whole network, and kept if that is
faster, too. Seconds are of the processor. The layers before which improvements were found show where prices err.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from device_networks import NETWORKS, outlined, quantized
from report import replace_section

from tilewright.codegen.device.program import assemble
from tilewright.compiler.device.plans import choose_plans
from tilewright.compiler.pipeline import schedule_pipeline, tile_pipeline
from tilewright.errors import TilewrightError
from tilewright.ir.annotations import CLUSTERS, FUSED, KEPT, ON, PLAN, SPLIT, STATIONARY, TILE
from tilewright.ir.clone import clone_module, clone_op
from tilewright.ir.core import Constant, Function, Module, Op, Value
from tilewright.ir.feature_map import convolution_maps, is_block_by_block, is_product, map_shape
from tilewright.passes.base import Verification
from tilewright.passes.device.fused_pairs import fused_convolution, fused_user
from tilewright.passes.device.kept.chip_places import obstacle
from tilewright.passes.device.outline_device import device_functions
from tilewright.passes.device.tile_device import TileDevice
from tilewright.passes.pipeline import Pipeline
from tilewright.runtime.machines.machine import load
from tilewright.runtime.report.layer_times import layer_times
from tilewright.runtime.simulator.cycles import simulate
from tilewright.runtime.simulator.timeline import Timeline
from tilewright.runtime.simulator.verifier import drafted

BESIDE = 1
"""Layers before and behind one that its neighbourhood has."""

WORTH_TRYING = 0.0003
"""Of the cycles of the network: what a step must save in the neighbourhood to be tried on the whole."""


class Climber:
    """A device function whose annotations are changed step by step.

    Attributes:
        cycles: of the whole, as it is now.
        steps, tried, kept: how many were drawn, tried on the whole, and kept.
        gains: cycles that were gained, by kind of step.
    """

    def __init__(self, module: Module, name: str, machine: str, passes: Pipeline, rng: np.random.Generator) -> None:
        self._module, self._function = module, module.functions[name]
        self._machine, self._passes, self._rng = load(machine), passes, rng
        self._near: dict[Op, float] = {}
        timeline = self._timeline(clone_module(module, {name}), name)
        self.cycles = self.first = timeline.cycles
        times = {each.name: each.cycles for each in layer_times(timeline, self._machine)}
        # The second of a pair has the tiles of the first.
        self._ops = [op for op in self._function.ops if fused_convolution(op) is None]
        weights = np.array([sum(times.get(each.result.name, 0.0) for each in _together(op)) for op in self._ops])
        self._chances = (weights + weights.mean() / 4) / (weights + weights.mean() / 4).sum()
        self.steps = self.tried = self.kept = 0
        self.gains: Counter[str] = Counter()

    def climb(self, seconds: float) -> None:
        """Take steps for so many seconds of the processor."""
        end = time.process_time() + seconds
        while time.process_time() < end:
            op = self._ops[int(self._rng.choice(len(self._ops), p=self._chances))]
            if op not in self._near:
                self._near[op] = self._neighbourhood(op)
            before = {each: dict(each.annotations) for each in _together(op)}
            kind = ""
            while not kind:
                kind = self._change(op)
            self.steps += 1
            saved = self._near[op] - self._neighbourhood(op)
            if saved > WORTH_TRYING * self.cycles and self._keep(kind):
                self._near.clear()
                continue
            for each, original in before.items():
                each.annotations = original

    def _keep(self, kind: str) -> bool:
        """Whether the whole is faster."""
        self.tried += 1
        try:
            found = self._timeline(clone_module(self._module, {self._function.name}), self._function.name).cycles
        except TilewrightError:
            return False
        if found >= self.cycles:
            return False
        self.kept += 1
        self.gains[kind] += round(self.cycles - found)
        self.cycles = found
        sys.stderr.write(f"{self.steps} steps, {self.cycles:,.0f} cycles, {1 - self.cycles / self.first:.2%} less\n")
        return True

    def _timeline(self, module: Module, name: str) -> Timeline:
        self._passes.run(module, verification=Verification.OFF)
        return simulate(drafted(assemble(module.functions[name], self._machine).assembler))

    def _neighbourhood(self, op: Op) -> float:
        """Cycles of a layer and those beside it alone; infinite if they cannot be scheduled so."""
        ops = [*self._function.ops]
        first, last = max(ops.index(op) - BESIDE, 0), min(ops.index(op) + BESIDE, len(ops) - 1)
        first -= fused_convolution(ops[first]) is not None
        last += fused_user(ops[last]) is not None
        try:
            return self._timeline(alone(self._function, ops[first : last + 1]), "alone").cycles
        except TilewrightError:
            return float("inf")

    def _change(self, op: Op) -> str:
        """Change an annotation by chance; what kind, or nothing where that says the same as before."""
        kinds = ("rows", "columns", "output_blocks", "input_blocks", "stationary", "split", "kept")
        kind = kinds[int(self._rng.integers(len(kinds)))]
        if kind == "kept":
            end = _together(op)[-1]
            if obstacle(end.result) is not None:
                return ""
            KEPT.set(end, not KEPT.get(end))
            return kind
        tile, split = [*(TILE.get(op) or ())], SPLIT.get(op)
        if kind == "stationary":
            STATIONARY.set(op, "weights" if STATIONARY.get(op) == "inputs" else "inputs")
        elif kind == "split":
            if split is None:
                return ""
            for each in _together(op):
                SPLIT.set(each, "rows" if split == "channels" else "channels")
        else:
            axis = kinds.index(kind)
            extent = extents(op, CLUSTERS.get(self._function) or 1)[axis]
            pieces = -(-extent // tile[axis])
            wanted = int(self._rng.choice([pieces - 1, pieces + 1, 2 * pieces, pieces // 2]))
            size = -(-extent // min(max(wanted, 1), extent))
            if size == tile[axis]:
                return ""
            tile[axis] = size
            if not is_product(op) or is_block_by_block(op):
                tile[2] = tile[3] = tile[axis] if axis > 1 else tile[2]
            for each in _together(op):
                TILE.set(each, (tile[0], tile[1], tile[2], tile[3]))
        return kind


def extents(op: Op, clusters: int) -> tuple[int, int, int, int]:
    """Rows, columns, output blocks and input blocks of the largest share of an op."""
    source, target = convolution_maps(op) if is_product(op) else (map_shape(op.result.type),) * 2
    split, inputs, outputs = SPLIT.get(op), source.blocks, target.blocks
    rows = -(-target.height // clusters) if split == "rows" else target.height
    return rows, target.width, -(-outputs // clusters) if split == "channels" else outputs, inputs


def _together(op: Op) -> tuple[Op, ...]:
    """An op, and that which is computed with each of its tiles."""
    user = fused_user(op)
    return (op,) if user is None else (op, user)


def alone(function: Function, ops: Sequence[Op]) -> Module:
    """A module with some consecutive ops of a device function as ``alone``: what they read comes from DRAM, and what
    others read goes there."""
    module = Module("alone")
    copy = module.add_function(Function("alone"))
    for annotation in (ON, CLUSTERS, PLAN):
        if annotation.is_at(function):
            copy.annotations[annotation.key] = function.annotations[annotation.key]
    copies: dict[Value, Value] = {}
    for value in _read(ops):
        if isinstance(value, Constant):
            copies[value] = module.add_constant(value.name, value.array, value.type)
        else:
            copies[value] = copy.add_parameter(f"{value.name}_{len(copies)}", value.type)
    for op in ops:
        twin = copy.insert(clone_op(op, [copies[v] if v is not None else None for v in op.operands]))
        copies.update(zip(op.results, twin.results, strict=True))
    inside = set(ops)
    results = [op.result for op in ops if op.result.is_returned or not inside.issuperset(op.result.users)]
    copy.set_results([copies[value] for value in results], [f"{v.name}_{i}" for i, v in enumerate(results)])
    for value in results:
        producer = copies[value].producer
        assert producer is not None
        producer.annotations.pop(KEPT.key, None)
        producer.annotations.pop(FUSED.key, None)
    return module


def _read(ops: Sequence[Op]) -> Iterator[Value]:
    """What some ops read that none of them makes, each once."""
    made = {op.result for op in ops}
    yield from dict.fromkeys(value for op in ops for value in op.inputs if value not in made)


def climb(network: str, machine: str, clusters: int, seconds: float, seed: int) -> str:
    """Climb from the tiles of a network, and say how far that led."""
    module = outlined(quantized(network), machine, clusters)
    schedule, tiles = schedule_pipeline(machine), tile_pipeline(machine)
    choose_plans(module, load(machine), schedule, tiles, clusters)
    place = next(index for index, each in enumerate(schedule.passes) if isinstance(each, TileDevice))
    Pipeline(schedule.passes[: place + 1]).run(module)
    after = Pipeline((*schedule.passes[place + 1 :], *tiles.passes))
    rng = np.random.default_rng(seed)
    functions = device_functions(module)
    work = {function.name: sum(op.work for op in function.ops) for function in functions}
    climbers = [Climber(module, function.name, machine, after, rng) for function in functions]
    for climber, share in zip(climbers, work.values(), strict=True):
        climber.climb(seconds * share / sum(work.values()))
    before, now = sum(each.first for each in climbers), sum(each.cycles for each in climbers)
    steps, tried, kept = (sum(getattr(each, name) for each in climbers) for name in ("steps", "tried", "kept"))
    gains = sum((each.gains for each in climbers), Counter[str]())
    where = ", ".join(f"{kind} {cycles:,}" for kind, cycles in gains.most_common()) or "nothing"
    return (
        f"- {network} on {load(machine).name}, {clusters} cluster{'s' * (clusters > 1)}: {before / 1000:,.1f} to "
        f"{now / 1000:,.1f} k cycles, **{1 - now / before:.2%}** less in {seconds:.0f} s ({steps} steps, {tried} tried "
        f"on the whole, {kept} kept; cycles gained by {where})\n"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=NETWORKS, default="MobileNetV2")
    parser.add_argument("--machine", default="m4096")
    parser.add_argument("--clusters", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=200.0, help="of the processor")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", type=Path, help="the document whose section to replace")
    options = parser.parse_args()
    sys.setrecursionlimit(100_000)
    text = climb(options.network, options.machine, options.clusters, options.seconds, options.seed)
    print(text, end="")
    if options.write is not None:
        replace_section(options.write, f"hill-climbing-{options.network}", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
