"""Write a network as an ONNX model or as IR for other tools.

The network is written as it is, or quantised.

Examples:
  tilewright export resnet50.onnx -o int8.onnx --quantized qdq --calibration images/
  tilewright export resnet50.onnx -o resnet50.xml
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ...runtime.commands.console import progress_bar
from ...runtime.commands.parser import add_output
from ..options import FORMS
from .compile import add_options, options_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_model(parser)
    written = "The file to write: IR (version 11) for a name in .xml, with a .bin file beside it; otherwise ONNX."
    add_output(parser, "OUT", written, required=True)
    parser.add_argument(
        "--quantized",
        choices=FORMS,
        metavar="FORM",
        help="Quantise the network, with the scales that it brings or by --calibration. qdq: operators between "
        "DequantizeLinear and QuantizeLinear; qlinear: QLinear operators. Default: the network as it is.",
    )
    add_options(parser, ("calibration", "preprocessing", "input_shapes", "freeze"))


def add_model(parser: argparse.ArgumentParser, nargs: str | None = None) -> None:
    """Declare the argument ``path`` of commands that also read modules."""
    meant = "An ONNX model, IR (.xml), or a module as text (.tw)."
    parser.add_argument("path", nargs=nargs, type=Path, metavar="FILE", help=meant)


def run(arguments: argparse.Namespace) -> str:
    """What it prints.

    Raises:
        TilewrightError: as `export_model` says.
    """
    from ...runtime.files.output_file import is_standard_output
    from ...runtime.report.table import json_text
    from ..export import export_model

    with progress_bar(quiet=arguments.quiet) as report:
        options = options_of(arguments)
        nodes = export_model(arguments.path, arguments.output, quantized=arguments.quantized, **options, report=report)
    if is_standard_output(arguments.output):
        return ""
    if arguments.json:
        return json_text({"output": str(arguments.output), "nodes": nodes})
    counts = ", ".join(f"{count} {op_type}" for op_type, count in nodes.items()) or "no nodes"
    return f"{arguments.output}: {counts}\n"
