"""Quads of weights by how their products are added up, for processors whose product of bytes saturates.

The instruction adds two neighbouring products of unsigned and signed bytes in 16 bits. Four products can be added in
three kinds of pairs, and in most quads of 16 columns one of them saturates in no column, whatever the bytes of x. What
is left is multiplied in 16 bits. So weights stay as they are, and are read in the order of a list: first the quads
whose bytes pair as they lie, at the end those that do not pair. No branch depends on a quad.
"""

import numpy as np

from .....ir.layout import CHANNEL_BLOCK, QUAD

PAIRINGS = ((0, 1, 2, 3), (0, 2, 1, 3), (0, 3, 1, 2))
"""Orders of the bytes of a quad; each two neighbours are a pair."""

KINDS = len(PAIRINGS) + 1
"""Lists of 16 columns: one for each pairing, and one for the quads that are multiplied in 16 bits."""

BOUNDS_BYTES = 4 * (KINDS + 1)
"""Of the bounds of the lists of 16 columns."""

_MOST = 128
"""Largest sum of two weights of one sign whose products with 255 fit in 16 bits."""


def listed_quads(weights: np.ndarray) -> bytes:
    """The lists of a matrix.
    ``weights``: [K, N], from -128 to 127; K is a multiple of four.
    Returns i32[N / 16, KINDS + 1], where the lists of 16 columns begin and the last one ends, in bytes from the bounds
    of these columns on; then i32[N / 16, K / 4], the first rows of their quads, list by list."""
    inner, columns = weights.shape
    steps, panels = inner // QUAD, -(-columns // CHANNEL_BLOCK)
    filled = np.pad(weights.astype(np.int16), ((0, 0), (0, -columns % CHANNEL_BLOCK)))
    quads = filled.reshape(steps, QUAD, panels, CHANNEL_BLOCK).transpose(2, 0, 3, 1)
    kinds = np.full((panels, steps), len(PAIRINGS))
    for kind, order in reversed([*enumerate(PAIRINGS)]):
        pairs = quads[..., order].reshape(panels, steps, 2 * CHANNEL_BLOCK, 2)
        sums = (np.maximum(sign * pairs, 0).sum(-1) for sign in (1, -1))
        kinds[np.all([each.max(-1) <= _MOST for each in sums], axis=0)] = kind
    counts = (kinds[..., None] == np.arange(KINDS)).sum(1)
    panel = np.arange(panels)[:, None]
    starts = BOUNDS_BYTES * (panels - panel) + 4 * steps * panel
    bounds = starts + 4 * np.pad(counts.cumsum(1), ((0, 0), (1, 0)))
    order = QUAD * np.argsort(kinds, axis=1, kind="stable")
    return bounds.astype("<i4").tobytes() + order.astype("<i4").tobytes()
