"""Numbers as people read them."""

from __future__ import annotations

from tilewright.runtime.report.table import show_bytes, show_count, show_kernel, show_number, show_seconds, significant


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


def test_figures_have_the_digits_that_mean_something() -> None:
    assert [significant(n) for n in (0, 0.00123456, 0.02, 1.0, 12.345, 2275.4, 49975.5, -0.5)] == [
        *("0", "0.00123", "0.0200", "1.00", "12.3", "2275", "49976", "-0.500")
    ]
    assert [show_seconds(n) for n in (0.0, 2.0009e-5, 1.2345e-3, 0.12, 2.5, 1e-9)] == [
        *("0 µs", "20.0 µs", "1.23 ms", "120 ms", "2.50 s", "0.00100 µs")
    ]


def test_kernels_are_shown_without_their_digest() -> None:
    assert show_kernel("CPU kernel convolution_9bc4f26e20a18c7d") == "CPU kernel convolution"
    assert show_kernel("device") == "device"
