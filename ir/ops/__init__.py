"""All operators, one module a family. Importing this package fills the registry."""

from . import convolution, elementwise, movement, shape, unary

__all__ = ["convolution", "elementwise", "movement", "shape", "unary"]
