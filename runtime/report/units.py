"""Numbers as people read them."""

from __future__ import annotations

import math
import re

from .table import Column


def show_bytes(count: int) -> str:
    """Bytes with a binary unit: ``512 B``, ``1.5 KiB``, ``97.5 MiB``."""
    value = float(count)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"


def show_count(count: int) -> str:
    """A count with a decimal unit: ``950``, ``1.3 k``, ``300.8 M``, ``4.09 G``."""
    for factor, unit, digits in ((1e9, "G", 2), (1e6, "M", 1), (1e3, "k", 1)):
        if count >= factor:
            return f"{count / factor:.{digits}f} {unit}"
    return str(count)


def significant(value: float, digits: int = 3) -> str:
    """A number with so many digits that mean something, or all before the point: ``0.0200``, ``12.3``, ``2275``."""
    decimals = digits - 1 - math.floor(math.log10(abs(value))) if value else 0
    return f"{value:.{min(max(decimals, 0), 12)}f}"


def show_seconds(seconds: float) -> str:
    """A time with its unit: ``20.0 µs``, ``1.23 ms``, ``2.50 s``."""
    for factor, unit in ((1.0, "s"), (1e3, "ms")):
        if seconds * factor >= 1:
            return f"{significant(seconds * factor)} {unit}"
    return f"{significant(seconds * 1e6)} µs"


def show_kernel(place: str) -> str:
    """The name of a kernel without the digest that tells it from others of its kind."""
    return re.sub(r"_[0-9a-f]{16}$", "", place)


def show_number(count: int, noun: str) -> str:
    """A number of things: ``1 op``, ``2 ops``, ``1,024 ops``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def show_clusters(clusters: int, cards: int) -> str:
    """What computes: ``one cluster``, ``4 clusters``, ``4 clusters of each of 2 cards``."""
    found = "one cluster" if clusters == 1 else f"{clusters} clusters"
    return f"{found} of each of {cards} cards" if cards > 1 else found


MACS = Column("macs", "MACs", show=lambda n: show_count(n) if n else "", right=True)
"""The column of tables for multiply-accumulates; blank where there are none."""
