"""Samples of the family ``trees``."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from samples import Sample, samples_of

from tilewright.ir.ops.trees import TreeEnsemble

TABLES = frozenset(range(1, 7))


def grown(rng: np.random.Generator, trees: int, depth: int, features: int, outputs: int) -> list[np.ndarray]:
    """Random tables of trees, branches of which end early; the last tree is a leaf."""
    nodes: list[list[int]] = []
    leaves: list[list[tuple[int, float]]] = []

    def grow(left: int) -> int:
        if not left or (left < depth and rng.random() < 0.2):
            # onnxruntime's trees of one target have one weight a leaf.
            count = rng.integers(1, 3) if outputs > 1 else 1
            leaves.append([(int(rng.integers(outputs)), float(rng.normal())) for _ in range(count)])
            return -len(leaves)
        feature = int(rng.integers(features))
        node = [feature if rng.random() < 0.5 else ~feature, 0, 0]
        nodes.append(node)
        index = len(nodes) - 1
        node[1:] = grow(left - 1), grow(left - 1)
        return index

    roots = [grow(depth if tree < trees - 1 else 0) for tree in range(trees)]
    weights = [pair for leaf in leaves for pair in leaf]
    return [
        np.array(nodes, np.int32).reshape(-1, 3),
        rng.uniform(-1, 1, len(nodes)).round(1),
        np.array(roots, np.int32),
        np.cumsum([0, *map(len, leaves)]).astype(np.int32),
        np.array([target for target, _ in weights], np.int32),
        np.array([weight for _, weight in weights]),
    ]


@samples_of(TreeEnsemble)
def tree_ensemble(cls: type[TreeEnsemble], rng: np.random.Generator) -> Iterator[Sample]:
    for combine, outputs, dtype in (("sum", 3, np.float32), ("min", 1, np.float32), ("max", 2, np.float64)):
        x = rng.uniform(-1, 1, (67, 5)).round(1).astype(dtype)
        x[rng.random(x.shape) < 0.1] = np.nan
        nodes, splits, *integers, weights = grown(rng, 6, 4, 5, outputs)
        yield Sample(cls(outputs, combine), (x, nodes, splits.astype(dtype), *integers, weights.astype(dtype)), TABLES)
    x = rng.uniform(-1, 1, (3, 5)).astype(np.float32)
    nodes, splits, *integers, weights = grown(rng, 37, 5, 5, 1)
    floats = splits.astype(np.float32), weights.astype(np.float32)
    yield Sample(cls(1), (x, nodes, floats[0], *integers, floats[1]), TABLES)
    single = np.array([-1], np.int32), np.array([0, 1], np.int32), np.zeros(1, np.int32), np.ones(1, np.float32)
    empty = np.zeros((0, 3), np.int32), np.zeros(0, np.float32)
    yield Sample(cls(1), (np.zeros((2, 1), np.float32), *empty, *single), TABLES)
