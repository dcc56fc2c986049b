"""Runs a network with its encodings on the samples of a folder, and shows feature maps."""

import sys

import numpy as np
from simulator.api import Simulator
from simulator.schema.base import InferenceRunnerParameters

model, encodings, data, output = sys.argv[1:5]
layers = sys.argv[5:]

params = InferenceRunnerParameters(
    input_model_path=model,
    input_encodings_path=encodings,
    input_data_path=data,
)
plain = Simulator.run_inference(params)

params = InferenceRunnerParameters(
    input_model_path=model,
    input_encodings_path=encodings,
    input_data_path=data,
    use_cuda=False,
    layerwise_check_name=layers,
)
results = Simulator.run_inference(params)
arrays = {}
for sample, tensors in results.items():
    outputs = list(plain[sample])
    assert list(tensors) == outputs + layers, (list(tensors), outputs, layers)
    for name, array in tensors.items():
        arrays[f"{sample}|{name}"] = array
        print(sample, name, array.shape, array.dtype)
    assert all(np.array_equal(plain[sample][name], tensors[name]) for name in outputs)
np.savez(output, **arrays)
