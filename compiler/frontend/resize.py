"""Resampling, as the importers of all formats emit it: nothing where nothing changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ...ir.core import Value
from ...ir.ops.resize import Resize
from .builder import ModuleBuilder


def scaled(shape: Sequence[int], scales: Sequence[float]) -> tuple[int, ...]:
    """Extents after scaling, rounded down; the product is formed in float32, as onnxruntime does."""
    return tuple(int(np.float32(e) * np.float32(s)) for e, s in zip(shape, scales, strict=True))


def ratios(shape: Sequence[int], extents: Sequence[int]) -> tuple[float, ...]:
    """Scales that these extents are, in float32."""
    return tuple(float(np.float32(e) / np.float32(s)) for e, s in zip(extents, shape, strict=True))


def resize(importer: ModuleBuilder, x: Value, operator: Resize) -> Value:
    """``x`` resampled; ``x`` itself where every scale is 1."""
    if all(s == 1 for s in operator.scales) and operator.coordinates != "tf_crop_and_resize":
        return x
    return importer.emit_one(operator, x)


def resize_by_direction(importer: ModuleBuilder, x: Value, operator: Resize) -> Value:
    """``x`` resampled by elements at the next index downward, or upward along dimensions that shrink."""
    for rounding, chosen in (("ceil", [s < 1 for s in operator.scales]), ("floor", [s > 1 for s in operator.scales])):
        pairs = zip(operator.extents, x.type.shape, chosen, strict=True)
        extents = tuple(new if is_chosen else old for new, old, is_chosen in pairs)
        scales = tuple(s if is_chosen else 1.0 for s, is_chosen in zip(operator.scales, chosen, strict=True))
        part = replace(operator, extents=extents, scales=scales, mode="nearest", nearest_mode=rounding)
        x = resize(importer, x, part)
    return x
