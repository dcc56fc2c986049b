"""The arguments of the runtime's commands: where they may stand, and what is said about wrong ones."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from tilewright.errors import UsageError
from tilewright.runtime.commands.parser import CommandParser, parser_of


@pytest.fixture
def parser() -> CommandParser:
    """That of `tilewright run`."""
    return parser_of("run")


@pytest.mark.parametrize(
    "words",
    [
        "a.twa x.npy y.npy --engine float -o out.npz --json",
        "--engine float --json a.twa -o out.npz x.npy y.npy",
        "a.twa --engine=float x.npy --json y.npy --output out.npz",
        "a.twa --json -oout.npz --engine float x.npy -- y.npy",
    ],
)
def test_options_stand_anywhere(words: str, parser: CommandParser) -> None:
    found = parser.parse(words.split())
    assert (found.artifact, found.inputs) == (Path("a.twa"), ["x.npy", "y.npy"])
    assert (found.engine, found.output, found.json, found.profile) == ("float", Path("out.npz"), True, False)


def test_after_two_dashes_come_files(parser: CommandParser) -> None:
    found = parser.parse(["--json", "--", "-a.twa", "x.npy", "--json", "in=-y.npy"])
    assert (found.artifact, found.inputs) == (Path("-a.twa"), ["x.npy", "./--json", "in=-y.npy"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "Missing argument 'FILE.twa'"),
        ("--random 1", "Missing argument 'FILE.twa'"),
        ("a.twa --fast", "No such option: --fast"),
        ("a.twa --rand 1", "No such option: --rand. Did you mean '--random'?"),
        ("a.twa -x.npy", "No such option: -x.npy"),
        ("a.twa --engine", "Option '--engine' requires an argument"),
        ("a.twa -o", "Option '--output' requires an argument"),
        ("a.twa --json=1", "Option '--json' does not take a value"),
        ("a.twa --random -1", "Invalid value for '--random': '-1' is not a whole number of at least 0"),
        ("a.twa --random x", "Invalid value for '--random': 'x' is not a whole number of at least 0"),
        ("a.twa --memory-limit 2X", "Invalid value for '--memory-limit': '2X' is no size such as 512M or 2G"),
        ("a.twa --memory-limit 0", "Invalid value for '--memory-limit': '0' is no size such as 512M or 2G"),
        ("a.twa --memory-limit -1", "Invalid value for '--memory-limit': '-1' is no size such as 512M or 2G"),
        ("a.twa --time-limit nan", "Invalid value for '--time-limit': 'nan' is not a number above 0"),
        ("a.twa --time-limit 0", "Invalid value for '--time-limit': '0' is not a number above 0"),
    ],
)
def test_wrong_words(words: str, message: str, parser: CommandParser) -> None:
    with pytest.raises(UsageError) as caught:
        parser.parse(words.split())
    stop = "" if message.endswith("?") else "."
    assert str(caught.value) == f"{message}{stop} See `tilewright run --help`."


@pytest.mark.parametrize(
    ("text", "size"), [("1", 1), ("512", 512), ("1K", 1024), ("512M", 2**29), ("2G", 2**31), ("1T", 2**40)]
)
def test_sizes(text: str, size: int, parser: CommandParser) -> None:
    assert parser.parse(["a.twa", "--memory-limit", text]).memory_limit == size


def test_too_many_words() -> None:
    parser = CommandParser(prog="tilewright simulate", exit_on_error=False, add_help=False)
    parser.add_argument("artifact", metavar="FILE.twa")
    parser.add_argument("--json", action=argparse.BooleanOptionalAction)
    with pytest.raises(UsageError, match=r"^Got unexpected extra argument \(b\)\. See `tilewright simulate --help`\.$"):
        parser.parse(["a", "b"])
