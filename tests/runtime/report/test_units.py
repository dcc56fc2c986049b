"""Numbers as people read them."""

from __future__ import annotations

from tilewright.runtime.report.units import show_bytes, show_count, show_number


def test_numbers_and_their_nouns() -> None:
    assert [show_number(n, "op") for n in (0, 1, 2, 1024)] == ["0 ops", "1 op", "2 ops", "1,024 ops"]


def test_units() -> None:
    assert [show_bytes(n) for n in (0, 512, 1536, 97 << 20, 3 << 30)] == [
        "0 B",
        "512 B",
        "1.5 KiB",
        "97.0 MiB",
        "3.0 GiB",
    ]
    assert [show_count(n) for n in (950, 1300, 300_800_000, 4_090_000_000)] == ["950", "1.3 k", "300.8 M", "4.09 G"]
