"""Model a network on many machines: times, traffic and energy by the numbers of the machine.

Every combination of the values that --set gives is a machine: the network is compiled for it and modelled on it. With
--output the table is kept in a file as it grows: Ctrl-C loses nothing, and the same command goes on where it ended.
What is wrong with one machine is told in its row.

A model in floating point is calibrated for each machine anew: `tilewright export --quantized qdq` does that once.

Examples:
  tilewright sweep mobilenet_v2_qdq.onnx --set maps_bytes=64Ki,128Ki,256Ki --set clusters=1,2,4
  tilewright sweep net_qdq.onnx --machine own.json --set dram_bytes_per_second=9.6G,19.2G -o table.csv --svg times.svg
  tilewright sweep net_qdq.onnx --set clusters=1,2,4,8 --jobs 4 --effort quick --json
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ...runtime.commands.console import tell
from ...runtime.commands.parser import add_output, output_path, whole_number
from ..options import CALIBRATION, IMPORTED
from .compile import add_options, options_of

if TYPE_CHECKING:
    from ...runtime.report.table import Records

OPTIONS = (*(*CALIBRATION, "machine", "images_per_cluster", "cards", "effort", "affinity", "devices"), *IMPORTED)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    model = "The model: .onnx, or .xml of IR with its .bin file beside it."
    parser.add_argument("model", type=Path, metavar="MODEL", help=model)
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=N,…",
        help="Values of a field of the machine, such as 4, 0.85, 19.2G or 64Ki; `tilewright machine explain` lists the "
        "fields.",
    )
    add_output(parser, "FILE.csv", "Keep the table in this file, and go on from what it holds.")
    parser.add_argument("--svg", type=output_path, metavar="FILE.svg", help="Draw a picture of it.")
    parser.add_argument(
        "--jobs",
        type=whole_number(1),
        default=1,
        metavar="N",
        help="Processes that compile at once. Results do not depend on it.",
    )
    add_options(parser, OPTIONS)


def run(arguments: argparse.Namespace) -> str | Records:
    from ..sweep.evaluation import parse_settings
    from ..sweep.sweep import sweep

    try:
        found = sweep(
            arguments.model,
            **options_of(arguments),
            set=parse_settings(arguments.set),
            output=arguments.output,
            svg=arguments.svg,
            jobs=arguments.jobs,
            **({"on": arguments.on} if "on" in arguments else {}),
            progress=not arguments.quiet,
        )
    except KeyboardInterrupt:
        if arguments.output is not None:
            kept = f"what is done stands in {arguments.output}; the same command goes on with the rest"
            tell("note", kept, quiet=arguments.quiet)
        raise
    return found.records() if arguments.json else found.table().text()
