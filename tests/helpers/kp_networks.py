"""Containers of small networks in the integers of the kp API's devices, and what the networks make of inputs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import tilewright
from tilewright.compiler.frontend.formats import import_model
from tilewright.ir.interp import run as interpret
from tilewright.runtime.containers.files import container_bytes
from tilewright.runtime.containers.records import ContainedModel, ContainedTensor

ID = 32769
"""Of the model of `Network.container`."""


def detector(
    height: int = 32, width: int = 40, channels: int = 3, heads: Sequence[int] = (12, 6), seed: int = 0
) -> bytes:
    """A network in the form of a detector: a convolution at half the size, and heads at that size, a quarter, …"""
    rng = np.random.default_rng(seed)
    arrays: dict[str, np.ndarray | np.generic] = {
        "input_scale": np.float32(1 / 256),
        "scale": np.float32(1 / 16),
        "weight_scale": np.float32(1 / 1024),
        "zero": np.int8(0),
        "w": rng.integers(-127, 128, (16, channels, 3, 3)).astype(np.int8),
        "b": rng.integers(-3000, 3000, 16).astype(np.int32),
    }
    first = ["image", "input_scale", "zero", "w", "weight_scale", "zero", "scale", "zero", "b"]
    nodes = [helper.make_node("QLinearConv", first, ["map"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])]
    outputs: list[onnx.ValueInfoProto] = []
    for index, count in enumerate(heads):
        stride, name = 2**index, f"head{index}"
        arrays |= {
            f"w{index}": rng.integers(-127, 128, (count, 16, 1, 1)).astype(np.int8),
            f"b{index}": rng.integers(-500, 500, count).astype(np.int32),
            f"scale{index}": np.float32(1 / scale_of(index)),
        }
        inputs = ["map", "scale", "zero", f"w{index}", "weight_scale", "zero", f"scale{index}", "zero", f"b{index}"]
        nodes.append(helper.make_node("QLinearConv", inputs, [name], kernel_shape=[1, 1], strides=[stride, stride]))
        extents = [math.ceil(math.ceil(extent / 2) / stride) for extent in (height, width)]
        outputs.append(helper.make_tensor_value_info(name, TensorProto.INT8, [1, count, *extents]))
    image = helper.make_tensor_value_info("image", TensorProto.INT8, [1, channels, height, width])
    tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()]
    graph = helper.make_graph(nodes, "detector", [image], outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return model.SerializeToString()


def float_detector(file: Path, size: int = 64, classes: int = 2) -> Path:
    """A network in the form of YOLO in floating point: three boxes a cell, at a half and at a quarter of the size."""
    rng = np.random.default_rng(0)
    channels = 3 * (5 + classes)
    arrays = {
        "w": rng.standard_normal((16, 3, 3, 3)) / 3,
        "b": rng.standard_normal(16) / 10,
        "w0": rng.standard_normal((channels, 16, 1, 1)) * 2,
        "w1": rng.standard_normal((channels, 16, 3, 3)),
    }
    nodes = [
        helper.make_node("Conv", ["image", "w", "b"], ["c"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Conv", ["r", "w0"], ["large"], kernel_shape=[1, 1]),
        helper.make_node("Conv", ["r", "w1"], ["small"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    ]
    shapes = {"large": [1, channels, size // 2, size // 2], "small": [1, channels, size // 4, size // 4]}
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, size, size])
    tensors = [numpy_helper.from_array(array.astype(np.float32), name) for name, array in arrays.items()]
    graph = helper.make_graph(nodes, "detector", [image], outputs, tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), file)
    return file


def scale_of(index: int) -> float:
    """What the integers of a head are divided by: scale * 2 ** radix."""
    return float(np.float32(1.25 + index / 8)) * 2 ** (3 - 2 * index)


@dataclass(frozen=True, eq=False)
class Network:
    """A compiled detector.

    Attributes:
        artifact: its file.
        shape: of its input.
        model: the ONNX file.
    """

    artifact: bytes
    shape: tuple[int, int, int, int]
    session: tilewright.Session
    model: bytes

    def contained(self, id: int = ID, radix: int = 8) -> ContainedModel:
        """As a model of a container."""
        outputs = [
            ContainedTensor(spec.name, spec.shape, 3 - 2 * index, float(np.float32(1.25 + index / 8)), spec.shape)  # pyright: ignore[reportArgumentType]
            for index, spec in enumerate(self.session.outputs)
        ]
        return ContainedModel(
            id, self.artifact, (ContainedTensor("image", self.shape, radix, 1.0, self.shape),), tuple(outputs)
        )

    def container(self, target: str = "KL520", ids: Sequence[int] = (ID,)) -> bytes:
        """A container of it, once for each id."""
        return container_bytes([self.contained(id) for id in ids], target, "tests")

    def run(self, values: np.ndarray) -> list[np.ndarray]:
        """int8[1, C, H, W] of each output for an input, as the session of the artifact gives them."""
        outputs = self.session.run({"image": values})
        return [outputs[spec.name] for spec in self.session.outputs]

    def reference(self, values: np.ndarray) -> list[np.ndarray]:
        """The same by the slow and obvious definitions of the operators."""
        outputs = interpret(import_model(self.model), {"image": values})
        return [outputs[spec.name] for spec in self.session.outputs]


def compile_network(folder: Path, model: bytes) -> Network:
    """Compile a detector; the file stays in the folder."""
    file = folder / "network.twa"
    tilewright.compile(model, output=file)
    session = tilewright.load(file, engine="software")
    batch, channels, height, width = session.inputs[0].shape
    return Network(file.read_bytes(), (batch, channels, height, width), session, model)
