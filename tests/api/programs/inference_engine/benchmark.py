"""Inferences in a row on idle requests: whoever ends one gives its request back, the callback only for started ones."""

import threading

import numpy as np
from arguments import batch, files_of, parser
from openvino.inference_engine import IECore, IENetwork


class IdleRequests:
    """The requests that nothing is under way in, and how long each inference took."""

    def __init__(self, requests):
        self.requests = requests
        self.idle = list(range(len(requests)))
        self.times = []
        self.changed = threading.Condition()
        for number, request in enumerate(requests):
            request.set_completion_callback(self.called, number)

    def called(self, status, number):
        if status != 0:
            print("failed", number, status)
        self.give_back(number)

    def give_back(self, number):
        with self.changed:
            self.times.append(self.requests[number].latency)
            self.idle.append(number)
            self.changed.notify()

    def take(self):
        with self.changed:
            while len(self.idle) == 0:
                self.changed.wait()
            return self.idle.pop()

    def wait_for_all(self):
        with self.changed:
            while len(self.idle) != len(self.requests):
                self.changed.wait()


options = parser()
options.add_argument("-api", default="async", choices=["sync", "async"])
options.add_argument("-nireq", "--requests", type=int, default=None)
options.add_argument("-b", "--batch", type=int, default=1)
args = options.parse_args()

core = IECore()
net = IENetwork(*files_of(args.model))
shapes = {name: [args.batch, *info.shape[1:]] for name, info in net.inputs.items()}
net.reshape(shapes)
(input_blob,) = shapes
out_blob = next(iter(net.outputs))
net.inputs[input_blob].precision = "U8"
for name in ["CPU"]:
    core.set_config({"CPU_BIND_THREAD": "YES"}, name)
    core.set_config({"CPU_THROUGHPUT_STREAMS": "CPU_THROUGHPUT_AUTO"}, name)
    print("streams", int(core.get_config(name, "CPU_THROUGHPUT_STREAMS")))
exec_net = core.load_network(net, args.device, config={"PERF_COUNT": "YES"}, num_requests=args.requests or 0)
images = batch([args.input[number % len(args.input)] for number in range(args.batch)], shapes[input_blob])

requests = IdleRequests(exec_net.requests)
for _ in range(args.number_iter):
    number = requests.take()
    if args.api == "sync":
        requests.requests[number].infer({input_blob: images})
        requests.give_back(number)
    else:
        requests.requests[number].async_infer({input_blob: images})
requests.wait_for_all()
print("count", len(requests.times), "latencies", min(requests.times) > 0)
used = [request for request in exec_net.requests if request.latency > 0]
np.savez(args.output, result=np.stack([request.outputs[out_blob] for request in used]))
