"""Every operator that IR has a form for, on its own samples: written, read back, and computed by OpenVINO."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from grouped_tests import in_groups
from operator_samples import Case, cases_of

from tilewright.compiler.frontend.formats import import_model
from tilewright.compiler.frontend.ir.exporter import export_document
from tilewright.compiler.frontend.ir.families import EXPORTS
from tilewright.compiler.frontend.ir.writer import write_document
from tilewright.ir import interp
from tilewright.ir.op import REGISTRY
from tilewright.ir.ops.detection.region_pooling import RoiAlign
from tilewright.ir.ops.shape import Cast
from tilewright.ir.types import DType
from tilewright.ir.verify import verify


def has_form(case: Case) -> bool:
    """Whether IR has a form: tensors are not quantised, and half precision is for what files hold, not for sums."""
    (op,) = case.module.main.ops
    types = [value.type for value in (*op.inputs, *op.results)]
    if isinstance(op.operator, RoiAlign) and op.operator.mode == "max":
        return False
    return type(op.operator) in EXPORTS and all(t.quant is None and t.dtype is not DType.F16 for t in types)


OPERATORS = [name for name, cls in REGISTRY.items() if cls in EXPORTS]


def with_form(name: str) -> list[Case]:
    return [case for case in cases_of(name) if has_form(case)]


def assert_same(found: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    if found.dtype.kind == "f":
        scale = float(np.abs(expected[np.isfinite(expected)]).max(initial=1e-6))
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * scale)
    else:
        np.testing.assert_array_equal(found, expected)


@in_groups(OPERATORS, with_form)
def test_import_of_the_export_means_the_same(case: Case, tmp_path: Path) -> None:
    write_document(export_document(case.module), tmp_path / "sample.xml")
    again = import_model(tmp_path / "sample.xml")
    verify(again)
    expected = interp.run(case.module, case.inputs)
    found = interp.run(again, case.inputs)
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert_same(found[name], array, 1e-6)


OTHERWISE = {
    "dynamic_quantize_linear-2": "OpenVINO divides by a product with the reciprocal, which moves exact halves",
    "fake_quantize-14": "OpenVINO bounds NaN",
}


def is_defined(case: Case) -> bool:
    """OpenVINO computes int64 in int32, and leaves open what becomes of other numbers."""
    if case.name in OTHERWISE:
        return False
    arrays = [*case.inputs.values(), *interp.run(case.module, case.inputs).values()]
    is_cast = isinstance(next(case.module.main.ops).operator, Cast)
    return not is_cast or all(np.isfinite(a).all() and (np.abs(a.astype(np.float64)) < 2**31).all() for a in arrays)


def defined(name: str) -> list[Case]:
    return [case for case in with_form(name) if is_defined(case)]


@in_groups(OPERATORS, lambda name: defined(name)[::3])
def test_openvino_computes_the_same(case: Case, tmp_path: Path) -> None:
    """One sample in three, as openvino takes as long for each as all else here."""
    openvino_computes_the_same(case, tmp_path)


@pytest.mark.sweep
@in_groups(OPERATORS, defined)
def test_openvino_computes_all_the_same(case: Case, tmp_path: Path) -> None:
    openvino_computes_the_same(case, tmp_path)


def openvino_computes_the_same(case: Case, tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    write_document(export_document(case.module), tmp_path / "sample.xml")
    core = openvino.Core()
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    compiled = core.compile_model(core.read_model(tmp_path / "sample.xml"), "CPU", settings)
    results = compiled({name: np.array(array) for name, array in case.inputs.items()})
    for index, (name, array) in enumerate(interp.run(case.module, case.inputs).items()):
        assert name in compiled.output(index).get_names()
        assert_same(results[index], array, 2e-5)
