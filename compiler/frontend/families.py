"""Imports every family of importers, which fills the registry."""

from . import convolution, elementwise, movement, shape, unary

__all__ = ["convolution", "elementwise", "movement", "shape", "unary"]
