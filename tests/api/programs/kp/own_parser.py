"""Bypasses preprocessing with values scaled by the radix, which the program reads from the model file itself."""

import argparse
import math
import struct

import kp
import numpy as np
from utils.helper import connect, float_nodes, save, upload


def field(buffer: bytes, table: int, number: int):
    """The position of a field of a FlatBuffers table, or None."""
    vtable = table - struct.unpack_from("<i", buffer, table)[0]
    (size,) = struct.unpack_from("<H", buffer, vtable)
    if 4 + 2 * number >= size:
        return None
    (offset,) = struct.unpack_from("<H", buffer, vtable + 4 + 2 * number)
    return table + offset if offset else None


def follow(buffer: bytes, position: int) -> int:
    return position + struct.unpack_from("<I", buffer, position)[0]


def vector(buffer: bytes, table: int, number: int) -> bytes:
    start = follow(buffer, field(buffer, table, number))
    (length,) = struct.unpack_from("<I", buffer, start)
    return buffer[start + 4 : start + 4 + length]


def aligned(number: int) -> int:
    return (number + 15) & ~15


def extract_input_radix(path: str) -> int:
    with open(path, "rb") as file:
        buffer = file.read()
    root = follow(buffer, 0)
    header, binary = (follow(buffer, field(buffer, root, number)) for number in (1, 3))
    (target,) = struct.unpack_from("<i", buffer, field(buffer, header, 1))
    assert target == 1, "[Error] Require 720 NEF model"
    print("Toolchain ver=", vector(buffer, header, 6).decode())
    info, everything = vector(buffer, binary, 0), vector(buffer, binary, 1)
    assert struct.unpack_from("<I", info)[0] == 1, "[Error] This example not support multiple model NEF"
    model = struct.unpack_from("<14I", info, 4)
    setup = aligned(model[9]) + aligned(model[11])
    record = struct.unpack_from("<15I", everything, setup)
    assert record[0] == 0x8EB5A462, "Invalid setup.bin format"
    assert record[13] == 1
    return struct.unpack_from("<10I", everything, setup + 60)[8]


def convert_numpy_to_rgba_and_width_align_4(data: np.ndarray) -> bytes:
    height, width, channel = data.shape
    aligned_data = np.zeros((height, 4 * math.ceil(width / 4.0), 4), dtype=np.int8)
    aligned_data[:height, :width, :channel] = data
    return aligned_data.flatten().tobytes()


parser = argparse.ArgumentParser()
parser.add_argument("-p", "--port_id", default=0, type=int)
parser.add_argument("model")
parser.add_argument("image")
parser.add_argument("output")
args = parser.parse_args()

device_group = connect([args.port_id], 5000)
assert kp.core.get_version() == "1.3.0", f"Only verified on PLUS version 1.3.0, but got {kp.core.get_version()}"
model_nef_descriptor = upload(device_group, args.model)
radix = extract_input_radix(args.model)
print(f"radix {radix}")

width, height = model_nef_descriptor.models[0].width, model_nef_descriptor.models[0].height
img_input = np.load(args.image)[:height, :width, ::-1] / 256.0
img_input -= 0.5
img_input *= 1 << radix
img_buffer = convert_numpy_to_rgba_and_width_align_4(img_input)
header = kp.GenericRawBypassPreProcImageHeader(
    model_id=model_nef_descriptor.models[0].id, image_buffer_size=len(img_buffer), inference_number=0
)
try:
    kp.inference.generic_raw_inference_bypass_pre_proc_send(
        device_group=device_group, generic_raw_image_header=header, image_buffer=img_buffer
    )
    result = kp.inference.generic_raw_inference_bypass_pre_proc_receive(
        device_group=device_group, generic_raw_image_header=header, model_nef_descriptor=model_nef_descriptor
    )
except kp.ApiKPException as exception:
    print(f" - Error: inference failed, error = {exception}")
    exit(0)
save(args.output, float_nodes(result))
