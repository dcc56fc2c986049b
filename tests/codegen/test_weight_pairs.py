"""Weights in pairs: their sums are those that were asked for, and no pair saturates."""

from __future__ import annotations

import numpy as np
import pytest

from tilewright.codegen.cpu.kernels.products.weight_pairs import ABSENT, RECORD, packed_pairs


def random_weights(kind: str, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    if kind == "small":
        return rng.integers(-64, 65, shape)
    if kind == "trained":
        return np.clip(np.rint(rng.laplace(size=shape) * 25), -127, 127).astype(int)
    if kind == "extreme":
        return rng.choice([-255, -128, 127, 128, 255, 0], shape)
    return rng.integers(-255, 256, shape)


@pytest.mark.parametrize("kind", ["small", "trained", "extreme", "uniform"])
@pytest.mark.parametrize("places_of_window", [4, 16])
def test_sums_and_pairs(kind: str, places_of_window: int, rng: np.random.Generator) -> None:
    lists, windows = 3, 5
    weights = random_weights(kind, rng, (lists, windows, places_of_window, 16))
    weights[1] = 0
    offsets = rng.permutation(lists * windows).reshape(lists, windows) * 16 - 64
    data = packed_pairs(weights, offsets)
    of_bytes, of_words = np.frombuffer(data, np.int32, 2 * (lists + 1)).reshape(2, -1)
    assert (of_bytes[0], of_bytes[-1], of_words[-1]) == (8 * (lists + 1), of_words[0], len(data))
    found = np.zeros_like(weights)
    for bounds, dtype in ((of_bytes, np.int8), (of_words, np.int16)):
        for index in range(lists):
            records = np.frombuffer(data[bounds[index] : bounds[index + 1]], np.uint8).reshape(-1, RECORD)
            values = records[:, :64].view(dtype).astype(int).reshape(len(records), 16, 4 // dtype().itemsize)
            if dtype is np.int8:
                # 255 times either of them, or both: what the instruction adds in 16 bits.
                sums = (255 * np.clip(values.reshape(-1, 16, 2, 2) * sign, 0, None).sum(3) for sign in (1, -1))
                for total, most in zip(sums, (32767, 32768), strict=True):
                    assert total.max(initial=0) <= most
            places = records[:, 68:]
            if dtype is np.int16:
                assert (places[:, 1::2][values.any(1)] == ABSENT).all()
                places = places[:, ::2]
            at = records[:, 64:68].copy().view(np.int32)[:, 0]
            for record, (distance, members) in enumerate(zip(at, places, strict=True)):
                window = np.flatnonzero(offsets[index] == distance)[0]
                for slot, member in enumerate(members):
                    found[index, window, member] += values[record, :, slot]
    np.testing.assert_array_equal(found, weights)
    if kind == "small":
        assert of_bytes[1] - of_bytes[0] == windows * (places_of_window // 4) * RECORD, (
            "small weights are quads of bytes"
        )
        assert of_words[0] == of_words[-1]
