"""Scales by channel for what a function such as SiLU reads of a convolution and makes for a depthwise one.

No factor goes through such a function, and in integers it is a table with one scale for all channels of its operand and
one for those of its result. Where channels reach differently, the function is computed in floating point, between two
multiplications that fuse with it; convolution and depthwise convolution stay integers, with factors in their weights.
"""

from dataclasses import dataclass, field

import numpy as np

from ...ir.core import Constant, Module, Op, Value, is_op
from ...ir.ops.activation import Activation, Clip, Relu
from ...ir.ops.convolution import Conv
from ...ir.ops.elementwise import Mul
from ...passes.quantization.plan import Plan
from ..calibration.channel_ranges import ChannelHistogram
from .round_weights import real_weights
from .scale_channels import MARGIN, SMALLEST, ChannelScales, divide_channels, is_depthwise

WORTH = 0.25
"""Of the power of what rounding does, at most so much must be left: factors are worth floating point for a bit."""

SHARES = (0.0, 0.01, 0.03, 0.1, 0.2, 0.4, 0.7)
ENDS = [*((share, 1.0) for share in SHARES), (1.0, 1.0), *((1.0, share) for share in SHARES)]
"""How far the range of the quotient reaches below and above zero; factors bring channels into it."""


@dataclass
class MapBoundary:
    """A map of one scale between convolutions and floating point.
    ``producer``: the convolution whose result only a function reads that is computed in floating point, or
    ``readers``: the depthwise convolutions that read what floating point or a table made.
    ``seen``: of its channels."""

    value: Value
    producer: Op[Conv] | None
    readers: tuple[Op[Conv], ...]
    seen: ChannelHistogram = field(init=False)

    def __post_init__(self) -> None:
        self.seen = ChannelHistogram(self.value.type.shape[1])

    @property
    def along(self) -> tuple[int, ...]:
        """The shape of a number for each channel, against the value."""
        return (-1, *[1] * (self.value.type.rank - 2))

    def observe(self, x: np.ndarray, index: int, samples: int) -> None:
        """Take in the value on sample ``index`` of so many."""
        self.seen.observe(np.moveaxis(x, 1, 0).reshape(x.shape[1], -1))

    def scales(self) -> ChannelScales | None:
        """What to divide by; ``None`` if that is not worth it."""
        function = function_behind(self.value) if self.producer is not None else None
        low, high = (MARGIN * each for each in self.seen.ranges(function.reference if function is not None else None))
        reach = np.maximum(-low, high)
        if not reach.max() > 0:
            return None
        low, high = (np.where(reach > 0, each, end) for each, end in ((low, low.min()), (high, high.max())))
        # Rounding counts as the weights of the readers make it count, else by the reach of the channel.
        squares = [np.square(real_weights(op)).reshape(len(low), -1).sum(1) for op in self.readers]
        counted = np.sum(squares, 0) if squares else 1 / np.square(np.maximum(-low, high))
        tried: list[tuple[float, np.ndarray, tuple[float, float]]] = []
        for below, above in ENDS:
            with np.errstate(divide="ignore", invalid="ignore"):
                factors = np.maximum(np.where(low < 0, -low / below, 0.0), np.where(high > 0, high / above, 0.0))
            if np.isfinite(factors).all():
                tried.append((float(counted @ np.square(factors)) * (below + above) ** 2, factors, (below, above)))
        error, factors, (below, above) = min(tried, key=lambda each: each[0])
        if error >= WORTH * float(counted.sum()) * (high.max() - low.min()) ** 2:
            return None
        most = float(factors.max())
        shares = np.maximum(factors / most, SMALLEST).astype(np.float32)
        return ChannelScales(shares, (-below * most, above * most))

    def divide(self, module: Module, scales: ChannelScales) -> None:
        """Divide the value in the weights that make it, or multiply those that read it."""
        divide_channels(module, self.producer, self.readers, scales.factors)


def map_boundaries(plan: Plan) -> dict[str, MapBoundary]:
    """The maps of a plan between convolutions and floating point, by their names."""
    found: dict[str, MapBoundary] = {}
    for name, value in plan.values.items():
        producer, users = value.producer, [user for user in value.users if user in plan.ops]
        made = producer if is_op(producer, Conv) and producer in plan.anchors and _is_divided_behind(value) else None
        readers = tuple(op for op in users if op in plan.anchors and is_depthwise(op) and op.operands.x is value)
        is_free = producer not in plan.ops or (is_table(producer) and len(users) == len(value.uses))
        if len(readers) == len(users) and ((readers and is_free) or (made is not None and not readers)):
            found[name] = MapBoundary(value, made, readers)
    return found


def _is_divided_behind(value: Value) -> bool:
    """Whether all that reads a value is a function whose result is divided by channel.

    What else floating point reads, such as scores of classes, has channels of which few samples show what they can be.
    """
    users = value.users if function_behind(value) is not None else ()
    behind = [reader for user in users for reader in user.result.users]
    return bool(behind) and all(is_op(op, Mul) and isinstance(op.operands.y, Constant) for op in behind)


def is_table(op: Op | None) -> bool:
    """Whether an op in integers is a function of one number that is no clamp."""
    return is_op(op, Activation) and not is_op(op, Relu, Clip)


def function_behind(value: Value) -> Activation | None:
    """The function that is all that reads a value, if it is one and no clamp."""
    operators = {user.operator for user in value.users}
    if value.is_returned or len(operators) != 1 or not all(map(is_table, value.users)):
        return None
    (operator,) = operators
    return operator if isinstance(operator, Activation) else None
