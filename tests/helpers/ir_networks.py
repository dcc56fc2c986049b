"""Networks for pictures as IR files of version 10, each layer as converters write it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from ir_files import LayerText, write_network

_ELEMENT_TYPES = {"float32": ("FP32", "f32"), "int64": ("I64", "i64")}

BORDERLESS = {"pads_begin": "0,0", "pads_end": "0,0", "auto_pad": "explicit"}


class Opset:
    """Layers of version 10, added one after the other; each call returns the name to read the layer by."""

    def __init__(self) -> None:
        self.layers: list[LayerText] = []

    def parameter(self, name: str, shape: Sequence[int]) -> str:
        data = {"shape": ",".join(map(str, shape)), "element_type": "f32"}
        return self.layer("Parameter", name, (), shape, data)

    def constant(self, name: str, array: np.ndarray) -> str:
        precision, element_type = _ELEMENT_TYPES[array.dtype.name]
        data = {"element_type": element_type, "shape": ",".join(map(str, array.shape))}
        self.layers.append(
            LayerText(name, "Const", (), [array.shape], data, {"custom": array}, "opset1", element_type=precision)
        )
        return name

    def layer(
        self, type: str, name: str, inputs: Sequence[str], shape: Sequence[int], data: Mapping[str, str] | None = None
    ) -> str:
        self.layers.append(LayerText(name, type, inputs, [shape], data or {}, version="opset1"))
        return name

    def convolution(
        self, name: str, source: str, weights: np.ndarray, bias: np.ndarray | None, shape: Sequence[int], stride: int
    ) -> str:
        """A convolution with a border of half the kernel, its bias, and ReLU, each a layer of its own."""
        border, strides = f"{weights.shape[2] // 2},{weights.shape[3] // 2}", f"{stride},{stride}"
        window = {"strides": strides, "dilations": "1,1", "pads_begin": border, "pads_end": border}
        held = self.constant(f"{name}/weights", weights.astype(np.float32))
        found = self.layer("Convolution", name, [source, held], shape, {**window, "auto_pad": "explicit"})
        if bias is not None:
            held = self.constant(f"{name}/bias", bias.astype(np.float32).reshape(1, -1, 1, 1))
            found = self.layer("Add", f"{name}/add", [found, held], shape)
        return self.layer("ReLU", f"{name}/relu", [found], shape)

    def result(self, source: str) -> None:
        self.layers.append(LayerText(f"{source}/sink_port_0", "Result", [source], version="opset1"))

    def write(self, folder: Path, name: str) -> Path:
        """The path of the .xml file."""
        return Path(write_network(folder, self.layers, version=10, name=name)[0])


def picture_network(
    folder: Path, *, name: str = "pictures", batch: int = 1, size: int = 32, classes: int = 12, seed: int = 0
) -> Path:
    """Two convolutions, pooling, the mean of each plane, a product, scores: input ``data``, output ``prob``."""
    rng = np.random.default_rng(seed)
    made = Opset()
    data = made.parameter("data", (batch, 3, size, size))
    weights, bias = rng.standard_normal((16, 3, 3, 3)) / 100, rng.standard_normal(16)
    first = made.convolution("conv1", data, weights, bias, (batch, 16, size, size), 1)
    window = {"strides": "2,2", "kernel": "2,2", "rounding_type": "floor", **BORDERLESS}
    pooled = made.layer("MaxPool", "pool1", [first], (batch, 16, size // 2, size // 2), window)
    weights = rng.standard_normal((24, 16, 3, 3)) / 8
    second = made.convolution("conv2", pooled, weights, None, (batch, 24, size // 4, size // 4), 2)
    axes = made.constant("mean/axes", np.array([2, 3], np.int64))
    mean = made.layer("ReduceMean", "mean", [second, axes], (batch, 24), {"keep_dims": "false"})
    held = made.constant("fc/weights", (rng.standard_normal((24, classes)) / 2).astype(np.float32))
    sides = {"transpose_a": "false", "transpose_b": "false"}
    scores = made.layer("MatMul", "fc", [mean, held], (batch, classes), sides)
    made.result(made.layer("SoftMax", "prob", [scores], (batch, classes), {"axis": "1"}))
    return made.write(folder, name)


def style_network(folder: Path, *, name: str = "style", size: tuple[int, int] = (24, 32)) -> Path:
    """Pictures to pictures: input ``data`` and output ``out``, [1, 3, *size], in part beyond 0 to 255."""
    rng = np.random.default_rng(3)
    made = Opset()
    data = made.parameter("data", (1, 3, *size))
    inner = made.convolution(
        "conv1", data, rng.standard_normal((8, 3, 5, 5)) / 9, rng.standard_normal(8), (1, 8, *size), 1
    )
    held = made.constant("out/weights", (rng.standard_normal((3, 8, 1, 1)) / 2).astype(np.float32))
    window = {"strides": "1,1", "dilations": "1,1", **BORDERLESS}
    made.result(made.layer("Convolution", "out", [inner, held], (1, 3, *size), window))
    return made.write(folder, name)
