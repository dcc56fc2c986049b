"""Quantised networks of the data folder: nothing real is left of them, and their integers are onnxruntime's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from exact_onnxruntime import qdq_session

from tilewright.compiler.frontend.onnx.reader import import_onnx
from tilewright.ir import interp
from tilewright.ir.core import Module
from tilewright.ir.ops.quantization import Dequantize
from tilewright.passes.quantization.check_accumulator_overflow import CheckAccumulatorOverflow
from tilewright.passes.quantization.import_quantization import ImportQuantization
from tilewright.runtime.pictures.preprocessing import Preprocessing

MODELS = (
    "ad01_int8_qdq",
    "kws_int8_qdq",
    "mcunet_imagenet_best_qdq",
    "mobilenet_v1_0.25_128_qdq",
    "mobilenet_v2_1.0_224_qdq",
    "resnet8_int8_qdq",
    "tf2_mobilenet_v2_1.0_224_perchannel_qdq",
    "vww_int8_qdq",
)

REAL = ("quantize", "dequantize", "softmax")


def load(data_folder: Path, model: str) -> Module:
    module = import_onnx(data_folder / "models" / f"{model}.onnx")
    ImportQuantization().run(module)
    return module


@pytest.mark.parametrize("model", MODELS)
def test_only_softmax_stays_real_and_no_accumulator_overflows(data_folder: Path, model: str) -> None:
    module = load(data_folder, model)
    real = {op.name for op in module.ops if any(value.type.dtype.is_float for value in (*op.inputs, *op.results))}
    assert real <= set(REAL), real
    record = CheckAccumulatorOverflow().run(module)
    assert record.counts["proved"] == sum(op.name in ("conv", "matmul") for op in module.ops)


def sample(data_folder: Path, module: Module, rng: np.random.Generator) -> np.ndarray:
    type = module.main.parameters[0].type
    if type.rank == 4 and type.shape[1] == 3:
        image = sorted((data_folder / "images" / "imagenet500").iterdir())[7]
        return Preprocessing().load(image, type.shape, type.dtype.numpy)
    return (3 * rng.standard_normal(type.shape)).astype(np.float32)


@pytest.mark.parametrize("model", MODELS)
def test_outputs_agree_with_onnxruntime(data_folder: Path, model: str, rng: np.random.Generator) -> None:
    module = load(data_folder, model)
    (parameter,), (result,) = module.main.parameters, module.main.results
    assert result.producer is not None
    assert isinstance(result.producer.operator, Dequantize)
    quant = result.producer.inputs[0].type.quant
    assert quant is not None
    inputs = {parameter.name: sample(data_folder, module, rng)}
    session = qdq_session(data_folder / "models" / f"{model}.onnx")
    (expected,) = map(np.asarray, session.run(None, inputs))
    (found,) = interp.run(module, inputs).values()
    steps = np.abs(np.rint((found - expected) / np.float32(quant.scale[0])))
    assert np.mean(steps <= 1) >= 0.999, np.unique(steps, return_counts=True)
