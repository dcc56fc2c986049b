"""The files that ``tilewright quantize`` writes."""

import json
import os
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from tilewright.errors import CalibrationWarning

from ....ir.quantized import is_wide
from ....ir.types import TensorType
from ....runtime.files.output_file import output_file
from ...driver import Shared, compile_to_file
from ...export import export_by
from ...frontend.formats import Model
from ...options import CompileOptions


def is_exported(output: str | os.PathLike[str]) -> bool:
    """Whether an output is for other runtimes."""
    return Path(output).suffix.lower() in (".onnx", ".xml")


def write_quantized(model: Model, output: str | os.PathLike[str], options: CompileOptions, shared: Shared) -> None:
    """Write an artifact, or a file for other runtimes; samples are not looked at again."""
    if not is_exported(output):
        compile_to_file(model, output, replace(options, precision="int8"), shared)
        return
    with warnings.catch_warnings():
        # They are told already.
        warnings.simplefilter("ignore", CalibrationWarning)
        export_by(model, output, options, "qdq", choices=shared.choices)


def write_encodings(path: str | os.PathLike[str], types: Mapping[str, TensorType]) -> None:
    """Activations of these types as AIMET 1.0.0 has them.

    Raises:
        OutputError: the file cannot be written.
    """
    entries: list[dict[str, object]] = []
    for name, type in types.items():
        assert type.quant is not None
        limits = np.iinfo(type.dtype.numpy)
        shape = {"name": name, "enc_type": "PER_TENSOR", "dtype": "INT", "bw": limits.bits, "is_sym": is_wide(type)}
        entries.append({**shape, "scale": [type.quant.scale[0]], "offset": [limits.min - type.quant.zero_point[0]]})
    text = json.dumps({"version": "1.0.0", "activation_encodings": entries, "param_encodings": []}, indent=2)
    with output_file(path) as file:
        file.write(f"{text}\n".encode())
