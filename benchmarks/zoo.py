"""The networks of tests and benchmarks: accuracy, times beside peers, modelled speed. Remakes `docs/zoo.md`.

    TILEWRIGHT_DATA=FOLDER python benchmarks/zoo.py [--networks TEXT ...] [--rounds 9] [--reports FOLDER]
        [--float | --times | --modelled] [--write docs]

Accuracies are those that `accuracy.py` has written into `docs/models.md`; networks without labels are set beside
themselves in floating point, on samples that they were not calibrated on. The page and its picture are made of rows
that are kept beside them, in `zoo.json`; those that the choice leaves out stay, so that any can be remade alone, and
`--networks` without a text makes the page anew of what is there.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from accuracy import BROUGHT, CALIBRATED, FLOATING, Brought, chosen_samples
from data_folder import data_folder
from integer_networks import model_inputs, signal_to_noise
from integer_speed import in_floats, installed, take_turns
from peers import LIGHT, network
from real_inputs import noise, samples
from zoo_document import DOCS, ROWS, document, headline, picture

import tilewright
from tilewright.compiler.benchmark.comparison import FLOAT_TOLERANCE, INTEGER_TOLERANCE, difference, processor_name
from tilewright.compiler.benchmark.contenders import LOADERS, OURS, PEERS
from tilewright.compiler.benchmark.measure import run_alone
from tilewright.compiler.driver import compile_to_file, compile_to_memory
from tilewright.compiler.network_page.page import page
from tilewright.compiler.options import CompileOptions
from tilewright.runtime.artifact.artifact import Artifact
from tilewright.runtime.machines.machine import load_file
from tilewright.runtime.machines.machine import samples as machines
from tilewright.runtime.report.details import details_of
from tilewright.runtime.report.placement import device_share, fallbacks
from tilewright.runtime.report.simulation import modelled_energy, simulate_artifact
from tilewright.runtime.report.summary import summarize

Row = dict[str, Any]

UNLABELLED = ("vww_float", "yunet_n_320_320", "ultraface_rfb_320_simplified", "minilm_l6_wint8")
"""Of the data folder, calibrated on what there is of inputs."""

RANDOM = ("resnet50", "inception_v1", "densenet121", "squeezenet", "shufflenet")
"""Of the onnx package, with random weights, calibrated on random inputs."""

JUDGED = 50
"""Samples that networks without labels are judged on, where there are so many."""

LABELLED = tuple(case.name for case in (*FLOATING, *BROUGHT))
EMBEDDING = ("minilm_l6_wint8",)
"""Of these, those whose one output is no row of classes."""

ANSWERED = tuple(case.name for case in (*FLOATING, *BROUGHT) if not isinstance(case, Brought) or case.stated)
"""Of these, those whose right answers are known."""

NETWORKS = (*LABELLED, *UNLABELLED, *RANDOM)


def is_brought(name: str, data: Path) -> bool:
    """Whether the file of a network has its own quantisation, of activations too."""
    file = data / "models" / f"{name}.onnx"
    return name not in LIGHT and any(node.op_type == "QuantizeLinear" for node in onnx.load(file).graph.node)


def inputs_of(name: str, model: onnx.ModelProto, data: Path, count: int) -> list[dict[str, np.ndarray]]:
    """Real ones, those that `accuracy.py` calibrates on where it does; random ones for networks of the onnx package."""
    specs = model_inputs(model)
    if name in LIGHT:
        found = noise(data, specs)
    elif name in LABELLED:
        found = iter(chosen_samples(name, model, data, CALIBRATED + 1000))
    else:
        found = samples(name, data, specs)
    return [sample.inputs for sample in islice(found, count)]


Samples = list[dict[str, np.ndarray]]


def divided(name: str, model: onnx.ModelProto, data: Path) -> tuple[Samples, Samples]:
    """Samples to calibrate on, and others; of few, a quarter are others."""
    found = inputs_of(name, model, data, CALIBRATED + JUDGED)
    end = min(CALIBRATED, len(found) * 3 // 4)
    return found[:end], found[end:]


def write_integers(name: str, chosen: Samples, model: onnx.ModelProto, data: Path, target: Path) -> None:
    """The network in int8, in the QDQ form: as it is brought, or quantised here with the default options."""
    if is_brought(name, data):
        target.write_bytes((data / "models" / f"{name}.onnx").read_bytes())
        return
    calibration = {key: np.stack([each[key] for each in chosen]) for key in chosen[0]}
    tilewright.export(model.SerializeToString(), target, quantized="qdq", calibration=calibration)


def times(file: Path, precision: str, inputs: Mapping[str, np.ndarray], rounds: int) -> Row:
    """Milliseconds of processor time on one thread, by contender, and who computes something else."""
    engine, most = ("software", INTEGER_TOLERANCE) if precision == "int8" else ("float", FLOAT_TOLERANCE)
    ours = file.with_suffix(".twa")
    compile_to_file(file, ours, CompileOptions(precision=precision, engines=(engine,)))
    shapes = {name: list(array.shape) for name, array in inputs.items()}
    files = {OURS: ours} | {name: file for name in PEERS if installed(name)}
    runs: dict[str, partial[Mapping[str, np.ndarray]]] = {}
    for name, each in files.items():
        try:
            if name != OURS:
                # Some do not refuse a network, but crash, which is to end a process of their own alone.
                run_alone(name, str(each), 1, precision, inputs)
            runs[name] = partial(LOADERS[name](str(each), 1, precision, shapes).run, inputs)
        except Exception as error:
            if name == OURS:
                raise
            sys.stderr.write(f"{file.name}: {name} refuses it: {error!s:.200}\n")
    expected = runs[OURS]()
    apart = [name for name, run in runs.items() if not difference(run(), expected) <= most]
    return {"times": take_turns(runs, rounds), "apart": apart}


def likeness(name: str, files: Mapping[str, Path], held_out: Samples) -> Row:
    """How near outputs in int8 are to those in floating point: decibels of the worst output, and how often the best
    class is the same, where there is one output of classes."""
    found: dict[str, list[dict[str, np.ndarray]]] = {}
    for precision, engine in (("fp32", "float"), ("int8", "software")):
        with tilewright.load(files[precision].with_suffix(".twa"), engine=engine) as session:
            found[precision] = [session.run(inputs) for inputs in held_out]
    by_output = {
        output: [np.stack([each[output] for each in found[precision]]) for precision in ("fp32", "int8")]
        for output in found["fp32"][0]
    }
    ((expected, answers), *others) = by_output.values()
    is_classes = name not in EMBEDDING and not others and expected[0].squeeze().ndim == 1
    same = [a.argmax() == b.argmax() for a, b in zip(expected, answers, strict=True)]
    return {
        "samples": len(held_out),
        "decibels": min(signal_to_noise(*pair) for pair in by_output.values()),
        "same": float(np.mean(same)) if is_classes else None,
    }


def modelled(artifact: Artifact, machine: str) -> Row:
    """What is modelled of a network on a sample machine, without what the host does; no times where it does all."""
    placement = details_of(artifact).placement
    host = [op for op in placement if op.on != "device"]
    figures: Row = {}
    if artifact.manifest.device_programs:
        total, constants = simulate_artifact(artifact).total, load_file(machine).energy
        assert constants is not None
        figures = {"seconds": total.seconds, "joules": modelled_energy(total, constants).joules}
    return {
        **figures,
        "share": device_share(placement),
        "host": sorted({op.op for op in host}),
        "host_ops": len(host),
        "ops": len(placement),
        "why": {each.why: each.count for each in fallbacks([op for op in host if not op.routine])},
    }


def measure(name: str, data: Path, options: argparse.Namespace, known: Row) -> Row:
    """The row of a network; ``known`` is what there is of it, of which what is not asked for stays."""
    model = network(name, data / "models")
    today = time.strftime("%Y-%m-%d", time.gmtime())
    row: Row = {"cpu": {}, "machines": {}, **known}
    calibration, held_out = divided(name, model, data)
    with TemporaryDirectory() as folder:
        files = {precision: Path(folder) / f"{precision}.onnx" for precision in ("fp32", "int8")}
        onnx.save(model, files["fp32"])
        if options.float:
            del files["int8"]
        else:
            write_integers(name, calibration, model, data, files["int8"])
        if not options.modelled:
            row |= {"made": today, "processor": processor_name(), "versions": about(), "rounds": options.rounds}
            found = {each: times(file, each, calibration[0], options.rounds) for each, file in files.items()}
            row["cpu"] = {**row["cpu"], **found}
            if "int8" in files and name not in ANSWERED:
                row["likeness"] = likeness(name, files, held_out)
        if options.times or options.float:
            return row
        row["modelled"] = today
        for machine in machines():
            chosen = CompileOptions(precision="int8", engines=("device",), machine=machine)
            artifact = compile_to_memory(files["int8"], chosen)
            row["macs"] = summarize(artifact).engines["device"].macs
            row["machines"][machine] = modelled(artifact, machine)
            if options.reports is not None:
                (options.reports / f"{name}_{machine}.html").write_text(page(artifact), encoding="utf-8")
    return row


def distinct(rows: Mapping[str, Row], data: Path) -> dict[str, Row]:
    """The rows in order, without times in floating point of networks whose floating-point file has a row of its own."""
    found: dict[str, Row] = {}
    for name in (each for each in NETWORKS if each in rows):
        floats = in_floats(data / "models" / f"{name}.onnx")
        leave = {"fp32"} if floats is not None and floats.stem in rows else set[str]()
        cpu = {each: times for each, times in rows[name]["cpu"].items() if each not in leave}
        found[name] = {**rows[name], "cpu": cpu}
    return found


def about() -> dict[str, str]:
    """Versions of all contenders."""
    found = {name: installed(name) for name in PEERS}
    return {"tilewright": tilewright.__version__, **{name: number for name, number in found.items() if number}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="*", default=[""], help="only networks whose name contains one of these")
    parts = parser.add_mutually_exclusive_group()
    parts.add_argument("--float", action="store_true", help="times in floating point alone, which takes least")
    parts.add_argument("--times", action="store_true", help="times on the CPU alone; what is modelled stays as it is")
    parts.add_argument("--modelled", action="store_true", help="what is modelled alone; times stay as they are")
    parser.add_argument("--rounds", type=int, default=9, help="turns of each contender")
    parser.add_argument("--reports", type=Path, help="the folder to write a page of each network and machine into")
    parser.add_argument("--write", type=Path, default=DOCS, help="the folder of zoo.json, zoo.md and zoo.svg")
    options = parser.parse_args()
    data = data_folder()
    file = options.write / ROWS.name
    rows: dict[str, Row] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    for name in NETWORKS:
        if any(text in name for text in options.networks):
            begin = time.monotonic()
            rows = distinct({**rows, name: measure(name, data, options, rows.get(name, {}))}, data)
            file.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
            sys.stderr.write(f"{name}: {time.monotonic() - begin:.0f} s\n")
    print(headline(rows))
    (options.write / "zoo.md").write_text(document(rows, RANDOM), encoding="utf-8")
    (options.write / "zoo.svg").write_text(picture(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
