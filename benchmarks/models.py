"""Whole networks in floating point: agreement with onnxruntime, compile time, size, speed. Remakes `docs/models.md`.

    python benchmarks/models.py [--filter TEXT] [--samples 4] [--seconds 1] [--write docs/models.md]

Measures the nine networks of the onnx package, and the models of the folder that ``TILEWRIGHT_DATA`` names, on real
inputs. Times are medians of processor time over runs that alternate between Tilewright and onnxruntime, one thread
each: on a machine that does other things too, a clock on the wall would count those. Exits with 1 if a network differs
by more than `TOLERANCE`.
"""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from light_models import light_models, ramp, stored_outputs, with_random_weights
from onnxruntime_oracle import Oracle, real_meaning, relative_difference
from real_inputs import samples
from report import replace_section

import tilewright
from tilewright.compiler.driver import compile_to_memory
from tilewright.compiler.options import CompileOptions
from tilewright.errors import TilewrightError
from tilewright.runtime.artifact.manifest import TensorSpec
from tilewright.runtime.report.summary import summarize
from tilewright.runtime.report.table import Column, Table, show_bytes, show_count

FLOAT = CompileOptions(precision="fp32")

TOLERANCE = 1e-4
"""Largest difference from onnxruntime, relative to the largest magnitude of the output."""


@dataclass(frozen=True)
class Case:
    """A network and where its inputs come from; ``data`` is ``None`` for those of the onnx package."""

    file: Path
    data: Path | None

    @property
    def name(self) -> str:
        return self.file.stem

    def inputs(self, specs: tuple[TensorSpec, ...], count: int) -> list[dict[str, np.ndarray]]:
        if self.data is None:
            rng = np.random.default_rng(0)
            return [{s.name: rng.standard_normal(s.shape).astype(np.float32) for s in specs} for _ in range(count)]
        return [sample.inputs for sample in itertools.islice(samples(self.name, self.data, specs), count)]


COLUMNS = (
    Column("name", "network"),
    Column("operators", "ops", right=True),
    Column("kernels", "on kernels", right=True),
    Column("macs", "MACs", show=show_count, right=True),
    Column("compile", "compile (s)", show=lambda s: f"{s:.1f}", right=True),
    Column("size", "artifact", show=show_bytes, right=True),
    Column("stored", "from stored outputs", show=lambda d: f"{d:.1e}" if d else "0", right=True),
    Column("difference", "from onnxruntime", show=lambda d: f"{d:.1e}" if d else "0", right=True),
    Column("ours", "time (ms)", show=lambda ms: f"{ms:.2f}", right=True),
    Column("theirs", "onnxruntime (ms)", show=lambda ms: f"{ms:.2f}", right=True),
    Column("ratio", "ratio", show=lambda r: f"{r:.2f}", right=True),
)


def open_shapes(model: onnx.ModelProto) -> dict[str, list[int]]:
    """Shapes for the inputs that the model leaves open, with 1 for what is open."""
    found: dict[str, list[int]] = {}
    for info in model.graph.input:
        shape = [dimension.dim_value for dimension in info.type.tensor_type.shape.dim]
        if not all(shape):
            found[info.name] = [extent or 1 for extent in shape]
    return found


def measure(case: Case, sample_count: int, seconds: float) -> dict[str, object]:
    """One row of the table.

    Raises:
        TilewrightError: the network cannot be compiled or run.
    """
    model = onnx.load(case.file)
    row: dict[str, object] = {"name": case.name}
    if case.data is None:
        with tilewright.load(compile_to_memory(case.file, FLOAT)) as session:
            expected = stored_outputs(case.file, session.outputs)
            row["stored"] = relative_difference(session.run(ramp(session.inputs)), expected)
        model = with_random_weights(model)
    start = time.perf_counter()
    artifact = compile_to_memory(model.SerializeToString(), replace(FLOAT, input_shapes=open_shapes(model)))
    row["compile"] = time.perf_counter() - start
    summary = summarize(artifact)
    engine = summary.engines["float"]
    row |= {
        "operators": engine.operators,
        "kernels": engine.operators - sum(engine.reference.values()),
        "macs": engine.macs,
        "size": summary.file_bytes,
    }
    oracle = Oracle(real_meaning(model))
    with tilewright.load(artifact, threads=1) as session:
        inputs = case.inputs(session.inputs, sample_count)
        row["difference"] = max(relative_difference(session.run(x), oracle.run(x)) for x in inputs)
        ours, theirs = [], []
        stop = time.perf_counter() + seconds
        while len(ours) < 5 or time.perf_counter() < stop:
            for x in inputs:
                for times, run in ((ours, session.run), (theirs, oracle.run)):
                    start = time.process_time()
                    run(x)
                    times.append((time.process_time() - start) * 1e3)
    row["ours"], row["theirs"] = float(np.median(ours)), float(np.median(theirs))
    row["ratio"] = row["ours"] / row["theirs"]
    return row


def cases() -> Iterator[Case]:
    for file in light_models():
        yield Case(file, None)
    data = os.environ.get("TILEWRIGHT_DATA")
    if data:
        for file in sorted((Path(data) / "models").glob("*.onnx")):
            yield Case(file, Path(data))


def document(table: Table, sample_count: int) -> str:
    """The section of `docs/models.md`."""
    versions = f"Tilewright {tilewright.__version__}, onnx {onnx.__version__}, onnxruntime {onnxruntime.__version__}"
    return f"""## In floating point on the CPU

Made by `python benchmarks/models.py --write docs/models.md` ({versions};
Python {platform.python_version()}, {platform.machine()}).

*From onnxruntime* is the largest difference of an output, relative to its largest magnitude, over {sample_count}
inputs; at most {TOLERANCE:.0e} is asked for. Inputs are real: photographs, digits, spectrograms, files and sentences;
random where none are at hand (`ad01`). Networks that bring their own quantisation (`qdq`, `wint8`) are taken in their
[float meaning](decisions/0040-float-meaning-of-quantised-models.md). The networks of the onnx package (`light_*`) have
constant weights, with which every output is the same: they reproduce the outputs that the package stores, and are then
compared with random weights and inputs, without the softmax at their end.

Times are medians of processor time over runs that alternate with onnxruntime's, one thread each; *ratio* is
Tilewright's over onnxruntime's. Compile times are by the clock.

{table.markdown()}"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--filter", default="", help="only networks whose name contains this")
    parser.add_argument("--samples", type=int, default=4, help="inputs for each network")
    parser.add_argument("--seconds", type=float, default=1.0, help="how long to measure times")
    parser.add_argument("--write", type=Path, help="the document whose section to replace")
    options = parser.parse_args()
    table = Table(COLUMNS)
    failed = []
    for case in cases():
        if options.filter not in case.name:
            continue
        try:
            row = measure(case, options.samples, options.seconds)
        except TilewrightError as error:
            sys.stderr.write(f"{case.name}: {error}\n")
            failed.append(case.name)
            continue
        table.add(**row)
        sys.stderr.write(f"{case.name}: {row['difference']:.1e}, {row['ours']:.2f} ms ({row['ratio']:.2f})\n")
        if max(float(str(row[key])) for key in ("difference", "stored") if key in row) > TOLERANCE:
            failed.append(case.name)
    print(table.text(), end="")
    if options.write is not None:
        replace_section(options.write, "float", document(table, options.samples))
    if failed:
        sys.stderr.write(f"failed: {', '.join(failed)}\n")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
