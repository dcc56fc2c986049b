"""Exported QDQ files beside those of other quantisers, in the runtimes that they are for. Remakes a section of
`docs/performance.md`.

    TILEWRIGHT_DATA=FOLDER python benchmarks/exported_networks.py FILES [--rounds 51] [--write docs/performance.md]

Models are written into the folder FILES, and taken from there where they are already. Needs onnxruntime; OpenVINO and
NNCF are left out where they are not installed. All files of a network take turns in one process, one thread each, by
processor time. Integers are compared op by op: the reference computes each from the integers that onnxruntime has, so
that no exception makes another.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from data_folder import data_folder
from integer_networks import model_inputs
from integer_speed import TURN, installed, seconds
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.qdq_loss_debug import create_activation_matching
from onnxruntime.quantization.shape_inference import quant_pre_process
from real_inputs import samples
from report import replace_section

import tilewright
from tilewright.codegen.cpu.llvm.target import TargetDescription
from tilewright.compiler.benchmark.comparison import processor_name
from tilewright.compiler.benchmark.contenders import LOADERS, PEERS
from tilewright.compiler.benchmark.measure import in_turn
from tilewright.compiler.frontend.onnx.reader import import_onnx
from tilewright.compiler.options import CompileOptions
from tilewright.compiler.quantization.quantize import quantize_module
from tilewright.ir.core import Constant, Module, Op
from tilewright.ir.op import QuantizationRule
from tilewright.runtime.report.table import Column, Table

NETWORKS = ("mobilenet_v2_1.0_224_f32", "resnet20_cifar10", "mcunet_imagenet_best_f32", "kws_float")
CALIBRATION, OTHERS = 100, 10
"""Samples that the quantisers get, and those after them that integers are compared on."""

OURS = "uint8"
Arrays = dict[str, np.ndarray]


class Reader(CalibrationDataReader):
    """Samples one by one, as onnxruntime asks for them."""

    def __init__(self, data: Sequence[Arrays]) -> None:
        self._data = iter(data)

    def get_next(self) -> Any:
        return next(self._data, None)


def by_tilewright(model: Path, data: Sequence[Arrays], file: Path, activations: str) -> None:
    stacked = {name: np.stack([each[name] for each in data]) for name in data[0]}
    tilewright.export(model, file, quantized="qdq", calibration=stacked, activations=activations)


def by_onnxruntime(model: Path, data: Sequence[Arrays], file: Path, type: QuantType) -> None:
    prepared = file.with_suffix(".prepared.onnx")
    quant_pre_process(str(model), str(prepared), skip_symbolic_shape=True)
    options: dict[str, Any] = {"quant_format": QuantFormat.QDQ, "per_channel": True, "weight_type": QuantType.QInt8}
    quantize_static(str(prepared), str(file), Reader(data), activation_type=type, **options)


def by_nncf(model: Path, data: Sequence[Arrays], file: Path) -> None:
    """Of the ONNX model, or of what OpenVINO makes of it where the file is to be IR."""
    nncf, openvino = import_module("nncf"), import_module("openvino")
    is_ir = file.suffix == ".xml"
    given = openvino.convert_model(model) if is_ir else onnx.load(model)
    found = nncf.quantize(given, nncf.Dataset(list(data)), subset_size=len(data))
    openvino.save_model(found, file, compress_to_fp16=False) if is_ir else onnx.save(found, file)


def quantisers() -> dict[str, tuple[str, Callable[[Path, Sequence[Arrays], Path], None]]]:
    """Ending of the file, and what writes it, by the name of the column."""
    found: dict[str, tuple[str, Callable[[Path, Sequence[Arrays], Path], None]]] = {
        OURS: (".onnx", partial(by_tilewright, activations="uint8")),
        "int8": (".onnx", partial(by_tilewright, activations="int8")),
        "onnxruntime's uint8": (".onnx", partial(by_onnxruntime, type=QuantType.QUInt8)),
        "onnxruntime's int8": (".onnx", partial(by_onnxruntime, type=QuantType.QInt8)),
    }
    if installed("nncf") and installed("openvino"):
        found |= {"NNCF's": (".onnx", by_nncf), "NNCF's IR": (".xml", by_nncf)}
    return found


def files_of(network: str, data: Sequence[Arrays], folder: Path) -> dict[str, Path]:
    """The files of a network by column, made where they are missing."""
    model = data_folder() / "models" / f"{network}.onnx"
    found: dict[str, Path] = {}
    for name, (ending, write) in quantisers().items():
        found[name] = folder / f"{network}-{name.replace(' ', '-')}{ending}"
        if not found[name].exists():
            write(model, data, found[name])
    return found


def times(files: Mapping[str, Path], runtime: str, inputs: Arrays, rounds: int) -> dict[str, float]:
    """Milliseconds by column."""
    shapes = {name: list(array.shape) for name, array in inputs.items()}
    taken = {name: file for name, file in files.items() if runtime == "openvino" or file.suffix == ".onnx"}
    runs = {name: partial(LOADERS[runtime](str(file), 1, "int8", shapes).run, inputs) for name, file in taken.items()}
    repeats: dict[str, int] = {}
    for name, run in runs.items():
        seconds(run, 2)
        repeats[name] = max(1, round(TURN / seconds(run, 3)))
    measured: dict[str, list[float]] = {name: [] for name in runs}
    for _, name in in_turn([*runs], rounds):
        runs[name]()
        measured[name].append(seconds(runs[name], repeats[name]))
    return {name: 1e3 * float(np.median(each)) for name, each in measured.items()}


def integers_in_onnxruntime(model: onnx.ModelProto, *, exact: bool) -> Callable[[Arrays], Arrays]:
    """What runs a model to the integers of each tensor that it quantises, by name of the tensor.

    Args:
        exact: sums of products do not saturate.
    """
    seen = onnx.ModelProto()
    seen.CopyFrom(model)
    tensors = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type == "QuantizeLinear"}
    seen.graph.output.extend(onnx.ValueInfoProto(name=name) for name in tensors)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    options.add_session_config_entry("session.x64quantprecision", str(int(exact)))
    session = onnxruntime.InferenceSession(seen.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def run(inputs: Arrays) -> Arrays:
        found = map(np.asarray, session.run([*tensors], inputs))
        return dict(zip(tensors.values(), found, strict=True))

    return run


def differences(module: Module, found: Arrays) -> Iterator[np.ndarray]:
    """How far integers are from what the reference makes of the operands that onnxruntime has, for each op."""
    for op in module.main.ops:
        if op.operator.QUANTIZATION is QuantizationRule.CONVERT or op.results[0].type.quant is None:
            continue
        operands = [None if value is None else operand_of(value, found) for value in op.operands]
        types = [None if value is None else value.type for value in op.operands]
        expected = op.operator.reference_quantized(operands, types, [op.result.type])
        yield found[op.result.name].astype(np.int64) - np.asarray(expected).astype(np.int64)


def operand_of(value: Any, found: Arrays) -> np.ndarray:
    """Stored integers of an operand; of what a conversion made, those of its operand where it is the same tensor."""
    if isinstance(value, Constant):
        return value.array
    producer: Op | None = value.producer
    is_input = producer is not None and producer.operator.name == "quantize"
    return found[producer.inputs[0].name if is_input and producer is not None else value.name]


def integers_row(network: str, file: Path, data: Sequence[Arrays]) -> dict[str, object]:
    """How many integers onnxruntime computes otherwise, without and with saturation."""
    model = onnx.load(file)
    module = quantize_module(import_onnx(model), CompileOptions())
    row: dict[str, object] = {"network": network}
    for exact in (True, False):
        run = integers_in_onnxruntime(model, exact=exact)
        apart = [np.abs(each).ravel() for inputs in data for each in differences(module, run(inputs))]
        every = np.concatenate(apart)
        name = "exact" if exact else "default"
        row |= {
            "integers": every.size,
            name: int((every > 0).sum()),
            f"{name} share": float((every > 0).mean()),
            f"{name} largest": int(every.max(initial=0)),
        }
    return row


def matched(file: Path, network: str) -> str:
    """How many of its quantised activations onnxruntime's comparison of networks finds in the model."""

    def names(graph: onnx.GraphProto) -> dict[str, Any]:
        made = (name for node in graph.node for name in node.output)
        return {name: [] for name in (*(each.name for each in graph.input), *made)}

    model = data_folder() / "models" / f"{network}.onnx"
    graph = onnx.load(file).graph
    found = create_activation_matching(names(graph), names(onnx.load(model).graph))
    count = sum("float" in each for each in found.values())
    return f"{count} of {sum(node.op_type == 'QuantizeLinear' for node in graph.node)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="FILES", help="where to write models; made if there is none")
    parser.add_argument("--rounds", type=int, default=51, help="turns of each file, by default 51")
    parser.add_argument("--write", type=Path, help="the document with the section")
    parser.add_argument("--only", nargs="*", default=NETWORKS, help="networks, by default all")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    timed: list[Mapping[str, Any]] = []
    compared: list[Mapping[str, Any]] = []
    for network in options.only:
        folder = data_folder()
        specs = model_inputs(onnx.load(folder / "models" / f"{network}.onnx"))
        drawn = itertools.islice(samples(network, folder, specs), CALIBRATION + OTHERS)
        data = [each.inputs for each in drawn]
        files = files_of(network, data[:CALIBRATION], options.folder)
        for runtime in PEERS:
            if installed(runtime):
                found = times(files, runtime, data[-1], options.rounds)
                best = min(value for name, value in found.items() if name not in (OURS, "int8"))
                timed.append({"network": network, "runtime": runtime, "ratio": found[OURS] / best, **found})
                print(timed[-1], flush=True)
        compared.append(
            {**integers_row(network, files[OURS], data[CALIBRATION:]), "names": matched(files[OURS], network)}
        )
        print(compared[-1], flush=True)
    if options.write:
        replace_section(options.write, "exports", text(timed, compared, options.rounds))


def text(timed: list[Mapping[str, Any]], compared: list[Mapping[str, Any]], rounds: int) -> str:
    def shown(value: float | None) -> str:
        return "" if value is None else f"{value:.3g}"

    kinds = [*quantisers()]
    speed = Table(
        [
            Column("network", "network"),
            Column("runtime", "in"),
            *(Column(kind, kind, shown, right=True) for kind in kinds),
            Column("ratio", "uint8 / best other", lambda ratio: f"{ratio:.2f}", right=True),
        ],
        [{**dict.fromkeys(kinds), **row} for row in timed],
    )
    ways = {"exact": "differ", "default": "differ by default"}
    integers = Table(
        [
            Column("network", "network"),
            Column("names", "activations found"),
            Column("integers", "integers", "{:,}".format, right=True),
            *(
                column
                for way, title in ways.items()
                for column in (
                    Column(way, title, "{:,}".format, right=True),
                    Column(f"{way} share", "share", "{:.1e}".format, right=True),
                    Column(f"{way} largest", "largest", right=True),
                )
            ),
        ],
        compared,
    )
    versions = ", ".join(f"{name} {installed(name)}" for name in (*PEERS, "nncf") if installed(name))
    processor = f"{processor_name()} ({TargetDescription.host().name})"
    about_speed = f"""## Exported networks in other runtimes

Made by `python benchmarks/exported_networks.py FILES --write docs/performance.md` on {processor},
{versions}; one thread, medians of {rounds} rounds of processor time in one process.
Every quantiser gets the same {CALIBRATION} samples. *uint8* and *int8* are files of `export --quantized qdq`; the
others are made by `quantize_static` (QDQ, weights by channel, after `quant_pre_process`) and by `nncf.quantize`, of the
ONNX model and of what OpenVINO makes of it. Milliseconds.
"""
    about_integers = f"""
Integers of *uint8* in onnxruntime on {OTHERS} samples, op by op from the same operands, beside the reference: with
`session.x64quantprecision`, and by default, where kernels for processors without VNNI saturate sums of two products.
*Activations found*: by `onnxruntime.quantization.qdq_loss_debug`, of those that the file quantises.
"""
    return "\n".join((about_speed, speed.markdown(), about_integers.strip(), "", integers.markdown().rstrip()))


if __name__ == "__main__":
    main()
