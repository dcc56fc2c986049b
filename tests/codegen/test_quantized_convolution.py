"""Quantised convolution and matrix products in blocked layouts against the reference, byte for byte."""

from __future__ import annotations

from dataclasses import replace
from itertools import product as product_of

import numpy as np
import pytest
import quantized_cases
from kernel_harness import EMULATED, TARGETS, described
from operator_samples import Case, make_case
from quantized_cases import (
    blocked,
    check,
    check_kernels,
    product,
    product_sample,
    random_activation,
    random_type,
    weight_type,
    with_layouts,
    words,
)
from random_seeds import in_turn

from tilewright.codegen.cpu.families import lower
from tilewright.codegen.cpu.kernels.convolutions.convolution import convolution
from tilewright.codegen.cpu.kernels.convolutions.few_outputs import MOST_OUTPUTS
from tilewright.codegen.cpu.llvm.module import parse
from tilewright.codegen.cpu.llvm.target import TargetDescription, machine
from tilewright.ir.accumulators import word_parts
from tilewright.ir.core import Function, Module, is_op
from tilewright.ir.ops.convolution import MOST_COPIED, Conv
from tilewright.ir.types import DType, Quantization, TensorType
from tilewright.runtime.native.host import missing

KINDS = ("blocked", "few", "grouped", "joined", "pointwise", "plain", "depthwise")
"""Of convolutions; ``plain`` takes row-major inputs, groups of ``joined`` are no whole blocks, ``few`` has up to four
outputs."""


LEVELS = (*TARGETS, "x86-64-v2", "x86-64-v4", "avx-vnni", *EMULATED)
"""With those of the processors that have other products of bytes."""


# LLVM takes ten seconds for one of the first kind on a processor without vectors; the sweep has it.
@pytest.mark.parametrize(
    ("kind", "target"),
    [
        *in_turn(KINDS[:1], [level for level in LEVELS if level != "riscv64"], 3, always="host"),
        *in_turn(KINDS[1:], LEVELS, 3, always="host"),
    ],
)
def test_random_shapes(kind: str, target: str, rng: np.random.Generator) -> None:
    # Kernels of processors without vectors are long, and an emulator goes through each element.
    check([blocked(kind, rng, small=target in EMULATED) for _ in range(2 if target in TARGETS else 1)], target)


@pytest.mark.parametrize(("kind", "target"), in_turn(KINDS[:1], LEVELS, 3, always="host"))
def test_weights_of_which_none_is_left(
    kind: str, target: str, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    """As in branches that training starts at zero, and in phases of transposed convolutions that no weight reaches."""
    monkeypatch.setattr(quantized_cases, "weights", lambda rng, shape, dtype: np.zeros(shape, dtype.numpy))
    check([blocked(kind, rng, small=True) for _ in range(3 if target in TARGETS else 1)], target)


@pytest.mark.parametrize(("dtype", "zero_point"), [(DType.U8, 0), (DType.I16, 0), (DType.U8, 3)])
def test_groups_that_are_joined_do_not_multiply_what_they_do_not_see(dtype: DType, zero_point: int) -> None:
    """But sums that zero points of weights are multiplied with are over all channels."""
    scale = Quantization.per_tensor(0.1, 0)
    w = TensorType((86 * 3, 21, 3, 3), DType.I8, Quantization.per_tensor(0.1, zero_point))
    module = Module("m")
    function = module.add_function(Function("main"))
    x = function.add_parameter("x", TensorType((1, 63, 9, 9), dtype, scale, "c16"))
    weights = module.add_constant("w", np.ones(w.shape, np.int8), w)
    type = TensorType((1, 258, 7, 7), dtype, scale, "c16")
    op = function.append(Conv((1, 1), (0,) * 4, (1, 1), 3), [x, weights, None, None], result_types=[type])
    made = lower(op, TargetDescription.named("avx512-vnni"))
    assert made is not None and ("_seen" in made.text) == (not zero_point)


def test_absent_channels_are_not_multiplied() -> None:
    """Of blocks of 16 those of four at a time that are all absent, as of 8 channels, or 24."""
    counts = {}
    for channels in (8, 16):
        quant = Quantization.per_tensor(0.1, 0)
        module = Module("m")
        function = module.add_function(Function("main"))
        x = function.add_parameter("x", TensorType((1, channels, 9, 9), DType.U8, quant, "c16"))
        w = TensorType((16, channels, 3, 3), DType.I8, quant, "o16i4")
        weights = module.add_constant("w", np.ones(w.shape, np.int8), w)
        type = TensorType((1, 16, 7, 7), DType.U8, quant, "c16")
        op = function.append(Conv((1, 1), (0,) * 4, (1, 1)), [x, weights, None, None], result_types=[type])
        made = lower(op, TargetDescription.named("avx512-vnni"))
        assert made is not None
        counts[channels] = made.text.count("vpdpbusd")
    assert counts[8] < counts[16]


@pytest.mark.parametrize("target", [*TARGETS, *EMULATED])
def test_random_products(target: str, rng: np.random.Generator) -> None:
    check([product(rng) for _ in range(2 if target in TARGETS else 1)], target)


OF_WORDS = ("blocked", "grouped", "joined", "pointwise", "depthwise", "product")


@pytest.mark.parametrize(("kind", "target"), in_turn(OF_WORDS, LEVELS, 3, always="host"))
def test_random_shapes_of_16_bits(kind: str, target: str, rng: np.random.Generator) -> None:
    check([words(kind, rng, small=target in EMULATED) for _ in range(2 if target in TARGETS else 1)], target)


@pytest.mark.parametrize("target", TARGETS)
def test_sums_of_more_than_32_bits(target: str, rng: np.random.Generator) -> None:
    """Of activations of 16 bits that are never below their zero point, as behind Relu."""
    x = TensorType((1, 70, 4, 5), DType.I16, Quantization.per_tensor(0.001, -(2**15)))
    w = TensorType((21, 70, 3, 3), DType.I8, Quantization.per_tensor(0.01, 0))
    conv = Conv((1, 1), (1, 0, 1, 1), (1, 1), 1, "none", ())
    case = make_case("parts", product_sample(rng, conv, x, w, 0))
    (op,) = case.module.main.ops
    op.set_operand(1, case.module.add_constant("w", rng.choice([-127, 125], w.shape).astype(np.int8), w))
    assert is_op(op, Conv)
    assert word_parts(op) == 3
    check([with_layouts(case, "c16", "", "c16")], target)


@pytest.mark.parametrize("group", [1, 32])
def test_sums_that_fit_32_bits_in_no_parts_have_no_such_kernel(group: int, rng: np.random.Generator) -> None:
    x = TensorType((1, 32, 23, 23), DType.I16, Quantization.per_tensor(0.001, -(2**15)))
    w = TensorType((32, 32 // group, 23, 23), DType.I8, Quantization.per_tensor(0.01, 0))
    case = make_case("wide", product_sample(rng, Conv((1, 1), (0, 0, 0, 0), (1, 1), group, "none", ()), x, w, 0))
    (op,) = case.module.main.ops
    op.set_operand(1, case.module.add_constant("w", np.full(w.shape, 127, np.int8), w))
    with_layouts(case, "c16", "", "c16")
    assert is_op(op, Conv)
    assert convolution(op, described(TARGETS[0])) is None


@pytest.mark.sweep
@pytest.mark.parametrize("target", LEVELS)
@pytest.mark.parametrize("kind", OF_WORDS)
def test_many_random_shapes_of_16_bits(kind: str, target: str, rng: np.random.Generator) -> None:
    check([words(kind, rng) for _ in range(50)], target)


@pytest.mark.sweep
@pytest.mark.parametrize("target", LEVELS)
@pytest.mark.parametrize("kind", [*KINDS, "product"])
def test_many_random_shapes(kind: str, target: str, rng: np.random.Generator) -> None:
    check([product(rng) if kind == "product" else blocked(kind, rng) for _ in range(50)], target)


@pytest.mark.parametrize(
    ("name", "product"),
    [
        ("avx2", "vpmaddubsw\t%ymm"),
        ("x86-64-v4", "vpmaddubsw\t%zmm"),
        ("avx-vnni", "{vex}\tvpdpbusd\t%ymm"),
        ("avx512-vnni", "vpdpbusd\t"),
        ("aarch64", "sadalp\tv"),
        ("aarch64-dotprod", "\tsdot\tv"),
        ("aarch64-i8mm", "\tusdot\tv"),
    ],
)
def test_the_product_of_bytes_of_each_level(name: str, product: str, rng: np.random.Generator) -> None:
    """Also of those that this machine lacks: nothing runs."""
    target = TargetDescription.named(name)
    cases = (blocked("pointwise", rng) for _ in range(1000))
    op = next(op for case in cases for op in case.module.main.ops if op.result.type.shape[1] > MOST_OUTPUTS)
    kernel = lower(op, target)
    assert kernel is not None
    assert product in machine(target).emit_assembly(parse(kernel.text, kernel.name, target)).replace("  ", " ")


def on_half_registers() -> TargetDescription:
    """The level avx-vnni, by the encoding of a processor that has registers of 512 bits as well."""
    level = TargetDescription.named("avx-vnni")
    features = {*level.features} - {"avxvnni"} | {"avx512f", "avx512vl", "avx512vnni"}
    return replace(level, features=tuple(sorted(features)), level="")


@pytest.mark.parametrize(
    ("name", "are_words"), [("avx-vnni", True), ("avx512-vnni", False), ("aarch64-dotprod", False)]
)
def test_pixels_are_transposed_where_a_register_holds_four(
    name: str, are_words: bool, rng: np.random.Generator
) -> None:
    (op,) = blocked("depthwise", rng).module.main.ops
    kernel = lower(op, TargetDescription.named(name))
    assert kernel is not None
    assert kernel.name.startswith("word_depthwise" if are_words else "quantized_depthwise")


def test_products_of_half_registers(rng: np.random.Generator) -> None:
    target = on_half_registers()
    if (reason := missing(target.triple, target.features)) is not None:
        pytest.skip(reason)
    assert target.vector_bits == 256
    check_kernels([blocked(kind, rng, small=True) for kind in KINDS], target, lambda op, kernel: kernel)


def test_lanes_are_input_channels_where_outputs_are_few(rng: np.random.Generator) -> None:
    """On processors that add up products of two words; of five outputs they are those."""
    kernels = {name: set[str]() for name in ("x86-64-v3", "avx512-vnni", "aarch64-i8mm")}
    for outputs, (name, found) in product_of(range(1, 6), kernels.items()):
        x, w = random_type(rng, DType.U8, (1, 40, 6, 6)), weight_type(rng, (outputs, 40, 3, 3), 0)
        case = make_case("few", product_sample(rng, Conv((1, 1), (0,) * 4, (1, 1)), x, w, 0))
        (op,) = with_layouts(case, "c16", "o16i4", "c16").module.main.ops
        kernel = lower(op, TargetDescription.named(name))
        assert kernel is not None
        found.update({str(outputs)} if kernel.name.startswith("few_outputs") else ())
    assert kernels == {"x86-64-v3": {*"1234"}, "avx512-vnni": {*"1234"}, "aarch64-i8mm": set()}


def test_long_kernels_are_not_unrolled_for_each_output(rng: np.random.Generator) -> None:
    """A kernel of 127 columns and four outputs took 47 MB of LLVM's text, and a megabyte of code."""
    cases = []
    for columns in (16, 17):
        x, w = random_type(rng, DType.U8, (1, 16, 2, 40)), weight_type(rng, (4, 16, 1, columns), 0)
        sample = product_sample(rng, Conv((1, 1), (0, 8, 0, 8), (1, 1), 1, "none", ()), x, w, 0)
        cases.append(with_layouts(make_case("long", sample), "c16", "o16i4", "c16"))
    kernels = [lower(op, TargetDescription.named("v3")) for case in cases for op in case.module.main.ops]
    assert [kernel is not None and kernel.name.startswith("few_outputs") for kernel in kernels] == [True, False]
    check(cases, "v3")


OF_LINES = ("x86-64-v2", "x86-64-v3", "x86-64-v4")
"""Processors whose products of bytes saturate, where first layers read lines of words."""


def first_layer(
    rng: np.random.Generator, shape: tuple[int, ...], outputs: int, kernel: tuple[int, int], stride: int, pads: int
) -> Case:
    """Of an image: strides and pads of its columns; one of each of its rows."""
    conv = Conv((1, stride), (1, pads, 1, pads), (1, 1), 1, *random_activation(rng))
    x = random_type(rng, DType.I8 if rng.random() < 0.5 else DType.U8, shape)
    w = weight_type(rng, (outputs, shape[1], *kernel), 0)
    case = make_case(f"{conv} {x} {w}", product_sample(rng, conv, x, w, 0))
    return with_layouts(case, "", "o16k4", "c16")


def scratch_of(case: Case, name: str) -> int:
    (op,) = case.module.main.ops
    kernel = lower(op, TargetDescription.named(name))
    assert kernel is not None
    return kernel.scratch_bytes


@pytest.mark.parametrize("target", OF_LINES)
def test_edges_of_lines(target: str, rng: np.random.Generator) -> None:
    """Four columns and a window beyond both ends, rows x channels that are odd, a line longer than its vectors."""
    cases = [
        first_layer(rng, (2, 3, 8, 4), 16, (3, 3), 1, 3),
        first_layer(rng, (1, 1, 5, 4), 8, (3, 5), 2, 4),
        first_layer(rng, (1, 3, 6, 37), 40, (5, 4), 3, 2),
        first_layer(rng, (1, 4, 4, 19), 3, (1, 1), 4, 0),
    ]
    for case in cases:
        assert scratch_of(case, target), f"{case.name} is read without lines"
    check(cases, target)


@pytest.mark.parametrize("target", OF_LINES)
@pytest.mark.parametrize(("pads", "stride"), [(10**6, 5 * 10**5), (10**9, 5 * 10**8)])
def test_far_padding_is_in_no_line(pads: int, stride: int, target: str, rng: np.random.Generator) -> None:
    """Before, lines held it: 40 GB of scratch memory for an image of 96 bytes."""
    case = first_layer(rng, (1, 3, 8, 4), 16, (3, 3), stride, pads)
    assert scratch_of(case, target) < 4096
    check([case], target)


def test_lines_are_no_longer_than_kernels_copy(rng: np.random.Generator) -> None:
    """However much of them taps read: nothing runs."""
    case = first_layer(rng, (1, 1, 1, 4), 1, (1, 1), 1, 5 * 10**6)
    assert scratch_of(case, "v3") <= MOST_COPIED
