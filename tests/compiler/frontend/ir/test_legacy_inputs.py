"""What IR of versions 2 to 7 does to inputs before the first layer, and what of the files themselves can be wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from legacy_ir import LegacyIr
from legacy_layer_runs import imported
from legacy_layers import LegacyNetwork
from legacy_networks import resnet_like

from tilewright.compiler.frontend.formats import import_model
from tilewright.compiler.frontend.ir.document import Channel, PreProcess
from tilewright.compiler.frontend.ir.reader import read_document
from tilewright.errors import ModelError, UnsupportedError
from tilewright.ir import interp
from tilewright.ir.types import DType

RNG = np.random.default_rng(19)
X = RNG.uniform(0, 255, (2, 3, 4, 5)).astype(np.float32)
MEANS, SCALES = (104.0, 117.0, 123.0), (2.0, 4.0, 0.5)


def network(precision: str = "FP32") -> tuple[LegacyIr, str]:
    """A network of one layer that leaves its input as it is, and the name of its output."""
    net = LegacyIr("sample", 3)
    x = net.input("data", X.shape, precision)
    net.layer("Copy", "y", [x], [X.shape])
    return net, "y"


def test_means_and_scales() -> None:
    net, _ = network()
    net.pre_process(net.input("other", (1, 2)), MEANS, SCALES)
    net.tail = net.tail.replace("other", "data")
    found = interp.run(imported(net), {"data": X, "other": np.zeros((1, 2), np.float32)})
    expected = (X - np.array(MEANS).reshape(3, 1, 1)) / np.array(SCALES).reshape(3, 1, 1)
    np.testing.assert_allclose(found["y"], expected, rtol=1e-6)


def test_the_only_input_needs_no_name() -> None:
    net, _ = network()
    channels = "<channel id='0'/><channel id='2'><mean value='1'/></channel><channel id='1'/>"
    net.tail = f"<pre-process>{channels}</pre-process>"
    expected = X - np.array([0, 0, 1], np.float32).reshape(3, 1, 1)
    np.testing.assert_allclose(interp.run(imported(net), {"data": X})["y"], expected)


def test_mean_images() -> None:
    net = LegacyNetwork("sample", 3)
    images = RNG.uniform(0, 255, (3, 4, 5)).astype(np.float32)
    data = net.input("data", X.shape)
    net.relu("y", net.mean_images(data, images))
    found = interp.run(imported(net), {"data": X})["y"]
    np.testing.assert_array_equal(found, np.maximum(X - images, 0))
    np.testing.assert_allclose(found, net.expected({"data": X}, "y")["y"])
    with pytest.raises(ModelError, match=r"'data': a mean image has another size than the input; expected 30 elem"):
        imported(net, {"data": (2, 3, 5, 6)})


@pytest.mark.parametrize(
    ("channels", "layer", "message"),
    [
        (
            [Channel(0), Channel(1)],
            "data",
            r"each channel once; expected ids from 0 to 2, found \[0, 1\]",
        ),
        ([Channel(0), Channel(1), Channel(1)], "data", r"does not name each channel once"),
        (
            [Channel(0, np.zeros(20, np.float32)), Channel(1), Channel(2)],
            "",
            r"numbers and images as means",
        ),
        ([Channel(i, np.zeros(19, np.float32)) for i in range(3)], "", r"expected 20 elements for 4 x 5, found 19"),
        (
            [Channel(0, scale=0), Channel(1), Channel(2)],
            "",
            r"a scale of the pre-process is out of range",
        ),
        (
            [Channel(i) for i in range(3)],
            "image",
            r"of the pre-process is missing; expected image, found data",
        ),
    ],
)
def test_wrong_means(channels: list[Channel], layer: str, message: str) -> None:
    net, _ = network()
    document = read_document(net.xml.encode(), bytes(net.binary))
    document.pre_process = [PreProcess(layer, channels)]
    with pytest.raises(ModelError, match=message):
        import_model(document)


def test_means_of_no_input_among_several() -> None:
    net, _ = network()
    net.input("other", (1, 2))
    net.tail = "<pre-process><channel id='0'/></pre-process>"
    with pytest.raises(ModelError, match=r"the pre-process names no input; expected data or other, found nothing"):
        imported(net)


def test_a_message_does_not_list_very_many_inputs() -> None:
    net, _ = network()
    for index in range(3_000):
        net.input(f"another{index}", (1, 2))
    for name in ("", "reference-layer-name='image'"):
        net.tail = f"<pre-process {name}><channel id='0'/></pre-process>"
        with pytest.raises(ModelError, match=r"the pre-process|of the pre-process is missing") as caught:
            imported(net)
        message = str(caught.value)
        assert "data" in message and "another2999" in message and "another1500" not in message
        assert repr(caught.value).startswith("ModelError('the ") and len(message) < 10_000


def test_inputs_of_half_precision_are_single() -> None:
    module = imported(network("FP16")[0])
    assert [p.type.dtype for p in module.main.parameters] == [DType.F32]


def test_inputs_of_bytes_become_real_numbers() -> None:
    net, _ = network("U8")
    module = imported(net)
    assert [p.type.dtype for p in module.main.parameters] == [DType.U8]
    found = interp.run(module, {"data": X.astype(np.uint8)})["y"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, X.astype(np.uint8))


def test_without_a_bin_file(tmp_path: Path) -> None:
    path = resnet_like(3).write(tmp_path)
    path.with_suffix(".bin").unlink()
    with pytest.raises(ModelError, match=r"layer 'data/mean' holds an array, but there is no .bin file"):
        import_model(path)


def test_a_bin_file_that_is_cut_off(tmp_path: Path) -> None:
    path = resnet_like(3).write(tmp_path)
    binary = path.with_suffix(".bin")
    binary.write_bytes(binary.read_bytes()[:-8])
    with pytest.raises(ModelError, match=r"an array of layer 'fc10' lies outside the .bin file; expected within"):
        import_model(path)


def test_blobs_that_do_not_fill_the_weights(tmp_path: Path) -> None:
    net = resnet_like(7, "FP16")
    path = net.write(tmp_path)
    path.write_text(path.read_text().replace('output="8"', 'output="4"', 1))
    with pytest.raises(ModelError, match=r"Convolution.*'conv1'.*weights do not fill their shape; expected 108 for"):
        import_model(path)


def test_ports_that_do_not_fit_what_layers_compute(tmp_path: Path) -> None:
    path = resnet_like(2).write(tmp_path)
    path.write_text(path.read_text().replace("<dim>16</dim>", "<dim>15</dim>"))
    with pytest.raises(ModelError, match=r"'pool1'.*mismatch of dimensions: the layer computes another"):
        import_model(path)


@pytest.mark.parametrize("version", [1, 8, 9, 12])
def test_versions_that_nobody_knows(version: int) -> None:
    net, _ = network()
    net.version = version
    with pytest.raises(UnsupportedError, match=rf"(deprecated IR version|cannot parse future versions): {version}; "):
        imported(net)


@pytest.mark.parametrize("version", [2, 7])
def test_every_shape_follows_the_batch(version: int) -> None:
    net = resnet_like(version)
    one, two = imported(net), imported(net, {"data": (2, 3, 32, 32)})
    x = RNG.uniform(0, 255, (2, 3, 32, 32)).astype(np.float32)
    both = interp.run(two, {"data": x})["prob"]
    assert both.shape == (2, 10)
    each = [interp.run(one, {"data": x[i : i + 1]})["prob"][0] for i in range(2)]
    np.testing.assert_allclose(both, each, atol=1e-6)


def test_another_picture_does_not_fit_the_last_layer() -> None:
    with pytest.raises(ModelError, match=r"FullyConnected.*'fc10'.*the weights do not fill their shape"):
        imported(resnet_like(3), {"data": (1, 3, 64, 64)})
