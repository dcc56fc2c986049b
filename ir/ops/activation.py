"""Activations: functions of one tensor that can also be fused into the operator before them."""

import dataclasses
import math

import numpy as np

from tilewright.errors import IRError

from ..activation import Args, activate, check_activation
from ..op import declared, operator
from ..quantized import clamp_bounds, is_wide, mixed, only_operand, parameters
from ..types import Arrays, DType, ResultTypes, TensorType, Types
from .elementwise import FLOATS, NUMBERS, SIGNED, Binary, broadcast_shape
from .unary import Unary


class Activation(Unary):
    """Base: the operator form of an entry of :data:`tilewright.ir.activation.ACTIVATIONS`, of the same name.

    Its attributes, in order, are the arguments of the entry."""

    @property
    def act(self) -> str:
        """The name that a fused epilogue carries for it."""
        return self.name

    @property
    def act_args(self) -> Args:
        """The arguments that a fused epilogue carries for it."""
        return tuple(getattr(self, field.name) for field in dataclasses.fields(self))

    def infer(self, x: TensorType) -> TensorType:
        check_activation(self.act, self.act_args, x)
        return super().infer(x)

    def reference(self, x: np.ndarray) -> np.ndarray:
        return activate(x, self.act, self.act_args)


class Clamp(Activation):
    """Base: between two bounds. Of 16 bits, parameters stay, and stored integers are clamped."""

    HAS_KNOTS = False

    def check_quantized(self, operand_types: Types, result_types: ResultTypes) -> str | None:
        x, y = operand_types[0], result_types[0]
        if not is_wide(x, y):
            return super().check_quantized(operand_types, result_types)
        is_kept = x is not None and (x.dtype, x.quant) == (y.dtype, y.quant)
        return None if is_kept else "a clamp of 16 bits keeps the parameters"

    def reference_quantized(self, arrays: Arrays, operand_types: Types, result_types: ResultTypes) -> np.ndarray:
        x, type = only_operand(arrays, operand_types)
        if not is_wide(type):
            return super().reference_quantized(arrays, operand_types, result_types)
        return np.clip(x, *clamp_bounds(type, self.act, self.act_args))


@operator("relu")
class Relu(Clamp, dtypes=(*FLOATS, *SIGNED)):
    """max(x, 0)"""


@operator("clip")
class Clip(Clamp, dtypes=NUMBERS):
    """x brought between two bounds; ``max`` wins where the bounds cross.
    ``min``, ``max``: the bounds; an infinite one does not bound."""

    min: float = -math.inf
    max: float = math.inf


@operator("leaky_relu")
class LeakyRelu(Activation):
    """x, below zero alpha * x"""

    alpha: float


@operator("thresholded_relu")
class ThresholdedRelu(Activation):
    """x where it is above alpha, else 0"""

    alpha: float


Sigmoid = declared(Activation, "sigmoid", "1 / (1 + exp(-x))")


@operator("hard_sigmoid")
class HardSigmoid(Activation):
    """alpha * x + beta between 0 and 1. Of 16 bits a convolution with a weight and a bias."""

    HAS_KNOTS = False

    alpha: float
    beta: float

    def bias(self, x: TensorType) -> int:
        """What is added to stored integers of 16 bits."""
        return round(self.beta / (float(parameters(x)[0]) * self.alpha))

    def check_quantized(self, operand_types: Types, result_types: ResultTypes) -> str | None:
        problem, x = super().check_quantized(operand_types, result_types), operand_types[0]
        if problem is not None or x is None or not is_wide(x):
            return problem
        is_held = self.alpha > 0 and abs(self.beta) < float(parameters(x)[0]) * self.alpha * 2**30
        return None if is_held else "the bias of a hard sigmoid of 16 bits takes less than 2^30 of its steps"

    def reference_quantized(self, arrays: Arrays, operand_types: Types, result_types: ResultTypes) -> np.ndarray:
        x, type = only_operand(arrays, operand_types)
        if not is_wide(type):
            return super().reference_quantized(arrays, operand_types, result_types)
        ends = clamp_bounds(result_types[0], "clip", (0.0, 1.0))
        return np.clip(
            mixed(x.astype(np.int64) + self.bias(type), type, result_types[0], float(np.float32(self.alpha))), *ends
        )


HardSwish = declared(Activation, "hard_swish", "x * hard_sigmoid(x) with alpha = 1/6 and beta = 1/2")
Swish = declared(Activation, "swish", "x * sigmoid(x), also known as SiLU")
Tanh = declared(Activation, "tanh", "The hyperbolic tangent")
Gelu = declared(Activation, "gelu", "x * (1 + erf(x / sqrt(2))) / 2")
GeluTanh = declared(
    Activation,
    "gelu_tanh",
    "The approximation of Gelu by tanh: x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3))) / 2",
)


@operator("elu")
class Elu(Activation):
    """x, below zero alpha * (exp(x) - 1)"""

    alpha: float


@operator("selu")
class Selu(Activation):
    """gamma * elu(x)"""

    alpha: float
    gamma: float


@operator("celu")
class Celu(Activation):
    """x, below zero alpha * (exp(x / alpha) - 1)"""

    alpha: float


Softplus = declared(Activation, "softplus", "log(1 + exp(x))")
Softsign = declared(Activation, "softsign", "x / (1 + |x|)")
Mish = declared(Activation, "mish", "x * tanh(softplus(x))")


@operator("prelu")
class PRelu(Binary, dtypes=(*FLOATS, DType.I32, DType.I64)):
    """x, below zero slope * x; the slope broadcasts to the shape of x."""

    def infer(self, x: TensorType, y: TensorType) -> TensorType:
        if broadcast_shape(x.shape, y.shape) != x.shape:
            raise IRError("the slope does not broadcast to x", expected=list(x.shape), found=list(y.shape))
        return super().infer(x, y)

    def reference(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.where(x < 0, x * y, x).astype(x.dtype)
