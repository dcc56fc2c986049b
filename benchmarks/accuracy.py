"""Accuracy in 8-bit integers on the accelerator, on labelled data that was not calibrated on. Remakes `docs/models.md`.

    python benchmarks/accuracy.py [--models TEXT ...] [--images N] [--method mse] [--json FILE] [--write docs/models.md]

Needs the folder that ``TILEWRIGHT_DATA`` names. Networks in floating point are calibrated on `CALIBRATED` samples and
judged on others, beside themselves in floating point. Networks that bring their quantisation are judged beside
onnxruntime on the same samples. Every sample runs on the engines device and software, whose outputs must be equal in
every byte; the first ones run through the reference interpreter too. Exits with 1 if a network misses its target.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from data_folder import data_folder
from integer_networks import (
    Arrays,
    IntegerNetwork,
    compile_integer,
    equal_bytes,
    first,
    last,
    model_inputs,
    output_scales,
    same_meaning,
    signal_to_noise,
    steps_apart,
    with_logits,
)
from onnxruntime_oracle import Oracle
from real_inputs import Sample, samples
from report import replace_section

import tilewright
from tilewright.compiler.options import CompileOptions
from tilewright.runtime.commands.console import progress_bar
from tilewright.runtime.report.table import Column, Table

CALIBRATED = 100
REFERENCES = 2
"""Samples that run through the reference interpreter."""

LARGEST_LOSS = 1.5
"""In points, against floating point."""

LEAST_SHARE = 0.95
"""Of the multiply-accumulates, on the device."""

LARGEST_DIFFERENCE = 0.5
"""In points, against the accuracy that is known of a network that brings its quantisation."""

LEAST_AGREEMENT = 0.999
"""Share of the output integers at most one step from onnxruntime's."""

Report = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Floating:
    """A network in floating point to be quantised.

    Attributes:
        images: how many to judge on.
        required: whether the targets must be met; others are shown for comparison.
    """

    name: str
    images: int
    required: bool = True


@dataclass(frozen=True)
class Brought:
    """A network that brings its quantisation.

    Attributes:
        images: how many to judge on.
        stated: the known accuracy in per cent, ``None`` where there is no labelled data.
        same_data: whether that was measured on the very samples that are at hand.
    """

    name: str
    images: int
    stated: float | None = None
    same_data: bool = False


FLOATING = (
    Floating("mobilenet_v2_1.0_224_f32", 200),
    Floating("mcunet_imagenet_best_f32", 200),
    Floating("resnet20_cifar10", 1000),
    Floating("resnet8_float", 1000),
    Floating("kws_float", 1000),
    Floating("mobilenet_v1_0.25_128_f32", 400, required=False),
)

BROUGHT = (
    Brought("mobilenet_v2_1.0_224_qdq", 500, 88.6),
    Brought("tf2_mobilenet_v2_1.0_224_perchannel_qdq", 500, 88.5),
    Brought("mobilenet_v1_0.25_128_qdq", 500, 45.9),
    Brought("mcunet_imagenet_best_qdq", 500, 68.2),
    Brought("resnet8_int8_qdq", 10_000, 75.46, same_data=True),
    Brought("kws_int8_qdq", 1000, 90.2, same_data=True),
    Brought("vww_int8_qdq", 24),
    Brought("ad01_int8_qdq", 200),
)


def per_cent(share: float) -> str:
    return f"{100 * share:.2f} %"


def shown(decimals: int) -> Callable[[float], str]:
    return lambda value: f"{value:.{decimals}f}"


FLOATING_COLUMNS = (
    Column("name", "network"),
    Column("images", "samples", right=True),
    Column("float", "fp32 top-1 (%)", shown(2), right=True),
    Column("device", "int8 top-1 (%)", shown(2), right=True),
    Column("loss", "loss (points)", shown(2), right=True),
    Column("agreement", "same answer", per_cent, right=True),
    Column("ratio", "logits (dB)", shown(1), right=True),
    Column("share", "MACs on the device", per_cent, right=True),
    Column("method", "ranges"),
    Column("compile", "compile (s)", shown(1), right=True),
    Column("simulate", "simulate one (ms)", shown(1), right=True),
)

BROUGHT_COLUMNS = (
    Column("name", "network"),
    Column("images", "samples", right=True),
    Column("stated", "stated top-1 (%)", shown(2), right=True),
    Column("oracle", "onnxruntime top-1 (%)", shown(2), right=True),
    Column("device", "device top-1 (%)", shown(2), right=True),
    Column("equal", "outputs equal", per_cent, right=True),
    Column("near", "within one step", per_cent, right=True),
    Column("default", "within one step, as it comes", per_cent, right=True),
    Column("logits", "logits within one step", per_cent, right=True),
    Column("share", "MACs on the device", per_cent, right=True),
    Column("compile", "compile (s)", shown(1), right=True),
    Column("simulate", "simulate one (ms)", shown(1), right=True),
)


def chosen_samples(name: str, model: onnx.ModelProto, data: Path, limit: int) -> list[Sample]:
    """At most so many samples in random order, the same one each time: photographs come sorted by class."""
    found = list(itertools.islice(samples(name, data, model_inputs(model)), limit))
    return [found[index] for index in np.random.default_rng(0).permutation(len(found))]


def top1(answers: Sequence[np.ndarray], labels: Sequence[int | None]) -> float:
    """Per cent of right answers."""
    right = [int(answer.argmax()) == label for answer, label in zip(answers, labels, strict=True)]
    return 100 * float(np.mean(right))


@dataclass(frozen=True)
class Run:
    """Outputs for each sample.

    Attributes:
        device: of the engine device; those of ``software`` were equal to it in every byte.
        other: of what it is compared with.
        milliseconds: median time to simulate the device on one sample.
    """

    device: list[Arrays]
    other: list[Arrays]
    milliseconds: float


def run_all(
    name: str, network: IntegerNetwork, chosen: Sequence[Sample], other: Callable[[Arrays], Arrays], report: Report
) -> Run:
    """Run the samples on the device, in software and by ``other``.

    Raises:
        RuntimeError: engines or the reference differ in a byte.
    """
    device, others, times = [], [], []
    with (
        tilewright.load(network.artifact, engine="device") as on_device,
        tilewright.load(network.artifact, engine="software") as in_software,
    ):
        for index, sample in enumerate(chosen):
            start = time.perf_counter()
            device.append(on_device.run(sample.inputs))
            times.append(time.perf_counter() - start)
            if not equal_bytes(in_software.run(sample.inputs), device[-1]):
                raise RuntimeError(f"{name}: software differs from the device on sample {index}")
            if index < REFERENCES and not same_meaning(network.reference(sample.inputs), device[-1]):
                raise RuntimeError(f"{name}: the device differs from the reference on sample {index}")
            others.append(other(sample.inputs))
            report(name, index + 1, len(chosen))
    return Run(device, others, 1e3 * float(np.median(times)))


def measure_floating(case: Floating, data: Path, images: int, method: str, report: Report) -> dict[str, object]:
    """One row of the table of networks quantised here."""
    model = with_logits(onnx.load(data / "models" / f"{case.name}.onnx"))
    chosen = chosen_samples(case.name, model, data, CALIBRATED + 1000)
    calibration, held_out = chosen[:CALIBRATED], chosen[CALIBRATED:][:images]
    start = time.perf_counter()
    network = compile_integer(model, calibration, method, report)
    seconds = time.perf_counter() - start
    with tilewright.load(network.artifact, engine="float") as floating:
        run = run_all(case.name, network, held_out, floating.run, report)
    labels = [sample.label for sample in held_out]
    expected, found = [first(each) for each in run.other], [first(each) for each in run.device]
    accuracies = top1(expected, labels), top1(found, labels)
    same = [a.argmax() == b.argmax() for a, b in zip(expected, found, strict=True)]
    return {
        "name": case.name,
        "images": len(held_out),
        "float": accuracies[0],
        "device": accuracies[1],
        "loss": accuracies[0] - accuracies[1],
        "agreement": float(np.mean(same)),
        "ratio": signal_to_noise(
            np.stack([last(each) for each in run.other]), np.stack([last(each) for each in run.device])
        ),
        "share": network.device_share,
        "method": method,
        "compile": seconds,
        "simulate": run.milliseconds,
    }


def measure_brought(case: Brought, data: Path, images: int, report: Report) -> dict[str, object]:
    """One row of the table of networks that bring their quantisation."""
    original = onnx.load(data / "models" / f"{case.name}.onnx")
    model = with_logits(original)
    held_out = chosen_samples(case.name, model, data, images)
    start = time.perf_counter()
    network = compile_integer(model, (), None, report)
    seconds = time.perf_counter() - start
    oracle, default = Oracle(model, integers=True), Oracle(original)
    answers: list[np.ndarray] = []

    def judge(inputs: Arrays) -> Arrays:
        answers.append(first(default.run(inputs)))
        return oracle.run(inputs)

    run = run_all(case.name, network, held_out, judge, report)
    labels = [sample.label for sample in held_out]
    scales = output_scales(model)
    steps = {
        name: np.stack([steps_apart(a[name], b[name], scale) for a, b in zip(run.device, run.other, strict=True)])
        for name, scale in scales.items()
    }
    names = [output.name for output in model.graph.output]
    answer, logits = steps[names[0]], steps[names[-1]]
    scale = scales[names[0]]
    by_default = [steps_apart(first(found), known, scale) for found, known in zip(run.device, answers, strict=True)]
    row: dict[str, object] = {
        "name": case.name,
        "images": len(held_out),
        "stated": case.stated,
        "equal": float(np.mean(answer == 0)),
        "near": float(np.mean(answer <= 1)),
        "logits": float(np.mean(logits <= 1)),
        "default": float(np.mean(np.stack(by_default) <= 1)),
        "share": network.device_share,
        "compile": seconds,
        "simulate": run.milliseconds,
    }
    if case.stated is not None:
        row["oracle"] = top1([first(each) for each in run.other], labels)
        row["device"] = top1([first(each) for each in run.device], labels)
    return row


def misses_of_floating(case: Floating, row: dict[str, object]) -> list[str]:
    """The targets that the row misses."""
    loss, share = float(str(row["loss"])), float(str(row["share"]))
    found = [f"loses {loss:.2f} points"] * (loss > LARGEST_LOSS)
    found += [f"only {per_cent(share)} of the MACs on the device"] * (share < LEAST_SHARE)
    return found if case.required else []


def misses_of_brought(case: Brought, row: dict[str, object]) -> list[str]:
    """The targets that the row misses."""
    near = max(float(str(row["near"])), float(str(row["default"])))
    found = [f"only {per_cent(near)} of the outputs within one step"] * (near < LEAST_AGREEMENT)
    if case.stated is not None:
        whole = case.same_data and row["images"] == case.images
        for name, known in (("onnxruntime", row["oracle"]), ("what is stated", case.stated if whole else None)):
            if known is not None and abs(float(str(row["device"])) - float(str(known))) > LARGEST_DIFFERENCE:
                found.append(f"accuracy differs from {name}")
    return found


def floating_document(table: Table) -> str:
    return f"""## Quantised after training, on the accelerator

Made by `python benchmarks/accuracy.py --write docs/models.md`.

Calibrated on {CALIBRATED} samples with the default options, judged on others: photographs of every other class of
ImageNet, CIFAR-10 test images of each class in turn, spoken words (1,000 clips, less those calibrated on). *Loss* is
top-1 in floating point less top-1 on the engine `device`; at most {LARGEST_LOSS} points are allowed, and at least
{LEAST_SHARE:.0%} of the multiply-accumulates must be done by the device. *Logits* is the ratio of signal to noise of
what the softmax is applied to, against floating point. `device` and `software` were equal in every byte on every
sample, and on the first {REFERENCES} their integers were those of the reference interpreter.

{table.markdown()}"""


def brought_document(table: Table) -> str:
    return f"""## With the quantisation that they bring, on the accelerator

Made by `python benchmarks/accuracy.py --write docs/models.md`.

*Stated* is the accuracy known of the model: for the photographs it was measured on 1,000 images, of which 500 are at
hand; the others were measured on the same data. *Outputs* are the integers that the last `DequantizeLinear` is applied
to, *logits* the integers before the softmax. `device`, `software` and reference were equal, as above. `vww` and `ad01`
have no labelled data.

onnxruntime runs the same file at its default optimisation level, in two ways: with `session.qdqisint8allowed` set, so
that it computes in integers throughout, and *as it comes*. At least {LEAST_AGREEMENT:.1%} of the outputs must be within
one step of one of them. As it comes, on x86, it converts signed integers to unsigned ones, and where two ops read the
same integers it falls back to floating point, in which a sum next to a tie may be rounded to the other side. Its
QLinearAdd, in either way, rounds sums next to a tie as binary32 happens to ([arithmetic](arithmetic.md)). Whatever
differs, the layers that follow make more of it.

{table.markdown()}"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", default=[""], help="only networks whose name contains one of these")
    parser.add_argument("--images", type=int, default=sys.maxsize, help="judge on at most so many samples each")
    parser.add_argument("--method", default=CompileOptions.calibration_method, help="of deriving ranges")
    parser.add_argument("--json", type=Path, help="where to write the rows")
    parser.add_argument(
        "--write", type=Path, help="the document whose sections to replace, where all their networks were measured"
    )
    options = parser.parse_args()
    data = data_folder()
    floating, brought = Table(FLOATING_COLUMNS), Table(BROUGHT_COLUMNS)
    failures = []
    with progress_bar() as report:
        for case in (*FLOATING, *BROUGHT):
            if not any(part in case.name for part in options.models):
                continue
            images = min(case.images, options.images)
            if isinstance(case, Floating):
                row = measure_floating(case, data, images, options.method, report)
                floating.add(**row)
                misses = misses_of_floating(case, row)
            else:
                row = measure_brought(case, data, images, report)
                brought.add(**row)
                misses = misses_of_brought(case, row)
            sys.stderr.write(f"{row}\n")
            failures += [f"{case.name}: {miss}" for miss in misses]
    for table in (floating, brought):
        print(table.text(), end="")
    if options.json is not None:
        found = {"floating": floating.records(), "brought": brought.records(), "missed": failures}
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    if options.write is not None:
        if len(floating.rows) == len(FLOATING):
            replace_section(options.write, "int8-quantised", floating_document(floating))
        if len(brought.rows) == len(BROUGHT):
            replace_section(options.write, "int8-brought", brought_document(brought))
    for failure in failures:
        sys.stderr.write(f"missed: {failure}\n")
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
