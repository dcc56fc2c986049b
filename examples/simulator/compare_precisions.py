"""How many bits a network needs, through the Simulator API: the same network with encodings of 16, 8 and 4 bits.

    python -m tilewright.compat examples/simulator/compare_precisions.py

Encodings are made here as AIMET makes them from samples, with the range from the smallest to the largest value.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from simulator import api

from tilewright.compiler.demo import MODEL, load_digits


def encoding(array: np.ndarray, bits: int, *, symmetric: bool) -> dict[str, object]:
    """An entry for values like those of ``array``: x becomes scale * (clamp(round(x / scale) - offset) + offset)."""
    steps = 2**bits - 1
    if symmetric:
        scale, offset = float(np.abs(array).max()) / (steps // 2), -(steps // 2 + 1)
    else:
        low, high = min(float(array.min()), 0.0), max(float(array.max()), 1e-5)
        scale = (high - low) / steps
        offset = round(low / scale)
    bounds = {"min": scale * offset, "max": scale * (offset + steps)}
    kind = {"bitwidth": bits, "dtype": "int", "is_symmetric": str(symmetric)}
    return {**kind, "scale": scale, "offset": offset, **bounds}


def write(file: Path, activations: dict[str, object], parameters: dict[str, object]) -> str:
    content = {"version": "0.6.1", "activation_encodings": activations, "param_encodings": parameters}
    file.write_text(json.dumps(content))
    return str(file)


def main(folder: Path) -> None:
    digits = load_digits()
    images = digits.prepare(digits.calibration_images)
    data = folder / "samples"
    data.mkdir()
    for index, image in enumerate(digits.prepare(digits.images[:4])):
        np.save(data / f"digit{index}.npy", image[np.newaxis])

    graph = onnx.load(MODEL).graph
    maps = [name for node in graph.node if node.op_type in ("Conv", "Relu", "Gemm") for name in node.output]
    empty = write(folder / "float.encodings", {}, {})
    session = api.get_inference_session(
        api.InferenceSessionParameters(input_model_path=str(MODEL), input_encodings_path=empty)
    )
    print("outputs", [output.name for output in session.get_outputs()])

    # The values on the way, from a run that appends them to the outputs.
    np.save(folder / "calibration.npy", images)
    found = api.run_inference(
        api.InferenceRunnerParameters(
            input_model_path=str(MODEL),
            input_encodings_path=empty,
            input_data_path=str(folder / "calibration.npy"),
            layerwise_check_name=maps,
        )
    )
    seen = {name: np.stack([tensors[name] for tensors in found.values()]) for name in maps}
    weights = {each.name: numpy_helper.to_array(each) for each in graph.initializer if len(each.dims) > 1}
    for bits in (16, 8, 4):
        params = api.LayerwiseCheckerParameters(
            input_model_path_0=str(MODEL),
            input_encodings_path_0=empty,
            input_model_path_1=str(MODEL),
            input_encodings_path_1=write(
                folder / f"int{bits}.encodings",
                {name: [encoding(array, bits, symmetric=False)] for name, array in seen.items()},
                {name: [encoding(array, bits, symmetric=True)] for name, array in weights.items()},
            ),
            input_data_path=str(data),
            metric="snr",
            threshold=30,
            layer_match_info=[(name, name) for name in (maps[0], maps[-1])],
        )
        results = api.compare_model_by_layer(params)
        passed = sum(result[0] for result in results.values())
        first, last = (np.mean([result[1][name] for result in results.values()]) for name in (maps[0], maps[-1]))
        print(f"{bits:2} bits: {first:5.1f} dB after the first layer, {last:5.1f} dB after the last,", end=" ")
        print(f"{passed} of {len(results)} samples pass 30 dB")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(Path(folder))
