"""What each rounding in a quantised network does to its outputs, and which layers had best stay in floating point.

Each value and each layer's weights are rounded alone, in a network that is otherwise in floating point: what a value
loses itself tells little of what becomes of it on the way to the outputs. It is one network for all of them, of which
an input says what is rounded. What the roundings do is taken to add up.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from tilewright.immutable import Immutable

from ....ir.clone import clone_module
from ....ir.core import Constant, Module, Op, Value
from ....ir.ops.elementwise import Add, Mul, Sub
from ....ir.ops.movement import Slice
from ....ir.ops.quantization import FakeQuantize, real
from ....ir.quantized import limits, parameters
from ....ir.types import DType, TensorType
from ....passes.quantization.parameters import Range
from ....passes.quantization.plan import Plan, plan_quantization
from ....passes.quantization.quantizable import Anchor, is_anchor, is_below_zero
from ....passes.quantization.quantize import quantized_types, stored_weights
from ...calibration.sample_sets import Held, Inputs
from ...progress import ProgressReport, silent
from ..methods import Prepared
from ..round_weights import Rounded, real_weights
from .judging import answers, decibels, runner

SAMPLES, WORK = 4, 4e11
"""At most so many samples, and fewer, but one, where the roundings would take more multiplications than this."""

PRICED = 96
"""Results of which it is found out what 16 bits take longer, at most, those that do most to the outputs."""

WORTH = 0.05
"""Layers that leave less of the noise out are not kept while others leave out more."""

STAGE = "rank layers"


class OutputNoise(Immutable):
    """Power of the outputs, and of what differs in them where one thing alone is rounded, over all samples.
    ``values``: by value of the plan.
    ``weights``: by anchor.
    ``by_output``: the same of each output, of the values and then of the weights, float64[values + weights,
    outputs]."""

    signal: float
    values: Mapping[Value, float]
    weights: Mapping[Op, float]
    by_output: np.ndarray

    def of(self, plan: Plan) -> float:
        """What all roundings of another plan of the same network make together."""
        rounded = [self.values.get(value, 0.0) for value in plan.values.values()]
        return math.fsum([*rounded, *(self.weights.get(op, 0.0) for op in plan.anchors)])


def output_noise(
    prepared: Prepared, samples: Sequence[Inputs], report: ProgressReport, *, of_weights: bool = True
) -> OutputNoise:
    """Round one thing after the other, on some of the samples; without weights, values alone."""
    plan, copy = prepared.plan(), clone_module(prepared.module)
    values = [*plan.values.values()]
    twin_plan = plan_quantization(copy.main, prepared.keep, **prepared.forms)
    types = quantized_types(twin_plan, prepared.ranges, wide=prepared.wide)
    twins = dict(zip(plan.anchors, twin_plan.anchors, strict=True))
    changes = {op: _change(twin, twin_plan, types, prepared.weights.get(op)) for op, twin in twins.items()}
    layers = [op for op in plan.anchors if of_weights and any(array.any() for array in changes[op])]
    gates = copy.main.add_parameter("gates", TensorType((len(values) + len(layers),), DType.F32))
    readers = {value: _readers(value, twin_plan) for value in twin_plan.values.values()}
    for index, op in enumerate(layers, len(values)):
        _gate_weights(copy, twins[op], changes[op], gates, index)
    for index, (value, uses) in enumerate(readers.items()):
        _gate_value(copy, value, uses, types[value], gates, index)
    run, count = runner(copy), gates.type.elements
    work = count * sum(op.macs for op in prepared.module.main.ops)
    used = samples[: max(1, min(SAMPLES, int(WORK / max(work, 1))))]
    ends = np.cumsum([value.type.elements for value in copy.main.results])[:-1]
    signal, noise = 0.0, np.zeros((count, len(ends) + 1))
    for at, inputs in enumerate(used):
        (exact,) = answers(run, Held((), [{**inputs, gates.name: np.zeros(count, np.float32)}]))
        signal += float(np.square(exact, dtype=np.float64).sum())
        for index in range(count):
            report(STAGE, at * count + index, len(used) * count)
            (found,) = answers(run, Held((), [{**inputs, gates.name: np.eye(1, count, index, np.float32)[0]}]))
            wrong = np.square(found - exact, dtype=np.float64)
            noise[index] += [part.sum() for part in np.split(wrong, ends)]
    report(STAGE, len(used) * count, len(used) * count)
    each = noise.sum(1).tolist()
    return OutputNoise(
        signal, dict(zip(values, each, strict=False)), dict(zip(layers, each[len(values) :], strict=True)), noise
    )


def _change(
    op: Anchor, plan: Plan, types: Mapping[Value, TensorType], rounded: Rounded | None
) -> tuple[np.ndarray, np.ndarray]:
    """What rounding adds to the weights and the bias of an anchor."""
    w, bias, x = op.operands[1], op.operands[2], types[plan.source(op.inputs[0])]
    assert x.quant is not None
    if rounded is not None:
        stored, type = rounded.weights, rounded.type
    elif isinstance(w, Constant):
        stored, type = stored_weights(op, w.array, x.quant.scale[0])
    else:
        return np.zeros(1, np.float32), np.zeros(1, np.float32)
    found = real(stored, type) - real_weights(op)
    given = bias.array if isinstance(bias, Constant) else np.float32(0)
    return found, rounded.bias - given if rounded is not None else np.zeros(1, np.float32)


def _readers(value: Value, plan: Plan) -> list[tuple[Op, int]]:
    uses = [(user, index) for user, index in value.uses if plan.reads_quantized(value, user)]
    return [(user, index) for user, index in uses if isinstance(user, Op)]


def _gate_weights(module: Module, op: Op, change: tuple[np.ndarray, np.ndarray], gates: Value, index: int) -> None:
    """Add to the result, where its gate is open, what the rounding of the weights makes."""
    uses = [*op.result.uses]
    weights, bias = (module.add_constant(f"{op.result.name}_{name}", a) for name, a in zip("wb", change, strict=True))
    wrong = Op(op.operator, [op.inputs[0], weights, bias if bias.type.elements > 1 else None], [op.result.type])
    module.main.insert_after(wrong, op)
    _open(module, op.result, wrong, uses, gates, index)


def _gate_value(
    module: Module, value: Value, uses: Sequence[tuple[Op, int]], type: TensorType, gates: Value, index: int
) -> None:
    """Round a value for these readers where its gate is open."""
    if not uses:
        return
    scale, zero = parameters(type)
    numbers = scale, *(scale * np.float32(limit - zero) for limit in limits(type))
    # Behind what the weights of its producer add.
    x = uses[0][0].operands[uses[0][1]]
    assert x is not None
    constants = [module.add_constant(f"{value.name}_grid", np.asarray(number)) for number in numbers]
    rounded = Op(FakeQuantize(), [x, *constants])
    module.main.insert_after(rounded, x.producer)
    wrong = module.main.insert_after(Op(Sub(), [rounded.result, x]), rounded)
    _open(module, x, wrong, uses, gates, index)


def _open(module: Module, x: Value, wrong: Op, uses: Sequence[tuple[object, int]], gates: Value, index: int) -> None:
    """Let the uses have ``x`` and, where the gate is open, what is wrong."""
    gate = module.main.insert_after(Op(Slice((index,), (1,), (1,)), [gates]), wrong)
    share = module.main.insert_after(Op(Mul(), [wrong.result, gate.result]), gate)
    whole = module.main.insert_after(Op(Add(), [x, share.result]), share)
    for user, at in uses:
        user.set_operand(at, whole.result)  # pyright: ignore


def whole_ranges(
    prepared: Prepared, extremes: Mapping[str, Range], samples: Sequence[Inputs], report: ProgressReport
) -> tuple[str, ...]:
    """Values that had better not be cut off: in turn, the best first, those for which the sum of the logarithms of what
    each output has of noise falls.

    A method of ranges asks for the least error of the value; outputs may rest on its largest numbers, and one output
    more than another.
    ``extremes``: the smallest and the largest number of values, by name."""
    wider = {name: range for name, range in extremes.items() if range != prepared.ranges[name]}
    if not wider:
        return ()
    now = output_noise(prepared, samples, report).by_output
    then = output_noise(replace(prepared, ranges={**prepared.ranges, **wider}), samples, report, of_weights=False)
    changes = dict(zip(prepared.plan().values, then.by_output - now[: len(then.by_output)], strict=True))
    total, found = now.sum(0), dict.fromkeys(wider, False)

    def logarithms(noise: np.ndarray) -> float:
        return float(np.log(np.maximum(noise, 1e-300)).sum())

    while left := [name for name, is_whole in found.items() if not is_whole]:
        best = min(left, key=lambda name: logarithms(total + changes[name]))
        if not logarithms(total + changes[best]) < logarithms(total):
            break
        total, found[best] = total + changes[best], True
    return tuple(name for name, is_whole in found.items() if is_whole)


class Harmed(NamedTuple):
    """A node, or a parameter, the noise in the outputs that rounding its results makes, and the seconds that 16 bits
    take longer for them."""

    name: str
    noise: float
    seconds: float


def harmed_results(
    prepared: Prepared,
    noise: OutputNoise,
    price: Callable[[str], float] | None = None,
    least: float = 1.0,
    report: ProgressReport = silent,
) -> list[Harmed]:
    """What rounding results does to the outputs, the most first over the time that 16 bits take longer, or by itself.
    ``price``: that time, modelled, of the `PRICED` that do most; the others come after them.
    ``least``: seconds; what takes less is as good as what takes these."""
    found: dict[str, float] = {}
    for value in prepared.plan().values.values():
        for name in value.producer.loc[:1] if value.producer is not None else (value.name,):
            found[name] = found.get(name, 0.0) + noise.values.get(value, 0.0)
    names = sorted(found, key=lambda name: -found[name])
    priced: list[Harmed] = []
    if price is not None:
        for at, name in enumerate(dear := names[:PRICED]):
            report("price results", at, len(dear))
            priced.append(Harmed(name, found[name], price(name)))
    priced.sort(key=lambda each: -each.noise / max(each.seconds, least))
    return [*priced, *(Harmed(name, found[name], 0.0) for name in names[len(priced) :])]


class Kept(Immutable):
    """Nodes that are to stay in floating point, and the SQNR that is expected then, in decibels."""

    nodes: tuple[str, ...]
    sqnr: float


def layers_to_keep(prepared: Prepared, noise: OutputNoise, seconds: Mapping[str, float], most: int) -> Iterator[Kept]:
    """More and more nodes: each time those that leave most noise out for the time that they take longer.
    ``seconds``: by node, what the network takes longer when that one is in floating point.
    ``most``: nodes at most; at least one stays quantised."""
    kept: tuple[str, ...] = ()
    left = noise.of(prepared.plan())
    while True:
        plan = prepared.plan(kept)
        moves = [move for move in _moves(plan) if len(kept) + len(move) <= most and _nodes(plan) - {*move}]
        tried = {move: left - noise.of(prepared.plan((*kept, *move))) for move in _likely(moves, plan, noise)}
        gains = {move: gain for move, gain in tried.items() if gain > 0}
        if not gains:
            return
        floor = min(WORTH * left, max(gains.values()))
        worth = [move for move, gain in gains.items() if gain >= floor]
        best = max(worth, key=lambda move: gains[move] / math.fsum(seconds.get(node, math.inf) for node in move))
        kept, left = (*kept, *best), left - gains[best]
        yield Kept(kept, decibels(noise.signal, left))


def growing(ways: Sequence[Kept], least: float | None) -> list[int]:
    """How many of the ways to keep more and more, counted from 1, are to be tried: twice as many nodes each time, and
    at least as many as are expected to leave so many decibels."""
    found: list[int] = []
    for count, way in enumerate(ways, 1):
        many = len(way.nodes) >= 2 * (len(ways[found[-1] - 1].nodes) if found else 0)
        if way is ways[-1] or (many and (least is None or way.sqnr >= least)):
            found.append(count)
    return found


TRIED = 24
"""Ways to keep further layers of which it is found out what they leave out, those that promise most."""


def _likely(moves: Sequence[tuple[str, ...]], plan: Plan, noise: OutputNoise) -> list[tuple[str, ...]]:
    near: dict[str, float] = {}
    for op in plan.anchors:
        around = (*op.inputs, *op.results, *(result for user in op.result.users for result in user.results))
        total = math.fsum(noise.values.get(value, 0.0) for value in around) + noise.weights.get(op, 0.0)
        for node in op.loc[:1]:
            near[node] = near.get(node, 0.0) + total
    return sorted(moves, key=lambda move: -math.fsum(near.get(node, 0.0) for node in move))[:TRIED]


def _nodes(plan: Plan) -> set[str]:
    """Nodes of the anchors, but of a PReLU, which becomes integers for the layer behind it alone."""
    return {op.loc[0] for op in plan.anchors if op.loc and not is_below_zero(op.inputs[0].producer)}


def _moves(plan: Plan) -> list[tuple[str, ...]]:
    """Each anchor, and all anchors around each value, by their nodes."""
    found: dict[tuple[str, ...], None] = {}
    around = [[op] for op in plan.anchors]
    for value in plan.values.values():
        ops = [*_behind(value, plan)]
        around.append([*ops, *(op for op in plan.anchors if op is _maker(value, plan))])
    for ops in around:
        if ops and all(op.loc for op in ops):
            found[tuple(dict.fromkeys(op.loc[0] for op in ops))] = None
    return [*found]


def _maker(value: Value, plan: Plan) -> Op | None:
    """What makes a value, before what floating point does with it."""
    maker = value.producer
    while maker is not None and not is_anchor(maker) and maker not in plan.ops and len(maker.inputs) == 1:
        maker = maker.inputs[0].producer
    return maker


def _behind(value: Value, plan: Plan) -> Iterator[Anchor]:
    """The anchors that read a value, through what is quantised between them."""
    for user in value.users:
        if user in plan.anchors and is_anchor(user):
            yield user
        elif user in plan.ops:
            yield from (op for result in user.results for op in _behind(result, plan))
