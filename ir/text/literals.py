"""What the textual form is made of: words, numbers, names, and hashes that stand for arrays."""

import enum
import hashlib
import json
import math
import re
from typing import Union

import numpy as np

Literal = Union[int, float, bool, str, None, tuple["Literal", ...]]
"""What an annotation may hold: it prints and parses without a declaration."""

WORDS: dict[str, Literal] = {"true": True, "false": False, "none": None, "nan": float("nan"), "inf": float("inf")}
"""Words that stand for a value; a string that reads like one of them is written in quotes."""

INLINE_ELEMENTS = 16
"""Constants and scale lists up to this length are written out."""

_BARE = re.compile(r"[A-Za-z0-9_.$/-]+\Z")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def digest_of(array: np.ndarray) -> str:
    """SHA-256, in hexadecimal, over the little-endian elements."""
    little = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False))
    return hashlib.sha256(little.tobytes()).hexdigest()


def print_float(value: float) -> str:
    """A float in the shortest hexadecimal form, which reads back to the same bits."""
    if math.isnan(value):
        return "nan"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    mantissa, _, exponent = value.hex().partition("p")
    head, _, digits = mantissa.partition(".")
    return f"{head}.{digits.rstrip('0') or '0'}p{exponent}"


def print_literal(value: Literal | enum.Enum) -> str:
    if isinstance(value, enum.Enum):
        return value.value
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, np.integer)):
        return str(int(value))
    if isinstance(value, (float, np.floating)):
        return print_float(float(value))
    if isinstance(value, tuple):
        return f"[{', '.join(map(print_literal, value))}]"
    if _WORD.match(value) and value not in {*WORDS, "blob"}:
        return value
    return json.dumps(value, ensure_ascii=False)


def print_name(sigil: str, name: str) -> str:
    return sigil + (name if _BARE.match(name) else json.dumps(name, ensure_ascii=False))
