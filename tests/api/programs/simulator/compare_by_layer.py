"""Compares two networks layer by layer, with the functions of the module as the older manual has them."""

import os
import sys

from simulator import api

model, empty, encodings, data, maps, *names = sys.argv[1:]
params = api.LayerwiseCheckerParameters(
    input_model_path_0=model,
    input_encodings_path_0=empty,
    input_model_path_1=model,
    input_encodings_path_1=encodings,
    input_data_path=data,
    metric="snr",
    threshold=100,
    use_cuda=False,
    layer_match_info=[(name, name) for name in names],
    export_featuremap=True,
    export_featuremap_path=maps,
)
results = api.compare_model_by_layer(params)
for sample, result in results.items():
    for name in names:
        print(sample, name, result[1][name])
    assert result[0] is False and list(result[1]) == names
exported = [os.path.join(folder, file) for folder, _, files in os.walk(maps) for file in files]
print("feature maps", len(exported))
assert exported

simulation = api.get_quantization_sim(
    api.InferenceSessionParameters(input_model_path=model, input_encodings_path=encodings, use_cuda=False)
)
print([each.name for each in simulation.session.get_outputs()])
plain = api.get_inference_session(api.InferenceSessionParameters(input_model_path=model, input_encodings_path=empty))
print([each.name for each in plain.get_outputs()])
