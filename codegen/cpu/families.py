"""Imports every family of CPU kernels, which fills the registry. Earlier families are asked first."""

from . import generic_elementwise

__all__ = ["generic_elementwise"]
