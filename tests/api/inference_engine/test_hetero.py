"""HETERO: which device each layer runs on, devices that are not here, dot files, integers that do not change."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

import tilewright
from tilewright.runtime.api.inference_engine import IENetwork, IEPlugin
from tilewright.runtime.api.inference_engine.devices.division import LayerGraph, file_name
from tilewright.runtime.api.inference_engine.errors import DeviceWarning


def affinities(network: IENetwork) -> dict[str, str]:
    return {name: layer.affinity for name, layer in network.layers.items()}


def test_initial_affinity_is_the_first_device_that_supports_a_layer(network: IENetwork) -> None:
    assert set(affinities(network).values()) == {""}
    network.layers["prob"].affinity = "GPU"
    IEPlugin("HETERO:GPU,FPGA").set_initial_affinity(network)
    found = affinities(network)
    assert found.pop("prob") == "GPU"
    assert set(found.values()) == {"FPGA"}
    IEPlugin("HETERO:GPU,FPGA,CPU").set_initial_affinity(network)
    assert affinities(network)["prob"] == "CPU"
    IEPlugin("HETERO:CPU,FPGA").set_initial_affinity(network)
    assert set(affinities(network).values()) == {"CPU"}


def test_the_order_of_devices_is_needed(network: IENetwork) -> None:
    plugin = IEPlugin("HETERO")
    for call in (plugin.set_initial_affinity, plugin.get_supported_layers, plugin.load):
        with pytest.raises(RuntimeError, match=r"^the order of devices is not initialised; expected a device such as"):
            call(network)
    plugin.set_config({"TARGET_FALLBACK": "HETERO:FPGA,CPU"})
    plugin.set_initial_affinity(network)
    with pytest.raises(RuntimeError, match=r"^set_initial_affinity is for HETERO devices; expected .* found CPU$"):
        IEPlugin("CPU").set_initial_affinity(network)


def test_partly_set_affinities(network: IENetwork) -> None:
    network.layers["conv1"].affinity = "CPU"
    text = r"^affinities were set by hand, and layer 'conv1/add' has none; .* found 8 layers without\. Call set_initial"
    with pytest.raises(RuntimeError, match=text):
        IEPlugin("HETERO:CPU").load(network)


def test_a_device_that_does_not_take_a_layer(network: IENetwork) -> None:
    for layer in network.layers.values():
        layer.affinity = "FPGA"
    text = (
        r"^\[NOT_IMPLEMENTED\] layer 'prob' of type 'SoftMax' was given to FPGA, which does not support it\. get_supp"
    )
    with pytest.raises(RuntimeError, match=text):
        IEPlugin("HETERO:FPGA,CPU").load(network)
    network.layers["prob"].affinity = "TPU"
    with pytest.raises(
        RuntimeError, match=r"^\[NOT_FOUND\] layer 'prob' has the affinity 'TPU'; expected one of CPU, FP"
    ):
        IEPlugin("HETERO:FPGA,CPU").load(network)
    for layer in network.layers.values():
        layer.affinity = ""
    with pytest.raises(RuntimeError, match=r"^\[NOT_FOUND\] the default policy found no device for layer 'conv1' of"):
        IEPlugin("HETERO:GPU").load(network)


def test_layers_of_a_device_that_is_not_here_run_on_the_next(
    network: IENetwork,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    in_floats: tilewright.Session,
    picture: np.ndarray,
) -> None:
    monkeypatch.chdir(tmp_path)
    plugin = IEPlugin("HETERO:CPU,GPU")
    plugin.set_config({"TARGET_FALLBACK": "CPU,GPU"})
    plugin.set_config({"HETERO_DUMP_GRAPH_DOT": "YES"})
    plugin.set_initial_affinity(network)
    assert "GPU" not in (tmp_path / "hetero_affinity_pictures.dot").read_text()
    for layer in network.layers.values():
        if layer.type == "Convolution":
            layer.affinity = "GPU"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        executable = plugin.load(network)
    (warning,) = caught
    assert warning.category is DeviceWarning
    assert str(warning.message) == "layers 'conv1', 'conv2' are given to GPU, which is not here, and run on CPU"
    assert warning.filename == __file__
    found = executable.infer({"data": picture})["prob"]
    assert found.tobytes() == in_floats.run({"data": picture})["prob"].tobytes()
    text = (tmp_path / "hetero_affinity_pictures.dot").read_text()
    assert 'fillcolor="#F1F290", label="conv1\\nConvolution\\nGPU"' in text
    assert 'fillcolor="#5A5DF0", label="pool1\\nMaxPool\\nCPU"' in text
    text = (tmp_path / "hetero_subgraphs_pictures.dot").read_text()
    assert 'label="conv1\\nConvolution\\nGPU\\nsubgraph2"' in text or 'GPU\\nsubgraph1"' in text
    assert text.startswith("strict digraph Network {")
    assert text.count("->") == text.count(";") - text.count("label=")
    counts = executable.requests[0].get_perf_counts()
    assert counts["subgraph1: conv1"]["status"] == "EXECUTED"
    assert {name.partition(":")[0] for name in counts} == {f"subgraph{number}" for number in (1, 2, 3, 4)}


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"conv2": "CPU", "conv2/relu": "CPU"},
        {"conv1/relu": "CPU", "pool1": "GPU", "fc": "MYRIAD"},
    ],
)
def test_integers_do_not_depend_on_the_division(
    given: dict[str, str],
    network: IENetwork,
    samples: Path,
    in_integers: tilewright.Session,
    picture: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plugin = IEPlugin("HETERO:FPGA,CPU")
    plugin.set_config({"TILEWRIGHT_CALIBRATION": str(samples)})
    plugin.set_initial_affinity(network)
    for name, device in given.items():
        network.layers[name].affinity = device
    expected = in_integers.run({"data": picture})["prob"].tobytes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeviceWarning)
        monkeypatch.setenv("TILEWRIGHT_ENGINE", "device")
        executable = plugin.load(network)
    assert executable.infer({"data": picture})["prob"].tobytes() == expected
    counts = executable.requests[0].get_perf_counts()
    kernels = {str(name.partition(": ")[2]): each["exec_type"] for name, each in counts.items()}
    assert kernels["conv1"] == "functional simulator"
    if given.get("conv2") == "CPU":
        assert kernels["conv2"] != "functional simulator"


def test_all_layers_on_the_cpu_are_computed_in_floating_point(
    network: IENetwork, samples: Path, in_floats: tilewright.Session, picture: np.ndarray
) -> None:
    for layer in network.layers.values():
        layer.affinity = "CPU"
    executable = IEPlugin("HETERO:FPGA,CPU").load(network, config={"TILEWRIGHT_CALIBRATION": str(samples)})
    assert executable.infer({"data": picture})["prob"].tobytes() == in_floats.run({"data": picture})["prob"].tobytes()


def test_loading_writes_nothing_into_the_network(network: IENetwork, samples: Path) -> None:
    IEPlugin("HETERO:FPGA,CPU").load(network, config={"TILEWRIGHT_CALIBRATION": str(samples)})
    assert set(affinities(network).values()) == {""}


def test_dot_files_that_cannot_be_written(network: IENetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hetero_affinity_pictures.dot").mkdir()
    with pytest.raises(RuntimeError, match=r"cannot write 'hetero_affinity_pictures.dot'"):
        IEPlugin("HETERO:CPU").load(network, config={"HETERO_DUMP_GRAPH_DOT": "YES"})


def test_names_of_networks_stay_within_the_folder() -> None:
    assert file_name("affinity", "../a b/c\n") == "hetero_affinity_.._a b_c_.dot"
    assert len(file_name("subgraphs", "x" * 10_000)) < 255


DIAMOND = LayerGraph(
    {"in": "Input", "w": "Const", "a": "ReLU", "b": "ReLU", "c": "ReLU", "d": "Concat", "e": "ReLU", "out": "Result"},
    {
        "in": ("a",),
        "w": ("e",),
        "a": ("b", "c"),
        "b": ("d",),
        "c": ("d",),
        "d": ("e",),
        "e": ("out",),
        "out": (),
    },
)


@pytest.mark.parametrize(
    ("devices", "expected"),
    [("AAAAA", "11111111"), ("ABAAA", "13121333"), ("ABBAB", "15123455"), ("ABABA", "13121233")],
)
def test_no_path_leaves_a_subgraph_and_comes_back(devices: str, expected: str) -> None:
    """Inputs and constants are where the first layer is that reads them."""
    found = DIAMOND.subgraphs(dict(zip("abcde", devices, strict=True)))
    assert "".join(str(found[name]) for name in DIAMOND.types) == expected
    for name, readers in DIAMOND.readers.items():
        assert all(found[name] <= found[reader] for reader in readers)
