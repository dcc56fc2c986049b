"""IENetwork: what programs see of a network, and change."""

from __future__ import annotations

from pathlib import Path

import pytest
from ir_files import CLASSIFIER, write_network

from tilewright.runtime.api.inference_engine import IENetwork


@pytest.fixture
def network(tmp_path: Path) -> IENetwork:
    return IENetwork.from_ir(*write_network(tmp_path, CLASSIFIER))


def test_inputs_are_shapes_and_have_them(network: IENetwork) -> None:
    """Programs of 2018 unpack ``net.inputs[name]``, later ones ``net.inputs[name].shape``."""
    name = next(iter(network.inputs))
    n, c, h, w = network.inputs[name]
    assert (name, n, c, h, w) == ("data", 1, 3, 4, 6)
    assert network.inputs == {"data": [1, 3, 4, 6]}
    assert network.inputs[name].shape == [1, 3, 4, 6]


def test_outputs_are_names_and_have_shapes(network: IENetwork) -> None:
    assert network.outputs == ["prob"] and network.outputs[0] == "prob" and next(iter(network.outputs)) == "prob"
    assert network.outputs["prob"].shape == [1, 3, 4, 6] and len(network.outputs) == 1


def test_a_snapshot_knows_nothing_of_later_changes(network: IENetwork) -> None:
    network.layers["relu"].affinity = "FPGA"
    network.inputs["data"].precision = "U8"
    snapshot = network.snapshot()
    network.batch_size = 2
    network.layers["relu"].affinity = "CPU"
    network.inputs["data"].precision = "FP32"
    del network
    assert snapshot.inputs["data"].shape == (1, 3, 4, 6) and snapshot.inputs["data"].precision == "U8"
    assert snapshot.affinities == {"data": "", "prob": "", "relu": "FPGA"}
    assert snapshot.layer_types == {"data": "Input", "prob": "ReLU", "relu": "ReLU"}
    assert snapshot.document.named("relu").affinity == "FPGA"
