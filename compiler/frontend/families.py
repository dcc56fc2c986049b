"""Imports every family of importers, which fills the registry."""

from . import activation, comparison, convolution, elementwise, layout, movement, reduction, shape, softmax, unary

__all__ = [
    "activation",
    "comparison",
    "convolution",
    "elementwise",
    "movement",
    "reduction",
    "shape",
    "softmax",
    "unary",
]
