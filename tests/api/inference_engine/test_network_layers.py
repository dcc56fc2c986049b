"""Layers of networks: what programs see of them, and what becomes of what they write."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from legacy_networks import fcn_like, resnet_like
from network_programs import results, small_onnx
from opset_ir import IrFile

from tilewright.runtime.api.inference_engine import IENetwork


@pytest.fixture
def legacy(tmp_path: Path) -> IENetwork:
    return IENetwork(str(resnet_like(2).write(tmp_path)))


def test_layers_are_sorted_and_complete(legacy: IENetwork) -> None:
    assert list(legacy.layers) == sorted(legacy.layers)
    layer = legacy.layers["conv1"]
    assert (layer.name, layer.type, layer.precision, layer.affinity) == ("conv1", "Convolution", "FP32", "")
    assert layer.params["kernel-x"] == "3" and all(type(value) is str for value in layer.params.values())
    assert repr(layer) == "<IENetLayer 'conv1' of type Convolution>"


def test_neighbours_and_shapes(legacy: IENetwork) -> None:
    layer = legacy.layers["res2a"]
    assert layer.type == "Eltwise" and layer.parents == ["pool1", "res2a_branch2b"]
    assert layer.children == ["res2a_relu"] and layer.shape == [1, 8, 16, 16] and layer.layout == "NCHW"
    assert [(data.name, list(data)) for data in layer.in_data] == [
        ("pool1", [1, 8, 16, 16]),
        ("res2a_branch2b", [1, 8, 16, 16]),
    ]
    assert [data.name for data in layer.out_data] == ["res2a"] and layer.out_data[0].precision == "FP32"
    assert legacy.layers["data"].parents == [] and legacy.layers["prob"].children == []


def test_weights_are_flat_and_by_name(legacy: IENetwork) -> None:
    weights = legacy.layers["res2a_branch2b"].weights
    assert {name: array.shape for name, array in weights.items()} == {"weights": (8 * 8 * 3 * 3,), "biases": (8,)}
    assert legacy.layers["conv1"].weights.keys() == {"weights"}
    assert legacy.layers["pool1"].weights == {} and legacy.layers["pool1"].blobs == {}
    assert legacy.layers["conv1"].blobs["weights"] is legacy.layers["conv1"].weights["weights"]


@pytest.mark.parametrize("precision", ["FP32", "FP16"])
def test_weights_that_are_edited_are_computed_with(tmp_path: Path, precision: str) -> None:
    net = resnet_like(3, precision)
    network = IENetwork(str(net.write(tmp_path)))
    inputs = net.random_inputs()
    before = network.snapshot()
    product = network.layers["fc10"]
    assert product.weights["weights"].dtype == ("float32" if precision == "FP32" else "float16")
    product.weights["weights"][:] = 0
    product.weights["biases"][:] = 0
    np.testing.assert_allclose(results(network, **inputs)["prob"], np.full((1, 10), 0.1), atol=1e-6)
    assert before.document.named("fc10").blobs["weights"].any(), "what was taken before is as it was"
    assert before.document.digest != "" and network.snapshot().document.digest == ""


def test_weights_of_later_versions_are_those_of_constants(network: IENetwork, picture: np.ndarray) -> None:
    """The fixture is IR of version 10, in which constants are layers."""
    assert not [name for name, layer in network.layers.items() if layer.type in ("Const", "Result", "Parameter")]
    assert network.layers["data"].type == "Input" and network.layers["conv1"].parents == ["data"]
    arrays = network.layers["conv1"].weights
    assert {name: array.shape for name, array in arrays.items()} == {"weights": (16 * 27,), "biases": (16,)}
    assert network.layers["conv1/add"].weights["biases"] is arrays["biases"]
    assert network.layers["conv2"].weights.keys() == {"weights"} and network.layers["pool1"].weights == {}
    assert network.layers["fc"].weights["weights"].shape == (24 * 12,)
    network.layers["fc"].weights["weights"][:] = 0
    np.testing.assert_allclose(results(network, data=picture)["prob"], np.full((1, 12), 1 / 12), atol=1e-6)


def test_affinities_go_to_the_network(legacy: IENetwork) -> None:
    kept = legacy.layers["conv1"]
    for layer in legacy.layers.values():
        if layer.type == "Convolution":
            layer.affinity = "FPGA"
    assert kept.affinity == legacy.layers["conv1"].affinity == "FPGA" and legacy.layers["prob"].affinity == ""
    assert legacy.snapshot().affinities["conv1"] == "FPGA"
    wrong: object = None
    with pytest.raises(TypeError, match="a device is named by text; expected such as 'CPU', found NoneType"):
        kept.affinity = wrong  # pyright: ignore[reportAttributeAccessIssue]
    assert kept.affinity == "FPGA"


def test_attributes_are_a_copy_and_replaced_as_a_whole(legacy: IENetwork) -> None:
    layer = legacy.layers["prob"]
    layer.params["axis"] = "0"
    assert layer.params == {"axis": "1"}
    layer.params = {"axis": "0"}
    assert legacy.layers["prob"].params == {"axis": "0"}


class _Text(str):
    pass


@pytest.mark.parametrize(
    "wrong", [{"axis": 1}, {1: "axis"}, {"axis": None}, {_Text("axis"): "1"}, None, [("axis", "1")]]
)
def test_attributes_are_exactly_text(legacy: IENetwork, wrong: object) -> None:
    with pytest.raises(TypeError) as caught:
        legacy.layers["prob"].params = wrong  # pyright: ignore[reportAttributeAccessIssue]
    assert str(caught.value) == "Only string keys and values are allowed!"
    assert legacy.layers["prob"].params == {"axis": "1"}


def test_attributes_that_are_set_are_computed_with(tmp_path: Path) -> None:
    """What means nothing is no matter."""
    net = fcn_like(3)
    network = IENetwork(str(net.write(tmp_path)))
    inputs = net.random_inputs()
    layer = network.layers["fuse"]
    layer.params = {**layer.params, "operation": "max", "coeff": ""}
    assert np.abs(results(network, **inputs)["score"] - net.expected(inputs, "score")["score"]).max() > 1e-3
    layer.params = {**layer.params, "nothing": "known"}
    assert results(network, **inputs)["score"].shape == (1, 5, 40, 56)


def test_shapes_follow_attributes(tmp_path: Path) -> None:
    network = IENetwork(str(resnet_like(3).write(tmp_path)))
    network.add_outputs("conv1")
    layer = network.layers["conv1"]
    layer.params = {**layer.params, "dilations": "2,2", "pads_begin": "2,2", "pads_end": "2,2"}
    assert network.snapshot().outputs["conv1"].shape == (1, 8, 32, 32)
    layer.params = {**layer.params, "output": "9"}
    with pytest.raises(
        RuntimeError, match="the batch size cannot change from 1 to 2: import: Convolution: node 'conv1'"
    ):
        network.batch_size = 2


def test_precision_is_set_in_capitals(legacy: IENetwork) -> None:
    layer = legacy.layers["conv1"]
    layer.precision = "fp16"
    assert legacy.layers["conv1"].precision == "FP16"
    for error in (ValueError, AttributeError):
        with pytest.raises(error, match=r"Unsupported precision FP31! List of supported .*: \['FP64', 'FP32', "):
            layer.precision = "FP31"


def test_a_layer_of_very_many_outputs(tmp_path: Path) -> None:
    """Were each output looked for among all of them, this would take minutes."""
    file, parts = IrFile(), 20_000
    sizes = file.constant(np.ones(parts, np.int64))
    first = file.layer("VariadicSplit", [file.parameter(parts), file.constant(np.array(0)), sizes], [(1,)] * parts)
    file.result((first[0], first[1] + 7))
    (tmp_path / "net.xml").write_bytes(file.text)
    (tmp_path / "net.bin").write_bytes(file.binary)
    net = IENetwork(str(tmp_path / "net.xml"))
    (name,) = (name for name, layer in net.layers.items() if layer.type == "VariadicSplit")
    assert list(net.outputs) == [f"{name}.7"]
    net.add_outputs(f"{name}.{parts - 1}")
    assert list(net.outputs) == [f"{name}.7", f"{name}.{parts - 1}"]
    assert [each.name for each in net.layers[name].out_data] == [f"{name}.{index}" for index in range(parts)]


def test_layers_outlive_the_network(tmp_path: Path) -> None:
    network = IENetwork(str(small_onnx(tmp_path)))
    layer, data = network.layers["conv/Convolution"], network.inputs["x"]
    del network
    assert layer.type == "Convolution" and data.shape == [1, 3, 6, 6] and layer.weights["weights"].size == 108


def test_many_threads_read_while_one_reshapes(tmp_path: Path) -> None:
    network = IENetwork(str(small_onnx(tmp_path)))
    wrong: list[object] = []
    ended = threading.Event()

    def read() -> None:
        while not ended.is_set():
            try:
                for layer in network.layers.values():
                    found = layer.type, layer.parents, layer.children, layer.shape, layer.weights.keys()
                    assert len(found) == 5
                rows = network.snapshot().outputs["y"].shape[0], network.inputs["x"].shape[1:]
                assert rows[1] in ([3, 6, 6], [3, 8, 8]) and rows[0] in (1, 2)
            except Exception as error:
                wrong.append(error)
                return

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for index in range(20):
        network.reshape({"x": [1 + index % 2, 3, 8, 8]} if index % 3 else {"x": [1, 3, 6, 6]})
    ended.set()
    for thread in threads:
        thread.join()
    assert not wrong
