"""The class of each pixel, painted into a picture beside this file, with the names that NumPy had until 1.24."""

import os

import cv2
import numpy as np
from arguments import batch, check_layers, files_of, parser
from openvino.inference_engine import IENetwork, IEPlugin

COLOURS = [[0, 0, 0], [128, 64, 128], [232, 35, 244], [70, 70, 70], [156, 102, 102], [153, 153, 190]]

args = parser().parse_args()
plugin = IEPlugin(device=args.device, plugin_dirs=args.plugin_dir)
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
if len(res.shape) == 3:
    res = np.expand_dims(res, axis=1)
if len(res.shape) == 4:
    _, _, out_h, out_w = res.shape
else:
    raise Exception(f"Unexpected output blob shape {res.shape}")
for number, data in enumerate(res):
    classes_map = np.zeros(shape=(out_h, out_w, 3), dtype=np.int)
    for i in range(out_h):
        for j in range(out_w):
            if len(data[:, i, j]) == 1:
                pixel_class = int(data[:, i, j])
            else:
                pixel_class = np.argmax(data[:, i, j])
            classes_map[i, j, :] = COLOURS[min(pixel_class, len(COLOURS) - 1)]
    out_img = os.path.join(os.path.dirname(__file__), f"out_{number}.bmp")
    cv2.imwrite(out_img, classes_map)
    print(f"Result image was saved to {out_img}")
np.savez(args.output, result=res, images=images)
