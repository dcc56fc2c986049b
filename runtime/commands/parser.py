"""The arguments of a command: read by argparse, with errors in our form and help in the look of the whole command."""

from __future__ import annotations

import argparse
import difflib
import importlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import NoReturn

from tilewright.errors import UsageError


def module_of(command: str) -> ModuleType:
    """The module of a command of the runtime."""
    return importlib.import_module(f".{command}", __package__)


def similar(word: str, known: Iterable[str]) -> str:
    """A question whether another word was meant, or nothing, for the end of a message."""
    close = difflib.get_close_matches(word, known, 1, cutoff=0.7)
    return f". Did you mean {close[0]!r}?" if close else ""


def add_artifact(parser: argparse.ArgumentParser, kind: str = "") -> None:
    """Declare the argument ``artifact``, for a command that takes one."""
    made = f"An artifact made by `tilewright compile`{kind}."
    parser.add_argument("artifact", type=Path, metavar="FILE.twa", help=made)


def output_path(text: str) -> Path:
    """The path of an output; an empty one would mean the current folder.

    Raises:
        UsageError: it is empty.
    """
    if not text:
        raise UsageError("the name of the output is empty", hint="Give the output a name, or leave it out.")
    return Path(text)


def execute(command: str, words: Sequence[str]) -> str:
    """Execute a command of the runtime: what it prints.

    Raises:
        UsageError: the words are not arguments of it.
        TilewrightError: as the command says.
    """
    try:
        arguments = parser_of(command).parse(words)
    except _HelpWanted:
        # By another parser: one that is reading arguments has its own set aside.
        return parser_of(command).format_help()
    return module_of(command).run(arguments)


def options_of(command: str) -> list[argparse.Action]:
    """The options of a command, for shells that complete words."""
    return [each for each in parser_of(command)._actions if each.option_strings]


def parser_of(command: str) -> CommandParser:
    """The parser of a command's arguments."""
    module = module_of(command)
    parser = CommandParser(
        prog=f"tilewright {command}",
        description=module.HELP,
        formatter_class=_Format,
        allow_abbrev=False,
        exit_on_error=False,
        add_help=False,
    )
    module.add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="Print one JSON object instead of text.")
    parser.add_argument("-h", "--help", action=_Help, nargs=0, help="Show this message and exit.")
    return parser


class _HelpWanted(Exception):
    """Among the words is ``--help``."""


class _Help(argparse.Action):
    """Prints nothing itself, because printing may fail."""

    def __call__(self, *_: object) -> NoReturn:
        raise _HelpWanted


class _Format(argparse.RawDescriptionHelpFormatter):
    """Usage in one line: options are listed below it."""

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings or action.nargs == 0:
            return super()._format_action_invocation(action)
        return f"{', '.join(sorted(action.option_strings, key=len))} {action.metavar}"

    def add_usage(
        self,
        usage: str | None,
        actions: Iterable[argparse.Action],
        groups: Iterable[argparse._MutuallyExclusiveGroup],
        prefix: str | None = None,
    ) -> None:
        words = ["%(prog)s", "[OPTIONS]"]
        for action in actions:
            if not action.option_strings:
                metavar = str(action.metavar or action.dest)
                words.append({"?": f"[{metavar}]", "*": f"[{metavar}]..."}.get(str(action.nargs), metavar))
        super().add_usage(" ".join(words), actions, groups, "Usage: ")


def _described(error: argparse.ArgumentError) -> str:
    """A mistake in the words that Typer has for it."""
    if error.argument_name is None:
        return error.message
    name = max(error.argument_name.split("/"), key=len)
    if error.message == "expected one argument":
        return f"Option {name!r} requires an argument"
    if error.message.startswith("ignored explicit argument"):
        return f"Option {name!r} does not take a value"
    return f"Invalid value for {name!r}: {error.message}"


def _without_separator(words: Sequence[str]) -> list[str]:
    """The words without ``--``; files after it that look like options are spelled so that they do not."""
    end = [*words, "--"].index("--")
    return [*words[:end], *(f"./{word}" if word.startswith("-") else word for word in words[end + 1 :])]


class CommandParser(argparse.ArgumentParser):
    """The parser of one command. Options may stand before, between and after other arguments."""

    def parse(self, words: Sequence[str]) -> argparse.Namespace:
        """The arguments.

        Raises:
            UsageError: they are wrong.
        """
        try:
            arguments, others = self.parse_known_intermixed_args(_without_separator(words))
        except argparse.ArgumentError as error:
            self.error(_described(error))
        if others:
            self._refuse(others[0])
        return arguments

    def _refuse(self, word: str) -> NoReturn:
        option = word.partition("=")[0]
        if not option.startswith("-"):
            self.error(f"Got unexpected extra argument ({word})")
        known = [name for name in self._option_string_actions if name.startswith("--")]
        self.error(f"No such option: {option}{similar(option, known)}")

    def error(self, message: str) -> NoReturn:
        """Raise a `UsageError` in place of exiting."""
        missing = message.removeprefix("the following arguments are required: ")
        text = message if missing == message else f"Missing argument {missing!r}"
        raise UsageError(text, hint=f"See `{self.prog} --help`.")

    def format_help(self) -> str:
        """Help with the headings that the compiler's commands have."""
        text = super().format_help()
        for heading in ("positional arguments:\n", "options:\n"):
            text = text.replace(f"\n{heading}", f"\n{heading.split()[-1].capitalize()}\n")
        return text
