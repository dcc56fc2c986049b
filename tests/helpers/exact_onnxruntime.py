"""Sessions of onnxruntime whose integers are those of the ONNX standard on every processor, but next to ties."""

from __future__ import annotations

from pathlib import Path

import onnxruntime


def qdq_session(model: Path) -> onnxruntime.InferenceSession:
    """A session for a model whose operators stand between DequantizeLinear and QuantizeLinear.

    Without VNNI instructions the kernels for it saturate sums of two products, unless told not to; those for QLinear
    operators know nothing of that. Signed activations are then computed in floating point, where a number next to a
    tie may be rounded to the other side; sums may be, whatever the type (`ties.py`).
    """
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
