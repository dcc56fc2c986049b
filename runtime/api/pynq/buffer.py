"""Memory that program and card share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import DTypeLike


class Bank(str):
    """A bank of a card's memory, by its name.

    Attributes:
        written: called with each buffer in it that was moved to the card.
    """

    __slots__ = ("written",)
    written: Callable[[PynqBuffer], None]


class PynqBuffer(np.ndarray):
    """An array whose contents a kernel reads and writes; made by `allocate`.

    An int8 buffer takes arrays of bytes, wraps pixels of 128 to 255, and is read as bytes by the kernel.

    Original: the card had memory of its own, and the two calls below moved the contents there and back.
    """

    _bank: Bank | None = None

    def sync_to_device(self) -> None:
        """Make what was written visible to the card; here it is already.

        The overlay whose bank the buffer is in gets ready for calls with it, where it may hold weights.
        """
        if self._bank is not None:
            self._bank.written(self)

    def sync_from_device(self) -> None:
        """Make what the card wrote visible; here it is already, once the handle of the call has been waited for."""

    def freebuffer(self) -> None:
        """Give the memory back; here that happens when nothing refers to the buffer any more."""


def allocate(
    shape: int | Sequence[int], dtype: DTypeLike = "u4", target: object = None, **options: object
) -> PynqBuffer:
    """A buffer of zeros.

    Args:
        shape: its shape.
        dtype: its element type.
        target: a bank of the card, such as ``overlay.bank0``, or an overlay, or a device; any is as good.
        options: further ones of the original, such as ``cacheable``, which mean nothing here.
    """
    buffer = np.ndarray.__new__(PynqBuffer, shape, dtype)
    buffer.fill(0)
    if isinstance(target, Bank):
        buffer._bank = target
    return buffer
