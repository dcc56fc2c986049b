"""Networks that others publish as int8 device code: do the engines device and software agree in every byte?

    python benchmarks/public_integer.py --folder FOLDER [--filter TEXT] [--write docs/models.md]

The networks are those of `public_networks.py`, with inputs made as there, also for calibration: this shows the compiler
and not accuracy. Those that bring scales of their own keep them. Exits with 1 if one cannot be compiled or run, or if
engines differ.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from integer_networks import equal_bytes, signal_to_noise
from public_network_table import NETWORKS, PublicNetwork
from public_networks import model_file
from report import replace_section

import tilewright
from tilewright.compiler.driver import compile_to_memory
from tilewright.compiler.options import CompileOptions
from tilewright.errors import TilewrightError
from tilewright.runtime.report.summary import summarize
from tilewright.runtime.report.table import Column, Table, show_count

SAMPLES = 4
"""Inputs for calibration; as many others are run."""

LEFT_OUT = "tree", "front end", "float16"
"""Kinds in which there is nothing to quantise."""

COLUMNS = (
    Column("name", "network"),
    Column("kind", "kind"),
    Column("macs", "MACs", show_count, right=True),
    Column("share", "MACs on the device", lambda share: f"{100 * share:.1f} %", right=True),
    Column("operators", "ops", right=True),
    Column("on_device", "on the device", right=True),
    Column("compile", "compile (s)", lambda s: f"{s:.1f}", right=True),
    Column("device", "simulate one (s)", lambda s: f"{s:.2f}", right=True),
    Column("ratio", "from float (dB)", lambda d: f"{d:.1f}", right=True),
)


def measure(network: PublicNetwork, file: Path) -> dict[str, object]:
    """One row of the table.

    Raises:
        TilewrightError: the network cannot be compiled or run.
        RuntimeError: device and software differ.
    """
    model = network.model(file)
    inputs = [network.inputs(model, seed) for seed in range(2 * SAMPLES)]
    frozen = {name: inputs[0][name] for name in network.frozen}
    given = [{name: value for name, value in each.items() if name not in frozen} for each in inputs]
    has_scales = any(node.op_type == "QuantizeLinear" for node in model.graph.node)
    samples = {name: np.stack([each[name] for each in given[:SAMPLES]]) for name in given[0]}
    options = CompileOptions(
        precision="int8",
        engines=("device", "software", "float"),
        input_shapes={name: value.shape for name, value in given[0].items()},
        freeze=frozen,
        calibration=None if has_scales else samples,
    )
    start = time.perf_counter()
    artifact = compile_to_memory(model, options)
    compiled = time.perf_counter() - start
    found: dict[str, list[dict[str, np.ndarray]]] = {}
    seconds = 0.0
    for engine in ("device", "software", "float"):
        with tilewright.load(artifact, engine=engine) as session:
            start = time.perf_counter()
            found[engine] = [dict(session.run(each)) for each in given[SAMPLES:]]
            seconds = seconds or (time.perf_counter() - start) / SAMPLES
    if not all(map(equal_bytes, found["software"], found["device"])):
        raise RuntimeError("software differs from the device")
    numbers = [_numbers(found[engine]) for engine in ("float", "device")]
    summary = summarize(artifact).engines["device"]
    return {
        "name": network.name,
        "kind": network.kind,
        "macs": summary.macs,
        "share": summary.device_macs_share,
        "operators": summary.operators,
        "on_device": summary.on_device,
        "compile": compiled,
        "device": seconds,
        "ratio": signal_to_noise(*numbers),
    }


def _numbers(runs: list[dict[str, np.ndarray]]) -> np.ndarray:
    """The outputs of all runs, in one row."""
    return np.concatenate([array.ravel() for outputs in runs for array in outputs.values()])


def document(table: Table, missed: list[str]) -> str:
    """The section of `docs/models.md`."""
    failed = f" Not reached: {', '.join(missed)}." if missed else ""
    return f"""## Networks that others publish, in int8

Made by `python benchmarks/public_integer.py --folder FOLDER --write docs/models.md`, with calibration on {SAMPLES}
random inputs, so this shows the compiler and not accuracy; networks that bring scales keep them. On {SAMPLES} further
inputs `device` and `software` are equal in every byte for each of these. Trees, audio front ends and networks in half
precision, in which there is nothing to quantise, are left out.{failed}

{table.markdown()}"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="where the packages and networks are kept")
    parser.add_argument("--filter", default="", help="only networks whose name or kind contains this")
    parser.add_argument("--write", type=Path, help="the document whose section to replace")
    options = parser.parse_args()
    table = Table(COLUMNS)
    missed: list[str] = []
    files = {network.name: model_file(network, options.folder) for network in NETWORKS}
    # The small ones first: the section is written with each row.
    for network in sorted(NETWORKS, key=lambda network: files[network.name].stat().st_size):
        if options.filter not in network.name and options.filter not in network.kind:
            continue
        if any(kind in network.kind for kind in LEFT_OUT):
            continue
        try:
            row = measure(network, files[network.name])
        except (TilewrightError, RuntimeError) as error:
            sys.stderr.write(f"{network.name}: {error}\n")
            missed.append(network.name)
            continue
        table.add(**row)
        sys.stderr.write(f"{row}\n")
        if options.write is not None:
            replace_section(options.write, "public-int8", document(table, missed))
    print(table.text(), end="")
    if missed:
        sys.stderr.write(f"failed: {', '.join(missed)}\n")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
