"""Write a network as an ONNX model or as IR for other tools, or as an object and a header for C.

A model is written as it is, or quantised. What C gets is made from an artifact, of an engine that runs on CPU kernels.

Examples:
  tilewright export resnet50.onnx -o int8.onnx --quantized qdq --calibration images/
  tilewright export resnet50.onnx -o resnet50.xml
  tilewright export resnet50.twa --c resnet50/ --target x86-64-v3 --name resnet
"""

import argparse
from pathlib import Path
from typing import TypedDict

from tilewright.errors import UsageError

from ...runtime.commands.console import progress_bar
from ...runtime.commands.parser import add_engine, add_output, add_time_limit, output_folder
from ...runtime.report.table import show_bytes
from ..options import CALIBRATION, IMPORTED, Exporting
from .compile import add_options, options_of

_FOR_C = ("name", "engine", "target", "time_limit")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser, others="; with --c, an artifact (.twa)")
    written = "The file to write: IR (version 11) for a name in .xml, with a .bin file beside it; otherwise ONNX."
    add_output(parser, "OUT", written)
    for_c = parser.add_argument_group("For C")
    made = "Write NAME.o, NAME.h and NAME-config.cmake into this folder, which is made."
    for_c.add_argument("--c", type=output_folder, metavar="FOLDER", help=made)
    for_c.add_argument(
        "--name", metavar="NAME", help="What files and names in C begin with. Default: the model's name."
    )
    add_engine(for_c)
    add_options(for_c, ("target",))
    add_time_limit(for_c, "; none if it is trusted")
    add_options(parser, ("quantized", "activations"), Exporting)
    add_options(parser, (*CALIBRATION, *IMPORTED))


def add_model(parser: argparse.ArgumentParser, nargs: str | None = None, others: str = "") -> None:
    """Declare the argument ``path`` of commands that also read modules, and others."""
    meant = f"An ONNX model, IR (.xml), or a module as text (.tw){others}."
    parser.add_argument("path", nargs=nargs, type=Path, metavar="FILE", help=meant)


class ExportedModel(TypedDict):
    """A model in a file, and how many nodes of which type it has."""

    output: str
    nodes: dict[str, int]


class ExportedObject(TypedDict):
    """Files for C, and how many bytes each has."""

    folder: str
    files: dict[str, int]


def run(arguments: argparse.Namespace) -> str | ExportedModel | ExportedObject:
    if arguments.c is not None:
        return _c(arguments)
    for_c = [each for each in _FOR_C if getattr(arguments, each) is not None]
    if for_c:
        raise UsageError(f"--{for_c[0].replace('_', '-')} is for --c", hint="Give a folder with --c, or leave it out.")
    if arguments.output is None:
        raise UsageError("Missing argument '--output'", hint="See `tilewright export --help`.")
    from ...runtime.files.output_file import is_standard_output
    from ..export import export_model

    with progress_bar(quiet=arguments.quiet) as report:
        options = {name: value for name, value in options_of(arguments).items() if name not in _FOR_C}
        options |= {"quantized": arguments.quantized, "activations": arguments.activations}
        nodes = export_model(arguments.path, arguments.output, **options, report=report)
    if is_standard_output(arguments.output):
        return ""
    if arguments.json:
        return {"output": str(arguments.output), "nodes": nodes}
    counts = ", ".join(f"{count} {op_type}" for op_type, count in nodes.items()) or "no nodes"
    return f"{arguments.output}: {counts}\n"


def _c(arguments: argparse.Namespace) -> str | ExportedObject:
    from ..export import export_c

    given = [each for each in ("output", "quantized", "activations", "calibration") if getattr(arguments, each)]
    if given:
        raise UsageError(f"--{given[0]} is not for --c", hint="Quantise the network when you compile it.")
    options = {each: getattr(arguments, each) for each in _FOR_C if getattr(arguments, each)}
    with progress_bar(quiet=arguments.quiet) as report:
        sizes = export_c(arguments.path, arguments.c, **options, report=report)
    if arguments.json:
        return {"folder": str(arguments.c), "files": sizes}
    return "".join(f"{arguments.c / name}: {show_bytes(size)}\n" for name, size in sizes.items())
