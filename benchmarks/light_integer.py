"""The nine networks of the onnx package as int8 device code: do they compile and run, and how long does it take?

    python benchmarks/light_integer.py [--filter TEXT] [--json FILE] [--write docs/models.md]

Weights are random, and so is the calibration: this measures the compiler, not accuracy. `resnet50` must compile in
less than `COMPILE_SECONDS` without the time that calibration takes, and run once on the engine device in less than
`RUN_SECONDS`. All engines must agree: device and software in every byte. Exits with 1 where one of this is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import onnx
from integer_networks import equal_bytes, first, signal_to_noise
from light_models import light_models, with_random_weights
from report import replace_section

import tilewright
from tilewright.compiler.driver import compile_to_memory
from tilewright.compiler.options import CompileOptions
from tilewright.compiler.progress import ProgressReport, StageTimes
from tilewright.errors import TilewrightError
from tilewright.runtime.commands.console import progress_bar
from tilewright.runtime.report.summary import summarize
from tilewright.runtime.report.table import Column, Table, show_count

COMPILE_SECONDS = 60
RUN_SECONDS = 5
CALIBRATION_STAGES = frozenset({"kernels (calibration)", "calibration"})

COLUMNS = (
    Column("name", "network"),
    Column("macs", "MACs", show_count, right=True),
    Column("share", "MACs on the device", lambda share: f"{100 * share:.1f} %", right=True),
    Column("operators", "ops", right=True),
    Column("on_device", "on the device", right=True),
    Column("reference", "by reference", right=True),
    Column("calibration", "calibration (s)", lambda s: f"{s:.1f}", right=True),
    Column("compile", "rest of compilation (s)", lambda s: f"{s:.1f}", right=True),
    Column("device", "simulate one (s)", lambda s: f"{s:.2f}", right=True),
    Column("software", "software (s)", lambda s: f"{s:.3f}", right=True),
    Column("ratio", "from float (dB)", lambda d: f"{d:.1f}", right=True),
)


def measure(file: Path, report: ProgressReport) -> dict[str, object]:
    """One row of the table.

    Raises:
        TilewrightError: the network cannot be compiled or run.
        RuntimeError: device and software differ.
    """
    model = with_random_weights(onnx.load(file))
    start = time.perf_counter()
    stages = StageTimes(report)
    options = CompileOptions(
        precision="int8", engines=("device", "software", "float"), calibration="random", report=stages
    )
    artifact = compile_to_memory(model.SerializeToString(), options)
    whole = time.perf_counter() - start
    calibration = sum(stages.seconds.get(stage, 0.0) for stage in CALIBRATION_STAGES)
    summary = summarize(artifact).engines["device"]
    found, seconds = {}, {}
    for engine in ("device", "software", "float"):
        with tilewright.load(artifact, engine=engine) as session:
            rng = np.random.default_rng(1)
            inputs = {spec.name: rng.standard_normal(spec.shape).astype(np.float32) for spec in session.inputs}
            start = time.perf_counter()
            found[engine] = session.run(inputs)
            seconds[engine] = time.perf_counter() - start
    if not equal_bytes(found["software"], found["device"]):
        raise RuntimeError(f"{file.stem}: software differs from the device")
    return {
        "name": file.stem,
        "macs": summary.macs,
        "share": summary.device_macs_share,
        "operators": summary.operators,
        "on_device": summary.on_device,
        "reference": sum(summary.reference.values()),
        "calibration": calibration,
        "compile": whole - calibration,
        "device": seconds["device"],
        "software": seconds["software"],
        "ratio": signal_to_noise(first(found["float"]), first(found["device"])),
    }


def misses(row: dict[str, object]) -> list[str]:
    """The targets that the row misses."""
    compile_seconds, run_seconds = float(str(row["compile"])), float(str(row["device"]))
    if "resnet50" not in str(row["name"]):
        return []
    found = [f"compiles in {compile_seconds:.0f} s"] * (compile_seconds >= COMPILE_SECONDS)
    return found + [f"runs in {run_seconds:.1f} s"] * (run_seconds >= RUN_SECONDS)


def document(table: Table) -> str:
    return f"""## Networks of the onnx package in int8

Made by `python benchmarks/light_integer.py --write docs/models.md`: random weights and random calibration, so this
shows the compiler and not accuracy. `device` and `software` are equal in every byte. `light_resnet50` is to compile in
less than {COMPILE_SECONDS} s without calibration and to run once on the engine `device`, which is simulated, in less
than {RUN_SECONDS} s. Times of the first run after loading, one thread, on a machine that does other things too.

{table.markdown()}"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--filter", default="", help="only networks whose name contains this")
    parser.add_argument("--json", type=Path, help="where to write the rows")
    parser.add_argument("--write", type=Path, help="the document whose section to replace")
    options = parser.parse_args()
    table = Table(COLUMNS)
    failures = []
    with progress_bar() as report:
        for file in light_models():
            if options.filter not in file.stem:
                continue
            try:
                row = measure(file, report)
            except (TilewrightError, RuntimeError) as error:
                failures.append(f"{file.stem}: {error}")
                sys.stderr.write(f"{failures[-1]}\n")
                continue
            table.add(**row)
            sys.stderr.write(f"{row}\n")
            failures += [f"{file.stem}: {miss}" for miss in misses(row)]
    print(table.text(), end="")
    if options.json is not None:
        options.json.write_text(json.dumps(table.records(), indent=2) + "\n", encoding="utf-8")
    if options.write is not None:
        replace_section(options.write, "int8-light", document(table))
    for failure in failures:
        sys.stderr.write(f"missed: {failure}\n")
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
