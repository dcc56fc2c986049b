"""All operators, one module a family. Importing this package fills the registry."""

from . import convolution, shape

__all__ = ["convolution", "shape"]
