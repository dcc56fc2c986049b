"""What was found of samples is known again by what values are computed from."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import pytest

from tilewright.compiler.calibration import observation
from tilewright.compiler.calibration.computations import computations
from tilewright.compiler.calibration.runs import Kernels, compiled
from tilewright.compiler.calibration.sample_sets import Held
from tilewright.compiler.frontend.formats import import_model
from tilewright.compiler.options import CompileOptions
from tilewright.compiler.quantization.quantize import quantize_module
from tilewright.ir.clone import clone_module
from tilewright.ir.core import Module, Value
from tilewright.ir.text.printer import print_module

F32 = onnx.TensorProto.FLOAT


def network(stride: int = 1) -> Module:
    """A function between a convolution and a depthwise one, and one convolution behind."""
    rng = np.random.default_rng(0)
    shapes = {"w": (6, 3, 1, 1), "d": (6, 1, 3, 3), "v": (4, 6, 1, 1)}
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("Conv", ["x", "w"], ["a"], name="first"),
            onnx.helper.make_node("Sigmoid", ["a"], ["s"]),
            onnx.helper.make_node("Mul", ["a", "s"], ["b"]),
            onnx.helper.make_node("Conv", ["b", "d"], ["c"], group=6, strides=[stride, stride]),
            onnx.helper.make_node("Relu", ["c"], ["r"]),
            onnx.helper.make_node("Conv", ["r", "v"], ["y"], name="last"),
        ],
        "network",
        [onnx.helper.make_tensor_value_info("x", F32, [1, 3, 9, 9])],
        [onnx.helper.make_tensor_value_info("y", F32, None)],
        [
            onnx.numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name)
            for name, shape in shapes.items()
        ],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    return import_model(model.SerializeToString())


def made(module: Module) -> list[str]:
    found = computations(module)
    return [found[op.result] for op in module.main.ops]


def test_a_copy_computes_the_same_whatever_its_values_are_called() -> None:
    module = network()
    copy = clone_module(module)
    for op in copy.main.ops:
        op.result.name += "_copy"
    assert made(copy) == made(module) and len({*made(module)}) == len(made(module))


def test_what_stands_behind_another_number_or_attribute_is_another_computation() -> None:
    whole, strided = made(network()), made(network(2))
    assert [a == b for a, b in zip(whole, strided, strict=True)] == [True, True, True, False, False, False]
    other = network()
    first = next(iter(other.main.ops))
    weights = first.operands[1]
    assert weights is not None
    first.set_operand(1, other.add_constant("w", other.constants[weights.name].array * 2))
    assert not {*made(other)} & {*whole}


def test_what_was_found_of_samples_is_what_would_be_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    observed: list[int] = []

    def counted(module: Module, values: dict[str, Value], *others: object) -> Kernels:
        observed.append(len(values))
        return compiled(module, values, *others)  # pyright: ignore

    monkeypatch.setattr(observation, "compiled", counted)
    samples = [{"x": x[None]} for x in np.random.default_rng(1).standard_normal((12, 3, 9, 9)).astype(np.float32)]
    samples[3]["x"][:, 1] *= 30
    module, held = network(), Held((), samples)

    def quantised(held: Held, methods: str) -> str:
        return print_module(quantize_module(module, CompileOptions(calibration=held, methods=methods)))

    tried = ("none", "channels", "channels,outputs", "outputs,rounding", "all")
    first = [quantised(held, methods) for methods in tried]
    before = len(observed)
    assert [quantised(held, methods) for methods in tried] == first and len(observed) == before
    # As a whole and in another order, by samples of which nothing is known.
    assert [quantised(Held((), samples), methods) for methods in reversed(tried)] == first[::-1]
    assert len(observed) > before


def test_which_products_read_a_value_is_part_of_what_was_found() -> None:
    """Each of two that read a normalised value asks for scales of its own, where the other stays in floating point."""
    rng = np.random.default_rng(0)
    first = rng.standard_normal((32, 32)) * 10.0 ** rng.uniform(-2, 2, (32, 1))
    second = rng.standard_normal((32, 32)) * 10.0 ** rng.uniform(-0.05, 0.05, (32, 1))
    constants = {"a": first, "b": second, "scale": 10.0 ** rng.uniform(-1, 1, 32), "bias": np.zeros(32)}
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("LayerNormalization", ["x", "scale", "bias"], ["n"], axis=-1),
            onnx.helper.make_node("MatMul", ["n", "a"], ["p"], name="first"),
            onnx.helper.make_node("MatMul", ["n", "b"], ["q"], name="second"),
        ],
        "network",
        [onnx.helper.make_tensor_value_info("x", F32, [1, 16, 32])],
        [onnx.helper.make_tensor_value_info(name, F32, None) for name in "pq"],
        [onnx.numpy_helper.from_array(array.astype(np.float32), name) for name, array in constants.items()],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    module = import_model(model.SerializeToString())
    samples = [{"x": x[None]} for x in rng.standard_normal((8, 16, 32)).astype(np.float32)]

    def quantised(held: Held, keep_float: list[str]) -> str:
        options = CompileOptions(calibration=held, methods="products", keep_float=keep_float)
        return print_module(quantize_module(module, options))

    held = Held((), samples)
    for kept in ("first", "second"), ("second", "first"):
        assert [quantised(held, [name]) for name in kept] == [quantised(Held((), samples), [name]) for name in kept]
