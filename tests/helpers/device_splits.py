"""Random quantised networks whose device functions are cut over cards, compiled to programs and run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from quantized_graphs import random_quantized_graph
from random_machines import write_machine
from tile_programs import reorder

from tilewright.codegen.device.program import DeviceProgram, assemble, feature_maps
from tilewright.ir.calls import device_programs
from tilewright.ir.clone import clone_module
from tilewright.ir.core import Function, Module, Op, is_op
from tilewright.ir.ops.call import Call
from tilewright.passes.device.legalize_for_device import LegalizeForDevice
from tilewright.passes.device.lower_to_tiles import LowerToTiles
from tilewright.passes.device.outline_device import OutlineDevice, device_functions
from tilewright.passes.device.planning.plan_device_memory import PlanDeviceMemory
from tilewright.passes.device.planning.plan_scratchpads import PlanScratchpads
from tilewright.passes.device.split_cards import SplitCards
from tilewright.passes.device.tile_device import TileDevice
from tilewright.passes.placement.partition import Partition
from tilewright.runtime.artifact.manifest import FeatureMapRef
from tilewright.runtime.execution.device import as_map
from tilewright.runtime.machines.machine import Machine, load
from tilewright.runtime.simulator.functional import CardsEngine

CARDS = replace(
    load("s256"), name="cards", cards=3, clusters=2, link_bytes_per_second=10**13, link_latency=0, dram_bytes=1 << 26
)
"""Cards with a link that takes no time, over which even small networks are worth cutting."""


def outlined(rng: np.random.Generator, groups: int = 6) -> Module:
    """A random network with functions of the device."""
    module = random_quantized_graph(rng, groups=groups, activations=str(rng.choice(["i8", "u8"])))
    for current in (LegalizeForDevice(), Partition("s256", keep_islands=True), OutlineDevice()):
        current.run(module)
    return module


def fed(module: Module, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Inputs for ``main``."""
    found: dict[str, np.ndarray] = {}
    for value in module.main.parameters:
        dtype = value.type.dtype.numpy
        low = 0 if dtype == np.uint8 else -128
        found[value.name] = rng.integers(low, low + 256, value.type.shape).astype(dtype)
    return found


@dataclass(frozen=True)
class Split:
    """A device function in binary form, for the cards that run it together.

    Attributes:
        whole: what is called.
        built: by card.
        inputs, outputs: of the whole, in order.
    """

    whole: Function
    built: list[DeviceProgram]
    inputs: tuple[FeatureMapRef, ...]
    outputs: tuple[FeatureMapRef, ...]

    def constants(self) -> list[dict[str, np.ndarray]]:
        return [{"constants": np.frombuffer(each.constants, np.uint8)} for each in self.built]

    def run(self, machine: Machine, operands: list[np.ndarray]) -> list[np.ndarray]:
        """The results, by the functional engine."""
        programs = [each.program for each in self.built]
        engine = CardsEngine(programs, machine, self.constants())
        regions = [
            {region.name: np.zeros(region.size, np.uint8) for region in program.regions if region.name == "input"}
            for program in programs
        ]
        for ref, array in zip(self.inputs, operands, strict=True):
            ref.view(regions[ref.card]["input"])[...] = as_map(np.ascontiguousarray(array))
        produced = engine.run(regions)
        results: list[np.ndarray] = []
        for ref, value in zip(self.outputs, self.whole.results, strict=True):
            array = np.empty(value.type.shape, value.type.dtype.numpy)
            as_map(array)[...] = ref.view(produced[ref.card]["output"])
            results.append(array)
        return results


def cut(module: Module, folder: Path, machine: Machine, cards: int, clusters: int = 1) -> str:
    """Cut the device functions of a module over cards, and tile them; the path of the machine."""
    path = write_machine(folder / f"{machine.name}.json", machine)
    SplitCards(path, cards=cards, clusters=clusters).run(module)
    TileDevice(path, clusters=clusters, kept_share=0.25).run(module)
    PlanDeviceMemory().run(module)
    return path


def tiled(module: Module, path: str, *, ordered: bool = False) -> Module:
    """The module with tile programs in place of the functions of the device.

    Args:
        ordered: put them into any order that is found, whatever it is worth.
    """
    tiles = clone_module(module)
    LowerToTiles().run(tiles)
    for function in device_functions(tiles) if ordered else ():
        reorder(function, load(path))
    PlanScratchpads(path).run(tiles)
    return tiles


def programs_of(module: Module, tiles: Module, machine: Machine) -> dict[str, Split]:
    """What the device runs, by the name that is called."""
    found: dict[str, Split] = {}
    for name, functions in device_programs(module).items():
        built = [assemble(tiles.functions[each.name], machine).finish() for each in functions]
        found[name] = Split(module.functions[name], built, *feature_maps(module.functions[name], functions, built))
    return found


def calls(module: Module) -> list[Op[Call]]:
    """Those of ``main``."""
    return [op for op in module.main.ops if is_op(op, Call)]
