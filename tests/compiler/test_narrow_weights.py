"""Weights of 4 bits: rounded as is learnt, layer after layer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import pytest

import tilewright
from tilewright.__main__ import main
from tilewright.compiler.calibration.windows import at_windows, is_product, results_at, rows_of_weights, windows
from tilewright.compiler.demo import MODEL, load_digits
from tilewright.compiler.frontend.formats import import_model
from tilewright.compiler.options import CompileOptions
from tilewright.compiler.quantization import layer_walk, learn_rounding
from tilewright.compiler.quantization.layer_walk import Arrays, Chosen, convolved, walk
from tilewright.compiler.quantization.learn_rounding import Problem, best_steps, layers_to_learn, learn_weights
from tilewright.compiler.quantization.look_ahead import Ahead, Patches, look_ahead
from tilewright.compiler.quantization.quantize import quantize_module
from tilewright.compiler.quantization.round_weights import real_weights, set_rounded
from tilewright.ir import interp
from tilewright.ir.core import Constant, Module, Op, is_op
from tilewright.ir.ops.convolution import Conv
from tilewright.passes.quantization.plan import plan_quantization

F32 = onnx.TensorProto.FLOAT
LIMITS = (-8, 7)


@pytest.mark.parametrize(
    ("channels", "outputs", "group", "strides", "pads", "dilations"),
    [
        (6, 4, 1, (1, 1), (0, 0, 0, 0), (1, 1)),
        (6, 12, 6, (2, 1), (1, 0, 2, 1), (1, 1)),
        (6, 4, 2, (1, 3), (1, 2, 1, 2), (2, 1)),
    ],
)
def test_a_convolution_in_single_precision_is_the_reference(
    rng: np.random.Generator,
    channels: int,
    outputs: int,
    group: int,
    strides: tuple[int, ...],
    pads: tuple[int, ...],
    dilations: tuple[int, ...],
) -> None:
    conv = Conv(strides, pads, dilations, group)
    x = rng.standard_normal((2, channels, 9, 11)).astype(np.float32)
    w = rng.standard_normal((outputs, channels // group, 3, 2)).astype(np.float32)
    b = rng.standard_normal(outputs).astype(np.float32)
    np.testing.assert_allclose(convolved(conv, x, w, b), conv.reference(x, w, b, None), rtol=0, atol=2e-5)


def test_learnt_rounding_is_better_than_to_the_nearest(rng: np.random.Generator) -> None:
    inputs = (rng.standard_normal((1, 2000, 24)) @ rng.standard_normal((24, 24))).astype(np.float32)
    weights = rng.standard_normal((1, 8, 24)).astype(np.float32)
    steps = best_steps(weights, *LIMITS)
    wanted, bias = inputs @ np.swapaxes(weights, 1, 2), np.zeros((1, 1, 8), np.float32)
    problem = Problem(inputs, inputs, wanted, weights, steps, bias, LIMITS, Ahead((0.0, np.inf)))
    found, shift = problem.solved(np.random.default_rng(0))
    again, _ = problem.solved(np.random.default_rng(0))
    assert found.tobytes() == again.tobytes()
    assert (found == np.rint(found)).all() and LIMITS[0] <= found.min() and found.max() <= LIMITS[1]
    nearest = np.clip(np.rint(weights / steps), *LIMITS)
    assert np.abs(found - weights / steps).max() < 2

    def error(integers: np.ndarray, bias: np.ndarray) -> float:
        results = inputs @ np.swapaxes(integers * steps, 1, 2) + bias
        return float(np.square(np.maximum(results, 0) - np.maximum(wanted, 0)).sum())

    assert error(found, shift) < 0.6 * error(nearest, bias)


def test_inputs_in_floating_point_make_what_is_learnt_of_few_windows_hold_for_others(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixed = rng.standard_normal((48, 48)).astype(np.float32)
    reals = rng.standard_normal((1, 2100, 48)).astype(np.float32) @ mixed
    inputs = reals + rng.standard_normal(reals.shape).astype(np.float32)
    weights = rng.standard_normal((1, 16, 48)).astype(np.float32)
    steps, wanted = best_steps(weights, *LIMITS), reals @ np.swapaxes(weights, 1, 2)
    bias, known, others = np.zeros((1, 1, 16), np.float32), slice(0, 100), slice(100, None)
    problem = Problem(inputs[:, known], reals[:, known], wanted[:, known], weights, steps, bias, LIMITS, Ahead())

    def error(share: float) -> float:
        monkeypatch.setattr(learn_rounding, "REAL", share)
        integers, shift = problem.solved(np.random.default_rng(0))
        found = inputs[:, others] @ np.swapaxes(integers * steps, 1, 2) + shift
        return float(np.square(found - wanted[:, others]).mean())

    assert error(learn_rounding.REAL) < 0.95 * error(0.0)


def test_errors_that_the_activation_clamps_count_where_few_windows_show_a_channel(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixed = rng.standard_normal((48, 48)).astype(np.float32)
    inputs = rng.standard_normal((1, 2400, 48)).astype(np.float32) @ mixed
    weights = rng.standard_normal((1, 16, 48)).astype(np.float32)
    steps, linear = best_steps(weights, *LIMITS), inputs @ np.swapaxes(weights, 1, 2)
    bias = -1.5 * linear.std((0, 1)).reshape(1, 1, 16)
    wanted, known, others = linear + bias, slice(0, 400), slice(400, None)
    first = inputs[:, known]
    problem = Problem(first, first, wanted[:, known], weights, steps, bias, LIMITS, Ahead((0.0, np.inf)))

    def error(share: float) -> float:
        monkeypatch.setattr(learn_rounding, "CLAMPED", share)
        integers, shift = problem.solved(np.random.default_rng(0))
        found = inputs[:, others] @ np.swapaxes(integers * steps, 1, 2) + shift
        return float(np.square(np.maximum(found, 0) - np.maximum(wanted[:, others], 0)).mean())

    assert error(learn_rounding.CLAMPED) < 0.85 * error(0.0)


@pytest.mark.parametrize(("scale", "shift"), [(0.0, 0.5), (1.0, -100.0), (1e-20, 0.0)])
def test_layers_that_rounding_does_nothing_to_are_rounded_to_the_nearest(
    rng: np.random.Generator, scale: float, shift: float
) -> None:
    inputs = rng.standard_normal((1, 300, 24)).astype(np.float32)
    weights = (scale * rng.standard_normal((1, 8, 24))).astype(np.float32)
    steps, bias = best_steps(weights, *LIMITS), np.full((1, 1, 8), shift, np.float32)
    wanted = inputs @ np.swapaxes(weights, 1, 2) + bias
    found, made = Problem(inputs, inputs, wanted, weights, steps, bias, LIMITS, Ahead((0.0, np.inf))).solved(rng)
    np.testing.assert_array_equal(found, np.clip(np.rint(weights / steps), *LIMITS))
    np.testing.assert_array_equal(made, bias)


def convolutions(*layers: tuple[int, int, int]) -> bytes:
    """Convolutions of so many inputs, outputs, and windows of so many rows, behind each other."""
    rng = np.random.default_rng(0)
    nodes, arrays = [], []
    for index, (inputs, outputs, size) in enumerate(layers):
        weights = rng.standard_normal((outputs, inputs, size, size)).astype(np.float32)
        arrays.append(onnx.numpy_helper.from_array(weights, f"w{index}"))
        nodes.append(onnx.helper.make_node("Conv", [f"c{index}", f"w{index}"], [f"c{index + 1}"]))
    ends = ("c0", F32, [1, layers[0][0], 16, 16]), (f"c{len(layers)}", F32, [1, layers[-1][1], None, None])
    given = onnx.helper.make_tensor_value_info(*ends[0])
    made = onnx.helper.make_tensor_value_info(*ends[1])
    graph = onnx.helper.make_graph(nodes, "convolutions", [given], [made], arrays)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)]).SerializeToString()


def test_the_smallest_layers_of_two_in_a_hundred_weights_keep_8_bits() -> None:
    module = import_model(convolutions((3, 16, 1), (16, 18, 1), (18, 64, 3), (64, 17, 1), (17, 32, 5), (32, 9, 1)))
    found = [op for op in module.main.ops if is_op(op, Conv)]
    sizes = [int(np.prod(op.operands.w.type.shape)) for op in found]
    assert sizes[1] <= 0.02 * sum(sizes) < sizes[1] + sizes[3]
    assert layers_to_learn([op for op in found if is_product(op)]) == found[2:5]


def test_what_is_learnt_from_are_results_at_the_windows(rng: np.random.Generator) -> None:
    w = rng.standard_normal((4, 3, 3, 2)).astype(np.float32)
    node = onnx.helper.make_node("Conv", ["x", "w"], ["y"], group=2, strides=[2, 1], pads=[1, 0, 2, 1])
    given = onnx.helper.make_tensor_value_info("x", F32, [2, 6, 9, 11])
    made = onnx.helper.make_tensor_value_info("y", F32, [2, 4, None, None])
    graph = onnx.helper.make_graph([node], "one", [given], [made], [onnx.numpy_helper.from_array(w, "w")])
    opset = [onnx.helper.make_opsetid("", 17)]
    module = import_model(onnx.helper.make_model(graph, opset_imports=opset).SerializeToString())
    (op,) = (op for op in module.main.ops if is_op(op, Conv))
    x = rng.standard_normal((2, 6, 9, 11)).astype(np.float32)
    y = op.operator.reference(x, w, None, None)
    expected = windows(op, x, 3, 20).transpose(1, 0, 2) @ np.swapaxes(rows_of_weights(op, w), 1, 2)
    np.testing.assert_allclose(at_windows(op, y, 3, 20).transpose(1, 0, 2), expected, rtol=0, atol=1e-4)


def test_a_layer_is_to_make_what_the_sum_that_reads_it_lacks_elsewhere(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layer_walk, "IN_HALF", (1.0, 0.0))
    weights = [rng.standard_normal(shape).astype(np.float32) for shape in ((8, 3, 1, 1), (8, 8, 1, 1))]
    arrays = [onnx.numpy_helper.from_array(each, f"w{index}") for index, each in enumerate(weights)]
    nodes = [
        onnx.helper.make_node("Conv", ["x", "w0"], ["a"]),
        onnx.helper.make_node("Conv", ["a", "w1"], ["b"]),
        onnx.helper.make_node("Add", ["a", "b"], ["y"]),
    ]
    given, made = (onnx.helper.make_tensor_value_info(name, F32, [1, c, 5, 5]) for name, c in (("x", 3), ("y", 8)))
    graph = onnx.helper.make_graph(nodes, "sum", [given], [made], arrays)
    opset = [onnx.helper.make_opsetid("", 17)]
    module = import_model(onnx.helper.make_model(graph, opset_imports=opset).SerializeToString())
    first, second = (op for op in module.main.ops if is_op(op, Conv))
    coarse = np.round(weights[0])
    seen: dict[str, np.ndarray] = {}

    def choose_first(op: Op, x: Arrays, y: Arrays, given: Arrays, lacking: Callable[[Op], Arrays]) -> Chosen:
        return coarse, np.zeros(8, np.float32)

    def choose_second(op: Op, x: Arrays, y: Arrays, given: Arrays, lacking: Callable[[Op], Arrays]) -> Chosen:
        seen.update(wanted=y[0], read=given[0], real=x[0])
        return weights[1], np.zeros(8, np.float32)

    x = rng.standard_normal((1, 3, 5, 5)).astype(np.float32)
    plan = plan_quantization(module.main)
    walk(module, plan, {}, [{"x": x}], {first: choose_first, second: choose_second})
    exact, found = (convolved(first.operator, x, each, None) for each in (weights[0], coarse))
    assert np.abs(exact - found).max() > 0.1
    expected = convolved(second.operator, exact, weights[1], None) + exact - found
    np.testing.assert_allclose(seen["wanted"], expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(seen["read"], found, rtol=0, atol=1e-5)
    np.testing.assert_allclose(seen["real"], exact, rtol=0, atol=1e-5)


def test_samples_join_in_where_maps_are_small_enough_for_all(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Layers of few places learn from as many samples as there are, whatever the first ones have room for."""
    shapes, strides = ((4, 3, 1, 1), (4, 4, 2, 2), (4, 4, 1, 1)), (1, 4, 1)
    arrays = [
        onnx.numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), f"w{at}")
        for at, shape in enumerate(shapes)
    ]
    nodes = [
        onnx.helper.make_node("Conv", [f"v{at}", f"w{at}"], [f"v{at + 1}"], strides=[stride] * 2)
        for at, stride in enumerate(strides)
    ]
    nodes.append(onnx.helper.make_node("Add", ["v2", "v3"], ["y"]))
    given, made = (
        onnx.helper.make_tensor_value_info(name, F32, [1, *shape])
        for name, shape in (("v0", (3, 8, 8)), ("y", (4, 2, 2)))
    )
    graph = onnx.helper.make_graph(nodes, "maps", [given], [made], arrays)
    opset = [onnx.helper.make_opsetid("", 17)]
    module = import_model(onnx.helper.make_model(graph, opset_imports=opset).SerializeToString())
    layers = [op for op in module.main.ops if is_op(op, Conv)]
    samples = [{"v0": rng.standard_normal((1, 3, 8, 8)).astype(np.float32)} for _ in range(5)]

    def walked() -> list[tuple[Arrays, Arrays, Arrays]]:
        seen: list[tuple[Arrays, Arrays, Arrays]] = []

        def choose(op: Op, x: Arrays, y: Arrays, given: Arrays, lacking: Callable[[Op], Arrays]) -> Chosen:
            seen.append((x, y, given))
            return np.round(real_weights(layers[len(seen) - 1])), np.ones(4, np.float32)

        walk(module, plan_quantization(module.main), {}, samples, dict.fromkeys(layers, choose))
        return seen

    every = walked()
    monkeypatch.setattr(layer_walk, "IN_HALF", (1.0, 0.0))
    single = walked()
    for first, second in zip(every, single, strict=True):
        for half, whole in zip(first, second, strict=True):
            np.testing.assert_allclose(half, whole, rtol=0, atol=2e-2)
    assert not np.array_equal(every[1][0], single[1][0])
    monkeypatch.setattr(layer_walk, "MOST_SAMPLES", 3)
    for first, second in zip(single, walked(), strict=True):
        for whole, part in zip(first, second, strict=True):
            np.testing.assert_array_equal([whole[at] for at in (0, 1, 3)], part)
    monkeypatch.undo()
    # Two of the first, of 64 places of 3 and 4 channels, and 12 weights; all where there are 4 places.
    monkeypatch.setattr(layer_walk, "MOST_BYTES", 2 * 8 * (64 * 7 + 12))
    some = walked()
    assert [len(x) for x, _, _ in every] == [5, 5, 5]
    assert [len(x) for x, _, _ in some] == [2, 2, 5]
    for first, second in zip(every, some, strict=True):
        for whole, part in zip(first, second, strict=True):
            np.testing.assert_array_equal(whole[: len(part)], part)
    assert not np.array_equal(every[2][0], every[2][2])


def test_numbers_between_ops_that_are_not_quantised_keep_their_precision(rng: np.random.Generator) -> None:
    """A position of 4001 was one of 4000 in half precision: another row of a table, and 16 dB less at the end."""
    arrays = {
        "w0": rng.standard_normal((4, 3, 1, 1)),
        "w1": rng.standard_normal((4, 4, 1, 1)),
        "table": rng.standard_normal((5000, 4, 1, 1)),
        "some": np.array([1e-3]),
        "at": np.array([4001.0]),
    }
    nodes = [
        onnx.helper.make_node("Conv", ["x", "w0"], ["a"]),
        onnx.helper.make_node("ReduceMax", ["a"], ["most"], axes=[0, 1, 2, 3], keepdims=0),
        onnx.helper.make_node("Mul", ["most", "some"], ["little"]),
        onnx.helper.make_node("Add", ["little", "at"], ["place"]),
        onnx.helper.make_node("Cast", ["place"], ["index"], to=onnx.TensorProto.INT64),
        onnx.helper.make_node("Gather", ["table", "index"], ["row"]),
        onnx.helper.make_node("Add", ["a", "row"], ["sum"]),
        onnx.helper.make_node("Conv", ["sum", "w1"], ["y"]),
    ]
    given, made = (
        onnx.helper.make_tensor_value_info(name, F32, [1, channels, 4, 4]) for name, channels in (("x", 3), ("y", 4))
    )
    constants = [onnx.numpy_helper.from_array(array.astype(np.float32), name) for name, array in arrays.items()]
    graph = onnx.helper.make_graph(nodes, "positions", [given], [made], constants)
    opset = [onnx.helper.make_opsetid("", 17)]
    module = import_model(onnx.helper.make_model(graph, opset_imports=opset).SerializeToString())
    first, last = (op for op in module.main.ops if is_op(op, Conv))
    samples = [{"x": np.abs(rng.standard_normal((1, 3, 4, 4))).astype(np.float32)} for _ in range(2)]
    seen: list[np.ndarray] = []

    def choose(op: Op, x: Arrays, y: Arrays, given: Arrays, lacking: Callable[[Op], Arrays]) -> Chosen:
        seen.extend(x)
        return real_weights(last), np.zeros(4, np.float32)

    walk(module, plan_quantization(module.main), {}, samples, {last: choose})
    for sample, found in zip(samples, seen, strict=True):
        a = convolved(first.operator, sample["x"], arrays["w0"].astype(np.float32), None)
        row = arrays["table"][int(np.float32(4001) + np.float32(1e-3) * a.max())]
        np.testing.assert_allclose(found, a + row, rtol=0, atol=2e-2)


def test_maps_that_later_ops_read_count_where_samples_join_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """A U-Net held all of its maps for as many samples as the largest op had room for."""
    rng = np.random.default_rng(0)
    shapes = ((4, 3, 1, 1), (4, 4, 2, 2), (4, 4, 1, 1))
    arrays = [
        onnx.numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), f"w{at}")
        for at, shape in enumerate(shapes)
    ]
    nodes = [
        onnx.helper.make_node("Conv", [f"v{at}", f"w{at}"], [f"v{at + 1}"], strides=[stride] * 2)
        for at, stride in enumerate((1, 4, 1))
    ]
    nodes.append(onnx.helper.make_node("GlobalAveragePool", ["v1"], ["mean"]))
    nodes.append(onnx.helper.make_node("Add", ["v3", "mean"], ["y"]))
    given, made = (
        onnx.helper.make_tensor_value_info(name, F32, [1, *shape])
        for name, shape in (("v0", (3, 8, 8)), ("y", (4, 2, 2)))
    )
    graph = onnx.helper.make_graph(nodes, "skip", [given], [made], arrays)
    opset = [onnx.helper.make_opsetid("", 17)]
    module = import_model(onnx.helper.make_model(graph, opset_imports=opset).SerializeToString())
    layers = [op for op in module.main.ops if is_op(op, Conv)]
    samples = [{"v0": rng.standard_normal((1, 3, 8, 8)).astype(np.float32)} for _ in range(9)]
    counts: list[int] = []

    def choose(op: Op, x: Arrays, y: Arrays, given: Arrays, lacking: Callable[[Op], Arrays]) -> Chosen:
        counts.append(len(x))
        return real_weights(layers[len(counts) - 1]), np.zeros(4, np.float32)

    monkeypatch.setattr(layer_walk, "MOST_BYTES", 2 * 8 * (64 * 7 + 12))
    walk(module, plan_quantization(module.main), {}, samples, dict.fromkeys(layers, choose))
    # Of 64 places of 4 channels, in both networks, and of what the last layer reads and makes.
    assert counts == [2, 2, 2 * 8 * (64 * 7 + 12) // (4 * 64 * 4 + 8 * 48)]


def block(
    size: int, strides: list[int], pads: list[int], dilations: list[int], inputs: int = 4, middle: int = 24
) -> Module:
    """A convolution, a depthwise one and one with fewer results, activations between."""
    rng = np.random.default_rng(0)
    shapes = {"w0": (middle, inputs, 1, 1), "w1": (middle, 1, 3, 2), "b1": (middle,), "w2": (4, middle, 1, 1)}
    arrays = [
        onnx.numpy_helper.from_array(rng.standard_normal(n).astype(np.float32), name) for name, n in shapes.items()
    ]
    attributes = {"strides": strides, "pads": pads, "dilations": dilations, "group": middle}
    nodes = [
        onnx.helper.make_node("Conv", ["x", "w0"], ["a"]),
        onnx.helper.make_node("Relu", ["a"], ["b"]),
        onnx.helper.make_node("Conv", ["b", "w1", "b1"], ["c"], **attributes),
        onnx.helper.make_node("Relu", ["c"], ["d"]),
        onnx.helper.make_node("Conv", ["d", "w2"], ["y"]),
    ]
    ends = ("x", F32, [1, inputs, size, size]), ("y", F32, [1, 4, None, None])
    given, made = (onnx.helper.make_tensor_value_info(*each) for each in ends)
    graph = onnx.helper.make_graph(nodes, "block", [given], [made], arrays)
    opset = [onnx.helper.make_opsetid("", 17)]
    return import_model(onnx.helper.make_model(graph, opset_imports=opset).SerializeToString())


def looked_ahead(module: Module, samples: int) -> tuple[list[Op[Conv]], Ahead, Patches]:
    convolutions = [op for op in module.main.ops if is_op(op, Conv)]
    (first,) = (op for op in convolutions[:1] if is_product(op))
    ahead = look_ahead(first, plan_quantization(module.main), samples)
    assert ahead.patches is not None
    return convolutions, ahead, ahead.patches


@pytest.mark.parametrize(
    ("size", "strides", "pads", "dilations", "places"),
    [
        (6, [1, 1], [1, 0, 1, 1], [1, 1], 36),
        (20, [1, 1], [1, 1, 1, 0], [1, 1], 72),
        (21, [2, 1], [2, 1, 2, 1], [2, 2], 81),
    ],
)
def test_what_is_ahead_is_what_the_network_makes_of_the_results(
    rng: np.random.Generator, size: int, strides: list[int], pads: list[int], dilations: list[int], places: int
) -> None:
    module = block(size, strides, pads, dilations)
    (first, _, last), ahead, patches = looked_ahead(module, 2)
    assert ahead.places == places
    for sample in range(2):
        x = rng.standard_normal((1, 4, size, size)).astype(np.float32)
        a = first.operator.reference(x, real_weights(first), None, None)
        (y,) = interp.run(module, {"x": x}).values()
        units = np.arange(len(patches.inside.T)).reshape(2, -1)[sample]
        results = results_at(a, patches.read[sample]).reshape(len(units), places, -1)
        made, _ = ahead.made(np.ascontiguousarray(results.transpose(2, 1, 0)), units)
        expected = results_at(y, patches.made[sample]).reshape(len(units), -1, 4).transpose(2, 1, 0)
        np.testing.assert_allclose(made, expected, rtol=0, atol=1e-4)
    assert patches.product is last


def test_patches_of_one_sample_are_as_many_as_of_a_hundred_together() -> None:
    module = block(64, [1, 1], [1, 1, 1, 0], [1, 1])
    counts = [looked_ahead(module, samples)[2].inside.shape[1] for samples in (1, 10, 100)]
    assert counts == [522, 520, 500]


def test_places_between_the_weights_of_dilated_kernels_are_not_computed() -> None:
    _, ahead, _ = looked_ahead(block(64, [1, 1], [18, 9, 18, 9], [18, 18]), 1)
    assert ahead.places == 3 * 7 * 2 * 7


@pytest.mark.parametrize(("pads", "is_looked_at"), [([40, 40, 40, 40], False), ([1, 0, 1, 1], True)])
def test_patches_of_padding_alone_are_not_looked_at(
    monkeypatch: pytest.MonkeyPatch, pads: list[int], is_looked_at: bool
) -> None:
    monkeypatch.setattr("tilewright.compiler.quantization.look_ahead.PLACES", 0)
    module = block(3, [1, 1], pads, [1, 1])
    convolutions = [op for op in module.main.ops if is_op(op, Conv)]
    (first,) = (op for op in convolutions[:1] if is_product(op))
    ahead = look_ahead(first, plan_quantization(module.main), 1)
    assert (ahead.patches is not None) == is_looked_at


def test_slopes_lead_back_through_what_is_ahead(rng: np.random.Generator) -> None:
    _, ahead, patches = looked_ahead(block(20, [1, 1], [1, 1, 1, 0], [1, 1]), 1)
    units = np.array([3, 1])
    y = rng.standard_normal((24, ahead.places, 2)).astype(np.float32)
    made, led_back = ahead.made(y, units)
    slope = rng.standard_normal(made.shape).astype(np.float32)
    moved = 1e-3 * rng.standard_normal(y.shape).astype(np.float32)
    found = float((led_back(slope) * moved).sum())
    far, near = (ahead.made(y + each, units)[0].astype(np.float64) for each in (moved, -moved))
    assert found == pytest.approx(float(((far - near) * slope).sum()) / 2, rel=0.05)
    assert not led_back(slope)[:, patches.inside[:, 3] == 0, 0].any()


def test_a_layer_that_looks_ahead_is_learnt_from_what_the_next_product_makes(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learn_rounding, "layers_to_learn", lambda products: products[:1])
    samples = [{"x": rng.standard_normal((1, 16, 6, 6)).astype(np.float32)} for _ in range(60)]
    exact = block(6, [1, 1], [1, 1, 1, 0], [1, 1], 16, 96)

    def error() -> float:
        """Of the network whose first layer alone has 4 bits, on samples that nothing was learnt from."""
        module = block(6, [1, 1], [1, 1, 1, 0], [1, 1], 16, 96)
        plan = plan_quantization(module.main)
        set_rounded(module, learn_weights(module, plan, {}, samples[:40], 4, lambda *_: None).items())
        runs = [next(iter(interp.run(each, sample).values())) for each in (exact, module) for sample in samples[40:]]
        return float(np.square(np.subtract(runs[:20], runs[20:])).sum())

    looking = error()
    monkeypatch.setattr(learn_rounding, "look_ahead", lambda *_: Ahead((0.0, np.inf)))
    assert looking < 0.92 * error()


def chain() -> bytes:
    """Six convolutions, depthwise ones among them, behind each other."""
    rng = np.random.default_rng(0)
    nodes, arrays, before = [], [], "x"
    for index, (inputs, outputs, group, size) in enumerate(
        [(3, 16, 1, 3), (16, 16, 16, 3), (16, 16, 1, 1), (16, 16, 16, 3), (16, 16, 1, 1), (16, 4, 1, 1)]
    ):
        weights = rng.standard_normal((outputs, inputs // group, size, size)) / (inputs // group * size**2) ** 0.5
        arrays.append(onnx.numpy_helper.from_array((1.5 * weights).astype(np.float32), f"w{index}"))
        attributes = {"pads": [size // 2] * 4, "group": group}
        nodes.append(onnx.helper.make_node("Conv", [before, f"w{index}"], [f"c{index}"], **attributes))
        before = f"c{index}"
        if index < 5:
            nodes.append(onnx.helper.make_node("Relu", [before], [f"r{index}"]))
            before = f"r{index}"
    ends = [onnx.helper.make_tensor_value_info(name, F32, [1, c, 8, 8]) for name, c in (("x", 3), (before, 4))]
    graph = onnx.helper.make_graph(nodes, "chain", ends[:1], ends[1:], arrays)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)]).SerializeToString()


SAMPLES = np.random.default_rng(1).standard_normal((40, 3, 8, 8)).astype(np.float32)


def decibels(expected: Module, found: Module) -> float:
    signal = wrong = 0.0
    for x in SAMPLES[30:, None]:
        a, b = (next(iter(interp.run(each, {"x": x}).values())) for each in (expected, found))
        signal, wrong = signal + float((a**2).sum()), wrong + float(((b - a) ** 2).sum())
    return 10 * float(np.log10(signal / wrong))


def rounded_to_nearest(module: Module) -> Module:
    """The module in floating point with the same weights as the nearest of 4 bits."""
    found = import_model(chain())
    layers = [op for op in found.main.ops if is_op(op, Conv)]
    for op in (layers[2], layers[4]):
        w = op.operands.w
        assert isinstance(w, Constant)
        rows = w.array.reshape(1, len(w.array), -1)
        steps = best_steps(rows, *LIMITS)
        nearest = (np.clip(np.rint(rows / steps), *LIMITS) * steps).reshape(w.array.shape)
        op.set_operand(1, found.add_constant(w.name, nearest.astype(np.float32)))
    return found


def test_layers_but_the_first_the_last_and_those_of_short_sums_have_4_bits_on_every_engine(tmp_path: Path) -> None:
    module = import_model(chain())
    options = {"calibration": SAMPLES[:30], "weights_bits": 4}
    quantized = quantize_module(module, CompileOptions(**options))
    weights = [op.operands.w for op in quantized.main.ops if is_op(op, Conv)]
    assert all(isinstance(w, Constant) for w in weights)
    largest = [int(np.abs(w.array.astype(int)).max()) for w in weights if isinstance(w, Constant)]
    assert [most > 8 for most in largest] == [True, True, False, True, False, True]
    # Activations of 8 bits as well, against weights alone that are rounded to the nearest.
    assert decibels(module, quantized) > decibels(module, rounded_to_nearest(module)) + 1.5
    expected = interp.run(quantized, {"x": SAMPLES[35][None]})
    artifact = tilewright.compile(chain(), output=tmp_path / "chain.twa", engines="device,software", **options)
    assert artifact.packed and (tmp_path / "chain.twa").stat().st_size < artifact.length / 2
    for engine in ("device", "software"):
        with tilewright.load(artifact, engine=engine) as session:
            assert session.run({"x": SAMPLES[35][None]})["c5"].tobytes() == expected["c5"].tobytes()


def test_quantize_learns_them_once_with_all_methods(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = load_digits()
    np.save(tmp_path / "digits.npy", data.prepare(data.images[:30]))
    words = ["quantize", str(MODEL), "--calibration", str(tmp_path / "digits.npy"), "-o", str(tmp_path / "digits.onnx")]
    assert main([*words, "--weights-bits", "4"]) == 0
    assert "all methods, weights of 4 bits" in capsys.readouterr().out
    assert main([*words, "--weights-bits", "3"]) == 2
    assert "Invalid value for '--weights-bits': 3 is none of 4, 8, 16." in capsys.readouterr().err
