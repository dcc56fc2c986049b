"""Hand-made programs of several cards: convolutions after each other, whose maps cross from card to card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import instruction_set as isa
import numpy as np
from device_clusters import BLOCKS, COLUMNS, MIDDLE, PIXEL, ROW, ROWS, SOURCE, WEIGHTS, convolve

from tilewright.runtime.isa.encoding import Stream
from tilewright.runtime.isa.program import Program, RegionKind
from tilewright.runtime.machines.machine import Machine
from tilewright.runtime.simulator.functional import CardsEngine

CONSTANTS, FIRST = 0, 1
"""Regions: constants, then what each convolution reads, and what the last one makes."""


def regions(stages: Sequence[int], card: int) -> list[isa.Region]:
    """Those of a card; where the host gives or takes nothing, maps are scratch."""
    last = len(stages)
    kinds = [RegionKind.SCRATCH] * (last + 1)
    kinds[0] = RegionKind.INPUT if stages[0] == card else RegionKind.SCRATCH
    kinds[last] = RegionKind.OUTPUT if stages[-1] == card else RegionKind.SCRATCH
    return [
        isa.Region("constants", RegionKind.CONSTANT, (WEIGHTS + 2 * BLOCKS) * 64),
        *(isa.Region(f"map{number}", kind, ROWS * ROW) for number, kind in enumerate(kinds)),
    ]


def chained(machine: Machine, stages: Sequence[int], clusters: int = 1, pieces: int = 1) -> list[Program]:
    """A 3x3 convolution for each entry, which is the card that computes it, rows split over clusters.

    Args:
        pieces: messages in which a map crosses; 8 rows are divided evenly.
    """
    cards = range(max(stages) + 1)
    assemblers = [isa.Assembler(machine, regions(stages, card), clusters) for card in cards]
    for assembler in assemblers:
        everyone = (1 << clusters) - 1
        assembler.add(isa.LoadWeights(region=0, offset=0, destination=0, length=WEIGHTS, clusters=everyone))
        load = isa.LoadParameters(region=0, offset=WEIGHTS, destination=0, length=2 * BLOCKS, clusters=everyone)
        assembler.add(load)
    tag = 0
    for stage, card in enumerate(stages):
        for piece in range(pieces if stage and stages[stage - 1] != card else 0):
            cross(
                assemblers,
                stages[stage - 1],
                card,
                stage,
                range(piece * ROWS // pieces, (piece + 1) * ROWS // pieces),
                tag,
            )
            tag += 1
        assembler, share = assemblers[card], ROWS // clusters
        for cluster in range(clusters):
            rows = range(cluster * share, (cluster + 1) * share)
            first, stop = max(rows.start - 1, 0), min(rows.stop + 1, ROWS)
            at = SOURCE + first * ROW // 16
            load = isa.LoadMaps(region=FIRST + stage, offset=first * ROW, destination=at, run=(stop - first) * ROW)
            assembler.add(load, f"stage{stage}", cluster=cluster)
            convolve(assembler, cluster, rows, SOURCE, MIDDLE)
            start = rows.start * ROW
            store = isa.Store(region=FIRST + stage + 1, offset=start, source=MIDDLE + start // 16, run=share * ROW)
            assembler.add(store, f"stage{stage}", cluster=cluster)
    return [assembler.finish() for assembler in assemblers]


def cross(assemblers: Sequence[isa.Assembler], sender: int, receiver: int, map: int, rows: range, tag: int) -> None:
    """Rows of a map from card to card, pixel by pixel there and in one run here."""
    box: dict[str, Any] = {"region": FIRST + map, "offset": rows.start * ROW, "tag": tag}
    strides: dict[str, Any] = {"dram_stride_y": PIXEL, "dram_stride_z": ROW}
    send = isa.Send(peer=receiver, run=PIXEL, count_y=COLUMNS, count_z=len(rows), **box, **strides)
    cluster = tag % assemblers[sender].clusters
    assemblers[sender].add(send, "link", cluster=cluster)
    assemblers[receiver].add(isa.Receive(peer=sender, run=len(rows) * ROW, **box), "link", cluster=cluster)


def outputs(programs: Sequence[Program], constants: np.ndarray, fed: np.ndarray) -> dict[str, bytes]:
    """What the outputs hold after a run."""
    engine = CardsEngine(programs, programs[0].machine, [{"constants": constants}] * len(programs))
    found = engine.run([given(program, fed) for program in programs])
    return {name: data.tobytes() for each in found for name, data in each.items()}


def given(program: Program, fed: np.ndarray) -> Mapping[str, np.ndarray]:
    """The input of a program."""
    return {region.name: fed for region in program.regions if region.kind == RegionKind.INPUT}


def replaced(programs: Sequence[Program], stream: Stream, items: Sequence[isa.Instruction]) -> list[Program]:
    """The programs with another stream; what an instruction belongs to does not matter here."""
    found = [*programs]
    program, own = programs[stream.card], stream._replace(card=0)
    code = b"".join(map(isa.encode, items))
    layers = np.full(len(items), 0xFFFFFFFF, np.uint32)
    queues, layer_of = {**program.queues, own: code}, {**program.layer_of, own: layers}
    found[stream.card] = Program(program.machine, program.regions, queues, program.layers, layer_of)
    return found
