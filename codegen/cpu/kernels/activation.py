"""Activations as epilogues of other kernels; their meaning stands in :mod:`tilewright.ir.activation`."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tilewright.errors import CodegenError

from ....ir.activation import activate
from ..llvm import vector_math as vm
from ..llvm.builder import FunctionBuilder
from ..llvm.types import Register

_LIGHT = frozenset({"none", "relu", "clip", "leaky_relu", "thresholded_relu", "hard_sigmoid", "hard_swish"})


@dataclass(frozen=True)
class Activation:
    """A fused activation.

    Attributes:
        name, args: as in the attributes ``act`` and ``act_args`` of operators.
    """

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
        """The activation of every lane.

        Raises:
            CodegenError: there is no code for it.
        """
        args = self.args
        if self.name == "none":
            return x
        if self.name == "relu":
            return vm.maximum(b, x, 0.0)
        if self.name == "clip":
            x = x if args[0] == -math.inf else vm.maximum(b, x, args[0])
            return x if args[1] == math.inf else vm.minimum(b, x, args[1])
        if self.name == "leaky_relu":
            return _below_zero(b, x, b.binary("fmul", x, vm.number(x, args[0])))
        if self.name == "thresholded_relu":
            return b.select(b.compare("ogt", x, vm.number(x, args[0])), x, vm.number(x, 0))
        if self.name == "hard_sigmoid":
            return _hard_sigmoid(b, x, *args)
        if self.name == "hard_swish":
            return b.binary("fmul", x, _hard_sigmoid(b, x, 1 / 6, 0.5))
        if self.name == "swish":
            return b.binary("fmul", x, vm.sigmoid(b, x))
        if self.name == "elu":
            return _elu(b, x, args[0])
        if self.name == "selu":
            return b.binary("fmul", _elu(b, x, args[0]), vm.number(x, args[1]))
        if self.name == "celu":
            scaled = b.binary("fdiv", vm.minimum(b, x, 0), vm.number(x, args[0]))
            tail = b.binary("fmul", vm.expm1(b, scaled), vm.number(x, args[0]))
            return b.binary("fadd", vm.maximum(b, x, 0), vm.minimum(b, tail, 0))
        if self.name == "softsign":
            return b.binary("fdiv", x, b.binary("fadd", vm.absolute(b, x), vm.number(x, 1)))
        function = _FUNCTIONS.get(self.name)
        if function is None:
            raise CodegenError("no vector code for the activation", found=self.name)
        return function(b, x)


NO_ACTIVATION = Activation()

_FUNCTIONS = {
    "sigmoid": vm.sigmoid,
    "tanh": vm.tanh,
    "softplus": vm.softplus,
    "mish": vm.mish,
    "gelu": vm.gelu,
    "gelu_tanh": vm.gelu_tanh,
}


def _below_zero(b: FunctionBuilder, x: Register, below: Register) -> Register:
    """``below`` where x is negative, else x."""
    return b.select(b.compare("olt", x, vm.number(x, 0)), below, x)


def _hard_sigmoid(b: FunctionBuilder, x: Register, alpha: float, beta: float) -> Register:
    y = b.binary("fadd", b.binary("fmul", x, vm.number(x, alpha)), vm.number(x, beta))
    return vm.minimum(b, vm.maximum(b, y, 0.0), 1.0)


def _elu(b: FunctionBuilder, x: Register, alpha: float) -> Register:
    return _below_zero(b, x, b.binary("fmul", vm.expm1(b, vm.minimum(b, x, 0)), vm.number(x, alpha)))
