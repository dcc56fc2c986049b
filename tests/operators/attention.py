"""Samples of the family ``attention``."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from samples import (
    Sample,
    random_array,
    samples_of,
)

from tilewright.ir.ops.attention import Attention
from tilewright.ir.types import DType


@samples_of(Attention)
def attention(cls: type[Attention], rng: np.random.Generator) -> Iterator[Sample]:
    def array(*shape: int) -> np.ndarray:
        return random_array(rng, DType.F32, shape)

    def plain(rows: int, keys: int, width: int, depth: int, **more: object) -> Attention:
        """Two matrices one after the other."""
        views = {
            name: (0, extent * columns, columns, 1)
            for name, extent, columns in (
                ("q", rows, width),
                ("k", keys, width),
                ("v", keys, depth),
                ("y", rows, depth),
            )
        }
        given = {"shape": (2, rows, depth), **{f"{name}_view": view for name, view in views.items()}, **more}
        return cls((2,), rows, keys, width, depth, **given)  # pyright: ignore[reportArgumentType]

    yield Sample(plain(5, 7, 4, 3), (array(2, 5, 4), array(2, 7, 4), array(2, 7, 3), None))
    # Heads that stand side by side, as the result does, and a mask of keys.
    side = dict.fromkeys(("q_view", "k_view", "v_view", "y_view"), (0, 9, 18, 1))
    heads = plain(20, 20, 9, 9, shape=(20, 18), scale=0.25, mask_view=(0, 0, 0, 1), **side)
    hidden = np.where(np.arange(20) < 13, 0, -np.inf).astype(np.float32)
    yield Sample(heads, (array(20, 18), array(20, 18), array(20, 18), hidden))
    # Queries of two heads that share their keys; parts of one tensor; the first rows see fewer keys.
    views = {"q_view": (0, 16, 64, 1), "k_view": (32, 0, 64, 1), "v_view": (48, 0, 64, 1), "y_view": (0, 16, 32, 1)}
    packed = array(33, 64)
    yield Sample(plain(33, 33, 16, 16, shape=(33, 32), causal=True, **views), (packed, packed, packed, None))
    # A mask of rows and keys; keys that lie in columns; several blocks of keys.
    turned = plain(70, 201, 8, 5, k_view=(0, 8 * 201, 1, 201), mask_view=(0, 0, 201, 1), scale=-0.5)
    arrays = (array(2, 70, 8), array(2, 8, 201), array(2, 201, 5), array(70, 201))
    yield Sample(turned, arrays)
    yield Sample(plain(3, 200, 8, 20, causal=True), (array(2, 3, 8), array(2, 200, 8), array(2, 200, 20), None))
    backwards = plain(2, 3, 2, 2, q_view=(7, -4, -2, -1), v_view=(0, 6, 1, 3), mask_view=(0, 6, 1, 2))
    yield Sample(backwards, (array(2, 2, 2), array(2, 3, 2), array(2, 2, 3), array(2, 3, 2)))
