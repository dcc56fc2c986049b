"""Waits: they end at their time, when the group is reset or gone, by Ctrl-C, and when nobody is left to end them."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from kp_calls import receive, refused, send
from kp_networks import Network

from tilewright.runtime import waiting
from tilewright.runtime.api import kp

from .conftest import Gate


def fill(group: kp.DeviceGroup) -> None:
    """Images in all buffers while the gate is shut: one that is inferred, and two that wait."""
    for number in range(3):
        send(group, number)


def test_nothing_comes(group: kp.DeviceGroup) -> None:
    kp.core.set_timeout(group, 5)
    said = refused(-7, lambda: receive(group))
    assert "there is nothing yet; expected a result within 0.005 s, found nothing sent" in said


def test_nothing_is_ready_in_time(group: kp.DeviceGroup, gate: Gate) -> None:
    send(group, 4)
    kp.core.set_timeout(group, 5)
    assert "found none ready" in refused(-7, lambda: receive(group))
    kp.core.set_timeout(group, 20_000)
    gate.let(1)
    assert receive(group) == 4


def test_no_buffer_in_time(group: kp.DeviceGroup, gate: Gate) -> None:
    fill(group)
    kp.core.set_timeout(group, 5)
    said = refused(-7, lambda: send(group, 9))
    assert "there is no room yet; expected a free buffer of the device within 0.005 s, found images in all 3" in said
    kp.core.set_timeout(group, 20_000)
    gate.let(100)
    assert [receive(group) for _ in range(3)] == [0, 1, 2]


def test_results_have_buffers_of_their_own(group: kp.DeviceGroup) -> None:
    """Three inferred and three that wait; nothing is lost when sending gives up."""
    for number in range(6):
        send(group, number)
    kp.core.set_timeout(group, 5)
    refused(-7, lambda: send(group, 6))
    kp.core.set_timeout(group, 20_000)
    assert [receive(group) for _ in range(6)] == list(range(6))


def test_more_boxes_than_buffers_for_results(network: Network) -> None:
    group = kp.core.connect_devices([1])
    kp.core.set_timeout(group, 20_000)
    kp.core.store_ddr_management_attributes(group, kp.DdrManageAttributes(result_buffer_count=1))
    kp.core.load_model(group, network.container())
    send(group, 1, crops=4)
    send(group, 2, crops=4)
    assert [receive(group) for _ in range(8)] == [1] * 4 + [2] * 4


def waits(call: Callable[[], object]) -> tuple[threading.Thread, list[kp.ApiKPException]]:
    """A thread that waits in a call, without a limit of time, and where its exception will be."""
    raised: list[kp.ApiKPException] = []

    def work() -> None:
        try:
            call()
        except kp.ApiKPException as error:
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    while thread.ident not in waiting._waits:
        assert thread.is_alive()
    return thread, raised


def reset(group: kp.DeviceGroup) -> None:
    kp.core.reset_device(group, kp.ResetMode.KP_RESET_INFERENCE)


def reboot(group: kp.DeviceGroup) -> None:
    kp.core.reset_device(group, kp.ResetMode.KP_RESET_REBOOT)


@pytest.mark.parametrize(("end", "code"), [(reset, -10), (reboot, -4), (kp.core.disconnect_devices, -4)])
def test_who_waits_learns_of_the_end(
    end: Callable[[kp.DeviceGroup], None], code: int, group: kp.DeviceGroup, gate: Gate, network: Network
) -> None:
    kp.core.set_timeout(group, 0)
    fill(group)
    gate.arrived()
    receiver, received = waits(lambda: receive(group))
    sender, sent = waits(lambda: send(group, 7))
    end(group)
    for thread, raised in ((receiver, received), (sender, sent)):
        thread.join(120)
        assert [error.api_return_code for error in raised] == [code]
    gate.let(100)
    if end is not reset:
        group = kp.core.connect_devices([1])
        kp.core.load_model(group, network.container())
    # Nothing is left of before.
    send(group, 8)
    assert receive(group) == 8


def test_waiting_for_oneself_ends(group: kp.DeviceGroup) -> None:
    """Without a limit of time, and with nobody else."""
    kp.core.set_timeout(group, 0)
    assert "waiting would never end" in refused(-7, lambda: receive(group))
    for number in range(6):
        send(group, number)
    assert "Receive results" in refused(-7, lambda: send(group, 6))
    assert [receive(group) for _ in range(6)] == list(range(6))


HEAD = """
    import os, signal, sys, threading, time
    import kp
    group = kp.core.connect_devices([1])
    descriptor = kp.core.load_model_from_file(group, sys.argv[1])
    header = kp.GenericRawImageHeader(model_id=descriptor.models[0].id)
    def send(number=0):
        header.inference_number = number
        kp.inference.generic_raw_inference_send(group, header, bytes(32 * 40), kp.ImageFormat.KP_IMAGE_FORMAT_RAW8)
    def receive():
        try:
            return kp.inference.generic_raw_inference_receive(group, header, descriptor).header.inference_number
        except kp.ApiKPException as exception:
            print('Error:', exception.api_return_code.value)
            exit(0)
    header.width, header.height = 40, 32
"""


def run(network: Network, folder: Path, body: str) -> str:
    """What a program prints; it must come to its end."""
    (folder / "models.nef").write_bytes(network.container())
    (folder / "program.py").write_text(textwrap.dedent(HEAD) + textwrap.dedent(body))
    words = [sys.executable, "-m", "tilewright.compat", "program.py", "models.nef"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    ran = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_a_blocked_receiver_ends_though_the_program_waits_for_it(network: Network, tmp_path: Path) -> None:
    body = """
        kp.core.set_timeout(group, 200)
        receiver = threading.Thread(target=receive)
        receiver.start()
        receiver.join()
        print('end')
    """
    assert run(network, tmp_path, body) == "Error: -7\nend\n"


@pytest.mark.parametrize("last", ["", "receiver.join()"])
def test_a_receiver_without_a_limit_of_time_does_not_keep_the_program(
    last: str, network: Network, tmp_path: Path
) -> None:
    body = f"""
        receiver = threading.Thread(target=receive)
        receiver.start()
        time.sleep(0.1)
        print('end', flush=True)
        {last}
    """
    assert run(network, tmp_path, body) == "end\nError: -7\n"


def test_a_program_may_end_in_the_middle_of_everything(network: Network, tmp_path: Path) -> None:
    body = """
        def send_all():
            while True:
                send()
        threading.Thread(target=send_all, daemon=True).start()
        threading.Thread(target=receive, daemon=True).start()
        kp.inference.set_inference_configuration(group, kp.InferenceConfiguration(enable_frame_drop=True))
        time.sleep(0.2)
        print('end')
    """
    assert run(network, tmp_path, body).endswith("end\n")


def test_ctrl_c_ends_a_wait_without_a_limit_of_time(network: Network, tmp_path: Path) -> None:
    body = """
        ready = threading.Event()
        def interrupt():
            ready.wait()
            time.sleep(0.2)
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.2)
            send(3)
        helper = threading.Thread(target=interrupt)
        helper.start()
        try:
            ready.set()
            receive()
        except KeyboardInterrupt:
            print('interrupted')
        print(receive())
    """
    assert run(network, tmp_path, body) == "interrupted\n3\n"


def test_a_forked_process_goes_on_by_itself(network: Network, tmp_path: Path) -> None:
    body = """
        for number in range(6):
            send(number)
        assert receive() == 0
        kp.core.set_timeout(group, 20_000)
        child = os.fork()
        found = []
        for _ in range(5):
            try:
                result = kp.inference.generic_raw_inference_receive(group, header, descriptor)
                found.append(result.header.inference_number)
            except kp.ApiKPException as exception:
                assert not child and exception.api_return_code == -10
                found.append(len(found) + 1)
        assert found == [1, 2, 3, 4, 5], found
        send(9)
        assert receive() == 9
        if child:
            assert os.waitpid(child, 0)[1] == 0
            print('end')
    """
    assert run(network, tmp_path, body).endswith("end\n")
