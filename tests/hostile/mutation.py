"""Small damages: to numbers, bytes, JSON and text, each chosen at random."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")

SMALL = (-3, -2, -1, 0, 1, 2, 3, 4, 5, 7, 8, 16, 17, 64)
LARGE = tuple(
    sign * (2**power + offset)
    for power in (15, 16, 20, 31, 32, 33, 40, 48, 53, 61, 62, 63, 64)
    for offset in (-3, -2, -1, 0, 1, 2, 3)
    for sign in (1, -1)
)
FLOATS = (0.0, -0.0, 1.0, -1.0, 0.5, 1e-45, 1e-30, 1e30, 3.5e38, 1e300, float("inf"), float("-inf"), float("nan"))


def pick(rng: np.random.Generator, things: Sequence[T]) -> T:
    """One of them."""
    return things[int(rng.integers(len(things)))]


def pick_integer(rng: np.random.Generator, near: int = 0) -> int:
    """A small number, a number beside a power of two that matters, or one near another."""
    kind = rng.integers(10)
    if kind < 4:
        return pick(rng, SMALL)
    if kind < 7:
        return pick(rng, LARGE)
    return near + pick(rng, (-64, -8, -2, -1, 1, 2, 8, 64)) if kind < 9 else near * pick(rng, (-1, 2, 3, 2**16, 2**32))


def damage_bytes(rng: np.random.Generator, content: bytes, places: int = 3) -> bytes:
    """Some bytes changed, a piece cut out, doubled or filled."""
    damaged = bytearray(content)
    if not damaged:
        return bytes(rng.integers(0, 256, 5, np.uint8))
    kind = rng.integers(8)
    start = int(rng.integers(len(damaged)))
    length = int(rng.integers(1, 33))
    if kind == 0:
        del damaged[start : start + length]
    elif kind == 1:
        damaged[start:start] = damaged[start : start + length]
    elif kind == 2:
        del damaged[start:]
    elif kind == 3:
        damaged[start : start + length] = bytes([int(pick(rng, (0, 255, 127, 128)))]) * len(
            damaged[start : start + length]
        )
    else:
        for _ in range(int(rng.integers(1, places + 1))):
            damaged[int(rng.integers(len(damaged)))] = int(rng.integers(256))
    return bytes(damaged)


Path = tuple[Any, ...]


def paths(tree: object, at: Path = ()) -> list[Path]:
    """Where the parts of a JSON value are, the whole first."""
    found = [at]
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, part in items:
        found += paths(part, (*at, key))
    return found


def part_at(tree: Any, at: Path) -> Any:
    for key in at:
        tree = tree[key]
    return tree


def damage_json(rng: np.random.Generator, tree: Any, changes: int = 1) -> Any:
    """A JSON value with some of its parts changed: other numbers, other texts, parts missing, doubled or exchanged."""
    tree = copy.deepcopy(tree)
    for _ in range(changes):
        everywhere = paths(tree)[1:]
        if not everywhere:
            return tree
        at = pick(rng, everywhere)
        home, key = part_at(tree, at[:-1]), at[-1]
        kind = rng.integers(12)
        if kind == 0:
            del home[key]
        elif kind == 1 and isinstance(home, list):
            home.insert(key, copy.deepcopy(home[key]))
        elif kind == 1:
            home[pick(rng, ("", "\ud800", "kind", "a", str(key) + "2"))] = copy.deepcopy(home[key])
        elif kind == 2:
            home[key] = copy.deepcopy(part_at(tree, pick(rng, everywhere)))
        else:
            home[key] = _other(rng, home[key])
    return tree


def _other(rng: np.random.Generator, part: Any) -> Any:
    if rng.integers(12) == 0:
        return pick(rng, (None, True, "", "x", -1, 0.5, [], {}, [[[]]], "\ud800", "é\x00", 10**30, 1e400))
    if isinstance(part, bool):
        return not part
    if isinstance(part, int):
        return pick_integer(rng, part)
    if isinstance(part, float):
        return pick(rng, FLOATS)
    if isinstance(part, str):
        kind = rng.integers(3)
        if kind == 0 or not part:
            return pick(rng, ("", "main", "input", "output", "float", "device", "i8", "f64", "%", "../x", "a" * 300))
        if kind == 1:
            return damage_text(rng, part)
        return damage_bytes(rng, part.encode(errors="replace")).decode(errors="replace")
    if isinstance(part, list):
        kind = rng.integers(3)
        if kind == 0 and part:
            return part[:-1]
        return [*part, *copy.deepcopy(part[-1:])] if kind == 1 else list(reversed(part))
    return part


def damage_text(rng: np.random.Generator, text: str) -> str:
    """A text whose numbers, letters or order are a little different."""
    at = int(rng.integers(len(text)))
    other = pick(rng, ("0", "1", "9", "-", "a", " ", "[", "]", '"', "\n", "\\"))
    return pick(rng, (text[:at] + other + text[at + 1 :], text[:at] + other + text[at:], text[:at] + text[at + 1 :]))
