"""Networks that the benchmarks of the device measure, from file to programs in modelled time.

Light networks of the onnx package have random weights and made-up ranges, which no time of the device depends on.
The others are files in the folder that ``TILEWRIGHT_DATA`` names, quantised ones or with made-up ranges, too.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace

import onnx
from data_folder import data_folder
from light_models import FOLDER, with_random_weights
from onnx import numpy_helper

from tilewright.codegen.device.program import DeviceProgram
from tilewright.compiler.device.plans import choose_plans
from tilewright.compiler.frontend.formats import import_model
from tilewright.compiler.pipeline import (
    attention_pipeline,
    calibration_pipeline,
    outline_pipeline,
    post_training_pipeline,
    quantized_import_pipeline,
    schedule_pipeline,
    tile_pipeline,
)
from tilewright.ir.annotations import CARDS, PLAN, Plan
from tilewright.ir.calls import device_programs
from tilewright.ir.clone import clone_module, put_back
from tilewright.ir.core import Function, Module
from tilewright.ir.text.printer import print_module
from tilewright.passes.device.outline_device import device_part
from tilewright.passes.quantization.plan import plan_quantization
from tilewright.runtime.machines.machine import load
from tilewright.runtime.simulator.cycles import simulate
from tilewright.runtime.simulator.timeline import Timeline
from tilewright.runtime.simulator.verifier import verify_cards

LIGHT = {
    "ResNet-50": "light_resnet50",
    "GoogLeNet": "light_inception_v1",
    "AlexNet": "light_bvlc_alexnet",
    "SqueezeNet": "light_squeezenet",
    "ShuffleNet": "light_shufflenet",
    "DenseNet-121": "light_densenet121",
    "Inception V2": "light_inception_v2",
    "ZFNet": "light_zfnet512",
    "VGG-19": "light_vgg19",
}
QUANTIZED = {
    "MobileNetV2": "mobilenet_v2_1.0_224_qdq.onnx",
    "TensorFlow MobileNetV2": "tf2_mobilenet_v2_1.0_224_perchannel_qdq.onnx",
    "KWS": "kws_int8_qdq.onnx",
    "VWW": "vww_int8_qdq.onnx",
    "MobileNetV1 0.25": "mobilenet_v1_0.25_128_qdq.onnx",
    "MCUNet": "mcunet_imagenet_best_qdq.onnx",
    "ResNet-8": "resnet8_int8_qdq.onnx",
    "AD": "ad01_int8_qdq.onnx",
}
FLOATING = {
    "ResNet-20": "resnet20_cifar10.onnx",
    "MNIST": "mnist_cntk.onnx",
    "UltraFace": "ultraface_rfb_320_simplified.onnx",
    "YuNet": "yunet_n_320_320.onnx",
}
NETWORKS = (*LIGHT, *QUANTIZED, *FLOATING)

ANY_RANGE = (0.0, 3.0)


@dataclass(frozen=True)
class Scheduled:
    """What the device runs at one call, and its programs in modelled time.

    Attributes:
        name: that is called.
        functions: ops with tiles, by card; one where no others run together with it.
        lowered: the same as tile programs.
        built: the same in binary form.
        plan: what the schedule of the first was made for.
    """

    name: str
    functions: tuple[Function, ...]
    lowered: tuple[Function, ...]
    built: tuple[DeviceProgram, ...]
    timeline: Timeline
    plan: Plan | None


def is_there(name: str) -> bool:
    """Whether the file of a network can be read here."""
    return name in LIGHT or bool(os.environ.get("TILEWRIGHT_DATA"))


def quantized(name: str, images: int = 1) -> Module:
    """A network with ops on quantised types.

    Args:
        images: that a light network takes at once.
    """
    if name in LIGHT:
        model = with_random_weights(onnx.load(FOLDER / f"{LIGHT[name]}.onnx"))
        module = import_model(with_images(model, images) if images > 1 else model)
    else:
        assert images == 1, "the file says how many images it takes"
        module = import_model(data_folder() / "models" / {**QUANTIZED, **FLOATING}[name])
    if name in QUANTIZED:
        quantized_import_pipeline().run(module)
        return module
    calibration_pipeline().run(module)
    values = plan_quantization(module.main, ()).values
    post_training_pipeline(dict.fromkeys(values, ANY_RANGE)).run(module)
    return module


def with_images(model: onnx.ModelProto, images: int) -> onnx.ModelProto:
    """A copy of a light network of one image that takes several."""
    edited = onnx.ModelProto()
    edited.CopyFrom(model)
    graph = edited.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    for value in (*graph.input, *graph.output):
        if value.name not in weights:
            value.type.tensor_type.shape.dim[0].dim_value = images
    del graph.value_info[:]
    for node in graph.node:
        if node.op_type == "Reshape":
            tensor = weights[node.input[1]]
            shape = numpy_helper.to_array(tensor).copy()
            if shape[0] == 1:
                shape[0] = 0  # as many as before
            tensor.CopyFrom(numpy_helper.from_array(shape, tensor.name))
    return edited


def outlined(
    module: Module, machine: str, clusters: int = 1, cards: int = 1, images_per_cluster: int = 0, split_cards: int = 1
) -> Module:
    """A copy whose device functions stand apart; arguments as of `outline_pipeline`."""
    copy = clone_module(module)
    attention_pipeline().run(copy)
    outline_pipeline(machine, (), "device,cpu", clusters, cards, images_per_cluster, split_cards).run(copy)
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
    drafts = choose_plans(module, device, schedule, tile, clusters, effort, report)
    for draft in drafts.values():
        put_back(module, draft.function)
        tile.passes[-1].check(draft.module)
    for each in schedule.passes:
        each.check(module)
    found: list[Scheduled] = []
    for name, functions in device_programs(module).items():
        own = [drafts[each.name] for each in functions]
        lowered = tuple(draft.module.functions[draft.function.name] for draft in own)
        built = tuple(draft.assembled.finish() for draft in own)
        timeline = simulate(verify_cards([each.program for each in built], device))
        found.append(Scheduled(name, tuple(functions), lowered, built, timeline, PLAN.get(functions[0])))
    return found


class Schedules:
    """Makes schedules, and remembers their programs and times without the events: what several cases have in common is
    made once."""

    def __init__(self, effort: str) -> None:
        self._effort = effort
        self._found: dict[tuple[str, str, int], list[Scheduled]] = {}

    def make(self, module: Module, machine: str, clusters: int, report: Callable[[int, int], None]) -> list[Scheduled]:
        """As `scheduled`."""
        key = self._key(module, machine, clusters)
        found = scheduled(module, machine, clusters, self._effort, report)
        self._found[key] = [replace(each, timeline=replace(each.timeline, events=[])) for each in found]
        return found

    def recall(
        self, module: Module, machine: str, clusters: int, report: Callable[[int, int], None]
    ) -> list[Scheduled]:
        """As `scheduled`, without events if the same was made before."""
        key = self._key(module, machine, clusters)
        return self._found[key] if key in self._found else self.make(module, machine, clusters, report)

    def _key(self, module: Module, machine: str, clusters: int) -> tuple[str, str, int]:
        part = device_part(module)
        for function in part.functions.values():
            # How many cards call a function changes nothing of it, nor how many others there are.
            function.annotations.pop(CARDS.key, None)
        text = print_module(part).encode()
        return hashlib.sha256(text).hexdigest(), replace(load(machine), cards=1).hash, clusters
