"""fp32 on the CPU against onnxruntime and OpenVINO, one thread each, batch 1.

    python benchmarks/peers.py [--filter TEXT,…] [--rounds 15] [--seconds 1] [--ours-only]

Times are medians of processor time over rounds in which all contenders take turns, so that what else the machine does
meets all of them alike. OpenVINO is told to compute in fp32, which it does not do of itself where the processor has
bf16. Networks that bring their own quantisation are taken in their float meaning.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from light_models import FOLDER, with_random_weights
from models import FLOAT, Case, open_shapes
from onnxruntime_oracle import Oracle, real_meaning, relative_difference

import tilewright
from tilewright.compiler.driver import compile_to_memory
from tilewright.runtime.report.table import Column, Table

LIGHT = (
    *("resnet50", "squeezenet", "inception_v1", "inception_v2", "vgg19", "densenet121", "shufflenet"),
    "bvlc_alexnet",
)
"""Of the onnx package, with random weights."""

TRAINED = (
    *("mobilenet_v2_1.0_224_f32", "mobilenet_v1_0.25_128_f32", "mcunet_imagenet_best_f32", "resnet20_cifar10"),
    *("kws_float", "yunet_n_320_320", "ultraface_rfb_320_simplified", "minilm_l6_wint8", "magika_v3_3"),
)
"""Of the folder that ``TILEWRIGHT_DATA`` names."""

Run = Callable[[], object]

COLUMNS = (
    Column("name", "network"),
    Column("difference", "from onnxruntime", show=lambda d: f"{d:.0e}", right=True),
    *(
        Column(key, f"{title} (ms)", show=lambda ms: f"{ms:.3f}", right=True)
        for key, title in (("ours", "Tilewright"), ("onnxruntime", "onnxruntime"), ("openvino", "OpenVINO"))
    ),
    Column("ratio", "best peer / ours", show=lambda r: f"{r:.2f}", right=True),
)


def cases() -> list[Case]:
    data = Path(os.environ["TILEWRIGHT_DATA"])
    light = [Case(FOLDER / f"light_{name}.onnx", None) for name in LIGHT]
    return [*light, *(Case(data / "models" / f"{name}.onnx", data) for name in TRAINED)]


def openvino_runner(model: onnx.ModelProto, inputs: dict[str, np.ndarray]) -> Run:
    import openvino

    core = openvino.Core()
    read = core.read_model(model.SerializeToString(), b"")
    read.reshape({name: list(array.shape) for name, array in inputs.items()})
    settings = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(read, "CPU", settings)
    assert str(compiled.get_property("INFERENCE_PRECISION_HINT")) == "<Type: 'float32'>"
    request = compiled.create_infer_request()
    return lambda: request.infer(inputs)


def medians(runs: dict[str, Run], rounds: int, seconds: float) -> dict[str, float]:
    """Milliseconds of processor time of each contender, taking turns."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    stop = time.perf_counter() + seconds
    done = 0
    while done < rounds or time.perf_counter() < stop:
        for name, run in runs.items():
            start = time.process_time()
            run()
            times[name].append((time.process_time() - start) * 1e3)
        done += 1
    return {name: float(np.median(each)) for name, each in times.items()}


def measure(case: Case, options: argparse.Namespace) -> dict[str, object]:
    model = onnx.load(case.file)
    model = with_random_weights(model) if case.data is None else real_meaning(model)
    artifact = compile_to_memory(model.SerializeToString(), replace(FLOAT, input_shapes=open_shapes(model)))
    with tilewright.load(artifact) as session:
        (inputs,) = case.inputs(session.inputs, 1)
        runs: dict[str, Run] = {"ours": lambda: session.run(inputs)}
        row: dict[str, object] = {"name": case.name.removeprefix("light_")}
        if not options.ours_only:
            oracle = Oracle(model)
            row["difference"] = relative_difference(session.run(inputs), oracle.run(inputs))
            runs |= {"onnxruntime": lambda: oracle.run(inputs), "openvino": openvino_runner(model, inputs)}
        found = medians(runs, options.rounds, options.seconds)
        if not options.ours_only:
            row["ratio"] = min(found["onnxruntime"], found["openvino"]) / found["ours"]
        return row | found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--filter", default="", help="only networks whose name contains one of these")
    parser.add_argument("--rounds", type=int, default=15, help="runs of each contender, at least")
    parser.add_argument("--seconds", type=float, default=1.0, help="how long to measure each network, at least")
    parser.add_argument("--ours-only", action="store_true", help="without the peers")
    options = parser.parse_args()
    table, ratios = Table(COLUMNS), []
    for case in cases():
        if any(part in case.name for part in options.filter.split(",")):
            row = measure(case, options)
            table.add(**row)
            print({k: v if isinstance(v, str) else float(f"{v:.3g}") for k, v in row.items()}, flush=True)
            ratios.append(row.get("ratio", 1.0))
    print(table.text(), f"geometric mean {np.exp(np.mean(np.log(ratios))):.3f}", sep="\n")


if __name__ == "__main__":
    main()
