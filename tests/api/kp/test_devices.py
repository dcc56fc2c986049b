"""Virtual devices: which there are, how they are connected and reset, and what is loaded to them."""

from __future__ import annotations

import copy
import gc
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from kp_networks import ID, Network

from tilewright.runtime.api import kp
from tilewright.runtime.api.kp.devices import registry
from tilewright.runtime.api.kp.devices.device import DEVICES
from tilewright.runtime.machines import machine as machines


def refused(code: int, call: Callable[[], object]) -> str:
    with pytest.raises(kp.ApiKPException) as caught:
        call()
    assert caught.value.api_return_code == code, caught.value
    return caught.value.reason


def ports() -> list[int]:
    return [each.usb_port_id for each in kp.core.scan_devices().device_descriptor_list]


def test_a_device_of_each_product_by_default() -> None:
    found = kp.core.scan_devices()
    assert found.device_descriptor_number == 2
    first, second = found.device_descriptor_list
    assert (first.product_id, second.product_id) == (kp.ProductId.KP_DEVICE_KL520, kp.ProductId.KP_DEVICE_KL720)
    assert first.link_speed is kp.UsbSpeed.KP_USB_SPEED_HIGH
    assert second.link_speed is kp.UsbSpeed.KP_USB_SPEED_SUPER
    for each in (first, second):
        assert each.vendor_id == 0x3231
        assert each.is_connectable
        assert "KDP2" in each.firmware
        assert re.fullmatch(r"\d+-\d+", each.usb_port_path)
    assert first.kn_number != second.kn_number


def test_devices_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DEVICES, "KL720, port=14 ; kl520,speed=FULL,firmware=KDP; KL520,port=2;KL520;")
    found = kp.core.scan_devices().device_descriptor_list
    assert [each.usb_port_id for each in found] == [14, 1, 2, 3]
    assert [each.product_id for each in found] == [0x720, 0x100, 0x100, 0x100]
    assert found[1].link_speed is kp.UsbSpeed.KP_USB_SPEED_FULL
    assert found[1].firmware == "KDP"
    monkeypatch.setenv(DEVICES, "none")
    assert ports() == []
    monkeypatch.setenv(DEVICES, "")
    assert ports() == [1, 2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("KL530", "a product cannot be read; expected KL520 or KL720, found 'KL530'"),
        ("KL520;;port=3", "found 'port=3'"),
        (";", "the number of devices cannot be read; expected 1 to 64, or 'none' for none, found 0"),
        ("KL520;" * 65, "found 65"),
        ("KL520,port=0", "expected a number from 1 to 2147483647, found '0'"),
        ("KL520,port=x", "found 'x'"),
        ("KL520,port=²", "found '²'"),
        ("KL520,port=99999999999999999999", "found '99999999999999999999'"),
        ("KL520,port=4;KL720,port=4", "the ports cannot be read; expected different ones, found 4, 4"),
        ("KL520,port=4,port=5", "'port=5' of 'KL520,port=4,port=5' cannot be read"),
        ("KL520,colour=red", "expected port, speed, flash, machine, firmware, each at most once, as key=value"),
        ("KL520,flash=", "'flash=' of 'KL520,flash=' cannot be read"),
        ("KL520,speed=warp", "expected low or full or high or super, found 'warp'"),
        ("KL520,machine=no-such-machine", "a machine cannot be read"),
    ],
)
def test_a_wrong_environment(text: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DEVICES, text)
    for call in (kp.core.scan_devices, lambda: kp.core.connect_devices([0])):
        reason = refused(12, call)
        assert message in reason
        assert reason.startswith(DEVICES)


def test_connecting() -> None:
    first = kp.core.connect_devices(usb_port_ids=[0])
    found = kp.core.scan_devices().device_descriptor_list
    assert [each.is_connectable for each in found] == [False, True]
    second = kp.core.connect_devices([0])
    assert kp.core.get_system_info(second, 0).kn_number == found[1].kn_number
    assert "port 1, connected already" in refused(28, lambda: kp.core.connect_devices([0]))
    kp.core.disconnect_devices(second)
    assert "port 2, port 2. Name each port once" in refused(28, lambda: kp.core.connect_devices([2, 2]))
    kp.core.disconnect_devices(device_group=first)
    assert kp.core.get_system_info(kp.core.connect_devices([1]), 1).kn_number == found[0].kn_number


def test_wrong_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    connect = kp.core.connect_devices
    assert "expected 1 to 20 ports, found 0" in refused(26, lambda: connect([]))
    refused(26, lambda: connect([1] * 21))
    assert "expected one of 1 (KL520), 2 (KL720)" in refused(10, lambda: connect([28]))
    refused(10, lambda: connect([0, 1]))
    assert "KL520 at port 1, KL720 at port 2" in refused(29, lambda: connect([1, 2]))
    refused(28, lambda: connect([1, 1]))
    for wrong in (None, 0, ["1"], [1.0]):
        refused(12, lambda wrong=wrong: connect(wrong))  # pyright: ignore[reportArgumentType]
    monkeypatch.setenv(DEVICES, "KL520,firmware=KDP")
    assert "found 'KDP'" in refused(24, lambda: connect([0]))
    monkeypatch.setenv(DEVICES, "none")
    assert "there is no device" in refused(10, lambda: connect([0]))
    assert kp.core.connect_devices.__name__ == "connect_devices"


def test_a_group_that_is_forgotten_is_disconnected() -> None:
    group = kp.core.connect_devices([1])
    del group
    gc.collect()
    kp.core.connect_devices([1])


def test_a_group_of_which_a_copy_is_left_stays_connected() -> None:
    held = {"devices": kp.core.connect_devices([1])}
    kept = copy.deepcopy(held)
    del held
    gc.collect()
    refused(28, lambda: kp.core.connect_devices([1]))
    kp.core.set_timeout(kept["devices"], 5)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_copy_of_a_group_is_the_group(copied: Callable[[kp.DeviceGroup], kp.DeviceGroup]) -> None:
    group = kp.core.connect_devices([1])
    assert copied(group) is group


CALLS: dict[str, Callable[[kp.DeviceGroup], object]] = {
    "set_timeout": lambda group: kp.core.set_timeout(group, 5),
    "set_npu_timeout": lambda group: kp.core.set_npu_timeout(group, 5),
    "load_firmware": lambda group: kp.core.load_firmware(group, b"", b""),
    "load_firmware_from_file": lambda group: kp.core.load_firmware_from_file(group, "no file", "no file"),
    "load_model": lambda group: kp.core.load_model(group, b""),
    "load_model_from_file": lambda group: kp.core.load_model_from_file(group, "no file"),
    "load_model_from_flash": lambda group: kp.core.load_model_from_flash(group),
    "load_encrypted_models": lambda group: kp.core.load_encrypted_models(group, [b""]),
    "load_encrypted_models_from_file": lambda group: kp.core.load_encrypted_models_from_file(group, ["no file"]),
    "get_model_info": lambda group: kp.core.get_model_info(group, 1),
    "get_system_info": lambda group: kp.core.get_system_info(group, 1),
    "reset_device": lambda group: kp.core.reset_device(group, kp.ResetMode.KP_RESET_INFERENCE),
    "enable_firmware_log": lambda group: kp.core.enable_firmware_log(group, 1, "stdout"),
    "disable_firmware_log": lambda group: kp.core.disable_firmware_log(group),
    "store_ddr_management_attributes": lambda group: kp.core.store_ddr_management_attributes(
        group, kp.DdrManageAttributes()
    ),
    "disconnect_devices": lambda group: kp.core.disconnect_devices(group),
    "set_inference_configuration": lambda group: kp.inference.set_inference_configuration(
        group, kp.InferenceConfiguration()
    ),
    "generic_raw_inference_send": lambda group: kp.inference.generic_raw_inference_send(
        group, kp.GenericRawImageHeader(), b"", kp.ImageFormat.KP_IMAGE_FORMAT_RAW8
    ),
    "generic_raw_inference_receive": lambda group: kp.inference.generic_raw_inference_receive(
        group, kp.GenericRawImageHeader(), kp.ModelNefDescriptor()
    ),
    "generic_raw_inference_bypass_pre_proc_send": lambda group: kp.inference.generic_raw_inference_bypass_pre_proc_send(
        group, kp.GenericRawBypassPreProcImageHeader(), b""
    ),
    "generic_raw_inference_bypass_pre_proc_receive": lambda group: (
        kp.inference.generic_raw_inference_bypass_pre_proc_receive(
            group, kp.GenericRawBypassPreProcImageHeader(), kp.ModelNefDescriptor()
        )
    ),
    "generic_image_inference_send": lambda group: kp.inference.generic_image_inference_send(
        group, kp.GenericImageInferenceDescriptor()
    ),
    "generic_image_inference_receive": lambda group: kp.inference.generic_image_inference_receive(group),
    "generic_data_inference_send": lambda group: kp.inference.generic_data_inference_send(
        group, kp.GenericDataInferenceDescriptor()
    ),
    "generic_data_inference_receive": lambda group: kp.inference.generic_data_inference_receive(group),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_group_that_is_not_connected(name: str) -> None:
    group = kp.core.connect_devices([1])
    kp.core.disconnect_devices(group)
    for wrong, code in ((group, -4), (kp.DeviceGroup(3), -4), (None, 12), (7, 12)):
        with pytest.raises(kp.ApiKPException) as caught:
            CALLS[name](wrong)  # pyright: ignore[reportArgumentType]
        assert caught.value.api_return_code == code
        assert caught.value.function_name == name
        assert str(caught.value).startswith(f"Error raised in function: {name}. Error code: {code}. Description: ")


def test_every_function_of_a_group_is_in_the_table() -> None:
    takes_none = {"scan_devices", "connect_devices", "connect_devices_without_check", "get_version"}
    takes_none |= {"install_driver_for_windows"}
    takes_none |= {"generic_inference_retrieve_fixed_node", "generic_inference_retrieve_float_node"}
    assert {*kp.core.__all__, *kp.inference.__all__} - takes_none == set(CALLS)


def test_firmware_is_not_read(tmp_path: Path) -> None:
    group = kp.core.connect_devices([1])
    (tmp_path / "fw_scpu.bin").write_bytes(b"\x00vendor")
    (tmp_path / "fw_ncpu.bin").write_bytes(b"")
    assert kp.core.scan_devices().device_descriptor_list[0].firmware == "KDP2 Loader"
    kp.core.load_firmware_from_file(
        device_group=group,
        scpu_fw_path=str(tmp_path / "fw_scpu.bin"),
        ncpu_fw_path=str(tmp_path / "fw_ncpu.bin"),
    )
    assert kp.core.scan_devices().device_descriptor_list[0].firmware == "KDP2 Comp/U"
    kp.core.load_firmware(group, b"", bytearray(3))
    load = kp.core.load_firmware_from_file
    missing, there = tmp_path / "missing", tmp_path / "fw_scpu.bin"
    assert f"cannot read {str(missing)!r}: No such file" in refused(20, lambda: load(group, str(missing), str(there)))
    refused(20, lambda: load(group, str(there), str(missing)))
    refused(20, lambda: load(group, str(tmp_path), str(there)))
    refused(20, lambda: load(group, None, str(there)))  # pyright: ignore[reportArgumentType]


def test_an_empty_path_of_firmware_is_left_out(tmp_path: Path) -> None:
    group = kp.core.connect_devices([1])
    load = kp.core.load_firmware_from_file
    there = tmp_path / "fw_scpu.bin"
    there.write_bytes(b"")
    refused(20, lambda: load(group, "", ""))
    refused(20, lambda: load(group, "", str(tmp_path / "missing")))
    for paths in ((str(there), ""), ("", str(there))):
        load(group, *paths)
        assert kp.core.scan_devices().device_descriptor_list[0].firmware == "KDP2 Comp/U"
        kp.core.reset_device(group, kp.ResetMode.KP_RESET_REBOOT)
        kp.core.disconnect_devices(group)
        group = kp.core.connect_devices([1])
        assert kp.core.scan_devices().device_descriptor_list[0].firmware == "KDP2 Loader"
    refused(12, lambda: kp.core.load_firmware(group, b"", "text"))  # pyright: ignore[reportArgumentType]


def test_models_from_a_file(network: Network, tmp_path: Path) -> None:
    group = kp.core.connect_devices([1])
    assert "no models are loaded" in refused(35, lambda: kp.core.get_model_info(group, 1))
    content = network.container(ids=(ID, 7))
    (tmp_path / "models_520.nef").write_bytes(content)
    descriptor = kp.core.load_model_from_file(device_group=group, file_path=str(tmp_path / "models_520.nef"))
    assert descriptor.crc == int.from_bytes(content[-4:], "little")
    assert descriptor.num_models == len(descriptor.models) == 2
    assert descriptor.target_chip is kp.ModelTargetChip.KP_MODEL_TARGET_CHIP_KL520
    first, second = descriptor.models
    assert (first.id, second.id) == (ID, 7)
    assert (first.width, first.height, first.channel) == (40, 32, 3)
    assert first.input_nodes[0].shape_npu == [1, 3, 32, 40]
    assert first.input_nodes[0].tensor_shape_info.v1.shape_npu == [1, 3, 32, 40]
    assert first.input_nodes[0].quantization_parameters.v1.quantized_fixed_point_descriptor_list[0].radix == 8
    assert [node.name for node in first.output_nodes] == ["head0", "head1"]
    assert first.max_raw_out_size == 28 + 4 + 2 * 20 + 12 * 16 * 32 + 6 * 8 * 16
    assert str(kp.core.get_model_info(group, 1)) == str(descriptor) == str(kp.core.get_model_info(group, 0))
    assert "expected port 1, found 2" in refused(10, lambda: kp.core.get_model_info(group, 2))


def test_wrong_models(network: Network, tmp_path: Path) -> None:
    group = kp.core.connect_devices([1])
    load = kp.core.load_model
    content = network.container()
    for damaged in (b"", content[:-1], content[:100] + b"x" + content[101:], network.artifact):
        refused(21, lambda damaged=damaged: load(group, damaged))
    reason = refused(21, lambda: load(group, network.container("KL720")))
    assert "expected KL520, found KL720. Connect a KL720 by its port" in reason
    refused(12, lambda: load(group, "models.nef"))  # pyright: ignore[reportArgumentType]
    from_file = kp.core.load_model_from_file
    refused(20, lambda: from_file(group, str(tmp_path / "missing.nef")))
    refused(20, lambda: from_file(group, str(tmp_path)))
    os.mkfifo(tmp_path / "pipe")
    assert "not a regular file" in refused(20, lambda: from_file(group, tmp_path / "pipe"))
    refused(35, lambda: kp.core.get_model_info(group, 1))
    refused(12, lambda: load(group, np.zeros(8, np.float32)))  # pyright: ignore[reportArgumentType]
    load(group, memoryview(content))
    load(group, np.frombuffer(content, np.uint8))


def test_the_machine_of_a_device(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    other = next(name for name in machines.samples() if name != machines.DEFAULT)
    monkeypatch.setenv(DEVICES, f"KL520,machine={machines.DEFAULT};KL520,machine={other}")
    kp.core.load_model(kp.core.connect_devices([1]), network.container())
    group = kp.core.connect_devices([2])
    assert "Compile the network for this machine" in refused(21, lambda: kp.core.load_model(group, network.container()))


def test_models_from_flash(network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flash = tmp_path / "flash.nef"
    flash.write_bytes(network.container("KL720"))
    (tmp_path / "damaged.nef").write_bytes(b"\x00" * 100)
    monkeypatch.setenv(
        DEVICES,
        f"KL720,flash={flash};KL720;KL720,flash={tmp_path / 'missing.nef'};KL720,flash={tmp_path / 'damaged.nef'}",
    )
    first, *others = (kp.core.connect_devices([port]) for port in (1, 2, 3, 4))
    assert kp.core.load_model_from_flash(device_group=first).models[0].id == ID
    for other, code in zip(others, (104, 20, 21), strict=True):
        refused(code, lambda other=other: kp.core.load_model_from_flash(other))
    assert 'TILEWRIGHT_KP_DEVICES="KL720,flash=FILE"' in refused(104, lambda: kp.core.load_model_from_flash(others[0]))


def test_a_container_for_each_device(network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DEVICES, "KL520;KL520")
    group = kp.core.connect_devices([1, 2])
    contents = [network.container(ids=(3,)), network.container(ids=(3, 4))]
    assert kp.core.load_encrypted_models(group, contents).num_models == 1
    assert kp.core.get_model_info(group, 2).num_models == 2
    files = [tmp_path / "1.nef", tmp_path / "2.nef"]
    for file, content in zip(files, contents, strict=True):
        file.write_bytes(content)
    assert kp.core.load_encrypted_models_from_file(group, [str(file) for file in files]).num_models == 1
    assert "one for each of 2 devices" in refused(12, lambda: kp.core.load_encrypted_models(group, contents[:1]))
    refused(12, lambda: kp.core.load_encrypted_models(group, contents[0]))  # pyright: ignore[reportArgumentType]
    refused(12, lambda: kp.core.load_encrypted_models_from_file(group, [files[0]]))
    refused(20, lambda: kp.core.load_encrypted_models_from_file(group, [files[0], tmp_path / "missing"]))


def test_what_a_device_says_of_itself() -> None:
    group = kp.core.connect_devices([2])
    info = kp.core.get_system_info(device_group=group, usb_port_id=2)
    assert info.kn_number == kp.core.scan_devices().device_descriptor_list[1].kn_number
    assert info.firmware_version.major == 1
    refused(10, lambda: kp.core.get_system_info(group, 1))
    for wrong in (None, -1, "2", 2**31):
        refused(12, lambda wrong=wrong: kp.core.get_system_info(group, wrong))  # pyright: ignore[reportArgumentType]
    assert kp.core.get_version() == "1.3.0"


def test_timeouts_are_numbers() -> None:
    group = kp.core.connect_devices([1])
    kp.core.set_timeout(device_group=group, milliseconds=0)
    for wrong in (-1, None, 1.5, "5", 2**31):
        refused(12, lambda wrong=wrong: kp.core.set_timeout(group, wrong))  # pyright: ignore[reportArgumentType]
        refused(12, lambda wrong=wrong: kp.core.set_npu_timeout(group, wrong))  # pyright: ignore[reportArgumentType]


def test_rebooting(network: Network, group: kp.DeviceGroup) -> None:
    kp.core.load_firmware(group, b"", b"")
    kp.core.reset_device(device_group=group, reset_mode=kp.ResetMode.KP_RESET_REBOOT, sleep_secs=0.01)
    descriptor = kp.core.scan_devices().device_descriptor_list[0]
    assert descriptor.is_connectable
    assert descriptor.firmware == "KDP2 Loader"
    assert "the devices were rebooted" in refused(-4, lambda: kp.core.set_timeout(group, 1))
    again = kp.core.connect_devices([1])
    kp.core.disconnect_devices(group)
    refused(35, lambda: kp.core.get_model_info(again, 1))
    kp.core.load_model(again, network.container())


def test_shutting_down(group: kp.DeviceGroup) -> None:
    kp.core.reset_device(group, kp.ResetMode.KP_RESET_SHUTDOWN)
    assert ports() == [2]
    refused(10, lambda: kp.core.connect_devices([1]))
    kp.core.disconnect_devices(group)


def test_wrong_resets(group: kp.DeviceGroup) -> None:
    reset = kp.core.reset_device
    refused(12, lambda: reset(group, 9))  # pyright: ignore[reportArgumentType]
    for wrong in (-1, "1", float("nan"), float("inf"), True):
        refused(12, lambda wrong=wrong: reset(group, kp.ResetMode.KP_RESET_INFERENCE, wrong))  # pyright: ignore[reportArgumentType]
    reset(group, kp.ResetMode.KP_RESET_INFERENCE)
    assert kp.core.get_model_info(group, 1).num_models == 1


def test_the_driver_for_windows() -> None:
    refused(38, lambda: kp.core.install_driver_for_windows(product_id=kp.ProductId.KP_DEVICE_KL520))
    refused(12, lambda: kp.core.install_driver_for_windows(3))  # pyright: ignore[reportArgumentType]


def test_memory_is_shared_out_once(network: Network) -> None:
    group = kp.core.connect_devices([1])
    store = kp.core.store_ddr_management_attributes
    refused(12, lambda: store(group, None))  # pyright: ignore[reportArgumentType]
    attributes = kp.DdrManageAttributes(input_buffer_size=3000, result_buffer_size=100)
    store(device_group=group, ddr_manage_attributes=attributes)
    attributes.result_buffer_size = 0
    store(group, attributes)
    assert "expected result_buffer_size of 6984, found 100" in refused(
        43, lambda: kp.core.load_model(group, network.container())
    )


def test_the_devices_of_another_environment_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    group = kp.core.connect_devices([1])
    monkeypatch.setenv(DEVICES, "KL720,port=9")
    assert ports() == [9]
    assert kp.core.get_system_info(group, 1)
    assert len(registry._groups) == 1
