"""Networks in 8-bit integers as benchmarks and tests look at them: all engines, the reference, onnxruntime.

A network is compiled with one more output where a softmax ends it: what the softmax is applied to, for the
probabilities of a sure network say little about how exact it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import numpy_helper
from real_inputs import Sample

from tilewright.compiler.driver import compile_to_memory
from tilewright.compiler.options import CompileOptions
from tilewright.ir import interp
from tilewright.ir.clone import clone_module
from tilewright.ir.core import Module
from tilewright.passes.base import Pass, Record
from tilewright.passes.instruments import Instrument
from tilewright.passes.quantization.check_accumulator_overflow import CheckAccumulatorOverflow
from tilewright.runtime.artifact.artifact import Artifact
from tilewright.runtime.artifact.manifest import TensorSpec
from tilewright.runtime.report.details import details_of
from tilewright.runtime.report.placement import device_share

Arrays = dict[str, np.ndarray]
Report = Callable[[str, int, int], None]


def silent(stage: str, done: int, total: int) -> None:
    pass


def model_inputs(model: onnx.ModelProto) -> list[TensorSpec]:
    """The inputs, all float32 and of known shape; old files list their weights among them."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return [
        TensorSpec(info.name, "f32", tuple(d.dim_value for d in info.type.tensor_type.shape.dim))
        for info in model.graph.input
        if info.name not in weights
    ]


def with_logits(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose last output is what the softmax at the end is applied to; as it is where none ends the network."""
    edited = onnx.ModelProto()
    edited.CopyFrom(model)
    graph = edited.graph
    softmax = next((node for node in graph.node if node.op_type == "Softmax"), None)
    if softmax is not None:
        info = onnx.ValueInfoProto()
        info.CopyFrom(graph.output[0])
        info.name = softmax.input[0]
        graph.output.append(info)
    return edited


def last(outputs: Mapping[str, np.ndarray]) -> np.ndarray:
    """The logits of a network with them, in one row."""
    return list(outputs.values())[-1].ravel()


def first(outputs: Mapping[str, np.ndarray]) -> np.ndarray:
    """What the network answers, in one row."""
    return next(iter(outputs.values())).ravel()


@dataclass
class KeepModule(Instrument):
    """Keeps what the reference interpreter is to run: the network on quantised types, before placement.

    Attributes:
        module: a copy, once the passes have run.
    """

    module: Module | None = field(default=None)

    def after(self, current: Pass, module: Module, record: Record) -> None:
        if isinstance(current, CheckAccumulatorOverflow):
            self.module = clone_module(module)


@dataclass(frozen=True)
class IntegerNetwork:
    """A network compiled to int8.

    Attributes:
        artifact: with the engines device, software and float.
        quantized: what they compute, for the reference interpreter.
    """

    artifact: Artifact
    quantized: Module

    @property
    def device_share(self) -> float:
        """Share of the multiply-accumulates that the device does, 0 to 1."""
        return device_share(details_of(self.artifact).placement)

    def reference(self, inputs: Arrays) -> Arrays:
        """Outputs by the reference interpreter; seconds for a large network."""
        return interp.run(self.quantized, inputs)


def compile_integer(
    model: onnx.ModelProto, calibration: Sequence[Sample], method: str | None = None, report: Report = silent
) -> IntegerNetwork:
    """Compile to int8 with the options that a user gets.

    Args:
        calibration: samples to derive scales from; none for a model that brings its own.
        method: of deriving them, where it is not to be the default.

    Raises:
        TilewrightError: the network cannot be compiled.
    """
    arrays = {name: np.stack([sample.inputs[name] for sample in calibration]) for name in _names(calibration)}
    keep = KeepModule()
    default = CompileOptions.calibration_method
    options = CompileOptions(
        engines=("device", "software", "float"),
        precision="int8",
        calibration=arrays or None,
        calibration_method=method or default,
        instruments=(keep,),
        report=report,
    )
    artifact = compile_to_memory(model.SerializeToString(), options)
    assert keep.module is not None
    return IntegerNetwork(artifact, keep.module)


def _names(samples: Sequence[Sample]) -> list[str]:
    return list(samples[0].inputs) if samples else []


def equal_bytes(found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> bool:
    """Whether all outputs are the same, bit for bit."""
    return found.keys() == expected.keys() and all(
        found[name].dtype == array.dtype and found[name].tobytes() == array.tobytes()
        for name, array in expected.items()
    )


def same_meaning(expected: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray]) -> bool:
    """Whether outputs made of integers are the same, bit for bit, and a softmax in floating point is within 1e-6.

    The exponential functions of NumPy and of the kernels round differently, so it is only the integers that are defined
    to the last bit.

    Args:
        expected: of the reference interpreter.
    """
    *answers, logits = expected
    return expected[logits].tobytes() == found[logits].tobytes() and all(
        np.allclose(found[name], expected[name], rtol=0, atol=1e-6) for name in answers
    )


def output_scales(model: onnx.ModelProto) -> dict[str, float]:
    """For each output that is made of stored integers: the scale they were multiplied with."""
    arrays = {tensor.name: tensor for tensor in model.graph.initializer}
    makers = {name: node for node in model.graph.node for name in node.output}
    found: dict[str, float] = {}
    for output in model.graph.output:
        node = makers[output.name]
        while node.op_type in ("Reshape", "Flatten", "Squeeze", "Transpose"):
            node = makers[node.input[0]]
        if node.op_type == "DequantizeLinear":
            found[output.name] = float(numpy_helper.to_array(arrays[node.input[1]]).reshape(()))
    return found


def steps_apart(found: np.ndarray, expected: np.ndarray, scale: float) -> np.ndarray:
    """How many integers lie between two dequantised tensors, element by element."""
    return np.rint(np.abs(found.astype(np.float64) - expected.astype(np.float64)) / scale).astype(np.int64)


def signal_to_noise(expected: np.ndarray, found: np.ndarray) -> float:
    """Decibels of the expected values over what differs; infinite if nothing does."""
    noise = float(np.sum((found.astype(np.float64) - expected) ** 2))
    return 10 * float(np.log10(np.sum(expected.astype(np.float64) ** 2) / noise)) if noise else float("inf")
