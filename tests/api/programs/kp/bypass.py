"""Inference of a buffer that is normalised already."""

import argparse

import kp
from utils.helper import check_json, connect, float_nodes, save, upload

parser = argparse.ArgumentParser()
parser.add_argument("-p", "--port_id", default=0, type=int)
parser.add_argument("model")
parser.add_argument("image")
parser.add_argument("output")
args = parser.parse_args()

device_group = connect([args.port_id], 5000)
model_nef_descriptor = upload(device_group, args.model)
with open(args.image, "rb") as file:
    img_buffer = file.read()
generic_raw_image_header = kp.v1.GenericRawBypassPreProcImageHeader(
    model_id=model_nef_descriptor.models[0].id, image_buffer_size=len(img_buffer), inference_number=0
)
for _ in range(5):
    try:
        kp.v1.inference.generic_raw_inference_bypass_pre_proc_send(
            device_group=device_group, generic_raw_image_header=generic_raw_image_header, image_buffer=img_buffer
        )
        generic_raw_bypass_pre_proc_result = kp.v1.inference.generic_raw_inference_bypass_pre_proc_receive(
            device_group=device_group,
            generic_raw_image_header=generic_raw_image_header,
            model_nef_descriptor=model_nef_descriptor,
        )
    except kp.ApiKPException as exception:
        print(f" - Error: inference failed, error = {exception}")
        exit(0)
nodes = float_nodes(generic_raw_bypass_pre_proc_result)
shape = model_nef_descriptor.models[0].input_nodes[0].shape_npu
print(kp.HwPreProcInfo(img_width=shape[3], img_height=shape[2], model_input_width=shape[3]))
check_json(nodes)
save(args.output, nodes)
