"""Activations: functions of one tensor that can also be fused into the operator before them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tilewright.errors import IRError

from ..activation import Args, activate, check_activation
from ..op import Operand, Sample, operand, operator
from ..types import DType, TensorType
from .elementwise import FLOATS, NUMBERS, SIGNED, Binary, broadcast_shape, random_array
from .unary import Unary


@dataclass(frozen=True)
class Activation(Unary):
    """Base: the operator form of an entry of :data:`tilewright.ir.activation.ACTIVATIONS`, of the same name.

    Its attributes, in order, are the arguments of the entry.
    """

    RANGE: ClassVar[tuple[float, float]] = (-7.0, 7.0)

    @property
    def act(self) -> str:
        """The name that a fused epilogue carries for it."""
        return self.name

    @property
    def act_args(self) -> Args:
        """The arguments that a fused epilogue carries for it."""
        return tuple(getattr(self, field.name) for field in dataclasses.fields(self))

    def infer(self, x: TensorType) -> TensorType:
        check_activation(self.act, self.act_args)
        return super().infer(x)

    def reference(self, x: np.ndarray) -> np.ndarray:
        return activate(x, self.act, self.act_args)


@operator("relu")
class Relu(Activation):
    """max(x, 0)"""

    DTYPES = (*FLOATS, *SIGNED)
    SAMPLED = (DType.F32, DType.I32)


@operator("clip")
@dataclass(frozen=True)
class Clip(Activation):
    """x brought between two bounds; ``max`` wins where the bounds cross.

    Attributes:
        min, max: the bounds; an infinite one does not bound.
    """

    DTYPES = NUMBERS
    SAMPLED = (DType.F32, DType.I32, DType.I64, DType.U8, DType.F64)

    min: float = -math.inf
    max: float = math.inf

    @classmethod
    def sample_operators(cls) -> Iterator[Clip]:
        for bounds in ((0.0, 6.0), (-2.0, 3.0), (-math.inf, 1.0), (1.0, math.inf), (2.0, 1.0)):
            yield cls(*bounds)


@operator("leaky_relu")
@dataclass(frozen=True)
class LeakyRelu(Activation):
    """x, below zero alpha * x"""

    alpha: float

    @classmethod
    def sample_operators(cls) -> Iterator[LeakyRelu]:
        yield from (cls(0.01), cls(0.25))


@operator("thresholded_relu")
@dataclass(frozen=True)
class ThresholdedRelu(Activation):
    """x where it is above alpha, else 0"""

    alpha: float

    @classmethod
    def sample_operators(cls) -> Iterator[ThresholdedRelu]:
        yield from (cls(1.0), cls(-0.5))


@operator("sigmoid")
class Sigmoid(Activation):
    """1 / (1 + exp(-x))"""

    SAMPLED = (DType.F32, DType.F64)


@operator("hard_sigmoid")
@dataclass(frozen=True)
class HardSigmoid(Activation):
    """alpha * x + beta between 0 and 1"""

    alpha: float
    beta: float

    @classmethod
    def sample_operators(cls) -> Iterator[HardSigmoid]:
        yield from (cls(0.2, 0.5), cls(1 / 6, 0.5))


@operator("hard_swish")
class HardSwish(Activation):
    """x * hard_sigmoid(x) with alpha = 1/6 and beta = 1/2"""


@operator("swish")
class Swish(Activation):
    """x * sigmoid(x), also known as SiLU"""


@operator("tanh")
class Tanh(Activation):
    """The hyperbolic tangent"""

    SAMPLED = (DType.F32, DType.F64)


@operator("gelu")
class Gelu(Activation):
    """x * (1 + erf(x / sqrt(2))) / 2"""


@operator("gelu_tanh")
class GeluTanh(Activation):
    """The approximation of Gelu by tanh: x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3))) / 2"""


@operator("elu")
@dataclass(frozen=True)
class Elu(Activation):
    """x, below zero alpha * (exp(x) - 1)"""

    alpha: float

    @classmethod
    def sample_operators(cls) -> Iterator[Elu]:
        yield from (cls(1.0), cls(0.5))


@operator("selu")
@dataclass(frozen=True)
class Selu(Activation):
    """gamma * elu(x)"""

    alpha: float
    gamma: float

    @classmethod
    def sample_operators(cls) -> Iterator[Selu]:
        yield from (cls(1.6732632, 1.0507010), cls(0.5, 2.0))


@operator("celu")
@dataclass(frozen=True)
class Celu(Activation):
    """x, below zero alpha * (exp(x / alpha) - 1)"""

    alpha: float

    @classmethod
    def sample_operators(cls) -> Iterator[Celu]:
        yield from (cls(1.0), cls(2.5))


@operator("softplus")
class Softplus(Activation):
    """log(1 + exp(x))"""


@operator("softsign")
class Softsign(Activation):
    """x / (1 + |x|)"""


@operator("mish")
class Mish(Activation):
    """x * tanh(softplus(x))"""


@operator("prelu")
class PRelu(Binary):
    """x, below zero slope * x; the slope broadcasts to the shape of x."""

    OPERANDS: ClassVar[tuple[Operand, ...]] = (operand("x"), operand("slope"))
    DTYPES = (*FLOATS, DType.I32, DType.I64)
    SAMPLED = (DType.F32,)

    def infer(self, x: TensorType, y: TensorType) -> TensorType:
        if broadcast_shape(x.shape, y.shape) != x.shape:
            raise IRError("the slope does not broadcast to x", expected=list(x.shape), found=list(y.shape))
        return super().infer(x, y)

    def reference(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.where(x < 0, x * y, x).astype(x.dtype)

    @classmethod
    def samples(cls, rng: np.random.Generator) -> Iterator[Sample]:
        for shape in ((17, 1, 1), (1,), (5, 4), (2, 17, 5, 4)):
            arrays = random_array(rng, DType.F32, (2, 17, 5, 4)), random_array(rng, DType.F32, shape)
            yield Sample(cls(), arrays, frozenset({1}))
        yield Sample(cls(), (random_array(rng, DType.F32, (3, 7)), random_array(rng, DType.F32, (7,))))
