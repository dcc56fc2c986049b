"""Quantised convolution and matrix products in blocked layouts against the reference, byte for byte."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_harness import TARGETS
from operator_samples import Case, make_case
from quantized_cases import check, product_sample, random_activation, random_type, weight_type

from tilewright.codegen.cpu.families import lower
from tilewright.codegen.cpu.llvm.module import parse
from tilewright.codegen.cpu.llvm.target import TargetDescription, machine
from tilewright.ir.ops.convolution import Conv
from tilewright.ir.ops.matmul import MatMul
from tilewright.ir.types import DType

KINDS = ("blocked", "grouped", "pointwise", "plain", "depthwise")
"""Of convolutions; ``plain`` takes row-major inputs."""


LEVELS = (*TARGETS, "x86-64-v2", "x86-64-v4", "avx-vnni")
"""With those of the processors of x86 that have other products of bytes."""


def with_layouts(case: Case, x: str, w: str, y: str) -> Case:
    """The same op on tensors in other layouts."""
    (op,) = case.module.main.ops
    for value, layout in zip((*op.inputs[:2], op.result), (x, w, y), strict=True):
        value.type = value.type.with_layout(layout)
    return case


def blocked(kind: str, rng: np.random.Generator) -> Case:
    """A random convolution of a kind."""
    rank = int(rng.choice([1, 2, 2, 2]))

    def numbers(low: int, high: int, count: int = rank) -> tuple[int, ...]:
        return tuple(int(n) for n in rng.integers(low, high + 1, count))

    kernel, strides, pads = numbers(1, 5), numbers(1, 3), numbers(0, 3, 2 * rank)
    dilations = (1,) * rank if kind == "plain" else numbers(1, 2)
    if kind == "pointwise":
        kernel, strides, pads = (1,) * rank, (1,) * rank, (0,) * 2 * rank
    reach = [d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True)]
    least = 4 if kind == "plain" else 1
    image = tuple(int(rng.integers(max(least, r - pads[i] - pads[rank + i]), r + 20)) for i, r in enumerate(reach))
    group = 2 if kind == "grouped" else 1
    channels, outputs = (int(n) for n in rng.integers(1, 70, 2))
    if kind == "grouped":
        channels, outputs = 32 * (channels % 2 + 1), 32 * (outputs % 2 + 1)
    if kind == "plain":
        channels = channels % 4 + 1
    dtype = DType.I8 if rng.random() < 0.5 else DType.U8
    if kind == "depthwise":
        group = outputs = channels
    x = random_type(rng, dtype, (int(rng.integers(1, 3)), channels, *image))
    w = weight_type(rng, (outputs, channels // group, *kernel), 0)
    conv = Conv(strides, pads, dilations, group, *random_activation(rng))
    case = make_case(f"{kind} {conv} {x} {w}", product_sample(rng, conv, x, w, 0))
    layouts = ("", "o16k4", "c16") if kind == "plain" else ("c16", "o16i4", "c16")
    if kind == "depthwise":
        layouts = ("c16", "o16k4", "c16")
    return with_layouts(case, *layouts)


@pytest.mark.parametrize("target", LEVELS)
@pytest.mark.parametrize("kind", KINDS)
def test_random_shapes(kind: str, target: str, rng: np.random.Generator) -> None:
    check([blocked(kind, rng) for _ in range(6 if target in TARGETS else 2)], target)


def product(rng: np.random.Generator) -> Case:
    """A random product of activations and a matrix in layout for dot products."""
    rows, columns, inner = int(rng.integers(1, 40)), int(rng.integers(1, 100)), 4 * int(rng.integers(1, 30))
    transposed = bool(rng.random() < 0.5)
    dtype = DType.I8 if rng.random() < 0.5 else DType.U8
    x = random_type(rng, dtype, [(rows, inner), (2, rows, inner), (1, inner)][int(rng.integers(3))])
    axis = 0 if transposed else 1
    w = weight_type(rng, (columns, inner) if transposed else (inner, columns), axis)
    matmul = MatMul(False, transposed, *random_activation(rng))
    case = make_case(f"{matmul} {x} {w}", product_sample(rng, matmul, x, w, axis))
    return with_layouts(case, "", "o16i4" if transposed else "i4o16", "")


@pytest.mark.parametrize("target", TARGETS)
def test_random_products(target: str, rng: np.random.Generator) -> None:
    check([product(rng) for _ in range(8)], target)


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
    ],
)
def test_the_product_of_bytes_of_each_level(name: str, product: str, rng: np.random.Generator) -> None:
    """Also of those that this machine lacks: nothing runs."""
    target = TargetDescription.named(name)
    (op,) = blocked("pointwise", rng).module.main.ops
    kernel = lower(op, target)
    assert kernel is not None
    assert product in machine(target).emit_assembly(parse(kernel.text, kernel.name, target)).replace("  ", " ")
