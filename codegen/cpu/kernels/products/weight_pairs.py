"""Weights for processors whose product of bytes saturates: put in pairs that cannot.

The instruction multiplies unsigned by signed bytes and adds two neighbouring products in 16 bits. That is exact if no
two weights of one sign that stand side by side sum to more than 128. Which channels stand side by side is free, as the
bytes of x can be shuffled as they are loaded: so channels are matched such that none of 16 outputs saturates. A channel
that finds no partner stands alone, and what a byte cannot hold goes into further pairs: every weight from -255 to 255
is exact, zero points taken off.
"""

from __future__ import annotations

import numpy as np

from .....ir.layout import CHANNEL_BLOCK, QUAD

RECORD = CHANNEL_BLOCK * QUAD + 8
"""Bytes of a record: signed weights [16 outputs][4 places]; i32 distance of a window of x; u8[4] the bytes of the
window that belong to the places."""

_MOST = 128
"""Largest sum of two weights of one sign whose products with 255 fit in 16 bits."""


def packed_pairs(weights: np.ndarray, offsets: np.ndarray) -> bytes:
    """Records for weights, in the order of lists and of windows, behind the position of each list.

    Args:
        weights: integers [lists, windows, places of a window, 16], from -255 to 255.
        offsets: in bytes, of each window of x from where a kernel stands: [lists, windows].

    Returns:
        i32[lists + 1], where the records of each list begin and the last ones end, in bytes from the start of it all;
        then the records.
    """
    lists, windows, places, _ = weights.shape
    window, members, values = _pairs(weights.reshape(lists * windows, places, CHANNEL_BLOCK))
    order = np.argsort(window, kind="stable")
    window, members, values = window[order], members[order], values[order]
    counts = np.bincount(window, minlength=lists * windows)
    rank = np.arange(len(window)) - np.repeat(np.cumsum(counts) - counts, counts)
    quads = -(-counts // 2)
    record = np.repeat(np.cumsum(quads) - quads, counts) + rank // 2
    slots = rank % 2
    numbers = np.zeros((quads.sum(), CHANNEL_BLOCK, 2, 2), np.int8)
    numbers[record, :, slots] = values.transpose(0, 2, 1)
    bytes_of_x = np.zeros((quads.sum(), 2, 2), np.uint8)
    bytes_of_x[record, slots] = members
    records = np.zeros((quads.sum(), RECORD), np.uint8)
    records[:, :-8] = numbers.reshape(-1, RECORD - 8).view(np.uint8)
    records[:, -8:-4] = np.repeat(offsets.reshape(-1), quads).astype("<i4")[:, None].view(np.uint8)
    records[:, -4:] = bytes_of_x.reshape(-1, QUAD)
    ends = np.cumsum(np.pad(quads.reshape(lists, windows).sum(1), (1, 0)))
    return (4 * (lists + 1) + RECORD * ends).astype("<i4").tobytes() + records.tobytes()


def _pairs(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs for windows of weights [windows, places, 16]: the window of each, the two places, the two weights [2, 16].

    The sums of the weights of a place over the pairs that it stands in are those that are asked for.
    """
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    rest, window = weights.astype(np.int16), np.arange(len(weights))
    while len(rest):
        now = np.clip(rest, -127, 127)
        first, second, of = _matched(now)
        places = np.stack([first, np.maximum(second, 0)], 1)
        values = np.stack([now[of, first], now[of, second] * (second >= 0)[:, None]], 1)
        found.append((window[of], places, values.astype(np.int8)))
        rest = rest - now
        left: np.ndarray = (rest != 0).any(axis=(1, 2))
        rest, window = rest[left], window[left]
    parts = [np.concatenate(part) for part in zip(*found, strict=True)]
    return parts[0], parts[1], parts[2]


def _matched(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places of windows in pairs that do not saturate, -1 for no second one, and the window of each.

    One pair of each window after the other: the place that fits with the fewest others takes the one among these that
    fits with the fewest. Places without weights are left out.
    """
    count, places, _ = weights.shape
    fits = np.zeros((count, places, places), bool)
    for a in range(places):
        for b in range(a):
            x, y = weights[:, a], weights[:, b]
            fits[:, a, b] = fits[:, b, a] = ~((np.abs(x + y) > _MOST) & ((x > 0) == (y > 0))).any(1)
    left: np.ndarray = (weights != 0).any(axis=2)
    fits &= left[:, None] & left[:, :, None]
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    while (windows := np.flatnonzero(left.any(1))).size:
        row = np.arange(windows.size)
        own, here = fits[windows], left[windows]
        degree = own.sum(2)
        first = np.where(here, degree, places).argmin(1)
        partners = own[row, first]
        second = np.where(partners, degree, places + 1).argmin(1)
        second[~partners.any(1)] = -1
        found.append((first, second, windows))
        for taken, those in ((first, windows), (second[second >= 0], windows[second >= 0])):
            left[those, taken] = False
            fits[those, taken] = False
            fits[those, :, taken] = False
    if not found:
        nothing = np.zeros(0, np.int64)
        return nothing, nothing, nothing
    first, second, windows = (np.concatenate(part) for part in zip(*found, strict=True))
    return first, second, windows
