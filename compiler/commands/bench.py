"""Measure networks beside onnxruntime and OpenVINO.

All take turns in one process, so that what else the machine does meets all of them alike; before that their outputs
are compared. Then fresh processes are timed until their first result. Inputs are random, but for those that --freeze
names, which the others are given as inputs.

The ratio is the time of the fastest peer over ours: above 1 Tilewright is faster.

Exits with 1 where one of them computes something else than Tilewright. Ctrl-C ends it with what is measured by then.

Examples:
  tilewright bench resnet50.onnx
  tilewright bench resnet50.onnx squeezenet.onnx --threads 1,2 --html ratios.html
  tilewright bench minilm.onnx --input-shape batch=1 --input-shape sequence=128
  tilewright bench resnet50_qdq.onnx --against openvino --target v3 --rounds 51 --json bench.json
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from tilewright.errors import FailedCheckError

from ...runtime.commands.console import InterruptedCommandError, progress_bar, show, tell
from ...runtime.commands.parser import output_path, whole_number
from ..options import IMPORTED
from .compile import add_options, options_of

if TYPE_CHECKING:
    from ..benchmark.comparison import Comparison

_PEERS = ("onnxruntime", "openvino")
_MOST_ROUNDS, _MOST_THREADS = 10_000, 1024


class WrongOutputsError(FailedCheckError):
    """Contenders compute something else than Tilewright."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    models = "The models: .onnx, or .xml of IR with its .bin file beside it."
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL", help=models)
    parser.add_argument(
        "--against",
        type=_peers,
        default=",".join(_PEERS),
        metavar="PEER,…",
        help="What to compare with; one that is not installed is left out.",
    )
    parser.add_argument(
        "--threads", type=_threads, default="1", metavar="N,…", help="Threads, of each contender; several in turn."
    )
    parser.add_argument(
        "--rounds",
        type=whole_number(1, _MOST_ROUNDS),
        default="15",
        metavar="N",
        help="Times that each contender is measured, and up to 11 of them in a fresh process.",
    )
    parser.add_argument(
        "--html", type=output_path, metavar="FILE.html", help="Write a page with a picture of the ratios."
    )
    add_options(parser, ("precision", "calibration", "target", *IMPORTED))


def _peers(text: str) -> list[str]:
    found = [*dict.fromkeys(text.split(","))]
    for name in found:
        if name not in _PEERS:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(_PEERS)}")
    return found


def _threads(text: str) -> list[int]:
    return [*dict.fromkeys(map(whole_number(1, _MOST_THREADS), text.split(",")))]


def run(arguments: argparse.Namespace) -> str | Comparison:
    """What it prints, where every contender computes the same.
    Raises WrongOutputsError: one does not; InterruptedCommandError: Ctrl-C, when something was measured;
    TilewrightError: as `compare` says; or the page cannot be written."""
    from ...runtime.files.output_file import check_output, write_file
    from ..benchmark.comparison import compare
    from ..benchmark.tables import page
    from ..options import CompileOptions

    for path in (arguments.html, arguments.json_file):
        if path is not None:
            check_output(path, inputs=arguments.models)
    with progress_bar(quiet=arguments.quiet) as report, TemporaryDirectory(prefix="tilewright") as folder:
        options = CompileOptions(**options_of(arguments), report=report)
        found = compare(arguments.models, arguments.against, arguments.threads, arguments.rounds, options, Path(folder))
    for name in found.not_installed:
        text = f"the package {name!r} is not installed: measured without it; pip install {name} adds it"
        tell("warning", text, quiet=arguments.quiet)
    for each in found.networks:
        for name, reason in each.left_out.items():
            text = f"{name} was not measured on {each.network} with threads={each.threads}: {reason}"
            tell("warning", text, quiet=arguments.quiet)
    if arguments.html is not None:
        write_file(arguments.html, page(found).encode())
    shown = found if arguments.json else _text(found)
    if arguments.json_file is not None:
        show(_text(found))
    if found.interrupted:
        raise InterruptedCommandError("interrupted", shown)
    if found.wrong:
        raise WrongOutputsError(
            "outputs differ from ours by more than rounding explains",
            shown,
            stage="bench",
            found="; ".join(found.wrong),
            hint="`tilewright compare` shows where two networks part.",
        )
    return shown


def _text(found: Comparison) -> str:
    from ..benchmark.tables import description, start_table, time_table

    lines = [*description(found), "", time_table(found).text()]
    for threads, mean in found.geometric_means.items():
        lines.append(f"Geometric mean of the ratios with threads={threads}: {mean:.2f}")
    lines += [""] if found.geometric_means else []
    return "\n".join([*lines, start_table(found).text()])
