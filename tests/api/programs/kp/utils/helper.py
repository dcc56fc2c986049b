"""What the samples share: the speed of a device, pictures in the formats of the device, results in a file."""

import json

import kp
import numpy as np


def get_device_usb_speed_by_port_id(usb_port_id: int) -> kp.UsbSpeed:
    for device_descriptor in kp.core.scan_devices().device_descriptor_list:
        if usb_port_id in (0, device_descriptor.usb_port_id):
            return device_descriptor.link_speed
    raise OSError(f"Specified USB port ID {usb_port_id} not exist.")


def connect(usb_port_ids, timeout: int, firmware=None) -> kp.DeviceGroup:
    try:
        print("[Connect Device]")
        device_group = kp.core.connect_devices(usb_port_ids=usb_port_ids)
        print(" - Success")
    except kp.ApiKPException as exception:
        print(f"Error: connect device fail, port ID = '{usb_port_ids}', error msg: [{exception}]")
        exit(0)
    kp.core.set_timeout(device_group=device_group, milliseconds=timeout)
    if firmware:
        try:
            print("[Upload Firmware]")
            kp.core.load_firmware_from_file(
                device_group=device_group, scpu_fw_path=firmware[0], ncpu_fw_path=firmware[1]
            )
            print(" - Success")
        except kp.ApiKPException as exception:
            print(f"Error: upload firmware failed, error = '{exception}'")
            exit(0)
    return device_group


def upload(device_group: kp.DeviceGroup, file: str) -> kp.ModelNefDescriptor:
    try:
        print("[Upload Model]")
        model_nef_descriptor = kp.core.load_model_from_file(device_group=device_group, file_path=file)
        print(" - Success")
    except kp.ApiKPException as exception:
        print(f"Error: upload model failed, error = '{exception}'")
        exit(0)
    return model_nef_descriptor


def to_bgr565(image: np.ndarray) -> np.ndarray:
    """uint8[rows, columns, 3] in blue, green, red as OpenCV's COLOR_BGR2BGR565 makes it of a picture."""
    blue, green, red = (image[..., channel].astype(np.uint16) for channel in range(3))
    words = (red >> 3 << 11) | (green >> 2 << 5) | (blue >> 3)
    return words[..., None].view(np.uint8)


def float_nodes(result, ordering=kp.ChannelOrdering.KP_CHANNEL_ORDERING_CHW):
    return [
        kp.inference.generic_inference_retrieve_float_node(
            node_idx=node_idx, generic_raw_result=result, channels_ordering=ordering
        )
        for node_idx in range(result.header.num_output_node)
    ]


def save(file: str, nodes, **more) -> None:
    """The nodes of a result, or of several, as arrays in a file."""
    arrays = {f"node{index}": node.ndarray for index, node in enumerate(nodes)}
    np.savez(file, **arrays, **more)


def check_json(values) -> None:
    """What is printed can be read by others."""
    print(values)
    json.loads(str(values))
