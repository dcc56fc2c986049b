"""What the parser says about text that is no module; that good text reads back is a property of every test."""

from __future__ import annotations

import json
import re
import tracemalloc

import numpy as np
import pytest

from tilewright.errors import ParseError
from tilewright.ir.text.literals import digest_of
from tilewright.ir.text.parser import parse_module
from tilewright.ir.text.printer import print_module

MODULE = """module @m {{
  const @c : f32[2] = [0x1.0p+0, 0x1.8p+1]
  const @i : i8[1] = [1]
  const @s : i8[] = [1]
  const @t : i8[1,1,1] = [1]
  func @main(%x: f32[2]) -> (%y: f32[2]) {{
    {op}
    return %y
  }}
}}"""


@pytest.mark.parametrize(
    ("text", "message", "line", "column"),
    [
        ("", "expected 'module', found 'end of text'", 1, 1),
        ("module m {", "expected the name of the module, found 'm'", 1, 8),
        ("module @m {", "expected 'const', 'func' or '}', found 'end of text'", 1, 12),
        ("module @m {} {", "expected the end of the text, found '{'", 1, 14),
        ("module @m {\n  ?\n}", "unexpected character '?'", 2, 3),
        ('module @"\\q" {}', "malformed name", 1, 8),
        ('module @m { meta a = "\\q" }', "malformed string", 1, 22),
        ("module @m { meta a = b }", "expected a string, found 'b'", 1, 22),
        ("module @m {\n  const @c : f8[1] = [0]\n}", "unknown element type 'f8'", 2, 14),
        ("module @m {\n  const @c : f32[1 = [0]\n}", "expected ',', found '='", 2, 20),
        ("module @m {\n  const @c : f32[1.5] = [0]\n}", "unexpected character '.'", 2, 19),
        ("module @m {\n  const @c : f32[2] = [0x1.0p+0]\n}", "expected 2 elements, found 1", 2, 23),
        ("module @m {\n  const @c : f32[1] = 1\n}", "expected a list of elements", 2, 23),
        ("module @m {\n  const @c : i8[1] = [a]\n}", "these are not elements of type i8", 2, 22),
        ("module @m {\n  const @c : i8[1] = [(]\n}", "expected a value, found '('", 2, 23),
        ('module @m {\n  const @c : i8[1] = blob "sha256:0"\n}', "no blob 'sha256:0' was given with the text", 2, 27),
        ("module @m {\n  const @c : i8[1]<s=1, z=0> = [1]\n}", "scales are floats and zero points are integers", 2, 20),
        ("module @m {\n  const @c : i8[1]<s=0x0.0p+0, z=0> = [1]\n}", "scale must be positive and finite", 2, 14),
        ("module @m {\n  const @c : i8[0] = []\n  const @c : i8[0] = []\n}", "constant @c is defined twice", 3, 9),
        (
            "module @m {\n  const @c : i8[1]<s=0x1.0p-200, z=0> = [1]\n}",
            "positive and finite in single precision",
            2,
            14,
        ),
        ("module @m {\n  const @c : i8[1]<s=0x1.0p+0, z=128> = [1]\n}", "a zero point does not fit", 2, 14),
        ("module @m {\n  const @c : i8[1] = [128]\n}", "these are not elements of type i8", 2, 22),
        ("module @m {\n  const @c : i8[1] = [0x1.0p+0]\n}", "these are not elements of type i8", 2, 22),
        ("module @m {\n  const @c : i8[1] = [nan]\n}", "these are not elements of type i8", 2, 22),
        ("module @m {\n  const @c : f16[1] = [0x1.0p+16]\n}", "these are not elements of type f16", 2, 23),
        ("module @m {\n  const @c : bool[1] = [1]\n}", "these are not elements of type bool", 2, 24),
        ("module @m {\n  const @c : f32[2] = [[0x1.0p+0], []]\n}", "these are not elements of type f32", 2, 23),
        ("module @m {\n  const @c : f64[1] = [0x1.0p+99999]\n}", "the float does not fit 64 bits", 2, 24),
        (f"module @m {{\n  const @c : i8[1] = [{'9' * 5000}]\n}}", "the integer does not fit 64 bits", 2, 23),
        (f"module @m {{\n  const @c : i64[1] = [{-(2**63) - 1}]\n}}", "the integer does not fit 64 bits", 2, 24),
        ("module @m {\n  const @c : i8[2] = [1 2]\n}", "expected ',', found '2'", 2, 25),
        ("module @m {\n  const @c : i8[2] = [1, -]\n}", "unexpected character '-'", 2, 26),
        ("module @m {\n  const @c : i8[2] = [1,]\n}", "expected a value, found ']'", 2, 25),
        (f"module @m {{\n  const @c : i8[{2**64}] = [1]\n}}", "the integer does not fit 64 bits", 2, 17),
        (f"module @m {{\n  const @c : i8[1] = {'[' * 900}", "nested too deeply, expected at most 16 lists", 2, 38),
        (
            "module @m {\n  const @c : i8[65536,65536,0] = []\n}",
            "a tensor is too large; expected at most 2147483647",
            2,
            14,
        ),
        (f"module @m {{\n  const @c : i8[{'1,' * 16}1] = [1]\n}}", "too many dimensions; expected at most 16", 2, 14),
        ('module @m { meta a = "\\ud800" }', "malformed string", 1, 22),
        ("module @m {\n  func @f() -> () { return }\n  func @f() -> () { return }\n}", "of this name exists", 3, 8),
        ("module @m {\n  func @f(%x: i8[1], %x: i8[1]) -> () { return }\n}", "value %x is defined twice", 2, 22),
        ("module @m {\n  func @f() -> () { return _ }\n}", "a function cannot return nothing", 2, 28),
        ("module @m {\n  func @f(%x: i8[1]) -> (%y: i8[2]) { return %x }\n}", "do not have the types", 2, 46),
    ],
)
def test_malformed_text(text: str, message: str, line: int, column: int) -> None:
    with pytest.raises(ParseError, match=re.escape(message)) as caught:
        parse_module(text)
    assert (caught.value.line, caught.value.column) == (line, column)
    shown = text.splitlines()[line - 1][:2000] if text else ""
    assert str(caught.value).endswith(f"\n{shown}\n{' ' * (column - 1)}^")


@pytest.mark.parametrize(
    ("text", "elements"),
    [
        ("[1, -2,3 ]", [1, -2, 3]),
        ("[-0, 007, // three\n 3]", [0, 7, 3]),
        (f"[{-(2**63)}, {10**18 - 1}, {2**63 - 1}]", [-(2**63), 10**18 - 1, 2**63 - 1]),
    ],
)
def test_lists_of_integers_are_read_however_they_are_written(text: str, elements: list[int]) -> None:
    module = parse_module(f"module @m {{ const @c : i64[3] = {text} func @main() -> (%y: i64[3]) {{ return @c }} }}")
    assert module.constants["c"].array.tolist() == elements


@pytest.mark.parametrize("piece", ["a", "\\\\", "{", "// a\n", " "])
def test_a_text_takes_little_more_memory_than_itself(piece: str) -> None:
    """Neither for the tokens that it would have, nor for matching a long one."""
    text = f'module @m {{ meta a = "{piece * 300_000}' if piece in ("a", "\\\\") else piece * 300_000
    tracemalloc.start()
    try:
        with pytest.raises(ParseError):
            parse_module(text)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_texts_in_quotes_may_be_long_and_hold_escapes() -> None:
    for long in ("a" * 10**6, '"\\' * 8_000):
        assert json.dumps(long) in print_module(parse_module(f"module @m {{ meta a = {json.dumps(long)} }}"))


def test_attributes_that_texts_of_earlier_versions_lack_mean_what_they_meant() -> None:
    text = """module @m {
      func @main(%x: f32[2], %one: f32[2]) -> (%y: f32[2]) {
        %y = skip_layer_norm(%x, %one, %one, %one) {axis=0, epsilon=0x1.0p-10, centred=true, groups=0} : f32[2]
        return %y
      }
    }"""
    assert "groups=0, by_pixel=false}" in print_module(parse_module(text))


@pytest.mark.parametrize(
    ("op", "message", "column"),
    [
        ("y = relu(%x) : f32[2]", "expected a result, or 'return', found 'y'", 5),
        ("%y = 3(%x) : f32[2]", "expected the name of an operator, found '3'", 10),
        ("%y = rely(%x) : f32[2]", "unknown operator 'rely'. Did you mean 'relu'?", 10),
        ("%y = relu(%x %x) : f32[2]", "expected ',', found '%x'", 18),
        ("%y = relu(%z) : f32[2]", "value %z is not defined before its use", 15),
        ("%y = relu(@z) : f32[2]", "constant @z is not defined", 15),
        ("%y = relu(3) : f32[2]", "expected an operand, found '3'", 15),
        ("%y = relu(_) : f32[2]", "relu: operand 'x' is missing", 10),
        ("%x = relu(%x) : f32[2]", "value %x is defined twice", 5),
        ("%y, %z = relu(%x) : f32[2]", "2 results have 1 types", 14),
        ("%y = softmax(%x) : f32[2]", "softmax lacks attribute 'axis'", 10),
        ("%y = softmax(%x) {axes=0} : f32[2]", "softmax has no attribute 'axes' (it has: axis)", 23),
        ("%y = softmax(%x) {axis=0, axis=0} : f32[2]", "attribute 'axis' is given twice", 31),
        ("%y = softmax(%x) {axis=a} : f32[2]", "axis: attribute of the wrong type; expected int, found 'a'", 28),
        ("%y = softmax(%x) {=0} : f32[2]", "expected the name of an attribute, found '='", 23),
        ("%y = relu(%x) [=0] : f32[2]", "expected the name of an annotation, found '='", 20),
        ("%y = relu(%x) : f32[2] loc(a)", "expected a string, found 'a'", 32),
        ("%y = relu(%x)", "expected ':', found 'return'", 5),
        (
            "%y = softmax(%x) {axis=9223372036854775808} : f32[2]",
            "softmax: attribute 'axis' is too large; expected at most 9223372036854775807",
            10,
        ),
        (
            "%y = clip(@i) {min=nan, max=inf} : i8[1]",
            "clip: activation clip of integers takes numbers; found nan",
            10,
        ),
        ("%y = conv_integer(@i, @i) {strides=[], pads=[], dilations=[], group=1} : i32[1]", "equal ranks of", 10),
        ("%y = conv_integer(@t, @s) {strides=[1], pads=[0, 0], dilations=[1], group=1} : i32[1]", "equal ranks of", 10),
    ],
)
def test_malformed_op(op: str, message: str, column: int) -> None:
    with pytest.raises(ParseError, match=re.escape(message)) as caught:
        parse_module(MODULE.format(op=op))
    assert caught.value.column == column


def test_everything_an_op_can_carry_is_read() -> None:
    op = '%y = max(%x, @c) [on=cpu, at=[0, none], "why"] : f32[2]'
    with pytest.raises(ParseError, match="expected the name of an annotation"):
        parse_module(MODULE.format(op=op))
    op = '%y = max(%x, @c) [on=cpu, at=[0, none, -0x1.8p+1, true], why="a b"] : f32[2] loc("n 1", "n2") // comment'
    (read,) = parse_module(MODULE.format(op=op)).main.ops
    assert read.annotations == {"on": "cpu", "at": (0, None, -3.0, True), "why": "a b"}
    assert read.loc == ("n 1", "n2")
    assert read.inputs[1].name == "c"


def test_blobs_are_found_by_their_digest() -> None:
    array = np.arange(4, dtype=np.int8)
    digest = digest_of(array)
    assert digest_of(array.astype(">i2")) == digest_of(array.astype("<i2")) != digest
    module = parse_module(f'module @m {{ const @c : i8[2,2] = blob "sha256:{digest}" }}', {digest: array})
    assert module.constants["c"].array.tolist() == [[0, 1], [2, 3]]


def test_truth_values_of_blobs_are_0_and_1() -> None:
    array = np.array([0, 1, 2], np.uint8)
    text = f'module @m {{ const @c : bool[3] = blob "sha256:{digest_of(array)}" }}'
    with pytest.raises(ParseError, match="truth values are the bytes 0 and 1"):
        parse_module(text, {digest_of(array): array})


@pytest.mark.parametrize("number", [np.nan, np.inf, 2.0**70])
def test_zero_points_of_blobs_are_integers(number: float) -> None:
    array = np.array([1.0, number])
    text = f'module @m {{ const @c : i8[1]<axis=0, blob "sha256:{digest_of(array)}"> = [1] }}'
    with pytest.raises(ParseError, match="zero points are integers"):
        parse_module(text, {digest_of(array): array})
