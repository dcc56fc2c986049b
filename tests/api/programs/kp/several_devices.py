"""A group of devices that take turns: results come in the order of the images, pictures of a folder by number."""

import argparse
import threading

import kp
import numpy as np
from utils.helper import connect, float_nodes, to_bgr565, upload

parser = argparse.ArgumentParser()
parser.add_argument("model")
parser.add_argument("image")
parser.add_argument("output")
args = parser.parse_args()

ports = [device.usb_port_id for device in kp.core.scan_devices().device_descriptor_list if device.is_connectable]
device_group = connect(ports, 5000)
model_nef_descriptor = upload(device_group, args.model)
image = np.load(args.image)
images = [np.roll(image, shift, axis=1) for shift in range(12)]
model_id = model_nef_descriptor.models[0].id


def send_all() -> None:
    for number, each in enumerate(images):
        descriptor = kp.GenericImageInferenceDescriptor(
            inference_number=number,
            model_id=model_id,
            input_node_image_list=[kp.GenericInputNodeImage(image=to_bgr565(each))],
        )
        kp.inference.generic_image_inference_send(
            device_group=device_group, generic_inference_input_descriptor=descriptor
        )


sender = threading.Thread(target=send_all)
sender.start()
arrays = {}
for number in range(len(images)):
    result = kp.inference.generic_image_inference_receive(device_group=device_group)
    assert result.header.inference_number == number
    for node_idx, node in enumerate(float_nodes(result)):
        arrays[f"image{number} node{node_idx}"] = node.ndarray
sender.join()
print(f"{len(ports)} devices, {len(images)} images")
np.savez(args.output, **arrays)
