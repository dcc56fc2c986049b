"""The arguments of a command: read by argparse, with errors in our form and the same look of help everywhere."""

from __future__ import annotations

import argparse
import importlib
import math
import re
from collections.abc import Callable, Iterable, Sequence
from itertools import dropwhile
from pathlib import Path
from shutil import get_terminal_size
from types import ModuleType
from typing import NoReturn

from tilewright.errors import FailedCheckError, UsageError, similar

from . import COMMANDS
from .console import enveloped, show

ENGINES = ("device", "software", "float")
"""What artifacts may hold, as the manifest lists them."""

WIDEST = 100
"""Columns of help, however wide the terminal is: longer lines are hard to read."""


def module_of(command: str) -> ModuleType:
    """The module of a command."""
    return importlib.import_module(f"...{COMMANDS[command]}.commands.{command}", __package__)


def _question(word: str, known: Iterable[str]) -> str:
    question = similar(word, known, 2)
    return f". {question}" if question else ""


def summary_of(command: str) -> str:
    """What a command does, in one line."""
    return (module_of(command).__doc__ or "").partition("\n")[0]


def add_artifact(parser: argparse.ArgumentParser, kind: str = "") -> None:
    """Declare the argument ``artifact``, for a command that takes one."""
    made = f"An artifact made by `tilewright compile`{kind}."
    parser.add_argument("artifact", type=Path, metavar="FILE.twa", help=made)


def add_engine(
    parser: argparse._ActionsContainer, default: str = "software if the artifact holds it, else what it holds."
) -> None:
    """Declare the option ``--engine``, which has this default."""
    words = f"device, software or float. Default: {default}"
    parser.add_argument("--engine", choices=ENGINES, metavar="ENGINE", help=words)


def add_force(parser: argparse._ActionsContainer) -> None:
    """Declare the option ``--force-preprocess``, for a command that prepares images."""
    help = "Prepare images as asked for even if the network was calibrated with, or compiled for, another way."
    parser.add_argument("--force-preprocess", action="store_true", help=help)


def add_time_limit(parser: argparse._ActionsContainer, exception: str = "") -> None:
    """Declare the option ``--time-limit`` of what generates an artifact's kernels."""
    words = "The most processor time that generating kernels again may take. Default: 7, and 1 more for each 50 KB of"
    parser.add_argument("--time-limit", type=seconds, metavar="SECONDS", help=f"{words} the artifact{exception}.")


def add_output(parser: argparse.ArgumentParser, metavar: str, help: str, *, required: bool = False) -> None:
    """Declare the option ``--output``, for a command that writes a file, or files into a ``FOLDER``."""
    read = output_folder if metavar == "FOLDER" else output_path
    parser.add_argument("-o", "--output", type=read, metavar=metavar, required=required, help=help)


def output_path(text: str) -> Path:
    """The path of a file to write. Raises UsageError: it is empty, or that of a folder."""
    if text.endswith("/"):
        raise UsageError("the output is a file, and this names a folder", found=text, hint="Name a file in it.")
    return output_folder(text)


def output_folder(text: str) -> Path:
    """The path of a folder to write to; an empty one would mean the current folder, and
    - is stdout elsewhere. Raises UsageError: it is one of them."""
    if not text:
        raise UsageError("the name of the output is empty", hint="Give the output a name, or leave it out.")
    if text == "-":
        hint = "/dev/stdout writes to stdout, ./- to a file of this name."
        raise UsageError("the name of the output is that of no file", found=text, hint=hint)
    return Path(text)


def whole_number(minimum: int | None = None, maximum: int | None = None) -> Callable[[str], int]:
    """What reads a whole number, of at least ``minimum`` and at most ``maximum``."""

    def read(text: str) -> int:
        digits = text.removeprefix("-") if minimum is None else text
        number = int(text) if digits.isascii() and digits.isdigit() and len(digits) < 1000 else None
        if number is None or (minimum is not None and number < minimum):
            least = "" if minimum is None else f" of at least {minimum}"
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number{least}")
        if maximum is not None and number > maximum:
            raise argparse.ArgumentTypeError(f"{text!r} is more than {maximum}")
        return number

    return read


def number(text: str) -> float:
    """A number, which may be infinite."""
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if math.isnan(found):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number")
    return found


def seconds(text: str) -> float:
    """A time limit."""
    found = number(text)
    if not 0 < found < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return found


def execute(command: str, words: Sequence[str]) -> str:
    """Execute a command: what it prints.
    Raises UsageError: the words are not arguments of it; TilewrightError: as the command says."""
    parser = parser_of(command)
    if {"-h", "--help"} & {*words[: [*words, "--"].index("--")]}:
        return parser.format_help()
    arguments = parser.parse(words)
    try:
        return _delivered(arguments, command, module_of(command).run(arguments))
    except FailedCheckError as error:
        show(_delivered(arguments, command, error.result, error))
        raise


def _delivered(
    arguments: argparse.Namespace, command: str, result: object, error: FailedCheckError | None = None
) -> str:
    """What to print of a result: of texts themselves; nothing if ``--json`` named a file, which then holds it."""
    text = result if isinstance(result, str) else enveloped(command, result, error)
    if arguments.json_file is None:
        return text
    from ..files.output_file import write_file

    write_file(arguments.json_file, text.encode())
    return ""


def parser_of(command: str) -> CommandParser:
    """The parser of a command's arguments."""
    return _declared(CommandParser(prog=f"tilewright {command}"), command)


def options_of(command: str) -> list[argparse.Action]:
    """The options of a command, for documents that list them."""
    return [each for each in parser_of(command)._actions if each.option_strings]


def meaning(action: argparse.Action) -> str:
    """What help says of an argument: what it is for, and what it is without."""
    text = action.help or ""
    if isinstance(action, argparse._AppendAction):
        text += " Repeatable."
    has_default = action.nargs != 0 and action.default not in (None, (), [], "")
    return f"{text} Default: {action.default}." if has_default else text


def complete() -> None:
    """Print what completes the words that a shell has, if argcomplete is installed, and end the process."""
    import argcomplete  # pyright: ignore[reportMissingImports]

    parser = CommandParser(prog="tilewright")
    parser.add_argument("--version", action="store_true")
    commands = parser.add_subparsers()
    for name in COMMANDS:
        _declared(commands.add_parser(name), name)
    argcomplete.autocomplete(parser)


_JSON = "Print one JSON object instead of text, errors too. A name behind it that ends in .json: write it to that file."


def _declared(parser: CommandParser, command: str) -> CommandParser:
    module = module_of(command)
    described, _, examples = (module.__doc__ or "").partition("\nExamples:")
    parser.description, parser.epilog = described, f"Examples:{examples}"
    module.add_arguments(parser)
    parser.add_argument("--json", action="store_true", help=_JSON)
    parser.add_argument("-q", "--quiet", action="store_true", help="No progress, notes and warnings on stderr.")
    parser.add_argument("-h", "--help", action="store_true", help="Show this message and exit.")
    return parser


class _Format(argparse.RawDescriptionHelpFormatter):
    """Usage in one line, because options are listed below it, with their defaults."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28, width=min(get_terminal_size().columns, WIDEST) - 2)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        # Examples, which are indented, stay as they are to be copied.
        lines = text.splitlines()
        return "\n".join(line if line.startswith(" ") else self._wrapped(line, width) for line in lines)

    def _wrapped(self, line: str, width: int) -> str:
        return "\n".join(self._split_lines(line, width))

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings or action.nargs == 0:
            return super()._format_action_invocation(action)
        return f"{', '.join(sorted(action.option_strings, key=len))} {action.metavar}"

    def _get_help_string(self, action: argparse.Action) -> str:
        return meaning(action) + (" Required." if action.required and action.option_strings else "")

    def add_usage(
        self,
        usage: str | None,
        actions: Iterable[argparse.Action],
        groups: Iterable[argparse._MutuallyExclusiveGroup],
        prefix: str | None = None,
    ) -> None:
        words = ["%(prog)s", "[OPTIONS]"]
        for action in actions:
            metavar = str(action.metavar or action.dest)
            if not action.option_strings:
                forms = {"?": f"[{metavar}]", "*": f"[{metavar}]...", "+": f"{metavar}..."}
                words.append(forms.get(str(action.nargs), metavar))
            elif action.required:
                words.append(f"{max(action.option_strings, key=len)} {metavar}")
        super().add_usage(" ".join(words), actions, groups, "Usage: ")


def _without_separator(words: Sequence[str]) -> list[str]:
    """The words without ``--``; files after it that look like options are spelled so that they do not."""
    end = [*words, "--"].index("--")
    return [*words[:end], *(f"./{word}" if word.startswith("-") else word for word in words[end + 1 :])]


def _json_file(words: list[str]) -> Path | None:
    """The file behind ``--json``, taken out of the words; argparse would take a model that stands there as well."""
    for at, word in enumerate(words):
        if word.startswith("--json=") and word.endswith(".json"):
            words[at : at + 1] = word.split("=", 1)
    behind = words.index("--json") + 1 if "--json" in words else len(words)
    return Path(words.pop(behind)) if words[behind : behind + 1] and words[behind].endswith(".json") else None


def asks_for_json(words: Iterable[str]) -> bool:
    """Whether a command line asks for JSON, be it a wrong one."""
    return any(word.partition("=")[0] == "--json" for word in words)


class CommandParser(argparse.ArgumentParser):
    """The parser of one command. Options may stand before, between and after other arguments."""

    def __init__(self, *, prog: str) -> None:
        super().__init__(prog=prog, formatter_class=_Format, allow_abbrev=False, exit_on_error=False, add_help=False)
        # A wrong value such as -1% is told as one, not taken for an option.
        self._negative_number_matcher = re.compile(r"-\.?\d")
        self._positionals.title, self._optionals.title = "Arguments", "Options"
        self._words: Sequence[str] = ()

    def parse(self, words: Sequence[str]) -> argparse.Namespace:
        """The arguments. Raises UsageError: they are wrong."""
        words = self._words = _without_separator(words)
        json_file = _json_file(words)
        try:
            arguments, others = self.parse_known_intermixed_args(words, argparse.Namespace(json_file=json_file))
        except argparse.ArgumentError as error:
            self.error(self._described(error))
        if others:
            self._refuse(others[0])
        return arguments

    def _described(self, error: argparse.ArgumentError) -> str:
        """A mistake in our words."""
        if error.argument_name is None:
            return error.message
        names = error.argument_name.split("/")
        name = max(names, key=len)
        if error.message == "expected one argument":
            _, meant, *_ = (*dropwhile(lambda word: word not in names, self._words), "", "")
            is_option = meant in ("", *self._option_string_actions)
            question = "" if is_option else f". If {meant!r} is meant, write {name}={meant}"
            return f"Option {name!r} requires an argument{question}"
        if error.message.startswith("ignored explicit argument"):
            return f"Option {name!r} does not take a value"
        return f"Invalid value for {name!r}: {error.message}"

    def _refuse(self, word: str) -> NoReturn:
        option = word.partition("=")[0]
        if not option.startswith("-"):
            self.error(f"Got unexpected extra argument ({word})")
        known = [name for name in self._option_string_actions if name.startswith("--")]
        self.error(f"No such option: {option}{_question(option, known)}")

    def _check_value(self, action: argparse.Action, value: object) -> None:
        if action.choices is not None and value not in action.choices:
            known = [str(each) for each in action.choices]
            message = f"{value!r} is none of {', '.join(known)}{_question(str(value), known)}"
            raise argparse.ArgumentError(action, message)
        # The predictions of the original of `classify` have any name.
        is_other = action.type is output_path and action.dest not in ("output", "outfile")
        if is_other and (ending := Path(str(action.metavar)).suffix):
            from ..files.output_file import check_ending

            check_ending(Path(str(value)), ending)

    def error(self, message: str) -> NoReturn:
        """Raise a `UsageError` in place of exiting."""
        missing = message.removeprefix("the following arguments are required: ")
        name = max(missing.split("/"), key=len)
        text = message if missing == message else f"Missing argument {name!r}"
        # What was meant as the argument may have been taken for an option.
        known = self._option_string_actions
        taken = [word for word in self._words if re.match("-[^-]", word) and word[:2] not in known]
        if taken and missing != message and not name.startswith("-"):
            text += f". If {taken[0]!r} is meant, write ./{taken[0]}"
        raise UsageError(text, hint=f"See `{self.prog} --help`.")
