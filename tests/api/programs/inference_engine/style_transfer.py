"""Pictures to pictures: what the network gives is cut to 0 to 255 and written beside this file."""

import os

import cv2
import numpy as np
from arguments import batch, check_layers, files_of, parser
from openvino.inference_engine import IENetwork, IEPlugin

options = parser()
for name, default in (("mean_val_r", 0), ("mean_val_g", 0), ("mean_val_b", 0)):
    options.add_argument("--" + name, type=float, default=default)
args = options.parse_args()
plugin = IEPlugin(device=args.device, plugin_dirs=args.plugin_dir)
if args.cpu_extension and "CPU" in args.device:
    plugin.add_cpu_extension(args.cpu_extension)
net = IENetwork.from_ir(*files_of(args.model))
check_layers(plugin, net)
input_blob = next(iter(net.inputs))
out_blob = next(iter(net.outputs))
net.batch_size = len(args.input)
n, c, h, w = net.inputs[input_blob]
images = batch(args.input, (n, c, h, w))
exec_net = plugin.load(network=net)
del net
res = exec_net.infer(inputs={input_blob: images})[out_blob]
np.savez(args.output, result=res, images=images)
for number, data in enumerate(res):
    data = np.swapaxes(data, 0, 2)
    data = np.swapaxes(data, 0, 1)
    data += np.array([args.mean_val_b, args.mean_val_g, args.mean_val_r])
    data[data < 0] = 0
    data[data > 255] = 255
    out_img = os.path.join(os.path.dirname(__file__), f"out_{number}.bmp")
    cv2.imwrite(out_img, data)
    print(f"Result image was saved to {out_img}")
