"""Which layers of a network the accelerator can run, found out without sample data and without compiling."""

import os
from collections.abc import Mapping

from tilewright.errors import resources
from tilewright.immutable import Immutable

from ...ir.clone import clone_module
from ...ir.core import Module
from ...passes.pipeline import Pipeline
from ...passes.placement.device_support import reject
from ...passes.placement.partition import Partition
from ...passes.quantization.plan import plan_quantization
from ...runtime.machines.machine import DEFAULT as DEFAULT_MACHINE
from ...runtime.machines.machine import load as load_machine
from ..frontend.formats import Model, import_model
from ..frontend.ir.document import Document
from ..frontend.ir.families import LEGACY, OPSET
from ..options import CompileOptions
from ..pipeline import (
    attention_pipeline,
    calibration_pipeline,
    outline_pipeline,
    post_training_pipeline,
    quantized_import_pipeline,
    run_passes,
)
from ..quantization.quantize import brings_quantization

_ENDS = ("input", "Parameter", "Result")
"""Layers that stand for what goes in and comes out."""

_ANY_RANGE = (-1.0, 1.0)
"""The range of every value here: what the device can run does not depend on it."""


class PlacedLayers(Immutable):
    """One op of the network as it would be divided between the device and the CPU.
    ``layers``: those that it comes from, the first one first.
    ``on_device``: whether the device can run it."""

    layers: tuple[str, ...]
    macs: int
    on_device: bool


class DeviceLayers(Immutable):
    """What the accelerator can run of a network. ``ops``: those that may be given to a place by name."""

    ops: tuple[PlacedLayers, ...]

    @property
    def supported(self) -> frozenset[str]:
        """The layers of which it can run at least one op."""
        return frozenset(name for op in self.ops if op.on_device for name in op.layers)

    @property
    def left(self) -> frozenset[str]:
        """The layers of which any op is left."""
        return frozenset(name for op in self.ops for name in op.layers)

    def affinity(self, wanted: Mapping[str, str]) -> dict[str, str]:
        """The places that compiling takes as ``affinity``, for places wanted by layer.

        Layers that become one op go where that of them was wanted which does most of the work, the first one if none
        does any. Layers of which no op is left have no place."""
        groups = self._groups(wanted)
        found: dict[str, str] = {}
        supported = self.supported
        for group in {id(group): group for group in groups.values()}.values():
            mine = [op for op in self.ops if not group.isdisjoint(op.layers)]
            main = max(mine, key=lambda op: op.macs)
            place = wanted[next(name for name in main.layers if name in wanted)]
            found.update((name, place) for name in sorted(group) if place == "cpu" or name in supported)
        return found

    def _groups(self, wanted: Mapping[str, str]) -> dict[str, set[str]]:
        """For each layer that has a place, those that must have the same one."""
        groups: dict[str, set[str]] = {}
        for op in self.ops:
            names = {name for name in op.layers if name in wanted}
            whole = names.union(*(groups[name] for name in names if name in groups))
            groups.update(dict.fromkeys(whole, whole))
        return groups


def computable_layers(document: Document) -> set[str]:
    """The layers of a document that the frontend knows, by name; all of them where it can be imported."""
    known = LEGACY if document.is_legacy else OPSET
    return {
        layer.name
        for layer in document.layers.values()
        if (kind := layer.type.lower() if document.is_legacy else layer.type) in known or kind in _ENDS
    }


@resources("place layers")
def device_layers(model: Model, machine: str | os.PathLike[str] | None = None) -> DeviceLayers:
    """What the accelerator can run of a network once it is quantised.
    ``machine``: the name or path of its description, by default that of the compiler.
    Raises TilewrightError: the network cannot be imported, or the description is wrong."""
    name = os.fspath(machine or DEFAULT_MACHINE)
    described = load_machine(name)
    module = import_model(model)
    imported = {layer for op in module.ops for layer in op.loc}
    quantized = _quantized(module)
    run_passes(attention_pipeline(name), quantized, CompileOptions())
    passes = outline_pipeline(name).passes
    first = next(index for index, each in enumerate(passes) if isinstance(each, Partition))
    run_passes(Pipeline(passes[:first], "before_partition"), quantized, CompileOptions())
    ops = [
        PlacedLayers(tuple(layer for layer in op.loc if layer in imported), op.macs, reject(op, described) is None)
        for op in quantized.main.ops
    ]
    return DeviceLayers(tuple(op for op in ops if op.layers))


def _quantized(module: Module) -> Module:
    """The module with ops on quantised types, as far as integers have a place in it."""
    copy, options = clone_module(module), CompileOptions()
    if brings_quantization(module):
        run_passes(quantized_import_pipeline(), copy, options)
        return copy
    run_passes(calibration_pipeline(), copy, options)
    plan = plan_quantization(copy.main, shortcuts=True)
    if plan.values:
        ranges = dict.fromkeys(plan.values, _ANY_RANGE)
        run_passes(post_training_pipeline(ranges, wide=plan.wide, shortcuts=True), copy, options)
    return copy
