"""The arguments of the runtime's commands: where they may stand, and what is said about wrong ones."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tilewright.__main__ import main
from tilewright.errors import UsageError
from tilewright.runtime.artifact import manifest
from tilewright.runtime.commands import COMMANDS
from tilewright.runtime.commands.parser import ENGINES, CommandParser, parser_of, summary_of


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
    ("words", "file"),
    [
        ("a.twa --json found.json x.npy", "found.json"),
        ("--json a.twa x.npy", None),
        ("a.twa x.npy --json", None),
        ("--json -- a.twa x.npy", None),
    ],
)
def test_json_goes_into_the_file_that_is_named(words: str, file: str | None, parser: CommandParser) -> None:
    found = parser.parse(words.split())
    assert (found.artifact, found.inputs, found.json) == (Path("a.twa"), ["x.npy"], True)
    assert found.json_file == (file and Path(file))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "Missing argument 'FILE.twa'"),
        ("--random 1", "Missing argument 'FILE.twa'"),
        ("-a.twa -q", "Missing argument 'FILE.twa'. If '-a.twa' is meant, write ./-a.twa"),
        ("a.twa --fast", "No such option: --fast"),
        ("a.twa --randm 1", "No such option: --randm. Did you mean '--random'?"),
        ("a.twa -x.npy", "No such option: -x.npy"),
        ("a.twa --engine", "Option '--engine' requires an argument"),
        ("a.twa -o", "Option '--output' requires an argument"),
        (
            "a.twa -o -x.npz --random 1",
            "Option '--output' requires an argument. If '-x.npz' is meant, write --output=-x.npz",
        ),
        ("a.twa --output --random", "Option '--output' requires an argument"),
        ("a.twa --json=1", "Option '--json' does not take a value"),
        ("a.twa --random -1", "Invalid value for '--random': '-1' is not a whole number of at least 0"),
        ("a.twa --random x", "Invalid value for '--random': 'x' is not a whole number of at least 0"),
        ("a.twa --memory-limit 2X", "Invalid value for '--memory-limit': '2X' is no size such as 512M or 2G"),
        ("a.twa --memory-limit 0", "Invalid value for '--memory-limit': '0' is no size such as 512M or 2G"),
        ("a.twa --memory-limit -1", "Invalid value for '--memory-limit': '-1' is no size such as 512M or 2G"),
        ("a.twa --time-limit nan", "Invalid value for '--time-limit': 'nan' is not a number"),
        ("a.twa --time-limit inf", "Invalid value for '--time-limit': 'inf' is not a number above 0"),
        (
            "a.twa --engine sofware",
            "Invalid value for '--engine': 'sofware' is none of device, software, float. Did you mean 'software'?",
        ),
        ("a.twa --engine x", "Invalid value for '--engine': 'x' is none of device, software, float"),
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
    with pytest.raises(UsageError, match=r"^Got unexpected extra argument \(b\)\. See `tilewright simulate --help`\.$"):
        parser_of("simulate").parse(["a", "b"])


@pytest.mark.parametrize(("words", "missing"), [([], "FILE"), (["-o", "b.onnx"], "FILE")])
def test_what_is_missing_is_named(words: list[str], missing: str) -> None:
    with pytest.raises(UsageError, match=rf"^Missing argument '{missing}'\. See `tilewright export --help`\.$"):
        parser_of("export").parse(words)


def test_engines_are_those_of_artifacts() -> None:
    assert ENGINES == manifest.ENGINES


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command_has_one_form(command: str) -> None:
    text = parser_of(command).format_help()
    summary, _, rest = text.partition("\n\nExamples:\n")
    assert summary.startswith(f"Usage: tilewright {command} [OPTIONS]")
    assert summary.count("\nOptions:\n") == 1
    for flags in ("--json", "-q, --quiet", "-h, --help"):
        assert f"\n  {flags} " in summary
    examples = [line for line in rest.splitlines() if not line.startswith("    ")]
    assert examples
    assert all(line.startswith(f"  tilewright {command}") for line in examples)
    for example in rest.replace("\\\n", " ").splitlines():
        parser_of(command).parse(shlex.split(example)[2:])


@pytest.mark.parametrize("command", COMMANDS)
def test_help_tells_the_meaning_of_every_argument_and_its_default(command: str) -> None:
    shown = parser_of(command).format_help()
    for action in parser_of(command)._actions:
        assert action.help
        assert action.help.endswith((".", ")"))
        if action.nargs != 0 and action.default not in (None, (), [], ""):
            assert "Default: " not in action.help
            assert f"Default: {action.default}." in " ".join(shown.split())


def test_help_waits_for_nothing_but_the_standard_library() -> None:
    program = """
import contextlib, io, sys
from tilewright.__main__ import main
with contextlib.redirect_stdout(io.StringIO()):
    for words in (["--help"], *([name, "--help"] for name in sys.argv[1:])):
        assert main(words) == 0
assert not {"numpy", "onnx", "llvmlite", "argcomplete"} & sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", program, *COMMANDS], check=True, timeout=120)


def test_help_fits_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for columns, widest in (("60", 60), ("80", 80), ("300", 100)):
        monkeypatch.setenv("COLUMNS", columns)
        for command in ("compile", "quantize"):
            text = parser_of(command).format_help().partition("\nExamples:")[0]
            assert max(map(len, text.splitlines())) <= widest


def test_help_of_the_whole_fits_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    assert f"\n  power     {summary_of('power')}\n" in re.sub(r"\n {12}(?=\w)", " ", text)


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("tilewright si", ["sign", "simulate"]),
        ("tilewright run digits.twa --pro", ["--profile"]),
        ("tilewright inspect --he", ["--help"]),
        ("tilewright compile --calibration-", ["--calibration-limit", "--calibration-method"]),
        ("tilewright compile m.onnx --effort ", ["normal", "quick", "thorough"]),
    ],
)
def test_shells_complete_words(words: str, completed: list[str], tmp_path: Path) -> None:
    pytest.importorskip("argcomplete")
    environment = {
        **os.environ,
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_IFS": "\n",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(tmp_path / "found"),
        "COMP_LINE": words,
        "COMP_POINT": str(len(words)),
    }
    done = subprocess.run([sys.executable, "-m", "tilewright"], env=environment, capture_output=True, timeout=120)
    assert (done.stdout, done.stderr) == (b"", b"")
    assert sorted((tmp_path / "found").read_text().split()) == completed
