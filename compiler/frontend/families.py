"""Imports every family of importers, which fills the registry."""

from . import convolution

__all__ = ["convolution"]
