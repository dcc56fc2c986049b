"""Weights for processors whose product of bytes saturates: put in pairs that cannot.

The instruction multiplies unsigned by signed bytes and adds two neighbouring products in 16 bits. That is exact if no
two weights of one sign that stand side by side sum to more than 128. Which channels stand side by side is free, as the
bytes of x can be shuffled as they are loaded: so channels are matched such that none of 16 outputs saturates. Channels
that find no partner, or of whose weights a byte cannot hold one, are multiplied as words, two at a time, by half as
many instructions that do half as much: every weight from -255 to 255 is exact, zero points taken off.
"""

from __future__ import annotations

import numpy as np

from .....ir.layout import CHANNEL_BLOCK, QUAD

RECORD = CHANNEL_BLOCK * QUAD + 8
"""Bytes of a record: weights [16 outputs], each of four places as i8, or of two as i16; i32 distance of a window of x;
u8[4] the bytes of the window that belong to the places, ``ABSENT`` for the upper byte of a word."""

ABSENT = 0x80
"""What a shuffle of bytes makes zero of."""

_MOST = 128
"""Largest sum of two weights of one sign whose products with 255 fit in 16 bits."""


def packed_pairs(weights: np.ndarray, offsets: np.ndarray) -> bytes:
    """Records for weights, in the order of lists and of windows, behind the position of each list.

    Args:
        weights: integers [lists, windows, places of a window, 16], from -255 to 255.
        offsets: in bytes, of each window of x from where a kernel stands: [lists, windows].

    Returns:
        i32[2][lists + 1], first for records of bytes, then for those of words: where the records of each list begin and
        the last ones end, in bytes from the start of it all; then the records.
    """
    lists, windows, places, _ = weights.shape
    weights = weights.reshape(lists * windows, places, CHANNEL_BLOCK).astype(np.int16)
    pairs, singles = _pairs(weights)
    window, members = pairs[:, 0], np.maximum(pairs[:, 1:], 0)
    values = weights[window[:, None], members] * (pairs[:, 1:] >= 0)[..., None]
    of_bytes = _records(window, members, values.astype(np.int8).transpose(0, 2, 1), offsets.reshape(-1))
    window, members = singles[:, 0], np.pad(singles[:, 1:], ((0, 0), (0, 1)), constant_values=ABSENT)
    values = weights[window, singles[:, 1]].astype("<i2").view(np.int8).reshape(-1, CHANNEL_BLOCK, 2)
    of_words = _records(window, members, values, offsets.reshape(-1))
    begin, tables = 2 * 4 * (lists + 1), b""
    for _, counts in (of_bytes, of_words):
        ends = begin + RECORD * np.cumsum(np.pad(counts.reshape(lists, windows).sum(1), (1, 0)))
        begin, tables = ends[-1], tables + ends.astype("<i4").tobytes()
    return tables + of_bytes[0].tobytes() + of_words[0].tobytes()


def _records(
    window: np.ndarray, members: np.ndarray, values: np.ndarray, offsets: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Records of two halves each, and how many of them each window has.

    Args:
        window: of each half.
        members, values: two places of each half, and two bytes for each output.
    """
    order = np.argsort(window, kind="stable")
    halves = np.bincount(window, minlength=len(offsets))
    counts = -(-halves // 2)
    rank = np.arange(len(window)) - np.repeat(np.cumsum(halves) - halves, halves)
    at = np.repeat(np.cumsum(counts) - counts, halves) + rank // 2, rank % 2
    numbers = np.zeros((counts.sum(), CHANNEL_BLOCK, 2, 2), np.int8)
    numbers[at[0], :, at[1]] = values[order]
    bytes_of_x = np.zeros((counts.sum(), 2, 2), np.uint8)
    bytes_of_x[at] = members[order]
    records = np.zeros((counts.sum(), RECORD), np.uint8)
    records[:, :-8] = numbers.reshape(-1, RECORD - 8).view(np.uint8)
    records[:, -8:-4] = np.repeat(offsets, counts).astype("<i4")[:, None].view(np.uint8)
    records[:, -4:] = bytes_of_x.reshape(-1, QUAD)
    return records, counts


def _pairs(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places of windows [windows, places, 16] with weights: in pairs, an even number in each window, with their window
    and -1 for no second one; and the others with theirs, which are multiplied as words.
    """
    is_byte = ((weights >= -128) & (weights <= 127)).all(2)
    found = _matched(weights, is_byte)
    window, first, second = found.T
    has_pair, count = second >= 0, len(weights)
    pairs, singles = (np.bincount(window[those], minlength=count) % 2 for those in (has_pair, ~has_pair))
    # An odd pair gets an odd single one beside it, or else is taken apart.
    joined = _one_of_each(window, ~has_pair & is_byte[window, first] & (pairs & singles)[window].astype(bool))
    pairs[window[joined]] = 0
    apart = _one_of_each(window, has_pair & pairs[window].astype(bool))
    stays = np.ones(len(found), bool)
    stays[apart] = False
    alone = ~has_pair
    alone[joined] = False
    return found[stays & ~alone], np.concatenate([found[alone, :2], found[apart, :2], found[apart][:, [0, 2]]])


def _one_of_each(window: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Of each window the number of its first candidate."""
    numbers = np.flatnonzero(candidates)
    return numbers[np.unique(window[numbers], return_index=True)[1]]


def _matched(weights: np.ndarray, is_byte: np.ndarray) -> np.ndarray:
    """Windows, and places of them in pairs that do not saturate, -1 for no second one: [pairs, 3].

    One pair of each window after the other: the place that fits with the fewest others takes the one among these that
    fits with the fewest. Places without weights are left out.

    Args:
        is_byte: of each place, whether bytes hold its weights.
    """
    count, places, _ = weights.shape
    fits = np.zeros((count, places, places), bool)
    for a in range(places):
        for b in range(a):
            x, y = weights[:, a], weights[:, b]
            fits[:, a, b] = fits[:, b, a] = ~((np.abs(x + y) > _MOST) & ((x > 0) == (y > 0))).any(1)
    left: np.ndarray = (weights != 0).any(axis=2)
    may: np.ndarray = left & is_byte
    fits &= may[:, None] & may[:, :, None]
    found = [np.zeros((0, 3), np.int64)]
    while (windows := np.flatnonzero(left.any(1))).size:
        row = np.arange(windows.size)
        own, here = fits[windows], left[windows]
        degree = own.sum(2)
        first = np.where(here, degree, places).argmin(1)
        partners = own[row, first]
        second = np.where(partners, degree, places + 1).argmin(1)
        second[~partners.any(1)] = -1
        found.append(np.stack([windows, first, second], 1))
        for taken, those in ((first, windows), (second[second >= 0], windows[second >= 0])):
            left[those, taken] = False
            fits[those, taken] = False
            fits[those, :, taken] = False
    return np.concatenate(found)
