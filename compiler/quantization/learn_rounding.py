"""Weights of few bits, each rounded up or down as learnt from what its layer makes of samples.

After Nagel, Amjad, van Baalen, Louizos, Blankevoort, "Up or Down? Adaptive Rounding for Post-Training Quantization",
2020: a number between 0 and 1 for each weight, the share by which it is rounded up, follows the gradient of the squared
error of the layer behind its activation, or of what follows as far as :func:`.look_ahead.look_ahead` looks, and a
second term drives it to one of the two. Inputs are those that the layer has in the quantised network, so that it makes
good what the layers before it lost. The gradient is followed as Kingma, Ba, "Adam: A Method for Stochastic
Optimization", 2014, say.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tilewright.immutable import Immutable

from ...ir.accumulators import channel_axis
from ...ir.core import Constant, Module, Op, Value, is_op
from ...ir.ops.convolution import Conv
from ...ir.types import DType, Quantization, TensorType
from ...passes.quantization.parameters import SMALLEST_SCALE
from ...passes.quantization.plan import Plan
from ..calibration.sample_sets import Inputs
from ..calibration.windows import (
    Product,
    at_windows,
    is_product,
    places_of,
    results_at,
    rows_of_weights,
    weights_of_rows,
    windows,
    windows_at,
)
from ..progress import ProgressReport
from .layer_walk import Arrays, Chosen, computed, walk
from .look_ahead import UNBOUNDED, Ahead, look_ahead
from .round_weights import Rounded, real_weights

STEPS, BATCH, PATCHES = 400, 256, 8
"""Steps along the gradient, and windows that each is taken by, or patches of them that are looked at together."""

RATE, BIAS_RATE = 5e-2, 1e-3
"""Lengths of the steps: of what becomes the shares, and of the bias over the deviation of the results."""

WARM, STEEP, FLAT = 0.2, 20.0, 2.0
"""For this part of the steps only the error counts; the exponent of the second term falls from one to the other."""

WEIGHT = 300.0
"""Of the second term at the end, of the mean over the weights, where the error is that of rounding to the nearest; it
grows from 0, so that layers of any size end with whole shares."""

CLAMPED = 0.1
"""Of errors before the activation, this share counts, too: what it clamps on these samples it may not on others."""

NOTHING = 1e-10
"""Of the power of the results, what is no more is no error to learn from: of layers that an activation clamps wherever
samples look, whose weights are all zero or on a grid of so few bits."""

STRETCH = 1.2
"""The logistic function is stretched by this about its middle and cut off, so that 0 and 1 are reached."""

NARROWED = np.linspace(1.0, 0.4, 25)
"""Steps of a channel that are tried, over that which its largest weight needs."""

REAL = 0.5
"""Of the inputs, so many, drawn anew for each step, are those in floating point, so that what is learnt holds for other
samples (Wei, Gong, Li, Liu, Yu, "QDrop: Randomly Dropping Quantization for Extremely Low-bit Post-Training
Quantization", 2022)."""

PLACES, MOST_NUMBERS = 4, 2**25
"""Times as many windows of each sample as other methods look at, where no more numbers are read or made there."""

SMALL = 0.02
"""Of all weights, what the smallest layers have together that keep 8 bits: half a byte of each of so few is nothing,
but what rounding does to early layers, which are the small ones, all later ones pass on."""

FEWEST = 16
"""Weights in each sum, below which a layer keeps 8 bits: nine of a depthwise convolution leave little to make good what
rounding does to one of them, and four bits of each of them are less than the scale and the bias of their channel."""

STAGE = "weights"


def learn_weights(
    module: Module,
    plan: Plan,
    types: Mapping[Value, TensorType],
    samples: Sequence[Inputs],
    bits: int,
    report: ProgressReport,
) -> dict[Op, Rounded]:
    """Weights of ``bits`` bits for all layers of constant weights but the first, the last, the smallest and those of
    short sums, which keep 8.
    ``types``: of the plan's values, as they are quantised."""
    layers: dict[Op, Product] = {op: op for op in layers_to_learn([op for op in plan.anchors if is_product(op)])}
    found: dict[Op, Rounded] = {}

    def choose(op: Op, x: Arrays, y: Arrays, given: Arrays, lacking: Callable[[Op], Arrays]) -> Chosen:
        report(STAGE, len(found), len(layers))
        layer, ahead = layers[op], look_ahead(layers[op], plan, len(given))
        problem = _problem(layer, x, y, given, lacking, ahead, bits)
        found[op], chosen = _learnt(module, layer, problem, y, given, len(found))
        return chosen

    walk(module, plan, types, samples, dict.fromkeys(layers, choose))
    report(STAGE, len(layers), len(layers))
    return found


def layers_to_learn(products: Sequence[Product]) -> list[Product]:
    """Those of all convolutions and products of a network whose weights get few bits."""
    sizes = {op: real_weights(op).size for op in products}
    long = [op for op in products[1:-1] if rows_of_weights(op, real_weights(op)).shape[2] >= FEWEST]
    rising = sorted(long, key=sizes.__getitem__)
    together = np.cumsum([sizes[op] for op in rising])
    small = {*rising[: int(np.sum(together <= SMALL * sum(sizes.values())))]}
    return [op for op in long if op not in small]


def _problem(
    op: Product, x: Arrays, y: Arrays, given: Arrays, lacking: Callable[[Op], Arrays], ahead: Ahead, bits: int
) -> "Problem":
    """What is to be solved for a layer; arguments as of `Choose`."""
    real, bias = real_weights(op), op.operands[2]
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    first = bias.array if isinstance(bias, Constant) else np.zeros(real.shape[channel_axis(op)], np.float32)
    rows = rows_of_weights(op, real)
    groups, more = len(rows), None
    if ahead.patches is None:
        places = _places(op, len(given))
        looks = (windows, given), (windows, x), (at_windows, y)
        looked = [
            np.concatenate([look(op, each, n, places) for n, each in enumerate(arrays)]) for look, arrays in looks
        ]
    else:
        read, made = ahead.patches.read, ahead.patches.made
        looked = [
            np.concatenate([windows_at(op, *each) for each in zip(arrays, read, strict=True)]) for arrays in (given, x)
        ]
        results = np.concatenate([results_at(*each) for each in zip(y, read, strict=True)])
        looked.append(results.reshape(len(results), groups, -1))
        if missing := lacking(ahead.patches.product):
            found = np.concatenate([results_at(*each) for each in zip(missing, made, strict=True)])
            more = found.reshape(ahead.patches.inside.shape[1], -1, found.shape[1]).transpose(2, 1, 0)
    inputs, reals, wanted = (np.ascontiguousarray(each.transpose(1, 0, 2), np.float32) for each in looked)
    steps, shifts = best_steps(rows, low, high), first.reshape(groups, 1, -1)
    return Problem(inputs, reals, wanted, rows, steps, shifts, (low, high), ahead, more)


def _learnt(
    module: Module, op: Product, problem: "Problem", y: Arrays, given: Arrays, seed: int
) -> tuple[Rounded, Chosen]:
    """The weights and the bias of a layer, as integers and as real numbers."""
    stored, shifts = problem.solved(np.random.default_rng(seed))
    weights = weights_of_rows(op, (stored * problem.steps).astype(np.float32))
    corrected = shifts.reshape(-1)
    if problem.ahead.patches is None:
        # What remains on average over all places.
        found = [computed(module, op, [each, weights, corrected, None])[0] for each in given]
        channels = 1 if is_op(op, Conv) else y[0].ndim - 1
        others = tuple(d for d in range(y[0].ndim) if d != channels)
        missing = np.mean([(a - b).mean(others, dtype=np.float64) for a, b in zip(y, found, strict=True)], 0)
        corrected = (corrected + missing).astype(np.float32)
    quant = Quantization.per_channel(problem.steps.reshape(-1), channel_axis(op))
    type = TensorType(weights.shape, DType.I8, quant)
    return Rounded(weights_of_rows(op, stored).astype(np.int8), type, corrected), (weights, corrected)


def _places(op: Product, samples: int) -> int:
    """How many windows of each of so many samples are learnt from."""
    groups, outputs, inner = rows_of_weights(op, real_weights(op)).shape
    most = MOST_NUMBERS // (groups * max(outputs, inner) * samples)
    return max(places_of(samples), min(PLACES * places_of(samples), most))


def best_steps(rows: np.ndarray, low: int, high: int) -> np.ndarray:
    """Steps for each channel of [groups, outputs, inner] that change weights least in the mean square, […, 1]."""
    widest = np.maximum(rows.max(2, keepdims=True, initial=0) / high, rows.min(2, keepdims=True, initial=0) / low)
    widest = np.where(widest > SMALLEST_SCALE, widest, 1.0).astype(np.float32)
    best, least = widest, np.full(widest.shape, np.inf)
    for factor in NARROWED:
        steps = (widest * factor).astype(np.float32)
        error = np.square(np.clip(np.rint(rows / steps), low, high) * steps - rows).sum(2, keepdims=True)
        best, least = np.where(error < least, steps, best), np.minimum(error, least)
    return best


class Problem(Immutable):
    """A layer whose weights are to be rounded.

    Attributes:
        inputs: [groups, windows, inner], of the quantised network; those of a patch behind each other.
        reals: what they are in floating point.
        wanted: what is to be made of them before the activation, [groups, windows, outputs].
        weights: [groups, outputs, inner], real numbers.
        steps: of the channels, [groups, outputs, 1].
        bias: [groups, 1, outputs].
        limits: the least and the largest integer.
        ahead: what is made of the results, which is to be right.
        more: what is to be added to that, [its outputs, places, patches].
    """

    inputs: np.ndarray
    reals: np.ndarray
    wanted: np.ndarray
    weights: np.ndarray
    steps: np.ndarray
    bias: np.ndarray
    limits: tuple[int, int]
    ahead: Ahead
    more: np.ndarray | None = None

    def solved(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Integers of the shape of the weights, and the bias."""
        scaled = self.weights / self.steps
        floor = np.floor(scaled)
        rest = np.clip(scaled - floor, 0.01, 0.99)
        edge = (STRETCH - 1) / 2
        free = np.log((rest + edge) / (1 + edge - rest))
        bias = np.array(np.swapaxes(self.bias, 1, 2), np.float32, order="C")
        every = np.arange(self.inputs.shape[1] // self.ahead.places)
        before = self._at(self.wanted, every)
        wanted = self._ahead(before, every)[0]
        if self.more is not None:
            wanted = wanted + self.more
        nearest = np.clip(np.rint(scaled), *self.limits) * self.steps
        missed = self._ahead(nearest @ self._at(self.inputs, every) + bias, every)[0] - wanted
        power, whole = (float(np.square(each, dtype=np.float64).mean()) for each in (missed, before))
        if not power > max(NOTHING * whole, 1e-30):
            return np.clip(np.rint(scaled), *self.limits), self.bias
        # In memory, what belongs to one unit lies together.
        wanted, before = (
            np.ascontiguousarray(np.moveaxis(each, -1, 0))
            for each in (wanted, before.reshape(*bias.shape[:2], self.ahead.places, -1))
        )
        movers = _Adam(free, RATE), _Adam(bias, BIAS_RATE * float(self.wanted.std() + 1e-9))
        is_single = self.ahead.patches is None
        counts_clamped = is_single and self.ahead.bounds != UNBOUNDED
        for step in range(STEPS):
            units = rng.integers(len(every), size=min(BATCH if is_single else PATCHES, len(every)))
            x = self._at(self.inputs, units)
            x = np.where(rng.random(x.shape, np.float32) < REAL, self._at(self.reals, units), x)
            logistic = 1 / (1 + np.exp(-free))
            share = np.clip(logistic * STRETCH - edge, 0, 1)
            integers = np.clip(floor + share, *self.limits)
            y = (integers * self.steps) @ x + bias
            made, led_back = self._ahead(y, units)
            error = made - np.moveaxis(wanted[units], 0, -1)
            error *= 2 / (power * error.size)
            error = led_back(error).reshape(y.shape)
            if counts_clamped:
                error += CLAMPED * 2 / (power * error.size) * (y - np.moveaxis(before[units], 0, -1).reshape(y.shape))
            slope = (error @ np.swapaxes(x, 1, 2)) * self.steps * (integers == floor + share)
            if step > WARM * STEPS:
                grown = (step / STEPS - WARM) / (1 - WARM)
                exponent = STEEP - (STEEP - FLAT) * grown
                from_middle = 2 * share - 1
                pulled = np.sign(from_middle) * np.abs(from_middle) ** (exponent - 1)
                slope -= (WEIGHT * grown * 2 * exponent / free.size) * pulled
            slope *= STRETCH * logistic * (1 - logistic) * ((share > 0) & (share < 1))
            movers[0].move(slope)
            movers[1].move(error.sum(2, keepdims=True))
        return np.clip(floor + (free > 0), *self.limits), np.swapaxes(bias, 1, 2)

    def _at(self, values: np.ndarray, units: np.ndarray) -> np.ndarray:
        """Of [groups, windows, numbers] those of some patches, or windows: [groups, numbers, places and units]."""
        groups, _, numbers = values.shape
        found = values.reshape(groups, -1, self.ahead.places, numbers)[:, units]
        return found.transpose(0, 3, 2, 1).reshape(groups, numbers, -1)

    def _ahead(self, y: np.ndarray, units: np.ndarray) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
        """What becomes of results, [groups, outputs, places and units]."""
        return self.ahead.made(y.reshape(-1, self.ahead.places, len(units)), units)


class _Adam:
    """Moves numbers, in place, against the slope of what is to become small."""

    def __init__(self, numbers: np.ndarray, rate: float) -> None:
        self._numbers, self._rate, self._time = numbers, rate, 0
        self._mean, self._square = np.zeros_like(numbers), np.zeros_like(numbers)

    def move(self, slope: np.ndarray) -> None:
        self._time += 1
        self._mean += 0.1 * (slope - self._mean)
        self._square += 0.001 * (slope * slope - self._square)
        mean, square = self._mean / (1 - 0.9**self._time), self._square / (1 - 0.999**self._time)
        self._numbers -= self._rate * mean / (np.sqrt(square) + 1e-8)
