"""Activations as epilogues of other kernels; their meaning stands in :mod:`tilewright.ir.activation`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tilewright.errors import CodegenError

from ....ir.activation import activate
from ..element import Element
from ..formulas import ACTIVATIONS
from ..llvm.builder import FunctionBuilder
from ..llvm.types import Register
from ..llvm.vector_arithmetic import VectorArithmetic

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
        function = ACTIVATIONS.get(self.name)
        if function is None:
            raise CodegenError("no vector code for the activation", found=self.name)
        return function(Element(VectorArithmetic(b), x), *self.args).value


NO_ACTIVATION = Activation()
