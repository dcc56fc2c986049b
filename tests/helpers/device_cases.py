"""Small device programs of many kinds with what they run on, and runs of a program in any legal order."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

import instruction_set as isa
import numpy as np
from attention_blocks import quantized_block
from cascade_graphs import random_chain
from chip_graphs import half_blocks_and_tokens, random_chip_graph
from device_clusters import constants, gathered, twice_convolved
from device_programs import convolution, pointwise
from device_runs import compile_for_device
from device_splits import cut, outlined, programs_of, tiled
from normalization_blocks import quantized_layers
from wide_networks import wide_network

from tilewright.codegen.device.program import DeviceProgram, assemble
from tilewright.ir.annotations import CASCADE, FUSED, KEPT, SENDS
from tilewright.ir.clone import clone_module
from tilewright.passes.device.cascade_rows import cascade
from tilewright.passes.device.lower_to_tiles import LowerToTiles
from tilewright.passes.device.planning.plan_device_memory import PlanDeviceMemory
from tilewright.passes.device.planning.plan_scratchpads import plan
from tilewright.passes.device.tile_device import tile_function
from tilewright.runtime.isa.encoding import Stream
from tilewright.runtime.isa.program import Program, RegionKind
from tilewright.runtime.machines.machine import Machine, load
from tilewright.runtime.simulator import functional
from tilewright.runtime.simulator.functional import CardsEngine
from tilewright.runtime.simulator.memory import CardMemory
from tilewright.runtime.simulator.verifier import VerifiedProgram

SMALL = dataclasses.replace(
    load("s256"),
    name="small",
    clusters=4,
    maps_bytes=8192,
    maps_banks=1,
    weight_bytes=1 << 14,
    weight_banks=1,
    accumulator_bytes=4096,
    accumulator_banks=1,
    parameter_bytes=1024,
)
"""So little room that layers of small networks take several tiles, and memory is used again and again."""


ROOMY = dataclasses.replace(
    SMALL,
    name="roomy",
    cards=2,
    maps_bytes=1 << 14,
    weight_bytes=1 << 15,
    accumulator_bytes=1 << 14,
    link_bytes_per_second=10**13,
    link_latency=0,
)
"""So much room that some maps of small networks stay on chip, and cards between which they are worth cutting."""


@dataclasses.dataclass(frozen=True)
class Case:
    """The programs of the cards that run together, and the contents of their constant and input regions.

    Attributes:
        kinds: what the compiler did in them, as names of annotations.
    """

    programs: tuple[Program, ...]
    constants: tuple[Mapping[str, np.ndarray], ...]
    inputs: tuple[Mapping[str, np.ndarray], ...]
    kinds: frozenset[str] = frozenset()

    @property
    def machine(self) -> Machine:
        return self.programs[0].machine

    @property
    def streams(self) -> list[Stream]:
        """Those of all cards."""
        return [s._replace(card=card) for card, program in enumerate(self.programs) for s in program.queues]

    def instructions(self, stream: Stream) -> list[isa.Instruction]:
        """Those of a stream of any card."""
        return self.programs[stream.card].instructions(stream._replace(card=0))

    def changed(self, stream: Stream, index: int, item: bytes) -> Case:
        """With another instruction in one place."""
        program, own, size = self.programs[stream.card], stream._replace(card=0), isa.INSTRUCTION_BYTES
        data = program.queues[own]
        code = data[: index * size] + item + data[(index + 1) * size :]
        programs = [*self.programs]
        programs[stream.card] = dataclasses.replace(program, queues={**program.queues, own: code})
        return dataclasses.replace(self, programs=tuple(programs))


def alone(program: Program, constants: Mapping[str, np.ndarray], inputs: Mapping[str, np.ndarray]) -> Case:
    """A program of one card."""
    return Case((program,), (constants,), (inputs,))


def split_layers(split: str, clusters: int) -> Case:
    """Two 1x1 convolutions of 4 x 6 pixels of 64 channels, each divided over clusters that meet in DRAM.

    Args:
        split: ``rows``; ``channels``, whose stores interleave; or ``stages``, a layer for each of two clusters.
        clusters: how many.
    """
    rng = np.random.default_rng(3)
    rows, columns, blocks, layers = 4, 6, 4, 2
    pixel, lines = blocks * 16, blocks * 16  # bytes of a pixel, lines of the weights of 16 outputs
    row = columns * pixel
    weights = [
        isa.pack_dense(rng.integers(-9, 9, (pixel, 1, 1, pixel)).astype(np.int8), weight_zero=0, packed=False)
        for _ in range(layers)
    ]
    scales = [
        isa.pack_requantize(rng.integers(-99, 99, pixel).astype(np.int32), np.array([0.02], np.float32))
        for _ in weights
    ]
    stored = np.frombuffer(b"".join([*weights, *scales]), np.uint8)
    regions = [
        isa.Region("constants", RegionKind.CONSTANT, stored.size),
        isa.Region("x", RegionKind.INPUT, rows * row),
        isa.Region("between", RegionKind.SCRATCH, rows * row),
        isa.Region("y", RegionKind.OUTPUT, rows * row),
    ]
    assembler = isa.Assembler(SMALL, regions, clusters)

    def compute(layer: int, cluster: int, row_index: int, first: int, count: int) -> None:
        """Some blocks of the outputs of a row, all in the memories of one cluster."""
        half, name = row_index % 2, f"layer{layer}"
        source, target, accumulator = half * row // 16, (2 + half) * row // 16, half * columns * count
        for item in (
            isa.LoadMaps(region=1 + layer, offset=row_index * row, destination=source, run=row),
            *convolution(source, target, accumulator, (1, columns), blocks, count),
            isa.Store(
                region=2 + layer,
                offset=row_index * row + first * 16,
                source=target,
                run=count * 16,
                count_y=columns,
                dram_stride_y=pixel,
                map_stride_y=count,
            ),
        ):
            assembler.add(item, name, cluster=cluster)

    def load_constants(layer: int, cluster: int, first: int, count: int) -> None:
        start, size = layer * blocks * lines // 4, count * lines // 4
        weight = isa.LoadWeights(region=0, offset=start + first * lines // 4, destination=0, length=size)
        offset = layers * blocks * lines // 4 + 2 * (layer * blocks + first)
        assembler.add(weight, f"layer{layer}", cluster=cluster)
        scale = isa.LoadParameters(region=0, offset=offset, destination=0, length=2 * count)
        assembler.add(scale, f"layer{layer}", cluster=cluster)

    for layer in range(layers):
        part = blocks // clusters if split == "channels" else blocks
        users = [layer] if split == "stages" else list(range(clusters))
        for cluster in users:
            first = cluster * part if split == "channels" else 0
            load_constants(layer, cluster, first, part)
        for row_index in range(rows):
            for cluster in users:
                if split != "rows" or row_index % clusters == cluster:
                    compute(layer, cluster, row_index, cluster * part if split == "channels" else 0, part)
    fed = rng.integers(0, 256, rows * row).astype(np.uint8)
    return alone(assembler.finish(), {"constants": stored}, {"x": fed})


def moved_case(clusters: int, halos: bool) -> Case:
    """Rows over clusters that meet on chip: two 3x3 convolutions with halos, or every row given to every cluster."""
    program = twice_convolved(SMALL, clusters) if halos else gathered(SMALL, clusters)
    rng = np.random.default_rng(clusters)
    fed = rng.integers(0, 256, program.regions[1].size).astype(np.uint8)
    return alone(program, {"constants": constants(rng)}, {"x": fed})


def pointwise_case(tiles: int, columns: int, blocks: int) -> Case:
    """A double-buffered 1x1 convolution on random numbers, with multipliers that are some."""
    program = pointwise(SMALL, tiles, columns, blocks)
    rng = np.random.default_rng(tiles)
    data = rng.integers(0, 256, program.regions[0].size).astype(np.uint8)
    channels = blocks * 16
    packed = isa.pack_requantize(rng.integers(-999, 999, channels).astype(np.int32), np.array([0.01], np.float32))
    data[-len(packed) :] = np.frombuffer(packed, np.uint8)
    fed = rng.integers(0, 256, program.regions[1].size).astype(np.uint8)
    return alone(program, {"constants": data}, {"x": fed})


def compiled_case(seed: int, clusters: int, ops: int = 5) -> Case:
    """The program of a random network for so many clusters, whose maps stay on chip where they fit."""
    rng = np.random.default_rng(90_000 + seed)
    module = random_chip_graph(rng, ops)
    made = compile_for_device(module, ROOMY, clusters)
    return _case([made], rng, {each.key for op in module.main.ops for each in (KEPT, FUSED) if each.get(op)})


def attention_case(seed: int, clusters: int, tokens: int) -> Case:
    """Rows of a map that attend to all of them, over so many clusters."""
    rng = np.random.default_rng(90_000 + seed)
    module = quantized_block(rng, tokens)
    made = compile_for_device(module, ROOMY, clusters)
    return _case([made], rng, {each.key for op in module.main.ops for each in (KEPT, FUSED) if each.get(op)})


def normalization_case(seed: int, clusters: int) -> Case:
    """Products and normalisations of rows in turn, over so many clusters."""
    rng = np.random.default_rng(90_000 + seed)
    module = quantized_layers(rng, 22, 24)
    made = compile_for_device(module, ROOMY, clusters)
    return _case([made], rng, {each.key for op in module.main.ops for each in (KEPT, FUSED) if each.get(op)})


def wide_case(seed: int, clusters: int) -> Case:
    """Convolutions and functions of maps of 16 bits over so many clusters."""
    rng = np.random.default_rng(90_000 + seed)
    module = wide_network(rng)
    # Tables of 16 bits take more parameters.
    made = compile_for_device(module, dataclasses.replace(ROOMY, parameter_bytes=4096), clusters)
    return _case([made], rng, {each.key for op in module.main.ops for each in (KEPT, FUSED) if each.get(op)})


def token_case(seed: int, clusters: int) -> Case:
    """Half blocks, single pixels, and channels that change places with pixels, over so many clusters."""
    rng = np.random.default_rng(90_000 + seed)
    module = half_blocks_and_tokens(rng)
    made = compile_for_device(module, ROOMY, clusters)
    return _case([made], rng, {each.key for op in module.main.ops for each in (KEPT, FUSED) if each.get(op)})


def ring_case(seed: int, ops: int = 6) -> Case:
    """The program of one cluster that computes a chain of high maps in turn, stripe by stripe."""
    rng = np.random.default_rng(90_000 + seed)
    module = random_chain(rng, ops, height=16, width=4)
    # So little bandwidth that maps in DRAM cost more than anything else.
    machine = dataclasses.replace(ROOMY, maps_bytes=1 << 12, dram_bytes_per_second=ROOMY.clock_hertz // 2)
    tile_function(module.main, machine, cascades=True)
    PlanDeviceMemory().run(module)
    tiles = clone_module(module)
    LowerToTiles().run(tiles)
    rings = cascade(tiles.main)
    plan(tiles.main, machine)
    return _case([assemble(tiles.main, machine).finish()], rng, {CASCADE.key} if rings else ())


def cut_case(seed: int, clusters: int, groups: int = 5) -> Case:
    """The programs of two cards that run a random network together."""
    rng = np.random.default_rng(90_000 + seed)
    module = outlined(rng, groups)
    with TemporaryDirectory() as folder:
        path = cut(module, Path(folder), ROOMY, 2, clusters)
        found = programs_of(module, tiled(module, path), ROOMY)
    built = max(found.values(), key=lambda split: len(split.built)).built
    return _case(built, rng, {SENDS.key} if len(built) > 1 else ())


def _case(built: Sequence[DeviceProgram], rng: np.random.Generator, kinds: Collection[str]) -> Case:
    """What the compiler made for each card, with random inputs."""
    programs = tuple(made.program for made in built)
    inputs = tuple(
        {
            region.name: rng.integers(0, 256, region.size).astype(np.uint8)
            for region in program.regions
            if region.kind == RegionKind.INPUT
        }
        for program in programs
    )
    constants = tuple({"constants": np.frombuffer(made.constants, np.uint8)} for made in built)
    return Case(programs, constants, inputs, frozenset(kinds))


def random_order(verified: VerifiedProgram, rng: np.random.Generator) -> list[tuple[Stream, int]]:
    """Some order of all instructions in which each follows those of its stream and what it waits for.

    Streams hurry and linger by chance, so that orders are far from each other.
    """
    streams = list(verified.queues)
    left = {stream: len(items) for stream, items in verified.queues.items()}
    done = dict.fromkeys(streams, 0)
    order: list[tuple[Stream, int]] = []
    while any(left.values()):
        for number in rng.permutation(len(streams)).tolist():
            stream = streams[number]
            for _ in range(int(rng.geometric(0.3))):
                index = done[stream]
                if not left[stream] or any(done[other] < at for other, at in verified.targets[stream][index]):
                    break
                order.append((stream, index))
                done[stream] += 1
                left[stream] -= 1
    return order


def engine_of(case: Case) -> CardsEngine:
    return CardsEngine(case.programs, case.machine, case.constants)


def in_order(engine: CardsEngine, case: Case, order: list[tuple[Stream, int]]) -> CardsEngine:
    """The engine for another order of the same programs."""
    verified = dataclasses.replace(engine.verified, order=order)
    with mock.patch.object(functional, "verify_cards", lambda programs, machine: verified):
        return engine_of(case)


def outputs(engine: CardsEngine, case: Case, fill: int) -> list[bytes]:
    """What the outputs hold after a run on memories that were full of one byte, outputs of zeros."""
    memories: list[CardMemory] = []
    found: list[np.ndarray] = []
    for program, *contents in zip(case.programs, case.constants, case.inputs, strict=True):
        empty = {r.name: np.zeros(r.size, np.uint8) for r in program.regions if r.kind == RegionKind.OUTPUT}
        memory = CardMemory(program, {**contents[0], **contents[1], **empty})
        for region, data in zip(program.regions, memory.regions, strict=True):
            if region.kind == RegionKind.SCRATCH:
                data[...] = fill
        for cluster in memory.clusters:
            for pad in (cluster.maps, cluster.weights, cluster.accumulators.view(np.uint8), cluster.parameters):
                pad[...] = fill
        memories.append(memory)
        found += empty.values()
    engine.execute(memories)
    return [data.tobytes() for data in found]
