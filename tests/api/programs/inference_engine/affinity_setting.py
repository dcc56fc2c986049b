"""Gives layers to devices by hand, some of them to one that may not be there, and shows where they went."""

import glob
import logging as log
import sys

import numpy as np
from arguments import batch, check_layers, files_of, parser, show_classes, show_counts
from openvino.inference_engine import IENetwork, IEPlugin

options = parser()
options.set_defaults(device="HETERO:CPU,GPU")
options.add_argument("--give", default="Convolution=GPU")
args = options.parse_args()
assert args.device.split(":")[0] == "HETERO", "This sample supports only Hetero Plugin"

plugin = IEPlugin(device=args.device, plugin_dirs=args.plugin_dir)
if args.cpu_extension and "CPU" in args.device:
    plugin.add_cpu_extension(args.cpu_extension)
net = IENetwork.from_ir(*files_of(args.model))
check_layers(plugin, net)
net_ops = {layer.type for layer in net.layers.values()}
print("operations", *sorted(net_ops))
input_blob = next(iter(net.inputs))
out_blob = next(iter(net.outputs))
net.batch_size = len(args.input)
n, c, h, w = net.inputs[input_blob]
images = batch(args.input, (n, c, h, w))

plugin.set_config({"TARGET_FALLBACK": args.device.split(":")[1]})
plugin.set_config({"HETERO_DUMP_GRAPH_DOT": "YES"})
plugin.set_initial_affinity(net)
kind, device = args.give.split("=")
for layer in net.layers.values():
    if layer.type == kind:
        layer.affinity = device
print("affinities", *sorted({layer.affinity for layer in net.layers.values() if layer.type == kind}))
exec_net = plugin.load(network=net)
del net
res = exec_net.infer(inputs={input_blob: images})
if args.perf_counts:
    show_counts(exec_net.requests[0].get_perf_counts())
rows, classes = res[out_blob].shape[:2]
print("shape", rows, classes)
show_classes(args.input, res[out_blob])
np.savez(args.output, result=res[out_blob], images=images)
log.info("Graphs representing default and resulting affinities dumped to %s", glob.glob("hetero_*.dot"))
del exec_net
del plugin
sys.exit(0 if len(glob.glob("hetero_affinity*.dot")) and len(glob.glob("hetero_subgraphs*.dot")) else 1)
