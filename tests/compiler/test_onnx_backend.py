"""onnx's interface for backends."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx_nodes import node_model

import tilewright.compiler.onnx_backend as backend
from tilewright.compiler.driver import compile_to_memory
from tilewright.compiler.options import CompileOptions
from tilewright.errors import InputError, ModelError, UnsupportedError, UsageError


def model(op_type: str, *arrays: np.ndarray, **attributes: Any) -> onnx.ModelProto:
    return node_model(op_type, arrays, **attributes)


def test_inputs_in_order_by_name_or_alone() -> None:
    a, b = np.array([1, 2, 3], np.float32), np.array([4, 4, 4], np.float32)
    prepared = backend.prepare(model("Sub", a, b))
    outputs = prepared.run([a, b])
    assert outputs[0].tolist() == [-3, -2, -1]
    assert outputs._asdict()["y0"] is outputs[0]  # pyright: ignore[reportAttributeAccessIssue]
    assert prepared.run({"x1": a, "x0": b})[0].tolist() == [3, 2, 1]
    assert backend.run_model(model("Neg", a), a)[0].tolist() == [-1, -2, -3]


def test_each_shape_is_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[dict[str, tuple[int, ...]]] = []

    def noted(model: onnx.ModelProto, options: CompileOptions) -> object:
        assert isinstance(options.input_shapes, dict)
        compiled.append({name: tuple(shape) for name, shape in options.input_shapes.items()})
        return compile_to_memory(model, options)

    monkeypatch.setattr(backend, "compile_to_memory", noted)
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "open",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 2])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", 2])],
    )
    prepared = backend.prepare(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)]))
    for rows in (1, 3, 1, 3):
        assert prepared.run([-np.ones((rows, 2), np.float32)])[0].shape == (rows, 2)
    assert compiled == [{"x": (1, 2)}, {"x": (3, 2)}]
    assert prepared.run([np.ones((0, 2), np.float32)])[0].shape == (0, 2)


def test_what_gives_a_shape_becomes_a_constant() -> None:
    x = np.arange(6, dtype=np.float32)
    prepared = backend.prepare(model("Reshape", x, np.array([2, 3])))
    assert prepared.run([x, np.array([2, 3])])[0].shape == (2, 3)
    assert prepared.run([x, np.array([3, 2])])[0].shape == (3, 2)


def test_a_node_alone() -> None:
    node = helper.make_node("Clip", ["x", "", "high"], ["y"])
    (y,) = backend.run_node(node, [np.array([1, 5], np.float32), np.array(3, np.float32)], opset_version=13)
    assert y.tolist() == [1, 3]


def test_wrong_use_is_refused() -> None:
    a = np.ones(3, np.float32)
    assert backend.supports_device("CPU:0")
    assert not backend.supports_device("CUDA")
    with pytest.raises(UsageError, match="no such device; expected CPU, found CUDA"):
        backend.prepare(model("Neg", a), "CUDA")
    with pytest.raises(UsageError, match=r"prepare\(\) got an unexpected keyword argument 'precison'"):
        backend.prepare(model("Neg", a), precison="int8")
    prepared = backend.prepare(model("Neg", a))
    with pytest.raises(InputError, match="not the inputs of the model; expected x0, found x"):
        prepared.run({"x": a})
    with pytest.raises(InputError, match="too many inputs; expected 1, found 2"):
        prepared.run([a, a])
    with pytest.raises(UnsupportedError, match="operator 'Multinomial'"):
        backend.prepare(model("Multinomial", a)).run([a])


@pytest.mark.parametrize("inputs", [None, 5, (x for x in ()), {1, 2}])
def test_what_are_no_inputs_is_refused(inputs: object) -> None:
    a = np.ones(3, np.float32)
    with pytest.raises(InputError, match="these are no inputs"):
        backend.prepare(model("Neg", a)).run(inputs)
    with pytest.raises(InputError, match="these are no inputs"):
        backend.run_node(helper.make_node("Neg", ["x"], ["y"]), inputs)


@pytest.mark.parametrize("array", ["a", None, [[1], [2, 3]], np.zeros(3, "M8[s]"), np.zeros(3, object)])
def test_what_is_no_array_of_numbers_is_refused(array: object) -> None:
    with pytest.raises(InputError, match="input 'x' is no array"):
        backend.run_node(helper.make_node("Neg", ["x"], ["y"]), [array])


def test_lists_and_arrays_of_any_byte_order_are_arrays() -> None:
    a = np.array([1, 2, 3], np.float32)
    assert backend.prepare(model("Neg", a)).run([a.astype(">f4")])[0].tolist() == [-1, -2, -3]
    assert backend.run_node(helper.make_node("Neg", ["x"], ["y"]), [a.astype(">f4")])[0].tolist() == [-1, -2, -3]
    truths = np.array([[True, False]])
    assert backend.prepare(model("Not", truths)).run([[[True, False]]])[0].tolist() == [[False, True]]


def test_errors_are_about_what_the_user_gave() -> None:
    a, b = np.ones((2, 3), np.float32), np.full((2, 3), 2, np.float32)
    prepared = backend.prepare(model("Sub", a, b))
    with pytest.raises(ModelError, match="the given shape does not fit input 'x0'"):
        prepared.run([a[0], b])
    with pytest.raises(UsageError, match="this is no model"):
        backend.prepare("model.onnx")  # pyright: ignore[reportArgumentType]


def test_an_input_may_be_frozen_beforehand() -> None:
    a, b = np.ones(3, np.float32), np.full(3, 2, np.float32)
    assert backend.prepare(model("Sub", a, b), freeze={"x1": b}).run([a])[0].tolist() == [-1, -1, -1]
