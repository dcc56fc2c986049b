"""Weights in pairs: their sums are those that were asked for, and no pair saturates."""

from __future__ import annotations

import numpy as np
import pytest

from tilewright.codegen.cpu.kernels.products.weight_pairs import RECORD, packed_pairs


def random_weights(kind: str, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    if kind == "small":
        return rng.integers(-64, 65, shape)
    if kind == "trained":
        return np.clip(np.rint(rng.laplace(size=shape) * 25), -127, 127).astype(int)
    if kind == "extreme":
        return rng.choice([-255, -128, 127, 128, 255, 0], shape)
    return rng.integers(-255, 256, shape)


@pytest.mark.parametrize("kind", ["small", "trained", "extreme", "uniform"])
@pytest.mark.parametrize("places", [4, 16])
def test_sums_and_pairs(kind: str, places: int, rng: np.random.Generator) -> None:
    lists, windows = 3, 5
    weights = random_weights(kind, rng, (lists, windows, places, 16))
    weights[1] = 0
    offsets = rng.permutation(lists * windows).reshape(lists, windows) * 16 - 64
    data = packed_pairs(weights, offsets)
    bounds = np.frombuffer(data, np.int32, lists + 1)
    assert bounds[0] == 4 * (lists + 1)
    assert bounds[-1] == len(data)
    found = np.zeros_like(weights)
    for index in range(lists):
        records = np.frombuffer(data[bounds[index] : bounds[index + 1]], np.uint8).reshape(-1, RECORD)
        values = records[:, :64].view(np.int8).reshape(-1, 16, 2, 2).astype(int)
        # 255 times either of them, or both: what the instruction adds in 16 bits.
        positive, negative = (255 * np.clip(values * sign, 0, None).sum(3) for sign in (1, -1))
        assert positive.max(initial=0) <= 32767
        assert negative.max(initial=0) <= 32768
        at = records[:, 64:68].copy().view(np.int32)[:, 0]
        for record, (distance, members) in enumerate(zip(at, records[:, 68:], strict=True)):
            window = np.flatnonzero(offsets[index] == distance)[0]
            for slot, member in enumerate(members):
                found[index, window, member] += values[record].reshape(16, 4)[:, slot]
    np.testing.assert_array_equal(found, weights)
    if kind == "small" and places == 16:
        assert bounds[1] - bounds[0] == windows * 4 * RECORD, "small weights take as many products as bytes"
