"""Compare two networks on data: models, with encodings or not, and artifacts.

Encodings, and tensors that are no outputs, are for ONNX models.

Exits with 1 where a sample does not pass.

Examples:
  tilewright compare model.onnx model.onnx --encodings model.encodings --data DATA/
  tilewright compare model.onnx model.twa --data samples.npz --metric rmse --threshold 0.1
  tilewright compare model.onnx model.xml --data DATA/
  tilewright compare old.onnx new.onnx --data DATA/ --layer conv1=conv1_1 --export maps/
"""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING

from tilewright.errors import TilewrightError, UsageError

from ...commands.parser import number

if TYPE_CHECKING:
    from ..simulator.inference import Comparison


class FailedComparisonError(TilewrightError):
    """Samples do not pass a comparison."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("reference", metavar="REFERENCE", help="The reference: FILE.onnx, FILE.xml or FILE.twa.")
    parser.add_argument("network", metavar="NETWORK", help="What is compared with it: FILE.onnx, FILE.xml or FILE.twa.")
    parser.add_argument(
        "--data",
        required=True,
        metavar="PATH",
        help="A folder of .npz, .npy and .h5 files, or one such file: samples, or stacks of them.",
    )
    parser.add_argument("--encodings", metavar="FILE", help="How NETWORK is quantised: FILE.encodings.")
    parser.add_argument("--reference-encodings", metavar="FILE", help="How REFERENCE is quantised.")
    parser.add_argument(
        "--layer",
        action="append",
        metavar="NAME[=NAME]",
        help="Compare this tensor of REFERENCE with that of NETWORK in place of the outputs.",
    )
    parser.add_argument(
        "--metric", default="snr", metavar="METRIC", help="snr, psnr, cosine, rmse, mse, mae or max_abs."
    )
    parser.add_argument(
        "--threshold", type=number, metavar="NUMBER", help="What passes. Default: 30 dB for snr, which others lack."
    )
    parser.add_argument("--export", metavar="FOLDER", help="Write what is compared there, a .npz file for each sample.")
    parser.add_argument("--cuda", action="store_true", help="Compute the metric on an NVIDIA GPU.")


def run(arguments: argparse.Namespace) -> str:
    """What it prints, where every sample passes.

    Raises:
        FailedComparisonError: one does not pass; what would have been returned is printed already.
        UsageError: the metric is unknown, or has no threshold.
        TilewrightError: a file or a name is wrong, or networks or tensors do not fit each other.
    """
    from ...commands.console import show
    from ..simulator.inference import compare_on_data
    from ..simulator.metrics import METRICS, default_threshold, metric_name

    metric = metric_name(arguments.metric)
    if metric is None:
        raise UsageError("unknown metric", expected=", ".join(METRICS), found=repr(arguments.metric))
    threshold = default_threshold(metric) if arguments.threshold is None else arguments.threshold
    if math.isnan(threshold):
        raise UsageError(f"metric {metric} needs a threshold", hint="Give it with --threshold NUMBER.")
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
    )
    shown = _json(found, metric, threshold) if arguments.json else _text(found, metric)
    failed = [sample for sample, (passed, _) in found.items() if not passed]
    if failed:
        show(shown)
        more = f" and {len(failed) - 3} more" if len(failed) > 3 else ""
        raise FailedComparisonError(
            f"{len(failed)} of {len(found)} samples do not pass",
            expected=f"{metric} of at {'least' if METRICS[metric].higher_passes else 'most'} {threshold:g}",
            found=f"less well in {', '.join(failed[:3])}{more}",
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


def _json(found: Comparison, metric: str, threshold: float) -> str:
    """JSON has no infinities and no NaN: these are texts."""
    from ...report.table import json_text

    def finite(value: float) -> float | str:
        return value if math.isfinite(value) else str(value)

    samples = {
        sample: {"passed": passed, "values": {tensor: finite(value) for tensor, value in values.items()}}
        for sample, (passed, values) in found.items()
    }
    passed = all(passed for passed, _ in found.values())
    return json_text({"metric": metric, "threshold": finite(threshold), "passed": passed, "samples": samples})
