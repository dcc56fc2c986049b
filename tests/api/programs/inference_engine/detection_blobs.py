"""Objects in pictures of any size, in the spelling of 2021: each picture is a blob of its own, for whichever request is
idle; the network changes its size and subtracts means."""

import logging as log

import cv2
import numpy as np
from arguments import parser
from openvino.inference_engine import Blob, IECore, MeanVariant, ResizeAlgorithm, StatusCode, TensorDesc

options = parser()
options.add_argument("-nireq", "--requests", type=int, default=2)
args = options.parse_args()

ie = IECore()
for device in ie.available_devices:
    for metric in ie.get_metric(device, "SUPPORTED_METRICS"):
        log.info("%s %s: %s", device, metric, ie.get_metric(device, metric))
net = ie.read_network(args.model)
input_blob = next(iter(net.input_info))
out_blob = next(iter(net.outputs))
net.input_info[input_blob].precision = "U8"
net.outputs[out_blob].precision = "FP32"
info = net.input_info[input_blob].preprocess_info
info.resize_algorithm = ResizeAlgorithm.RESIZE_BILINEAR
info.init(3)
for channel, mean in enumerate((104, 117, 123)):
    info[channel].mean_value = mean
info.mean_variant = MeanVariant.MEAN_VALUE
exec_net = ie.load_network(net, args.device, num_requsts=args.requests)
assert len(exec_net.requests) == args.requests

results = [None] * len(args.input)
under_way = {}


def take(request_id):
    status = exec_net.requests[request_id].wait()
    assert status == StatusCode.OK, status
    results[under_way.pop(request_id)] = exec_net.requests[request_id].output_blobs[out_blob].buffer


for number, path in enumerate(args.input):
    pixels = cv2.imread(path)
    request_id = exec_net.get_idle_request_id()
    if request_id < 0:
        assert exec_net.wait(num_requests=1) == StatusCode.OK
        request_id = exec_net.get_idle_request_id()
    if request_id in under_way:
        take(request_id)
    blob = Blob(TensorDesc("U8", [1, 3, *pixels.shape[:2]], "NHWC"), pixels)
    exec_net.requests[request_id].set_blob(input_blob, blob)
    exec_net.requests[request_id].async_infer()
    under_way[request_id] = number
for request_id in list(under_way):
    take(request_id)
print("rows", sum(int((result[0, 0, :, 2] > 0.5).sum()) for result in results))
np.savez(args.output, result=np.concatenate(results))
