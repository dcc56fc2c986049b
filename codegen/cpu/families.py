"""Imports every family of CPU kernels, which fills the registry. Earlier families are asked first."""

# isort: off
from . import convolution, layout, pooling
from . import generic_elementwise, generic_movement, generic_pad
# isort: on

__all__ = ["convolution", "generic_elementwise", "generic_movement", "generic_pad", "layout", "pooling"]
