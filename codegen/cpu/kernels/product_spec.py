"""What the kernels of products have in common: bias, residual and activation after the sum."""

from __future__ import annotations

from dataclasses import dataclass

from ..spec import KernelSpec
from .activation import NO_ACTIVATION, Activation


@dataclass(frozen=True, kw_only=True)
class ProductSpec(KernelSpec):
    """Base of the specifications of products of x and w in single precision.

    Attributes:
        has_bias: a vector is added.
        has_residual: then a tensor of the result's shape, which may lie where the result lies.
        activation: what is applied to that.
    """

    has_bias: bool = False
    has_residual: bool = False
    activation: Activation = NO_ACTIVATION

    @property
    def arguments(self) -> tuple[str, ...]:
        optional = (("bias",) if self.has_bias else ()) + (("residual",) if self.has_residual else ())
        return ("x", "w", *optional, "y")
