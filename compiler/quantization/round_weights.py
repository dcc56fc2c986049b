"""Weights rounded so that each layer's result changes least, and biases that make good what remains on average.

Weights are rounded one input after the other, and each error is made up for by the weights of the inputs that are yet
to be rounded: Frantar, Ashkboos, Hoefler, Alistarh, "GPTQ: Accurate Post-Training Quantization for Generative
Pre-trained Transformers", 2022, in the equal form of Chee, Cai, Kuleshov, De Sa, "QuIP: 2-Bit Quantization of Large
Language Models With Guarantees", 2023, section 3, which needs one decomposition and no inverse.

Sums over samples are of integers and exact, and what follows is computed element by element, so that the same samples
give the same bytes on every machine.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from tilewright.immutable import Immutable

from ...ir.accumulators import channel_axis
from ...ir.core import Constant, Module, Op
from ...ir.quantized import limits, parameters
from ...ir.types import TensorType
from ...passes.quantization.parameters import GRID_TOLERANCE, LARGEST, on_own_grid, per_channel
from ...passes.quantization.quantizable import Anchor
from ...passes.quantization.quantize import set_weights
from ..calibration.windows import Product, places_of, rows_of_weights, weights_of_rows, windows

DAMPING = 0.01
"""Of the mean of the diagonal, added to it: inputs that samples hardly show are not relied on."""

LARGEST_INNER = 2304
"""Inputs of a result, beyond which weights are rounded to the nearest: time grows with their third power."""

MOST_BYTES = 1 << 29
"""Of the sums of all layers; the largest layers that do not fit are rounded to the nearest."""

MOST_STEPS = 3e10
"""Multiplications of all layers, about half a minute; as above."""

WIDENED = 1 + np.arange(16) / 64
"""Times the smallest step that holds a channel: those that are tried. What the last weight cannot make good is a share
of a step as if by chance; for depthwise weights, nine in the direction in which maps are smooth, it is most of the
error."""

LARGEST_TRIED = 64
"""Inputs of a result, up to which several steps are tried."""

PANEL = 32
"""Columns of a decomposition, and rows, that are computed together, in the processor's caches."""


class Rounded(Immutable):
    """Weights as integers of a type, and the bias, float32[outputs]."""

    weights: np.ndarray
    type: TensorType
    bias: np.ndarray


@dataclass
class LayerSums:
    """What is known of the inputs of a layer, by group.

    Attributes:
        x: the quantised type of the inputs.
        products: sums of products of each two inputs, as integers less the zero point, [groups, inner, inner]; ``None``
            where the weights are rounded to the nearest.
        integers: sums of the inputs, as such integers, [groups, inner].
        reals: of the inputs before they were rounded.
    """

    op: Product
    x: TensorType
    products: np.ndarray | None
    integers: np.ndarray
    reals: np.ndarray
    count: int = field(default=0)

    @classmethod
    def empty(cls, op: Product, x: TensorType, *, is_optimised: bool) -> "LayerSums":
        groups, _, inner = rows_of_weights(op, real_weights(op)).shape
        products = np.zeros((groups, inner, inner)) if is_optimised else None
        return cls(op, x, products, np.zeros((groups, inner)), np.zeros((groups, inner)))

    def observe(self, x: np.ndarray, index: int, samples: int) -> None:
        """Take in the first operand of sample ``index`` of so many."""
        found = windows(self.op, x, index, places_of(samples)).astype(np.float64)
        stored = integers(found, self.x)
        self.reals += found.sum(0)
        self.integers += stored.sum(0)
        self.count += len(found)
        if self.products is not None:
            by_group = stored.transpose(1, 2, 0)
            self.products += by_group @ by_group.transpose(0, 2, 1)

    def rounded(self) -> Rounded:
        """The weights and the bias of the layer."""
        op, scale = self.op, float(parameters(self.x)[0])
        weights, bias = real_weights(op), op.operands[2]
        outputs = weights.shape[channel_axis(op)]
        real_bias = bias.array if isinstance(bias, Constant) else np.zeros(outputs, np.float32)
        nearest, type = per_channel(weights, channel_axis(op), real_bias, scale)
        assert type.quant is not None
        groups, each, _ = (rows := rows_of_weights(op, weights).astype(np.float64)).shape
        steps = np.asarray(type.quant.scale, np.float64).reshape(groups, each, 1)
        if self.products is None:
            stored = rows_of_weights(op, nearest).astype(np.float64)
        else:
            # The bias takes care of means.
            centred = self.products * self.count - self.integers[:, :, None] * self.integers[:, None, :]
            stored, steps = optimised(rows, steps, centred)
            type = TensorType(type.shape, type.dtype, replace(type.quant, scale=tuple(steps.reshape(-1).tolist())))
        count = max(self.count, 1)
        exact = (rows * (self.reals / count)[:, None, :]).sum(2)
        found = (stored * steps * (self.integers * scale / count)[:, None, :]).sum(2)
        corrected = real_bias.astype(np.float64) + (exact - found).reshape(-1)
        return Rounded(weights_of_rows(op, stored).astype(np.int8), type, corrected.astype(np.float32))


def integers(x: np.ndarray, type: TensorType) -> np.ndarray:
    """The stored integers less the zero point that numbers become in a type; float64."""
    (scale, zero), (low, high) = parameters(type), limits(type)
    return np.clip(np.rint(x.astype(np.float32) / scale), low - zero, high - zero).astype(np.float64)


def optimised(rows: np.ndarray, steps: np.ndarray, products: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Integers from -127 to 127 for weights, [groups, outputs, inner], and the steps that they count.
    ``rows``: the weights.
    ``steps``: the smallest ones, as float32 holds them, [groups, outputs, 1].
    ``products``: of the inputs, [groups, inner, inner]; symmetric, not negative."""
    inner = rows.shape[2]
    diagonal = np.arange(inner)
    damped = products.copy()
    damped[:, diagonal, diagonal] += DAMPING * products[:, diagonal, diagonal].mean(1, keepdims=True) + 1e-9
    decompose(damped)
    best, found, least = steps, np.empty_like(rows), np.full(steps.shape, np.nan)
    for times in WIDENED if inner <= LARGEST_TRIED else WIDENED[:1]:
        tried = (steps * times).astype(np.float32).astype(np.float64)
        integers, error = _rounded_in_turn(rows / tried, damped)
        error *= np.square(tried)
        better = (error < least) | np.isnan(least)
        best, found, least = (np.where(better, a, b) for a, b in ((tried, best), (integers, found), (error, least)))
    return found, best


def decompose(factors: np.ndarray) -> None:
    """Make matrices (I + U) D (I + U)^T into U, above the diagonal, and D, on it; what is below means nothing."""
    for end in range(factors.shape[1], 0, -PANEL):
        start = max(end - PANEL, 0)
        made = np.zeros((len(factors), end - start, end))
        for k in range(end - 1, start - 1, -1):
            made[:, k - start, :k] = factors[:, :k, k]
            factors[:, :k, k] /= factors[:, k, k, None]
            factors[:, :k, start:k] -= factors[:, :k, k, None] * made[:, k - start, None, start:k]
        for first in range(0, start, PANEL):
            rows = slice(first, min(first + PANEL, start))
            for k in range(end - 1, start - 1, -1):
                factors[:, rows, first:start] -= factors[:, rows, k, None] * made[:, k - start, None, first:start]


def _rounded_in_turn(weights: np.ndarray, factors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Integers for weights in steps, and the error of each output, [groups, outputs, 1], by what products were made
    into."""
    wanted, found = weights.copy(), np.empty_like(weights)
    error = np.zeros((*weights.shape[:2], 1))
    for k in range(weights.shape[2]):
        found[:, :, k] = np.clip(np.rint(wanted[:, :, k]), -LARGEST, LARGEST)
        error[:, :, 0] += np.square(wanted[:, :, k] - found[:, :, k]) * factors[:, None, k, k]
        wrong = weights[:, :, k] - found[:, :, k]
        wanted[:, :, k + 1 :] += wrong[:, :, None] * factors[:, None, k, k + 1 :]
    return found, error


def layers_to_round(found: Iterable[tuple[Product, TensorType]]) -> list[LayerSums]:
    """Empty sums for layers whose weights are on no grid of their own.
    ``found``: the layers, each with the quantised type of its inputs."""
    off_grid = [(op, x) for op, x in found if not _is_exact(op, float(parameters(x)[0]))]
    chosen: set[Op] = set()
    left_bytes, left_steps = float(MOST_BYTES), MOST_STEPS
    for op, _ in sorted(off_grid, key=lambda each: _costs(each[0])):
        steps, size = _costs(op)
        if (
            rows_of_weights(op, real_weights(op)).shape[2] <= LARGEST_INNER
            and size <= left_bytes
            and steps <= left_steps
        ):
            chosen.add(op)
            left_bytes, left_steps = left_bytes - size, left_steps - steps
    return [LayerSums.empty(op, x, is_optimised=op in chosen) for op, x in off_grid]


def _is_exact(op: Product, scale: float) -> bool:
    """Whether integers stand for the weights as they are."""
    w, b = op.operands[1], op.operands[2]
    if not isinstance(w, Constant):
        return True
    bias, axis = b.array if isinstance(b, Constant) else None, channel_axis(op)
    if on_own_grid(w.array, bias, scale) is not None:
        return True
    stored, type = per_channel(w.array, axis, bias, scale)
    assert type.quant is not None
    steps = type.quant.broadcast(w.type.rank)[0]
    return bool(np.abs(w.array / steps - stored).max(initial=0) <= GRID_TOLERANCE)


def _costs(op: Product) -> tuple[float, int]:
    groups, outputs, inner = rows_of_weights(op, real_weights(op)).shape
    tries = len(WIDENED) if inner <= LARGEST_TRIED else 1
    return groups * (inner**3 / 3 + tries * outputs * inner**2 / 2), 8 * groups * inner**2


def set_rounded(module: Module, rounded: Iterable[tuple[Op, Rounded]]) -> None:
    """Give ops their weights, dequantised, and their bias."""
    for op, found in rounded:
        set_weights(module, op, found.weights, found.type)
        op.set_operand(2, module.add_constant(f"{op.results[0].name}_bias", found.bias))


def real_weights(op: Anchor) -> np.ndarray:
    """The weights of an anchor as real numbers, also where they are integers already."""
    w = op.operands[1]
    assert w is not None
    if isinstance(w, Constant):
        return w.array
    assert w.producer is not None
    (stored,) = w.producer.inputs
    assert isinstance(stored, Constant)
    return w.producer.evaluate([stored.array])[0]
