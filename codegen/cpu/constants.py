"""The section of constants that CPU programs read in place."""

import hashlib
from collections.abc import Iterable

ALIGNMENT = 64
"""Alignment of constants and work memory in bytes: a cache line, a 512-bit vector."""


def aligned(size: int) -> int:
    """A size in bytes, rounded up to the alignment."""
    return -(-size // ALIGNMENT) * ALIGNMENT


class ConstantPool:
    """Constants one after the other, equal bytes once. Programs for several shapes of a network share one.
    ``stretches``: first byte and length of each constant in it.
    ``content``: every byte so far; it grows as further programs are built, and what lies there stays where it is."""

    def __init__(self, held: bytes = b"", stretches: Iterable[tuple[int, int]] = ()) -> None:
        self.content = bytearray(held)
        self._offsets: dict[bytes, int] = {}
        for offset, size in stretches:
            if offset == aligned(offset) and 0 <= size <= len(held) - offset:
                self._offsets.setdefault(_digest(held[offset : offset + size]), offset)

    def holds(self, constant: bytes | memoryview) -> bool:
        """Whether these bytes lie there."""
        return _digest(constant) in self._offsets

    def place(self, constant: bytes | memoryview) -> int:
        """Where these bytes lie; they are added at the end unless they are there."""
        digest = _digest(constant)
        if digest not in self._offsets:
            self.content += bytes(aligned(len(self.content)) - len(self.content))
            self._offsets[digest] = len(self.content)
            self.content += constant
        return self._offsets[digest]


def _digest(constant: bytes | memoryview) -> bytes:
    return hashlib.sha256(constant).digest()
