"""Inputs and outputs of networks, added ones, files written, and what is handed to plugins."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
from ir_files import LayerText, write_network
from legacy_networks import resnet_like
from network_programs import results, small_onnx

from tilewright.runtime.api import inference_engine
from tilewright.runtime.api.inference_engine import (
    DataPtr,
    IENetwork,
    IEPlugin,
    InputInfo,
    LayersStatsMap,
    LayerStats,
    OutputInfo,
    constants,
)

SPLIT = (
    LayerText("data", "Input", (), [(1, 4, 2, 2)]),
    LayerText("split", "Split", ["data"], [(1, 2, 2, 2), (1, 2, 2, 2)], {"axis": "1"}),
    LayerText("zero", "ReLU", ["split:0"], [(1, 2, 2, 2)]),
    LayerText("all", "ReLU", ["split:1"], [(1, 2, 2, 2)]),
)


@pytest.fixture
def split(tmp_path: Path) -> IENetwork:
    return IENetwork(*write_network(tmp_path, SPLIT))


def test_inputs_are_shapes_and_have_them(network: IENetwork) -> None:
    """Programs of 2018 unpack ``net.inputs[name]``, later ones ``net.inputs[name].shape``."""
    name = next(iter(network.inputs))
    n, c, h, w = network.inputs[name]
    assert (name, n, c, h, w) == ("data", 1, 3, 32, 32)
    assert network.inputs == {"data": [1, 3, 32, 32]} and network.input_info[name].input_data.shape == [1, 3, 32, 32]
    data = network.inputs[name]
    assert isinstance(data, InputInfo) and isinstance(data, DataPtr) and isinstance(data, list)
    assert (data.name, data.precision, data.layout, data.initialized) == ("data", "FP32", "NCHW", True)
    data[0] = 5
    assert network.inputs[name] == [1, 3, 32, 32], "it is a copy of the shape"
    assert pickle.loads(pickle.dumps(data)) == [5, 3, 32, 32] and copy.deepcopy(network.inputs) == network.inputs


def test_outputs_are_names_and_have_shapes(split: IENetwork) -> None:
    """A list until 2018 R3, a dictionary since."""
    outputs = split.outputs
    assert outputs == ["all", "zero"] and outputs == ["all", "zero"] and outputs == ("all", "zero")
    assert outputs != ["zero", "all"] and outputs != ["all"]
    assert (outputs[0], outputs[-1], outputs[:1], next(iter(outputs)), len(outputs)) == (
        "all",
        "zero",
        ["all"],
        "all",
        2,
    )
    assert outputs.index("zero") == 1 and outputs.count("all") == 1 and list(reversed(outputs)) == ["zero", "all"]
    assert outputs + ["x"] == ["all", "zero", "x"]  # noqa: RUF005
    assert ["x"] + outputs == ["x", "all", "zero"]  # noqa: RUF005
    assert outputs["zero"].shape == [1, 2, 2, 2] and isinstance(outputs["zero"], OutputInfo) and "all" in outputs
    assert outputs == {"all": [1, 2, 2, 2], "zero": [1, 2, 2, 2]} and [*outputs.keys()] == [*outputs]
    assert [list(data) for data in outputs.values()] == [[1, 2, 2, 2]] * 2 and outputs.get("other") is None
    for wrong, error in (("other", KeyError), (2, IndexError)):
        with pytest.raises(error):
            outputs[wrong]
    with pytest.raises(ValueError, match="other"):
        outputs.index("other")


def test_precisions_and_layouts_are_kept(network: IENetwork) -> None:
    network.inputs["data"].precision = "u8"
    network.inputs["data"].layout = "NHWC"
    network.outputs["prob"].precision = "FP16"
    assert (network.inputs["data"].precision, network.inputs["data"].layout) == ("U8", "NHWC")
    assert network.inputs["data"].shape == [1, 3, 32, 32], "the order is that of the network"
    assert network.layers["data"].out_data[0].precision == "U8" and network.layers["data"].layout == "NHWC"
    network.batch_size = 2
    snapshot = network.snapshot()
    data, prob = snapshot.inputs["data"], snapshot.outputs["prob"]
    assert (data.shape, data.precision, data.layout) == ((2, 3, 32, 32), "U8", "NHWC")
    assert (prob.shape, prob.precision, prob.layout) == ((2, 12), "FP16", "NC")


@pytest.mark.parametrize("wrong", ["FP33", "", None, 5])
def test_unknown_precisions(network: IENetwork, wrong: object) -> None:
    """Releases raised either error."""
    data = network.inputs["data"]
    for error in (ValueError, AttributeError):
        with pytest.raises(error, match=r"Unsupported precision .*! List of supported"):
            data.precision = wrong  # pyright: ignore[reportAttributeAccessIssue]
        with pytest.raises(error, match="Unsupported precision"):
            network.add_outputs("conv1", precision=wrong)  # pyright: ignore[reportArgumentType]
    assert data.precision == "FP32" and network.outputs == ["prob"]


@pytest.mark.parametrize("wrong", ["NHCW", "NC", "nhwc", None, 2])
def test_unknown_layouts_and_those_of_other_ranks(network: IENetwork, wrong: object) -> None:
    text = f"^Unsupported layout {wrong}! List of supported layouts: "
    if wrong == "NC":
        text = "'data' cannot have this layout; expected ANY or NCHW or NHWC or OIHW or BLOCKED"
    for error in (ValueError, AttributeError):
        with pytest.raises(error, match=text):
            network.inputs["data"].layout = wrong  # pyright: ignore[reportAttributeAccessIssue]
    assert network.inputs["data"].layout == "NCHW"


def test_outputs_stay_in_the_order_of_the_network(network: IENetwork) -> None:
    network.add_outputs("conv1")
    network.outputs["conv1"].layout = "BLOCKED"
    with pytest.raises(ValueError, match="'conv1' cannot have this layout; expected ANY or NCHW or OIHW or BLOCKED"):
        network.outputs["conv1"].layout = "NHWC"
    assert network.snapshot().outputs["conv1"].layout == "BLOCKED"


@pytest.mark.parametrize(
    ("shape", "layout", "batch"),
    [
        ((5,), "C", 1),
        ((5, 2), "NC", 5),
        ((5, 2, 3), "CHW", 1),
        ((5, 2, 3, 4), "NCHW", 5),
        ((5, 1, 2, 3, 4), "NCDHW", 5),
    ],
)
def test_layouts_follow_the_rank(tmp_path: Path, shape: tuple[int, ...], layout: str, batch: int) -> None:
    layers = (LayerText("data", "Input", (), [shape]), LayerText("relu", "ReLU", ["data"], [shape]))
    network = IENetwork(*write_network(tmp_path, layers))
    assert network.inputs["data"].layout == network.outputs["relu"].layout == layout and network.batch_size == batch


def test_outputs_are_added_in_the_order_of_the_calls(network: IENetwork, picture: np.ndarray) -> None:
    network.add_outputs(["pool1", "conv1"])
    network.add_outputs("mean", precision="FP16")
    network.add_outputs(outputs=("conv1", "prob"))
    assert network.outputs == ["prob", "pool1", "conv1", "mean"]
    assert [data.precision for data in network.outputs.values()] == ["FP32", "FP32", "FP32", "FP16"]
    assert list(network.snapshot().outputs) == ["prob", "pool1", "conv1", "mean"]
    found = IEPlugin("CPU").load(network).infer({"data": picture})
    expected = results(network, data=picture)
    assert {name: array.shape for name, array in found.items()} == {
        name: array.shape for name, array in expected.items()
    }
    assert (expected["conv1"] < 0).any(), "before the addition and ReLU that it is computed with"
    np.testing.assert_allclose(found["conv1"], expected["conv1"], rtol=1e-4, atol=1e-4)
    assert found["mean"].dtype == np.float16


def test_adding_the_same_output_twice_is_silent(network: IENetwork, capsys: pytest.CaptureFixture[str]) -> None:
    network.add_outputs(["prob", "conv1", "conv1"])
    network.add_outputs("conv1", "U8")
    assert network.outputs == ["prob", "conv1"] and network.outputs["conv1"].precision == "FP32"
    assert capsys.readouterr().out == ""


def test_a_layer_of_several_outputs_is_named_with_one(split: IENetwork, capsys: pytest.CaptureFixture[str]) -> None:
    split.add_outputs(["split", "data"])
    said = "Layer 'split' gives 'split.1', 'split.2', and is not added to the outputs as a whole\n"
    assert capsys.readouterr().out == said and split.outputs == ["all", "zero", "data"]
    split.add_outputs([("split", 1)])
    split.add_outputs("split.1")
    split.add_outputs(("split", 0))
    assert split.outputs == ["all", "zero", "data", "split.2", "split.1"]
    data = np.arange(-8, 8, dtype=np.float32).reshape(1, 4, 2, 2)
    found = results(split, data=data)
    np.testing.assert_array_equal(found["split.1"], data[:, :2])
    np.testing.assert_array_equal(found["split.2"], data[:, 2:])
    np.testing.assert_array_equal(found["data"], data)


@pytest.mark.parametrize(
    ("outputs", "error", "text"),
    [
        ("other", RuntimeError, r"\[NOT_FOUND\] the network has no layer 'other'"),
        (["all", "other"], RuntimeError, "no layer 'other'"),
        ([("other", 0)], RuntimeError, "no layer 'other'"),
        ([("split", 2)], RuntimeError, r"\[OUT_OF_BOUNDS\] layer 'split' has no such output; expected 0 to 1, found 2"),
        ([("split", -1)], RuntimeError, "layer 'split' has no such output"),
        ([5], TypeError, "an output is added by the name of a layer, or by a tuple .* found 5"),
        (5, TypeError, "an output is added by the name of a layer"),
        (None, TypeError, "an output is added by the name of a layer"),
        ([("split", "1")], TypeError, "an output is added by the name of a layer"),
        ([("split", 1, 2)], TypeError, "an output is added by the name of a layer"),
        ([("split", True)], TypeError, "an output is added by the name of a layer"),
        ([b"split"], TypeError, "an output is added by the name of a layer"),
    ],
)
def test_what_cannot_be_added(split: IENetwork, outputs: object, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        split.add_outputs(outputs)  # pyright: ignore[reportArgumentType]
    assert split.outputs == ["all", "zero"]


def test_a_snapshot_knows_nothing_of_later_changes(network: IENetwork, picture: np.ndarray) -> None:
    expected = results(network, data=picture)["prob"]
    network.layers["pool1"].affinity = "FPGA"
    network.inputs["data"].precision = "U8"
    snapshot = network.snapshot()
    loaded = IEPlugin("CPU").load(network)
    network.layers["fc"].weights["weights"][:] = 0
    network.batch_size = 2
    network.layers["pool1"].affinity = "CPU"
    network.inputs["data"].precision = "FP32"
    network.add_outputs("conv1")
    del network
    assert snapshot.inputs["data"].shape == (1, 3, 32, 32) and snapshot.inputs["data"].precision == "U8"
    assert snapshot.affinities["pool1"] == snapshot.document.named("pool1").affinity == "FPGA"
    assert list(snapshot.outputs) == ["prob"] and snapshot.document.outputs()[0][1].shape == (1, 12)
    assert snapshot.affinities.keys() == snapshot.layer_types.keys() and snapshot.layer_types["pool1"] == "MaxPool"
    found = loaded.infer({"data": picture.astype(np.uint8)})["prob"]
    assert np.abs(found - 1 / 12).max() > 1e-3 and found.shape == expected.shape


@pytest.mark.parametrize("kind", ["legacy", "onnx"])
def test_files_that_are_written_are_the_network(tmp_path: Path, kind: str) -> None:
    """With the weights, shapes and outputs of now."""
    if kind == "legacy":
        network, name = IENetwork(str(resnet_like(3, "FP16").write(tmp_path))), "data"
    else:
        network, name = IENetwork(str(small_onnx(tmp_path))), "x"
        network.add_outputs("relu")
    layer = next(layer for layer in network.layers.values() if layer.type == "Convolution")
    layer.weights["weights"][:] *= 2
    network.batch_size = 2
    network.serialize(str(tmp_path / "written.xml"))
    network.serialize(str(tmp_path / "again.xml"), str(tmp_path / "elsewhere.bin"))
    assert (tmp_path / "elsewhere.bin").read_bytes() == (tmp_path / "written.bin").read_bytes()
    data = np.random.default_rng(0).standard_normal(network.inputs[name]).astype(np.float32)
    expected = results(network, **{name: data})
    for files in (("written.xml", "written.bin"), ("again.xml", "elsewhere.bin")):
        read = IENetwork(str(tmp_path / files[0]), str(tmp_path / files[1]))
        assert read.name == network.name and read.inputs == network.inputs and {*read.outputs} == {*network.outputs}
        found = results(read, **{name: data})
        for key in expected:
            np.testing.assert_array_equal(found[key], expected[key])


def test_files_that_cannot_be_written(network: IENetwork, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="cannot write"):
        network.serialize(str(tmp_path / "missing" / "network.xml"))


def test_ranges_are_kept(network: IENetwork) -> None:
    assert network.stats == {} and isinstance(network.stats, LayersStatsMap)
    network.stats.update({"conv1": LayerStats(min=(-25, -1), max=(63, 124))})
    assert network.stats["conv1"].min == (-25, -1) and network.stats["conv1"].max == (63, 124)
    assert network.stats["conv1"] == LayerStats((-25, -1), (63, 124)) != LayerStats()
    assert repr(LayerStats([0.5])) == "LayerStats(min=(0.5,), max=())" and len({LayerStats(), LayerStats()}) == 1


def test_tables_of_names() -> None:
    assert constants.layout_int_to_str_map[1] == "NCHW" and constants.layout_str_to_enum["BLOCKED"] == 200
    assert inference_engine.Layout.NC == 193 and str(inference_engine.Layout.OIHW) == "64"
    assert constants.format_map["FP16"] is np.float16 and {"CPU", "FPGA", "HETERO"} <= {*constants.known_plugins}
    assert {"FP32", "FP16", "I64", "I32", "I16", "I8", "U16", "U8"} <= {*inference_engine.supported_precisions}


def test_no_warnings_on_the_way_of_2018(file: Path, recwarn: pytest.WarningsRecorder) -> None:
    network = IENetwork.from_ir(model=str(file), weights=str(file.with_suffix(".bin")))
    network.batch_size = 2
    network.add_outputs("conv1")
    for layer in network.layers.values():
        layer.affinity, layer.params = "CPU", layer.params
        assert layer.precision and isinstance(layer.weights, dict)
    network.reshape({"data": [1, 3, 32, 32]})
    assert not recwarn.list
