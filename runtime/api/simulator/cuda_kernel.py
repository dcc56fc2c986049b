"""The kernel behind `cuda_sums`. Importing it takes numba."""

from typing import Any

import numpy as np
from numba import cuda as _typed

_GRID = (128, 32)
"""Blocks and threads in each: few, since copying decides how long it takes."""

# Of kernels, numba's types know less than what holds.
cuda: Any = _typed


@cuda.jit
def _gather(reference: Any, test: Any, parts: Any) -> None:
    thread = cuda.grid(1)
    r2 = t2 = rt = d2 = d1 = largest = peak = 0.0
    for index in range(thread, reference.size, cuda.gridsize(1)):
        r, t = np.float64(reference[index]), np.float64(test[index])
        d = 0.0 if r == t else abs(r - t)  # Of infinities, too.
        r2 += r * r
        t2 += t * t
        rt += r * t
        d2 += d * d
        d1 += d
        largest = max(largest, d)
        peak = max(peak, abs(r))
    parts[0, thread], parts[1, thread], parts[2, thread] = r2, t2, rt
    parts[3, thread], parts[4, thread] = d2, d1
    parts[5, thread], parts[6, thread] = largest, peak


def gather(reference: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Returns float64[7, threads]: the fields of `Sums` after the count, of each thread's elements.
    ``reference``, ``test``: float32 or float64, of one dimension and as many elements.
    Raises RuntimeError: there is no GPU; Exception: what numba needs to compile for it is missing."""
    if not cuda.is_available():
        raise RuntimeError("no CUDA device")
    parts = cuda.device_array((7, _GRID[0] * _GRID[1]), np.float64)
    _gather[_GRID](cuda.to_device(reference), cuda.to_device(test), parts)
    return parts.copy_to_host()
