"""Real networks as IR files that openvino wrote, beside openvino; `python -m pytest -s` prints the differences.

Networks in floating point give the same results. Quantised ones cannot, not even twice by openvino: it computes their
integers in single precision, where the last bit of a sum decides how a number next to a tie is rounded, and layers
behind make more of it (`docs/models.md` has the figures). So two things are asked of these which leave no room: the
integers of the file are those of the ONNX model that it was made of, and each op, on the very integers that openvino's
layer read, makes openvino's integers, but next to a tie.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from ties import before_rounding

import tilewright
from tilewright.compiler.frontend.formats import import_model
from tilewright.compiler.pipeline import quantized_import_pipeline
from tilewright.ir.core import Constant, Module, Op, Value
from tilewright.ir.op import QuantizationRule

ov: Any = pytest.importorskip("openvino")

DATA = os.environ.get("TILEWRIGHT_DATA")
MODELS = sorted((Path(DATA) / "models").glob("*.onnx")) if DATA else []

if not MODELS:
    pytest.skip("TILEWRIGHT_DATA names no folder with models", allow_module_level=True)


def is_quantized(file: Path) -> bool:
    return any(node.op_type == "QuantizeLinear" for node in onnx.load(file).graph.node)


QUANTIZED = [file for file in MODELS if is_quantized(file)]
FLOATING = [file for file in MODELS if file not in QUANTIZED]

SETTINGS = {"INFERENCE_PRECISION_HINT": "f32", "LP_TRANSFORMS_MODE": "NO", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0}
"""Without its own kernels for integers, whose sums saturate on processors without VNNI, and on others without its
rounding of what products with integer weights read."""

OPENVINO_NEAR = 2.0**-11
"""Of a step, how far from a tie single precision may round to the other side: twice as far as was seen."""

NEAR = 2.0**-14
"""The same for us, whose accumulators and sums are exact and scaled in single precision (`docs/arithmetic.md`)."""


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


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest one, for numbers above 1 relative to the largest of them."""
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max(initial=0)) / max(1.0, float(np.abs(expected).max(initial=0)))


def written(file: Path, folder: Path, half: bool) -> Path:
    """The model as openvino writes it."""
    xml = folder / "net.xml"
    ov.save_model(ov.Core().read_model(file), xml, compress_to_fp16=half)
    return xml


def each_once(files: list[Path]) -> list[Any]:
    """Files with weights in single and in half precision; of each file, one of the two is left to the sweep."""
    return [
        pytest.param(file, half, id=f"{file.stem}-{kind}", marks=[pytest.mark.sweep] * ((index + half) % 2))
        for index, file in enumerate(files)
        for half, kind in ((False, "fp32"), (True, "fp16"))
    ]


@pytest.mark.parametrize(("file", "half"), each_once(FLOATING))
def test_networks_in_floating_point(file: Path, half: bool, tmp_path: Path, rng: np.random.Generator) -> None:
    xml = written(file, tmp_path, half)
    model = ov.Core().read_model(xml)
    shapes = static(model)
    inputs = random_inputs(model, rng)
    results = [
        np.array(each) for each in ov.Core().compile_model(model, "CPU", SETTINGS)(list(inputs.values())).values()
    ]
    with tilewright.load(tilewright.compile(xml, input_shapes=shapes or None)) as session:
        found = session.run(inputs)
    names = [output.get_node().input_value(0).get_node().get_friendly_name() for output in model.outputs]
    assert list(found) == names
    largest = max(difference(array, expected) for array, expected in zip(found.values(), results, strict=True))
    print(f"| {file.stem} | {'FP16' if half else 'FP32'} | {largest:.1e} |")
    assert largest <= 1e-4


def on_integers(file: Path) -> Module:
    module = import_model(file, {})
    quantized_import_pipeline().run(module)
    return module


def numbered(module: Module, known: dict[object, int]) -> dict[Value, int]:
    """Numbers of the values of a module, the same for what is computed in the same way, whatever it is called.

    Args:
        known: the numbers given so far.
    """
    numbers: dict[Value, int] = {}

    def number(value: Value, *meaning: object) -> int:
        return numbers.setdefault(value, known.setdefault((value.type, *meaning), len(known)))

    for index, value in enumerate(module.main.parameters):
        number(value, index)
    for op in module.ops:
        operands = [
            value and (number(value, value.array.tobytes()) if isinstance(value, Constant) else numbers[value])
            for value in op.operands
        ]
        for index, value in enumerate(op.results):
            number(value, op.operator, tuple(operands), index)
    return numbers


@pytest.mark.parametrize(("file", "half"), each_once(QUANTIZED))
def test_quantised_networks_are_the_integers_of_the_onnx_model(file: Path, half: bool, tmp_path: Path) -> None:
    expected, found = on_integers(file), on_integers(written(file, tmp_path, half))
    known: dict[object, int] = {}
    theirs = numbered(expected, known)
    count = len(known)
    ours = numbered(found, known)
    assert [op.loc for op in found.ops if ours[op.results[0]] >= count] == []
    assert [ours[value] for value in found.main.results] == [theirs[value] for value in expected.main.results]


def integers_of(xml: Path, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What openvino's FakeQuantize layers give: integers, as real numbers.

    By their names, and by those of the layers whose numbers they round, after which an integer network calls them.
    """
    model = ov.Core().read_model(xml)
    layers = [op for op in model.get_ordered_ops() if op.get_type_name() == "FakeQuantize"]
    model.add_outputs([layer.output(0) for layer in layers])
    results = list(ov.Core().compile_model(model, "CPU", SETTINGS)(list(inputs.values())).values())[-len(layers) :]
    rounded = [layer.input_value(0).get_node() for layer in layers]
    return {
        layer.get_friendly_name(): np.array(each)
        for layer, each in zip([*rounded, *layers], [*results, *results], strict=True)
    }


@pytest.mark.parametrize("file", QUANTIZED, ids=lambda file: file.stem)
def test_quantised_networks_round_as_openvino_but_next_to_ties(
    file: Path, tmp_path: Path, rng: np.random.Generator
) -> None:
    xml = written(file, tmp_path, half=False)
    inputs = random_inputs(ov.Core().read_model(xml), rng)
    theirs, module = integers_of(xml, inputs), on_integers(xml)
    values: dict[Value, np.ndarray] = {value: inputs[value.name] for value in module.main.parameters}
    compared = differing = 0
    for op in module.ops:
        arrays = [
            value.array if isinstance(value, Constant) else None if value is None else values[value]
            for value in op.operands
        ]
        (found,) = op.evaluate(arrays)
        values[op.result] = found
        if rounds(op):
            expected = theirs[op.result.name].reshape(found.shape)
            exact = before_rounding(op, arrays)
            assert (expected == np.rint(expected)).all()
            assert np.abs(expected - exact).max() <= 0.5 + OPENVINO_NEAR, op
            assert np.abs(found - exact).max() <= 0.5 + NEAR, op
            compared, differing = compared + found.size, differing + np.count_nonzero(found != expected)
            values[op.result] = expected.astype(found.dtype)
    print(f"| {file.stem} | {compared} | {differing} |")
    assert compared
    assert differing <= compared * 2 * OPENVINO_NEAR


def rounds(op: Op) -> bool:
    """Whether an op makes new integers; others move those that they are given."""
    return op.result.type.quant is not None and op.operator.QUANTIZATION is not QuantizationRule.PRESERVE
