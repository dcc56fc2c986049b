"""Another batch and other input shapes: every shape follows, or the network stays as it was."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ir_files import LayerText, write_network
from legacy_networks import fcn_like, resnet_like
from network_programs import results, small_onnx

from tilewright.runtime.api.inference_engine import IENetwork


def opset(*args: Any, **kwargs: Any) -> LayerText:
    """A layer of version 10 and later."""
    return LayerText(*args, **kwargs, version="opset1")


@pytest.mark.parametrize("version", [2, 5, 7])
def test_a_batch_computes_each_item(tmp_path: Path, version: int) -> None:
    net = resnet_like(version)
    network = IENetwork(str(net.write(tmp_path)))
    rng = np.random.default_rng(5)
    data = rng.uniform(0, 255, (3, 3, 32, 32)).astype(np.float32)
    single = [results(network, data=item[None])["prob"] for item in data]
    network.batch_size = 3
    assert network.batch_size == 3 and network.inputs["data"] == [3, 3, 32, 32]
    assert network.outputs["prob"].shape == [3, 10] and network.layers["conv1"].shape[0] == 3
    np.testing.assert_allclose(results(network, data=data)["prob"], np.concatenate(single), atol=1e-6)


@pytest.mark.parametrize("wrong", [0, -1, np.int64(0)])
def test_a_batch_is_positive(network: IENetwork, wrong: int) -> None:
    with pytest.raises(AttributeError, match=f"the batch size is not positive; expected at least 1, found {wrong}"):
        network.batch_size = wrong
    assert network.batch_size == 1


@pytest.mark.parametrize("wrong", ["2", 2.0, None, True])
def test_a_batch_is_an_integer(network: IENetwork, wrong: object) -> None:
    with pytest.raises(TypeError, match="the batch size is no integer; found"):
        network.batch_size = wrong  # pyright: ignore[reportAttributeAccessIssue]


def test_the_same_batch_does_nothing(tmp_path: Path) -> None:
    """Not even work out shapes, which fails here."""
    layers = (LayerText("data", "Input", (), [(1, 4)]), LayerText("own", "MyLayer", ["data"], [(1, 2)]))
    network = IENetwork(*write_network(tmp_path, layers))
    network.batch_size = np.int64(1)  # pyright: ignore[reportAttributeAccessIssue]
    network.reshape({"data": (1, 4)})
    assert network.snapshot().document.digest != ""


def test_shapes_that_were_asked_for_before_are_as_they_were(network: IENetwork) -> None:
    """As a list; its property is the shape of now."""
    data = network.inputs["data"]
    network.batch_size = 2
    assert data == [1, 3, 32, 32] and data.shape == [2, 3, 32, 32] and network.inputs["data"] == data.shape


def _stating(inner: list[int], outer: list[int], shape: tuple[int, ...]) -> list[LayerText]:
    """Data [1, 2, 3, 4] under one shape, times two, and under another one."""

    def constant(name: str, values: list[int]) -> LayerText:
        data = {"element_type": "i64", "shape": str(len(values))}
        array = np.array(values, np.int64)
        return opset(name, "Const", (), [(len(values),)], data, {"custom": array}, element_type="I64")

    middle = (1, 24) if inner[0] == 1 else (6, 4)
    plain = {"special_zero": "false"}
    return [
        opset("x", "Parameter", (), [(1, 2, 3, 4)], {"shape": "1,2,3,4", "element_type": "f32"}),
        constant("inner", inner),
        opset("flat", "Reshape", ["x", "inner"], [middle], plain),
        opset("relu", "ReLU", ["flat"], [middle]),
        constant("outer", outer),
        opset("y", "Reshape", ["relu", "outer"], [shape], plain),
        opset("y/result", "Result", ["y"]),
    ]


@pytest.mark.parametrize(
    ("inner", "outer", "shape"),
    [
        ([1, -1], [1, 2, 12], (1, 2, 12)),
        ([1, 24], [1, -1, 4], (1, 6, 4)),
        ([-1, 4], [1, -1, 4], (1, 6, 4)),
        ([-1, 4], [1, 6, 4], (1, 6, 4)),
    ],
)
def test_a_batch_that_shapes_state_follows(
    tmp_path: Path, inner: list[int], outer: list[int], shape: tuple[int, ...]
) -> None:
    """Read to the letter, they would mix items, or not fit."""
    network = IENetwork(*write_network(tmp_path, _stating(inner, outer, shape), version=10))
    x = np.random.default_rng(0).standard_normal((4, 2, 3, 4)).astype(np.float32)
    expected = [results(network, x=item[None])["y"] for item in x]
    network.batch_size = 4
    assert network.outputs["y"] == [4, *shape[1:]]
    np.testing.assert_array_equal(results(network, x=x)["y"], np.concatenate(expected))
    network.reshape({"x": [2, 2, 3, 4]})
    np.testing.assert_array_equal(results(network, x=x[:2])["y"], np.concatenate(expected[:2]))
    assert "inner" not in network.layers and len(network.layers) == 4


def test_a_legacy_shape_that_states_the_batch_follows(tmp_path: Path) -> None:
    layers = (
        LayerText("data", "Input", (), [(1, 3, 4)]),
        LayerText("rows", "Reshape", ["data"], [(1, 12)], {"dim": "1,12"}),
        LayerText("prob", "SoftMax", ["rows"], [(1, 12)], {"axis": "1"}),
    )
    network = IENetwork(*write_network(tmp_path, layers))
    with pytest.raises(RuntimeError, match="no input has a batch; expected an input of 2, 4 or 5 dimensions"):
        network.batch_size = 5
    network.reshape({"data": [5, 3, 4]})
    assert network.outputs["prob"] == [5, 12] and network.layers["rows"].params["dim"] == "0,12"


def test_other_extents(tmp_path: Path) -> None:
    net = fcn_like(3)
    network = IENetwork(str(net.write(tmp_path)))
    network.reshape({"data": (1, 3, 48, 64)})
    assert network.inputs["data"] == [1, 3, 48, 64] and network.outputs["score"].shape == [1, 5, 48, 64]
    data = np.random.default_rng(0).uniform(0, 255, (1, 3, 48, 64)).astype(np.float32)
    assert results(network, data=data)["score"].shape == (1, 5, 48, 64)
    ports = {tuple(port.shape) for layer in network.snapshot().document.layers.values() for port in layer.inputs}
    assert (1, 3, 48, 64) in ports and (1, 3, 40, 56) not in ports


def test_what_does_not_fit_changes_nothing(tmp_path: Path) -> None:
    """The product after the last plane has weights for one row and column."""
    net = resnet_like(2)
    network = IENetwork(str(net.write(tmp_path)))
    layers = {name: layer.shape for name, layer in network.layers.items()}
    inputs = net.random_inputs()
    expected = results(network, **inputs)
    with pytest.raises(
        RuntimeError, match=r"the network cannot be reshaped: import: FullyConnected: node 'fc10'"
    ) as caught:
        network.reshape({"data": [1, 3, 64, 64]})
    assert "expected" in str(caught.value)
    assert network.inputs["data"] == [1, 3, 32, 32]
    assert {name: layer.shape for name, layer in network.layers.items()} == layers
    np.testing.assert_array_equal(results(network, **inputs)["prob"], expected["prob"])


@pytest.mark.parametrize(
    ("shapes", "error", "text"),
    [
        ({"other": [1, 3, 32, 32]}, AttributeError, "the network has no input 'other'; expected data"),
        ({None: [1]}, AttributeError, "the network has no input None"),
        (
            {"data": [1, 3, 32]},
            RuntimeError,
            "wrong shape for input 'data'; expected 4 extents from 1 to 2147483647",
        ),
        ({"data": [1, 3, 32, 0]}, RuntimeError, "wrong shape for input 'data'"),
        ({"data": [1, 3, 32, -32]}, RuntimeError, "wrong shape for input 'data'"),
        ({"data": [1, 3, 32, 2**62]}, RuntimeError, "wrong shape for input 'data'; expected 4 ext"),
        ({"data": [1, 3, 32.0, 32]}, TypeError, "wrong shape for input 'data'; expected whole numbers"),
        ({"data": 5}, TypeError, "wrong shape for input 'data'; expected whole numbers, found 5"),
        ({"data": "1332"}, TypeError, "wrong shape for input 'data'"),
        ([1, 3, 32, 32], TypeError, "shapes are given by the names of inputs; expected a dict"),
        (None, TypeError, "shapes are given by the names of inputs"),
    ],
)
def test_wrong_shapes(network: IENetwork, shapes: object, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        network.reshape(shapes)  # pyright: ignore[reportArgumentType]
    assert network.inputs == {"data": [1, 3, 32, 32]}


def _add_two(shapes: list[tuple[int, ...]]) -> list[LayerText]:
    inputs = [LayerText(name, "Input", (), [shape]) for name, shape in zip("ba", shapes, strict=True)]
    return [*inputs, LayerText("sum", "Eltwise", ["b", "a"], [shapes[0]], {"operation": "sum"})]


def test_several_inputs_are_sorted_and_change_together(tmp_path: Path) -> None:
    network = IENetwork(*write_network(tmp_path, _add_two([(2, 3), (2, 3)])))
    assert list(network.inputs) == ["a", "b"] and network.batch_size == 2
    network.batch_size = 6
    assert network.inputs == {"a": [6, 3], "b": [6, 3]} and network.outputs["sum"] == [6, 3]
    with pytest.raises(RuntimeError, match="the network cannot be reshaped"):
        network.reshape({"a": [6, 5]})
    network.reshape({"a": [6, 5], "b": [6, 5]})
    assert network.outputs["sum"] == [6, 5]


def test_inputs_without_the_same_batch(tmp_path: Path) -> None:
    network = IENetwork(*write_network(tmp_path, _add_two([(3, 3), (2, 3)])))
    with pytest.raises(
        RuntimeError, match="input 'b' does not have the batch of the others; expected a multiple of 2 rows"
    ):
        network.batch_size = 4


@pytest.mark.parametrize("states_batch", [False, True])
def test_onnx_models_take_other_shapes(tmp_path: Path, states_batch: bool) -> None:
    """Also where the model fixes them."""
    network = IENetwork(str(small_onnx(tmp_path, states_batch=states_batch)))
    x = np.random.default_rng(0).standard_normal((3, 3, 8, 9)).astype(np.float32)
    network.reshape({"x": [1, 3, 8, 9]})
    expected = [results(network, x=item[None])["y"] for item in x]
    network.reshape({"x": x.shape})
    assert network.outputs["y"] == [3, 2, 2]
    np.testing.assert_allclose(results(network, x=x)["y"], np.concatenate(expected), atol=1e-6)
    other = IENetwork(str(small_onnx(tmp_path, states_batch=states_batch, name="other")))
    other.batch_size = 3
    other.reshape({"x": x.shape})
    np.testing.assert_allclose(results(other, x=x)["y"], np.concatenate(expected), atol=1e-6)


def test_what_programs_changed_stays_when_an_onnx_model_is_read_again(tmp_path: Path) -> None:
    network = IENetwork(str(small_onnx(tmp_path)))
    layer = network.layers["conv/Convolution"]
    layer.affinity = "FPGA"
    layer.weights["weights"][:] = 0
    network.inputs["x"].precision = "U8"
    network.add_outputs("relu")
    network.reshape({"x": [1, 3, 7, 7]})
    assert layer.affinity == "FPGA" and layer.shape == [1, 4, 5, 5] and network.inputs["x"].precision == "U8"
    assert network.outputs == ["y", "relu"]
    found = results(network, x=np.ones((1, 3, 7, 7), np.float32))
    np.testing.assert_array_equal(found["relu"], np.broadcast_to(np.arange(4.0).reshape(1, 4, 1, 1), (1, 4, 5, 5)))


def test_open_dimensions_are_1_until_programs_give_others(tmp_path: Path) -> None:
    network = IENetwork(str(small_onnx(tmp_path, ("n", 3, 6, 6))))
    assert network.inputs["x"] == [1, 3, 6, 6] and network.outputs["y"] == [1, 2, 2]
    network.batch_size = 2
    assert network.outputs["y"] == [2, 2, 2]


@pytest.mark.parametrize("shape", [("n", 3, "h", "w"), (-1, 3, -1, -1)])
def test_open_dimensions_that_1_does_not_fit_are_to_be_given(shape: Sequence[int | str], tmp_path: Path) -> None:
    """The kernel is larger than the picture."""
    network = IENetwork(str(small_onnx(tmp_path, shape)))
    assert network.inputs["x"] == [1, 3, 1, 1] and network.inputs["x"].layout == "NCHW"
    with pytest.raises(RuntimeError, match="the network has open shapes, which 1 does not fit; reshape gives others: "):
        network.snapshot()
    network.reshape({"x": [1, 3, 6, 6]})
    assert network.outputs["y"] == [1, 2, 2] and network.snapshot().inputs["x"].shape == (1, 3, 6, 6)


def test_open_dimensions_of_files(tmp_path: Path) -> None:
    data = {"shape": "?,3", "element_type": "f32"}
    layers = (
        opset("x", "Parameter", (), [(-1, 3)], data),
        opset("y", "ReLU", ["x"], [(-1, 3)]),
        opset("r", "Result", ["y"]),
    )
    network = IENetwork(*write_network(tmp_path, layers, version=11))
    assert network.inputs["x"] == [1, 3] and network.outputs["y"] == [1, 3]
    network.batch_size = 7
    assert network.snapshot().outputs["y"].shape == (7, 3)
    assert network.snapshot().document.named("x").attributes["shape"] == "7,3"
