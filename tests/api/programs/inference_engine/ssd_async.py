"""Objects in the frames of a video: while one is computed, the objects of the one before are read."""

import sys

import cv2
import numpy as np
from arguments import check_layers, files_of, parser
from openvino.inference_engine import IENetwork, IEPlugin

options = parser()
options.add_argument("-pt", "--prob_threshold", default=0.5, type=float)
options.add_argument("--toggle", type=int, default=-1, help="frame at which the mode changes")
args = options.parse_args()

plugin = IEPlugin(device=args.device, plugin_dirs=args.plugin_dir)
if args.cpu_extension and "CPU" in args.device:
    plugin.add_cpu_extension(args.cpu_extension)
net = IENetwork.from_ir(*files_of(args.model))
check_layers(plugin, net)
input_blob = next(iter(net.inputs))
out_blob = next(iter(net.outputs))
exec_net = plugin.load(network=net, num_requests=2)
n, c, h, w = net.inputs[input_blob]
del net

capture = cv2.VideoCapture(args.input[0])
cur_request_id, next_request_id = 0, 1
is_async_mode = True
found, numbers, statuses = [], [], []
initial_w = capture.get(cv2.CAP_PROP_FRAME_WIDTH)
initial_h = capture.get(cv2.CAP_PROP_FRAME_HEIGHT)
number = 0
computed = {}
while capture.isOpened():
    ret, frame = capture.read()
    if not ret:
        break
    in_frame = cv2.resize(frame, (w, h))
    in_frame = in_frame.transpose((2, 0, 1))
    in_frame = in_frame.reshape((n, c, h, w))
    if number == args.toggle:
        is_async_mode = not is_async_mode
        exec_net.requests[cur_request_id].wait(-1)
        print("mode", "async" if is_async_mode else "sync")
    started = next_request_id if is_async_mode else cur_request_id
    exec_net.start_async(request_id=started, inputs={input_blob: in_frame})
    computed[started] = number
    status = exec_net.requests[cur_request_id].wait(-1)
    statuses.append(status)
    if status == 0:
        res = exec_net.requests[cur_request_id].outputs[out_blob]
        found.append(res)
        numbers.append(computed[cur_request_id])
        for obj in res[0][0]:
            if obj[2] > args.prob_threshold:
                box = int(obj[3] * initial_w), int(obj[4] * initial_h), int(obj[5] * initial_w), int(obj[6] * initial_h)
                print("frame", computed[cur_request_id], "class", int(obj[1]), "box", *box)
    if is_async_mode:
        cur_request_id, next_request_id = next_request_id, cur_request_id
    number += 1
capture.release()
print("statuses", *statuses)
np.savez(args.output, result=np.array(found), numbers=np.array(numbers))
del exec_net
del plugin
sys.exit(0)
