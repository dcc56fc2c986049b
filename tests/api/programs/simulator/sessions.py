"""A session with simulated quantisation, used as one of onnxruntime is, in public and in private."""

import sys

import numpy as np
from simulator.api import InferenceSessionParameters, Simulator

model, encodings, samples, output = sys.argv[1:]
params = InferenceSessionParameters(input_model_path=model, input_encodings_path=encodings, use_cuda=False)

session = Simulator.get_inference_session(params)
simulation = Simulator.get_quantization_sim(params)
quantized = simulation.session

given = np.load(samples)
feeds = {}
for each in quantized._inputs_meta:
    print(each.name, each.shape, each.type)
    feeds[each.name] = given.astype(np.float16 if each.type == "tensor(float16)" else np.float32)
    assert tuple(each.shape) == given.shape and all(type(extent) is int for extent in each.shape)
names = [each.name for each in quantized.get_outputs()]
print("outputs", names)
assert [each.name for each in quantized.get_inputs()] == list(feeds)
results = quantized.run(names, feeds)
assert isinstance(results, list) and len(results) == len(names)
assert all(np.array_equal(one, two) for one, two in zip(quantized.run(None, feeds), results, strict=True))
plain = [name.removesuffix("_updated") for name in names]
assert all(np.array_equal(one, two) for one, two in zip(quantized.run(plain, feeds), results, strict=True))
assert all(np.array_equal(one, two) for one, two in zip(session.run(None, feeds), results, strict=True))
np.savez(output, **dict(zip(names, results, strict=True)))
