"""Compares a quantised network with the one that it was made of, by the outputs."""

import sys

from simulator.api import Simulator
from simulator.schema.base import InferenceCheckerParameters

model, empty, encodings, data = sys.argv[1:]
params = InferenceCheckerParameters(
    input_model_path_0=model,
    input_encodings_path_0=empty,
    input_model_path_1=model,
    input_encodings_path_1=encodings,
    input_data_path=data,
    metric="snr",
    threshold=30,
    use_cuda=False,
)
results = Simulator.compare_model_by_inference(params)
for sample, (passed, values) in results.items():
    print(sample, passed, values)
    assert passed == all(value >= 30 for value in values.values())

# The spelling of the first manual.
params = InferenceCheckerParameters(
    input_model_path0=model,
    input_encondings_path_0=empty,
    input_model_path1=model,
    input_encondings_path_1=encodings,
    input_data_path=data,
    meric="rmse",
    threshold=1e-9,
    use_cuda=False,
)
for sample, (passed, values) in Simulator.compare_model_by_inference(params).items():
    print(sample, passed, values)
    assert not passed and all(value > 0 for value in values.values())

# A network beside itself.
params = InferenceCheckerParameters(
    input_model_path_0=model,
    input_encodings_path_0=encodings,
    input_model_path_1=model,
    input_encodings_path_1=encodings,
    input_data_path=data,
    metric="snr",
    threshold=100,
    use_cuda=False,
)
for passed, values in Simulator.compare_model_by_inference(params).values():
    assert passed and all(value == float("inf") for value in values.values())
