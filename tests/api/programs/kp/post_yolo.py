"""Boxes of a YOLO-like network, with the names of 2.x for the forms of 1.3."""

import argparse

import kp
import numpy as np
from utils.helper import connect, float_nodes, get_device_usb_speed_by_port_id, save, to_bgr565, upload
from utils.postprocess import post_process

LOOP_TIME = 5

parser = argparse.ArgumentParser()
parser.add_argument("-p", "--port_id", default=0, type=int)
parser.add_argument("model")
parser.add_argument("image")
parser.add_argument("output")
args = parser.parse_args()

if get_device_usb_speed_by_port_id(usb_port_id=args.port_id) != kp.UsbSpeed.KP_USB_SPEED_SUPER:
    print("[Error] Device is not run at super speed.")
    exit(0)

device_group = connect([args.port_id], 5000)
model_nef_descriptor = upload(device_group, args.model)
img_bgr565 = to_bgr565(np.load(args.image))
generic_raw_image_header = kp.v1.GenericRawImageHeader(
    model_id=model_nef_descriptor.models[0].id,
    resize_mode=kp.ResizeMode.KP_RESIZE_ENABLE,
    padding_mode=kp.PaddingMode.KP_PADDING_SYMMETRIC,
    normalize_mode=kp.NormalizeMode.KP_NORMALIZE_KNERON,
    inference_number=0,
)
for _ in range(LOOP_TIME):
    try:
        kp.v1.inference.generic_raw_inference_send(
            device_group=device_group,
            generic_raw_image_header=generic_raw_image_header,
            image=img_bgr565,
            image_format=kp.ImageFormat.KP_IMAGE_FORMAT_RGB565,
        )
        generic_raw_result = kp.v1.inference.generic_raw_inference_receive(
            device_group=device_group,
            generic_raw_image_header=generic_raw_image_header,
            model_nef_descriptor=model_nef_descriptor,
        )
    except kp.ApiKPException as exception:
        print(f" - Error: inference failed, error = {exception}")
        exit(0)

nodes = float_nodes(generic_raw_result)
print("[Hardware Pre-processing]")
print(generic_raw_result.header.hw_pre_proc_info)
yolo_result = post_process(nodes, generic_raw_result.header.hw_pre_proc_info, 0.2)
print("[Result]")
print(yolo_result)
boxes = [[box.x1, box.y1, box.x2, box.y2, box.score, box.class_num] for box in yolo_result.box_list]
save(args.output, nodes, boxes=np.array(boxes))
