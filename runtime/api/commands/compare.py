"""Compare two networks on data, value by value: models, with encodings or not, artifacts, and onnxruntime.

Every value that both have is compared in real units, those in the middle included: of artifacts they are outputs if
they were compiled with --keep. A model is compiled as `tilewright compile` does it; onnxruntime:model.onnx is that
model as onnxruntime computes it, node by node.

With --metric, --threshold, --layer, --export or --cuda, outputs or the layers named are compared on each sample
instead, and it exits with 1 where a sample does not pass.

--every-layer looks for the first value, in order of execution, that differs from the reference by more than rounding,
and exits with 1 if there is one. With one network the reference is the same model in onnxruntime: that is how to find
an operator that is computed wrongly.

Examples:
  tilewright compare model.onnx model_int8.onnx --data images/ --html layers.html
  tilewright compare model.onnx model.twa --data samples.npz --all
  tilewright compare model.onnx --every-layer
  tilewright compare onnxruntime:model.onnx model.twa --data samples.npz --every-layer
  tilewright compare model.onnx model.onnx --encodings model.encodings --data DATA/
  tilewright compare old.onnx new.onnx --data DATA/ --layer conv1=conv1_1 --export maps/
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypedDict

from tilewright.errors import FailedCheckError, UsageError, first_of

from ...commands.parser import number, output_path, whole_number
from ...commands.shapes import add_imported, add_input_shape, one_given, parse_bounds, parse_frozen

if TYPE_CHECKING:
    from ..comparison.every_layer import Agreement
    from ..comparison.party import Party
    from ..comparison.tables import ComparedValues
    from ..simulator.inference import Comparison
    from ..simulator.input_data import Feeds


class FailedComparisonError(FailedCheckError):
    """Samples do not pass a comparison, or a value differs."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    kinds = "FILE.onnx, FILE.xml, FILE.twa or onnxruntime:FILE.onnx."
    parser.add_argument("reference", metavar="REFERENCE", help=f"The reference: {kinds}")
    parser.add_argument("network", metavar="NETWORK", nargs="?", help=f"What is compared with it: {kinds}")
    data = (
        "A folder of .npz, .npy and .h5 files, or one such file: samples, or stacks of them; an image or a folder of "
        "them; a .csv or .wav file; NAME=PATH,NAME=PATH for several inputs; or the word random, which is what "
        "--every-layer takes without. Otherwise required."
    )
    parser.add_argument("--data", metavar="PATH", help=data)
    parser.add_argument(
        "--preprocess", metavar="KEY=VALUE,…", help="How images become inputs, as `tilewright compile` takes it."
    )
    parser.add_argument(
        "--force-preprocess", action="store_true", help="Prepare images so even if a network says otherwise."
    )
    parser.add_argument("--limit", type=whole_number(1), metavar="N", help="Use at most N samples.")
    models = "The shape of an input that REFERENCE leaves open. "
    default = "1 for what a model leaves open and samples do not say, the first of an artifact."
    add_input_shape(parser, models, default, "the one to compare in")
    add_imported(parser)
    parser.add_argument("--encodings", metavar="FILE", help="How NETWORK is quantised: FILE.encodings.")
    parser.add_argument("--reference-encodings", metavar="FILE", help="How REFERENCE is quantised.")
    parser.add_argument("--all", action="store_true", help="Show all values, and those that one of both has alone.")
    parser.add_argument(
        "--html", type=output_path, metavar="FILE.html", help="Write a page with a picture of the loss by layer."
    )
    parser.add_argument(
        "--every-layer", action="store_true", help="Name the first value that differs by more than rounding."
    )
    tolerance = "With --every-layer, how much of the largest number of a value may be rounding. Default: 0.001."
    parser.add_argument("--tolerance", type=number, metavar="NUMBER", help=tolerance)
    by_sample = parser.add_argument_group("Outputs or chosen layers on each sample")
    layer = "Compare this tensor of REFERENCE with that of NETWORK in place of the outputs."
    by_sample.add_argument("--layer", action="append", metavar="NAME[=NAME]", help=layer)
    by_sample.add_argument("--metric", metavar="METRIC", help="snr, psnr, cosine, rmse, mse, mae or max_abs.")
    by_sample.add_argument(
        "--threshold", type=number, metavar="NUMBER", help="What passes. Default: 30 dB for snr, which others lack."
    )
    by_sample.add_argument(
        "--export", metavar="FOLDER", help="Write what is compared there, a .npz file for each sample."
    )
    by_sample.add_argument("--cuda", action="store_true", help="Compute the metric on an NVIDIA GPU.")


class ComparedSample(TypedDict):
    """Whether a sample passes, and the metric of each tensor."""

    passed: bool
    values: dict[str, float | str]


class ComparedSamples(TypedDict):
    """Outputs, or the layers that were named, on each sample.

    Attributes:
        threshold: what passes.
        samples: by name.
    """

    metric: str
    threshold: float | str
    passed: bool
    samples: dict[str, ComparedSample]


def run(arguments: argparse.Namespace) -> str | ComparedValues | Agreement | ComparedSamples:
    for name, flag in (("data", "--data"), ("network", "NETWORK")):
        if getattr(arguments, name) is None and not arguments.every_layer:
            raise UsageError(f"Missing argument {flag!r}", hint="See `tilewright compare --help`.")
    given = {name for name, value in vars(arguments).items() if value not in (None, False, [])}
    by_sample = [each for each in ("layer", "metric", "threshold", "export", "cuda") if each in given]
    names = ("html", "all", "every_layer", "limit", "preprocess", "input_shape")
    by_value = [each for each in names if each in given]
    others = by_sample or ["every-layer"] * (arguments.every_layer and by_value[:1] != ["every_layer"])
    if others and by_value:
        flag, hint = by_value[0].replace("_", "-"), f"Leave --{others[0]} out to compare every value."
        raise UsageError(f"--{flag} is for the comparison of all values", found=f"--{others[0]}", hint=hint)
    if arguments.tolerance is not None and not arguments.every_layer:
        raise UsageError("--tolerance is for --every-layer", hint="Leave it out, or add --every-layer.")
    if arguments.every_layer:
        return _every_layer(arguments)
    return _by_sample(arguments) if by_sample else _by_value(arguments)


def _by_value(arguments: argparse.Namespace) -> str | ComparedValues:
    from ...files.output_file import check_output, write_file
    from ..comparison.measures import compare_values
    from ..comparison.tables import compared_values, page, text

    if arguments.html is not None:
        check_output(arguments.html, inputs=[arguments.reference, arguments.network])
    with _opened(arguments) as (reference, network, samples, report):
        result = compare_values(reference, network, samples, report)
    if arguments.html is not None:
        write_file(arguments.html, page(result).encode())
    return compared_values(result) if arguments.json else text(result, every=arguments.all)


def _every_layer(arguments: argparse.Namespace) -> str | Agreement:
    from ...report.table import on_lines
    from ..comparison.every_layer import TOLERANCE, first_difference

    tolerance = TOLERANCE if arguments.tolerance is None else arguments.tolerance
    with _opened(arguments) as (reference, network, samples, report):
        found = first_difference(reference, network, samples, tolerance, report)
    shown = found if arguments.json else on_lines(found.text)
    if found.difference is None:
        return shown
    raise FailedComparisonError(
        f"{found.network} differs from {found.reference}",
        shown,
        stage="compare",
        op=found.difference.op,
        expected=found.difference.expected,
        found=found.difference.found,
        hint="`tilewright reduce` makes a small model of it that still differs.",
    )


@contextmanager
def _opened(
    arguments: argparse.Namespace,
) -> Iterator[tuple[Party, Party, Iterator[tuple[str, Feeds]], Callable[[int], object]]]:
    """Reference and network, the samples, and what is told how many of these are done."""
    from ...commands.console import progress_bar
    from ..comparison.comparison import opened

    with (
        opened(
            arguments.reference,
            arguments.network,
            arguments.data,
            preprocessing=arguments.preprocess,
            limit=arguments.limit,
            input_shapes=one_given(arguments.input_shape),
            encodings=arguments.encodings,
            reference_encodings=arguments.reference_encodings,
            force=arguments.force_preprocess,
            freeze=parse_frozen(arguments.freeze),
            bounds=parse_bounds(arguments.bound),
        ) as (reference, network, total, samples),
        progress_bar(quiet=arguments.quiet) as report,
    ):
        yield reference, network, samples, lambda done: report("compare", done, total)


def _by_sample(arguments: argparse.Namespace) -> str | ComparedSamples:
    from ..comparison.comparison import have_shapes
    from ..simulator.inference import compare_on_data
    from ..simulator.metrics import METRICS, default_threshold, metric_name

    metric = metric_name(arguments.metric or "snr")
    if metric is None:
        raise UsageError("unknown metric", expected=", ".join(METRICS), found=repr(arguments.metric))
    threshold = default_threshold(metric) if arguments.threshold is None else arguments.threshold
    if math.isnan(threshold):
        raise UsageError(f"metric {metric} needs a threshold", hint="Give it with --threshold NUMBER.")
    if not have_shapes(arguments.data):
        hint = "Give .npz, .npy or .h5 files, or leave --metric and its like out to compare every value on others."
        raise UsageError("outputs are compared on arrays, sample by sample", found=arguments.data, hint=hint)
    halves = [layer.partition("=") for layer in arguments.layer or ()]
    pairs = [(first, second if sign else first) for first, sign, second in halves]
    found = compare_on_data(
        (arguments.reference, arguments.network),
        (arguments.reference_encodings, arguments.encodings),
        arguments.data,
        pairs or None,
        metric=metric,
        threshold=threshold,
        export=arguments.export,
        use_cuda=arguments.cuda,
        quiet=arguments.quiet,
        freeze=parse_frozen(arguments.freeze),
        bounds=parse_bounds(arguments.bound),
    )
    shown = _found(found, metric, threshold) if arguments.json else _text(found, metric)
    failed = [sample for sample, (passed, _) in found.items() if not passed]
    if failed:
        raise FailedComparisonError(
            f"{len(failed)} of {len(found)} samples do not pass",
            shown,
            expected=f"{metric} of at {'least' if METRICS[metric].higher_passes else 'most'} {threshold:g}",
            found=f"less well in {first_of(failed)}",
        )
    return shown


def _text(found: Comparison, metric: str) -> str:
    from ...report.table import Column, Table
    from ..simulator.metrics import METRICS

    unit = METRICS[metric].unit
    title = f"{metric} ({unit})" if unit else metric
    columns = [Column("sample", "sample"), Column("tensor", "tensor"), Column("value", title, "{:.6g}".format, True)]
    table = Table([*columns, Column("passed", "sample passes", lambda passed: "yes" if passed else "no")])
    for sample, (passed, values) in found.items():
        for tensor, value in values.items():
            table.add(sample=sample, tensor=tensor, value=value, passed=passed)
    return table.text()


def _found(found: Comparison, metric: str, threshold: float) -> ComparedSamples:
    samples = {sample: ComparedSample(passed=passed, values={**values}) for sample, (passed, values) in found.items()}
    passed = all(passed for passed, _ in found.values())
    return {"metric": metric, "threshold": threshold, "passed": passed, "samples": samples}
