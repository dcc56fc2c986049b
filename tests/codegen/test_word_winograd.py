"""Winograd's algorithm on integers: every byte that of the reference, and where it cannot be, none of it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from operator_samples import Case, make_case
from quantized_cases import check, product_sample, random_activation, random_type, weight_type
from samples import Sample

from tilewright.codegen.cpu.families import lower
from tilewright.codegen.cpu.kernels.convolutions import word_winograd
from tilewright.codegen.cpu.llvm.target import TargetDescription
from tilewright.ir.ops.convolution import Conv
from tilewright.ir.types import DType, Quantization, TensorType

LEVELS = ("x86-64-v2", "x86-64-v3", "x86-64-v4")
"""Whose product of bytes saturates; `check` runs those that this machine has."""


def in_blocks(case: Case) -> Case:
    (op,) = case.module.main.ops
    for value, layout in zip((*op.inputs[:2], op.result), ("c16", "o16i4", "c16"), strict=True):
        value.type = value.type.with_layout(layout)
    return case


def kernel_of(case: Case, level: str) -> str:
    (op,) = case.module.main.ops
    kernel = lower(op, TargetDescription.named(level))
    assert kernel is not None
    return kernel.name


def convolution(rng: np.random.Generator) -> Case:
    """A random one of stride 1, half of them by 3 x 3 windows, some of one dimension."""
    sizes = int(rng.integers(2, 10)), int(rng.integers(1, 10))
    window = [(3, 3), (3, 3), sizes, sizes[::-1], sizes[:1]][int(rng.integers(5))]
    rank = len(window)
    pads = tuple(int(n) for n in rng.integers(0, 4, 2 * rank))
    image = [int(rng.integers(max(1, window[i] - pads[i] - pads[i + rank]), 25)) for i in range(rank)]
    most = 9 * 70 // math.prod(window)  # so that sums are small enough for any algorithm
    channels, outputs = int(rng.integers(1, max(2, min(70, most)))), int(rng.integers(1, 70))
    x = random_type(rng, DType.I8 if rng.random() < 0.5 else DType.U8, (int(rng.integers(1, 3)), channels, *image))
    w = weight_type(rng, (outputs, channels, *window), 0)
    conv = Conv((1,) * rank, pads, (1,) * rank, 1, *random_activation(rng))
    return in_blocks(make_case(f"{conv} {x} {w}", product_sample(rng, conv, x, w, 0)))


def check_random(rng: np.random.Generator, level: str, algorithm: str, count: int, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(word_winograd, "ALGORITHMS", {algorithm: word_winograd.ALGORITHMS[algorithm]})
    patch.setattr(word_winograd, "_LEAST_GAIN", float("inf"))
    cases = [convolution(rng) for _ in range(count)]
    assert all(kernel_of(case, level).startswith("word_winograd") for case in cases)
    check(cases, level)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("algorithm", word_winograd.ALGORITHMS)
def test_random_shapes(level: str, algorithm: str, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    check_random(rng, level, algorithm, 4, monkeypatch)


@pytest.mark.sweep
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("algorithm", word_winograd.ALGORITHMS)
def test_many_random_shapes(
    level: str, algorithm: str, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_random(rng, level, algorithm, 60, monkeypatch)


def extreme(channels: int, *, are_mixed: bool = False) -> Case:
    """Weights and inputs of the largest magnitudes: 255 * 127 * 9 * channels is the largest sum, or half of it where
    half of the channels have weights of the other sign.
    """
    conv = Conv((1, 1), (1, 1, 1, 1), (1, 1), 1)
    x, w = np.full((1, channels, 20, 20), 255, np.uint8), np.full((48, channels, 3, 3), 127, np.int8)
    w[1::3], w[2::3, :, 1:] = -127, -127
    x[:, 1::2] *= not are_mixed
    w[:, 1::2] *= -1 if are_mixed else 1
    types = (
        TensorType(x.shape, DType.U8, Quantization.per_tensor(0.5, 0)),
        TensorType(w.shape, DType.I8, Quantization.per_tensor(0.5, 0)),
        None,
    )
    y = replace(types[0], shape=(1, 48, 20, 20), quant=Quantization.per_tensor(2.0**16, 128))
    return in_blocks(make_case("extreme", Sample(conv, (x, w, None), frozenset({1, 2}), types, (y,))))


def test_the_largest_sums_that_are_exact() -> None:
    case = extreme(112)
    assert kernel_of(case, "v3").startswith("word_winograd")
    check([case], "x86-64-v3")


def test_larger_sums_are_computed_by_smaller_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    case = extreme(128)
    assert kernel_of(case, "v3").startswith("word_winograd")
    check([case], "x86-64-v3")
    monkeypatch.setattr(word_winograd, "ALGORITHMS", {"f4": word_winograd.ALGORITHMS["f4"]})
    assert kernel_of(case, "v3").startswith("paired_convolution")


def test_the_largest_sums_are_left_to_pairs_of_weights() -> None:
    assert kernel_of(extreme(1824), "v3").startswith("word_winograd")
    assert kernel_of(extreme(1856), "v3").startswith("paired_convolution")


def test_weights_of_both_signs_reach_twice_as_far(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes without a sign add up to as much by the weights of one sign alone."""
    monkeypatch.setattr(word_winograd, "ALGORITHMS", {"f4": word_winograd.ALGORITHMS["f4"]})
    case = extreme(224, are_mixed=True)
    assert kernel_of(case, "v3").startswith("word_winograd")
    check([case], "x86-64-v3")
    assert kernel_of(extreme(240, are_mixed=True), "v3").startswith("paired_convolution")


def test_where_it_pays() -> None:
    """Not where there are dot products of bytes, nor where weights would have to be fetched for a few pixels."""
    assert kernel_of(extreme(64), "avx512-vnni").startswith("quantized_convolution")
    conv = Conv((1, 1), (1, 1, 1, 1), (1, 1), 1)
    rng = np.random.default_rng(0)
    x, w = random_type(rng, DType.U8, (1, 512, 7, 7), 0.5), weight_type(rng, (512, 512, 3, 3), 0)
    few = in_blocks(make_case("few", product_sample(rng, conv, x, w, 0)))
    assert kernel_of(few, "v3").startswith("paired_convolution")


def large(extent: int, *, outputs: int = 16) -> Case:
    """Windows of so many rows and columns of small weights, of which there are 32 x 32 in the image."""
    conv, size = Conv((1, 1), (0, 0, 0, 0), (1, 1), 1), extent + 31
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (1, 16, size, size)).astype(np.uint8)
    w = rng.integers(-1, 2, (outputs, 16, extent, extent)).astype(np.int8)
    types = (
        TensorType(x.shape, DType.U8, Quantization.per_tensor(0.5, 0)),
        TensorType(w.shape, DType.I8, Quantization.per_tensor(0.5, 0)),
        None,
    )
    y = replace(types[0], shape=(1, outputs, 32, 32), quant=Quantization.per_tensor(2.0**8, 128))
    return in_blocks(make_case(f"large {extent}", Sample(conv, (x, w, None), frozenset({1, 2}), types, (y,))))


def code_of(case: Case) -> str:
    (op,) = case.module.main.ops
    kernel = lower(op, TargetDescription.named("x86-64-v3"))
    assert kernel is not None
    assert kernel.name.startswith("word_winograd")
    assert len(kernel.data) <= word_winograd._MOST_BYTES
    return kernel.text


def test_code_does_not_grow_with_the_window() -> None:
    """The windows of 3 x 3 that a large one is made of, from 4 to 225 of them, are a loop."""
    texts = [code_of(large(extent)) for extent in (6, 12, 30, 45)]
    calls, lines = ([text.count(what) for text in texts] for what in ("call ", "\n"))
    assert calls[0] == calls[1] >= calls[2] == calls[3]
    assert lines[0] == lines[1] >= lines[2] == lines[3]
    check([large(8)], "x86-64-v3")


def test_weights_that_are_read_several_times_take_so_many_bytes_at_most() -> None:
    """There, F(2 x 2) has half as many; and where that is slower, pairs have less."""
    assert "word_winograd" in kernel_of(large(66), "v3")
    assert code_of(large(66, outputs=32))
    assert kernel_of(large(99), "v3").startswith("paired_convolution")
