"""What makes integers of 8 bits more exact than ranges alone: the methods, and what samples make them choose."""

from collections.abc import Collection, Hashable, Iterator, Mapping
from dataclasses import dataclass, field

from tilewright.errors import UsageError
from tilewright.immutable import Immutable

from ...ir.clone import clone_module
from ...ir.core import Constant, Module, Op, Value
from ...ir.text.names import Names
from ...ir.types import TensorType
from ...passes.quantization.parameters import Range
from ...passes.quantization.plan import Plan, plan_quantization
from ...passes.quantization.quantize import quantized_types
from ..calibration.observation import Observation
from ..calibration.windows import Product, is_product
from ..options import CompileOptions
from .exact_inputs import InputGrid
from .learn_rounding import learn_weights
from .round_weights import Rounded, layers_to_round, set_rounded
from .scale_channels import ChannelScales

METHODS = {
    "inputs": "inputs of 8 bits, such as pixels, taken as the integers that they are",
    "channels": "scales by channel for what only depthwise convolutions read",
    "products": "scales by channel between matrix products and floating point (SmoothQuant)",
    "additions": "sums of convolutions taken from their accumulators",
    "outputs": "results of the last layers, and on the host what floating point reads, taken from accumulators",
    "rounding": "weights rounded by their layer's error, with corrected biases",
}
"""The methods in the order in which they are applied, and what each does."""

UNEXPORTED = frozenset({"additions"})
"""Methods without a form that other runtimes fuse: files for them are made without."""

UNSEEN = frozenset({"additions", "outputs"})
"""Methods that look at no samples."""

FREE = frozenset({"additions", "rounding"})
"""Methods for which a network takes no longer."""

ALL, NONE = "all", "none"


def methods_of(text: str) -> tuple[str, ...]:
    """The methods that an option names, with commas between them. Raises UsageError: there is no such method."""
    asked = {ALL: [*METHODS], NONE: []}.get(text, text.split(","))
    for name in asked:
        if name not in METHODS:
            expected = f"{ALL}, {NONE} or some of {', '.join(METHODS)}"
            raise UsageError("unknown method of quantisation", expected=expected, found=repr(name))
    return tuple(name for name in METHODS if name in asked)


def exported(text: str) -> str:
    """What is left of such an option for files that other runtimes read."""
    return ",".join(name for name in methods_of(text) if name not in UNEXPORTED) or NONE


class Prepared(Immutable):
    """A network in floating point as it becomes integers, with all that is folded into its weights.
    ``ranges``: of the values of its plan, by name.
    ``weights``: those that are rounded already, by anchor.
    ``wide``: names of the values of 16 bits."""

    module: Module
    keep: tuple[str, ...]
    forms: Mapping[str, bool]
    ranges: Mapping[str, Range]
    weights: Mapping[Op, Rounded]
    wide: tuple[str, ...] = ()

    def plan(self, more: Collection[str] = ()) -> Plan:
        """What is quantised while nodes of these further names stay in floating point."""
        return plan_quantization(self.module.main, (*self.keep, *more), **self.forms)


@dataclass
class Choices:
    """What samples of a network's first shape made of it, for all its shapes.

    Attributes:
        inputs: grids of those that have one, by name.
        ranges: of the values that are quantised, and others, by name.
        boundaries: scales by channel between products and floating point, of values by name.
        scales: by channel, of values by name.
        weights: by the name of the result that they make.
        prepared: the network that they made.
        whole: names of values whose ranges are their extremes, whatever the method of ranges is; this is given.
        extremes: the smallest and the largest number of values whose ranges that method chose, by name, where samples
            are held.
        idle: receives the names for 16 bits that what is kept leaves no integers; ``None`` where such are refused.
    """

    inputs: dict[str, InputGrid] = field(default_factory=dict)
    ranges: dict[str, Range] = field(default_factory=dict)
    boundaries: dict[str, ChannelScales] = field(default_factory=dict)
    scales: dict[str, ChannelScales] = field(default_factory=dict)
    weights: dict[str, Rounded] = field(default_factory=dict)
    prepared: Prepared | None = None
    whole: tuple[str, ...] = ()
    extremes: dict[str, Range] = field(default_factory=dict)
    idle: set[str] | None = None


def observed_values(plan: Plan) -> dict[str, Value]:
    """The values of a plan, and what its convolutions and products read besides, by unique names."""
    names = Names(plan.values)
    found = dict(plan.values)
    known = set(found.values())
    for op in plan.anchors:
        x = op.operands.x
        if x not in known:
            found[names.take(x.name)] = x
            known.add(x)
    return found


def choose_weights(
    plan: Plan, choices: Choices, ranges: Mapping[str, Range], observation: Observation, wide: Collection[str] = ()
) -> dict[str, Rounded]:
    """Weights rounded by what the layers read, for those on no grid of their own.
    ``wide``: names of values of 16 bits."""
    layers = layers_to_round(_inputs(plan, ranges, wide))
    names = {value: name for name, value in observed_values(plan).items()}
    made_of, seen = observation.made_of, observation.seen
    keys: dict[Op, Hashable] = {}
    for each in layers:
        name, constants = names[each.op.operands.x], [c for c in each.op.operands[1:] if isinstance(c, Constant)]
        layer = each.op.operator, *(c.digest for c in constants), each.x, each.products is None
        keys[each.op] = made_of[name], name in choices.scales and choices.scales[name].factors.tobytes(), *layer
    new = [each for each in layers if keys[each.op] not in seen]
    for index, arrays in enumerate(observation.arrays() if new else ()):
        for each in new:
            name = names[each.op.operands.x]
            scales = choices.scales.get(name)
            x = arrays[name]
            each.observe(x if scales is None else scales.divided(x), index, len(observation.samples))
    seen.update({keys[each.op]: each.rounded() for each in new})
    return {name: seen[keys[op]] for name, op in _anchors(plan).items() if op in keys}


def learn_narrow_weights(
    module: Module,
    plan: Plan,
    ranges: Mapping[str, Range],
    observation: Observation,
    options: CompileOptions,
    wide: Collection[str] = (),
) -> dict[str, Rounded]:
    """Weights of as many bits as the options say, by what the layers read in the quantised network.
    ``wide``: names of values of 16 bits."""
    types = quantized_types(plan, ranges, wide=wide)
    found = learn_weights(module, plan, types, [*observation.samples], options.weights_bits, options.report)
    return {name: found[op] for name, op in _anchors(plan).items() if op in found}


def _anchors(plan: Plan) -> dict[str, Op]:
    """The anchors by unique names, which are those of their results."""
    names = Names()
    return {names.take(op.result.name): op for op in plan.anchors}


def _inputs(plan: Plan, ranges: Mapping[str, Range], wide: Collection[str]) -> Iterator[tuple[Product, TensorType]]:
    """Convolutions and products, and how what they read is quantised."""
    types = quantized_types(plan, ranges, wide=wide)
    for op in plan.anchors:
        type = types.get(plan.source(op.operands.x))
        if is_product(op) and type is not None and type.quant is not None:
            yield op, type


def prepared_network(
    module: Module,
    plan: Plan,
    choices: Choices,
    keep: tuple[str, ...],
    forms: Mapping[str, bool],
    ranges: Mapping[str, Range],
    wide: tuple[str, ...],
) -> Prepared:
    """A copy of a module before its weights are rounded.
    ``keep``, ``forms``, ``ranges``, ``wide``: those of the plan."""
    copy, anchors = clone_module(module), _anchors(plan)
    twins = dict(zip(module.main.ops, copy.main.ops, strict=True))
    weights = {twins[anchors[name]]: each for name, each in choices.weights.items()}
    return Prepared(copy, keep, forms, {**ranges}, weights, wide)


def apply_weights(module: Module, plan: Plan, choices: Choices) -> None:
    """Give the layers their rounded weights."""
    anchors = _anchors(plan)
    set_rounded(module, [(anchors[name], each) for name, each in choices.weights.items() if name in anchors])
