"""FlatBuffers without a schema: tables whose fields are integers of 32 bits, texts, bytes and tables.

A buffer begins with the offset of its root table. A table begins with the distance back to its *vtable*, which holds
two sizes of 16 bits, its own and that of the table's inline part, and then for each field its offset in the latter,
or 0 where it is absent. Integers lie there; of the rest, distances forward to where they lie: a length of 32 bits and
the content, which in texts a zero byte follows. All is little-endian. See https://flatbuffers.dev/internals/.
"""

import struct
from collections.abc import Mapping, Sequence
from typing import Union

from tilewright.errors import ArtifactError

STAGE = "read container"

COMMAND = "tilewright compile MODEL -o OUT.nef --kp-id ID"
"""What makes containers."""


class ContainerError(ArtifactError):
    """A container of models is damaged, or holds what cannot run here."""


def damaged(what: str, expected: object = None, found: object = None) -> ContainerError:
    """The error of a container whose bytes contradict each other."""
    hint = f"Copy it again, or make it anew: {COMMAND}."
    message = f"the container of models is damaged: {what}"
    return ContainerError(message, stage=STAGE, expected=expected, found=found, hint=hint)


def foreign(what: str) -> ContainerError:
    """The error of a container that something else has made."""
    hint = f"Make one of the model that it was compiled from: {COMMAND}."
    return ContainerError(
        f"{what}, and holds instructions for its own processor, which cannot be executed here",
        stage=STAGE,
        expected="a container made by tilewright compile",
        hint=hint,
    )


Field = Union[int, str, bytes, "Mapping[int, Field]"]
"""A table is a mapping from numbers of fields."""

_WORD = struct.Struct("<I")
_SIGNED = struct.Struct("<i")
_CONTENT_ALIGNMENT = 16


class Table:
    """A table in a buffer of a stranger. What it says is checked when it is asked for.
    ``position``: where in the buffer the table begins.
    ``name``: what errors call it.
    Raises ContainerError: the table, or what a field says, does not lie in the buffer."""

    def __init__(self, buffer: memoryview, position: int, name: str) -> None:
        self._buffer = buffer
        self._position = position
        self._name = name
        self._check(position, 4, "the table")
        vtable = position - _SIGNED.unpack_from(buffer, position)[0]
        self._check(vtable, 4, "the vtable")
        size, self._inline = struct.unpack_from("<HH", buffer, vtable)
        self._check(vtable, size, "the vtable")
        self._check(position, self._inline, "the table")
        if size < 4 or size % 2 or self._inline < 4:
            raise self._damaged("the vtable has an impossible size", found=f"{size} bytes for {self._inline}")
        self._offsets: Sequence[int] = struct.unpack_from(f"<{(size - 4) // 2}H", buffer, vtable + 4)

    @staticmethod
    def root(buffer: memoryview) -> "Table":
        """The table that a buffer begins with the offset of. Raises ContainerError: it does not lie in the buffer."""
        if len(buffer) < 4:
            raise damaged("it is too short", "4 bytes", len(buffer))
        return Table(buffer, _WORD.unpack_from(buffer)[0], "root")

    def integer(self, field: int) -> int:
        """An integer with a sign; 0 where it is absent."""
        place = self._place(field)
        return 0 if place is None else _SIGNED.unpack_from(self._buffer, place)[0]

    def unsigned(self, field: int) -> int:
        """An integer without a sign; 0 where it is absent."""
        return self.integer(field) & 0xFFFFFFFF

    def content(self, field: int) -> memoryview | None:
        """Bytes; None where they are absent."""
        target = self._target(field)
        if target is None:
            return None
        self._check(target, 4, f"field {field}")
        length = _WORD.unpack_from(self._buffer, target)[0]
        self._check(target + 4, length, f"field {field}")
        return self._buffer[target + 4 : target + 4 + length]

    def text(self, field: int) -> str:
        """A text; empty where it is absent."""
        content = self.content(field)
        try:
            return "" if content is None else str(content, "utf-8")
        except UnicodeDecodeError:
            raise self._damaged(f"field {field} is not UTF-8") from None

    def table(self, field: int, name: str) -> "Table | None":
        """A table; None where it is absent."""
        target = self._target(field)
        return None if target is None else Table(self._buffer, target, name)

    def _place(self, field: int) -> int | None:
        """Where in the buffer the four bytes of a field lie."""
        offset = self._offsets[field] if field < len(self._offsets) else 0
        if not offset:
            return None
        if offset < 4 or offset + 4 > self._inline:
            found = f"byte {offset} of {self._inline}"
            raise self._damaged(f"field {field} does not lie in the table", found=found)
        return self._position + offset

    def _target(self, field: int) -> int | None:
        """Where the content of a field begins."""
        place = self._place(field)
        return None if place is None else place + _WORD.unpack_from(self._buffer, place)[0]

    def _check(self, position: int, length: int, what: str) -> None:
        if position < 0 or position + length > len(self._buffer):
            expected = f"at most {len(self._buffer)} bytes"
            raise self._damaged(f"{what} does not lie in the file", expected, f"{length} at byte {position}")

    def _damaged(self, what: str, expected: object = None, found: object = None) -> ContainerError:
        return damaged(f"in {self._name}, {what}", expected, found)


def write(root: Mapping[int, Field]) -> bytearray:
    """A buffer with a root table; equal tables give equal bytes.
    ``root``: integers of 32 bits, with a sign or without; texts; bytes; tables."""
    out = bytearray(4)
    _WORD.pack_into(out, 0, _write_table(out, root))
    return out


def _write_table(out: bytearray, fields: Mapping[int, Field]) -> int:
    offsets = [0] * (max(fields, default=-1) + 1)
    for index, field in enumerate(sorted(fields)):
        offsets[field] = 4 + 4 * index
    size, inline = 4 + 2 * len(offsets), 4 + 4 * len(fields)
    _pad(out, 4, size)
    out += struct.pack(f"<{2 + len(offsets)}H", size, inline, *offsets)
    position = len(out)
    out += bytes(inline)
    _SIGNED.pack_into(out, position, size)
    for field in sorted(fields):
        value, place = fields[field], position + offsets[field]
        if isinstance(value, int):
            _WORD.pack_into(out, place, value & 0xFFFFFFFF)
        else:
            _WORD.pack_into(out, place, _write_content(out, value) - place)
    return position


def _write_content(out: bytearray, value: str | bytes | Mapping[int, Field]) -> int:
    if not isinstance(value, (str, bytes)):
        return _write_table(out, value)
    content = value.encode() if isinstance(value, str) else value
    _pad(out, _CONTENT_ALIGNMENT, 4)
    position = len(out)
    out += _WORD.pack(len(content)) + content
    if isinstance(value, str):
        out += b"\0"
    return position


def _pad(out: bytearray, alignment: int, ahead: int) -> None:
    """Zeros, so that what comes ``ahead`` bytes from here is aligned."""
    out += bytes(-(len(out) + ahead) % alignment)
