"""Small networks that come with the onnx package, written by PyTorch long ago, with inputs and outputs.

Those of operator sets that are too old are converted first; then they are compiled, and run on their kernels.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, version_converter

import tilewright
from tilewright.compiler.driver import compile_to_memory
from tilewright.compiler.frontend.onnx.reader import SUPPORTED_OPSETS
from tilewright.compiler.options import CompileOptions

DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"
FOLDERS = sorted(file.parent for file in DATA.glob("pytorch-*/*/model.onnx"))
LEFT_OUT = ("_multiparam",)
"""PRelu before version 7 had one slope for each channel without saying so; the converter does not know."""


def read(file: Path) -> np.ndarray:
    tensor = onnx.TensorProto()
    tensor.ParseFromString(file.read_bytes())
    return numpy_helper.to_array(tensor)


@pytest.mark.parametrize(
    "folder", [f for f in FOLDERS if not f.name.endswith(LEFT_OUT)], ids=lambda folder: folder.name
)
def test_stored_outputs(folder: Path) -> None:
    model = onnx.load(folder / "model.onnx")
    if model.opset_import[0].version < SUPPORTED_OPSETS[0]:
        model = version_converter.convert_version(model, 9)
    with tilewright.load(compile_to_memory(model.SerializeToString(), CompileOptions())) as session:
        for data in folder.glob("test_data_set_*"):
            inputs = {spec.name: read(data / f"input_{index}.pb") for index, spec in enumerate(session.inputs)}
            for index, found in enumerate(session.run(inputs).values()):
                np.testing.assert_allclose(found, read(data / f"output_{index}.pb"), rtol=1e-3, atol=1e-5)


def test_the_suite_is_there() -> None:
    assert len(FOLDERS) > 80
