"""Kernels that were generated again for artifacts from elsewhere, kept in the user's cache folder.

An entry is a file ``kernels/HASH``, whose name says what it was generated from and for. It starts with an HMAC under
the machine key over that hash and the rest, so that what anyone else put there counts for nothing; then come the bytes
of arena and those of the object (8 each, little-endian), the object, and its constants. Whatever is wrong with the
folder or an entry, kernels are generated as if there were none. Taking an entry makes it the youngest; the oldest go
when all together have too many bytes.
"""

import contextlib
import os
import re
import struct
from typing import NamedTuple

from tilewright.errors import TrustError
from tilewright.limits import KERNEL_CACHE

from . import machine_key, private_files
from .credentials import sha256

_CODE_BYTES, _HEADER_BYTES = 32, 48
_SIZES = "<QQ"
_PURPOSE = "kernels 2"
_NAME = re.compile(r"[0-9a-f]{64}|\.[0-9a-f]{64}\..*")
"""Names of entries, and of those that nobody finished to write."""


class Entry(NamedTuple):
    """One CPU program for one processor.

    Attributes:
        digest: of the artifact, 32 bytes; it covers the module text and the constants.
        program: number of the shape that it is for, a slash, and its name.
        version: of Tilewright, whose code generation may change.
        processor: what code for it depends on.
    """

    digest: bytes
    program: str
    version: str
    processor: str

    def load(self) -> tuple[bytes, int, bytes] | None:
        """The object, the bytes of arena that it needs and its constants; None without a sound entry."""
        place = self._place()
        try:
            key, content = machine_key.read(), private_files.read(place, KERNEL_CACHE)
        except TrustError:
            return None
        if place is None or key is None or content is None:
            return None
        if not machine_key.equal(self._code(key, content[_CODE_BYTES:]), content[:_CODE_BYTES]):
            return None
        with contextlib.suppress(OSError):
            os.utime(place)
        arena, size = struct.unpack_from(_SIZES, content, _CODE_BYTES)
        return content[_HEADER_BYTES : _HEADER_BYTES + size], arena, content[_HEADER_BYTES + size :]

    def store(self, code: bytes, arena_bytes: int, constants: bytes) -> None:
        """Keep an object, if that is possible; makes the machine key where there is none."""
        place = self._place()
        content = struct.pack(_SIZES, arena_bytes, len(code)) + code + constants
        if place is None or len(content) + _CODE_BYTES > KERNEL_CACHE:
            return
        with contextlib.suppress(OSError, TrustError):
            private_files.write(place, self._code(machine_key.provide(), content) + content, replace=True)
            _drop_oldest(os.path.dirname(place))

    def _hash(self) -> bytes:
        return sha256("\0".join([self.digest.hex(), *self[1:]]).encode())

    def _place(self) -> str | None:
        return private_files.cached(f"kernels/{self._hash().hex()}")

    def _code(self, key: bytes, content: bytes) -> bytes:
        return machine_key.code(key, _PURPOSE, self._hash() + content)


def _drop_oldest(folder: str) -> None:
    files: list[tuple[float, int, str]] = []
    with os.scandir(folder) as items:
        for item in items:
            # The folder may be a link to one that holds other files.
            if not _NAME.fullmatch(item.name):
                continue
            status = item.stat(follow_symlinks=False)
            files.append((status.st_mtime, status.st_size, item.path))
    total = sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if total <= KERNEL_CACHE:
            return
        # Another process may have dropped it at the same time.
        with contextlib.suppress(OSError):
            os.unlink(path)
        total -= size
