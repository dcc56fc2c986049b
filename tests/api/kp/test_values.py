"""Values: what they hold, what they refuse, and what they print."""

from __future__ import annotations

import copy
import inspect
import json
import pickle
from dataclasses import fields
from typing import Any

import numpy as np
import pytest

from tilewright.runtime.api import kp
from tilewright.runtime.api.kp.members import Value, ValueRepresentBase

CLASSES: dict[str, Any] = {
    name: each
    for name in kp.values.__all__
    for each in [getattr(kp, name)]
    if inspect.isclass(each) and issubclass(each, Value)
}

DEFAULTS: dict[str, dict[str, object]] = {
    "DeviceDescriptor": {
        "usb_port_id": 0,
        "vendor_id": 0,
        "product_id": 0,
        "link_speed": kp.UsbSpeed.KP_USB_SPEED_UNKNOWN,
        "kn_number": 0,
        "is_connectable": False,
        "usb_port_path": "",
        "firmware": "",
    },
    "DeviceDescriptorList": {"device_descriptor_list": []},
    "FirmwareVersion": {"reserved": 0, "major": 0, "minor": 0, "update": 0, "build": 0},
    "SingleModelDescriptor": {
        "id": 0,
        "max_raw_out_size": 0,
        "width": 0,
        "height": 0,
        "channel": 0,
        "img_format": kp.ImageFormat.KP_IMAGE_FORMAT_RGBA8888,
    },
    "ModelNefDescriptor": {"crc": 0, "num_models": 0, "models": []},
    "GenericRawImageHeader": {
        "model_id": 0,
        "resize_mode": kp.ResizeMode.KP_RESIZE_ENABLE,
        "padding_mode": kp.PaddingMode.KP_PADDING_CORNER,
        "normalize_mode": kp.NormalizeMode.KP_NORMALIZE_KNERON,
        "inference_number": 0,
        "inference_crop_box_list": [],
        "width": 0,
        "height": 0,
        "image_format": kp.ImageFormat.KP_IMAGE_FORMAT_RGB565,
    },
    "InferenceCropBox": {"crop_box_index": 0, "x": 0, "y": 0, "width": 0, "height": 0},
    "GenericRawBypassPreProcImageHeader": {"model_id": 0, "inference_number": 0, "image_buffer_size": 0},
    "GenericRawResultHeader": {"inference_number": 0, "crop_number": 0, "num_output_node": 0},
    "GenericRawBypassPreProcResultHeader": {"inference_number": 0, "crop_number": 0, "num_output_node": 0},
    "InferenceFixedNodeOutput": {
        "width": 0,
        "height": 0,
        "channel": 0,
        "radix": 0,
        "scale": 0,
        "factor": 0,
        "num_data": 0,
    },
    "InferenceConfiguration": {"enable_frame_drop": False},
    "DdrManageAttributes": {
        "model_size": 0,
        "input_buffer_size": 0,
        "input_buffer_count": 0,
        "result_buffer_size": 0,
        "result_buffer_count": 0,
    },
}
"""What the first attributes of classes are, in the order in which 1.3 takes them, and by default."""


@pytest.mark.parametrize("name", DEFAULTS)
def test_defaults_and_their_order(name: str) -> None:
    value = CLASSES[name]()
    expected = DEFAULTS[name]
    assert [each.name for each in fields(CLASSES[name])][: len(expected)] == [*expected]
    assert {each: getattr(value, each) for each in expected} == expected
    positional = CLASSES[name](*expected.values())
    assert str(positional) == str(value) == str(CLASSES[name](**expected))


@pytest.mark.parametrize("name", CLASSES)
def test_every_value_prints_as_json_and_can_be_copied(name: str) -> None:
    arguments = {"DeviceGroup": (3,), "GenericRawResultNDArray": (3,)}.get(name, ())
    value = CLASSES[name](3) if name.endswith("Result") else CLASSES[name](*arguments)
    assert isinstance(value, ValueRepresentBase)
    assert str(value) == repr(value) == json.dumps(value.get_member_variable_dict(), indent=4)
    assert json.loads(f"[{str([value])[1:-1]}]") == [value.get_member_variable_dict()]
    for other in (copy.copy(value), copy.deepcopy(value), pickle.loads(pickle.dumps(value))):
        assert type(other) is type(value)
        assert str(other) == str(value)


def test_lists_and_values_are_not_shared() -> None:
    first, second = kp.GenericRawImageHeader(), kp.GenericRawImageHeader()
    first.inference_crop_box_list.append(kp.InferenceCropBox())
    assert (first.crop_count, second.crop_count) == (1, 0)
    boxes = [kp.InferenceCropBox()]
    second.inference_crop_box_list = boxes
    boxes.append(kp.InferenceCropBox())
    assert second.crop_count == 1
    one, two = kp.GenericRawResultHeader(), kp.GenericRawResultHeader()
    one.hw_pre_proc_info.img_width = 5
    assert two.hw_pre_proc_info.img_width == 0
    assert kp.GenericRawResult(5).header is not kp.GenericRawResult(5).header


def test_attributes_can_be_set() -> None:
    header = kp.GenericRawImageHeader(model_id=19)
    header.width, header.height = np.int64(640), np.uint16(480)  # pyright: ignore[reportAttributeAccessIssue]
    header.image_format = 0x0D  # pyright: ignore[reportAttributeAccessIssue]
    assert (header.width, type(header.width), header.height) == (640, int, 480)
    assert header.image_format is kp.ImageFormat.KP_IMAGE_FORMAT_RGBA8888
    configuration = kp.InferenceConfiguration()
    configuration.enable_frame_drop = 1  # pyright: ignore[reportAttributeAccessIssue]
    assert configuration.enable_frame_drop is True
    with pytest.raises(AttributeError):
        header.crop_count = 3  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: kp.InferenceCropBox(x=1.5),  # pyright: ignore[reportArgumentType]
            TypeError,
            "InferenceCropBox.x has the wrong type; expected int, found float 1.5",
        ),
        (
            lambda: kp.InferenceCropBox(0, -1),
            ValueError,
            "InferenceCropBox.x is out of range; expected 0 to 4294967295, found -1",
        ),
        (
            lambda: kp.InferenceFixedNodeOutput(radix=2**31),
            ValueError,
            "InferenceFixedNodeOutput.radix is out of range; expected -2147483648 to 2147483647, found 2147483648",
        ),
        (
            lambda: kp.GenericRawImageHeader(resize_mode=7),  # pyright: ignore[reportArgumentType]
            ValueError,
            "GenericRawImageHeader.resize_mode is out of range; expected a number of ResizeMode, found 7",
        ),
        (
            lambda: kp.GenericRawImageHeader(normalize_mode="YOLO"),  # pyright: ignore[reportArgumentType]
            TypeError,
            "GenericRawImageHeader.normalize_mode has the wrong type; expected NormalizeMode, found str 'YOLO'",
        ),
        (
            lambda: kp.GenericRawImageHeader(inference_crop_box_list=[1]),  # pyright: ignore[reportArgumentType]
            TypeError,
            "GenericRawImageHeader.inference_crop_box_list has the wrong type; expected list of InferenceCropBox, "
            "found list [1]",
        ),
        (
            lambda: kp.InferenceConfiguration("no"),  # pyright: ignore[reportArgumentType]
            TypeError,
            "InferenceConfiguration.enable_frame_drop has the wrong type; expected bool, found str 'no'",
        ),
        (
            lambda: kp.DeviceDescriptor(firmware=b"KDP2"),  # pyright: ignore[reportArgumentType]
            TypeError,
            "DeviceDescriptor.firmware has the wrong type; expected str, found bytes b'KDP2'",
        ),
        (
            lambda: kp.QuantizedFixedPointDescriptor(scale="1"),  # pyright: ignore[reportArgumentType]
            TypeError,
            "QuantizedFixedPointDescriptor.scale has the wrong type; expected float, found str '1'",
        ),
        (
            lambda: kp.SystemInfo(firmware_version="1.0"),  # pyright: ignore[reportArgumentType]
            TypeError,
            "SystemInfo.firmware_version has the wrong type; expected FirmwareVersion, found str '1.0'",
        ),
        (
            lambda: kp.TensorDescriptor(shape_npu=[1, 2.5]),  # pyright: ignore[reportArgumentType]
            TypeError,
            "TensorDescriptor.shape_npu has the wrong type; expected list of int, found list [1, 2.5]",
        ),
        (
            lambda: kp.InferenceFloatNodeOutput(data=[1]),  # pyright: ignore[reportArgumentType]
            TypeError,
            "InferenceFloatNodeOutput.data has the wrong type; expected numpy.ndarray, found list [1]",
        ),
        (
            lambda: kp.GenericInputNodeData("x"),  # pyright: ignore[reportArgumentType]
            TypeError,
            "GenericInputNodeData.buffer has the wrong type; expected bytes, found str 'x'",
        ),
        (
            lambda: kp.GenericInputNodeImage(np.zeros((2, 2, 2))),
            TypeError,
            "GenericInputNodeImage.image has the wrong type; expected an array of uint8, found ndarray array(",
        ),
    ],
)
def test_what_attributes_cannot_be(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        make()
    assert str(caught.value).startswith(message)


def test_unknown_and_missing_arguments_are_errors() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'w'"):
        kp.InferenceCropBox(w=5)  # pyright: ignore[reportCallIssue]
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'address'"):
        kp.DeviceGroup()  # pyright: ignore[reportCallIssue]
    with pytest.raises(TypeError, match="abstract"):
        ValueRepresentBase()  # pyright: ignore[reportAbstractUsage]


# Text, as the tutorials show it


def test_the_text_of_a_scan() -> None:
    descriptor = kp.DeviceDescriptor(
        13, 0x3231, 0x100, kp.UsbSpeed.KP_USB_SPEED_HIGH, 0xC8062D2C, True, "1-3", "KDP2 Loader"
    )
    found = kp.DeviceDescriptorList([descriptor])
    assert found.device_descriptor_number == 1
    assert str(found) == (
        """{
    "0": {
        "usb_port_id": 13,
        "vendor_id": "0x3231",
        "product_id": "0x100",
        "link_speed": "UsbSpeed.KP_USB_SPEED_HIGH",
        "kn_number": "0xC8062D2C",
        "is_connectable": true,
        "usb_port_path": "1-3",
        "firmware": "KDP2 Loader"
    }
}"""
    )


def test_the_text_of_system_information() -> None:
    version = kp.FirmwareVersion(0, 1, 5, 0, 113)
    assert str([kp.SystemInfo(0xC8062D2C, version)]) == (
        '[{\n    "kn_number": "0xC8062D2C",\n    "firmware_version": "1.5.0-build.113"\n}]'
    )
    assert str(version) == '{\n    "firmware_version": "1.5.0-build.113"\n}'


def test_the_text_of_headers() -> None:
    header = kp.GenericRawImageHeader(model_id=19, inference_crop_box_list=[kp.InferenceCropBox(1, 2, 3, 4, 5)])
    box = {"crop_box_index": 1, "x": 2, "y": 3, "width": 4, "height": 5}
    assert json.loads(str(header)) == {
        "image": {"width": 0, "height": 0, "image_format": "ImageFormat.KP_IMAGE_FORMAT_RGB565"},
        "inference_configuration": {
            "resize_mode": "ResizeMode.KP_RESIZE_ENABLE",
            "padding_mode": "PaddingMode.KP_PADDING_CORNER",
            "normalize_mode": "NormalizeMode.KP_NORMALIZE_KNERON",
            "inference_number": 0,
            "model_id": 19,
            "crop_count": 1,
            "inference_crop_box_list": {"0": box},
        },
    }
    bypass = kp.GenericRawBypassPreProcImageHeader(model_id=19, image_buffer_size=200704)
    shown = '{\n    "inference_number": 0,\n    "model_id": 19,\n    "image_buffer_size": 200704\n}'
    assert str(bypass) == shown


def test_the_text_of_a_model() -> None:
    """The facts of 1.3, and beside them those of 2.x."""
    node = kp.TensorDescriptor(
        0,
        "image",
        [1, 3, 224, 224],
        [1, 3, 224, 224],
        kp.ModelTensorDataLayout.KP_MODEL_TENSOR_DATA_LAYOUT_4W4C8B,
        kp.QuantizationParameters([kp.QuantizedFixedPointDescriptor(1.0, 8)]),
    )
    model = kp.SingleModelDescriptor(19, 85752, 224, 224, 3, input_nodes=[node])
    shown = json.loads(str(kp.ModelNefDescriptor(0x6CBF1FF9, 1, [model], magic=0x5AA55AA5)))
    assert (shown["crc"], shown["num_models"], shown["magic"]) == ("0x6CBF1FF9", 1, "0x5AA55AA5")
    first = shown["models"]["0"]
    assert [*first.items()][:6] == [
        ("id", 19),
        ("max_raw_out_size", 85752),
        ("width", 224),
        ("height", 224),
        ("channel", 3),
        ("img_format", "ImageFormat.KP_IMAGE_FORMAT_RGBA8888"),
    ]
    assert first["input_nodes"]["0"] == {
        "index": 0,
        "name": "image",
        "shape_npu": [1, 3, 224, 224],
        "shape_onnx": [1, 3, 224, 224],
        "data_layout": "ModelTensorDataLayout.KP_MODEL_TENSOR_DATA_LAYOUT_4W4C8B",
        "quantization_parameters": {"quantized_fixed_point_descriptor_list": {"0": {"scale": 1.0, "radix": 8}}},
    }
    assert node.tensor_shape_info.v1.shape_npu == [1, 3, 224, 224]
    assert node.quantization_parameters.v1.quantized_fixed_point_descriptor_list[0].radix == 8
    assert shown["metadata"]["nef_schema_version"] == {"version": "0.0.0"}


def test_the_text_of_results_and_descriptors() -> None:
    result = kp.GenericImageInferenceResult(86076)
    result.header.hw_pre_proc_info_list = [kp.HwPreProcInfo(400, 300, crop_area=kp.InferenceCropBox(1))]
    shown = json.loads(str(result))
    assert [*shown["header"]] == [
        "inference_number",
        "crop_number",
        "num_output_node",
        "product_id",
        "num_hw_pre_proc_info",
        "hw_pre_proc_info_list",
    ]
    info = shown["header"]["hw_pre_proc_info_list"]["0"]
    assert (info["img_width"], info["crop_area"]["crop_box_index"]) == (400, 1)
    assert shown["raw_result"] == {"buffer_size": 86076}
    assert kp.GenericRawResult(-1).raw_result.buffer_size == -1
    image = kp.GenericInputNodeImage(np.arange(8, dtype=np.uint8).reshape(2, 2, 2))
    assert (image.width, image.height) == (2, 2)
    described = json.loads(str(kp.GenericImageInferenceDescriptor(1, 19, [image])))
    assert (described["input_node_image_num"], [*described][:2]) == (1, ["model_id", "inference_number"])
    first = described["input_node_image_list"]["0"]
    assert first["image"] == ["[[[0 1]", "  [2 3]]", "", " [[4 5]", "  [6 7]]]"]
    data = kp.GenericDataInferenceDescriptor(1, 19, [kp.GenericInputNodeData(bytearray(5))])  # pyright: ignore[reportArgumentType]
    assert json.loads(str(data))["input_node_data_list"] == {"0": {"buffer_size": 5}}


# Nodes


def node(cls: Any = kp.InferenceFixedNodeOutput, **changes: Any) -> Any:
    given = {"width": 2, "height": 3, "channel": 4, "num_data": 24, "data": np.arange(24, dtype=np.int8), **changes}
    return cls(**given)


def test_the_array_of_a_node_is_arranged_and_fresh() -> None:
    shapes = {
        kp.ChannelOrdering.KP_CHANNEL_ORDERING_CHW: (1, 4, 3, 2),
        kp.ChannelOrdering.KP_CHANNEL_ORDERING_HCW: (1, 3, 4, 2),
        kp.ChannelOrdering.KP_CHANNEL_ORDERING_HWC: (1, 3, 2, 4),
        kp.ChannelOrdering.KP_CHANNEL_ORDERING_DEFAULT: (1, 4, 3, 2),
    }
    for ordering, shape in shapes.items():
        found = node(channels_ordering=ordering)
        assert (found.ndarray.shape, tuple(found.shape), found.ndarray.dtype) == (shape, shape, np.int8)
        found.ndarray[:] = 0
        assert found.ndarray.ravel().tolist() == [*range(24)]
    assert kp.InferenceFloatNodeOutput().ndarray.shape == (1, 0, 0, 0)
    message = "the data do not fill the node; expected 28 numbers, width 2 by height 2 by channel 7, found 24"
    with pytest.raises(ValueError, match=message):
        _ = node(height=2, channel=7).ndarray


def test_the_text_of_a_list_of_nodes_is_json() -> None:
    fixed = node(radix=2, scale=1.4717674255371094, factor=1 / (1.4717674255371094 * 4))
    shown = json.loads(str([fixed, fixed.to_float_node_output()]))
    assert [*shown[0].items()][:-1] == [
        ("width", 2),
        ("height", 3),
        ("channel", 4),
        ("radix", 2),
        ("scale", 1.4717674255371094),
        ("factor", 0.16986379482394412),
        ("channels_ordering", "ChannelOrdering.KP_CHANNEL_ORDERING_CHW"),
        ("dtype", "FixedPointDType.KP_FIXED_POINT_DTYPE_UNKNOWN"),
        ("num_data", 24),
    ]
    assert shown[0]["ndarray"] == str(fixed.ndarray).split("\n")
    assert [*shown[1]] == ["width", "height", "channel", "channels_ordering", "num_data", "ndarray"]
    assert shown[1]["ndarray"][0] == "[[[[0.         0.16986379]"


def test_fixed_numbers_become_real_ones() -> None:
    fixed = node(radix=-1, scale=1.5, factor=1 / (1.5 * 0.5), data=np.array([-128, 127] * 12, np.int8))
    found = fixed.to_float_node_output()
    assert found.ndarray.dtype == np.float32
    assert np.array_equal(found.ndarray, (fixed.ndarray / 0.75).astype(np.float32))
    assert (found.num_data, found.channels_ordering) == (24, fixed.channels_ordering)


def test_programs_derive_values_of_their_own() -> None:
    class Box(ValueRepresentBase):
        def get_member_variable_dict(self) -> dict:
            return {"score": np.float32(0.5), "corners": np.arange(2), "crop": kp.InferenceCropBox(), "other": {1j}}

    shown = json.loads(str(Box()))
    assert shown == {
        "score": 0.5,
        "corners": ["[0 1]"],
        "crop": {"crop_box_index": 0, "x": 0, "y": 0, "width": 0, "height": 0},
        "other": "{1j}",
    }
