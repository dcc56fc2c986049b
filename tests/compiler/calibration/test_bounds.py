"""Ranges without samples: they hold whatever the input is, and where there are none it is said."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import pytest

import tilewright
from tilewright.compiler.calibration.bounds import ranges_by_bounds
from tilewright.compiler.frontend.formats import import_model
from tilewright.errors import CalibrationError, UsageError
from tilewright.ir import interp

F32 = onnx.TensorProto.FLOAT
PIXELS = "mean=127.5,std=127.5"


def network(rng: np.random.Generator, *nodes: onnx.NodeProto, **shapes: tuple[int, ...]) -> bytes:
    """A network from x to y, with constants of these shapes."""
    arrays = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    arrays |= {"low": np.asarray(np.float32(0)), "high": np.asarray(np.float32(6))}
    ends = onnx.helper.make_tensor_value_info("x", F32, [1, 3, 8, 8]), onnx.helper.make_empty_tensor_value_info("y")
    initializers = [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()]
    graph = onnx.helper.make_graph(nodes, "network", ends[:1], ends[1:], initializers)
    opset = [onnx.helper.make_opsetid("", 13)]
    return onnx.helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()


node = onnx.helper.make_node


@pytest.fixture
def model(rng: np.random.Generator) -> bytes:
    nodes = [
        node("Conv", ["x", "w0", "b"], ["c0"], pads=[1] * 4),
        node("Clip", ["c0", "low", "high"], ["r0"]),
        node("Conv", ["r0", "w1"], ["c1"], group=4, strides=[2, 2], pads=[0, 0, 1, 1]),
        node("Add", ["c1", "s"], ["s1"]),
        node("Relu", ["s1"], ["r1"]),
        node("MaxPool", ["r1"], ["m"], kernel_shape=[2, 2]),
        node("Conv", ["m", "w2"], ["c2"]),
        node("Add", ["m", "c2"], ["s2"]),
        node("Sigmoid", ["s2"], ["g"]),
        node("Mul", ["g", "s2"], ["p"]),
        node("Concat", ["p", "m"], ["j"], axis=1),
        node("AveragePool", ["j"], ["a"], kernel_shape=[2, 2]),
        node("Flatten", ["a"], ["f"]),
        node("Gemm", ["f", "v", "d"], ["y"]),
    ]
    shapes = {"w0": (8, 3, 3, 3), "b": (8,), "w1": (8, 2, 3, 3), "s": (8, 1, 1), "w2": (8, 8, 1, 1)}
    return network(rng, *nodes, **shapes, v=(64, 5), d=(5,))


def test_no_value_leaves_its_bounds(rng: np.random.Generator, model: bytes) -> None:
    module = import_model(model)
    values = {value.name: value for op in module.main.ops for value in op.results}
    ranges = ranges_by_bounds(module.main, values, {"x": (-1.0, 1.0)})
    seen: dict[str, list[np.ndarray]] = {name: [] for name in values}

    def observe(op: Any, arrays: Any) -> None:
        for value, array in zip(op.results, arrays, strict=True):
            seen[value.name].append(array)

    for index in range(20):
        x = rng.uniform(-1, 1, (1, 3, 8, 8)).astype(np.float32)
        interp.run(module, {"x": np.sign(x) if index % 2 else x}, observe=observe)
    for name, (low, high) in ranges.items():
        every = np.stack(seen[name])
        assert low - 1e-4 <= every.min() and every.max() <= high + 1e-4, name
    assert ranges["r0"] == (0, 6)


def test_the_bounds_of_a_convolution_are_reached(rng: np.random.Generator) -> None:
    module = import_model(network(rng, node("Conv", ["x", "w"], ["y"]), w=(1, 3, 8, 8)))
    ranges = ranges_by_bounds(module.main, {"y": module.main.results[0]}, {"x": (-1.0, 2.0)})
    weights = next(iter(module.constants.values())).array
    x = np.where(weights > 0, 2, -1).astype(np.float32)
    assert interp.run(module, {"x": x})["y"].item() == pytest.approx(ranges["y"][1], rel=1e-6)


def test_a_network_is_compiled_without_samples(rng: np.random.Generator, model: bytes) -> None:
    options = {"wide": ["all"], "methods": "additions", "engines": "software,float"}
    artifact = tilewright.compile(model, calibration="bounds", preprocessing=PIXELS, **options)
    x = {"x": rng.uniform(-1, 1, (1, 3, 8, 8)).astype(np.float32)}
    with tilewright.load(artifact, engine="software") as wide, tilewright.load(artifact, engine="float") as exact:
        expected = exact.run(x)["y"]
        assert np.abs(wide.run(x)["y"] - expected).max() < 0.03 * np.abs(expected).max()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "calibration: calibration by bounds leaves 8 bits too few levels; expected activations of 16 bits"),
        ({"wide": ["all"], "methods": "all"}, "methods look at samples; found inputs, channels, products, rounding"),
        ({"wide": ["all"], "weights_bits": 4}, "methods look at samples; found 4 bits"),
        ({"wide": ["all"], "preprocessing": None}, "nothing tells the ranges of the inputs. Say with --preprocess"),
    ],
)
def test_what_needs_samples_is_refused(model: bytes, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        tilewright.compile(model, calibration="bounds", **{"preprocessing": PIXELS, **options})


def test_bounds_that_say_nothing_are_refused(rng: np.random.Generator, model: bytes) -> None:
    module = import_model(model)
    values = {"c0": next(v for op in module.main.ops for v in op.results if v.name == "c0")}
    with pytest.raises(
        CalibrationError, match=r"%c0: what a value can be at most .* below 65536, found .*Give samples"
    ):
        ranges_by_bounds(module.main, values, {"x": (-1e9, 1e9)})
    odd = import_model(
        network(rng, node("Sin", ["x"], ["s"], name="wave"), node("Conv", ["s", "w"], ["y"]), w=(1, 3, 8, 8))
    )
    with pytest.raises(CalibrationError, match="node 'wave': nothing tells the range of a value without samples"):
        ranges_by_bounds(odd.main, {"y": odd.main.results[0]}, {"x": (-1.0, 1.0)})
