"""Every function as a method of Simulator and as one of the module, every parameter class from both places."""

import sys

import numpy as np
import pydantic
import simulator.api
import simulator.schema.base as base
from simulator import api
from simulator.api import Simulator, load_input_data

model, encodings, data = sys.argv[1:]
assert simulator.api is api
for name in (
    "InferenceRunnerParameters",
    "InferenceSessionParameters",
    "InferenceCheckerParameters",
    "LayerwiseCheckerParameters",
):
    assert getattr(api, name) is getattr(base, name)
    assert issubclass(getattr(base, name), pydantic.BaseModel)

one = {"input_model_path": model, "input_encodings_path": encodings, "input_data_path": data, "use_cuda": False}
two = {"input_model_path": model, "input_encondings_path": encodings, "input_data_path": data, "use_cuda": False}
runs = [
    function(base.InferenceRunnerParameters(**fields))
    for function in (api.run_inference, Simulator.run_inference, Simulator().run_inference)
    for fields in (one, two)
]
for run in runs:
    for sample, tensors in run.items():
        assert all(np.array_equal(array, runs[0][sample][name]) for name, array in tensors.items())

pair = {
    "input_model_path_0": model,
    "input_encodings_path_0": encodings,
    "input_model_path_1": model,
    "input_encodings_path_1": encodings,
    "input_data_path": data,
    "threshold": 100,
    "use_cuda": False,
}
first = api.compare_model_by_inference(api.InferenceCheckerParameters(metric="snr", **pair))
assert first == Simulator.compare_model_by_inference(base.InferenceCheckerParameters(meric="snr", **pair))
pairs = [(name, name) for name in next(iter(first.values()))[1]]
layers = base.LayerwiseCheckerParameters(metric="rmse", layer_match_info=pairs, **pair)
assert api.compare_model_by_layer(layers) == Simulator.compare_model_by_layer(layers)

loaded = load_input_data(data)
assert type(loaded) is type(api.load_input_data(data)) is type(Simulator.load_input_data(data))
print("samples", len(list(loaded)))

for wrong in (dict(one, use_cuda="/some/folder"), {"input_model_path": model, "layerwise_check_name": 3}):
    try:
        base.InferenceRunnerParameters(**wrong)
    except pydantic.ValidationError as error:
        print("refused:", error.errors()[0]["loc"])
    else:
        raise SystemExit(f"accepted: {wrong}")
