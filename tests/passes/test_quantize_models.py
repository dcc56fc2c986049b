"""Post-training quantisation of real networks: accuracy on samples that were not calibrated on."""

from __future__ import annotations

import csv
import io
import zipfile
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from calibration_interpreter import collect_ranges, quantize_with
from PIL import Image

from tilewright.compiler.calibration.dataset import open_calibration_set
from tilewright.compiler.calibration.sample_sets import Inputs
from tilewright.compiler.frontend.onnx.reader import import_onnx
from tilewright.compiler.frontend.onnx.writer import export_onnx
from tilewright.compiler.pipeline import simplify_pipeline
from tilewright.ir.clone import clone_module
from tilewright.ir.core import Module
from tilewright.ir.ops.softmax import Softmax
from tilewright.passes.quantization.check_accumulator_overflow import CheckAccumulatorOverflow
from tilewright.passes.quantization.depthwise_affine import DepthwiseAffine
from tilewright.passes.quantization.plan import plan_quantization
from tilewright.passes.quantization.quantize import Quantize

CALIBRATED = 100
Samples = tuple[np.ndarray, np.ndarray]
"""Inputs [samples, ...] and labels [samples], in random order."""


def photographs(data_folder: Path, mean: tuple[float, ...] = (0,), deviation: tuple[float, ...] = (1,)) -> Samples:
    """1,100 CIFAR-10 test images, pixels 0 to 255 normalised."""
    with zipfile.ZipFile(data_folder / "images" / "cifar10" / "cifar10_test_jpg.zip") as file:
        names = sorted(name for name in file.namelist() if name.endswith(".jpg"))
        classes = sorted({name.split("/")[-2] for name in names})
        names = [names[i] for i in np.random.default_rng(0).permutation(len(names))[:1100]]
        images = np.stack([np.asarray(Image.open(io.BytesIO(file.read(name))), np.float32) for name in names])
    labels = np.array([classes.index(name.split("/")[-2]) for name in names])
    normalised = (images - np.asarray(mean, np.float32)) / np.asarray(deviation, np.float32)
    return normalised.transpose(0, 3, 1, 2).astype(np.float32), labels


def normalised_photographs(data_folder: Path) -> Samples:
    return photographs(data_folder, (123.675, 116.28, 103.53), (58.395, 57.12, 57.375))


def spoken_words(data_folder: Path) -> Samples:
    """1,000 clips as cepstral coefficients."""
    with zipfile.ZipFile(data_folder / "audio" / "kws01_mfcc_int8.zip") as file:
        names = file.namelist()
        table = next(name for name in names if name.endswith("y_labels.csv"))
        rows = list(csv.reader(io.StringIO(file.read(table).decode())))
        order = np.random.default_rng(0).permutation(len(rows))
        paths = {Path(name).name: name for name in names}
        stored = [np.frombuffer(file.read(paths[rows[i][0].strip()]), np.int8) for i in order]
    real = (np.stack(stored).astype(np.float32) - 83) * np.float32(0.5847029)
    return real.reshape(-1, 1, 49, 10), np.array([int(rows[i][2]) for i in order])


def logits_of(module: Module, inputs: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        export_onnx(module).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    name = module.main.parameters[0].name
    return np.stack([np.asarray(session.run(None, {name: x[np.newaxis]})[0]).ravel() for x in inputs])


def without_softmax(module: Module) -> Module:
    last = module.main.results[0].producer
    if last is not None and isinstance(last.operator, Softmax):
        module.main.set_results([last.inputs[0]], ["logits"])
        last.erase()
    return module


def calibrate(module: Module, data: np.ndarray) -> Quantize:
    """By onnxruntime, which needs no kernels to be compiled."""
    values = plan_quantization(module.main).values
    observed = clone_module(module)
    twins = plan_quantization(observed.main).values
    observed.main.set_results(list(twins.values()), list(twins))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        export_onnx(observed).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )

    def run(inputs: Inputs) -> dict[str, np.ndarray]:
        return dict(zip(values, map(np.asarray, session.run(None, inputs)), strict=True))

    (parameter,) = module.main.parameters
    samples = open_calibration_set(data, {parameter.name: parameter.type})
    return quantize_with(collect_ranges(run, samples, values))


# Signal-to-noise ratios are those that this pass reached when it was written, less 1 dB.
@pytest.mark.parametrize(
    ("model", "samples", "decibels"),
    [
        ("resnet8_float", photographs, 29.5),
        pytest.param("resnet20_cifar10", normalised_photographs, 27.5, marks=pytest.mark.sweep),
        ("kws_float", spoken_words, 29.5),
    ],
)
def test_loses_little_accuracy(data_folder: Path, model: str, samples, decibels: float) -> None:
    module = without_softmax(import_onnx(data_folder / "models" / f"{model}.onnx"))
    simplify_pipeline().run(module)
    DepthwiseAffine().run(module)
    inputs, labels = samples(data_folder)
    held_out, labels = inputs[CALIBRATED:], labels[CALIBRATED:]
    expected = logits_of(module, held_out)
    calibrate(module, inputs[:CALIBRATED]).run(module)
    CheckAccumulatorOverflow().run(module)
    found = logits_of(module, held_out)
    loss = 100 * float(np.mean(expected.argmax(1) == labels) - np.mean(found.argmax(1) == labels))
    ratio = 10 * np.log10(np.sum(expected**2) / np.sum((found - expected) ** 2))
    print(f"{model}: loss {loss:.2f} points, {ratio:.1f} dB")
    assert loss <= 1.5
    assert ratio >= decibels
