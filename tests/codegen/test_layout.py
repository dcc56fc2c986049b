"""Changes of layout and global pooling against the definition of the layout."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_harness import TARGETS, described, run

from tilewright.codegen.cpu.kernels.layout import BlockChannels
from tilewright.codegen.cpu.kernels.pooling import GlobalAveragePooling, GlobalMaxPooling
from tilewright.ir.layout import pack

targets = pytest.mark.parametrize("target", TARGETS)
shapes = pytest.mark.parametrize("shape", [(1, 16, 16), (2, 35, 33), (1, 3, 7), (1, 33, 1), (3, 48, 50)], ids=str)


@targets
@shapes
def test_to_blocks_and_back(shape: tuple[int, int, int], target: str, rng: np.random.Generator) -> None:
    x = rng.standard_normal(shape).astype(np.float32)
    blocked = pack(x, "c16")
    (y,) = run(BlockChannels(*shape, inverse=False), described(target), [x], [(blocked.shape, np.float32)])
    np.testing.assert_array_equal(y, blocked)
    (back,) = run(BlockChannels(*shape, inverse=True), described(target), [blocked], [(shape, np.float32)])
    np.testing.assert_array_equal(back, x)


@targets
@shapes
@pytest.mark.parametrize("takes_mean", [False, True])
def test_global_pooling(shape: tuple[int, int, int], takes_mean: bool, target: str, rng: np.random.Generator) -> None:
    x = pack(rng.standard_normal(shape).astype(np.float32) - 3, "c16")
    batch, blocks, pixels, lanes = x.shape
    spec = (GlobalAveragePooling if takes_mean else GlobalMaxPooling)(batch * blocks, pixels)
    (y,) = run(spec, described(target), [x], [((batch, blocks, 1, lanes), np.float32)])
    expected = x.mean(axis=2, keepdims=True) if takes_mean else x.max(axis=2, keepdims=True)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
