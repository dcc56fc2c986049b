"""Classes of pictures in batches, one of which is filled while another is computed; the spelling of later releases."""

import numpy as np
from arguments import batch, files_of, parser, show_classes
from openvino.inference_engine import IECore, IENetwork

options = parser()
options.add_argument("-b", "--batch", type=int, default=2)
options.add_argument("-nireq", "--requests", type=int, default=2)
args = options.parse_args()

core = IECore()
model_xml, model_bin = files_of(args.model)
net = IENetwork(model=model_xml, weights=model_bin)
supported = core.query_network(net, args.device)
assert not [name for name in net.layers if name not in supported]
input_blob = next(iter(net.inputs))
out_blob = next(iter(net.outputs))
net.batch_size = args.batch
shape = net.inputs[input_blob].shape
exec_net = core.load_network(network=net, device_name=args.device, num_requests=args.requests)
del net

groups = [args.input[first : first + args.batch] for first in range(0, len(args.input), args.batch)]
results = [None] * len(groups)
called = []
pending = {}
for number, group in enumerate(groups):
    images = batch(group, (len(group), *shape[1:]))
    request_id = number % args.requests
    request = exec_net.requests[request_id]
    if request_id in pending:
        assert request.wait() == 0
        results[pending.pop(request_id)] = request.outputs[out_blob]
    request.set_completion_callback(lambda status, data: called.append((data, status)), number)
    buffer = request.inputs[input_blob]
    buffer[: len(group)] = images
    request.async_infer()
    pending[request_id] = number
for request_id, number in pending.items():
    assert exec_net.requests[request_id].wait() == 0
    results[number] = exec_net.requests[request_id].outputs[out_blob]

rows = np.concatenate([result[: len(group)] for result, group in zip(results, groups, strict=True)])
show_classes(args.input, rows)
print("called", sorted(called))
handle = exec_net.start_async(request_id=0, inputs={input_blob: batch(groups[0], (len(groups[0]), *shape[1:]))})
handle.wait()
print("again", bool((handle.outputs[out_blob] == results[0]).all()))
np.savez(args.output, result=rows)
