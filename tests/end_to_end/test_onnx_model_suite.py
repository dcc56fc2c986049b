"""Small networks that come with the onnx package, written by PyTorch long ago, with inputs and outputs.

They are compiled, and run on their kernels.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import tilewright
from tilewright.compiler.driver import compile_to_memory
from tilewright.compiler.options import CompileOptions

DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"
FOLDERS = sorted(file.parent for file in DATA.glob("pytorch-*/*/model.onnx"))


def read(file: Path) -> np.ndarray:
    tensor = onnx.TensorProto()
    tensor.ParseFromString(file.read_bytes())
    return numpy_helper.to_array(tensor)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_stored_outputs(folder: Path) -> None:
    model = onnx.load(folder / "model.onnx")
    with tilewright.load(compile_to_memory(model.SerializeToString(), CompileOptions())) as session:
        for data in folder.glob("test_data_set_*"):
            inputs = {spec.name: read(data / f"input_{index}.pb") for index, spec in enumerate(session.inputs)}
            for index, found in enumerate(session.run(inputs).values()):
                np.testing.assert_allclose(found, read(data / f"output_{index}.pb"), rtol=1e-3, atol=1e-5)


def test_the_suite_is_there() -> None:
    assert len(FOLDERS) > 80
