"""SHA-256 behind a late import: hashlib costs 3 ms, which importing the runtime need not spend."""

from __future__ import annotations


def sha256(data: bytes | bytearray | memoryview) -> bytes:
    """The 32-byte SHA-256 of a buffer."""
    import hashlib

    return hashlib.sha256(data).digest()
