"""Accuracy in integers by the one command `tilewright quantize`, as it comes. Remakes a section of `docs/models.md`.

    TILEWRIGHT_DATA=FOLDER python benchmarks/quantize_command.py FILES [--models TEXT ...] [--write docs/models.md]

Samples are given in the order of the data, as a folder of photographs would be; the command itself divides them into
those that it calibrates on, that choose methods, and that judge. Where a network has several outputs, each is judged as
it leaves the artifact as well, on the same samples, beside onnxruntime on the network in floating point. Exits with 1
if a network misses what was asked. Files are written into the folder FILES.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from accuracy import shown
from data_folder import data_folder
from integer_networks import model_inputs, signal_to_noise
from onnxruntime_oracle import Oracle
from real_inputs import samples
from report import replace_section

import tilewright
from tilewright.compiler.benchmark.comparison import processor_name
from tilewright.compiler.calibration.dataset import open_calibration_set
from tilewright.compiler.quantization.ladder.quantize_model import CALIBRATED, divided
from tilewright.ir.types import DType, TensorType
from tilewright.runtime.report.table import Column, Table

LARGEST_LOSS = 0.5
"""Of top-1, in points, against floating point."""


@dataclass(frozen=True)
class Asked:
    """A network, and the least SQNR of each of its outputs, before a softmax where it has one output."""

    name: str
    samples: int
    decibels: tuple[float, ...]


NETWORKS = (
    Asked("mobilenet_v2_1.0_224_f32", 500, (26,)),
    Asked("mobilenet_v1_0.25_128_f32", 500, (27,)),
    Asked("mcunet_imagenet_best_f32", 500, (23,)),
    Asked("resnet20_cifar10", 600, (30,)),
    Asked("resnet8_float", 600, (33.5,)),
    Asked("kws_float", 1000, (34,)),
    Asked("ultraface_rfb_320_simplified", 524, (49, 24)),
)

COLUMNS = (
    Column("name", "network"),
    Column("judged", "judged on", right=True),
    Column("float", "fp32 top-1 (%)", shown(2), right=True),
    Column("found", "int8 top-1 (%)", shown(2), right=True),
    Column("same", "same answer (%)", shown(2), right=True),
    Column("sqnr", "SQNR (dB)", right=True),
    Column("asked", "asked", right=True),
    Column("methods", "written with"),
    Column("seconds", "processor (s)", shown(0), right=True),
)


def measure(case: Asked, data: Path, folder: Path, ending: str) -> tuple[dict[str, object], list[str]]:
    """A row of the table, and what of it misses."""
    model = data / "models" / f"{case.name}.onnx"
    specs = model_inputs(onnx.load(model))
    drawn = [*itertools.islice(samples(case.name, data, specs), case.samples)]
    (spec,) = specs
    given, output = folder / f"{case.name}.npy", folder / f"{case.name}{ending}"
    np.save(given, np.concatenate([each.inputs[spec.name] for each in drawn]))
    command = [sys.executable, "-m", "tilewright", "quantize", str(model), "--calibration", str(given)]
    labels = [each.label for each in drawn]
    if None not in labels:
        np.save(folder / f"{case.name}-labels.npy", np.array(labels))
        command += ["--labels", str(folder / f"{case.name}-labels.npy")]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ran = subprocess.run([*command, "-o", str(output), "--json"], stdout=subprocess.PIPE, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    (folder / f"{case.name}{ending}.json").write_bytes(ran.stdout)
    found: dict[str, Any] = json.loads(ran.stdout)["result"]
    score = found["rungs"][found["chosen"]]["score"]
    ratios = [score["sqnr"]] if len(case.decibels) == 1 else at_the_ends(model, output, given)
    top1 = found["top1"]
    row = {
        "name": case.name,
        "judged": found["judged"],
        "float": None if top1 is None else 100 * top1,
        "found": None if top1 is None else 100 * score["top1"],
        "same": 100 * score["agreement"],
        "sqnr": ", ".join(f"{each:.2f}" for each in ratios),
        "asked": ", ".join(f"{each:g}" for each in case.decibels),
        "methods": written_with(found),
        "seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
    }
    missed = [f"{each:.2f} dB" for each, least in zip(ratios, case.decibels, strict=True) if each < least]
    if top1 is not None and 100 * (top1 - score["top1"]) > LARGEST_LOSS + 1e-9:
        missed.append(f"loses {100 * (top1 - score['top1']):.2f} points")
    return row, missed


def written_with(found: dict[str, Any]) -> str:
    """The tries that what was written stands on, as the command calls them."""
    rungs = found["rungs"][: found["chosen"] + 1]
    kept = [each["what"].partition(":")[0].removeprefix("+ ") for each in rungs[1:] if not each["rejected"]]
    return ", ".join(kept) or "ranges alone"


def at_the_ends(model: Path, output: Path, given: Path) -> list[float]:
    """SQNR of each output as it is computed, on the samples that the command judged by."""
    (spec,) = model_inputs(onnx.load(model))
    every = open_calibration_set(str(given), {spec.name: TensorType(spec.shape, DType.F32)})
    _, judged = divided(every, CALIBRATED)
    inputs = [{spec.name: each[np.newaxis]} for each in np.load(given, mmap_mode="r")[judged]]
    exact = Oracle(onnx.load(model))
    run = Oracle(onnx.load(output)).run if output.suffix == ".onnx" else tilewright.load(output).run
    pairs = [([*exact.run(each).values()], [*run(each).values()]) for each in inputs]
    return [
        signal_to_noise(np.stack([a[at] for a, _ in pairs]), np.stack([b[at] for _, b in pairs]))
        for at in range(len(pairs[0][0]))
    ]


def document(table: Table, missed: Sequence[str], load: str) -> str:
    said = f" Missed: {'; '.join(missed)}." if missed else ""
    return f"""## By the one command, without an option

Made by `python benchmarks/quantize_command.py FILES --write docs/models.md`.

`tilewright quantize MODEL --calibration SAMPLES.npy -o OUT.twa`, with `--labels` where there are any: of the samples,
in the order of the data, 75 are calibrated on, 25 choose methods, the others judge, 500 at most. *SQNR* is of what a
softmax is applied to; of networks with several outputs of each, behind it. *Asked* are decibels of the best tool known;
of top-1 at most {LARGEST_LOSS:g} points may be lost.{said} *Processor* is processor time of the command on
{processor_name()}, {load}.

{table.markdown()}"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="FILES", help="where to write files; made if there is none")
    parser.add_argument("--models", nargs="*", default=[""], help="only networks whose name contains one of these")
    parser.add_argument("--ending", default=".twa", help="of the files to write, such as .onnx; by default .twa")
    parser.add_argument("--write", type=Path, help="the document with the section, where all networks are measured")
    options = parser.parse_args()
    data = data_folder()
    options.folder.mkdir(parents=True, exist_ok=True)
    table, missed, before = Table(COLUMNS), [], os.getloadavg()[0]
    for case in NETWORKS:
        if any(part in case.name for part in options.models):
            row, misses = measure(case, data, options.folder, options.ending)
            table.add(**row)
            missed += [f"{case.name}: {each}" for each in misses]
            print(row, misses, flush=True)
    load = f"load of the machine {before:.1f} before and {os.getloadavg()[0]:.1f} after"
    print(table.text(), load, sep="\n")
    if options.write is not None and len(table.rows) == len(NETWORKS):
        replace_section(options.write, "int8-command", document(table, missed, load))
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
