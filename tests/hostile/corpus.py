"""What generators damage: compiled networks and device programs, made once."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import instruction_set as isa
import numpy as np
import onnx
from device_clusters import twice_convolved
from device_programs import pointwise
from network_files import digits_model, graph_model
from onnx import TensorProto, helper
from open_networks import convolutional, open_model

from tilewright.codegen.package import Package
from tilewright.compiler.driver import build
from tilewright.compiler.options import CompileOptions
from tilewright.runtime.artifact.artifact import Artifact
from tilewright.runtime.artifact.container import Section, SectionKind
from tilewright.runtime.machines import machine

from .forgery import TRAP


def network(*nodes: onnx.NodeProto, channels: int = 4, **arrays: np.ndarray) -> bytes:
    """A model of one image f32[1, channels, 6, 6]; nodes are named after what they make."""
    for node in nodes:
        node.name = node.output[0]
    inputs = [("x", TensorProto.FLOAT, [1, channels, 6, 6])]
    return graph_model(nodes, inputs, ("y",), arrays).SerializeToString()


def _weights(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.5, 0.5, shape).astype(np.float32)


@cache
def models() -> dict[str, bytes]:
    """Small networks that use different instructions of the accelerator, with steps for the CPU beside them."""
    node = helper.make_node
    return {
        "residual": network(
            node("Conv", ["x", "w"], ["a"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
            node("Relu", ["a"], ["b"]),
            node("Add", ["b", "x"], ["c"]),
            node("Softmax", ["c"], ["y"], axis=1),
            w=_weights(4, 4, 3, 3),
        ),
        "depthwise": network(
            node("Conv", ["x", "w"], ["a"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], group=4),
            node("HardSwish", ["a"], ["b"]),
            node("GlobalAveragePool", ["b"], ["y"]),
            w=_weights(4, 1, 3, 3),
        ),
        "resize": network(
            node("Conv", ["x", "w"], ["c"], kernel_shape=[1, 1]),
            node("MaxPool", ["c"], ["a"], kernel_shape=[2, 2], strides=[2, 2]),
            node("Resize", ["a", "", "scales"], ["b"], mode="nearest", coordinate_transformation_mode="asymmetric"),
            node("Concat", ["b", "c"], ["y"], axis=1),
            w=_weights(8, 4, 1, 1),
            scales=np.array([1, 1, 2, 2], np.float32),
        ),
        "dense": network(
            node("Flatten", ["x"], ["a"]),
            node("Gemm", ["a", "w"], ["b"]),
            node("Tanh", ["b"], ["y"]),
            w=_weights(144, 10),
        ),
    }


_ON_DEVICE = {"residual": "a", "depthwise": "a", "resize": "ca", "dense": "b"}
"""Nodes of these networks that the accelerator shall run."""


@cache
def package(name: str) -> Package:
    """A network of :func:`models`, for all engines, with object code that nobody may run."""
    # Networks so small are quicker on the CPU.
    on_device = dict.fromkeys(_ON_DEVICE[name], "device")
    options = CompileOptions(precision="int8", calibration="random", calibration_limit=2, affinity=on_device)
    return replace_code(build(models()[name], options))


@cache
def digits_package() -> Package:
    """The demo's network, for all engines."""
    options = CompileOptions(precision="int8", calibration="random", calibration_limit=2)
    return replace_code(build(digits_model().SerializeToString(), options))


def replace_code(made: Package) -> Package:
    """The package with object code that traps."""
    sections = [part._replace(data=TRAP) if part.kind is SectionKind.CODE else part for part in made.sections]
    return replace(made, sections=sections)


@cache
def shapes_package() -> Package:
    """A network of two shapes, for all engines."""
    options = CompileOptions(
        precision="int8",
        calibration="random",
        calibration_limit=2,
        affinity={"c0": "device", "c1": "device"},
        input_shapes={"batch": [1, 2]},
    )
    return replace_code(build(convolutional(channels=4), options))


@cache
def selecting_package() -> Package:
    """A network of two shapes whose data decide extents of two outputs."""
    node = helper.make_node
    nodes = [
        node("NonZero", ["x"], ["found"]),
        node("Transpose", ["found"], ["positions"], perm=[1, 0]),
        node("GatherND", ["x", "positions"], ["values"]),
        node("Mul", ["values", "values"], ["squares"]),
    ]
    content = open_model(nodes, [("x", ["rows", 5])], ["squares"], {})
    model = onnx.load_from_string(content)
    model.graph.output.append(helper.make_tensor_value_info("positions", TensorProto.INT64, None))
    return replace_code(build(model, CompileOptions(input_shapes={"rows": [3, 4]})))


def packages() -> list[Package]:
    """All of them that have one shape."""
    return [*map(package, models()), digits_package()]


def sections(made: Package, changed: dict[str, bytes]) -> list[Section]:
    """The sections of a package, some with another content."""
    return [Section(p.name, p.kind, changed[p.name]) if p.name in changed else p for p in made.sections]


@cache
def device_programs() -> list[tuple[isa.Program, bytes]]:
    """Six device programs, one of two clusters, with the contents of their constant region."""
    found: list[tuple[isa.Program, bytes]] = []
    for program in (pointwise(machine.load("s256"), 4), twice_convolved(machine.load("m4096"), 2)):
        size = next(region.size for region in program.regions if region.name == "constants")
        found.append((program, np.random.default_rng(0).integers(0, 256, size, np.uint8).tobytes()))
    for made in packages():
        artifact = Artifact.open(made.to_bytes())
        for info in artifact.manifest.device_programs.values():
            program = isa.Program.from_bytes(artifact.copy(info.instructions))
            found.append((program, bytes(artifact.section(info.weights))))
    return found
