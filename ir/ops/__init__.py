"""All operators, one module a family. Importing this package fills the registry."""

from . import (
    activation,
    comparison,
    convolution,
    elementwise,
    fused,
    indexing,
    layout,
    matmul,
    movement,
    normalization,
    pooling,
    reduction,
    resize,
    shape,
    softmax,
    unary,
)

__all__ = [
    "activation",
    "comparison",
    "convolution",
    "elementwise",
    "fused",
    "indexing",
    "layout",
    "matmul",
    "movement",
    "normalization",
    "pooling",
    "reduction",
    "resize",
    "shape",
    "softmax",
    "unary",
]
