"""``tilewright demo``: the main job on an example that comes with the program."""

from __future__ import annotations

import argparse

from ...runtime.commands.console import progress_bar
from ...runtime.commands.parser import add_output

HELP = """\
Compile and run a network for handwritten digits.

It comes with Tilewright. Prints its accuracy, and the time of an image, on each engine.

Examples:
  tilewright demo
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_output(parser, "FOLDER", "Where to put the artifact. Default: the user's cache folder.")


def run(arguments: argparse.Namespace) -> str:
    """What it prints.

    Raises:
        TilewrightError: as `run_demo` says.
    """
    from ...runtime.report.table import json_text
    from ..demo.run import run_demo

    with progress_bar(quiet=arguments.quiet) as report:
        result = run_demo(arguments.output, report)
    return json_text(result) if arguments.json else result.to_text()
