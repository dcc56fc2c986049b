"""Weights for processors whose product of bytes saturates: put in pairs that cannot.

The instruction multiplies unsigned by signed bytes and adds two neighbouring products in 16 bits. That is exact if no
two weights of one sign that stand side by side sum to more than 128. Which channels stand side by side is free, as the
bytes of x can be shuffled as they are loaded: so channels are matched such that none of 16 outputs saturates. Where the
weights of two pairs do not sum to more either, their sums are added before they become 32 bits. Channels that find no
partner, or of whose weights a byte cannot hold one, are multiplied as words, two at a time, by half as many
instructions that do half as much: every weight from -255 to 255 is exact, zero points taken off.

A window is 16 channels. It is put into the order of all its records at once, and each of them
reads its four bytes of that: shuffles want the same ports of a processor as products, and these loads do not.
"""

import numpy as np

from tilewright.immutable import Immutable

from .....ir.layout import CHANNEL_BLOCK, QUAD


class RecordKind(Immutable):
    """What a record holds: so many quads, whose products are added in 16 bits.

    The weights of a quad are i8[16 outputs][4 places], or i16[16][2]. Its place is the i32 distance of its four bytes
    from the first window in order; those of the quads of a record lie side by side."""

    quads: int
    are_words: bool = False


KINDS = RecordKind(2), RecordKind(1), RecordKind(1, are_words=True)

ABSENT = 0x80
"""What a shuffle of bytes makes zero of."""

PLACE = 4
"""Bytes of a place."""

ORDER = 2 * CHANNEL_BLOCK
"""Bytes of a window in the order of its records: at most all of it as words."""

WEIGHTS = QUAD * CHANNEL_BLOCK
"""Bytes of the weights of a quad, which are aligned to as many: reading them takes no two cache lines."""

_MOST = 128
"""Largest sum of weights of one sign whose products with 255 fit in 16 bits."""


def packed_pairs(weights: np.ndarray, offsets: np.ndarray, beside: int = 1) -> bytes:
    """Records for weights, in the order of their kinds, of lists and of windows, behind the position of each list.

    Args:
        weights: integers [lists, windows, 16 places of a window, 16], from -255 to 255.
        offsets: in bytes, of each window of x from where a kernel stands: [lists, windows].
        beside: pixels whose first 16 bytes in order stand side by side, then the others.

    Returns:
        i32[kinds][lists + 1], where the places of each list begin and the last ones end, in bytes from the first place;
        i32[lists + 1], the number of the first window of each list, of those that have weights; i32[2], where windows
        and weights begin, in bytes from the start of it all; the places of all quads; of each window its offset, i32,
        and u8[32], which of its bytes stand where, ``ABSENT`` for the upper byte of a word; the weights.
    """
    lists, windows, places, _ = weights.shape
    weights, count = weights.reshape(lists * windows, places, CHANNEL_BLOCK).astype(np.int16), lists * windows
    begin, tables, found = 0, [], []
    for kind, halves in zip(KINDS, _halves(weights), strict=True):
        members, numbers, counts = _records(weights, halves, kind)
        found.append((np.repeat(np.arange(count), counts * kind.quads), members.reshape(-1, QUAD), numbers.tobytes()))
        tables.append(begin + PLACE * kind.quads * np.cumsum(np.pad(counts.reshape(lists, windows).sum(1), (1, 0))))
        begin = tables[-1][-1]
    window, members, of_weights = (list(each) for each in zip(*found, strict=True))
    window, members = np.concatenate(window), np.concatenate(members)
    # Of a window the quads of each kind, which are there in turn, stand side by side.
    held = np.bincount(window, minlength=count)
    rank, by_window = np.zeros(len(window), np.int64), np.argsort(window, kind="stable")
    rank[by_window] = np.arange(len(window)) - np.repeat(np.cumsum(held) - held, held)
    present, number = np.flatnonzero(held), np.cumsum(held > 0) - 1
    half, rest = np.divmod(rank, CHANNEL_BLOCK // QUAD)
    of_quads = (number[window] * ORDER + half * CHANNEL_BLOCK) * beside + QUAD * rest
    order = np.full((len(present), ORDER // QUAD, QUAD), ABSENT, np.uint8)
    order[number[window], rank] = members
    distances = offsets.reshape(-1, 1)[present].astype("<i4").view(np.uint8)
    of_windows = np.hstack([distances, order.reshape(len(present), ORDER)]).tobytes()
    of_places = of_quads.astype("<i4").tobytes()
    after = table_bytes(lists) + len(of_places)
    filled = -(-(after + len(of_windows)) // WEIGHTS) * WEIGHTS
    firsts = np.cumsum(np.pad((held > 0).reshape(lists, windows).sum(1), (1, 0)))
    head = np.array([*np.concatenate(tables), *firsts, after, filled], "<i4").tobytes()
    return (head + of_places + of_windows).ljust(filled, b"\0") + b"".join(of_weights)


def table_bytes(lists: int) -> int:
    """Bytes before the places: where their lists begin, and those of windows, and these and the weights."""
    return 4 * ((len(KINDS) + 1) * (lists + 1) + 2)


def _records(weights: np.ndarray, halves: np.ndarray, kind: RecordKind) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places and weights of records of two halves each, and how many of them each window has.
    ``halves``: windows and places, as :func:`_halves` returns them."""
    halves = halves[np.argsort(halves[:, 0], kind="stable")]
    window, places = halves[:, :1], halves[:, 1:]
    values = weights[window, np.maximum(places, 0)] * (places >= 0)[..., None]
    if kind.are_words:
        values, members = values.astype("<i2").view(np.int8), np.pad(places, ((0, 0), (0, 1)), constant_values=ABSENT)
    else:
        values, members = values.astype(np.int8).transpose(0, 2, 1), np.maximum(places, 0)
        values = values.reshape(-1, CHANNEL_BLOCK, kind.quads, 2).transpose(0, 2, 1, 3)
    held = np.bincount(window[:, 0], minlength=len(weights))
    counts = -(-held // 2)
    rank = np.arange(len(halves)) - np.repeat(np.cumsum(held) - held, held)
    record, half = np.repeat(np.cumsum(counts) - counts, held) + rank // 2, rank % 2
    numbers = np.zeros((counts.sum(), kind.quads, CHANNEL_BLOCK, 2, 2), np.int8)
    numbers[record, :, :, half] = values.reshape(-1, kind.quads, CHANNEL_BLOCK, 2)
    of_quads = np.zeros((counts.sum(), kind.quads, 2, 2), np.uint8)
    of_quads[record, :, half] = members.reshape(-1, kind.quads, 2)
    return of_quads, numbers, counts


def _halves(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Halves of the records of each kind for windows [windows, places, 16] of weights: numbers of a window, and of its
    four, two or one places, -1 for none."""
    # What is more than may be summed is no byte, and in no pair.
    positive, negative = (np.clip(sign * weights, 0, _MOST).astype(np.uint8) for sign in (1, -1))
    has_weights = np.asarray(weights.any(axis=2))
    fits_byte = np.asarray(((weights < _MOST) & (weights >= -_MOST)).all(axis=2))
    found = _matched(positive, negative, has_weights, fits_byte)
    window, _, second = found.T
    # The pairs of each window, numbered, as what is to be matched once more.
    is_pair = second >= 0
    pairs = found[is_pair][np.argsort(window[is_pair], kind="stable")]
    count = np.bincount(pairs[:, 0], minlength=len(weights))
    number = np.arange(len(pairs)) - np.repeat(np.cumsum(count) - count, count)
    place = np.full((len(weights), weights.shape[1] // 2 + 1), -1)
    place[pairs[:, 0], number] = np.arange(len(pairs))
    sums = (each[pairs[:, :1], pairs[:, 1:]].sum(1, np.uint8) for each in (positive, negative))
    of_pairs = [np.concatenate([each, np.zeros((1, CHANNEL_BLOCK), np.uint8)])[place] for each in sums]
    fours = _matched(of_pairs[0], of_pairs[1], place >= 0, place >= 0)
    fours = fours[fours[:, 2] >= 0]
    # Of an odd number one stays two pairs.
    odd = np.bincount(fours[:, 0], minlength=len(weights)) % 2
    fours = np.delete(fours, _one_of_each(fours[:, 0], odd[fours[:, 0]] == 1), axis=0)
    taken = place[fours[:, :1], fours[:, 1:]]
    quads = np.column_stack([fours[:, 0], pairs[taken[:, 0], 1:], pairs[taken[:, 1], 1:]])
    pairs, singles = np.delete(pairs, taken.reshape(-1), axis=0), found[~is_pair]
    # An odd pair gets an odd single one beside it, or else is taken apart.
    odd, odd_single = (np.bincount(each[:, 0], minlength=len(weights)) % 2 for each in (pairs, singles))
    window = singles[:, 0]
    joined = _one_of_each(window, fits_byte[window, singles[:, 1]] & ((odd & odd_single)[window] == 1))
    odd[window[joined]] = 0
    apart = _one_of_each(pairs[:, 0], odd[pairs[:, 0]] == 1)
    words = np.concatenate([np.delete(singles, joined, axis=0)[:, :2], pairs[apart, :2], pairs[apart][:, [0, 2]]])
    return quads, np.concatenate([np.delete(pairs, apart, axis=0), singles[joined]]), words


def _one_of_each(window: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Of each window the number of its first candidate."""
    numbers = np.flatnonzero(candidates)
    return numbers[np.unique(window[numbers], return_index=True)[1]]


def _matched(positive: np.ndarray, negative: np.ndarray, left: np.ndarray, may: np.ndarray) -> np.ndarray:
    """Windows, and places of them in pairs that do not saturate, -1 for no second one: [pairs, 3].

    One pair of each window after the other: the place that fits with the fewest others takes the one among these that
    fits with the fewest.
    ``positive``, ``negative``: the weights of either sign, or sums of them: u8[windows, places, 16], up to ``_MOST``.
    ``left``: which places there are.
    ``may``: which of them may be in a pair."""
    count, places, _ = positive.shape
    fits, left, may = np.zeros((count, places, places), bool), left.copy(), left & may
    by_place = [np.ascontiguousarray(each.swapaxes(0, 1)) for each in (positive, negative)]
    for a in range(places):
        room = [_MOST - each[a] for each in by_place]
        for b in range(a):
            within = (each[b] <= left for each, left in zip(by_place, room, strict=True))
            fits[:, a, b] = fits[:, b, a] = np.logical_and(*within).all(1)
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
