"""Random numbers of ONNX, drawn when a model is compiled: a network gives the same each time that it runs.

Where a node has no seed, its name is one, so that no two nodes draw the same numbers.
"""

import math
import zlib

import numpy as np

from .....ir.core import Value
from .....ir.ops.comparison import Where
from .....ir.types import DType
from ...elementwise import scaled
from ..importer import Importer, Node, imports
from ..tensors import element_type


def _source(node: Node) -> np.random.RandomState:
    """A generator whose numbers NumPy promises never to change."""
    seed = node.float("seed") if node.has("seed") else zlib.crc32(node.name.encode())
    if not math.isfinite(seed):
        raise node.model_error("the seed must be a number", found=seed)
    return np.random.RandomState(int(seed) % 2**32)


@imports("RandomUniform", "RandomUniformLike", "RandomNormal", "RandomNormalLike")
def import_random(node: Node, importer: Importer) -> Value:
    if node.op_type.endswith("Like"):
        shape, dtype = node.input(0).type.shape, node.input(0).type.dtype
    else:
        shape, dtype = node.ints("shape"), DType.F32
    dtype = element_type(node.int("dtype"), node.name) if node.has("dtype") else dtype
    if not dtype.is_float:
        raise node.model_error("random numbers are floats", found=dtype.value)
    source = _source(node)
    if "Uniform" in node.op_type:
        low, high = node.float("low", 0.0), node.float("high", 1.0)
        drawn = importer.described(node, shape, dtype, lambda: _as(source.uniform(low, high, shape), dtype))
    else:
        mean, scale = node.float("mean", 0.0), node.float("scale", 1.0)
        normal = lambda: _as(source.standard_normal(shape) * scale + mean, dtype)  # noqa: E731
        drawn = importer.described(node, shape, dtype, normal)
    return importer.open.opened(drawn, importer.open.shape(node.input(0))) if node.inputs else drawn


def _as(numbers: np.ndarray | float, dtype: DType) -> np.ndarray:
    return np.asarray(numbers).astype(dtype.numpy)


@imports("Dropout")
def import_dropout(node: Node, importer: Importer) -> list[Value | None]:
    """In training mode elements are dropped by a mask that stays the same; else the mask keeps everything."""
    x = node.input(0)
    training = node.optional_constant(2, "the training mode")
    ratio = 0.0
    if training is not None and bool(training.reshape(-1)[0]):
        ratio = node.number(1, "the ratio") if node.optional(1) is not None else 0.5
    if not 0 <= ratio < 1:
        raise node.model_error("the ratio is out of range", expected="from 0 to below 1", found=ratio)
    # The mask was a float tensor until it became boolean in version 10.
    dtype = DType.BOOL if node.opset >= 10 else x.type.dtype

    def kept() -> np.ndarray:
        return _as(_source(node).uniform(0, 1, x.type.shape) >= ratio, dtype)

    def mask() -> Value:
        return importer.open.opened(
            importer.described(node, x.type.shape, dtype, kept, "_mask"), importer.open.shape(x)
        )

    has_mask = len(node.wanted) > 1 and node.wanted[1]
    if not ratio:
        return [x, mask() if has_mask else None]
    drawn = mask()
    zero = importer.constant(np.zeros((), x.type.dtype.numpy), "zero")
    return [importer.emit_one(Where(), drawn, scaled(importer, x, 1 / (1 - ratio)), zero), drawn]
