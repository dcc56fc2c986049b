"""Resampling on the device: to the nearest neighbour, rows and columns advancing in equal steps."""

from __future__ import annotations

from tilewright.errors import CodegenError

from ...ir.core import Op
from ...ir.ops.resize import Resize
from ...ir.resampling import nearest_indices, nearest_steps
from ...runtime import isa
from ...runtime.machine import RESIZE_LIMIT
from .emit import Emitter, lowers
from .maps import Box, tiles_of


@lowers(Resize)
def lower_resize(op: Op[Resize], emitter: Emitter) -> None:
    """Every tile reads the rows and columns that it repeats."""
    sources = nearest_indices(op)
    for box in tiles_of(op):
        spans: list[tuple[int, int]] = []
        fields: dict[str, int] = {}
        for name, indices, (first, count) in zip(("height", "width"), sources, (box.rows, box.columns), strict=True):
            part = indices[first : first + count]
            found = nearest_steps(part, RESIZE_LIMIT)
            if found is None:
                raise CodegenError(
                    "the device does not resample like that",
                    op=op.name,
                    node=op.node,
                    expected="indices that advance in equal steps",
                    found=part.tolist()[:8],
                )
            fields[f"step_{name}"], fields[f"origin_{name}"] = found
            spans.append((int(part[0]), int(part[-1] - part[0]) + 1))
        read = Box(box.image, spans[0], spans[1], box.channels)
        emitter.compute(op, [read], box, isa.ResizeNearest, **read.pitches("source_"), **fields)
