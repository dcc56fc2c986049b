"""Classes of pictures as programs of 2021 have them: a request that its callback starts again, and output blobs."""

import logging as log
import threading

import numpy as np
from arguments import batch, parser, show_classes
from openvino.inference_engine import IECore


class RepeatedRequest:
    """A request that is started again as often as somebody wants, and whoever waits is told at the end."""

    def __init__(self, request, number, count):
        self.request, self.number, self.count = request, number, count
        self.done = 0
        self.ended = threading.Condition()
        self.request.set_completion_callback(self.completed, self.number)

    def completed(self, status, number):
        if number != self.number or status != 0:
            log.error("Request %s ended with status %s", number, status)
        self.done += 1
        if self.done < self.count:
            self.request.async_infer(self.inputs)
        else:
            with self.ended:
                self.ended.notify()

    def execute(self, inputs):
        self.inputs = inputs
        with self.ended:
            self.request.async_infer(inputs)
            self.ended.wait()


args = parser().parse_args()
ie = IECore()
if args.cpu_extension and "CPU" in args.device:
    ie.add_extension(args.cpu_extension, "CPU")
net = ie.read_network(model=args.model, weights=args.model[: -len("xml")] + "bin")
assert len(net.input_info.keys()) == 1, "Sample supports only single input topologies"
assert len(net.outputs) == 1, "Sample supports only single output topologies"
input_blob = next(iter(net.input_info))
out_blob = next(iter(net.outputs))
net.batch_size = len(args.input)
images = batch(args.input, net.input_info[input_blob].input_data.shape)

exec_net = ie.load_network(network=net, device_name=args.device)
infer_request = exec_net.requests[0]
repeated = RepeatedRequest(infer_request, 0, args.number_iter)
repeated.execute({input_blob: images})

res = infer_request.output_blobs[out_blob]
show_classes(args.input, res.buffer)
print("repeated", repeated.done, "dims", *res.tensor_desc.dims)
np.savez(args.output, result=res.buffer)
