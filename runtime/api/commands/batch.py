"""Share out work on many inputs among processes, here or on a cluster.

  evaluate FILE.twa IMAGES --labels FILE   How often the network names the right
                                           class.
  infer FILE.twa INPUTS -o FOLDER          The outputs for each input, in files.
  calibrate MODEL --calibration DATA       The same artifact as `compile` makes of
                                           it, byte for byte.
  sweep MODEL --set FIELD=N,…              The same table as `tilewright sweep`.

Inputs are divided into shards. A shard that fails, or whose process ends, is tried again; what is done is noted in a
file, from which the same command goes on. Results depend neither on where shards are computed nor on what fails
meanwhile. Files may also be named by URLs that fsspec knows, such as s3://bucket/images.

Examples:
  tilewright batch evaluate mobilenet.twa images/ --labels labels.txt --workers 4
  tilewright batch infer net.twa s3://bucket/images -o s3://bucket/outputs --on dask://scheduler:8786
  tilewright batch calibrate net.onnx --calibration images/ -o net.twa --workers 8
  tilewright batch sweep net_qdq.onnx --set clusters=1,2,4 -o table.csv --on dask://scheduler:8786
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from tilewright.errors import ArtifactError, UsageError

from ...commands.console import progress_bar, tell
from ...commands.parser import add_engine, add_force, options_of, output_path, whole_number
from ...commands.shapes import one_given
from .classify import ENGINE

if TYPE_CHECKING:
    from ...cluster.job import Job
    from ...report.summary import Summary
    from ...report.table import Records
    from ..batch.inference import Part
    from ..classify.pipeline import Skipped
    from ..classify.results import Accuracy

_COMMON = {"on", "workers", "json", "quiet", "help", "output"}
_SHARDS = {"retries", "resume"}
_IMAGES = {"size", "engine", "preprocessing", "force_preprocess", "input_shapes"}
_SWEPT = {"set", "svg"}
_SIZE = 32


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from ....compiler.commands.compile import add_options

    parser.add_argument("action", choices=tuple(_ACTIONS), metavar="ACTION", help=f"{', '.join(_ACTIONS)}.")
    parser.add_argument("network", metavar="NETWORK", help="An artifact; for calibrate and sweep a model.")
    inputs = "For evaluate an image or a folder of them; for infer also a .npy, .npz, .csv or .wav file of samples."
    parser.add_argument("inputs", nargs="?", metavar="INPUTS", help=inputs)
    written = "What to write: of evaluate a table of classes, of infer a folder, of calibrate the artifact, of sweep "
    parser.add_argument("-o", "--output", metavar="OUT", help=f"{written}the table that it goes on from.")
    where = parser.add_argument_group("Where, and what becomes of failures")
    places = "local, processes of this machine; or dask://HOST:PORT, the scheduler of a Dask cluster that you trust."
    where.add_argument("--on", default="local", metavar="PLACE", help=places)
    workers = "Processes, where they are local. Default: one for each processor, at most 8."
    where.add_argument("--workers", type=whole_number(1), metavar="N", help=workers)
    retries = "How often a shard that fails is tried again."
    where.add_argument("--retries", type=whole_number(), default=2, metavar="N", help=retries)
    resume = "Note what is done there, and go on from it. Default: a file in this folder, which goes when all is done."
    where.add_argument("--resume", type=output_path, metavar="FILE.jsonl", help=resume)
    images = parser.add_argument_group("For evaluate and infer")
    labels = "For evaluate: right classes, lines of a file's name, a space, and a number."
    images.add_argument("--labels", metavar="FILE.txt", help=labels)
    offset = "For evaluate: outputs before that of class 0. Default: 1 of 1001 outputs."
    images.add_argument("--label-offset", type=whole_number(), metavar="N", help=offset)
    size = "Inputs of a shard."
    images.add_argument("--shard", dest="size", type=whole_number(1), default=_SIZE, metavar="N", help=size)
    add_engine(images, ENGINE)
    add_force(images)
    swept = parser.add_argument_group("For sweep")
    fields = "Values of a field of the machine, as for `tilewright sweep`."
    swept.add_argument("--set", action="append", default=[], metavar="FIELD=N,…", help=fields)
    swept.add_argument("--svg", type=output_path, metavar="FILE.svg", help="Draw a picture of it.")
    words = "For calibrate and sweep, as for `compile`; --preprocess and --input-shape for evaluate and infer, too"
    add_options(parser.add_argument_group(words), _compiled())


def _compiled() -> list[str]:
    """The options of compilation that are taken."""
    from dataclasses import fields

    from ....compiler.options import PASSES, CompileOptions

    return [each.name for each in fields(CompileOptions) if each.metadata["group"] not in (None, PASSES)][1:]


def run(arguments: argparse.Namespace) -> str | EvaluatedImages | list[Part] | Summary | Records:
    from ...cluster.job import Job
    from ...execution.team import thread_count

    action: str = arguments.action
    declared, perform = _ACTIONS[action]
    allowed = _COMMON | declared()
    for option in options_of("batch"):
        if option.dest not in allowed and vars(arguments)[option.dest] != option.default:
            flag = max(option.option_strings, key=len)
            raise UsageError(f"{flag} is not for batch {action}", hint="See `tilewright batch --help`.")
    if (arguments.inputs is None) == (action in ("evaluate", "infer")):
        wanted = "inputs" if arguments.inputs is None else "no further argument"
        raise UsageError(f"batch {action} takes {wanted}", found=arguments.inputs and repr(arguments.inputs))
    for name in ("inputs", "calibration") if arguments.on != "local" and action != "sweep" else ():
        given = vars(arguments)[name]
        if given is not None and os.path.exists(given):
            # Workers of a cluster are in other folders. What a sweep was told is part of its table.
            vars(arguments)[name] = os.path.abspath(given)
    arguments.workers = arguments.workers or min(thread_count(None), 8)
    with progress_bar(quiet=arguments.quiet) as report:
        where = {"on": arguments.on, "workers": arguments.workers}
        return perform(
            arguments, Job(action, **where, retries=arguments.retries, resume=arguments.resume, report=report)
        )


def _given(arguments: argparse.Namespace) -> dict[str, Any]:
    """The artifact of evaluate and infer, and the options that both take."""
    from ...artifact.artifact import Artifact
    from ...execution.shapes import shape_named
    from ...files.input_file import input_file

    with input_file(arguments.network, ArtifactError, "load artifact") as file:
        artifact = file.read()
    names = {"size": "size", "engine": "engine", "preprocessing": "preprocessing", "force": "force_preprocess"}
    given = {name: vars(arguments)[dest] for name, dest in names.items()}
    shape = one_given(arguments.input_shapes)
    # Where it is computed it has no name.
    shape_named(Artifact.open(artifact, origin=arguments.network), shape)
    return {"artifact": artifact, "shape": shape, **given}


class EvaluatedImages(TypedDict):
    """How many images were classified, which files were not, and how many are right where any has a label."""

    images: int
    skipped: Sequence[Skipped]
    accuracy: Accuracy | None


def _evaluate(arguments: argparse.Namespace, job: Job) -> str | EvaluatedImages:
    from ...files.input_file import write
    from ..batch.inference import evaluate
    from ..classify.results import csv_text

    if arguments.labels is None:
        raise UsageError("batch evaluate needs the right classes", hint="Give them with --labels FILE.")
    given = {**_given(arguments), "images": arguments.inputs, "labels": arguments.labels}
    found = evaluate(**given, job=job, label_offset=arguments.label_offset)
    for note in found.notes:
        tell("note", note, quiet=arguments.quiet)
    _tell_of(found.skipped, arguments)
    rated = found.rated
    if rated is None:
        what = f"no image has a label in {arguments.labels!r}: there is no accuracy to tell"
        tell("warning", what, quiet=arguments.quiet)
    for doubt in found.doubts:
        tell("warning", doubt, quiet=arguments.quiet)
    if arguments.output is not None:
        write(arguments.output, csv_text(found.results, profile=False).encode("utf-8", "surrogateescape"))
    if arguments.json:
        return {"images": len(found.results), "skipped": found.skipped, "accuracy": rated}
    images = len(found.results)
    lines = [f"{images} image{'' if images == 1 else 's'}, {len(found.skipped)} skipped"]
    if rated is not None:
        lines += [f"of {rated.labelled} with a label: top-1 {rated.top1}, top-5 {rated.top5}"]
    return "".join(f"{line}\n" for line in lines)


def _tell_of(skipped: Sequence[Skipped], arguments: argparse.Namespace) -> None:
    for each in skipped[:20]:
        tell("warning", f"skipped: {each.reason}", quiet=arguments.quiet)


def _infer(arguments: argparse.Namespace, job: Job) -> str | list[Part]:
    from ..batch.inference import infer

    if arguments.output is None:
        raise UsageError("batch infer needs a folder for the outputs", hint="Give it with --output FOLDER.")
    parts, skipped = infer(**_given(arguments), source=arguments.inputs, output=arguments.output, job=job)
    _tell_of(skipped, arguments)
    if arguments.json:
        return parts
    samples = sum(each["samples"] for each in parts)
    counts = f"{samples} sample{'' if samples == 1 else 's'} in {len(parts)} file{'' if len(parts) == 1 else 's'}"
    return f"{counts} of {arguments.output}\n"


def _calibrate(arguments: argparse.Namespace, job: Job) -> str | Summary:
    from ....compiler.commands.compile import options_of as compile_options
    from ....compiler.driver import compile_to_file
    from ....compiler.options import CompileOptions
    from ...report.summary import summarize

    output = Path(arguments.output or f"{Path(arguments.network).stem}.twa")
    options = {**compile_options(arguments), "precision": "int8", "report": job.report, "shares": job}
    summary = summarize(compile_to_file(arguments.network, output, CompileOptions(**options)))
    for warning in summary.warnings:
        tell("warning", warning, quiet=arguments.quiet)
    return summary if arguments.json else summary.to_text(str(output))


def _sweep(arguments: argparse.Namespace, job: Job) -> str | Records:
    from ....compiler.commands import sweep

    arguments.model, arguments.jobs = Path(arguments.network), job.workers
    if arguments.output is not None:
        arguments.output = Path(arguments.output)
    return sweep.run(arguments)


def _of_sweep() -> set[str]:
    from ....compiler.commands.sweep import OPTIONS

    return {*OPTIONS, *_SWEPT}


_ACTIONS: dict[str, tuple[Callable[[], set[str]], Callable[[argparse.Namespace, Job], Any]]] = {
    "evaluate": (lambda: {"labels", "label_offset"} | _IMAGES | _SHARDS, _evaluate),
    "infer": (lambda: _IMAGES | _SHARDS, _infer),
    "calibrate": (lambda: {*_compiled()} | _SHARDS, _calibrate),
    "sweep": (_of_sweep, _sweep),
}
"""Of each action the options that it takes, and what performs it."""
