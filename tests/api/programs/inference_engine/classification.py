"""Classes of pictures, all of them in one batch and one inference after the other."""

import logging as log
from time import time

import numpy as np
from arguments import batch, check_layers, files_of, parser, show_classes, show_counts
from openvino.inference_engine import IENetwork, IEPlugin

args = parser().parse_args()
plugin = IEPlugin(device=args.device, plugin_dirs=args.plugin_dir)
if args.cpu_extension and "CPU" in args.device:
    plugin.add_cpu_extension(args.cpu_extension)
model_xml, model_bin = files_of(args.model)
log.info("Loading network files:\n\t%s\n\t%s", model_xml, model_bin)
net = IENetwork.from_ir(model=model_xml, weights=model_bin)
check_layers(plugin, net)
assert len(net.inputs.keys()) == 1, "Sample supports only single input topologies"
assert len(net.outputs) == 1, "Sample supports only single output topologies"

input_blob = next(iter(net.inputs))
out_blob = next(iter(net.outputs))
net.batch_size = len(args.input)
n, c, h, w = net.inputs[input_blob]
images = batch(args.input, (n, c, h, w))

log.info("Loading model to the plugin")
exec_net = plugin.load(network=net)
del net

infer_time = []
for _ in range(args.number_iter):
    t0 = time()
    res = exec_net.infer(inputs={input_blob: images})
    infer_time.append((time() - t0) * 1000)
log.info("Average running time of one iteration: %s ms", np.average(np.asarray(infer_time)))
if args.perf_counts:
    show_counts(exec_net.requests[0].get_perf_counts())
res = res[out_blob]
show_classes(args.input, res)
np.savez(args.output, result=res, images=images)
del exec_net
del plugin
