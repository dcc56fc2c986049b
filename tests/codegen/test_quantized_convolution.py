"""Quantised convolution and matrix products in blocked layouts against the reference, byte for byte."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_harness import EMULATED, TARGETS
from quantized_cases import blocked, check, product, words

from tilewright.codegen.cpu.families import lower
from tilewright.codegen.cpu.llvm.module import parse
from tilewright.codegen.cpu.llvm.target import TargetDescription, machine

KINDS = ("blocked", "grouped", "joined", "pointwise", "plain", "depthwise")
"""Of convolutions; ``plain`` takes row-major inputs, and groups of ``joined`` are no whole blocks."""


LEVELS = (*TARGETS, "x86-64-v2", "x86-64-v4", "avx-vnni", *EMULATED)
"""With those of the processors that have other products of bytes."""


@pytest.mark.parametrize("target", LEVELS)
@pytest.mark.parametrize("kind", KINDS)
def test_random_shapes(kind: str, target: str, rng: np.random.Generator) -> None:
    # Kernels of processors without vectors are long, and an emulator goes through each element.
    check([blocked(kind, rng, small=target in EMULATED) for _ in range(4 if target in TARGETS else 2)], target)


@pytest.mark.parametrize("target", [*TARGETS, *EMULATED])
def test_random_products(target: str, rng: np.random.Generator) -> None:
    check([product(rng) for _ in range(5 if target in TARGETS else 4)], target)


OF_WORDS = ("blocked", "grouped", "joined", "pointwise", "depthwise", "product")


@pytest.mark.parametrize("target", LEVELS)
@pytest.mark.parametrize("kind", OF_WORDS)
def test_random_shapes_of_16_bits(kind: str, target: str, rng: np.random.Generator) -> None:
    check([words(kind, rng, small=target in EMULATED) for _ in range(4 if target in TARGETS else 2)], target)


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
    (op,) = blocked("pointwise", rng).module.main.ops
    kernel = lower(op, target)
    assert kernel is not None
    assert product in machine(target).emit_assembly(parse(kernel.text, kernel.name, target)).replace("  ", " ")
