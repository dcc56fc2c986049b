"""Classify the images of a folder, and tell how fast.

Images are decoded, computed and evaluated at the same time. Files that are no images are skipped.

Examples:
  tilewright classify mobilenet.twa --img_path images/
  tilewright classify mobilenet.twa --img_path images/ --max_bs 100 --preprocess_workers 16
  tilewright classify --xclbin mobilenet.twa --img_path images/ --labels labels.txt --outfile out.csv --profile
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from tilewright.errors import InputError, UsageError

from ...commands.console import progress_bar, tell
from ...commands.parser import add_engine, add_force, output_path, whole_number
from ...commands.shapes import add_input_shape, chosen_shape

if TYPE_CHECKING:
    from ...report.table import Records
    from ..classify.pipeline import Classification, Skipped
    from ..classify.results import Accuracy

ENGINE = "what TILEWRIGHT_ENGINE says, otherwise software, which computes the integers of the device."
"""The engine that computes here without another being named."""

_NAMED = 20
"""Skipped files that are named; more are counted."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_network(parser)
    parser.add_argument(
        "--img_path", "--img-path", type=Path, required=True, metavar="PATH", help="An image, or a folder of them."
    )
    parser.add_argument(
        "--outfile", type=output_path, metavar="FILE.csv", help="Write the predictions there instead of printing them."
    )
    labels = "Right classes, to tell the accuracy: lines of a file's name, a space, and a number."
    parser.add_argument("--labels", type=Path, metavar="FILE.txt", help=labels)
    label_offset = "Outputs before that of class 0. Default: 1 of 1001 outputs, which have one for the background."
    parser.add_argument("--label-offset", "--label_offset", type=whole_number(), metavar="N", help=label_offset)
    preprocess = (
        "How images become inputs, as for `tilewright compile`. Default: what TILEWRIGHT_PREPROCESS says, or as "
        "the artifact does, or if neither says anything, stretched, in the order blue, green, red, pixels 0 to 255. "
        "Another one than the artifact's is refused."
    )
    parser.add_argument("--preprocess", metavar="KEY=VALUE,...", help=preprocess)
    add_force(parser)
    parser.add_argument("--profile", action="store_true", help="Tell when each image went through each stage.")
    work = parser.add_argument_group("How it is computed")
    add_input_shape(work, default="that which suits --max_bs, of those of the first size.", meant="the one to use")
    add_engine(work, ENGINE)
    work.add_argument(
        "--max_bs", "--max-bs", type=whole_number(1), default=1, metavar="N", help="Images that are computed together."
    )
    work.add_argument(
        "--preprocess_workers",
        "--preprocess-workers",
        type=whole_number(1),
        default=1,
        metavar="N",
        help="Threads that decode images.",
    )


def add_network(parser: argparse.ArgumentParser) -> None:
    """Declare the network of a command whose original takes it as ``--xclbin``, and other weights for it."""
    made = "The network: an artifact made by `tilewright compile`."
    parser.add_argument("artifact", nargs="?", type=Path, metavar="FILE.twa", help=made)
    parser.add_argument("--xclbin", type=Path, metavar="FILE.twa", help="The same, as the original program takes it.")
    fcweights = (
        "Integers that replace those of the last layer with weights: comma separated, class by class. "
        "Its scales and biases stay."
    )
    parser.add_argument("--fcweights", type=Path, metavar="FILE.csv", help=fcweights)


def network_of(arguments: argparse.Namespace) -> Path:
    """The path of the network that `add_network` declares. Raises UsageError: it is missing, or given twice."""
    given: list[Path] = [each for each in (arguments.artifact, arguments.xclbin) if each is not None]
    if not given:
        raise UsageError("Missing argument 'FILE.twa'", hint="Give it as it is, or as --xclbin FILE.twa.")
    if len(given) > 1:
        raise UsageError("there are two networks", found=f"{given[0]} and --xclbin {given[1]}")
    return given[0]


def run(arguments: argparse.Namespace) -> str | ClassifiedImages:
    from ...artifact.artifact import Artifact
    from ...files.output_file import check_output, is_standard_output, write_file
    from ..classify.application import Application, list_files
    from ..classify.classifier import in_batches
    from ..classify.results import accuracy, csv_text, doubts, read_labels
    from ..network import PREPROCESS

    tell_user = partial(tell, quiet=arguments.quiet)
    network = network_of(arguments)
    files = list_files(arguments.img_path)
    if arguments.outfile is not None:
        inputs = [each for each in (arguments.fcweights, arguments.labels) if each is not None]
        check_output(arguments.outfile, source=network, inputs=[*inputs, *files])
    every, batch = Artifact.open(network), min(arguments.max_bs, len(files))
    chosen = in_batches(every, batch)
    images = {each.shape[1:] for view in every.in_shapes() for each in view.manifest.inputs[:1]}
    if arguments.input_shape or len(images) > 1:
        # Batches of one size are chosen by --max_bs.
        chosen = chosen_shape(arguments, every, chosen)
    with Application(
        chosen,
        weights=arguments.fcweights,
        engine=arguments.engine,
        batch=batch,
        preprocessing=arguments.preprocess or os.environ.get(PREPROCESS),
        label_offset=arguments.label_offset,
        force=arguments.force_preprocess,
    ) as application:
        for note in application.classifier.notes:
            tell_user("note", note)
        labels = None if arguments.labels is None else read_labels(arguments.labels, application.classifier.classes)
        with progress_bar(quiet=arguments.quiet) as report:
            found = application.classify(
                files, threads=arguments.preprocess_workers, report=lambda done: report("classify", done, len(files))
            )
    for skipped in found.skipped[:_NAMED]:
        tell_user("warning", f"skipped: {skipped.reason}")
    if len(found.skipped) > _NAMED:
        tell_user("warning", f"skipped {len(found.skipped) - _NAMED} more files")
    if not found.results:
        raise InputError(f"none of the {len(files)} files can be classified", expected="images")
    rated = None if labels is None else accuracy(found.results, labels)
    if labels is not None and rated is None:
        what = f"no image has a label in {str(arguments.labels)!r}: there is no accuracy to tell"
        tell_user("warning", f"{what}. Each line holds the name of a file, a space, and the number of its class")
    elif rated is not None and rated.labelled < len(found.results):
        tell_user(
            "warning",
            f"{len(found.results) - rated.labelled} of {len(found.results)} images have no label: the accuracy is that "
            "of the others",
        )
    for doubt in () if labels is None else doubts(found.results, labels, application.classifier.classes):
        tell_user("warning", doubt)
    if arguments.outfile is not None:
        write_file(
            arguments.outfile, csv_text(found.results, profile=arguments.profile).encode("utf-8", "surrogateescape")
        )
        if is_standard_output(arguments.outfile):
            return ""
    if arguments.json:
        return _found(found, rated, profile=arguments.profile)
    return _text(found, rated, profile=arguments.profile, tabulate=arguments.outfile is None)


def _text(found: Classification, rated: Accuracy | None, *, profile: bool, tabulate: bool) -> str:
    """Words and spaces are those of the original program, for scripts that look for them."""
    from ..classify.results import summary_text, table_text

    images = len(found.results)
    parts = [table_text(found.results, profile=profile)] if tabulate else []
    if profile:
        parts.append(summary_text(found.results))
    if rated is not None:
        parts.append(f"Top-1 Accuracy: {rated.top1}\nTop-5 Accuracy: {rated.top5}\n")
    parts.append(f"Duration for  {images}  images:  {found.seconds}\nFPS:  {images / found.seconds}\n")
    return "".join(parts)


class ClassifiedImages(TypedDict):
    """What was made of images.

    Attributes:
        accuracy: nothing where no image has a label.
        skipped: files that cannot be classified, and why.
        results: of each image its ``file`` and the ``prediction``, the best classes first; with --profile, times, too.
        profile: with --profile, number, mean, deviation and quartiles of each time.
    """

    images: int
    seconds: float
    images_per_second: float
    accuracy: Accuracy | None
    skipped: Sequence[Skipped]
    results: Records
    profile: dict[str, dict[str, float]] | None


def _found(found: Classification, rated: Accuracy | None, *, profile: bool) -> ClassifiedImages:
    from ..classify.results import SPANS, STAMPS, spans, summarize

    results: Records = []
    for each in found.results:
        result: dict[str, object] = {"file": each.file, "prediction": each.prediction.tolist()}
        if profile:
            result |= dict(zip(STAMPS + SPANS, (*each.stamps, *spans(each.stamps)), strict=True))
        results.append(result)
    summary: dict[str, dict[str, float]] = {
        name: dict(zip(SPANS, row, strict=True)) for name, row in summarize(found.results).items()
    }
    return {
        "images": len(found.results),
        "seconds": found.seconds,
        "images_per_second": len(found.results) / found.seconds,
        "accuracy": rated,
        "skipped": found.skipped,
        "results": results,
        "profile": summary if profile else None,
    }
