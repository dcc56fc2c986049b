"""Affinity files: both forms, and where each mistake is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tilewright.compiler.affinity import affinity_of, parse_affinity, read_affinity
from tilewright.errors import InputError, ParseError, UsageError


def test_lines() -> None:
    text = '# head\n\nConv_0 = cpu\n  block/add:0=DEVICE # why\n"a = b" = cpu\n"quoted \\" name"=device\nx#y = cpu\n'
    assert parse_affinity(text) == (
        ("Conv_0", "cpu"),
        ("block/add:0", "device"),
        ("a = b", "cpu"),
        ('quoted " name', "device"),
        ("x#y", "cpu"),
    )
    assert parse_affinity("") == ()


def test_json() -> None:
    assert parse_affinity(' {"Conv_0": "cpu",\n "a = b": "Device"}') == (("Conv_0", "cpu"), ("a = b", "device"))
    assert parse_affinity("{}") == ()


MISTAKES = [
    ("Conv_0 cpu", 1, 1, "expected NAME = device or NAME = cpu"),
    ("a = cpu\n  b = gpu", 2, 7, "expected device or cpu for 'b', found 'gpu'"),
    ("a = ", 1, 4, "expected device or cpu for 'a', found ''"),
    ("a = cpu\n\na = cpu", 3, 1, "'a' is given twice"),
    ("= cpu", 1, 1, "expected a name before '='"),
    ('"a = cpu', 1, 1, "expected NAME = device or NAME = cpu"),
    ('"\\q" = cpu', 1, 1, "malformed name"),
    ('{"a": "cpu"', 1, 12, "not JSON: Expecting ',' delimiter"),
    ('{"a": "cpu",\n "b": "gpu"}', 2, 2, "expected device or cpu for 'b', found \"gpu\""),
    ('{"cpu": "device",\n  "device": 3}', 2, 3, "expected device or cpu for 'device', found 3"),
    ('{"a": 3}', 1, 2, "expected device or cpu for 'a', found 3"),
    ('{"a": "cpu",\n  "a": "cpu"}', 2, 3, "'a' is given twice"),
    (f'{{"a": {"9" * 5000}}}', 1, 1, "not JSON: Exceeds the limit"),
    ('{"a": {"b": "cpu"}}', 1, 2, "expected device or cpu for 'a', found a list or an object"),
    ('{"a": [' + "[" * 500 + "]" * 501 + "}", 1, 2, "expected device or cpu for 'a', found a list or an object"),
    ('{"a": ' + "[" * 100_000, 1, 1, "not JSON: nested too deeply"),
    # These took time that was quadratic in their length.
    ("a" + " " * 50_000 + "b", 1, 1, "expected NAME = device or NAME = cpu"),
    ('"a"' + " " * 50_000 + "b", 1, 1, "expected NAME = device or NAME = cpu"),
    ('{"' + "a" * 500_000 + '": 1}', 1, 1, "expected device or cpu for 'aaa"),
]


@pytest.mark.parametrize(("text", "line", "column", "message"), MISTAKES)
def test_mistakes(text: str, line: int, column: int, message: str) -> None:
    with pytest.raises(ParseError) as caught:
        parse_affinity(text)
    assert (caught.value.line, caught.value.column) == (line, column)
    assert caught.value.message.startswith(message)
    assert caught.value.text == text.splitlines()[line - 1]


def test_files(tmp_path: Path) -> None:
    file = tmp_path / "affinity.txt"
    file.write_text("Conv_0 = cpu\n")
    assert read_affinity(file) == (("Conv_0", "cpu"),)
    file.write_bytes("Conv\u2028 = cpu\r\nb\x0bc = device\r".encode())
    assert read_affinity(file) == (("Conv", "cpu"), ("b\x0bc", "device"))
    file.write_text("Conv_0 = gpu\n")
    with pytest.raises(ParseError) as caught:
        read_affinity(file)
    assert str(caught.value) == (
        f"line 1, column 10: affinity file '{file}': expected device or cpu for 'Conv_0', found 'gpu'\n"
        "Conv_0 = gpu\n         ^"
    )
    with pytest.raises(InputError, match=r"cannot read .*missing': No such file"):
        read_affinity(tmp_path / "missing")
    file.write_bytes(b" " * (2**22 + 1))
    with pytest.raises(InputError, match=r"the affinity file '.*' is too large; expected at most 4194304 bytes of"):
        read_affinity(file)
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot read the affinity file"):
        read_affinity(file)


def test_mappings() -> None:
    assert affinity_of({"a": "CPU", "b": "device"}) == (("a", "cpu"), ("b", "device"))
    with pytest.raises(UsageError) as caught:
        affinity_of({"a": "gpu"})
    assert str(caught.value) == "unknown place for 'a'; expected device or cpu, found gpu"
