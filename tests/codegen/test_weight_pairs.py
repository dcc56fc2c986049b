"""Weights in pairs: their sums are those that were asked for, and no sum saturates."""

from __future__ import annotations

import numpy as np
import pytest

from tilewright.codegen.cpu.kernels.products.weight_pairs import ABSENT, KINDS, packed_pairs, table_bytes


def random_weights(kind: str, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    if kind == "absent":
        return np.zeros(shape, int)
    if kind == "tiny":
        return rng.integers(-32, 33, shape)
    if kind == "small":
        return rng.integers(-64, 65, shape)
    if kind == "trained":
        return np.clip(np.rint(rng.laplace(size=shape) * 25), -127, 127).astype(int)
    if kind == "extreme":
        return rng.choice([-255, -128, 127, 128, 255, 0], shape)
    return rng.integers(-255, 256, shape)


@pytest.mark.parametrize(
    ("kind_of_weights", "beside"),
    [("absent", 1), ("tiny", 2), ("small", 1), ("trained", 2), ("extreme", 4), ("uniform", 1)],
)
def test_sums_and_pairs(kind_of_weights: str, beside: int, rng: np.random.Generator) -> None:
    lists, windows = 3, 5
    weights = random_weights(kind_of_weights, rng, (lists, windows, 16, 16))
    weights[1] = 0
    offsets = rng.permutation(lists * windows).reshape(lists, windows) * 16 - 64
    data = packed_pairs(weights, offsets, beside)
    *tables, first_window, start = np.frombuffer(data, np.int32, table_bytes(lists) // 4)
    *positions, firsts = np.reshape(tables, (len(KINDS) + 1, -1))
    np.testing.assert_array_equal([each[0] for each in positions], [0, *(each[-1] for each in positions[:-1])])
    assert start % 64 == 0
    of_weights = np.frombuffer(data[start:], np.uint8).reshape(-1, 64)
    of_windows = np.frombuffer(data[first_window:start], np.uint8)
    of_windows = of_windows[: 36 * firsts[-1]].reshape(-1, 36)
    window, inside = np.divmod(np.frombuffer(data[table_bytes(lists) : first_window], np.int32), 32 * beside)
    half, quad = np.divmod(inside, 16 * beside)
    quad = 4 * half + quad // 4
    of_quads = np.hstack([of_windows[window, :4], of_windows[:, 4:].reshape(-1, 8, 4)[window, quad]])
    assert len(np.unique(np.stack([window, quad]), axis=1).T) == len(of_quads), "each quad has a place of its own"
    twos = positions[0][-1] // 4
    assert (quad[1:twos:2] == quad[:twos:2] + 1).all(), "the quads of a record lie side by side"
    np.testing.assert_array_equal(firsts, np.cumsum([0, *(weights.any((2, 3)).sum(1))]))
    assert len(of_quads) == len(of_weights) == positions[-1][-1] // 4
    found = np.zeros_like(weights)
    for kind, bounds in zip(KINDS, positions, strict=True):
        dtype = np.int16 if kind.are_words else np.int8
        for index in range(lists):
            those = slice(bounds[index] // 4, bounds[index + 1] // 4)
            held = of_weights[those].view(dtype).astype(int).reshape(-1, kind.quads, 16, 4 // dtype().itemsize)
            at = of_quads[those, :4].copy().view(np.int32).reshape(-1, kind.quads)
            places = of_quads[those, 4:].reshape(-1, kind.quads, 4)
            assert (at == at[:, :1]).all()
            if kind.are_words:
                assert (places[..., 1::2][held.any(2)] == ABSENT).all()
                places = places[..., ::2]
            else:
                # 255 times any of them: what is added in 16 bits.
                halves = held.reshape(-1, kind.quads, 16, 2, 2)
                sums = (255 * np.clip(halves * sign, 0, None).sum((1, 4)) for sign in (1, -1))
                for total, most in zip(sums, (32767, 32768), strict=True):
                    assert total.max(initial=0) <= most
            for record, distance in enumerate(at[:, 0]):
                window = np.flatnonzero(offsets[index] == distance)[0]
                for quad, slot in np.ndindex(places.shape[1:]):
                    found[index, window, places[record, quad, slot]] += held[record, quad, :, slot]
    np.testing.assert_array_equal(found, weights)
    taken = [(bounds[1] - bounds[0]) // 4 // kind.quads for kind, bounds in zip(KINDS, positions, strict=True)]
    if kind_of_weights == "small":
        assert 2 * taken[0] + taken[1] == windows * 16 // 4, "small weights take as many products as bytes"
        assert taken[2] == 0
    if kind_of_weights == "tiny":
        assert taken == [2 * windows, 0, 0]
