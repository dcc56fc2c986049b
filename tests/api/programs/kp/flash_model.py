"""Inference with the model that the flash of the device holds."""

import argparse

import kp
import numpy as np
from utils.helper import connect, float_nodes, save, to_bgr565

parser = argparse.ArgumentParser()
parser.add_argument("-p", "--port_id", default=0, type=int)
parser.add_argument("image")
parser.add_argument("output")
args = parser.parse_args()

device_group = connect([args.port_id], 5000)
try:
    print("[Load Model from Flash]")
    model_nef_descriptor = kp.core.load_model_from_flash(device_group=device_group)
    print(" - Success")
except kp.ApiKPException as exception:
    print(f"Error: load model from device flash failed, error = '{exception}'")
    exit(0)
header = kp.v1.GenericRawImageHeader(model_id=model_nef_descriptor.models[0].id, inference_number=0)
kp.v1.inference.generic_raw_inference_send(
    device_group=device_group,
    generic_raw_image_header=header,
    image=to_bgr565(np.load(args.image)),
    image_format=kp.ImageFormat.KP_IMAGE_FORMAT_RGB565,
)
result = kp.v1.inference.generic_raw_inference_receive(
    device_group=device_group, generic_raw_image_header=header, model_nef_descriptor=model_nef_descriptor
)
print(kp.core.get_system_info(device_group=device_group, usb_port_id=args.port_id))
save(args.output, float_nodes(result))
