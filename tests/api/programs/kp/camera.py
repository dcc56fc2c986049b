"""A camera: one thread sends as fast as it can, another one receives, and the main thread shows until it has enough."""

import argparse
import threading
import time

import kp
import numpy as np
from utils.helper import connect, float_nodes, to_bgr565, upload
from utils.postprocess import post_process

_LOCK = threading.Lock()
_SEND_RUNNING = True
_RECEIVE_RUNNING = True
_header = kp.v1.GenericRawImageHeader()
_numbers = []
_yolo_result = None
_nodes = None


def _image_send_function(_device_group, _frames, _wait) -> None:
    global _SEND_RUNNING, _RECEIVE_RUNNING
    _frame = 0
    try:
        _header.width, _header.height = _frames[0].shape[1], _frames[0].shape[0]
        while _SEND_RUNNING:
            _header.inference_number = _frame
            kp.v1.inference.generic_raw_inference_send(
                device_group=_device_group,
                generic_raw_image_header=_header,
                image=to_bgr565(_frames[_frame % len(_frames)]),
                image_format=kp.ImageFormat.KP_IMAGE_FORMAT_RGB565,
            )
            _frame += 1
            time.sleep(_wait)
        _RECEIVE_RUNNING = False
    except kp.ApiKPException as exception:
        print(f" - Error: inference failed, error = {exception}")
    _SEND_RUNNING = _RECEIVE_RUNNING = False


def _result_receive_function(_device_group, _model_nef_descriptor) -> None:
    global _yolo_result, _nodes
    while _RECEIVE_RUNNING:
        try:
            result = kp.v1.inference.generic_raw_inference_receive(
                device_group=_device_group,
                generic_raw_image_header=_header,
                model_nef_descriptor=_model_nef_descriptor,
            )
        except kp.ApiKPException as exception:
            print(f" - Error: inference failed, error = {exception}")
            exit(0)
        nodes = float_nodes(result)
        found = post_process(nodes, result.header.hw_pre_proc_info, 0.2)
        with _LOCK:
            _numbers.append(result.header.inference_number)
            _yolo_result, _nodes = found, nodes


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("-p", "--port_id", default=0, type=int)
    parser.add_argument("model")
    parser.add_argument("image")
    parser.add_argument("output")
    parser.add_argument("--drop_frames", action="store_true")
    parser.add_argument("--timeout", default=10000, type=int)
    parser.add_argument("--wait", default=0.0, type=float)
    args = parser.parse_args()

    device_group = connect([args.port_id], args.timeout)
    model_nef_descriptor = upload(device_group, args.model)
    if args.drop_frames:
        kp.inference.set_inference_configuration(
            device_group=device_group, inference_configuration=kp.InferenceConfiguration(enable_frame_drop=True)
        )
    _header = kp.v1.GenericRawImageHeader(model_id=model_nef_descriptor.models[0].id)
    image = np.load(args.image)
    send_thread = threading.Thread(target=_image_send_function, args=(device_group, [image, image[::-1]], args.wait))
    receive_thread = threading.Thread(target=_result_receive_function, args=(device_group, model_nef_descriptor))
    send_thread.start()
    receive_thread.start()
    while _SEND_RUNNING and _RECEIVE_RUNNING:
        with _LOCK:
            if len(_numbers) >= 20:
                break
        time.sleep(0.01)
    _SEND_RUNNING = False
    send_thread.join()
    receive_thread.join()
    print(f"received {len(_numbers)} in order {_numbers == sorted(set(_numbers))}, {len(_yolo_result.box_list)} boxes")
    arrays = {f"node{index}": node.ndarray for index, node in enumerate(_nodes)}
    np.savez(args.output, numbers=np.array(_numbers), **arrays)
