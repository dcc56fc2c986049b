"""Packed artifacts: the file that `container.py` describes, deflated, so that weights of 4 bits take half a byte.

All numbers are little-endian.

====== ====== ==========================================================================================
offset size   field
====== ====== ==========================================================================================
0      8      magic, ``89 54 57 5A 0D 0A 1A 0A``
8      8      length of the artifact
16            the artifact, in the form of RFC 1950
====== ====== ==========================================================================================

Digest, tag and signature are those of the artifact inside, which is unpacked when it is loaded.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator

from tilewright.errors import ArtifactError

from .memory import private_pages

HEAD = struct.Struct("<8sQ")
_MAGIC = b"\x89TWZ\r\n\x1a\n"
_PIECE = 1 << 14
_MOST = 1032
"""Bytes that one can stand for, by RFC 1951: a length of 258 in two bits."""


def packed(pieces: Iterable[bytes | memoryview]) -> Iterator[bytes]:
    """The bytes of a packed artifact, given those of the artifact."""
    deflate, length = zlib.compressobj(), 0
    found: list[bytes] = []
    for piece in pieces:
        length += len(piece)
        found.append(deflate.compress(piece))
    yield HEAD.pack(_MAGIC, length)
    yield from found
    yield deflate.flush()


def unpacked_length(head: bytes | memoryview) -> int | None:
    """The length of the artifact, given the beginning of a file; ``None`` if it is not packed."""
    is_packed = len(head) >= HEAD.size and head[: len(_MAGIC)] == _MAGIC
    return HEAD.unpack_from(head)[1] if is_packed else None


def unpacked(content: memoryview, length: int, origin: str) -> memoryview:
    """The artifact in a packed one, on pages of its own.

    Raises:
        ArtifactError: it is damaged.
        ResourceError: the system has no memory for it.
    """

    def damaged(found: object) -> ArtifactError:
        what, expected = f"{origin} is damaged: it cannot be unpacked", f"{length} bytes"
        return ArtifactError(
            what, stage="load artifact", expected=expected, found=found, hint="Copy or compile it again."
        )

    if length > _MOST * len(content):
        raise damaged(f"{len(content)} packed ones")
    pages, inflate, end = private_pages(length, "an artifact"), zlib.decompressobj(), 0
    try:
        for start in range(HEAD.size, len(content), _PIECE):
            part = inflate.decompress(content[start : start + _PIECE])
            if end + len(part) > length or inflate.unused_data:
                raise damaged("more")
            pages[end : end + len(part)] = part
            end += len(part)
    except zlib.error as error:
        raise damaged(str(error)) from None
    if end != length or not inflate.eof:
        raise damaged(end)
    return pages.toreadonly()
