"""NumPy's matrix products on one thread, where they are many and small.

Threads of OpenBLAS spin for a tenth of a second on processors that whoever called needs between two products: learning
the weights of three layers took 31 seconds on two threads, and 3.6 on one.
"""

import ctypes
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from itertools import product
from threading import Lock

_LOCK = Lock()
_INSIDE: list[int] = []
"""For each that computes on one thread now, how many there are outside."""


@cache
def _library() -> tuple[Callable[[], int], Callable[[int], None]] | None:
    """What tells and what sets the number of threads, of the OpenBLAS that NumPy is linked with; ``None`` with another
    library."""
    names = ("numpy._core._multiarray_umath", "numpy.core._multiarray_umath")
    found = [file for name in names if (file := getattr(sys.modules.get(name), "__file__", None))]
    for file, prefix, suffix in product(found[:1], ("scipy_", ""), ("64_", "_64_", "")):
        # Looks into what the file is linked with, too.
        library = ctypes.CDLL(file)
        tells, sets = (getattr(library, f"{prefix}openblas_{do}_num_threads{suffix}", None) for do in ("get", "set"))
        if tells is not None and sets is not None:
            return tells, sets
    return None


@contextmanager
def on_one_thread() -> Iterator[None]:
    """All products of the process are on one thread until the last that is inside leaves."""
    library = _library()
    if library is None:
        yield
        return
    tells, sets = library
    with _LOCK:
        _INSIDE.append(_INSIDE[0] if _INSIDE else tells())
        sets(1)
    try:
        yield
    finally:
        with _LOCK:
            threads = _INSIDE.pop()
            if not _INSIDE:
                sets(threads)
