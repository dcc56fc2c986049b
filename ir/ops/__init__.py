"""All operators, one module a family. Importing this package fills the registry."""

from . import (
    activation,
    comparison,
    convolution,
    elementwise,
    indexing,
    layout,
    movement,
    pooling,
    reduction,
    shape,
    softmax,
    unary,
)

__all__ = [
    "activation",
    "comparison",
    "convolution",
    "elementwise",
    "indexing",
    "layout",
    "movement",
    "pooling",
    "reduction",
    "shape",
    "softmax",
    "unary",
]
