"""What follows the sums of a product: bias, residual and activation, whose meaning stands in
:mod:`tilewright.ir.activation`.
"""

from dataclasses import KW_ONLY
from typing import Any

import numpy as np

from tilewright.errors import CodegenError
from tilewright.immutable import Immutable

from ....ir.activation import activate
from ....ir.core import Op
from ....ir.ops.convolution import Conv, NarrowConv
from ....ir.ops.matmul import MatMul, NarrowMatMul
from ....ir.ops.weight_only import WeightOnlyMatMul
from ..element import Element
from ..formulas import ACTIVATIONS
from ..llvm.builder import FunctionBuilder
from ..llvm.types import Register
from ..llvm.vector_arithmetic import VectorArithmetic
from ..spec import KernelSpec

_LIGHT = frozenset({"none", "relu", "clip", "leaky_relu", "thresholded_relu", "hard_sigmoid", "hard_swish"})


class Activation(Immutable):
    """A fused activation. ``name``, ``args``: as in the attributes ``act`` and ``act_args`` of operators."""

    name: str = "none"
    args: tuple[float, ...] = ()

    @property
    def is_light(self) -> bool:
        """Whether it takes few enough instructions to be repeated for every register of a tile."""
        return self.name in _LIGHT

    @property
    def keeps_zero(self) -> bool:
        """Whether zero stays zero, so that padding lanes need no care."""
        return bool(activate(np.zeros((), np.float32), self.name, self.args) == 0)

    def apply(self, b: FunctionBuilder, x: Register) -> Register:
        """The activation of every lane. Raises CodegenError: there is no code for it."""
        function = ACTIVATIONS.get(self.name)
        if function is None:
            raise CodegenError("no vector code for the activation", found=self.name)
        return function(Element(VectorArithmetic(b), x), *self.args).value


NO_ACTIVATION = Activation()


FEW_PRODUCTS = 128
"""Products of a result up to which a bias comes first: that rounds them little, and adding it last takes longer. All
kernels of a convolution do so alike, as which one is taken may depend on which results are kept."""


class ProductSpec(KernelSpec):
    """Base of the specifications of products of x and w in single precision.
    ``has_bias``: a vector is added.
    ``has_residual``: then a tensor of the result's shape, which may lie where the result lies.
    ``activation``: what is applied to that."""

    _: KW_ONLY
    has_bias: bool = False
    has_residual: bool = False
    activation: Activation = NO_ACTIVATION

    @property
    def arguments(self) -> tuple[str, ...]:
        optional = (("bias",) if self.has_bias else ()) + (("residual",) if self.has_residual else ())
        return ("x", "w", *optional, "y")


def what_follows(op: Op[Conv | NarrowConv | MatMul | NarrowMatMul | WeightOnlyMatMul]) -> dict[str, Any]:
    """The fields of a :class:`ProductSpec`, as an op has them."""
    return {
        "has_bias": op.operands.b is not None,
        "has_residual": op.operands.residual is not None,
        "activation": Activation(op.operator.act, op.operator.act_args),
    }
