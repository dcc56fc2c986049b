"""Imports every family of importers, which fills the registry."""

from . import convolution, shape

__all__ = ["convolution", "shape"]
