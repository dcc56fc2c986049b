"""All operators, one module a family. Importing this package fills the registry."""

from . import convolution, elementwise, shape, unary

__all__ = ["convolution", "elementwise", "shape", "unary"]
