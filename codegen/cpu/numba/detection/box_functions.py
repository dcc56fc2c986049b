"""Functions of boxes and of candidates in work memory that kernels of detection call; numba compiles them into each.

Work memory holds floats in which indices are exact, up to 2^24 in float32 and 2^53 in float64, beside coordinates and
scores, which are float32.
"""

import math

import numpy as np

from ..generation.scalar_functions import larger, smaller


def precedes(memory, keys, items, a, b):
    """Whether candidate a is better than b: a larger key, or a lower item with an equal one."""
    first, second = memory[keys + a], memory[keys + b]
    return first > second or (first == second and memory[items + a] < memory[items + b])


def swap_candidates(memory, keys, items, a, b):
    """Exchange two candidates."""
    key, item = memory[keys + a], memory[items + a]
    memory[keys + a], memory[items + a] = memory[keys + b], memory[items + b]
    memory[keys + b], memory[items + b] = key, item


def sort_candidates(memory, keys, items, count):
    """Sort pairs of a key (no NaN) and an item, each kind contiguous from its offset on, the best first.

    By heap, in place: the time is count * log(count) whatever the order was."""
    half = count // 2
    for i in range(half):
        sink_candidate(memory, keys, items, half - 1 - i, count)
    for i in range(1, count):
        swap_candidates(memory, keys, items, 0, count - i)
        sink_candidate(memory, keys, items, 0, count - i)
    # The best of what was left went to the end each time.
    for i in range(half):
        swap_candidates(memory, keys, items, i, count - 1 - i)
    return 0


def sink_candidate(memory, keys, items, node, count):
    """Move a candidate down a heap whose root is the best, past those that are better."""
    while 2 * node + 1 < count:
        child = 2 * node + 1
        if child + 1 < count and precedes(memory, keys, items, child + 1, child):
            child += 1
        if not precedes(memory, keys, items, child, node):
            break
        swap_candidates(memory, keys, items, node, child)
        node = child
    return 0


def exponential_of(x):
    """e to the power of a float32, computed in float64 and rounded once."""
    return np.float32(math.exp(np.float64(x)))


def cut(x, most):
    """A float32 brought between 0 and ``most``; NaN stays."""
    return larger(smaller(x, most), np.float32(0))


def overlap_of(memory, a, b):
    """Intersection over union, in float32, of the boxes xmin, ymin, xmax, ymax at two offsets."""
    left, top = np.float32(memory[a]), np.float32(memory[a + 1])
    right, bottom = np.float32(memory[a + 2]), np.float32(memory[a + 3])
    left_b, top_b = np.float32(memory[b]), np.float32(memory[b + 1])
    right_b, bottom_b = np.float32(memory[b + 2]), np.float32(memory[b + 3])
    width = smaller(right, right_b) - larger(left, left_b)
    height = smaller(bottom, bottom_b) - larger(top, top_b)
    if width <= 0 or height <= 0:
        return np.float32(0)
    shared = width * height
    return shared / ((right - left) * (bottom - top) + (right_b - left_b) * (bottom_b - top_b) - shared)


def nearest_pixel(x, far):
    """The nearest integer, halves away from zero; from ``far`` on that, and NaN the lowest."""
    exact = np.float64(x)
    if not (-far < exact < far):
        return far if exact >= far else -far
    whole = np.int64(np.floor(abs(exact) + 0.5))
    return -whole if exact < 0 else whole


def pixel_inside(edge, extent):
    """A whole number brought between 0 and ``extent``; NaN counts as the lowest."""
    return np.int64(min(np.float64(edge), np.float64(extent))) if edge > 0 else np.int64(0)
