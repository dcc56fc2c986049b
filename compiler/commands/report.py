"""Write what is known of a network as one page of HTML.

The network as a graph with places, times and reasons, its layers in a table that sorts, the roofline of the
accelerator, what its units do when, and how full every memory is. The page needs no network and no other file, follows
the viewer's light or dark colours, and prints. Times of the accelerator are modelled; with --measure those of the CPU
are measured, on the machine at hand.

A model is compiled first, which keeps nothing; for other options than these, compile it and give the artifact.

Examples:
  tilewright report resnet50.twa -o reports
  tilewright report resnet50.twa --measure --threads 1
  tilewright report resnet50_qdq.onnx --machine s256 -o reports
  tilewright report resnet50.twa --compared comparison.json
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from tilewright.errors import UsageError

from ...runtime.commands.console import progress_bar
from ...runtime.commands.parser import add_output, whole_number
from ...runtime.commands.shapes import add_input_shape, chosen_shape
from ..options import CALIBRATION, IMPORTED, CompileOptions
from .compile import add_options, options_of

if TYPE_CHECKING:
    from ...passes.instruments import Instrument
    from ...runtime.artifact.artifact import Artifact

_OPTIONS = ("precision", *CALIBRATION, "machine", "clusters", "images_per_cluster", "effort", *IMPORTED[1:])
_ARTIFACT = ".twa"
"""What the paths of artifacts end in."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_output(parser, "FOLDER", "Where to write NAME.html, after the name of FILE; or a file .html.")
    parser.add_argument(
        "--compared",
        type=Path,
        metavar="FILE.json",
        help="Show the loss by quantisation, which `tilewright compare --json` wrote to this file.",
    )
    add_network(parser)


def add_network(parser: argparse.ArgumentParser) -> None:
    """Declare the artifact or model that `artifact_of` opens or compiles, and whether to measure it."""
    what = "An artifact (.twa), or a model (.onnx, or .xml of IR with its .bin file beside it)."
    parser.add_argument("path", type=Path, metavar="FILE", help=what)
    parser.add_argument("--measure", action="store_true", help="Run the network on this CPU, and show its times.")
    parser.add_argument("--threads", type=whole_number(1), metavar="N", help="Threads to measure with. Default: all.")
    add_input_shape(parser, "The shape of an input that a model leaves open. ")
    add_options(parser.add_argument_group("Of a model"), _OPTIONS)


class WrittenPage(TypedDict):
    """The path of a page, and its size."""

    page: str
    bytes: int


def run(arguments: argparse.Namespace) -> str | WrittenPage:
    from ...runtime.files.output_file import check_ending, check_output, make_folder, write_file
    from ...runtime.report.table import show_bytes
    from ..network_page.layers import read_comparison
    from ..network_page.page import measure, page

    output: Path = arguments.output or Path()
    check_ending(output, ".html")
    compared = read_comparison(arguments.compared) if arguments.compared is not None else None
    target = output if output.suffix.lower() == ".html" else output / f"{arguments.path.stem}.html"
    make_folder(target.parent)
    check_output(target, source=arguments.path)
    artifact = artifact_of(arguments)
    measured = measure(artifact, arguments.threads) if arguments.measure else None
    content = page(artifact, measured, compared).encode()
    write_file(target, content)
    found: WrittenPage = {"page": str(target), "bytes": len(content)}
    return found if arguments.json else f"{target}: {show_bytes(len(content))}\n"


def artifact_of(arguments: argparse.Namespace, *instruments: Instrument) -> Artifact:
    """The artifact that is named, or what becomes of the model that is.
    ``instruments``: that watch how a model is compiled."""
    from ...runtime.artifact.artifact import Artifact
    from ..driver import compile_to_memory

    if arguments.threads is not None and not arguments.measure:
        raise UsageError("--threads is for measuring", hint="Add --measure, or leave --threads out.")
    arguments.input_shapes = arguments.input_shape
    if arguments.path.suffix == _ARTIFACT:
        defaults = {each: getattr(CompileOptions(), each) for each in _OPTIONS}
        given = next((each for each, value in defaults.items() if getattr(arguments, each) != value), None)
        if given is not None:
            raise UsageError(f"--{given.replace('_', '-')} is for models", found=str(arguments.path))
        return chosen_shape(arguments, Artifact.open(arguments.path))
    with progress_bar(quiet=arguments.quiet) as report:
        options = CompileOptions(**options_of(arguments), instruments=instruments, report=report)
        return compile_to_memory(arguments.path, options).in_shapes()[0]
