"""Generic inference with the names of 1.3: floating point and fixed point of every node, in both orders."""

import argparse

import kp
import numpy as np
from utils.helper import check_json, connect, float_nodes, get_device_usb_speed_by_port_id, save, to_bgr565, upload

LOOP_TIME = 10

parser = argparse.ArgumentParser()
parser.add_argument("-p", "--port_id", default=0, type=int)
parser.add_argument("model")
parser.add_argument("image")
parser.add_argument("output")
parser.add_argument("--firmware", nargs=2)
args = parser.parse_args()

try:
    if get_device_usb_speed_by_port_id(usb_port_id=args.port_id) != kp.UsbSpeed.KP_USB_SPEED_HIGH:
        print("[Warning] Device is not run at high speed.")
except Exception as exception:
    print(f"Error: check device USB speed fail, port ID = '{args.port_id}', error msg: [{exception}]")
    exit(0)

device_group = connect([args.port_id], 5000, args.firmware)
model_nef_descriptor = upload(device_group, args.model)
print("[Model NEF Information]")
print(model_nef_descriptor)

img_bgr565 = to_bgr565(np.load(args.image))
generic_raw_image_header = kp.GenericRawImageHeader(
    model_id=model_nef_descriptor.models[0].id,
    resize_mode=kp.ResizeMode.KP_RESIZE_ENABLE,
    padding_mode=kp.PaddingMode.KP_PADDING_CORNER,
    normalize_mode=kp.NormalizeMode.KP_NORMALIZE_KNERON,
    inference_number=0,
)

print("[Starting Inference Work]")
for _ in range(LOOP_TIME):
    try:
        kp.inference.generic_raw_inference_send(
            device_group=device_group,
            generic_raw_image_header=generic_raw_image_header,
            image=img_bgr565,
            image_format=kp.ImageFormat.KP_IMAGE_FORMAT_RGB565,
        )
        generic_raw_result = kp.inference.generic_raw_inference_receive(
            device_group=device_group,
            generic_raw_image_header=generic_raw_image_header,
            model_nef_descriptor=model_nef_descriptor,
        )
    except kp.ApiKPException as exception:
        print(f" - Error: inference failed, error = {exception}")
        exit(0)
    print(".", end="", flush=True)
print()

nodes = float_nodes(generic_raw_result)
fixed_list = []
for node_idx in range(generic_raw_result.header.num_output_node):
    fixed = kp.inference.generic_inference_retrieve_fixed_node(
        node_idx=node_idx,
        generic_raw_result=generic_raw_result,
        channels_ordering=kp.ChannelOrdering.KP_CHANNEL_ORDERING_HCW,
    )
    fixed_list.append(fixed)
    same = fixed.to_float_node_output().ndarray.transpose((0, 2, 1, 3)) == nodes[node_idx].ndarray
    print(f"fixed and floating point agree: {bool(same.all())}")
print("[Result]")
check_json(nodes)
check_json(fixed_list)
save(args.output, nodes)
kp.core.disconnect_devices(device_group=device_group)
