"""IENetwork from files, from contents, and from what is no network."""

from __future__ import annotations

import copy
import os
from pathlib import Path

import numpy as np
import pytest
from ir_files import LayerText, write_network
from legacy_networks import resnet_like
from network_programs import results, small_onnx

from tilewright.errors import TilewrightError
from tilewright.runtime.api.inference_engine import IENetwork, IEPlugin, StatusCode

PLAIN = (
    LayerText("data", "Input", (), [(1, 3, 4, 6)]),
    LayerText("relu", "ReLU", ["data"], [(1, 3, 4, 6)]),
)


@pytest.mark.parametrize(
    ("version", "precision"), [(2, "FP32"), (2, "FP16"), (3, "FP16"), (5, "FP32"), (7, "FP32"), (7, "FP16")]
)
def test_legacy_versions_compute_what_they_say(tmp_path: Path, version: int, precision: str) -> None:
    """Half precision is computed in single precision, and programs see it so."""
    net = resnet_like(version, precision)
    path = net.write(tmp_path)
    network = IENetwork.from_ir(str(path), str(path.with_suffix(".bin")))
    assert network.name == "resnet_like"
    assert network.inputs == {"data": [1, 3, 32, 32]} and network.outputs == ["prob"]
    assert network.inputs["data"].precision == network.outputs["prob"].precision == "FP32"
    assert network.precision == precision
    assert all(layer.precision == precision for layer in network.layers.values() if layer.type == "Convolution")
    inputs = net.random_inputs()
    np.testing.assert_allclose(results(network, **inputs)["prob"], net.expected(inputs, "prob")["prob"], atol=1e-5)


def test_the_ways_to_name_files_are_one(tmp_path: Path) -> None:
    model, weights = write_network(tmp_path, PLAIN)
    text, binary = Path(model).read_bytes(), Path(weights).read_bytes()
    for network in (
        IENetwork.from_ir(model, weights),
        IENetwork.from_ir(model=model, weights=weights),
        IENetwork(model, weights),
        IENetwork(model=model),
        IENetwork(Path(model), Path(weights)),
        IENetwork(text, binary, init_from_buffer=True),
        IENetwork(model=bytearray(text), weights=memoryview(binary), init_from_buffer=True),  # pyright: ignore[reportArgumentType]
    ):
        assert (network.name, network.inputs, network.outputs) == ("network", {"data": [1, 3, 4, 6]}, ["relu"])
        assert repr(network) == "<IENetwork 'network' of 2 layers>"


def test_missing_files_and_the_model_first(tmp_path: Path) -> None:
    model, weights = write_network(tmp_path, PLAIN)
    missing = str(tmp_path / "missing")
    text = "Path to the {} {} doesn't exist or it's a directory$"
    for wrong in (missing, str(tmp_path), "a\0b"):
        with pytest.raises(FileNotFoundError, match=text.format("model", ".*")):
            IENetwork.from_ir(wrong, missing)
        with pytest.raises(FileNotFoundError, match=text.format("weights", ".*")):
            IENetwork.from_ir(model, wrong)
    with pytest.raises(FileNotFoundError) as caught:
        IENetwork(missing, weights)
    assert isinstance(caught.value, TilewrightError) and missing in str(caught.value)


def test_what_is_no_path_and_no_contents(tmp_path: Path) -> None:
    model, weights = write_network(tmp_path, PLAIN)
    wrong: object = 5
    with pytest.raises(TypeError, match="the model is named by its path; expected a path, found int"):
        IENetwork(wrong, weights)  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match="the weights is named by its path; expected a path, found int"):
        IENetwork(model, wrong)  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match="model and weights are no contents; expected bytes, found str and str"):
        IENetwork(model, weights, init_from_buffer=True)
    with pytest.raises(ValueError, match="weights are given without a model"):
        IENetwork(weights=weights)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("<net version='1'><layers/></net>", r"import: deprecated IR version: 1; expected 2 to 7, 10 or 11"),
        ("<net version='12'><layers/></net>", r"import: cannot parse future versions: 12; expected 2 to 7, 10 or 11"),
        ("<net version='10'><layers/></net>", "the network has no layers"),
        ("<net version='10'><layers>", "is not an .xml file of a network"),
        ("<!DOCTYPE x [<!ENTITY a 'b'>]><net/>", "declares a document type"),
        ("<other/>", "the root element is no network"),
        (
            "<net version='2'><layers><layer id='0' name='x' type='Input'/></layers></net>",
            "node 'x': an input of the network does not give one array; found 0 inputs and 0 outputs",
        ),
    ],
)
def test_damaged_files_are_runtime_errors(tmp_path: Path, text: str, error: str) -> None:
    path = tmp_path / "network.xml"
    path.write_text(text)
    for call in (lambda: IENetwork(str(path)), lambda: IENetwork(text.encode(), b"", init_from_buffer=True)):
        with pytest.raises(RuntimeError, match=error) as caught:
            call()
        assert isinstance(caught.value, TilewrightError)


def test_files_in_the_wrong_order(tmp_path: Path) -> None:
    model, weights = write_network(tmp_path, PLAIN)
    contents = [Path(each).read_bytes() for each in (weights, model)]
    for call in (lambda: IENetwork(weights, model), lambda: IENetwork(*contents, init_from_buffer=True)):
        with pytest.raises(RuntimeError, match=r"and the model is none\. Give the \.xml file first"):
            call()


def test_what_is_neither_xml_nor_onnx(tmp_path: Path) -> None:
    for name in ("network.xml", "network.onnx"):
        (tmp_path / name).write_bytes(b"\x08\x07 and more")
        with pytest.raises(RuntimeError, match="is not an"):
            IENetwork(str(tmp_path / name))
    with pytest.raises(RuntimeError, match="the data is empty, no ONNX model"):
        IENetwork(b"", b"", init_from_buffer=True)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_a_fifo_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "network.xml")
    with pytest.raises(RuntimeError, match="it is not a regular file"):
        IENetwork(str(tmp_path / "network.xml"))


def test_a_network_of_nothing() -> None:
    network = IENetwork()
    assert (network.name, network.inputs, network.outputs, network.layers) == ("", {}, [], {})
    assert network.batch_size == 0 and network.precision == "FP32"
    with pytest.raises(RuntimeError, match=r"no input has a batch; .* found no inputs"):
        network.batch_size = 2
    with pytest.raises(RuntimeError, match="no outputs"):
        IEPlugin("CPU").load(network)


def test_unknown_layers_are_read_and_shown(tmp_path: Path) -> None:
    layers = (*PLAIN, LayerText("own", "MyLayer", ["relu"], [(1, 2)], {"strength": "3"}))
    network = IENetwork(*write_network(tmp_path, layers))
    assert network.layers["own"].type == "MyLayer" and network.layers["own"].params == {"strength": "3"}
    with pytest.raises(RuntimeError, match=r"the batch size cannot change from 1 to 2: import: .*'MyLayer'"):
        network.batch_size = 2
    assert network.inputs["data"] == [1, 3, 4, 6] and network.outputs["own"] == [1, 2]


def test_onnx_models(tmp_path: Path) -> None:
    path = small_onnx(tmp_path)
    x = np.random.default_rng(0).standard_normal((1, 3, 6, 6)).astype(np.float32)
    expected = results(IENetwork(str(path)), x=x)["y"]
    assert expected.shape == (1, 2, 2) and expected.any()
    read = IENetwork(path.read_bytes(), b"", init_from_buffer=True)
    np.testing.assert_array_equal(results(read, x=x)["y"], expected)
    network = IENetwork(str(path))
    assert network.name == "small" and network.inputs == {"x": [1, 3, 6, 6]} and network.outputs == {"y": [1, 2, 2]}
    types = {name: layer.type for name, layer in network.layers.items()}
    # The bias is an addition of its own, which has the name of the node, as in files that OpenVINO writes.
    assert types["conv/Convolution"] == "Convolution" and types["conv"] == "Add" and types["x"] == "Input"


def test_copies_go_their_own_way(tmp_path: Path) -> None:
    network = IENetwork(*write_network(tmp_path, PLAIN))
    network.inputs["data"].precision = "U8"
    other = copy.deepcopy(network)
    other.batch_size = 2
    other.layers["relu"].affinity = "CPU"
    assert (network.batch_size, other.batch_size) == (1, 2) and network.layers["relu"].affinity == ""
    assert other.inputs["data"].precision == "U8"


def test_errors_have_a_status(tmp_path: Path) -> None:
    network = IENetwork(*write_network(tmp_path, PLAIN))
    with pytest.raises(RuntimeError, match=r"^\[NOT_FOUND\] the network has no layer 'other'") as caught:
        network.add_outputs("other")
    assert vars(caught.value)["status"] is StatusCode.NOT_FOUND
