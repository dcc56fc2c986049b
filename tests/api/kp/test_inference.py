"""Inferences: what comes back, for what was sent in each way, and every error on the way."""

from __future__ import annotations

import threading
from collections.abc import Callable

import kp_pixels as slow
import numpy as np
import pytest
from kp_networks import ID, Network, compile_network, detector

from tilewright.runtime.api import kp
from tilewright.runtime.api.kp.devices.device import DEVICES

RGB565, RGBA = kp.ImageFormat.KP_IMAGE_FORMAT_RGB565, kp.ImageFormat.KP_IMAGE_FORMAT_RGBA8888
YUYV, RAW8 = kp.ImageFormat.KP_IMAGE_FORMAT_YUYV, kp.ImageFormat.KP_IMAGE_FORMAT_RAW8
CHW = kp.ChannelOrdering.KP_CHANNEL_ORDERING_CHW
KNERON = kp.NormalizeMode.KP_NORMALIZE_KNERON
UNKNOWN = kp.ImageFormat.KP_IMAGE_FORMAT_UNKNOWN


def refused(code: int, call: Callable[[], object]) -> str:
    with pytest.raises(kp.ApiKPException) as caught:
        call()
    assert caught.value.api_return_code == code, caught.value
    return caught.value.reason


def descriptor_of(group: kp.DeviceGroup) -> kp.ModelNefDescriptor:
    return kp.core.get_model_info(group, 0)


def header(**changes: object) -> kp.GenericRawImageHeader:
    return kp.GenericRawImageHeader(**{"model_id": ID, **changes})  # pyright: ignore[reportArgumentType]


def send(group: kp.DeviceGroup, image: object, format: object = RGB565, **changes: object) -> kp.GenericRawImageHeader:
    made = header(**changes)
    kp.inference.generic_raw_inference_send(
        device_group=group,
        generic_raw_image_header=made,
        image=image,  # pyright: ignore[reportArgumentType]
        image_format=format,  # pyright: ignore[reportArgumentType]
    )
    return made


def receive(group: kp.DeviceGroup, made: kp.GenericRawImageHeader | None = None) -> kp.GenericRawResult:
    return kp.inference.generic_raw_inference_receive(
        device_group=group, generic_raw_image_header=made or header(), model_nef_descriptor=descriptor_of(group)
    )


def nodes(result: kp.GenericRawResult) -> list[np.ndarray]:
    return [
        kp.inference.generic_inference_retrieve_fixed_node(index, result, CHW).ndarray
        for index in range(result.header.num_output_node)
    ]


def assert_nodes(result: kp.GenericRawResult, expected: list[np.ndarray]) -> None:
    found = nodes(result)
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.tobytes() == other.tobytes()
        assert one.shape == other.shape


def image_bytes(rng: np.random.Generator, format: kp.ImageFormat, width: int, height: int) -> bytes:
    return rng.integers(0, 256, slow.byte_count(format, width, height), np.uint8).tobytes()


@pytest.mark.parametrize("product", ["KL520", "KL720"])
@pytest.mark.parametrize("format", [RGB565, RGBA, YUYV], ids=lambda format: format.name)
def test_nodes_are_those_of_the_reference(
    format: kp.ImageFormat, product: str, network: Network, rng: np.random.Generator
) -> None:
    group = kp.core.connect_devices([1 if product == "KL520" else 2])
    kp.core.load_model(group, network.container(product))
    data = image_bytes(rng, format, 40, 32)
    made = send(group, data, format, width=40, height=32, inference_number=5)
    result = receive(group, made)
    expected = network.reference(slow.input_of(slow.image(data, format, 40, 32), KNERON))
    assert_nodes(result, expected)
    assert_nodes(result, network.run(slow.input_of(slow.image(data, format, 40, 32), KNERON)))
    assert result.header.inference_number == 5
    assert result.header.product_id == (0x100 if product == "KL520" else 0x720)


@pytest.mark.parametrize(("product", "alignment"), [("KL520", 16), ("KL520", 4), ("KL720", 4), ("KL720", 16)])
def test_buffers_that_bypass_preprocessing(
    product: str, alignment: int, network: Network, rng: np.random.Generator
) -> None:
    group = kp.core.connect_devices([1 if product == "KL520" else 2])
    descriptor = kp.core.load_model(group, network.container(product))
    values = rng.integers(-128, 128, network.shape).astype(np.int8)
    row = -(-40 // alignment) * alignment
    buffer = np.full((32, row, 4), 99, np.int8)
    buffer[:, :40, :3] = values[0].transpose(1, 2, 0)
    made = kp.GenericRawBypassPreProcImageHeader(ID, 8, buffer.nbytes)
    kp.inference.generic_raw_inference_bypass_pre_proc_send(
        device_group=group, generic_raw_image_header=made, image_buffer=buffer.tobytes() + b"more"
    )
    result = kp.inference.generic_raw_inference_bypass_pre_proc_receive(
        device_group=group, generic_raw_image_header=made, model_nef_descriptor=descriptor
    )
    assert_nodes(result, network.reference(values))
    assert isinstance(result, kp.GenericRawBypassPreProcResult)
    assert result.header.inference_number == 8
    assert str(result.header.hw_pre_proc_info) == str(kp.HwPreProcInfo())


def test_arrays(network: Network, group: kp.DeviceGroup, rng: np.random.Generator) -> None:
    """The array tells the size, and the caller's header gets it; strides do not matter."""
    for format, shape in ((RGB565, (32, 40, 2)), (RGBA, (32, 40, 4)), (YUYV, (32, 40, 2))):
        array = rng.integers(0, 256, shape, np.uint8)
        expected = network.run(slow.input_of(slow.image(array.tobytes(), format, 40, 32), KNERON))
        made = send(group, array, format, width=9, height=9, image_format=RAW8)
        assert (made.width, made.height, made.image_format) == (40, 32, format)
        assert_nodes(receive(group), expected)
        send(group, np.asfortranarray(array), format)
        assert_nodes(receive(group), expected)
    planes = rng.integers(0, 256, (48, 40), np.uint8)
    made = send(group, planes, kp.ImageFormat.KP_IMAGE_FORMAT_YUV420)
    assert (made.width, made.height) == (40, 32)
    whole = slow.image(planes.tobytes(), kp.ImageFormat.KP_IMAGE_FORMAT_YUV420, 40, 32)
    assert_nodes(receive(group), network.run(slow.input_of(whole, KNERON)))
    grey = rng.integers(0, 256, (32, 40), np.uint8)
    for array in (grey, grey[..., None]):
        send(group, array, RAW8)
        assert_nodes(receive(group), network.run(slow.input_of(np.stack([grey] * 3, -1), KNERON)))


def test_bytes_leave_the_size_of_the_header_alone(group: kp.DeviceGroup) -> None:
    made = send(group, bytearray(40 * 32), RAW8, width=40, height=32)
    assert (made.width, made.height, made.image_format) == (40, 32, RAW8)
    receive(group)


def test_what_was_done_is_told(network: Network, group: kp.DeviceGroup, rng: np.random.Generator) -> None:
    data = image_bytes(rng, RGB565, 60, 50)
    boxes = [kp.InferenceCropBox(7, 4, 3, 20, 40), kp.InferenceCropBox(2, 0, 0, 60, 50)]
    made = send(
        group,
        data,
        width=60,
        height=50,
        padding_mode=kp.PaddingMode.KP_PADDING_SYMMETRIC,
        inference_number=3,
        inference_crop_box_list=boxes,
    )
    whole = slow.image(data, RGB565, 60, 50)
    for box, fitted in zip(boxes, ((16, 32), (38, 32)), strict=True):
        result = receive(group, made)
        assert (result.header.inference_number, result.header.crop_number) == (3, box.crop_box_index)
        info = result.header.hw_pre_proc_info
        assert (info.img_width, info.img_height) == (box.width, box.height)
        assert (info.resized_img_width, info.resized_img_height) == fitted
        assert (info.model_input_width, info.model_input_height) == (40, 32)
        assert info.pad_left + fitted[0] + info.pad_right == 40
        assert (info.pad_top, info.pad_bottom) == (0, 0)
        assert str(info.crop_area) == str(box)
        part = whole[box.y : box.y + box.height, box.x : box.x + box.width]
        expected = np.zeros((32, 40, 3), np.uint8)
        expected[:, info.pad_left : info.pad_left + fitted[0]] = slow.resize(part, *fitted)
        assert_nodes(result, network.run(slow.input_of(expected, KNERON)))
    send(group, data, width=60, height=50, padding_mode=kp.PaddingMode.KP_PADDING_DISABLE)
    result = receive(group)
    assert str(result.header.hw_pre_proc_info.crop_area) == str(kp.InferenceCropBox())
    assert_nodes(result, network.run(slow.input_of(slow.resize(whole, 40, 32), KNERON)))


def test_everything_is_copied_when_it_is_sent(network: Network, group: kp.DeviceGroup) -> None:
    array = np.zeros((32, 40, 2), np.uint8)
    made = header(inference_crop_box_list=[kp.InferenceCropBox(1, 0, 0, 8, 8)])
    for number in range(3):
        made.inference_number = number
        kp.inference.generic_raw_inference_send(group, made, array, RGB565)
        made.inference_crop_box_list[0].crop_box_index += 1
        array[:] = 255
        array[:] = 0
    made.inference_number, made.normalize_mode = 77, kp.NormalizeMode.KP_NORMALIZE_YOLO
    expected = network.run(np.full(network.shape, -128, np.int8))
    for number in range(3):
        result = receive(group, made)
        assert (result.header.inference_number, result.header.crop_number) == (number, number + 1)
        assert_nodes(result, expected)


def test_several_models(network: Network, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = compile_network(tmp_path_factory.mktemp("other"), detector(16, 20, heads=(4,), seed=1))
    group = kp.core.connect_devices([1])
    from tilewright.runtime.containers.files import container_bytes

    content = container_bytes([network.contained(5), other.contained(6)], "KL520", "tests")
    kp.core.load_model(group, content)
    for id, each in ((6, other), (5, network), (6, other)):
        made = send(group, np.zeros((32, 40, 2), np.uint8), model_id=id)
        assert_nodes(receive(group, made), each.run(np.full(each.shape, -128, np.int8)))


def test_both_generations_of_calls(network: Network, group: kp.DeviceGroup, rng: np.random.Generator) -> None:
    array = rng.integers(0, 256, (32, 40, 2), np.uint8)
    box = kp.InferenceCropBox(4, 2, 2, 20, 16)
    node = kp.GenericInputNodeImage(image=array, image_format=RGB565, inference_crop_box_list=[box])
    kp.inference.generic_image_inference_send(
        device_group=group,
        generic_inference_input_descriptor=kp.GenericImageInferenceDescriptor(
            inference_number=9, model_id=ID, input_node_image_list=[node]
        ),
    )
    result = kp.inference.generic_image_inference_receive(device_group=group)
    send(group, array, inference_crop_box_list=[box])
    legacy = receive(group)
    assert [one.tobytes() for one in nodes(result)] == [one.tobytes() for one in nodes(legacy)]
    assert (result.header.inference_number, result.header.crop_number) == (9, 4)
    (info,) = result.header.hw_pre_proc_info_list
    assert str(info) == str(legacy.header.hw_pre_proc_info)

    values = rng.integers(-128, 128, network.shape).astype(np.int8)
    buffer = np.zeros((32, 48, 4), np.int8)
    buffer[:, :40, :3] = values[0].transpose(1, 2, 0)
    data = kp.GenericDataInferenceDescriptor(2, ID, [kp.GenericInputNodeData(buffer.tobytes())])
    kp.inference.generic_data_inference_send(device_group=group, generic_inference_input_descriptor=data)
    received = kp.inference.generic_data_inference_receive(device_group=group)
    assert received.header.inference_number == 2
    assert_nodes(received, network.run(values))


@pytest.mark.parametrize("engine", ["device", "float"])
def test_the_engine_of_the_environment(
    engine: str, network: Network, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    """The same integers, whichever computes them."""
    monkeypatch.setenv("TILEWRIGHT_ENGINE", engine)
    group = kp.core.connect_devices([1])
    kp.core.load_model(group, network.container())
    grey = rng.integers(0, 256, (32, 40), np.uint8)
    send(group, grey, RAW8)
    assert_nodes(receive(group), network.run(slow.input_of(np.stack([grey] * 3, -1), KNERON)))


def test_an_unknown_engine(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILEWRIGHT_ENGINE", "warp")
    group = kp.core.connect_devices([1])
    assert "TILEWRIGHT_ENGINE" in refused(21, lambda: kp.core.load_model(group, network.container()))


GOOD = np.zeros((32, 40, 2), np.uint8)


def test_before_a_model_is_loaded() -> None:
    group = kp.core.connect_devices([1])
    assert "a model to be loaded first" in refused(35, lambda: send(group, GOOD))
    refused(35, lambda: send(group, b"", width=0, height=0))
    refused(12, lambda: send(group, GOOD, UNKNOWN))
    data = kp.GenericRawBypassPreProcImageHeader(ID, 0, 4)
    refused(35, lambda: kp.inference.generic_raw_inference_bypass_pre_proc_send(group, data, b"1234"))
    image = kp.GenericImageInferenceDescriptor(0, ID, [kp.GenericInputNodeImage(GOOD)])
    refused(35, lambda: kp.inference.generic_image_inference_send(group, image))


def test_what_cannot_be_sent(group: kp.DeviceGroup, monkeypatch: pytest.MonkeyPatch) -> None:
    refused(12, lambda: send(group, GOOD, UNKNOWN))
    refused(12, lambda: send(group, GOOD, 3))
    refused(12, lambda: send(group, GOOD, None))
    assert "expected one of 32769" in refused(35, lambda: send(group, GOOD, model_id=5))
    for image, format, shape in (
        (GOOD[..., 0], RGB565, "uint8[32, 40]"),
        (GOOD, RGBA, "uint8[32, 40, 2]"),
        (GOOD, RAW8, "uint8[32, 40, 2]"),
        (GOOD.astype(np.int8), RGB565, "int8[32, 40, 2]"),
        (GOOD.astype(np.float16), RGB565, "float16[32, 40, 2]"),
        (np.zeros((32, 40), np.uint8), kp.ImageFormat.KP_IMAGE_FORMAT_YUV420, "uint8[32, 40]"),
        (np.zeros((), np.uint8), RGB565, "uint8[]"),
    ):
        assert f"found '{shape}'" in refused(12, lambda image=image, format=format: send(group, image, format))
    for image in (None, "image", [1, 2]):
        assert "expected bytes or numpy.ndarray" in refused(12, lambda image=image: send(group, image))
    for image in (bytes(100), GOOD[:0]):
        hint = "Give an array that has rows and columns; of bytes, the header tells width and height."
        assert hint in refused(22, lambda image=image: send(group, image))
    reason = refused(12, lambda: send(group, bytes(40 * 32 * 2 - 1), width=40, height=32))
    assert "at least 2560 bytes for 40x32" in reason
    refused(15, lambda: send(group, b"", width=2**16, height=2**16))
    boxes = [kp.InferenceCropBox(index, 0, 0, 4, 4) for index in range(5)]
    assert "found [5]" in refused(12, lambda: send(group, GOOD, inference_crop_box_list=boxes))
    for call in (
        lambda: kp.inference.generic_raw_inference_send(group, kp.GenericRawBypassPreProcImageHeader(), GOOD, RGB565),  # pyright: ignore[reportArgumentType]
        lambda: kp.inference.generic_image_inference_send(group, header()),  # pyright: ignore[reportArgumentType]
        lambda: kp.inference.generic_data_inference_send(group, header()),  # pyright: ignore[reportArgumentType]
        lambda: kp.inference.set_inference_configuration(group, True),  # pyright: ignore[reportArgumentType]
    ):
        assert "is wrong; expected" in refused(12, call)
    # Nothing of all this is on its way.
    kp.core.set_timeout(group, 1)
    refused(-7, lambda: receive(group))


def test_data_that_cannot_be_sent(group: kp.DeviceGroup) -> None:
    def bypass(buffer: object, size: int = 4, model_id: int = ID) -> None:
        made = kp.GenericRawBypassPreProcImageHeader(model_id, 0, size)
        kp.inference.generic_raw_inference_bypass_pre_proc_send(group, made, buffer)  # pyright: ignore[reportArgumentType]

    refused(35, lambda: bypass(b"1234", model_id=5))
    for size in (0, 5):
        assert "image_buffer_size is wrong" in refused(12, lambda size=size: bypass(b"1234", size))
    for wrong in (None, "1234", np.zeros(4, np.float32)):
        refused(12, lambda wrong=wrong: bypass(wrong))
    refused(15, lambda: bypass(bytes(2**25), 2**25))


def test_the_number_of_inputs(group: kp.DeviceGroup) -> None:
    images = kp.GenericImageInferenceDescriptor(0, ID, [kp.GenericInputNodeImage(GOOD)] * 2)
    assert "expected 1, as model 32769 has, found 2" in refused(
        12, lambda: kp.inference.generic_image_inference_send(group, images)
    )
    refused(12, lambda: kp.inference.generic_image_inference_send(group, kp.GenericImageInferenceDescriptor(0, ID)))
    data = kp.GenericDataInferenceDescriptor(0, ID, [kp.GenericInputNodeData(b"1234")] * 2)
    refused(12, lambda: kp.inference.generic_data_inference_send(group, data))
    images.model_id, images.input_node_image_list = 3, [kp.GenericInputNodeImage(GOOD)] * 4
    assert "expected at least 4, found 3" in refused(
        42, lambda: kp.inference.generic_image_inference_send(group, images)
    )


def test_memory_that_was_shared_out_is_what_counts(network: Network) -> None:
    group = kp.core.connect_devices([1])
    kp.core.store_ddr_management_attributes(group, kp.DdrManageAttributes(input_buffer_size=2560 + 131))
    kp.core.load_model(group, network.container())
    assert "expected at most 2691 bytes with a header of 132, found 2692" in refused(15, lambda: send(group, GOOD))
    send(group, GOOD[:, :36])
    assert receive(group)


def test_what_the_firmware_says(group: kp.DeviceGroup, network: Network) -> None:
    """The image is taken, and the result tells; the device goes on."""
    disable = kp.ResizeMode.KP_RESIZE_DISABLE
    tall = np.zeros((400, 40, 2), np.uint8)
    outside = [kp.InferenceCropBox(1, 30, 0, 11, 5)]
    for code, image, changes in (
        (23, np.zeros((32, 38, 2), np.uint8), {}),
        (107, np.zeros((32, 44, 2), np.uint8), {"resize_mode": disable}),
        (107, np.zeros((31, 40, 2), np.uint8), {"resize_mode": disable}),
        (112, GOOD, {"inference_crop_box_list": outside}),
    ):
        made = send(group, image, **changes)
        assert refused(code, lambda made=made: receive(group, made))
    big = kp.core.connect_devices([2])
    assert big
    send(group, tall)
    assert receive(group).header.hw_pre_proc_info.pad_right == 37
    data = kp.GenericRawBypassPreProcImageHeader(ID, 0, 4)
    kp.inference.generic_raw_inference_bypass_pre_proc_send(group, data, b"1234")
    descriptor = descriptor_of(group)
    assert "expected 5120 bytes or 6144 bytes, found 4" in refused(
        107, lambda: kp.inference.generic_raw_inference_bypass_pre_proc_receive(group, data, descriptor)
    )
    send(group, GOOD)
    assert_nodes(receive(group), network.run(np.full(network.shape, -128, np.int8)))


def test_one_bad_box_among_others(group: kp.DeviceGroup) -> None:
    boxes = [
        kp.InferenceCropBox(1, 0, 0, 8, 8),
        kp.InferenceCropBox(2, 0, 0, 41, 8),
        kp.InferenceCropBox(3, 4, 4, 8, 8),
    ]
    made = send(group, GOOD, inference_crop_box_list=boxes)
    assert made.crop_count == 3
    assert receive(group).header.crop_number == 1
    refused(112, lambda: receive(group))
    assert receive(group).header.crop_number == 3


def test_too_much_padding(tmp_path_factory: pytest.TempPathFactory) -> None:
    network = compile_network(tmp_path_factory.mktemp("large"), detector(136, 136, heads=(2,)))
    group = kp.core.connect_devices([1])
    kp.core.load_model(group, network.container())
    flat = np.zeros((8, 136, 2), np.uint8)
    send(group, flat)
    assert "at most 127 rows or columns on a side, found 128" in refused(108, lambda: receive(group))
    send(group, flat, padding_mode=kp.PaddingMode.KP_PADDING_SYMMETRIC)
    assert receive(group).header.hw_pre_proc_info.pad_top == 64


def test_networks_that_take_no_images(tmp_path_factory: pytest.TempPathFactory, rng: np.random.Generator) -> None:
    network = compile_network(tmp_path_factory.mktemp("wide"), detector(8, 8, channels=20, heads=(3,)))
    group = kp.core.connect_devices([1])
    kp.core.load_model(group, network.container())
    send(group, GOOD)
    refused(108, lambda: receive(group))
    values = rng.integers(-128, 128, network.shape).astype(np.int8)
    blocks = np.zeros((32, 8, 8), np.int8)
    blocks[:20] = values[0]
    data = blocks.reshape(2, 16, 8, 8).transpose(0, 2, 3, 1).tobytes()
    descriptor = kp.GenericDataInferenceDescriptor(0, ID, [kp.GenericInputNodeData(data)])
    kp.inference.generic_data_inference_send(group, descriptor)
    assert_nodes(kp.inference.generic_data_inference_receive(group), network.run(values))


def test_results_of_the_other_kind(group: kp.DeviceGroup) -> None:
    data = kp.GenericRawBypassPreProcImageHeader(ID, 0, 6144)
    descriptor = descriptor_of(group)
    kp.inference.generic_raw_inference_bypass_pre_proc_send(group, data, bytes(6144))
    send(group, GOOD)
    refused(32, lambda: receive(group))
    refused(32, lambda: kp.inference.generic_raw_inference_bypass_pre_proc_receive(group, data, descriptor))
    send(group, GOOD)
    refused(32, lambda: kp.inference.generic_data_inference_receive(group))
    kp.inference.generic_raw_inference_bypass_pre_proc_send(group, data, bytes(6144))
    refused(32, lambda: kp.inference.generic_image_inference_receive(group))


def test_results_that_do_not_fit(group: kp.DeviceGroup) -> None:
    def receive_with(model_id: int, descriptor: object) -> None:
        made = header(model_id=model_id)
        kp.inference.generic_raw_inference_receive(group, made, descriptor)  # pyright: ignore[reportArgumentType]

    small = kp.ModelNefDescriptor(models=[kp.SingleModelDescriptor(id=ID, max_raw_out_size=6983)])
    refused(12, lambda: receive_with(ID, None))
    for model_id, descriptor in ((5, descriptor_of(group)), (ID, kp.ModelNefDescriptor()), (ID, small)):
        send(group, GOOD)
        assert "expected 6984 bytes" in refused(-8, lambda id=model_id, given=descriptor: receive_with(id, given))


def test_a_run_that_fails(group: kp.DeviceGroup, monkeypatch: pytest.MonkeyPatch) -> None:
    from tilewright.errors import ResourceError
    from tilewright.runtime.session import Session

    for error, code in ((ResourceError("none left"), 102), (MemoryError(), 102), (ZeroDivisionError("by zero"), 101)):

        def run(self: Session, inputs: object, error: Exception = error) -> None:
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(Session, "run", run)
            send(group, GOOD)
            refused(code, lambda: receive(group))
    send(group, GOOD)
    assert receive(group)


def test_a_log_of_the_firmware(
    group: kp.DeviceGroup, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path_factory.mktemp("log")
    log = folder / "firmware.log"
    kp.core.enable_firmware_log(device_group=group, usb_port_id=1, log_file_path=str(log))
    send(group, GOOD, inference_number=6)
    receive(group)
    send(group, np.zeros((32, 38, 2), np.uint8))
    refused(23, lambda: receive(group))
    kp.core.enable_firmware_log(group, 0, "stdout")
    send(group, GOOD)
    receive(group)
    kp.core.disable_firmware_log(device_group=group)
    kp.core.disable_firmware_log(group)
    send(group, GOOD)
    receive(group)
    lines = log.read_text().splitlines()
    assert lines[0] == "[KL520 1] inference 6 of model 32769, crop 0: done"
    assert "the width of the image does not suit" in lines[1]
    assert len(lines) == 2
    assert capsys.readouterr().out.count("inference 0 of model 32769") == 1
    refused(20, lambda: kp.core.enable_firmware_log(group, 1, str(folder / "missing" / "log")))
    refused(20, lambda: kp.core.enable_firmware_log(group, 1, 5.5))  # pyright: ignore[reportArgumentType]
    refused(10, lambda: kp.core.enable_firmware_log(group, 2, str(log)))


def test_devices_take_turns(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DEVICES, "KL520;KL520;KL520")
    group = kp.core.connect_devices([3, 1, 2])
    kp.core.load_model(group, network.container())
    boxes = [kp.InferenceCropBox(index, 0, 0, 8, 8) for index in range(2)]
    serials: list[tuple[int, int]] = []
    for number in range(30):
        send(group, GOOD, inference_number=number, inference_crop_box_list=boxes if number % 3 == 0 else [])
        if number >= 4:
            result = receive(group)
            serials.append((result.header.inference_number, result.header.crop_number))
    while len(serials) < 40:
        result = receive(group)
        serials.append((result.header.inference_number, result.header.crop_number))
    assert serials == [(number, crop) for number in range(30) for crop in range(2 if number % 3 == 0 else 1)]


def test_a_failed_send_does_not_confuse_the_turns(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DEVICES, "KL520;KL520")
    group = kp.core.connect_devices([1, 2])
    kp.core.load_model(group, network.container())
    send(group, GOOD, inference_number=1)
    refused(12, lambda: send(group, GOOD, UNKNOWN))
    send(group, GOOD, inference_number=2)
    assert [receive(group).header.inference_number for _ in range(2)] == [1, 2]


def test_two_threads_share_a_header(group: kp.DeviceGroup) -> None:
    shared, numbers = header(), []

    def send_all() -> None:
        for number in range(100):
            shared.inference_number = number
            kp.inference.generic_raw_inference_send(group, shared, GOOD, RGB565)

    def receive_all() -> None:
        for _ in range(100):
            numbers.append(receive(group, shared).header.inference_number)

    threads = [threading.Thread(target=target) for target in (send_all, receive_all)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert numbers == list(range(100))
