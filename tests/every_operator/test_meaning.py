"""The meaning of every operator, on its own samples: its text, onnxruntime's, and that of its export."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import onnxruntime
import pytest
import ties
from grouped_tests import in_groups
from operator_samples import Case, cases_of
from round_trip import round_trip

from tilewright.compiler.frontend.onnx.exporter import OPENVINO
from tilewright.compiler.frontend.onnx.reader import import_onnx
from tilewright.compiler.frontend.onnx.writer import export_onnx
from tilewright.ir import interp
from tilewright.ir.core import Module
from tilewright.ir.op import REGISTRY
from tilewright.ir.ops.attention import Attention
from tilewright.ir.ops.convolution import Conv
from tilewright.ir.ops.elementwise import Add, Sub
from tilewright.ir.ops.skip_normalization import SkipLayerNorm
from tilewright.ir.verify import verify

each_operator = in_groups(REGISTRY, cases_of)


def run_onnxruntime(module: Module, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    model = export_onnx(module)
    if any(node.domain == OPENVINO for node in model.graph.node):
        pytest.skip("onnxruntime has no operators of OpenVINO's; tests/compiler/frontend/test_openvino.py asks that")
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return {name: np.asarray(array) for name, array in zip(names, session.run(None, inputs), strict=True)}


def assert_close(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    if found.dtype.kind == "f":
        scale = float(np.abs(expected[np.isfinite(expected)]).max(initial=1e-6))
        tolerance = {2: 2e-3, 4: 1e-5, 8: 1e-5}[found.dtype.itemsize] * scale
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)
    else:
        np.testing.assert_array_equal(found, expected)


def is_quantized_sum(case: Case) -> bool:
    has_residual = isinstance(case.sample.operator, Conv) and len(case.sample.inputs) == 4
    return case.sample.types is not None and (has_residual or isinstance(case.sample.operator, (Add, Sub)))


def assert_same_but_for_ties(case: Case, found: np.ndarray, expected: np.ndarray) -> None:
    types, results = case.sample.types, case.sample.result_types
    assert types is not None and results is not None
    if isinstance(case.sample.operator, Conv):
        exact = ties.before_rounding(next(iter(case.module.ops)), case.sample.inputs)
        differs = found != expected
        assert (np.abs(found.astype(int) - expected.astype(int)) <= 1).all()
        assert all(ties.is_near_tie(Fraction(number)) for number in exact[differs].tolist())
        return
    arrays = [array for array in case.sample.inputs if array is not None]
    sign = 1 if isinstance(case.sample.operator, Add) else -1
    ties.count_allowed_differences(found, expected, arrays, [t for t in types if t is not None], results[0], sign)


def is_close_to_numbers(case: Case) -> bool:
    """Whether integers have a rule of their own, of which onnxruntime has none."""
    return case.sample.result_types is not None and isinstance(case.sample.operator, (Attention, SkipLayerNorm))


def assert_steps_apart(case: Case, found: np.ndarray, expected: np.ndarray) -> None:
    """Weights of 7 bits, and values over their whole range; the smallest integers of masks hide keys here alone.
    Numbers that are normalised differ near ties at most."""
    apart = np.abs(found.astype(int) - expected.astype(int))
    if isinstance(case.sample.operator, SkipLayerNorm):
        assert apart.max() <= 1 and apart.mean() < 0.01
    else:
        # Scores alone, and means without a mask.
        assert apart.max() <= {2: 1, 3: 10}.get(len(next(iter(case.module.ops)).inputs), 255)


@each_operator
def test_prints_parses_back_and_verifies(case: Case) -> None:
    round_trip(case.module)
    verify(case.module)


@each_operator
def test_reference_agrees_with_onnxruntime(case: Case) -> None:
    expected = run_onnxruntime(case.module, case.inputs)
    found = interp.run(case.module, case.inputs)
    if is_quantized_sum(case):
        assert_same_but_for_ties(case, found["y"], expected["y"])
        return
    if is_close_to_numbers(case):
        assert_steps_apart(case, found["y"], expected["y"])
        return
    for name, array in expected.items():
        assert_close(found[name], array)


@each_operator
def test_import_of_the_export_means_the_same(case: Case) -> None:
    again = import_onnx(export_onnx(case.module))
    verify(again)
    found, expected = interp.run(again, case.inputs), interp.run(case.module, case.inputs)
    if is_quantized_sum(case):
        assert_same_but_for_ties(case, found["y"], expected["y"])
        return
    if is_close_to_numbers(case):
        assert_steps_apart(case, found["y"], expected["y"])
        return
    for name, array in expected.items():
        assert_close(found[name], array)
