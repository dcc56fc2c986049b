"""Quantise a model to int8 by samples, as exactly as asked, and tell what it costs.

Some samples are calibrated on, the others judge. Methods are tried one after the other until the goal is reached; what
is still missing then is sought by keeping the layers that lose most in floating point. Without a goal every method is
tried, and the best result is written.

Exits with 1 where the goal is not reached; the best result is written all the same.

Examples:
  tilewright quantize mobilenet.onnx --calibration photos/ -o mobilenet.twa
  tilewright quantize mobilenet.onnx --calibration photos/ --labels classes.txt \\
    --max-drop 1% -o mobilenet_int8.onnx
  tilewright quantize network.onnx --calibration samples.npy --min-sqnr 30 -o network.twa
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from tilewright.errors import FailedCheckError

from ...runtime.commands.console import progress_bar, tell
from ...runtime.commands.parser import add_output, number, output_path
from ..options import CALIBRATION
from .compile import add_options, options_of

if TYPE_CHECKING:
    from ..quantization.ladder import Quantization

SHOWN = 8
"""Layers in the table."""


class GoalMissedError(FailedCheckError):
    """A network is not as exact as was asked."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    meant = "The model, in floating point: .onnx, or .xml of IR with its .bin file beside it."
    parser.add_argument("model", type=Path, metavar="MODEL", help=meant)
    written = "The file to write: a name in .onnx or .xml for ONNX or IR between conversions, otherwise an artifact."
    add_output(parser, "OUT", written, required=True)
    goal = parser.add_argument_group("Goal")
    goal.add_argument(
        "--max-drop",
        type=_share,
        metavar="P%",
        help="By how much top-1 may fall, such as 1%%; without --labels, how many answers may change.",
    )
    goal.add_argument("--min-sqnr", type=number, metavar="DB", help="The least SQNR of the outputs, in decibels.")
    labels = "The classes of the samples: lines NAME CLASS or CLASS, in order, or a .npy file of whole numbers."
    goal.add_argument("--labels", type=Path, metavar="FILE", help=labels)
    encodings = "Write the ranges of the activations to this file too, as AIMET 1.0.0 has them."
    parser.add_argument("--encodings", dest="written", type=output_path, metavar="FILE", help=encodings)
    names = [name for name in CALIBRATION if name not in ("encodings", "methods")]
    add_options(parser, (*names, "input_shapes", "freeze"))


def _share(text: str) -> float:
    share = number(text.removesuffix("%"))
    if not text.endswith("%") or not 0 <= share <= 100:
        raise argparse.ArgumentTypeError(f"{text!r} is no share such as 1%")
    return share / 100


def run(arguments: argparse.Namespace) -> str:
    """What it prints, where the goal is reached.

    Raises:
        GoalMissedError: it is not.
        TilewrightError: as `quantize_model` says.
    """
    from ...runtime.report.table import json_text
    from ..quantization.ladder import quantize_model

    with progress_bar(quiet=arguments.quiet) as report:
        found = quantize_model(
            arguments.model,
            arguments.output,
            labels=arguments.labels,
            max_drop=arguments.max_drop,
            min_sqnr=arguments.min_sqnr,
            written_encodings=arguments.written,
            **options_of(arguments),
            report=report,
        )
    for warning in found.warnings:
        tell("warning", warning, quiet=arguments.quiet)
    shown = json_text(found) if arguments.json else as_text(found)
    if found.reached is not False:
        return shown
    best = found.rungs[found.chosen].score
    raise GoalMissedError(
        "the goal is not reached, and the best result was written",
        shown,
        stage="quantize",
        expected=found.goal,
        found=f"{best.sqnr:.1f} dB" + (f", top-1 {100 * best.top1:.2f} %" if best.top1 is not None else ""),
        hint="Give more samples, or a lower goal, or --keep-float with the layers that lose most.",
    )


def as_text(found: Quantization) -> str:
    """The result for people, at most 80 columns wide."""
    from ...runtime.report.table import Column, Table, show_number

    def percent(share: float) -> str:
        return f"{100 * share:.2f}"

    labelled = found.top1 is not None
    tries = Table(
        (
            Column("mark", ""),
            Column("what", "methods"),
            Column("sqnr", "SQNR (dB)", lambda value: f"{value:.1f}", right=True),
            *((Column("top1", "top-1 (%)", percent, right=True),) if labelled else ()),
            Column("agreement", "same (%)", percent, right=True),
        )
    )
    for index, rung in enumerate(found.rungs):
        row = {"mark": "*" if index == found.chosen else "", "what": rung.what.partition(":")[0]}
        row |= {"sqnr": rung.score.sqnr, "agreement": rung.score.agreement}
        tries.add(**row, **({"top1": rung.score.top1} if labelled else {}))
    layers = Table(
        (
            Column("name", "tensor", lambda name: name if len(name) <= 24 else f"{name[:10]}…{name[-13:]}"),
            Column("here", "SQNR", lambda value: f"{value:.1f}", right=True),
            Column("own", "alone", lambda value: f"{value:.1f}", right=True),
            Column("why", "mostly because of"),
        )
    )
    for each in found.layers[:SHOWN]:
        layers.add(name=each.name, here=each.here, own=each.own, why=each.why)
    lines = [f"{found.output}: {found.model} in int8"]
    lines.append(f"Calibrated on {show_number(found.calibrated, 'sample')}, judged on {found.judged} others.")
    lines += [f"Input {each.input}: {each.text}" for each in found.inputs]
    if found.top1 is not None:
        lines.append(f"In floating point top-1 is {percent(found.top1)} %.")
    lines += ["", tries.text().rstrip("\n"), "  * was written", ""]
    if found.kept:
        lines += [f"In floating point: {', '.join(found.kept)}", ""]
    if found.goal is not None:
        lines += [f"Goal: {found.goal}: {'reached' if found.reached else 'not reached'}.", ""]
    if found.layers:
        lines += ["The values that lose most, as they arrive and if they alone were rounded (dB):", ""]
        lines.append(layers.text().rstrip("\n"))
    return "\n".join(lines) + "\n"
