"""Enumerations that show themselves as ``Class.MEMBER``."""

from __future__ import annotations

from enum import IntEnum


class NamedIntEnum(IntEnum):
    """An integer that `str`, `repr` and empty formats show as ``Class.MEMBER``, whatever version of Python shows it."""

    def __str__(self) -> str:
        return f"{type(self).__name__}.{self.name}"

    def __repr__(self) -> str:
        return str(self)

    def __format__(self, spec: str) -> str:
        return format(int(self), spec) if spec else str(self)
