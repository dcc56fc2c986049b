"""IEPlugin: devices, configurations, what loading refuses, layers that devices support."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from api.inference_engine.conftest import SHAPE
from ir_files import LayerText, write_network
from ir_networks import picture_network

import tilewright
from tilewright.compiler.demo import MODEL, load_digits
from tilewright.compiler.frontend.formats import import_model
from tilewright.compiler.frontend.ir.exporter import export_document
from tilewright.compiler.frontend.ir.writer import write_document
from tilewright.errors import CalibrationWarning
from tilewright.runtime.api import inference_engine
from tilewright.runtime.api.inference_engine import ExecutableNetwork, IENetwork, IEPlugin, get_version
from tilewright.runtime.api.inference_engine.devices.configuration import KEYS, Configuration, automatic_streams
from tilewright.runtime.api.inference_engine.devices.names import parse_device

LAYERS = {"conv1", "conv1/add", "conv1/relu", "pool1", "conv2", "conv2/relu", "mean", "fc", "prob", "data"}


def test_a_plugin_tells_its_device_and_version() -> None:
    for device in ("CPU", "FPGA", "HETERO:FPGA,CPU", "CPU.0"):
        assert IEPlugin(device).device == device
    assert IEPlugin("CPU", plugin_dirs="").version == IEPlugin("CPU", ["a", "b"]).version == get_version()
    assert re.fullmatch(r"1\.2\.\S+", get_version())
    assert inference_engine.__version__ == get_version()


@pytest.mark.parametrize("device", ["GPU", "MYRIAD", "HDDL", "GNA"])
def test_devices_that_are_not_here(device: str) -> None:
    name = device.partition(":")[0]
    text = rf"^\[NOT_FOUND\] there is no device {name} here; expected CPU or FPGA or HETERO:FPGA,CPU. Inside HETERO:…, "
    with pytest.raises(RuntimeError, match=text):
        IEPlugin(device)


@pytest.mark.parametrize("device", ["TPU", "cpu", "", "CPUS", ":"])
def test_names_that_no_device_has(device: str) -> None:
    with pytest.raises(ValueError, match=r"^unknown device .*; expected one of CPU, GPU, FPGA, MYRIAD, HETERO, HDDL, "):
        IEPlugin(device)


def test_wrong_arguments() -> None:
    with pytest.raises(TypeError, match=r"^a device is named by text; expected such as 'CPU', found NoneType$"):
        IEPlugin(None)  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match=r"^plugin_dirs are folders; expected text, a list or None, found int$"):
        IEPlugin("CPU", 3)  # pyright: ignore[reportArgumentType]
    with pytest.raises(RuntimeError, match=r"^\[NOT_FOUND\] TARGET_FALLBACK names no device by 'TPU'; expected CPU or"):
        IEPlugin("HETERO:TPU,CPU")


def test_loading_refuses(network: IENetwork) -> None:
    plugin = IEPlugin("CPU")
    for number in (0, -1, 10**6):
        text = (
            rf"^Incorrect number of requests specified: {number}. Expected positive integer number; expected 1 to 4096$"
        )
        with pytest.raises(ValueError, match=text):
            plugin.load(network, num_requests=number)
    for wrong in ("2", 1.5, None, True):
        with pytest.raises(TypeError, match=r"^num_requests is no whole number; expected an int, found "):
            plugin.load(network, num_requests=wrong)  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match=r"^this is no network; expected an IENetwork, found str$"):
        plugin.load("network.xml")  # pyright: ignore[reportArgumentType]
    for config in ([], "PERF_COUNT"):
        text = r"^a configuration is a dictionary of text to text; expected a dict, found "
        with pytest.raises(TypeError, match=text):
            plugin.load(network, config=config)  # pyright: ignore[reportArgumentType]
        with pytest.raises(TypeError, match=text):
            plugin.set_config(config)  # pyright: ignore[reportArgumentType]
    for config in ({"PERF_COUNT": 1}, {2: "YES"}, {"PERF_COUNT": None}):
        with pytest.raises(TypeError, match=r"^an entry of a configuration is no text: .* found (int|NoneType)$"):
            plugin.load(network, config=config)  # pyright: ignore[reportArgumentType]


def test_an_unknown_layer_is_not_supported_and_cannot_be_loaded(tmp_path: Path) -> None:
    layers = (
        LayerText("data", "Input", (), [(1, 3)]),
        LayerText("relu", "ReLU", ["data"], [(1, 3)]),
        LayerText("odd", "Unheard", ["relu"], [(1, 3)]),
    )
    network = IENetwork.from_ir(*write_network(tmp_path, layers))
    assert IEPlugin("CPU").get_supported_layers(network) == {"data", "relu"}
    assert IEPlugin("FPGA").get_supported_layers(network) == set()
    assert IEPlugin("HETERO:FPGA,CPU").get_supported_layers(network) == {"data", "relu"}
    with pytest.raises(RuntimeError, match=r"node 'odd': layer type 'Unheard' .* is not supported"):
        IEPlugin("CPU").load(network)
    with pytest.raises(
        RuntimeError, match=r"^\[NOT_FOUND\] the default policy found no device for layer 'odd' of type"
    ):
        IEPlugin("HETERO:FPGA,CPU").load(network)


def test_supported_layers(network: IENetwork) -> None:
    everything = IEPlugin("CPU").get_supported_layers(network)
    assert network.layers.keys() == LAYERS
    assert everything >= LAYERS
    assert {"conv1/weights", "mean/axes"} <= everything
    on_device = IEPlugin("FPGA").get_supported_layers(network)
    assert on_device >= LAYERS - {"prob"}
    assert "prob" not in on_device
    assert IEPlugin("HETERO:FPGA,CPU").get_supported_layers(network) == everything
    assert IEPlugin("HETERO:FPGA,GPU").get_supported_layers(network) == on_device
    assert IEPlugin("HETERO:GPU").get_supported_layers(network) == set()


def test_the_accelerator_computes_its_integers(
    network: IENetwork, samples: Path, in_integers: tilewright.Session, picture: np.ndarray
) -> None:
    plugin = IEPlugin("FPGA")
    plugin.set_config({"TILEWRIGHT_CALIBRATION": str(samples), "TILEWRIGHT_MACHINE": "s256"})
    found = plugin.load(network).infer({"data": picture})["prob"]
    assert found.tobytes() == in_integers.run({"data": picture})["prob"].tobytes()
    plugin.set_config({"TILEWRIGHT_MACHINE": "no such machine"})
    with pytest.raises(RuntimeError, match="no such machine"):
        plugin.load(network)


def test_without_samples_the_accelerator_computes_in_16_bits_what_can_be_a_picture(
    tmp_path: Path, picture: np.ndarray
) -> None:
    file = picture_network(tmp_path, name="uncalibrated")
    text = (
        r"^network 'uncalibrated' is computed in integers of 16 bits, .* TILEWRIGHT_CALIBRATION=FOLDER.*; "
        "or by the key TILEWRIGHT_CALIBRATION of the configuration$"
    )
    with pytest.warns(CalibrationWarning, match=text):
        executable = IEPlugin("FPGA").load(IENetwork(str(file)), config={"PERF_COUNT": "YES"})
    with tilewright.load(tilewright.compile(file)) as session:
        expected = session.run({"data": picture})["prob"]
        found = executable.infer({"data": picture})["prob"]
        assert found.tobytes() != expected.tobytes()
        np.testing.assert_allclose(found, expected, atol=5e-3)
        beyond = (
            r"^input 'data' has numbers from .*, but pictures become 0 to 255: what is beyond is computed in floating"
        )
        with pytest.warns(CalibrationWarning, match=beyond):
            found = executable.infer({"data": 2 * picture})["prob"]
        assert found.tobytes() == session.run({"data": 2 * picture})["prob"].tobytes()
    steps = executable.requests[0].get_perf_counts()
    assert any(name.startswith("conv1") and each["real_time"] for name, each in steps.items())


def test_images_are_samples_as_the_samples_of_the_api_make_them(
    network: IENetwork, tmp_path: Path, picture: np.ndarray
) -> None:
    images = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(4)
    (tmp_path / "images").mkdir()
    for index in range(3):
        array = rng.integers(0, 256, (32, 32, 3)).astype(np.uint8)
        images.fromarray(array).save(tmp_path / "images" / f"{index}.png")
    config = {"TILEWRIGHT_CALIBRATION": str(tmp_path / "images")}
    found = IEPlugin("FPGA").load(network, config=config).infer({"data": picture})["prob"]
    preprocessing = {"resize": "stretch", "colour": "bgr", "mean": 0.0, "scale": 1.0}
    assert isinstance(network.name, str)
    file = picture_network(tmp_path)
    artifact = tilewright.compile(file, calibration=tmp_path / "images", preprocessing=preprocessing)
    with tilewright.load(artifact, engine="software") as session:
        assert found.tobytes() == session.run({"data": picture})["prob"].tobytes()


VALUES = {
    "PERF_COUNT": (["YES", "NO"], ["", "yes", "1"]),
    "DYN_BATCH_ENABLED": (["YES", "NO"], ["MAYBE"]),
    "DYN_BATCH_LIMIT": (["0", "-1", "8"], ["", "x", "1.5", "9" * 30, "٣"]),
    "EXCLUSIVE_ASYNC_REQUESTS": (["YES", "NO"], ["ON"]),
    "CPU_BIND_THREAD": (["YES", "NO", "NUMA"], ["CORE"]),
    "CPU_THREADS_NUM": (["0", "4", "-3"], ["four"]),
    "CPU_THROUGHPUT_STREAMS": (["CPU_THROUGHPUT_AUTO", "CPU_THROUGHPUT_NUMA", "0", "3"], ["-1", "AUTO"]),
    "DUMP_EXEC_GRAPH_AS_DOT": (["", "graph"], ["a\0b"]),
    "DUMP_QUANTIZED_GRAPH_AS_DOT": (["graph"], ["a\0b"]),
    "DUMP_QUANTIZED_GRAPH_AS_IR": (["graph"], ["a\0b"]),
    "ENFORCE_BF16": (["NO"], ["YES"]),
    "DEVICE_ID": (["0", "any"], []),
    "MULTI_DEVICE_PRIORITIES": (["CPU,GPU", "MULTI:CPU(2), GPU(4)"], ["TPU", "CPU,,GPU"]),
    "AUTO_DEVICE_LIST": (["GPU,CPU", ""], ["HETERO:CPU", "CPU;GPU"]),
    "TARGET_FALLBACK": (["CPU,GPU", "HETERO:FPGA, CPU", ""], ["TPU", "CPU,,GPU", "HETERO:"]),
    "HETERO_DUMP_GRAPH_DOT": (["YES", "NO"], ["PNG"]),
    "TILEWRIGHT_CALIBRATION": (["folder"], ["a\0b"]),
    "TILEWRIGHT_PREPROCESS": (["resize=central"], []),
    "TILEWRIGHT_MACHINE": (["s256"], ["a\0b"]),
    **{f"GNA_{name}": (["any"], []) for name in ("DEVICE_MODE", "PRECISION", "SCALE_FACTOR")},
    "SINGLE_THREAD": (["YES", "NO"], ["1"]),
    "CONFIG_FILE": (["file.xml"], ["a\0b"]),
    "DUMP_KERNELS": (["YES", "NO"], ["1"]),
    "TUNING_MODE": (["TUNING_CREATE", "TUNING_USE_EXISTING", "TUNING_DISABLED"], ["TUNING"]),
    "TUNING_FILE": (["file"], ["a\0b"]),
    "LOG_LEVEL": (["LOG_NONE", "LOG_WARNING", "LOG_INFO", "LOG_DEBUG", "LOG_ERROR", "LOG_TRACE"], ["DEBUG"]),
    "CLDNN_PLUGIN_PRIORITY": (["0", "3"], ["4"]),
    "CLDNN_PLUGIN_THROTTLE": (["1"], ["YES"]),
    "GPU_THROUGHPUT_STREAMS": (["GPU_THROUGHPUT_AUTO", "2"], ["-2"]),
}


@pytest.mark.parametrize("name", KEYS)
def test_every_key_takes_its_values_where_a_device_has_it(name: str) -> None:
    accepted, refused = VALUES[name]
    for device in ("CPU", "FPGA", "HETERO:FPGA,CPU", "HETERO:GPU,MYRIAD,CPU", "MULTI:CPU", "AUTO:CPU"):
        names = [device.partition(":")[0], *device.partition(":")[2].split(",")]
        plugin = IEPlugin(device)
        if not set(names) & set(KEYS[name].devices):
            with pytest.raises(RuntimeError, match=rf"^\[NOT_FOUND\] Unsupported property {name} by {names[0]} plugin"):
                plugin.set_config({name: accepted[0]})
            continue
        for value in accepted:
            plugin.set_config({name: value})
        for value in refused:
            with pytest.raises(RuntimeError, match=r"^(Wrong value for property key|\[NOT_FOUND\] [A-Z_]+ names)"):
                plugin.set_config({name: value})


def test_a_key_that_is_refused_changes_nothing(network: IENetwork) -> None:
    plugin = IEPlugin("CPU")
    with pytest.raises(
        RuntimeError, match=r"^\[NOT_FOUND\] Unsupported property NO_SUCH_KEY by CPU plugin; expected PERF"
    ):
        plugin.set_config({"PERF_COUNT": "NO", "NO_SUCH_KEY": "1"})
    executable = plugin.load(network, config={"CPU_THROUGHPUT_STREAMS": "3"})
    assert executable.get_config("PERF_COUNT") == "YES"
    assert executable.get_config("CPU_THROUGHPUT_STREAMS") == "3"
    with pytest.raises(RuntimeError, match=r"^\[NOT_FOUND\] there is no key 'TARGET_FALLBACK'; expected PERF_COUNT, "):
        executable.get_config("TARGET_FALLBACK")


def test_metrics_of_a_network(network: IENetwork) -> None:
    executable = IEPlugin("CPU").load(network, config={"CPU_THROUGHPUT_STREAMS": "2"})
    assert executable.get_metric("NETWORK_NAME") == "pictures"
    assert executable.get_metric("OPTIMAL_NUMBER_OF_INFER_REQUESTS") == 2
    for name in executable.get_metric("SUPPORTED_METRICS"):  # pyright: ignore[reportGeneralTypeIssues]
        assert executable.get_metric(name) is not None
    with pytest.raises(
        RuntimeError, match=r"^\[NOT_FOUND\] Unsupported metric key 'DEVICE_THERMAL' of networks; expected"
    ):
        executable.get_metric("DEVICE_THERMAL")


def test_automatic_streams_are_those_of_the_release() -> None:
    assert [automatic_streams(number) for number in (1, 2, 3, 4, 8, 20, 24, 25, 30, 7)] == [
        1,
        1,
        3,
        4,
        4,
        5,
        6,
        5,
        6,
        1,
    ]


def test_performance_counts(network: IENetwork, picture: np.ndarray) -> None:
    executable = IEPlugin("CPU").load(network, num_requests=2)
    before = executable.requests[0].get_perf_counts()
    assert [*before] == sorted(LAYERS)
    assert {(each["status"], each["real_time"]) for each in before.values()} == {("NOT_RUN", 0)}
    for request in executable.requests:
        request.infer({"data": picture})
    counts = executable.requests[0].get_perf_counts()
    assert {
        each.keys() >= {"exec_type", "real_time", "cpu_time", "status", "layer_type"} for each in counts.values()
    } == {True}
    status = {name: each["status"] for name, each in counts.items()}
    for name in ("conv1", "pool1", "conv2", "mean", "fc", "prob"):
        assert status[name] == "EXECUTED", name
        assert isinstance(counts[name]["real_time"], int)
        assert counts[name]["real_time"] == counts[name]["cpu_time"]
        assert int(counts[name]["real_time"]) > 0
    for name in ("conv1/add", "conv1/relu", "conv2/relu", "data"):
        assert (status[name], counts[name]["real_time"], counts[name]["exec_type"]) == ("NOT_RUN", 0, "undef")
    assert counts["conv1"]["layer_type"] == "Convolution"
    for each in counts.values():
        f"{'name':<30}{each['layer_type']:<15}{each['exec_type']:<15}{each['status']:<15}{each['real_time']:<10}"


def test_performance_counts_can_be_left_out(network: IENetwork) -> None:
    executable = IEPlugin("CPU").load(network, config={"PERF_COUNT": "NO"})
    executable.infer()
    assert {each["status"] for each in executable.requests[0].get_perf_counts().values()} == {"NOT_RUN"}


def test_performance_counts_of_added_outputs(network: IENetwork, picture: np.ndarray) -> None:
    """A layer that is otherwise part of another still gives its own value."""
    network.add_outputs(["conv1", "pool1"])
    executable = IEPlugin("CPU").load(network)
    found = executable.infer({"data": picture})
    assert [*found] == ["prob", "conv1", "pool1"]
    assert found["conv1"].min() < 0 <= found["pool1"].min()
    assert executable.requests[0].get_perf_counts()["pool1"]["status"] == "EXECUTED"


def test_the_executed_graph(network: IENetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    executable = IEPlugin("CPU").load(network, config={"DUMP_EXEC_GRAPH_AS_DOT": "executed"})
    graph = executable.get_exec_graph_info()
    assert graph.layers["conv1"].type == "Convolution"
    assert graph.layers["conv1"].params["originalLayersNames"] == "conv1,conv1/add,conv1/relu"
    assert graph.layers["conv1"].params["execTimeMcs"] == "not_executed"
    assert graph.layers["conv1"].parents == ["data"]
    assert graph.layers["pool1"].parents == ["conv1"]
    assert graph.layers["conv1"].shape == [1, 16, 32, 32]
    executable.infer()
    assert int(executable.get_exec_graph_info().layers["conv1"].params["execTimeMcs"]) > 0
    assert list(graph.inputs) == ["data"]
    text = (tmp_path / "executed_init.dot").read_text()
    assert 'label="conv1\\nConvolution\\nconvolution"' in text
    with pytest.raises(RuntimeError, match="cannot write"):
        IEPlugin("CPU").load(network, config={"DUMP_EXEC_GRAPH_AS_DOT": str(tmp_path / "missing" / "graph")})


def test_several_networks_of_one_plugin(file: Path, picture: np.ndarray, in_floats: tilewright.Session) -> None:
    plugin = IEPlugin("CPU")
    networks = [IENetwork(str(file)) for _ in range(3)]
    executables = [plugin.load(each, config={"EXCLUSIVE_ASYNC_REQUESTS": "YES"}) for each in networks]
    for executable in executables:
        executable.start_async(0, {"data": picture})
    expected = in_floats.run({"data": picture})["prob"].tobytes()
    for executable in executables:
        assert executable.requests[0].wait() == 0
        assert executable.requests[0].outputs["prob"].tobytes() == expected


def test_the_shape_of_an_output_is_that_of_the_file(tmp_path: Path) -> None:
    layers = (LayerText("data", "Input", (), [(1, 5, 1, 1)]), LayerText("relu", "ReLU", ["data"], [(1, 5, 1, 1)]))
    network = IENetwork.from_ir(*write_network(tmp_path, layers))
    assert IEPlugin("CPU").load(network).infer({"data": np.ones((1, 5, 1, 1))})["relu"].shape == (1, 5, 1, 1)


def test_nothing_warns_on_the_way(network: IENetwork) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        IEPlugin("CPU").load(network).infer({"data": np.zeros(SHAPE)})


def test_a_network_that_is_quantised_already_computes_its_integers_on_every_device(tmp_path: Path) -> None:
    digits = load_digits()
    model, file = tmp_path / "digits.onnx", tmp_path / "digits.xml"
    tilewright.export(MODEL, model, quantized="qdq", calibration=digits.prepare(digits.calibration_images[:20]))
    write_document(export_document(import_model(model)), file, file.with_suffix(".bin"))
    images = digits.prepare(digits.images[:1])
    with tilewright.load(tilewright.compile(model), engine="software") as session:
        (expected,) = session.run({"image": images}).values()
    for device in ("CPU", "FPGA"):
        (found,) = IEPlugin(device).load(IENetwork(str(file))).infer({"image": images}).values()
        assert found.tobytes() == expected.tobytes()


def test_threads_are_shared_out_to_streams() -> None:
    for given, threads in (({}, None), ({"CPU_THREADS_NUM": "6"}, 6), ({"CPU_THREADS_NUM": "-1"}, None)):
        assert Configuration(parse_device("CPU")).with_values(given).threads == threads
    both = {"CPU_THREADS_NUM": "6", "CPU_THROUGHPUT_STREAMS": "4"}
    assert Configuration(parse_device("CPU")).with_values(both).threads == 1


def test_what_the_artifact_tells_of_layers_is_read_once(
    shared: ExecutableNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Programs may ask for the times of layers after each inference."""
    monkeypatch.delattr("tilewright.runtime.api.inference_engine.execution.loaded.details_of")
    assert "conv1" in shared.requests[0].get_perf_counts()
