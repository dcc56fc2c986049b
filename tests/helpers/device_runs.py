"""Running a quantised module on the simulated device, for tests: entirely, or beside the software engine."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from single_card import FunctionalEngine

from tilewright.codegen.device.program import DeviceProgram, assemble
from tilewright.compiler.options import CompileOptions
from tilewright.ir.annotations import ON
from tilewright.ir.clone import clone_module
from tilewright.ir.core import Function, Module
from tilewright.passes.device.lower_to_tiles import LowerToTiles
from tilewright.passes.device.order_tiles import order
from tilewright.passes.device.outline_device import device_functions
from tilewright.passes.device.planning.check_scratchpads import check_scratchpads
from tilewright.passes.device.planning.plan_device_memory import PlanDeviceMemory
from tilewright.passes.device.planning.plan_scratchpads import plan
from tilewright.passes.device.tile_device import tile_function
from tilewright.runtime.artifact.artifact import Artifact
from tilewright.runtime.execution.device import as_map, in_bytes, of_bytes
from tilewright.runtime.machines.machine import Machine
from tilewright.runtime.session import load

OPTIONS = CompileOptions(
    precision="int8", calibration="random", calibration_limit=2, engines="device,software", effort="quick"
)
"""For a network whose numbers do not matter, only where its ops run and whether both engines agree."""


def assert_engines_agree(artifact: Artifact, feeds: Mapping[str, np.ndarray]) -> np.ndarray:
    """The one output of a network, of which the engines software and device make the same bytes."""
    with load(artifact, engine="software") as software, load(artifact, engine="device") as device:
        (expected,), (found,) = software.run(feeds).values(), device.run(feeds).values()
    np.testing.assert_array_equal(found, expected)
    return found


def plan_for_device(module: Module, machine: Machine, clusters: int = 1) -> None:
    """Annotate ``main`` of a module whose every op the device can run with tiles and addresses in DRAM."""
    function: Function = module.main
    ON.set(function, "device")
    for op in function.ops:
        ON.set(op, "device")
    tile_function(function, machine, clusters=clusters)
    PlanDeviceMemory().run(module)


def compile_for_device(module: Module, machine: Machine, clusters: int = 1) -> DeviceProgram:
    """Tile, plan and generate ``main`` of a module whose every op the device can run; changes its annotations."""
    plan_for_device(module, machine, clusters)
    return generate(module, machine)


def generate(module: Module, machine: Machine) -> DeviceProgram:
    """Generate ``main``, which has tiles and addresses in DRAM, by way of a tile program that is dropped."""
    tiles = clone_module(module)
    LowerToTiles().run(tiles)
    (function,) = device_functions(tiles)
    order(function, machine)
    plan(function, machine)
    check_scratchpads(function)
    return assemble(function, machine).finish()


def run_on_device(
    module: Module, compiled: DeviceProgram, machine: Machine, inputs: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Outputs of ``main`` by name, from the functional engine."""
    constants = np.frombuffer(compiled.constants, np.uint8)
    engine = FunctionalEngine(compiled.program, machine, {"constants": constants})
    size = next(r.size for r in compiled.program.regions if r.name == "input")
    region = np.zeros(size, np.uint8)
    for value, feature_map in zip(module.main.parameters, compiled.inputs, strict=True):
        feature_map.view(region)[...] = in_bytes(as_map(np.ascontiguousarray(inputs[value.name])))
    produced = engine.run({"input": region})["output"]
    results: dict[str, np.ndarray] = {}
    main = module.main
    for name, value, feature_map in zip(main.result_names, main.results, compiled.outputs, strict=True):
        array = np.empty(value.type.shape, value.type.dtype.numpy)
        of_bytes(feature_map.view(produced), as_map(array))
        results[name] = array
    return results
