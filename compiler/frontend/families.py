"""Imports every family of importers, which fills the registry."""

from . import convolution, elementwise, shape, unary

__all__ = ["convolution", "elementwise", "shape", "unary"]
