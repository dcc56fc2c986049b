"""A thread that sends and a thread that receives, which share one header."""

import argparse
import queue
import threading

import kp
import numpy as np
from utils.helper import check_json, connect, float_nodes, save, to_bgr565, upload

LOOP_TIME = 100


def _image_send_function(_device_group, _header, _image, _image_format) -> None:
    for _loop in range(LOOP_TIME):
        try:
            _header.inference_number = _loop
            kp.v1.inference.generic_raw_inference_send(
                device_group=_device_group,
                generic_raw_image_header=_header,
                image=_image,
                image_format=_image_format,
            )
        except kp.ApiKPException as exception:
            print(f" - Error: inference failed, error = {exception}")
            exit(0)


def _result_receive_function(_device_group, _header, _model_nef_descriptor, _result_queue) -> None:
    _result = None
    for _loop in range(LOOP_TIME):
        try:
            _result = kp.v1.inference.generic_raw_inference_receive(
                device_group=_device_group,
                generic_raw_image_header=_header,
                model_nef_descriptor=_model_nef_descriptor,
            )
            if _result.header.inference_number != _loop:
                print(f" - Error: incorrect inference_number {_result.header.inference_number} at frame {_loop}")
            print(".", end="", flush=True)
        except kp.ApiKPException as exception:
            print(f" - Error: inference failed, error = {exception}")
            exit(0)
    _result_queue.put(_result)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("-p", "--port_id", default=0, type=int)
    parser.add_argument("model")
    parser.add_argument("image")
    parser.add_argument("output")
    args = parser.parse_args()

    device_group = connect([args.port_id], 5000)
    model_nef_descriptor = upload(device_group, args.model)
    header = kp.v1.GenericRawImageHeader(model_id=model_nef_descriptor.models[0].id)
    result_queue = queue.Queue()
    image = to_bgr565(np.load(args.image))
    send_thread = threading.Thread(
        target=_image_send_function, args=(device_group, header, image, kp.ImageFormat.KP_IMAGE_FORMAT_RGB565)
    )
    receive_thread = threading.Thread(
        target=_result_receive_function, args=(device_group, header, model_nef_descriptor, result_queue)
    )
    send_thread.start()
    receive_thread.start()
    try:
        while send_thread.is_alive():
            send_thread.join(1)
        while receive_thread.is_alive():
            receive_thread.join(1)
    except (KeyboardInterrupt, SystemExit):
        print("\n - Received keyboard interrupt, quitting threads.")
        exit(0)
    try:
        generic_raw_result = result_queue.get(timeout=3)
    except Exception:
        print("Error: Result queue is empty !")
        exit(0)
    print(f"\n - Total inference {LOOP_TIME} images")
    nodes = float_nodes(generic_raw_result)
    check_json(nodes)
    save(args.output, nodes)
