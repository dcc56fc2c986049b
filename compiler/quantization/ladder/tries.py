"""How a network was quantised in one try, and what its values lose by it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from tilewright.immutable import Immutable

from ....ir.core import Module, Value
from ....ir.ops.quantization import real
from ....ir.types import TensorType
from ....passes.quantization.quantize import quantized_types
from ...calibration.runs import compiled
from ...calibration.sample_sets import Inputs
from ...options import CompileOptions
from ...progress import ProgressReport
from ..methods import FREE, NONE, Choices, Prepared
from ..quantize import quantize_module
from ..smooth_maps import function_behind
from .judging import LayerLoss, losses
from .layer_costs import LayerCosts, layer_costs


class Try(Immutable):
    """How a network was quantised.
    ``keep``, ``wide``: what the options name, and what the ladder adds.
    ``prepared``: the network before its weights were rounded.
    ``costs``: what it takes; ``None`` where nobody asks, or it cannot be told."""

    methods: str
    keep: tuple[str, ...]
    wide: tuple[str, ...]
    choices: Choices
    prepared: Prepared
    quantized: Module
    costs: LayerCosts | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Its methods."""
        return tuple(self.methods.split(",")) if self.methods != NONE else ()

    @property
    def seconds(self) -> float:
        """What it takes, modelled; 0 where that is not known."""
        return self.costs.total if self.costs is not None else 0.0

    @property
    def types(self) -> dict[str, TensorType]:
        """How each value that is quantised is stored, by name."""
        plan = self.prepared.plan()
        found = quantized_types(plan, self.prepared.ranges, wide=self.prepared.wide)
        return {name: found[value] for name, value in plan.values.items()}

    def price(self, module: Module, options: CompileOptions, name: str) -> float:
        """Seconds that 16 bits take longer for what a node or parameter of the module makes, modelled.
        ``options``: its own."""
        wide = replace(options, wide=(*self.wide, name))
        return layer_costs(quantize_module(module, wide, None, self.choices), wide).total - self.seconds

    def losses(self, floating: Module, samples: Sequence[Inputs], report: ProgressReport) -> list[LayerLoss]:
        """What its values lose on some samples, beside the network in floating point, the most harmed first."""
        types = self.types
        a, b = _named(floating, types), _named(self.quantized, types)
        # Attention in integers may give its name to a result by heads; what was divided by channel has lost its tensor.
        shared = {name: (value, b[name]) for name, value in a.items() if name in b}
        types = {
            name: types[name]
            for name, (real, value) in shared.items()
            if value.type.shape == real.type.shape and (value.origin or not real.origin)
        }
        if not types:
            return []
        first = compiled(floating, {name: a[name] for name in types}, report)
        second = compiled(self.quantized, {name: b[name] for name in types}, report)
        runs = [(first(inputs), second(inputs)) for inputs in samples]
        exact = {name: [arrays[name] for arrays, _ in runs] for name in types}
        found = {name: [_real(arrays[name], b[name].type) for _, arrays in runs] for name in types}
        behind = {name: function_behind(value) for name, value in self.prepared.plan().values.items()}
        functions = {name: function.reference for name, function in behind.items() if function is not None}
        return losses(exact, found, types, functions)


def slow_methods(base: Try, tried: Sequence[Try], least: float) -> dict[str, float]:
    """Methods of a try that take more than such a share of its time, but those that are `FREE`, the most first, and the
    seconds that each took when it was added."""
    same = (each for each in tried if (each.keep, each.wide) == (base.keep, base.wide))
    seconds, names = {each.names: each.seconds for each in same}, base.names
    steps = ((names[:at], names[: at + 1]) for at in range(len(names)))
    took = {then[-1]: seconds[then] - seconds[before] for before, then in steps if {before, then} <= {*seconds}}
    slow = [name for name in took if name not in FREE and took[name] > least * base.seconds]
    return {name: took[name] for name in sorted(slow, key=lambda name: -took[name])}


def _named(module: Module, names: Mapping[str, TensorType]) -> dict[str, Value]:
    return {value.name: value for op in module.main.ops for value in op.results if value.name in names}


def _real(array: np.ndarray, type: TensorType) -> np.ndarray:
    return array if type.quant is None else real(array, type)
