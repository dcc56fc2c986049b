"""Activation operators of ONNX."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .export import Exporter


def export_activation(exporter: Exporter, x: str, name: str, args: tuple[float, ...]) -> str:
    """Write a fused float32 activation as nodes; the name of the result."""
    if name == "none":
        return x
    if name == "clip":
        bounds = [exporter.constant(np.asarray(a, np.float32), "bound") for a in args]
        return exporter.node("Clip", [x, *bounds])
    if name == "swish":
        return exporter.node("Mul", [x, exporter.node("Sigmoid", [x])])
    attributes: dict[str, Any] = {}
    if name in ("leaky_relu", "elu"):
        attributes = {"alpha": args[0]}
    elif name == "hard_sigmoid":
        attributes = {"alpha": args[0], "beta": args[1]}
    elif name == "gelu_tanh":
        attributes = {"approximate": "tanh"}
    return exporter.node(_ONNX_NAMES[name], [x], **attributes)


_ONNX_NAMES = {
    "relu": "Relu",
    "leaky_relu": "LeakyRelu",
    "elu": "Elu",
    "sigmoid": "Sigmoid",
    "hard_sigmoid": "HardSigmoid",
    "hard_swish": "HardSwish",
    "tanh": "Tanh",
    "softplus": "Softplus",
    "mish": "Mish",
    "gelu": "Gelu",
    "gelu_tanh": "Gelu",
}
