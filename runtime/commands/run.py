"""Run an artifact and print its outputs.

Examples:
  tilewright run digits.twa --random 1
  tilewright run mobilenet.twa photo.jpg --labels imagenet.txt --top 5
  tilewright run resnet50.twa image.npy -o scores.npz
  tilewright run segmenter.twa photo.jpg -o classes.png
  tilewright run resnet50.twa image.npy --profile
  tilewright run resnet50.twa image.npy --trace run.json --requests 8 --workers 2
  tilewright run resnet50.twa five_images.npy --pad batch
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from tilewright.errors import UsageError

from .console import tell
from .parser import add_artifact, add_engine, add_force, add_output, add_time_limit, output_path, whole_number

if TYPE_CHECKING:
    from ..report.classes import BestClass
    from ..report.execution import OutputArray
    from ..report.table import Records

_REQUESTS, _MOST = 3, 1000
"""Requests of a trace: by default, and at most."""

_PICTURE = ".png"
"""What the name of a picture ends in."""

_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_artifact(parser)
    inputs = (
        "FILE.npy, or images, one for each of the batch, that are prepared as the artifact says, in that of its "
        "shapes that is most like them; NAME=FILE where the network has several inputs; FILE.npz with an array for "
        "each; FILE.csv with a line of numbers for each of the batch; or FILE.wav for a waveform."
    )
    parser.add_argument("inputs", nargs="*", default=[], metavar="INPUT", help=inputs)
    random = "Run on random inputs made from this seed, 0 or more, instead."
    parser.add_argument("--random", type=whole_number(0), metavar="SEED", help=random)
    add_output(parser, "FILE.npz", "Save the outputs; as FILE.png the first that is a picture or a map of classes.")
    pictures = parser.add_argument_group("Images and classes")
    preprocess = (
        "How images become inputs, as for `tilewright compile`, of an artifact that does not say. Another one "
        "than the artifact's is refused."
    )
    pictures.add_argument("--preprocess", metavar="KEY=VALUE,...", help=preprocess)
    add_force(pictures)
    top = (
        "Print the N best classes of each item of a batch, or of each of its tokens or boxes; of a map those of "
        "the most pixels; of one number that a sigmoid makes 1, yes, and 0, no. Where a softmax makes some outputs, of "
        "these alone."
    )
    pictures.add_argument("--top", type=whole_number(1), metavar="N", help=top)
    labels = "The names of the classes, one a line; with an output more than lines, the first has no name."
    pictures.add_argument("--labels", type=Path, metavar="FILE.txt", help=labels)
    add_engine(parser)
    pad = (
        "An open extent by its name, such as batch: pad inputs that have none of the artifact's shapes with zeros "
        "at its end, to the smallest shape that holds them, and cut outputs back. Along a batch that changes nothing "
        "else where the network computes each item by itself; along a sequence the zeros are read as data."
    )
    parser.add_argument("--pad", action="append", default=[], metavar="EXTENT", help=pad)
    threads = (
        "Threads that compute on the CPU. Default: one for each core that this process may use, or as many as the "
        "environment variable TILEWRIGHT_THREADS says, and never more. Results do not depend on it."
    )
    parser.add_argument("--threads", type=whole_number(1), metavar="N", help=threads)
    parser.add_argument("--profile", action="store_true", help="Print the time of each step, not the results.")
    trace = (
        "Also write when requests wait and run, their steps and the threads that compute them, for Perfetto "
        "(ui.perfetto.dev) and chrome://tracing. A name that ends in .gz: compressed."
    )
    parser.add_argument("--trace", type=output_path, metavar="FILE.json", help=trace)
    requests = f"With --trace: requests of the same inputs, after one that is not drawn. Default: {_REQUESTS}."
    parser.add_argument("--requests", type=whole_number(1), metavar="N", help=requests)
    parser.add_argument(
        "--workers", type=whole_number(1), metavar="N", help="With --trace: requests that run at once. Default: 1."
    )
    allowed = parser.add_argument_group("What may run, and for how much")
    machine = (
        "The accelerator at hand: m4096, s256, u250, or the path of a machine file. "
        "An artifact made for another one is refused."
    )
    allowed.add_argument("--machine", metavar="MACHINE", help=machine)
    trust = (
        "Run only what is signed by this key (ed25519:…) or has this digest (sha256:…). "
        "Default: native code runs if it was made here or is signed by a key that you trust, "
        "otherwise it is generated again."
    )
    allowed.add_argument("--trust", metavar="KEY", help=trust)
    no_regenerate = (
        "Refuse an artifact whose native code may not or cannot run here, instead of generating its kernels "
        "again, which takes the compiler and seconds."
    )
    allowed.add_argument("--no-regenerate", action="store_true", help=no_regenerate)
    memory_limit = (
        "Refuse an artifact that needs more memory to run, in bytes or with a unit, such as 512M or 2G. "
        "Default: no limit."
    )
    allowed.add_argument("--memory-limit", type=_size, metavar="SIZE", help=memory_limit)
    add_time_limit(allowed)


def _size(text: str) -> int:
    """Bytes, from a number with one of the units that `dd` and others know."""
    number, unit = (text[:-1], text[-1]) if text[-1:] in _UNITS else (text, "")
    size = int(number) * _UNITS.get(unit, 1) if number.isascii() and number.isdigit() and len(number) < 20 else 0
    if not size:
        raise argparse.ArgumentTypeError(f"{text!r} is no size such as 512M or 2G")
    return size


def run(arguments: argparse.Namespace) -> str | dict[str, OutputArray] | dict[str, list[list[BestClass]]] | Records:
    from ..files.output_file import check_ending, check_outputs, is_standard_output, output_file
    from ..report.classes import best_classes, classes_text, image_size, read_names
    from ..report.details import details_of
    from ..report.execution import Images, gather_inputs, output_arrays, profile_table, results_text, save_outputs
    from ..report.input_doubts import doubts
    from ..report.picture import check_picture, write_picture
    from ..report.table import show_number
    from ..session import load

    output: Path | None = arguments.output
    names = None if arguments.labels is None else read_names(arguments.labels)
    top = arguments.top or (5 if names is not None else None)
    if arguments.profile and output is not None:
        raise UsageError("--profile prints times and has no outputs to save", hint="Leave --profile or --output out.")
    requests, workers = arguments.requests or _REQUESTS, arguments.workers or 1
    if arguments.trace is None and (arguments.requests or arguments.workers):
        raise UsageError("--requests and --workers are for --trace", hint="Give it a file, or leave them out.")
    if arguments.trace is not None and (arguments.profile or max(requests, workers) > _MOST):
        what = "--profile and --trace are different runs" if arguments.profile else "a trace is of too many requests"
        raise UsageError(what, expected=f"--trace alone, of at most {_MOST} requests")
    files = [*arguments.inputs, *(each.partition("=")[2] for each in arguments.inputs)]
    check_outputs((output, arguments.trace), source=arguments.artifact, inputs=files)
    is_picture = output is not None and output.suffix.lower() == _PICTURE
    if output is not None and not is_picture:
        check_ending(output, ".npz", "--json prints them, FILE.png is a picture; a .npz becomes sounds elsewhere.")
    with load(
        arguments.artifact,
        engine=arguments.engine,
        machine=arguments.machine,
        threads=arguments.threads,
        trust=arguments.trust,
        regenerate=not arguments.no_regenerate,
        memory_limit=arguments.memory_limit,
        time_limit=arguments.time_limit,
        pad=arguments.pad,
    ) as session:
        check = session.check_shapes if len(session.shapes) > 1 else None
        details = details_of(session.artifact)
        kept = {each.name for each in details.kept if not each.is_output}
        if is_picture and check is None:
            outputs = [each for each in session.outputs if each.name not in kept]
            check_picture(outputs, [each.shape for each in session.inputs])
        images = Images(session.shapes, details.images or {}, arguments.preprocess, arguments.force_preprocess)
        rates = {each.input: each.rate for each in details.calibration}
        arrays = gather_inputs(session.inputs, arguments.inputs, arguments.random, check, images, rates)
        for doubt in doubts(arrays, details.calibration) if arguments.random is None else ():
            tell("warning", doubt, quiet=arguments.quiet)
        if arguments.profile:
            table = profile_table(session.profile(arrays))
            return table.records() if arguments.json else table.text()
        if arguments.trace is None:
            results = session.run(arrays)
        else:
            from ..report.trace import traced_requests, write_run_trace

            traced = traced_requests(session, arrays, requests, workers)
            write_run_trace(arguments.trace, session, traced)
            results = traced[-1].outputs
    own = {name: array for name, array in results.items() if name not in kept}
    shapes = [array.shape for array in arrays.values()]
    if output is not None:
        if is_picture:
            with output_file(output) as file:
                tell("note", f"{output} {write_picture(file, own, shapes)}", quiet=arguments.quiet)
        else:
            save_outputs(output, results)
        if is_standard_output(output):
            return ""
    found = (
        best_classes(own, top, names, details.truths, details.shares, image_size(shapes)) if top is not None else None
    )
    if arguments.json:
        return output_arrays(results) if found is None else found
    count = len(results) - len(own)
    more = f"{show_number(count, 'kept value')} not shown: --json prints, and -o FILE.npz saves them.\n"
    return (results_text(own) if found is None else classes_text(found, own)) + (more if count else "")
