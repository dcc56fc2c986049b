"""Networks that the benchmarks of the device measure, from file to programs in modelled time.

Light networks of the onnx package have random weights and made-up ranges, which no time of the device depends on.
MobileNetV2 is the quantised file in the folder that ``TILEWRIGHT_DATA`` names.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnx
from light_models import FOLDER, with_random_weights

from tilewright.codegen.device.program import build_device_program
from tilewright.compiler.device.plans import choose_plans
from tilewright.compiler.frontend.formats import import_model
from tilewright.compiler.pipeline import (
    calibration_pipeline,
    outline_pipeline,
    post_training_pipeline,
    quantized_import_pipeline,
    schedule_pipeline,
    tile_pipeline,
)
from tilewright.ir.annotations import PLAN, Plan
from tilewright.ir.clone import clone_module
from tilewright.ir.core import Function, Module
from tilewright.passes.device.outline_device import device_functions, device_part
from tilewright.passes.quantization.plan import plan_quantization
from tilewright.runtime.machines.machine import load
from tilewright.runtime.simulator.cycles import Timeline, simulate
from tilewright.runtime.simulator.verifier import verify

LIGHT = {
    "ResNet-50": "light_resnet50",
    "GoogLeNet": "light_inception_v1",
    "AlexNet": "light_bvlc_alexnet",
    "SqueezeNet": "light_squeezenet",
}
QUANTIZED = {"MobileNetV2": "mobilenet_v2_1.0_224_qdq.onnx"}
NETWORKS = (*LIGHT, *QUANTIZED)

ANY_RANGE = (0.0, 3.0)


@dataclass(frozen=True)
class Scheduled:
    """A device function and its program in modelled time.

    Attributes:
        function: ops with tiles.
        plan: what its schedule was made for.
    """

    function: Function
    timeline: Timeline
    plan: Plan | None


def is_there(name: str) -> bool:
    """Whether the file of a network can be read here."""
    return name in LIGHT or "TILEWRIGHT_DATA" in os.environ


def quantized(name: str) -> Module:
    """A network with ops on quantised types."""
    if name in LIGHT:
        module = import_model(with_random_weights(onnx.load(FOLDER / f"{LIGHT[name]}.onnx")))
        calibration_pipeline().run(module)
        values = plan_quantization(module.main, ()).values
        post_training_pipeline(dict.fromkeys(values, ANY_RANGE)).run(module)
        return module
    module = import_model(Path(os.environ["TILEWRIGHT_DATA"]) / "models" / QUANTIZED[name])
    quantized_import_pipeline().run(module)
    return module


def outlined(module: Module, machine: str) -> Module:
    """A copy whose device functions stand apart."""
    copy = clone_module(module)
    outline_pipeline(machine).run(copy)
    return copy


def scheduled(
    module: Module,
    machine: str,
    clusters: int,
    effort: str = "normal",
    report: Callable[[int, int], None] = lambda done, total: None,
) -> list[Scheduled]:
    """The device functions of a network, compiled as the driver does it, proved, and in modelled time.

    Args:
        module: with device functions; changes their annotations.
        machine: a name or a file.
    """
    device = load(machine)
    schedule, tile = schedule_pipeline(machine), tile_pipeline(machine)
    choose_plans(module, device, schedule, tile, clusters, effort, report)
    schedule.run(module)
    tiles = device_part(module)
    tile.run(tiles)
    found: list[Scheduled] = []
    for function in device_functions(module):
        program = build_device_program(tiles.functions[function.name], device).program
        found.append(Scheduled(function, simulate(verify(program, device)), PLAN.get(function)))
    return found
