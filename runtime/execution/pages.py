"""Memory of this process's own, in whole pages."""

from __future__ import annotations

import contextlib
import mmap

import numpy as np

from tilewright.errors import ResourceError

_HUGE_PAGE = 1 << 21


def private_pages(size: int, purpose: str) -> memoryview:
    """So many bytes of zeros, page aligned; physical memory is taken when it is first touched.

    A process that is forked off has a copy of its own.

    Raises:
        ResourceError: the system has no such amount for this `purpose`.
    """
    # Python's default is memory that parent and child share after a fork, and that has no huge pages.
    flags = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
    is_huge = size >= 2 * _HUGE_PAGE and hasattr(mmap, "MADV_HUGEPAGE")
    # Whole huge pages only: small ones at the ends would take longer than all the others.
    room = (-(-size // _HUGE_PAGE) + 1) * _HUGE_PAGE if is_huge else max(size, 1)
    try:
        pages = mmap.mmap(-1, room, **flags)
    except (OSError, ValueError, OverflowError, MemoryError) as error:
        raise ResourceError(f"no memory for {purpose} of {size} bytes: {error}", stage="load artifact") from error
    start = 0
    if is_huge:
        # Fewer page faults and address translations; a kernel without huge pages says no, which is fine.
        with contextlib.suppress(OSError):
            pages.madvise(mmap.MADV_HUGEPAGE)
        start = -np.frombuffer(pages, np.uint8).ctypes.data % _HUGE_PAGE
    return memoryview(pages)[start : start + size]
