"""Run single passes, for work on the compiler.

Reads a model or a module as text, and prints the module that the passes make of it.

Examples:
  tilewright opt --list
  tilewright opt model.onnx --passes fold_constants,canonicalize,fuse -o model.tw
"""

import argparse
import inspect
import sys
from dataclasses import MISSING, fields
from pathlib import Path
from typing import TypedDict, get_type_hints

from tilewright.errors import ParseError, UsageError, resources

from ...runtime.commands.parser import add_output
from ..options import IMPORTED
from .compile import add_options, options_of
from .export import add_model


def add_arguments(parser: argparse.ArgumentParser) -> None:
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
    add_options(parser, (*IMPORTED, "print_after", "time_passes"))


class RanPass(TypedDict):
    """What a pass did: how many changes of which kind it made, and which it declined, and why."""

    name: str
    modified: bool
    seconds: float
    changes: dict[str, int]
    declined: dict[str, str]


class OptimizedModule(TypedDict):
    """The passes in the order in which they ran, and the module as text."""

    passes: list[RanPass]
    module: str


class KnownPass(TypedDict):
    """What a pass is for, and its options with their types and what they are by default."""

    summary: str
    options: dict[str, str]


@resources("opt")
def run(arguments: argparse.Namespace) -> str | OptimizedModule | dict[str, KnownPass]:
    from ...passes.instruments import Print, Timing, dump_module, instruments_from_environment
    from ...passes.pipeline import Pipeline, check_names
    from ...runtime.files.output_file import check_output
    from ..frontend.formats import read_module

    if arguments.list:
        return _listed(as_json=arguments.json)
    if arguments.path is None:
        raise UsageError("opt needs a file", hint="Give a model or a module, or --list.")
    options = options_of(arguments)
    try:
        pipeline = Pipeline.parse(arguments.passes)
    except ParseError as error:
        raise UsageError(f"--passes: {error}") from None
    printed: list[str] = arguments.print_after or []
    check_names(printed, [each.name for each in pipeline.passes])
    output: Path | None = arguments.output
    if output is not None:
        if output.suffix == ".onnx":
            raise UsageError("opt writes a module as text", found=str(output), hint="`tilewright export` writes ONNX.")
        check_output(output, source=arguments.path)
    given = {"frozen": options["freeze"], "bounds": options["bounds"]}
    module, timing = read_module(arguments.path, options["input_shapes"], **given), Timing()
    pipeline.run(module, instruments=[*instruments_from_environment(), Print(printed), timing])
    if output is not None:
        dump_module(output, module)
    if arguments.time_passes:
        sys.stderr.write(f"{timing}\n")
    if not arguments.json:
        return str(module) if output is None else ""
    passes = [
        RanPass(
            name=each.name,
            modified=each.modified,
            seconds=each.seconds,
            changes=dict(each.counts),
            declined=each.declined,
        )
        for each in timing.records
    ]
    return {"passes": passes, "module": str(module)}


def _listed(*, as_json: bool) -> str | dict[str, KnownPass]:
    """All passes by name: what each is for, and its options with their types and what they are by default."""
    from ...passes.base import print_option
    from ...passes.pipeline import PASSES

    listed: dict[str, KnownPass] = {
        name: {
            "summary": (sys.modules[cls.__module__].__doc__ or "").partition("\n")[0],
            "options": {
                each.name: inspect.formatannotation(get_type_hints(cls)[each.name])
                + ("" if each.default is MISSING else f" = {print_option(each.default)}")
                for each in fields(cls)
            },
        }
        for name, cls in PASSES.items()
    }
    if as_json:
        return listed
    lines = []
    for name, each in listed.items():
        lines += [f"{name}: {each['summary']}", *(f"    {key}: {type}" for key, type in each["options"].items())]
    return "\n".join(lines) + "\n"
