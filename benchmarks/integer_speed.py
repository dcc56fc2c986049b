"""What 8-bit integers gain on a processor: trained networks in both precisions, and peers on the same quantised file.

    TILEWRIGHT_DATA=FOLDER python benchmarks/integer_speed.py [--target v3] [--rounds 51] [--write docs/performance.md]

All take turns in one process, one thread each, in each turn for some milliseconds; times of a run are medians of
processor time, since a machine that does other things too would have those in what a clock on the wall says. Peers that
are not installed are left out.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from data_folder import data_folder
from onnxruntime_oracle import real_meaning
from report import replace_section

import tilewright
from tilewright.compiler.benchmark.comparison import processor_name
from tilewright.compiler.benchmark.contenders import LOADERS, OURS, PEERS
from tilewright.compiler.benchmark.measure import in_turn
from tilewright.compiler.driver import compile_to_file
from tilewright.compiler.options import CompileOptions
from tilewright.runtime.report.execution import random_inputs
from tilewright.runtime.report.table import Column, Table

TURN = 3e-3
"""Seconds of a turn, at least: small networks run several times, as in a program that does nothing else."""

QUANTIZED_HERE = ("resnet20_cifar10", "ultraface_rfb_320_simplified", "yunet_n_320_320")
"""In floating point as they are; peers have no quantised file of them."""


@dataclass(frozen=True)
class Row:
    """A network; milliseconds by contender, ``int8`` and ``fp32`` ours."""

    network: str
    times: Mapping[str, float]

    @property
    def gain(self) -> float:
        return self.times["fp32"] / self.times["int8"]

    @property
    def lead(self) -> float | None:
        peers = [self.times[name] for name in PEERS if name in self.times]
        return min(peers) / self.times["int8"] if peers else None


def measured(file: Path, target: str, rounds: int, peers: list[str], folder: Path) -> Row:
    """A row of the table; artifacts and models are written into ``folder``."""
    is_quantized = file.stem not in QUANTIZED_HERE
    floats = in_floats(file) if is_quantized else file
    if floats is None:
        floats = folder / f"{file.stem}.onnx"
        onnx.save(real_meaning(onnx.load(file)), floats)
    integer = CompileOptions(
        precision="int8", engines=("software",), target=target, calibration=None if is_quantized else "random"
    )
    artifact = compile_to_file(file, folder / "int8.twa", integer)
    other = compile_to_file(floats, folder / "fp32.twa", CompileOptions(precision="fp32", target=target))
    inputs = random_inputs(artifact.manifest.inputs, np.random.default_rng(0))
    named = [spec.name for spec in other.manifest.inputs]
    shapes = {name: list(array.shape) for name, array in inputs.items()}
    loaded = {name: LOADERS[OURS](str(folder / f"{name}.twa"), 1, name, shapes) for name in ("fp32", "int8")}
    loaded |= {name: LOADERS[name](str(file), 1, "int8", shapes) for name in peers if is_quantized}
    runs = {name: partial(each.run, inputs) for name, each in loaded.items()}
    runs["fp32"] = partial(loaded["fp32"].run, dict(zip(named, inputs.values(), strict=True)))
    return Row(file.stem, take_turns(runs, rounds))


def take_turns(runs: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Milliseconds of processor time of a run of each, medians of rounds."""
    repeats: dict[str, int] = {}
    for name, run in runs.items():
        seconds(run, 2)
        repeats[name] = max(1, round(TURN / seconds(run, 3)))
    found: dict[str, list[float]] = {name: [] for name in runs}
    for _, name in in_turn([*runs], rounds):
        runs[name]()
        found[name].append(seconds(runs[name], repeats[name]))
    return {name: 1e3 * float(np.median(each)) for name, each in found.items()}


def in_floats(file: Path) -> Path | None:
    """The file that a quantised one was made of, where that is beside it."""
    for ending, before in (("_int8_qdq", "_float"), ("_qdq", "_f32")):
        found = file.with_name(f"{file.stem.removesuffix(ending)}{before}.onnx")
        if file.stem.endswith(ending) and found.exists():
            return found
    return None


def seconds(run: Callable[[], object], times: int) -> float:
    """Processor time of a run, of so many."""
    start = time.process_time()
    for _ in range(times):
        run()
    return (time.process_time() - start) / times


def installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def geometric_mean(numbers: list[float]) -> float:
    return float(np.exp(np.mean(np.log(numbers))))


def text(rows: list[Row], peers: Mapping[str, str], options: argparse.Namespace) -> str:
    def shown(value: float | None) -> str:
        return "" if value is None else f"{value:.3g}"

    columns = [
        Column("network", "network"),
        *(Column(name, f"{name} (ms)", shown, right=True) for name in ("fp32", "int8")),
        Column("gain", "fp32 / int8", lambda ratio: f"{ratio:.2f}", right=True),
        *(Column(name, name, shown, right=True) for name in peers),
        Column("lead", "best peer / int8", lambda ratio: "" if ratio is None else f"{ratio:.2f}", right=True),
    ]
    table = Table(
        columns,
        [
            {"network": row.network, "gain": row.gain, "lead": row.lead}
            | {name: row.times.get(name) for name in ("fp32", "int8", *peers)}
            for row in rows
        ],
    )
    leads = [row.lead for row in rows if row.lead is not None]
    versions = ", ".join(f"{name} {number}" for name, number in peers.items())
    lines = [
        "## Integers where the product of bytes saturates",
        "",
        f"Made by `python benchmarks/integer_speed.py --write docs/performance.md` on {processor_name()}, target",
        f"{options.target}: Tilewright {tilewright.__version__}, {versions}.",
        "",
        "Processors before VNNI multiply bytes by an instruction that saturates. One thread, medians of processor time",
        f"of {options.rounds} rounds in which all take turns. fp32 is the network before it was quantised, or the",
        "float meaning of the file; peers run the quantised file, with whatever the processor has. Networks beside",
        "which no peer stands are quantised by Tilewright, on random data.",
        "",
        table.markdown(),
        f"fp32 / int8: mean {np.mean([row.gain for row in rows]):.2f}, least {min(row.gain for row in rows):.2f}."
        + (f" Best peer / int8: geometric mean {geometric_mean(leads):.2f}, least {min(leads):.2f}." if leads else ""),
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", default="v3")
    parser.add_argument("--rounds", type=int, default=51)
    parser.add_argument("--filter", default="")
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    data = data_folder() / "models"
    files = [*sorted(data.glob("*_qdq.onnx")), *(data / f"{name}.onnx" for name in QUANTIZED_HERE)]
    peers = {name: number for name in PEERS if (number := installed(name)) is not None}
    rows: list[Row] = []
    for file in files:
        if options.filter in file.stem:
            with TemporaryDirectory() as folder:
                rows.append(measured(file, options.target, options.rounds, [*peers], Path(folder)))
            print(rows[-1].network, {name: round(time, 4) for name, time in rows[-1].times.items()}, flush=True)
    found = text(rows, peers, options)
    print(found)
    if options.write is not None:
        replace_section(options.write, "integers", found)


if __name__ == "__main__":
    main()
