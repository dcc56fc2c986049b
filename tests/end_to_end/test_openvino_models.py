"""Real networks as IR files that openvino wrote, beside openvino; `python -m pytest -s` prints the differences."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tilewright
from tilewright.compiler.frontend.formats import import_model
from tilewright.ir import interp

ov: Any = pytest.importorskip("openvino")

DATA = os.environ.get("TILEWRIGHT_DATA")
MODELS = sorted((Path(DATA) / "models").glob("*.onnx")) if DATA else []

if not MODELS:
    pytest.skip("TILEWRIGHT_DATA names no folder with models", allow_module_level=True)


def static(model: Any) -> dict[str, list[int]]:
    """Make the shapes of the inputs static, open extents 1; those that were not, by name."""
    shapes: dict[str, list[int]] = {}
    for each in model.inputs:
        partial = each.get_partial_shape()
        if partial.is_dynamic:
            shape = [1 if extent.is_dynamic else extent.get_length() for extent in partial]
            shapes[each.get_node().get_friendly_name()] = shape
    if shapes:
        model.reshape(shapes)
    return shapes


def random_inputs(model: Any, rng: np.random.Generator) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    for each in model.inputs:
        name, dtype, shape = each.get_node().get_friendly_name(), each.get_element_type().to_dtype(), tuple(each.shape)
        if np.dtype(dtype).kind != "f":
            # Words of a sentence that has no padding.
            found[name] = np.ones(shape, dtype) if "mask" in name else rng.integers(0, 200, shape).astype(dtype)
        else:
            found[name] = rng.uniform(-1, 1, shape).astype(dtype)
    return found


def nudged(inputs: dict[str, np.ndarray], rng: np.random.Generator) -> list[np.ndarray]:
    """The inputs, a millionth larger or smaller."""
    return [array * (1 + 1e-6 * rng.standard_normal(array.shape)).astype(np.float32) for array in inputs.values()]


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest one, for numbers above 1 relative to the largest of them."""
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max(initial=0)) / max(1.0, float(np.abs(expected).max(initial=0)))


@pytest.mark.parametrize("half", [False, True], ids=["fp32", "fp16"])
@pytest.mark.parametrize("file", MODELS, ids=lambda file: file.stem)
def test_networks_from_openvino_files(file: Path, half: bool, tmp_path: Path, rng: np.random.Generator) -> None:
    """In floating point: quantised networks by the reference, as kernels for integers round in other places.

    Where numbers are rounded to a grid, the last bit of a sum decides between two of them, and layers behind magnify
    that: such networks may differ by as much as openvino's own results do when its inputs change by a millionth.
    """
    xml = tmp_path / "net.xml"
    ov.save_model(ov.Core().read_model(file), xml, compress_to_fp16=half)
    model = ov.Core().read_model(xml)
    shapes = static(model)
    inputs = random_inputs(model, rng)
    # Without its own integers, which on processors without VNNI saturate on the way.
    settings = {"INFERENCE_PRECISION_HINT": "f32", "LP_TRANSFORMS_MODE": "NO"}
    compiled = ov.Core().compile_model(model, "CPU", settings)
    results = [np.array(each) for each in compiled(list(inputs.values())).values()]
    tolerance = 1e-4
    if any(op.get_type_name() == "FakeQuantize" for op in model.get_ops()):
        found = interp.run(import_model(xml, shapes), inputs)
        moved = [compiled(nudged(inputs, rng)).values() for _ in range(4)]
        tolerance = max(
            tolerance, 2 * max(difference(a, b) for each in moved for a, b in zip(each, results, strict=True))
        )
    else:
        with tilewright.load(tilewright.compile(xml, input_shapes=shapes or None)) as session:
            found = session.run(inputs)
    names = [output.get_node().input_value(0).get_node().get_friendly_name() for output in model.outputs]
    assert list(found) == names
    largest = max(difference(array, expected) for array, expected in zip(found.values(), results, strict=True))
    print(f"| {file.stem} | {'FP16' if half else 'FP32'} | {largest:.1e} | {tolerance:.1e} |")
    assert largest <= tolerance
