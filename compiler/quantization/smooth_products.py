"""Scales by channel where matrix products meet floating point, folded into their weights.

Transformers have a few channels whose numbers are many times larger than those of all others, for which these lose most
of the 8 bits that they share. What products read is divided by a number for each channel, and their weights are
multiplied by it: Xiao, Lin, Seznec, Wu, Demouth, Han, "SmoothQuant: Accurate and Efficient Post-Training Quantization
for Large Language Models", 2023, with the exponent that changes the products least. The division goes into the
parameters of a normalisation that nothing else reads; elsewhere it is a multiplication before numbers become integers.
In the same way results that only floating point reads are divided in the weights, and multiplied when they are numbers
again. What goes into products of two computed matrices, or comes out of them, stays as it is: attention takes integers
of one scale.

Inputs of the network are moved by the mean of each channel as well, which the biases take back: features of tables may
lie far from 0, for what they differ by, and means that a network takes off are in its weights by then. Wei, Zhang, Li,
Zhang, Gong, Guo, Liu, "Outlier Suppression+: Accurate Quantization of Large Language Models by Equivalent and Effective
Shifting and Scaling", 2023. On engines of our own they become integers of 16 bits, which reach farther than samples
show: features are few, and incomes have no largest number. Factors are chosen by what rounding the weights does then.

What is multiplied before a product reads it, as in gated layers (SwiGLU: Shazeer, "GLU Variants Improve Transformer",
2020), is divided in the weights of the product that made one of the factors: nothing more is computed.

A table of 256 entries, as GELU is, has one scale for all channels of its result. Where that loses a bit, the function
is computed in floating point between two such multiplications; not where the accelerator is among the engines, which
has tables alone.
"""

import itertools
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field

import numpy as np

from ...ir.core import Constant, Module, Op, Value, is_op
from ...ir.ops.elementwise import Add, Div, Mul
from ...ir.ops.matmul import MatMul
from ...ir.text.names import Names
from ...ir.types import DType, TensorType
from ...passes.quantization.parameters import LARGEST, affine_parameters
from ...passes.quantization.plan import Plan
from ...passes.quantization.quantizable import is_moving
from ..calibration.computations import computations
from ..calibration.observation import Observation
from ..calibration.windows import Product, inner_axis, some_rows, weights_of_channels
from .layer_walk import rounded
from .moved_channels import normalized_for
from .round_weights import real_weights
from .scale_channels import SMALLEST, Candidate, ChannelScales, scale_results, with_margin
from .smooth_maps import MapBoundary, is_table

EXPONENTS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Of the channels' reach, against that of the weights, which has what is missing to 1."""

ROWS = 1024
"""By whose products the exponent is chosen, of all samples together."""

SEVERAL = 32
"""Rows whose means tell where others lie: nothing is moved by those of fewer."""

WORTH = 0.25
"""Of the power of what rounding does, at most so much must be left: factors are worth a multiplication for a bit."""

ROOM = 4
"""How many times as far integers of 16 bits reach as those of 8 would."""

WORTH_NOTHING = 0.9
"""The same of factors that cost nothing."""


@dataclass
class Boundary:
    """A value of one scale between products and floating point, or between products.

    Attributes:
        producer: the product whose result only floating point reads, or
        readers: the products that read what floating point made, or what was multiplied; also convolutions of what was
            normalised, moved or not.
        seen: what these read, which the value is moved to; its channels are dimension ``axis``.
        source: the product that made one of the factors, whose weights take the division.
        is_rounded: whether what it made is of integers, too.
        is_free: whether the division is part of what is computed anyway.
        is_movable: whether the biases of the readers can take back what is taken off.
        may_be_wide: whether what is moved may be of 16 bits.
        low, high: the smallest and the largest number of each channel, and 0 unless that can be moved.
        rows: some of what is read, and of the factor, [places, channels].
    """

    value: Value
    producer: Op[MatMul] | None
    readers: tuple[Product, ...]
    low: np.ndarray
    high: np.ndarray
    seen: Value
    axis: int = -1
    source: Op[MatMul] | None = None
    is_rounded: bool = False
    is_free: bool = False
    is_movable: bool = False
    may_be_wide: bool = False
    rows: list[np.ndarray] = field(default_factory=list)
    factor_rows: list[np.ndarray] = field(default_factory=list)

    @property
    def along(self) -> tuple[int, ...]:
        """The shape of a number for each channel, against the value."""
        return (-1,)

    def observe(self, x: np.ndarray, index: int, samples: int) -> None:
        """Take in the value on sample ``index`` of so many."""
        x = np.moveaxis(x, self.axis, -1)
        axes = tuple(range(x.ndim - 1))
        np.minimum(self.low, x.min(axes), out=self.low)
        np.maximum(self.high, x.max(axes), out=self.high)
        if self.readers:
            self.rows.append(some_rows(x, index, -(-ROWS // samples)))

    def observe_factor(self, x: np.ndarray, index: int, samples: int) -> None:
        """Take in the factor on the same places."""
        self.factor_rows.append(some_rows(x, index, -(-ROWS // samples)))

    def scales(self) -> ChannelScales | None:
        """What to divide by; ``None`` if that is not worth it."""
        low, high = self._reach(None)
        if self.readers:
            return self._nearest(low, high)
        reach = np.maximum(-low, high)
        factors = np.maximum(reach / (reach.max() or 1.0), SMALLEST).astype(np.float32)
        return _scales(factors, (low, high)) if np.square(factors).mean() < WORTH else None

    def divide(self, module: Module, scales: ChannelScales) -> None:
        """Divide the value in the weights that make it, or multiply those that read it, and take back the shifts."""
        by, shifts = scales.factors, scales.shifts
        for maker in filter(None, (self.producer, self.source)):
            scale_results(module, maker, 1 / by.astype(np.float64), has_bias=True)
        for reader in self.readers:
            weights = real_weights(reader)
            if shifts is not None:
                rows = weights_of_channels(reader, weights)
                b, moved = reader.operands.b, rows.astype(np.float64) @ shifts
                bias = moved + (b.array if isinstance(b, Constant) else 0.0)
                reader.set_operand(2, module.add_constant(f"{reader.result.name}_bias", bias.astype(np.float32)))
            along = [-1 if d == inner_axis(reader) else 1 for d in range(weights.ndim)]
            reader.set_operand(1, module.add_constant(reader.operands.w.name, weights * by.reshape(along)))

    def _reach(self, shifts: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """How far each channel reaches, 0 included; of inputs and of what is normalised, of which samples may have few
        numbers for each, with room for what others have."""
        if not (self.is_movable or (self.is_free and self.source is None)):
            return self.low, self.high
        less = np.float32(0) if shifts is None else shifts
        parts = [rows - less for rows in self.rows]
        low, high = (with_margin(np.stack([np.maximum(sign * x, 0).max(0) for x in parts])) for sign in (-1, 1))
        return np.minimum(self.low - less, -low), np.maximum(self.high - less, high)

    def _nearest(self, low: np.ndarray, high: np.ndarray) -> ChannelScales | None:
        """The scales by which the products of the rows change least.
        ``low``, ``high``: how far each channel reaches."""
        reach = np.maximum(-low, high)
        weights = np.concatenate([weights_of_channels(op, real_weights(op)) for op in self.readers])
        rows, against = np.concatenate(self.rows), np.abs(weights).max(0)
        spans, factor = [reach, np.sqrt(np.square(rows).mean(0))], None
        if self.source is not None:
            factor = np.concatenate(self.factor_rows)
            own = np.abs(factor).max(0)
            spans += [np.sqrt(reach * own), own]
        moves: list[tuple[np.ndarray | None, tuple[np.ndarray, np.ndarray], list[np.ndarray]]]
        moves = [(None, (low, high), spans)]
        if self.is_movable and len(rows) >= SEVERAL:
            # What is the same number in all samples may be another, or 0, in others.
            varies = self.low < self.high
            mean = np.where(varies, rows.mean(0), np.float32(0))
            low, high = self._reach(mean)
            farthest = np.maximum(-low, high)
            moves.append((mean, (low, high), [farthest, np.where(varies, rows.std(0), farthest)]))
        tried: list[ChannelScales] = []
        errors: list[float] = []
        for shifts, ends, spans in moves:
            moved = rows if shifts is None else rows - shifts
            wanted = moved @ weights.T
            scales = [_scales(np.ones(reach.shape, np.float32), ends)] if shifts is None else []
            is_wide = self.is_movable and self.may_be_wide
            for span, exponent in itertools.product(spans, EXPONENTS):
                # What meets zeros alone takes none of the range.
                factors = np.where(against > 0, 1.0, np.maximum(reach, 1.0) / SMALLEST)
                is_used = (span > 0) & (against > 0)
                factors[is_used] = span[is_used] ** exponent / against[is_used] ** (1 - exponent)
                scales.append(_scales(factors.astype(np.float32), ends, shifts, is_wide=is_wide))
            for each in scales:
                found = _products(moved, weights, each, factor if self.is_rounded else None)
                errors.append(float(np.square(found - wanted).mean()))
            tried += scales
        best = int(np.argmin(errors))
        return tried[best] if errors[best] < (WORTH_NOTHING if self.is_free else WORTH) * errors[0] else None


def _scales(
    factors: np.ndarray,
    ends: tuple[np.ndarray, np.ndarray],
    shifts: np.ndarray | None = None,
    *,
    is_wide: bool = False,
) -> ChannelScales:
    """What divides by these factors; ``ends``: how far each channel reaches before."""
    (low, high), room = ends, ROOM if is_wide else 1
    range = room * float((low / factors).min()), room * float((high / factors).max())
    return ChannelScales(factors, range, shifts, is_wide)


def _products(rows: np.ndarray, weights: np.ndarray, scales: ChannelScales, factor: np.ndarray | None) -> np.ndarray:
    """Of integers, rows divided and weights multiplied.
    ``factor``: of the rows, which is divided and rounded before."""
    if factor is not None:
        divided = factor / scales.factors
        limits = float(min(divided.min(), 0)), float(max(divided.max(), 0))
        kept = rounded(divided, TensorType(rows.shape, DType.I8, affine_parameters(limits, DType.I8)))
        rows = rows * np.divide(kept, divided, out=np.zeros_like(divided), where=divided != 0)
    dtype = DType.I16 if scales.is_wide else DType.I8
    type = TensorType(rows.shape, dtype, affine_parameters(scales.range, dtype))
    scaled = weights * scales.factors
    steps = np.maximum(np.abs(scaled).max(1, keepdims=True), SMALLEST) / LARGEST
    return rounded(rows / scales.factors, type) @ (np.rint(scaled / steps) * steps).T


def boundaries(plan: Plan, *, tables: bool = False, wide: bool = False) -> dict[str, Boundary]:
    """The values of a plan between products and floating point, by their names. ``tables``: functions stay tables.
    ``wide``: inputs of the network may be of 16 bits."""
    found: dict[str, Boundary] = {}
    quantized = {*plan.values.values()}
    for name, value in plan.values.items():
        producer = value.producer
        made = producer if is_op(producer, MatMul) and producer in plan.anchors and not value.is_returned else None
        if _is_attended(value, plan):
            made = None
        users = [user for user in value.users if user in plan.ops]
        readers = tuple(op for op in users if is_op(op, MatMul) and op in plan.anchors and not op.operator.transpose_a)
        may_be_real = not tables and is_table(producer) and len(users) == len(value.uses)
        source = _source(value, plan)
        is_free = producer not in plan.ops or may_be_real or source is not None
        is_read = bool(readers) and is_free and not is_op(producer, MatMul)
        normalized = normalized_for(value, plan)
        if normalized is not None:
            zeros = np.zeros(value.type.shape[-1], np.float32)
            readers, seen, axis = normalized
            found[name] = Boundary(value, None, readers, zeros, zeros.copy(), seen, axis, is_free=True)
        elif len(readers) == len(users) and (is_read or (made is not None and not readers)):
            zeros = np.zeros(value.type.shape[-1], np.float32)
            is_input = producer is None and all(isinstance(op.operands.b, (Constant, type(None))) for op in readers)
            low, high = (zeros + np.inf, zeros - np.inf) if is_input else (zeros, zeros.copy())
            found[name] = Boundary(value, made, readers, low, high, value, is_movable=is_input, may_be_wide=wide)
            if readers:
                found[name].source = source
                found[name].is_rounded = source is not None and source.result in quantized
                found[name].is_free = source is not None
    return {name: each for name, each in found.items() if each.seen.type.elements}


def _source(value: Value, plan: Plan) -> Op[MatMul] | None:
    """Of a value that is multiplied of two maps, the product that made one of them, if its weights can take what the
    value is divided by: nothing else reads either."""
    made = value.producer
    is_read = all(is_op(user, MatMul) and user in plan.anchors for user in value.users)
    if not is_op(made, Mul) or not is_read or value.is_returned:
        return None
    for each in made.inputs:
        maker = each.producer
        if is_op(maker, MatMul) and maker in plan.anchors and len(each.uses) == 1 and each.type == value.type:
            return maker
    return None


def looked_at(wanted: Mapping[str, Boundary | MapBoundary]) -> dict[str, Value]:
    """What scales are chosen by, by the names that it is observed under."""
    found = {name: each.seen if isinstance(each, Boundary) else each.value for name, each in wanted.items()}
    sources = {name: each.source for name, each in wanted.items() if isinstance(each, Boundary)}
    return found | {_factor_name(name): op.result for name, op in sources.items() if op is not None}


def _factor_name(name: str) -> str:
    """What the factor is observed under whose product divides a value of this name."""
    return f"{name} by its factor"


def _is_attended(value: Value, plan: Plan, levels: int = 8) -> bool:
    """Whether products of what is computed read a value, moved or times a number: these take integers of one scale."""
    users = [user for user in value.users if isinstance(user, Op)]
    if any(is_op(user, MatMul) and user not in plan.anchors for user in users):
        return True
    moved = [user for user in users if is_moving(user) or is_op(user, Mul, Div)]
    return levels > 0 and any(_is_attended(each, plan, levels - 1) for user in moved for each in user.results)


def choose_scales(
    module: Module, wanted: Mapping[str, Candidate | Boundary | MapBoundary], observation: Observation
) -> dict[str, ChannelScales]:
    """Scales by channel, where they are worth it, by the names that values are observed under."""
    if not wanted:
        return {}
    made_of, seen = computations(module), observation.seen
    keys: dict[str, Hashable] = {}
    for name, each in wanted.items():
        behind = [made_of[result] for user in each.value.users for result in user.results]
        readers = tuple(made_of[result] for op in each.readers for result in op.results)
        how = ()
        if isinstance(each, Boundary):
            how = each.source is None, each.is_rounded, each.is_free, each.may_be_wide
        keys[name] = type(each), each.producer is None, *how, readers, made_of[each.value], *behind
    new = {name: each for name, each in wanted.items() if keys[name] not in seen}
    for index, arrays in enumerate(observation.arrays() if new else ()):
        for name, each in new.items():
            each.observe(arrays[name], index, len(observation.samples))
            if isinstance(each, Boundary) and each.source is not None:
                each.observe_factor(arrays[_factor_name(name)], index, len(observation.samples))
    seen.update({keys[name]: each.scales() for name, each in new.items()})
    found = {name: seen[key] for name, key in keys.items()}
    return {name: each for name, each in found.items() if each is not None}


def set_boundary_scales(
    module: Module, wanted: Mapping[str, Boundary | MapBoundary], scales: Mapping[str, ChannelScales]
) -> dict[str, str]:
    """Divide what products read and make, take it back in their weights and behind them.
    Returns for each name that of the quotient."""
    names = Names(value.name for op in module.main.ops for value in op.results)
    found: dict[str, str] = {}
    for name, each in wanted.items():
        if name not in scales:
            continue
        value, by = each.value, scales[name].factors
        if isinstance(each, Boundary) and each.source is not None:
            for divided in (each.source.result, value):
                # It holds other numbers than the tensor of the source.
                divided.origin = None
            each.divide(module, scales[name])
            found[name] = name
            continue
        is_whole = each.producer is not None or (isinstance(each, Boundary) and each.is_free)
        uses = [(user, index) for user, index in value.uses if is_whole or user in each.readers]
        along = by.reshape(each.along)
        constant = module.add_constant(f"{name}_by", along if each.producer is not None else 1 / along)
        # A node that is named for 16 bits has them in the quotient of what it makes, too.
        loc = value.producer.loc if value.producer is not None else ()
        op = Op(Mul(), [value, constant], names=[names.take(f"{name}_scaled")], loc=loc)
        module.main.insert_after(op, value.producer)
        shifts = scales[name].shifts
        if shifts is not None:
            constant = module.add_constant(f"{name}_less", -shifts / by)
            moved = Op(Add(), [op.result, constant], names=[names.take(f"{name}_moved")], loc=loc)
            module.main.insert_after(moved, op)
            op = moved
        for reader in each.readers:
            # On the way there are other numbers than in the tensors of the source.
            moved = reader.inputs[0]
            while moved is not value and moved.producer is not None:
                moved.origin, moved = None, moved.producer.inputs[0]
        for user, index in uses:
            user.set_operand(index, op.result)
        if each.producer is not None:
            # The tensor of the source is behind the multiplication.
            op.result.origin, value.origin = value.origin, None
        each.divide(module, scales[name])
        found[name] = name if each.producer is not None else op.result.name
    return found
