"""From samples to a network that is ready to be quantised, by interpreter or by any other executor."""

from __future__ import annotations

import numpy as np
import pytest

from tilewright.compiler.calibration.calibrate import calibrate, observed_module
from tilewright.compiler.calibration.dataset import Inputs
from tilewright.compiler.calibration.observe import RunFunction
from tilewright.errors import CalibrationError
from tilewright.ir import interp
from tilewright.ir.core import Function, Module
from tilewright.ir.ops.activation import Relu
from tilewright.ir.ops.matmul import MatMul
from tilewright.ir.types import DType, TensorType
from tilewright.ir.verify import verify
from tilewright.passes import Quantize


def network(rng: np.random.Generator) -> Module:
    module = Module("m")
    main = module.add_function(Function("main", [("x", TensorType((1, 6), DType.F32))]))
    value = main.parameters[0]
    for index in range(2):
        w = module.add_constant(f"w{index}", rng.standard_normal((6, 6)).astype(np.float32))
        # Equal names on purpose: names are hints, and the calibrated values need unique ones.
        value = main.append(MatMul(), [value, w], names=["same"], loc=[f"product{index}"]).result
        value = main.append(Relu(), [value], names=["same"], loc=[f"relu{index}"]).result
    main.set_results([value], ["y"])
    return module


def test_ranges_by_interpreter_and_by_observed_module_are_equal(rng: np.random.Generator) -> None:
    module, other = (network(np.random.default_rng(5)) for _ in range(2))
    data = rng.standard_normal((10, 6)).astype(np.float32)
    prepared: list[Module] = []

    def prepare(observed: Module) -> RunFunction:
        verify(observed)
        prepared.append(observed)

        def run(inputs: Inputs) -> dict[str, np.ndarray]:
            return interp.run(observed, inputs)

        return run

    ranges = calibrate(module, data)
    assert list(ranges) == ["x", "same", "same.1"]
    assert calibrate(other, data, prepare=prepare) == ranges
    assert prepared[0].main.result_names == ["x", "same", "same.1"]
    assert other.main.result_names == ["y"]
    for each in (module, other):
        Quantize().run(each)
    assert str(module) == str(other)
    assert [op.name for op in module.ops] == ["quantize", "matmul", "matmul", "dequantize"]


def test_observed_module_leaves_the_original_alone(rng: np.random.Generator) -> None:
    module = network(rng)
    before = str(module)
    observed_module(module)
    assert str(module) == before


def test_bad_data_is_refused_before_anything_is_attached(rng: np.random.Generator) -> None:
    module = network(rng)
    before = str(module)
    with pytest.raises(CalibrationError, match="NaN"):
        calibrate(module, np.full((2, 6), np.nan, np.float32))
    assert str(module) == before
