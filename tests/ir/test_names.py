"""Names that are handed out once."""

from __future__ import annotations

from tilewright.ir.text.names import Names


def test_the_first_free_number_makes_a_name_unique() -> None:
    names = Names(["a", "a.2", "b.1"])
    assert [names.take(name) for name in ("a", "a", "b", "b", "a.1", "c")] == ["a.1", "a.3", "b", "b.2", "a.1.1", "c"]
    assert Names(["a"], "_").take("a") == "a_1"
