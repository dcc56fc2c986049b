"""Imports every family of importers, which fills the registry."""

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
