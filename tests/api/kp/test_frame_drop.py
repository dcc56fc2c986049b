"""Dropping of frames: which are, and that nobody waits."""

from __future__ import annotations

import threading
import time

import pytest
from kp_calls import receive, refused, send
from kp_networks import Network

from tilewright.runtime.api import kp
from tilewright.runtime.api.kp.devices import registry
from tilewright.runtime.api.kp.devices.device import DEVICES

from .conftest import Gate


def drop_frames(group: kp.DeviceGroup, enable: bool = True) -> None:
    configuration = kp.InferenceConfiguration(enable_frame_drop=enable)
    kp.inference.set_inference_configuration(device_group=group, inference_configuration=configuration)


def test_the_oldest_that_waits_is_dropped(group: kp.DeviceGroup, gate: Gate) -> None:
    drop_frames(group)
    send(group, 0)
    gate.arrived()
    for number in range(1, 50):
        send(group, number)
    gate.let(100)
    # One was being inferred, and three buffers less that one held what came last.
    assert [receive(group) for _ in range(3)] == [0, 48, 49]
    kp.core.set_timeout(group, 1)
    refused(-7, lambda: receive(group))


def test_results_that_nobody_takes_stay(group: kp.DeviceGroup, gate: Gate) -> None:
    """They were inferred; what is dropped is what waits behind them."""
    drop_frames(group)
    gate.let(100)
    for number in range(3):
        send(group, number)
    (lane,) = registry.group_of(group).lanes
    while lane.results() < 3:
        time.sleep(0.001)
    for number in range(3, 30):
        send(group, number)
    assert [receive(group) for _ in range(6)] == [0, 1, 2, 27, 28, 29]


def test_an_image_is_dropped_with_all_its_boxes(group: kp.DeviceGroup, gate: Gate) -> None:
    drop_frames(group)
    send(group, 0, crops=2)
    gate.arrived()
    for number in range(1, 4):
        send(group, number, crops=4)
    gate.let(100)
    assert [receive(group) for _ in range(10)] == [0] * 2 + [2] * 4 + [3] * 4


def test_without_buffers_for_waiting(network: Network, gate: Gate) -> None:
    group = kp.core.connect_devices([1])
    kp.core.set_timeout(group, 20_000)
    attributes = kp.DdrManageAttributes(input_buffer_count=1, result_buffer_count=1)
    kp.core.store_ddr_management_attributes(group, attributes)
    kp.core.load_model(group, network.container())
    drop_frames(group)
    send(group, 0)
    gate.arrived()
    for number in range(1, 9):
        send(group, number)
    gate.let(100)
    assert [receive(group) for _ in range(2)] == [0, 8]


def test_it_can_be_turned_off_again(group: kp.DeviceGroup, gate: Gate) -> None:
    drop_frames(group)
    drop_frames(group, False)
    for number in range(3):
        send(group, number)
    kp.core.set_timeout(group, 1)
    assert "images in all 3" in refused(-7, lambda: send(group, 3))
    kp.core.set_timeout(group, 20_000)
    gate.let(100)
    assert [receive(group) for _ in range(3)] == [0, 1, 2]


def test_who_waits_goes_on_when_it_is_turned_on(group: kp.DeviceGroup, gate: Gate) -> None:
    send(group, 0)
    gate.arrived()
    send(group, 1)
    send(group, 2)
    sender = threading.Thread(target=send, args=(group, 3))
    sender.start()
    drop_frames(group)
    sender.join(120)
    assert not sender.is_alive()
    gate.let(100)
    assert [receive(group) for _ in range(3)] == [0, 2, 3]


def test_several_devices_keep_the_order(network: Network, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DEVICES, "KL720;KL720")
    group = kp.core.connect_devices([1, 2])
    kp.core.set_timeout(group, 20_000)
    kp.core.load_model(group, network.container("KL720"))
    drop_frames(group)
    send(group, 0)
    send(group, 1)
    gate.arrived()
    gate.arrived()
    for number in range(2, 21):
        send(group, number)
    gate.let(100)
    assert [receive(group) for _ in range(6)] == [0, 1, 17, 18, 19, 20]


def test_a_camera_at_full_speed(group: kp.DeviceGroup) -> None:
    """One thread only sends and another one only receives: gaps, but no disorder."""
    drop_frames(group)
    running, received = True, []

    def film() -> None:
        number = 0
        while running:
            send(group, number)
            number += 1

    camera = threading.Thread(target=film)
    camera.start()
    try:
        received = [receive(group) for _ in range(60)]
    finally:
        running = False
        camera.join()
    assert received == sorted(set(received))
