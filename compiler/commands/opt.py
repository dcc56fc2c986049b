"""Run single passes, for work on the compiler.

Reads a model or a module as text, and prints the module that the passes make of it.

Examples:
  tilewright opt --list
  tilewright opt model.onnx --passes fold_constants,canonicalize,fuse -o model.tw
"""

from __future__ import annotations

import argparse
import sys

from tilewright.errors import UsageError

from ...runtime.commands.parser import add_output
from .compile import add_options, options_of
from .export import add_model


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_model(parser, "?")
    parser.add_argument("--list", action="store_true", help="Print all passes with their options; needs no file.")
    parser.add_argument(
        "--passes",
        default="",
        metavar="PASS,…",
        help="The passes, in order; options in braces, such as canonicalize{limit=10}.",
    )
    written = "Write the module there, and its large constants to blobs/ beside it, instead of to stdout."
    add_output(parser, "OUT.tw", written)
    add_options(parser, ("input_shapes", "print_after", "time_passes"))


def run(arguments: argparse.Namespace) -> str:
    """What it prints.

    Raises:
        UsageError: no file is given.
        TilewrightError: as `optimize_file` says.
    """
    from ..optimize import optimize_file, passes_text

    if arguments.list:
        return passes_text(as_json=arguments.json)
    if arguments.path is None:
        raise UsageError("opt needs a file", hint="Give a model or a module, or --list.")
    options = options_of(arguments)
    result = optimize_file(
        arguments.path,
        arguments.passes,
        arguments.output,
        options["input_shapes"],
        print_after=arguments.print_after or (),
    )
    if arguments.time_passes:
        sys.stderr.write(result.times())
    if arguments.json:
        return result.to_json()
    return str(result.module) if arguments.output is None else ""
