"""Quantise a model to int8 by samples, as exactly as asked, and tell what it costs.

Some of the samples that --calibration gives are calibrated on, at most 100 or --calibration-limit, and of the others up
to 500 judge. Methods are tried one after the other until the goal is reached; what is still missing then is sought by
keeping the layers that lose most in floating point. Without a goal every method is tried, and 16 bits where integers of
8 are poor; the best result is written.

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
from ..options import CALIBRATION, IMPORTED
from .compile import add_options, options_of

if TYPE_CHECKING:
    from ..quantization.ladder.result import Quantization


class GoalMissedError(FailedCheckError):
    """A network is not as exact as was asked."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
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
    sqnr = "The least SQNR of each output in floating point, in decibels."
    goal.add_argument("--min-sqnr", type=number, metavar="DB", help=sqnr)
    labels = (
        "The classes of the samples: lines NAME CLASS or CLASS, in order, or a .npy file of whole numbers; of "
        "segmentation a folder of masks, images of the same names whose pixels are classes, 255 none."
    )
    goal.add_argument("--labels", type=Path, metavar="FILE", help=labels)
    encodings = "Write the ranges of the activations to this file too, as AIMET 1.0.0 has them."
    parser.add_argument("--encodings", dest="written", type=output_path, metavar="FILE", help=encodings)
    names = [name for name in CALIBRATION if name not in ("encodings", "methods")]
    add_options(parser, (*names, *IMPORTED, "machine"))
    engines = (
        "What the artifact can be run by, with commas between them: device, the accelerator; software, the same "
        "integers on the CPU; and beside these float, the model as it was, on the CPU. Default: device,software."
    )
    parser.add_argument("--engines", metavar="ENGINES", help=engines)


def _share(text: str) -> float:
    share = number(text.removesuffix("%"))
    if not text.endswith("%") or not 0 <= share <= 100:
        raise argparse.ArgumentTypeError(f"{text!r} is no share such as 1%")
    return share / 100


def run(arguments: argparse.Namespace) -> str | Quantization:
    """What it prints, where the goal is reached.
    Raises GoalMissedError: it is not; TilewrightError: as `quantize_model` says."""
    from ..quantization.ladder.quantize_model import quantize_model

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
    shown = found if arguments.json else found.to_text()
    if found.reached is not False:
        return shown
    best = found.rungs[found.chosen].score
    finer = "" if arguments.weights_bits == 16 else " --weights-bits 16 with --wide all,"
    shares = {name: each for name, each in (("top-1", best.top1), ("mean IoU", best.iou)) if each is not None}
    raise GoalMissedError(
        "the goal is not reached, and the best result was written",
        shown,
        stage="quantize",
        expected=found.goal,
        found=f"{best.sqnr:.1f} dB{''.join(f', {measure} {100 * share:.2f} %' for measure, share in shares.items())}",
        hint=f"Give more samples, a lower goal,{finer} or --keep-float with the layers that lose most.",
    )
