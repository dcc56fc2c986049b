"""Real networks of images as models of containers, by hand: ``TILEWRIGHT_DATA=FOLDER pytest -m sweep``."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from kp_interfaces import check_engines, expected_integers

import tilewright
from tilewright.compiler.containers.container import compile_container
from tilewright.errors import UnsupportedError

DATA = os.environ.get("TILEWRIGHT_DATA")
MODELS = sorted(file.name for file in (Path(DATA) / "models").glob("*.onnx")) if DATA else ["every model"]


@pytest.mark.sweep
@pytest.mark.parametrize("name", MODELS)
def test_engines_agree_and_quantised_networks_keep_their_integers(name: str, data_folder: Path) -> None:
    file = data_folder / "models" / name
    is_quantized = "qdq" in name
    try:
        options = {} if is_quantized else {"calibration": "random", "calibration_limit": 2}
        (model,) = compile_container(file, 1, **options).models
    except UnsupportedError as error:
        pytest.skip(str(error))
    image, found = check_engines(model, 255, spread=0)
    if is_quantized:
        with tilewright.load(tilewright.compile(file), engine="software") as session:
            (spec,) = session.inputs
            real = image.astype(np.float32) / np.float32(2.0 ** model.inputs[0].radix)
            shape = tuple(spec.shape)
            values = session.run({spec.name: real if real.shape == shape else real.transpose(0, 2, 3, 1)})
        for index, node in enumerate(model.outputs):
            assert np.array_equal(found[node.name], expected_integers(values[node.name], model, index))
