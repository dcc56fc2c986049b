"""Samples of the family ``movement``."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from samples import (
    Sample,
    moved_sample,
    samples_of,
)

from tilewright.ir.ops.movement import (
    Concat,
    DepthToSpace,
    Interleave,
    Pad,
    Slice,
    SpaceToDepth,
    Split,
    Tile,
    Transpose,
    Trilu,
)


@samples_of(Transpose)
def transpose(cls: type[Transpose], rng: np.random.Generator) -> Iterator[Sample]:
    yield Sample(cls((1, 0)), (rng.standard_normal((3, 17)).astype(np.float32),))
    yield Sample(cls((0, 2, 3, 1)), (rng.standard_normal((2, 5, 3, 4)).astype(np.float32),))
    yield Sample(cls((2, 0, 1)), (rng.integers(-9, 9, (3, 1, 5)),))
    yield Sample(cls((0, 2, 1, 4, 3)), (rng.integers(0, 255, (1, 2, 3, 2, 5)).astype(np.uint8),))
    yield Sample(cls((0, 1)), (rng.integers(0, 2, (2, 3)).astype(bool),))
    yield Sample(cls((1, 0)), (rng.integers(0, 255, (19, 35)).astype(np.uint8),))
    yield Sample(cls((0, 2, 1)), (rng.standard_normal((2, 19, 17)).astype(np.float16),))
    yield moved_sample(rng, cls((0, 2, 3, 1)), (2, 17, 3, 4))


@samples_of(Concat)
def concat(cls: type[Concat], rng: np.random.Generator) -> Iterator[Sample]:
    def array(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    yield Sample(cls(1), (array(2, 3, 4, 5), array(2, 17, 4, 5), array(2, 1, 4, 5)))
    yield Sample(cls(0), (rng.integers(-9, 9, (3,)), rng.integers(-9, 9, (5,))))
    yield Sample(cls(2), (array(1, 2, 7), array(1, 2, 1)))
    yield Sample(cls(1), tuple(rng.integers(-128, 127, (2, n)).astype(np.int8) for n in (1, 2, 3)))
    yield Sample(cls(0), (array(2, 2),))
    yield moved_sample(rng, cls(1), (1, 3, 4, 5), (1, 17, 4, 5))


@samples_of(Split)
def split(cls: type[Split], rng: np.random.Generator) -> Iterator[Sample]:
    yield Sample(cls(1, (3, 3)), (rng.standard_normal((2, 6, 4)).astype(np.float32),))
    yield Sample(cls(0, (1, 4, 2)), (rng.integers(-9, 9, (7, 2)),))
    yield Sample(cls(2, (5,)), (rng.integers(0, 255, (1, 2, 5)).astype(np.uint8),))
    yield moved_sample(rng, cls(1, (16, 3)), (1, 19, 4, 5))


@samples_of(Slice)
def slice(cls: type[Slice], rng: np.random.Generator) -> Iterator[Sample]:
    x = rng.standard_normal((4, 9, 5)).astype(np.float32)
    yield Sample(cls((1, 0, 2), (2, 9, 3), (1, 1, 1)), (x,))
    yield Sample(cls((3, 8, 0), (4, 3, 5), (-1, -4, 1)), (x,))
    yield Sample(cls((0, 0, 0), (2, 5, 1), (2, 2, 5)), (x,))
    yield Sample(cls((2,), (3,), (3,)), (rng.integers(-9, 9, (11,)),))
    yield Sample(cls((0, 1), (2, 2), (1, 1)), (rng.integers(-128, 127, (2, 3)).astype(np.int8),))
    yield Sample(cls((0, 1), (37, 2), (1, -1)), (rng.standard_normal((37, 2)).astype(np.float32),))
    yield moved_sample(rng, cls((0, 0, 1, 0), (1, 3, 2, 3), (1, 1, 2, 2)), (1, 3, 5, 6))


@samples_of(Tile)
def tile(cls: type[Tile], rng: np.random.Generator) -> Iterator[Sample]:
    yield Sample(cls((1, 3, 2)), (rng.standard_normal((2, 1, 5)).astype(np.float32),))
    yield Sample(cls((4,)), (rng.integers(-9, 9, (3,)),))
    yield Sample(cls((2, 2)), (rng.integers(0, 255, (1, 3)).astype(np.uint8),))


@samples_of(Pad)
def pad(cls: type[Pad], rng: np.random.Generator) -> Iterator[Sample]:
    image = rng.standard_normal((1, 2, 4, 5)).astype(np.float32)
    yield Sample(cls((0, 0, 1, 1, 0, 0, 1, 1)), (image,))
    yield Sample(cls((0, 0, 0, 2, 0, 1, 3, 0), value=-1.5), (image,))
    yield Sample(cls((0, 0, 3, 2, 0, 0, 1, 4), mode="reflect"), (image,))
    yield Sample(cls((1, 0, 2, 0, 0, 0, 0, 7), mode="edge"), (image,))
    yield Sample(cls((0, 0, 5, 2, 0, 0, 0, 6), mode="wrap"), (image,))
    yield Sample(cls((2, 3), value=7.0), (rng.integers(-9, 9, (5,)),))
    yield Sample(cls((1, 0, 0, 1), value=255.0), (rng.integers(0, 255, (2, 3)).astype(np.uint8),))
    yield Sample(cls((1, 1), value=-math.inf), (image[0, 0, 0],))
    yield moved_sample(rng, cls((0, 1, 2, 0, 0, 3, 0, 1)), (1, 2, 4, 5))
    yield moved_sample(rng, cls((0, 0, 1, 1, 0, 0, 1, 1), value=1.3), (1, 2, 4, 5))


@samples_of(DepthToSpace)
def depth_to_space(cls: type[DepthToSpace], rng: np.random.Generator) -> Iterator[Sample]:
    for mode in ("DCR", "CRD"):
        yield Sample(cls(2, mode), (rng.standard_normal((2, 12, 3, 2)).astype(np.float32),))
        yield Sample(cls(3, mode), (rng.standard_normal((1, 9, 1, 5)).astype(np.float32),))
        yield moved_sample(rng, cls(2, mode), (1, 8, 3, 2))


@samples_of(SpaceToDepth)
def space_to_depth(cls: type[SpaceToDepth], rng: np.random.Generator) -> Iterator[Sample]:
    yield Sample(cls(2), (rng.standard_normal((2, 3, 4, 6)).astype(np.float32),))
    yield Sample(cls(3), (rng.standard_normal((1, 1, 3, 9)).astype(np.float32),))
    yield moved_sample(rng, cls(2), (1, 3, 4, 6))


@samples_of(Trilu)
def trilu(cls: type[Trilu], rng: np.random.Generator) -> Iterator[Sample]:
    yield Sample(cls(True), (rng.standard_normal((2, 4, 5)).astype(np.float32),))
    yield Sample(cls(False, -1), (rng.integers(-9, 9, (5, 3)),))
    yield Sample(cls(False, 2), (rng.standard_normal((4, 4)).astype(np.float32),))


@samples_of(Interleave)
def interleave(cls: type[Interleave], rng: np.random.Generator) -> Iterator[Sample]:
    def array(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    yield Sample(cls((3,), (2,), (13,)), (array(2, 12, 5),))
    yield Sample(cls((2, 3), (1, 2), (5, 6)), (array(2, 12, 3, 3),))
    yield Sample(cls((1, 2, 2), (0, 1, 0), (2, 3, 5)), (array(1, 12, 2, 2, 3),))
    yield Sample(cls((2,), (1,), (6,)), (rng.integers(-9, 9, (1, 6, 4)),))
    yield moved_sample(rng, cls((2, 2), (0, 1), (4, 4)), (1, 8, 2, 3))
