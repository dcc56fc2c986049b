"""Normalisation on integers: what becomes one, how far it is from numbers, and that every engine computes it."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import instruction_set as isa
import numpy as np
import pytest
from device_cases import ROOMY
from device_runs import OPTIONS, assert_engines_agree, compile_for_device, run_on_device
from generic_kernels import TARGET, generic_kernel
from kernel_harness import Execution, run_kernels
from normalization_blocks import (
    convnext_blocks,
    extreme_inputs,
    layers_with_shortcuts,
    normalized_rows,
    quantized_layers,
    random_layers,
    the_op,
)
from random_seeds import in_turn, seeds

from tilewright.compiler.driver import compile_to_memory
from tilewright.compiler.frontend.onnx.writer import export_onnx
from tilewright.compiler.quantization.quantize import quantize_module
from tilewright.errors import IRError
from tilewright.ir import interp
from tilewright.ir.core import Constant, Function, Module, is_op
from tilewright.ir.ops.elementwise import Mul
from tilewright.ir.ops.normalization import LayerNorm
from tilewright.ir.ops.quantization import Dequantize, Quantize
from tilewright.ir.ops.skip_normalization import SkipLayerNorm, rounded_quotient, standardization, standardization_of
from tilewright.ir.quantized import parameters
from tilewright.ir.text.parser import parse_module
from tilewright.ir.types import DType, Quantization, TensorType
from tilewright.passes.placement.device_support import reject
from tilewright.passes.quantization.quantize_normalization import QuantizeNormalization
from tilewright.passes.simplify.share_rules import made_of_squares
from tilewright.runtime.machines.machine import load as load_machine
from tilewright.runtime.report.details import details_of

NOT_HERE = "the device has no layer_norm but of integers, and"


@pytest.mark.parametrize("value", [0, 1, 2, 3, -1, -2, -3, 7, -7, 2**40 + 1])
@pytest.mark.parametrize("divisor", [1, 2, 3, 4, 384])
def test_quotients_are_rounded_to_even(value: int, divisor: int) -> None:
    assert int(rounded_quotient(np.array(value), divisor)) == round(Fraction(value, divisor))


@pytest.mark.parametrize("largest", [1e-30, 0.3, 0.99999, 1.0, 1e20])
def test_multipliers_have_as_many_bits_as_there_are(largest: float) -> None:
    steps = np.array([largest, largest / 3, -largest / 50])
    found = standardization([steps], np.ones(3, np.float32), np.zeros(3, np.float32), np.float32(0.1), 0.0)
    (multipliers,) = found.multipliers
    assert 1 << 14 <= np.abs(multipliers).max() < 1 << 15
    np.testing.assert_allclose(multipliers / multipliers[0], steps / largest, atol=2.0**-14)


@pytest.mark.parametrize(
    ("step", "scale", "epsilon", "message"),
    [
        (np.inf, 1.0, 1e-5, "the factors of what is normalised are no numbers"),
        (1.0, 3e38, 1e-5, "has steps that are too small beside its factors"),
        (1e-30, 1.0, 1e-5, "has steps that are too small beside its factors"),
    ],
)
def test_numbers_that_single_precision_does_not_hold_are_refused(
    step: float, scale: float, epsilon: float, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        standardization(
            [np.full(4, step)], np.full(4, scale, np.float32), np.zeros(4, np.float32), np.float32(0.01), epsilon
        )


def test_more_numbers_than_add_up_are_refused() -> None:
    one = np.ones(1, np.float32)
    with pytest.raises(ValueError, match="33554433 numbers are normalised together: at most 33554432"):
        standardization([one.astype(np.float64)], one, one, np.float32(1), 1e-5, count=(1 << 25) + 1)


@pytest.mark.parametrize("seed", seeds(6, 12))
def test_integers_are_within_the_stated_bound_of_numbers(seed: int) -> None:
    """Of the sum of integers; 1/2, what the rounded mean and the five roundings of binary32 are."""
    rng = np.random.default_rng(seed)
    channels = int(rng.choice([1, 2, 17, 100, 384, 1000]))
    shape = (int(rng.integers(1, 20)), channels)
    dtype = DType.I16 if seed % 5 > 2 else DType.I8
    module = normalized_rows(rng, shape, is_sum=seed % 3 > 0, centred=seed % 4 > 0, spread=seed % 3, dtype=dtype)
    op = the_op(module)
    by, y = standardization_of(op), op.result.type
    for inputs in extreme_inputs(module, rng):
        (found,) = interp.run(module, inputs).values()
        pairs = zip(module.main.parameters, by.multipliers, strict=True)
        total = sum((inputs[x.name].astype(np.int64) - parameters(x.type)[1]) * each for x, each in pairs)
        total = np.asarray(total).astype(np.longdouble)
        if op.operator.centred:
            total = total - total.mean(-1, keepdims=True)
        squares = np.square(total).sum(-1, keepdims=True) + np.longdouble(by.epsilon)
        size = np.sqrt(np.maximum(squares, 1e-300))
        exact = total / size * by.gain + by.offset
        scale = np.abs(by.gain) / np.maximum(size, 1)
        deviation = size / np.sqrt(channels)
        centre = 0.5 * scale + np.abs(exact - by.offset) / (8 * np.square(np.maximum(deviation, 1e-9)))
        bound = 0.5 + centre * op.operator.centred + (np.abs(exact) + np.abs(by.offset)) * 2.0**-20
        exact += parameters(y)[1]
        inside = (exact > -127) & (exact < 126) & (deviation > 1)
        assert (np.abs(found - exact) <= bound)[inside].all()
        # Rows of one number are the offset, however it is rounded.
        constant = (np.abs(total).max(-1) < 1e-9)[:, None] & (exact > -127) & (exact < 126)
        assert (np.abs(found - exact) <= 0.5)[constant].all()


SHAPES = [(1, 1), (5, 3), (33, 40), (1, 384), (1, 19, 4, 5), (2, 16, 3, 1), (45, 33, 1, 1)]


@pytest.mark.parametrize(("shape", "form"), in_turn(SHAPES, range(5)))
def test_reference_processor_and_accelerator_agree(shape: tuple[int, ...], form: int) -> None:
    rng = np.random.default_rng([*shape, form])
    dtype = (DType.U8, DType.I8, DType.I8, DType.I16, DType.I16)[form]
    module = normalized_rows(rng, shape, is_sum=form not in (1, 4), centred=form != 2, dtype=dtype, spread=1.5)
    fed = [*extreme_inputs(module, rng)]
    wanted = [interp.run(module, inputs)["y"] for inputs in fed]
    kernel = generic_kernel(the_op(module))
    assert kernel is not None
    op, machine = the_op(module), load_machine("s256" if form else "m4096")
    arrays = [[v.array if isinstance(v, Constant) else inputs[v.name] for v in op.inputs] for inputs in fed]
    made = run_kernels([Execution(op, kernel, tuple(each)) for each in arrays], TARGET)
    compiled = compile_for_device(module, machine, clusters=min(1 + form, machine.clusters))
    for inputs, expected, results in zip(fed, wanted, made, strict=True):
        assert results is not None
        np.testing.assert_array_equal(results[0], expected)
        np.testing.assert_array_equal(run_on_device(module, compiled, machine, inputs)["y"], expected)


@pytest.mark.parametrize("clusters", [1, 3])
def test_tiles_and_clusters_share_rows_out(clusters: int, rng: np.random.Generator) -> None:
    """On a machine so small that rows take several tiles, and maps stay on chip."""
    module = quantized_layers(rng, 45, 40)
    compiled = compile_for_device(module, ROOMY, clusters)
    items = [item for stream in compiled.program.queues for item in compiled.program.instructions(stream)]
    assert sum(isinstance(item, isa.Normalize) for item in items) > 2
    for inputs in extreme_inputs(module, rng):
        (expected,) = interp.run(module, inputs).values()
        np.testing.assert_array_equal(run_on_device(module, compiled, ROOMY, inputs)["y"], expected)


@pytest.mark.parametrize("centred", [True, False])
def test_between_products_lie_integers_alone(centred: bool, rng: np.random.Generator) -> None:
    module = random_layers(rng, (1, 21, 24), centred=centred)
    quantized = quantize_module(module, OPTIONS)
    found = [each for each in quantized.main.ops if is_op(each, SkipLayerNorm)]
    assert len(found) == 2, "the first one is of numbers"
    assert all(op.operator.centred is centred and op.operands[4] is not None for op in found)
    assert all(op.result.type.quant is not None for op in found)
    names = [each.name for each in quantized.main.ops]
    assert names.count("quantize") == 1 and names.count("dequantize") == 1 and "add" not in names
    inputs = {"x": rng.normal(size=(1, 21, 24)).astype(np.float32)}
    (expected,), (made,) = (interp.run(each, inputs).values() for each in (module, quantized))
    assert np.square(made - expected).mean() < 0.01 * np.square(expected).mean()


def test_a_number_without_dimensions_has_no_channels() -> None:
    """As the scale at run time of what is quantised dynamically."""
    module = Module("number")
    function = module.add_function(Function("main"))
    x = function.add_parameter("x", TensorType((), DType.I8, Quantization.per_tensor(0.03)))
    real = function.append(Dequantize(), [x]).result
    doubled = function.append(Mul(), [real, module.add_constant("two", np.array(2, np.float32))]).result
    types = [TensorType((), DType.I8, Quantization.per_tensor(step)) for step in (0.03, 0.06)]
    made = [
        function.append(Quantize(), [value], [type]).result for value, type in zip((real, doubled), types, strict=True)
    ]
    function.set_results(made, ["y", "z"])
    QuantizeNormalization().run(module)
    inputs = {"x": np.array(-7, np.int8)}
    assert {name: array.item() for name, array in interp.run(module, inputs).items()} == {"y": -7, "z": -7}


def test_an_output_keeps_its_numbers(rng: np.random.Generator) -> None:
    module = random_layers(rng, (1, 21, 24))
    (product,) = module.main.results
    assert product.producer is not None
    module.main.set_results([product.producer.inputs[0], product], ["state", "y"])
    quantized = quantize_module(module, OPTIONS)
    kept = quantized.main.results[0].producer
    assert is_op(kept, LayerNorm)
    found = reject(kept, load_machine("m4096"))
    assert found is not None and found.rule == f"{NOT_HERE} its result is an output, which stays as exact as it is"
    assert sum(is_op(each, SkipLayerNorm) for each in quantized.main.ops) == 1


@pytest.mark.parametrize("steps", [(0.05, 0.05), (0.05, 0.02)])
def test_what_becomes_integers_in_two_ways_is_rounded_from_numbers(
    steps: tuple[float, float], rng: np.random.Generator
) -> None:
    module = Module("normalization")
    function = module.add_function(Function("main"))
    x = function.add_parameter("x", TensorType((3, 16), DType.I8, Quantization.per_tensor(0.03)))
    real = function.append(Dequantize(), [x]).result
    scale, b = (module.add_constant(name, np.ones(16, np.float32)) for name in "sb")
    y = function.append(LayerNorm(1, 1e-5), [real, scale, b]).result
    types = [TensorType((3, 16), DType.I8, Quantization.per_tensor(step)) for step in steps]
    made = [function.append(Quantize(), [y], [each]).result for each in types]
    function.set_results(made, ["y", "z"])
    QuantizeNormalization().run(module)
    assert any(is_op(each, SkipLayerNorm) for each in module.main.ops) is (steps[0] == steps[1])
    for kept in (each for each in module.main.ops if is_op(each, LayerNorm)):
        found = reject(kept, load_machine("m4096"))
        why = "its result becomes integers in several ways, and would be rounded twice"
        assert found is not None and found.rule == f"{NOT_HERE} {why}"


@pytest.mark.parametrize("machine", ["m4096", pytest.param("s256", marks=pytest.mark.sweep)])
def test_layers_are_one_program(machine: str, rng: np.random.Generator) -> None:
    model = export_onnx(random_layers(rng, (1, 33, 40), layers=3)).SerializeToString()
    artifact = compile_to_memory(model, replace(OPTIONS, machine=machine))
    placed = [each.on for each in details_of(artifact).placement if each.op == "skip_layer_norm"]
    assert placed == ["device"] * 3
    assert len(artifact.manifest.device_programs) == 1
    feeds = {"x": rng.normal(size=(1, 33, 40)).astype(np.float32)}
    assert_engines_agree(artifact, feeds)


@pytest.mark.parametrize(
    ("machine", "is_normalized"),
    [pytest.param("m4096", False, marks=pytest.mark.sweep), ("s256", False), ("m4096", True)],
)
def test_shortcuts_that_start_before_a_normalisation_have_16_bits(
    machine: str, is_normalized: bool, rng: np.random.Generator
) -> None:
    """But for one that a normalisation makes."""
    module = layers_with_shortcuts(rng, (1, 33, 40), layers=3, is_normalized=is_normalized)
    options = replace(OPTIONS, machine=machine)
    artifact = compile_to_memory(export_onnx(module).SerializeToString(), options)
    placed = [(each.op, each.on) for each in details_of(artifact).placement if each.op not in ("reshape", "reorder")]
    assert placed.count(("skip_layer_norm", "device")) == 4 + is_normalized
    assert {op for op, on in placed if on == "cpu"} <= {"quantize", "dequantize"}
    assert len(artifact.manifest.device_programs) == 1
    feeds = {"x": rng.normal(size=(1, 33, 40)).astype(np.float32)}
    found = assert_engines_agree(artifact, feeds)
    (expected,) = interp.run(module, feeds).values()
    assert np.square(found - expected).mean() < 0.01 * np.square(expected).mean()
    # Without the accelerator, they stay numbers.
    alone = quantize_module(module, replace(OPTIONS, engines=("software",)))
    assert not any(value.type.dtype is DType.I16 for op in alone.main.ops for value in op.results)


def test_factors_that_are_no_numbers_leave_it_on_the_host(rng: np.random.Generator) -> None:
    module = normalized_rows(rng, (4, 16))
    op = the_op(module)
    op.set_operand(1, module.add_constant("none", np.full(16, np.inf, np.float32)))
    with pytest.raises(IRError, match="the factors of what is normalised are no numbers"):
        standardization_of(op)
    found = reject(op, load_machine("m4096"))
    assert (
        found is not None
        and found.rule == "Factors and steps of a normalisation are numbers that single precision holds"
    )


def test_only_what_is_along_channels_is_on_the_accelerator(rng: np.random.Generator) -> None:
    found = reject(the_op(normalized_rows(rng, (2, 4, 16), axis=2)), load_machine("m4096"))
    assert found is not None and found.found == "axis 2"


@pytest.mark.parametrize("first_is_normalized", [False, True])
def test_pixels_between_transpositions_are_normalised_on_the_map(
    first_is_normalized: bool, rng: np.random.Generator
) -> None:
    model = export_onnx(convnext_blocks(rng, first_is_normalized=first_is_normalized)).SerializeToString()
    artifact = compile_to_memory(model, OPTIONS)
    placement = details_of(artifact).placement
    assert [each.on for each in placement if each.op == "skip_layer_norm"] == ["device"] * (
        5 if first_is_normalized else 3
    )
    assert not any(each.op == "transpose" for each in placement)
    assert len(artifact.manifest.device_programs) == 1
    feeds = {"x": rng.normal(size=(1, 24, 7, 6)).astype(np.float32)}
    assert_engines_agree(artifact, feeds)


@pytest.mark.parametrize(("stored", "is_known"), [("@k", True), ("%k", False)])
def test_squares_stay_squares_under_known_weights_alone(stored: str, is_known: bool) -> None:
    parameter = "" if is_known else ", %k: i8[1,4,1,1]<s=0x1.0p-3, z=0>"
    window = 'strides=[1, 1], pads=[0, 0, 0, 0], dilations=[1, 1], group=1, act="none", act_args=[]'
    text = f"""module @m {{
      const @k : i8[1,4,1,1]<s=0x1.0p-3, z=0> = [3, 1, 2, 3]
      func @main(%x: f32[1,4,6,6]{parameter}) -> (%y: f32[1,1,1,1]) {{
        %square = mul(%x, %x) : f32[1,4,6,6]
        %mean = global_average_pool(%square) : f32[1,4,1,1]
        %weights = dequantize({stored}) : f32[1,4,1,1]
        %y = conv(%mean, %weights, _) {{{window}}} : f32[1,1,1,1]
        return %y
      }}
    }}"""
    found = {value.name for value in made_of_squares(parse_module(text).main)}
    assert found == ({"square", "mean", "y"} if is_known else {"square", "mean"})
