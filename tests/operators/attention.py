"""Samples of the family ``attention``."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from samples import (
    Sample,
    quantized_type,
    random_array,
    samples_of,
    stored_array,
)

from tilewright.ir.ops.attention import Attention
from tilewright.ir.types import DType


def _quantized(plain: Callable[..., Attention], rng: np.random.Generator) -> Iterator[Sample]:
    """8-bit numbers of any zero points: heads side by side, masks of keys and of rows, rows that see few keys."""

    def made(operator: Attention, dtype: DType, shapes: list[tuple[int, ...]], wide: float) -> Sample:
        least = int(np.iinfo(dtype.numpy).min)
        zeros = [least + int(rng.integers(256)) for _ in range(5)]
        scales = [float(rng.uniform(0.01, wide)) for _ in shapes]
        types = [quantized_type(dtype, *each) for each in zip(shapes, scales, zeros, strict=False)]
        scale = scales[2] * 0.7 if operator.v_view else scales[0] * scales[1] * 300
        y = quantized_type(dtype, operator.shape, scale, zeros[4])
        arrays = [stored_array(rng, dtype, shape) for shape in shapes]
        if len(arrays) > 3:
            # Some keys are not seen, in one place none.
            arrays[3][rng.random(shapes[3]) < 0.3] = least
            arrays[3].reshape(-1, operator.keys)[: len(shapes[3]) - 1] = least
        absent = [None] * (4 - len(arrays))
        return Sample(operator, (*arrays, *absent), frozenset(), (*types, *absent), (y,))

    # As the accelerator has it: rows as images of one pixel.
    side = dict.fromkeys(("q_view", "k_view", "v_view", "y_view"), (0, 16, 32, 1))
    rows = [(20, 32, 1, 1)] * 3
    shape = rows[0]
    yield made(plain(20, 20, 16, 16, shape=shape, scale=0.25, **side), DType.I8, rows, 0.02)
    yield made(plain(20, 20, 16, 16, shape=shape, causal=True, **side), DType.U8, rows, 0.02)
    heads = plain(20, 20, 16, 16, shape=shape, scale=-0.5, mask_view=(0, 0, 0, 1), **side)
    yield made(heads, DType.U8, [*rows, (1, 20, 1, 1)], 0.1)
    # Two images of queries, each with keys and values that lie in one tensor, and a mask for each row.
    joint = {"q_view": (0, 19 * 16, 16, 1), "k_view": (16, 40 * 64, 64, 1), "v_view": (32, 40 * 64, 64, 1)}
    images = plain(19, 40, 16, 32, shape=(38, 32, 1, 1), y_view=(0, 19 * 32, 32, 1), mask_view=(0, 0, 40, 1), **joint)
    yield made(images, DType.I8, [(38, 16, 1, 1), (80, 64, 1, 1), (80, 64, 1, 1), (19, 40, 1, 1)], 0.05)
    yield made(plain(20, 20, 16, 16, shape=shape, shares=True, **side), DType.I8, rows, 0.02)
    yield made(plain(20, 20, 16, 16, shape=shape, causal=True, shares=True, **side), DType.U8, rows, 0.02)
    # Several blocks of rows, the last one smaller, and of keys that make no whole vectors; queries that lie in columns.
    long = {"k_view": (0, 150 * 8, 8, 1), "shape": (2, 150, 21), "y_view": (0, 150 * 21, 21, 1)}
    numbers = [(2, 150, 8), (2, 150, 8), (2, 150, 21)]
    yield made(plain(150, 150, 8, 21, causal=True, **long), DType.I8, numbers, 0.05)
    turned = {"q_view": (0, 150 * 7, 1, 150), "k_view": (0, 150 * 7, 1, 150), "mask_view": (0, 0, 150, 1)}
    numbers = [(2, 7, 150), (2, 7, 150), (2, 150, 21), (150, 150)]
    yield made(plain(150, 150, 7, 21, **{**long, **turned}), DType.U8, numbers, 0.05)
    # Scores alone: of heads side by side, and of keys that lie in columns, whose results have another order.
    scores = {"v_view": (), "shape": (20, 32, 1, 1), "y_view": (0, 16, 32, 1)}
    yield made(plain(20, 16, 16, 16, **{**side, **scores}), DType.I8, [(20, 32, 1, 1), (16, 32, 1, 1)], 0.02)
    turned = {"k_view": (0, 8 * 33, 1, 33), "v_view": (), "shape": (18, 2, 33), "y_view": (0, 33, 66, 1)}
    yield made(plain(18, 33, 8, 33, **turned), DType.U8, [(2, 18, 8), (2, 8, 33)], 0.1)
    # Queries that lie in columns, as those of a context, and numbers that make no whole quads; both in parts of a row.
    context = {"q_view": (0, 37 * 10, 1, 37), "k_view": (0, 10 * 21, 1, 21), "v_view": ()}
    for dtype in (DType.I8, DType.U8):
        context_of = plain(37, 21, 10, 21, shape=(2, 37, 21), y_view=(0, 37 * 21, 21, 1), **context)
        yield made(context_of, dtype, [(2, 10, 37), (2, 10, 21)], 0.1)
    parts = {"q_view": (1, 9, 3, 48), "k_view": (2, 9, 50, 1), "v_view": ()}
    columns = plain(3, 19, 7, 19, shape=(3, 2, 19), y_view=(0, 19, 38, 1), **parts)
    yield made(columns, DType.I8, [(7, 48), (20, 50)], 0.1)
    wide = plain(18, 33, 8, 5, k_view=(0, 8 * 33, 1, 33), mask_view=(0, 0, 33, 1), scale=0.1)
    yield made(wide, DType.I8, [(2, 18, 8), (2, 8, 33), (2, 33, 5), (18, 33)], 0.1)


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
    shares = plain(21, 201, 8, 20, shares=True)
    queries = array(2, 21, 8)
    queries[0, 4] = 0  # a row of which no score is above 0
    yield Sample(shares, (queries, array(2, 201, 8), array(2, 201, 20), None))
    yield Sample(plain(5, 7, 4, 3, causal=True, shares=True), (array(2, 5, 4), array(2, 7, 4), array(2, 7, 3), None))
    yield from _quantized(plain, rng)
    backwards = plain(2, 3, 2, 2, q_view=(7, -4, -2, -1), v_view=(0, 6, 1, 3), mask_view=(0, 6, 1, 2))
    yield Sample(backwards, (array(2, 2, 2), array(2, 3, 2), array(2, 2, 3), array(2, 3, 2)))
