"""Quantised networks as IR files beside OpenVINO, and OpenVINO beside itself. Remakes a section of `docs/models.md`.

    python benchmarks/openvino_rounding.py [--images N] [--write docs/models.md]

Needs the folder that ``TILEWRIGHT_DATA`` names, the package `openvino`, and a processor with AVX2 or more. OpenVINO
runs the files that it wrote in single precision; with kernels for SSE4.1; with every input moved by one unit in the
last place; and with its own kernels for integers.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from data_folder import data_folder
from integer_networks import model_inputs
from onnxruntime_oracle import Oracle
from real_inputs import samples
from report import replace_section

import tilewright
from tilewright.runtime.report.table import Column, Table

NETWORKS = (
    "mobilenet_v1_0.25_128_qdq",
    "mobilenet_v2_1.0_224_qdq",
    "tf2_mobilenet_v2_1.0_224_perchannel_qdq",
    "mcunet_imagenet_best_qdq",
)

SINGLE = {"INFERENCE_PRECISION_HINT": "f32", "LP_TRANSFORMS_MODE": "NO"}

TOLERANCE = 1e-4

INTRODUCTION = """## As IR files, beside OpenVINO

Made by `python benchmarks/openvino_rounding.py --write docs/models.md` (openvino {version}, a processor with AVX2 and
without VNNI; {images} photographs, every other one of those at hand).

Networks in floating point give OpenVINO's results within 1e-4. Quantised ones cannot, and OpenVINO's own results are
not that near to each other: it computes their integers in single precision, where the last bit of a sum decides how a
number next to a tie is rounded; a layer has many numbers, and those that follow make more of each. On OpenVINO's own
integers, layer by layer, ours are the same but for fewer than 30 in a million, whose exact values lie within 2^-11 of a
tie (`tests/end_to_end/test_openvino_models.py`). Pixels scaled to [-1, 1] all lie on ties where a step is 2/255:
`tf2_mobilenet_v2` and `mcunet` quantise their inputs so, and OpenVINO, which adds the zero point before it rounds,
takes the other neighbour for more than half of them. We round as ONNX does, in which these networks were quantised.

Columns hold how far an output is from OpenVINO's in single precision, or from onnxruntime's, on any photograph,
relative to the largest output above 1; in brackets, in how many photographs all outputs are within 1e-4. Numbers of
threads and performance hints change nothing. Without VNNI, sums in OpenVINO's kernels for integers saturate.

"""


def openvino_runs(xml: Path, inputs: Sequence[np.ndarray], settings: dict[str, str]) -> np.ndarray:
    """Outputs of an IR file in OpenVINO, [inputs, outputs]."""
    ov: Any = importlib.import_module("openvino")
    compiled = ov.Core().compile_model(xml, "CPU", {**settings, "INFERENCE_NUM_THREADS": 1})
    return np.stack([np.array(compiled([array])[0]).ravel() for array in inputs])


def with_sse(xml: Path, inputs: Sequence[np.ndarray]) -> np.ndarray:
    """The same with kernels for SSE4.1, which a process chooses as it starts."""
    arrays, results = xml.with_suffix(".inputs.npy"), xml.with_suffix(".results.npy")
    np.save(arrays, np.stack(inputs))
    command = [sys.executable, __file__, "--child", str(xml), str(arrays), str(results)]
    subprocess.run(command, env={**os.environ, "ONEDNN_MAX_CPU_ISA": "SSE41"}, check=True)
    return np.load(results)


def moved(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The next number, up or down, of each."""
    return np.nextafter(array, np.where(rng.random(array.shape) < 0.5, -np.inf, np.inf).astype(np.float32))


def apart(found: np.ndarray, expected: np.ndarray) -> str:
    """The largest difference, and how many samples are within the tolerance."""
    each = np.abs(found - expected).max(1) / np.maximum(1, np.abs(expected).max(1))
    return f"{each.max():.1e} ({np.count_nonzero(each <= TOLERANCE)})"


def measure(name: str, data: Path, images: int, folder: Path) -> dict[str, object]:
    """A row of the table."""
    ov: Any = importlib.import_module("openvino")
    file, xml = data / "models" / f"{name}.onnx", folder / f"{name}.xml"
    ov.save_model(ov.Core().read_model(file), xml, compress_to_fp16=False)
    model = onnx.load(file)
    chosen = list(itertools.islice(samples(name, data, model_inputs(model)), 0, 2 * images, 2))
    inputs = [array for sample in chosen for array in sample.inputs.values()]
    labels = [sample.label for sample in chosen]
    rng = np.random.default_rng(1)
    oracle = Oracle(model, integers=True)
    results = {
        "single": openvino_runs(xml, inputs, SINGLE),
        "sse": with_sse(xml, inputs),
        "moved": openvino_runs(xml, [moved(array, rng) for array in inputs], SINGLE),
        "integers": openvino_runs(xml, inputs, {}),
        "onnxruntime": np.stack([next(iter(oracle.run(sample.inputs).values())).ravel() for sample in chosen]),
    }
    with tilewright.load(tilewright.compile(xml, precision="int8"), engine="software") as session:
        ours = np.stack([next(iter(session.run(sample.inputs).values())).ravel() for sample in chosen])
    right = {key: 100 * float(np.mean(value.argmax(1) == labels)) for key, value in {**results, "ours": ours}.items()}
    single = results["single"]
    return {
        "name": name,
        **{key: apart(results[key], single) for key in ("sse", "moved", "integers")},
        "ours": apart(ours, single),
        "oracle": apart(ours, results["onnxruntime"]),
        "top1": " / ".join(f"{right[key]:.1f}" for key in ("ours", "onnxruntime", "single", "sse", "integers")),
    }


COLUMNS = (
    Column("name", "network"),
    Column("sse", "OpenVINO, SSE4.1", right=True),
    Column("moved", "OpenVINO, inputs moved", right=True),
    Column("integers", "OpenVINO, integers", right=True),
    Column("ours", "Tilewright", right=True),
    Column("oracle", "Tilewright from onnxruntime", right=True),
    Column("top1", "top-1 (%): Tilewright / onnxruntime / OpenVINO / SSE4.1 / integers", right=True),
)


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        xml, arrays, results = map(Path, sys.argv[2:])
        np.save(results, openvino_runs(xml, list(np.load(arrays)), SINGLE))
        return
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=250, help="photographs, at most 250")
    parser.add_argument("--write", type=Path, metavar="FILE", help="the document to put the section into")
    arguments = parser.parse_args()
    data = data_folder()
    with tempfile.TemporaryDirectory() as folder:
        table = Table(COLUMNS)
        for name in NETWORKS:
            table.add(**measure(name, data, arguments.images, Path(folder)))
    version = importlib.import_module("openvino").__version__.split("-")[0]
    text = INTRODUCTION.format(version=version, images=arguments.images) + table.markdown()
    print(text)
    if arguments.write:
        replace_section(arguments.write, "openvino", text)


if __name__ == "__main__":
    main()
