"""IECore: the later front door, exported networks, registered plugins."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ir_files import LayerText, write_network

import tilewright
from tilewright.errors import TilewrightError
from tilewright.runtime.api.inference_engine import (
    CDataPtr,
    IECore,
    IENetwork,
    IEPlugin,
    InputInfoCPtr,
    InputInfoPtr,
    LayerStats,
)
from tilewright.runtime.api.inference_engine.errors import DeviceWarning
from tilewright.runtime.artifact.artifact import Artifact, write_with

UNKNOWN = r'^\[NOT_FOUND\] Device with "{}" name is not registered in the InferenceEngine'


def test_devices_versions_and_metrics() -> None:
    core = IECore()
    assert core.available_devices == ["CPU", "FPGA"]
    versions = core.get_versions("HETERO:FPGA,GPU,CPU")
    assert [*versions] == ["HETERO", "FPGA", "GPU", "CPU"]
    major, minor, build, description = versions["CPU"]
    assert (major, minor, build.startswith("tilewright_")) == (1, 2, True)
    assert versions["CPU"].description == description
    for device in ("CPU", "FPGA", "HETERO:FPGA,CPU"):
        for name in core.get_metric(device, "SUPPORTED_METRICS"):  # pyright: ignore[reportGeneralTypeIssues]
            assert core.get_metric(device, name)
    assert "CPU_THROUGHPUT_STREAMS" in core.get_metric("CPU", "SUPPORTED_CONFIG_KEYS")  # pyright: ignore[reportOperatorIssue]
    with pytest.raises(
        RuntimeError, match=r"^\[NOT_FOUND\] Unsupported metric key 'X' of device CPU; expected AVAILABLE"
    ):
        core.get_metric("CPU", "X")
    with pytest.raises(RuntimeError, match=r"^\[NOT_FOUND\] there is no device GPU here"):
        core.get_metric("GPU", "FULL_DEVICE_NAME")
    with pytest.raises(RuntimeError, match=UNKNOWN.format("TPU")):
        core.get_versions("TPU")
    with pytest.raises(TypeError, match=r"^a device is named by text; expected such as 'CPU', found int$"):
        core.get_versions(3)  # pyright: ignore[reportArgumentType]


def test_a_process_that_may_use_one_processor_has_one_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0}, raising=False)
    assert IECore().get_metric("CPU", "RANGE_FOR_STREAMS") == (1, 1)


def test_networks_are_read_and_loaded(
    file: Path, in_floats: tilewright.Session, picture: np.ndarray, network: IENetwork
) -> None:
    core = IECore()
    weights = file.with_suffix(".bin")
    expected = in_floats.run({"data": picture})["prob"].tobytes()
    for read in (
        core.read_network(str(file), str(weights)),
        core.read_network(model=str(file)),
        core.read_network(file.read_bytes(), weights.read_bytes(), init_from_buffer=True),
    ):
        executable = core.load_network(network=read, device_name="CPU", num_requests=2)
        assert len(executable.requests) == 2
        assert executable.infer({"data": picture})["prob"].tobytes() == expected
    executable = core.load_network(str(file), "CPU", {"CPU_THROUGHPUT_STREAMS": "3"}, 0)
    assert len(executable.requests) == 3
    with pytest.raises(ValueError, match=r"^Incorrect number of requests specified: -1\."):
        core.load_network(network, "CPU", num_requests=-1)
    with pytest.raises(FileNotFoundError):
        core.read_network(str(file.with_name("missing.xml")))
    with pytest.raises(FileNotFoundError):
        core.load_network(str(file.with_name("missing.xml")), "CPU")


def test_which_device_supports_which_layer(network: IENetwork) -> None:
    core = IECore()
    network.layers["conv1"].affinity = "GPU"
    found = core.query_network(network, "HETERO:FPGA,CPU")
    assert (found["conv1"], found["prob"]) == ("FPGA", "CPU")
    assert set(core.query_network(network, "CPU").values()) == {"CPU"}
    assert "prob" not in core.query_network(network=network, device_name="FPGA")
    listed = core.query_network(network, "HETERO", {"TARGET_FALLBACK": "CPU"})
    assert set(listed.values()) == {"CPU"}


def test_configurations_belong_to_devices(network: IENetwork) -> None:
    core = IECore()
    core.set_config({"CPU_THROUGHPUT_STREAMS": "2"}, "CPU")
    assert core.get_config("CPU", "CPU_THROUGHPUT_STREAMS") == "2"
    assert core.get_config("FPGA", "CPU_THROUGHPUT_STREAMS") == "1"
    assert len(core.load_network(network, "CPU", num_requests=0).requests) == 2
    # A benchmark turns into a number what it set by name.
    for name in ("CPU_THROUGHPUT_AUTO", "CPU_THROUGHPUT_NUMA"):
        core.set_config({"CPU_THROUGHPUT_STREAMS": name}, "CPU")
        streams = int(core.get_config("CPU", "CPU_THROUGHPUT_STREAMS"))
        executable = core.load_network(network, "CPU", num_requests=0)
        assert len(executable.requests) == streams
        assert executable.get_config("CPU_THROUGHPUT_STREAMS") == str(streams)
    with pytest.raises(
        RuntimeError, match=r"^\[NOT_FOUND\] Unsupported property TARGET_FALLBACK by CPU plugin; it is a k"
    ):
        core.set_config({"TARGET_FALLBACK": "CPU"}, "CPU")
    with pytest.raises(RuntimeError, match=r"^\[NOT_FOUND\] there is no key 'X'; expected PERF_COUNT"):
        core.get_config("CPU", "X")


@pytest.mark.parametrize("device", ["CPU", "HETERO:FPGA,CPU"])
def test_exported_networks(device: str, network: IENetwork, tmp_path: Path, samples: Path, picture: np.ndarray) -> None:
    core = IECore()
    config = {"TILEWRIGHT_CALIBRATION": str(samples)} if device != "CPU" else {}
    network.inputs["data"].precision, network.inputs["data"].layout = "U8", "NHWC"
    exported = core.load_network(network, device, config)
    pixels = picture.astype(np.uint8).transpose(0, 2, 3, 1)
    expected = exported.infer({"data": pixels})["prob"].tobytes()
    exported.export(str(tmp_path / "network.blob"))
    imported = core.import_network(str(tmp_path / "network.blob"), device, num_requests=2)
    assert len(imported.requests) == 2
    assert imported.infer({"data": pixels})["prob"].tobytes() == expected
    assert imported.requests[0].get_perf_counts().keys() == exported.requests[0].get_perf_counts().keys()
    assert imported.get_metric("NETWORK_NAME") == "pictures"
    other = "FPGA" if device == "CPU" else "CPU"
    with pytest.raises(RuntimeError, match=r"^the network was exported for another device; expected .*, found "):
        core.import_network(str(tmp_path / "network.blob"), other)


def test_what_cannot_be_imported_or_exported(network: IENetwork, tmp_path: Path, file: Path) -> None:
    core = IECore()
    executable = core.load_network(network, "CPU")
    with pytest.raises(RuntimeError, match="cannot write"):
        executable.export(str(tmp_path / "missing" / "network.blob"))
    with pytest.raises(RuntimeError, match="cannot read"):
        core.import_network(str(tmp_path / "network.blob"), "CPU")
    tilewright.compile(file, output=tmp_path / "plain.twa")
    with pytest.raises(
        RuntimeError, match=r"is none of an exported network\. ExecutableNetwork.export writes such files"
    ):
        core.import_network(str(tmp_path / "plain.twa"), "CPU")
    executable.export(str(tmp_path / "network.blob"))
    content = (tmp_path / "network.blob").read_bytes()
    rng = np.random.default_rng(0)
    for index in range(60):
        damaged = bytearray(content)
        if index % 3:
            damaged[rng.integers(len(damaged))] ^= 1 << rng.integers(8)
        else:
            del damaged[rng.integers(len(damaged)) :]
        (tmp_path / "damaged.blob").write_bytes(damaged)
        with pytest.raises(RuntimeError):
            core.import_network(str(tmp_path / "damaged.blob"), "CPU")
    write_with(tmp_path / "told.blob", Artifact.open(content), "placement", "nothing")
    with pytest.raises(RuntimeError, match=r"field 'placement' is not a list; found 'nothing'"):
        core.import_network(str(tmp_path / "told.blob"), "CPU")


def test_plugins_are_registered_under_names(network: IENetwork, tmp_path: Path, picture: np.ndarray) -> None:
    core = IECore()
    core.register_plugin("MKLDNNPlugin", "MINE")
    assert core.available_devices == ["CPU", "FPGA", "MINE"]
    assert core.load_network(network, "MINE").infer({"data": picture})["prob"].shape == (1, 12)
    assert [*core.get_versions("MINE")] == ["MINE"]
    with pytest.raises(RuntimeError, match=r'^Device with "MINE" is already registered in the InferenceEngine$'):
        core.register_plugin("dliaPlugin", "MINE")
    core.unregister_plugin("MINE")
    for call in (core.unregister_plugin, core.get_versions):
        with pytest.raises(RuntimeError, match=UNKNOWN.format("MINE")):
            call("MINE")
    with pytest.raises(RuntimeError, match=r"^\[NOT_FOUND\] cannot find plugin 'unheard'; expected MKLDNNPlugin, "):
        core.register_plugin("unheard", "MINE")
    with pytest.raises(TypeError, match=r"^a plugin is named by text; expected such as 'MKLDNNPlugin', found int$"):
        core.register_plugin(3)  # pyright: ignore[reportArgumentType]
    listed = tmp_path / "plugins.xml"
    listed.write_text(
        '<ie><plugins><plugin name="CPU" location="libMKLDNNPlugin.so"/>'
        '<plugin name="BOARD" location="/opt/libdliaPlugin.so"><properties/></plugin></plugins></ie>'
    )
    assert IECore(str(listed)).available_devices == ["CPU", "FPGA", "BOARD"]
    core.register_plugins(str(listed))
    core.unregister_plugin("CPU")
    with pytest.raises(RuntimeError, match=UNKNOWN.format("CPU")):
        core.load_network(network, "CPU")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("<ie>", "is no list of plugins"),
        ("no xml", "is no list of plugins"),
        ('<!DOCTYPE ie [<!ENTITY a "b">]><ie/>', "declares a document type"),
        ('<ie><plugin name="X" location="unheard"/></ie>', "cannot find plugin 'unheard'"),
        (None, "cannot read"),
    ],
)
def test_wrong_lists_of_plugins(text: str | None, error: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "plugins.xml").write_text(text)
    with pytest.raises(RuntimeError, match=error):
        IECore().register_plugins(str(tmp_path / "plugins.xml"))
    with pytest.raises(RuntimeError, match=error):
        IECore(str(tmp_path / "plugins.xml"))


@pytest.mark.parametrize("device", ["AUTO", "", "AUTO:GPU,CPU", "MULTI:CPU", "MULTI:CPU(2),MYRIAD(4)", "MULTI:GPU,CPU"])
def test_devices_that_stand_for_the_first_of_a_list(
    device: str, network: IENetwork, in_floats: tilewright.Session
) -> None:
    core, ones = IECore(), np.ones((1, 3, 32, 32), np.float32)
    core.set_config({"CPU_THROUGHPUT_STREAMS": "3"}, "CPU")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loaded = core.load_network(network, device, {"PERF_COUNT": "NO"}, 0)
    absent = {"MULTI:CPU(2),MYRIAD(4)": "MYRIAD", "MULTI:GPU,CPU": "GPU"}.get(device)
    texts = [f"{device}: {absent} is not here, and all requests run on CPU"] if absent else []
    assert [str(each.message) for each in caught if each.category is DeviceWarning] == texts
    assert loaded.infer({"data": ones})["prob"].tobytes() == in_floats.run({"data": ones})["prob"].tobytes()
    assert len(loaded.requests) == loaded.get_metric("OPTIMAL_NUMBER_OF_INFER_REQUESTS") == 3
    assert loaded.get_config("PERF_COUNT") == "NO"
    assert set(core.query_network(network, device).values()) == {"CPU"}
    assert core.get_metric(device, "FULL_DEVICE_NAME") == core.get_metric("CPU", "FULL_DEVICE_NAME")
    with pytest.raises(RuntimeError, match=r"^\[NOT_FOUND\] Unsupported property TARGET_FALLBACK by (AUTO|MULTI)"):
        core.load_network(network, device, {"TARGET_FALLBACK": "CPU"})


def test_lists_of_devices_by_their_keys(network: IENetwork, tmp_path: Path) -> None:
    core = IECore()
    core.set_config({"MULTI_DEVICE_PRIORITIES": "GPU,CPU"}, "MULTI")
    with pytest.warns(DeviceWarning, match="^MULTI: GPU is not here, and all requests run on CPU$"):
        loaded = core.load_network(network, "MULTI")
    loaded.export(str(tmp_path / "network.blob"))
    for device in ("CPU", "MULTI", "AUTO:CPU"):
        assert core.import_network(str(tmp_path / "network.blob"), device).get_metric("NETWORK_NAME") == "pictures"
    assert core.load_network(network, "MULTI", {"MULTI_DEVICE_PRIORITIES": "CPU"}).requests
    assert IEPlugin("MULTI:CPU").get_supported_layers(network) == IEPlugin("CPU").get_supported_layers(network)
    for device in ("MULTI", "MULTI:GPU,MYRIAD", "AUTO:GPU"):
        name = device.partition(":")[0]
        text = rf"^\[NOT_FOUND\] {name} has no device that is here; expected a list with CPU or FPGA, such as"
        with pytest.raises(RuntimeError, match=text):
            IEPlugin(device).load(network)
    with pytest.raises(RuntimeError, match=r"^\[NOT_FOUND\] MULTI_DEVICE_PRIORITIES names no device by 'HETERO:CPU'"):
        IEPlugin("MULTI:HETERO:CPU")


def test_what_examples_of_the_documents_spell_otherwise(network: IENetwork, file: Path) -> None:
    assert len(IEPlugin("CPU").load(network=network, num_requsts=2).requests) == 2
    assert len(IECore().load_network(network=network, device_name="CPU", num_requsts=2).requests) == 2
    plugin = IEPlugin("HETERO:CPU")
    plugin.set_default_affinity(network)
    assert network.layers["conv1"].affinity == "CPU"
    plugin.add_cpu_extenstion(str(file))
    plugin.add_cpu_extenstions(str(file))


def test_what_programs_of_2021_use(network: IENetwork, tmp_path: Path) -> None:
    """As the tests of the Python API in the repository of OpenVINO 2021.4 call it."""
    core = IECore()
    core.set_config({"GNA_DEVICE_MODE": "GNA_AUTO", "GNA_PRECISION": "I16"}, "HETERO:GNA,CPU")
    core.register_plugin("libopenvino_intel_cpu_plugin.so", "CUSTOM")
    assert isinstance(network.input_info["data"], InputInfoPtr)
    loaded = core.load_network(network, "CUSTOM")
    data, outputs = loaded.input_info["data"], loaded.outputs["prob"]
    assert isinstance(data, InputInfoCPtr) and isinstance(outputs, CDataPtr) and data.input_data.shape == [1, 3, 32, 32]
    with pytest.raises(AttributeError, match=r"^attribute 'precision' of .*CDataPtr' objects is not writable\. Set"):
        outputs.precision = "I8"
    (request,) = loaded.requests
    assert outputs.precision == "FP32" and request.query_state() == []
    assert (request._inputs_list, request._outputs_list) == (["data"], ["prob"])
    network.serialize(str(tmp_path / "named.xml"))
    text = (
        (tmp_path / "named.xml").read_text().replace('<port id="0" precision="FP32">', '<port id="0" names="x, y">', 1)
    )
    (tmp_path / "named.xml").write_text(text)
    named = core.read_network(str(tmp_path / "named.xml"))
    assert [named.get_ov_name_for_tensor(name) for name in ("x", "y", "prob")] == ["data", "data", "prob"]
    with pytest.raises(RuntimeError, match=r"^\[NOT_FOUND\] Framework tensor with name 'z' was not mapped"):
        named.get_ov_name_for_tensor("z")


OF_TEXT = r"^a configuration is a dictionary of text to text; expected a dict, found "


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda core, network: core.import_network("x", "CPU", [1]), TypeError, OF_TEXT + "list$"),
        (lambda core, network: core.query_network(network, "CPU", "text"), TypeError, OF_TEXT + "str$"),
        (lambda core, network: core.query_network(network, "CPU", np.zeros(2)), TypeError, OF_TEXT + "ndarray$"),
        (lambda core, network: core.load_network(network, "CPU", b"x"), TypeError, OF_TEXT + "bytes$"),
        (lambda core, network: core.set_config(None, "CPU"), TypeError, OF_TEXT + "NoneType$"),
        (lambda core, network: core.import_network(3, "CPU"), TypeError, "^an exported network is named by its path"),
        (lambda core, network: core.register_plugins(np.zeros(2)), TypeError, "^a file of plugins is named by its"),
        (lambda core, network: core.unregister_plugin(b"CPU"), TypeError, "^a device is named by text"),
        (lambda core, network: core.get_metric("CPU", np.zeros(2)), RuntimeError, "Unsupported metric key array"),
        (lambda core, network: type(core)(np.zeros(2)), TypeError, "^a file of plugins is named by its p"),
        (lambda core, network: type(network)(np.zeros(2)), TypeError, "^the model is named by its path; expected"),
        (lambda core, network: type(network)("x", "y", np.zeros(2)), TypeError, "^init_from_buffer is yes"),
        (lambda core, network: network.serialize(None), TypeError, "^the .xml file is named by its path"),
        (lambda core, network: network.serialize(""), RuntimeError, "^a network cannot be written without a path"),
        (lambda core, network: network.serialize("x", np.zeros(2)), TypeError, "^the .bin file is named by its path"),
        (lambda core, network: network.add_outputs(np.array("conv1")), TypeError, "^an output is added by the name of"),
        (lambda core, network: network.reshape({"data": np.array(3)}), TypeError, "^wrong shape for input 'data'"),
        (lambda core, network: setattr(network.inputs["data"], "layout", np.zeros(2)), ValueError, "^Unsupported l"),
        (lambda core, network: LayerStats(core), TypeError, "^a range is numbers, one for each channel; expected a l"),
    ],
)  # fmt: skip
def test_arguments_of_wrong_types(
    call: Callable[[Any, Any], object], error: type[Exception], text: str, network: IENetwork
) -> None:
    with pytest.raises(error, match=text) as caught:
        call(IECore(), network)
    assert isinstance(caught.value, TilewrightError)


def test_start_async_of_an_array(network: IENetwork) -> None:
    with pytest.raises(ValueError, match=r"^Incorrect request_id specified!"):
        IECore().load_network(network, "CPU").start_async(np.zeros(2))  # pyright: ignore[reportArgumentType]


def test_shapes_may_come_one_after_the_other(network: IENetwork) -> None:
    network.reshape({"data": iter([2, 3, 32, 32])})  # pyright: ignore[reportArgumentType]
    assert network.inputs["data"].shape == [2, 3, 32, 32]


def test_contents_without_weights(tmp_path: Path) -> None:
    """As a buffer, too, a network may have none."""
    layers = (LayerText("data", "Input", (), [(1, 3)]), LayerText("relu", "ReLU", ["data"], [(1, 3)]))
    file, _ = write_network(tmp_path, layers)
    assert [*IECore().read_network(Path(file).read_bytes(), init_from_buffer=True).outputs] == ["relu"]
