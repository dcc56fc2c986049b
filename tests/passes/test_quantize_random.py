"""Random networks, quantised: the reference computes what onnxruntime does, and so does the network read back."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from calibration_interpreter import collect_ranges, interpreter, quantize_with
from random_graphs import CONVOLUTIONAL, EVERYTHING, random_graph

from tilewright.compiler.calibration.dataset import open_calibration_set
from tilewright.compiler.frontend.onnx.reader import import_onnx
from tilewright.compiler.frontend.onnx.writer import export_onnx
from tilewright.compiler.pipeline import calibration_pipeline, simplify_pipeline
from tilewright.errors import CalibrationError, UnsupportedError
from tilewright.ir import interp
from tilewright.ir.core import Module
from tilewright.ir.ops.elementwise import Add, Sub
from tilewright.passes.quantization.check_accumulator_overflow import CheckAccumulatorOverflow
from tilewright.passes.quantization.import_quantization import ImportQuantization
from tilewright.passes.quantization.plan import plan_quantization

SEEDS = range(24)


def quantized_network(seed: int) -> tuple[Module, dict[str, np.ndarray]]:
    """A network in which every sum is exact, and inputs for it.

    Sums are left real: onnxruntime rounds them otherwise near ties, which everything after them would show.
    """
    rng = np.random.default_rng(seed)
    module = random_graph(rng, makers=CONVOLUTIONAL if seed % 2 else EVERYTHING)
    calibration_pipeline().run(module)
    keep = (Add.name, Sub.name)
    values = plan_quantization(module.main, keep).values
    samples = open_calibration_set("random", {p.name: p.type for p in module.main.parameters}, limit=3)
    try:
        ranges = collect_ranges(interpreter(module, values), samples, values)
    except CalibrationError:
        pytest.skip("the network computes numbers that are not finite")
    quantize_with(ranges, keep=keep).run(module)
    simplify_pipeline().run(module)
    CheckAccumulatorOverflow().run(module)
    return module, next(iter(samples))


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    for name, array in expected.items():
        tolerance = 1e-5 * max(1.0, float(np.abs(array).max(initial=0))) if array.dtype.kind == "f" else 0
        np.testing.assert_allclose(found[name], array, rtol=0, atol=tolerance)


@pytest.mark.parametrize("seed", SEEDS)
def test_reference_agrees_with_onnxruntime(seed: int) -> None:
    module, inputs = quantized_network(seed)
    found = interp.run(module, inputs)
    try:
        model = export_onnx(module)
    except UnsupportedError as error:
        pytest.skip(f"ONNX has no such operator of integers: {error}")
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    assert_same(found, dict(zip(names, map(np.asarray, session.run(None, inputs)), strict=True)))
    again = import_onnx(model)
    ImportQuantization().run(again)
    assert_same(interp.run(again, inputs), found)
    integer = sum(value.type.quant is not None for op in module.ops for value in op.results)
    assert sum(value.type.quant is not None for op in again.ops for value in op.results) >= integer
