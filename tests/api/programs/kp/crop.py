"""One send and a result for each crop box."""

import argparse

import kp
import numpy as np
from utils.helper import connect, float_nodes, to_bgr565, upload

parser = argparse.ArgumentParser()
parser.add_argument("-p", "--port_id", default=0, type=int)
parser.add_argument("model")
parser.add_argument("image")
parser.add_argument("output")
args = parser.parse_args()

device_group = connect([args.port_id], 5000)
model_nef_descriptor = upload(device_group, args.model)
img_bgr565 = to_bgr565(np.load(args.image))
crop_box_list = [
    kp.InferenceCropBox(crop_box_index=0, x=30, y=20, width=41, height=37),
    kp.InferenceCropBox(crop_box_index=1, x=3, y=5, width=80, height=70),
]
generic_raw_image_header = kp.v1.GenericRawImageHeader(
    model_id=model_nef_descriptor.models[0].id,
    resize_mode=kp.ResizeMode.KP_RESIZE_ENABLE,
    padding_mode=kp.PaddingMode.KP_PADDING_CORNER,
    normalize_mode=kp.NormalizeMode.KP_NORMALIZE_KNERON,
    inference_number=0,
    inference_crop_box_list=crop_box_list,
)
for _ in range(5):
    try:
        kp.v1.inference.generic_raw_inference_send(
            device_group=device_group,
            generic_raw_image_header=generic_raw_image_header,
            image=img_bgr565,
            image_format=kp.ImageFormat.KP_IMAGE_FORMAT_RGB565,
        )
        generic_crop_raw_result_list = []
        for _ in range(generic_raw_image_header.crop_count):
            generic_crop_raw_result_list.append(
                kp.v1.inference.generic_raw_inference_receive(
                    device_group=device_group,
                    generic_raw_image_header=generic_raw_image_header,
                    model_nef_descriptor=model_nef_descriptor,
                )
            )
    except kp.ApiKPException as exception:
        print(f" - Error: inference failed, error = {exception}")
        exit(0)
arrays = {}
for idx, generic_raw_result in enumerate(generic_crop_raw_result_list):
    area = generic_raw_result.header.hw_pre_proc_info.crop_area
    print(f"[Crop Box {idx}]\n{generic_raw_image_header.inference_crop_box_list[idx]}")
    print(f"result of box {generic_raw_result.header.crop_number} at {area.x} {area.y} {area.width} {area.height}")
    for node_idx, node in enumerate(float_nodes(generic_raw_result)):
        arrays[f"box{idx} node{node_idx}"] = node.ndarray
np.savez(args.output, **arrays)
