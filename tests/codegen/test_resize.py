"""Resampling by tables: rows that are copied, summed in parts or kept, exact sums, and loops without gathers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from generic_kernels import assert_equals_reference
from llvmlite.binding import llvm_version_info
from operator_samples import make_case
from quantized_cases import check
from samples import Sample, quantized_type

from tilewright.codegen.cpu.families import lower
from tilewright.codegen.cpu.llvm.builder import LONG_TABLE
from tilewright.codegen.cpu.llvm.target import TargetDescription
from tilewright.ir.ops.resize import Resize
from tilewright.ir.types import DType


def test_long_tables() -> None:
    """Tables that are written as bytes hold the same numbers, those that LLVM computes with included."""
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    resizes = [
        Resize((2, extent), (1.0, extent / 3), mode)
        for mode in ("nearest", "linear", "cubic")
        for extent in (LONG_TABLE // 4 - 2, LONG_TABLE + 1)
    ]
    assert_equals_reference([make_case(f"{resize}", Sample(resize, (x,))) for resize in resizes])


def test_elements_and_rows_that_nearest_neighbours_repeat() -> None:
    """All elements twice but the last, as where odd extents are brought to those of an earlier layer; and long rows."""
    x = np.arange(60, dtype=np.float32).reshape(4, 15)
    resizes = [
        Resize(extents, scales, "nearest", "asymmetric", "floor")
        for extents, scales in (((4, 29), (1.0, 29 / 15)), ((8, 29), (2.0, 29 / 15)))
    ]
    assert_equals_reference([make_case(f"{resize}", Sample(resize, (x,))) for resize in resizes])


def test_few_columns_of_a_long_row() -> None:
    """Rows are summed only where they are read: far apart, near each other, at the end, and before and behind x."""
    x = np.sin(np.arange(4 * 700 * 3, dtype=np.float32)).reshape(4, 700, 3)
    crop, roi = "tf_crop_and_resize", (0.1, -0.2, 0.0, 0.9, 1.3, 1.0)
    resizes = [
        Resize((3, 4, 3), (0.75, 4 / 700, 1.0), "linear"),
        Resize((2, 3, 3), (0.5, 3 / 700, 1.0), "cubic", "align_corners"),
        Resize((3, 5, 3), (0.75, 5 / 700, 1.0), "linear", crop, roi=roi, extrapolation_value=7.0),
        Resize((3, 9, 3), (0.75, 9 / 700, 1.0), "cubic", crop, roi=roi, extrapolation_value=7.0),
    ]
    assert_equals_reference([make_case(f"{resize}", Sample(resize, (x,))) for resize in resizes])


def test_rows_of_fewer_rows_are_resampled_once() -> None:
    """Rows of x along the last dimension first, where the result has more of them: images, pixels of three channels,
    volumes; and not where they are too many to be kept."""
    resizes = [
        Resize((9, 31), (9 / 4, 31 / 15), "linear"),
        Resize((8, 30), (2.0, 2.0), "cubic"),
        Resize((2, 9, 7, 3), (1.0, 9 / 4, 7 / 5, 1.0), "linear", "align_corners"),
        Resize((2, 5, 8, 10), (1.0, 5 / 3, 2.0, 2.0), "linear", "asymmetric"),
        Resize((620, 1800), (620 / 600, 900.0), "linear"),
    ]
    shapes = (4, 15), (4, 15), (2, 4, 5, 3), (2, 3, 4, 5), (600, 2)
    cases = []
    for resize, shape in zip(resizes, shapes, strict=True):
        x = np.sin(np.arange(math.prod(shape), dtype=np.float32)).reshape(shape)
        cases.append(make_case(f"{resize}", Sample(resize, (x,))))
    assert_equals_reference(cases)


def test_integers_are_resampled_along_four_dimensions_with_others_between() -> None:
    """Those between took two digits of a sum, which then no number held."""
    shape, extents = (2, 3, 2, 2, 3, 2), (5, 7, 2, 2, 5, 7)
    scales = tuple(extent / before for extent, before in zip(extents, shape, strict=True))
    x = (np.arange(math.prod(shape)) * 89 % 256).astype(np.uint8).reshape(shape)
    types = [quantized_type(DType.U8, each, 0.5) for each in (shape, extents)]
    check(
        [make_case("four", Sample(Resize(extents, scales, "linear"), (x,), frozenset(), (types[0],), (types[1],)))],
        "host",
    )


@pytest.mark.skipif(llvm_version_info[0] < 20, reason="LLVM cannot be told to gather nothing")
@pytest.mark.parametrize("level", ["x86-64-v3", "x86-64-v4"])
def test_loops_gather_nothing(level: str) -> None:
    """With AVX-512 LLVM gathered what is read apart, which took up to five times as long as element by element."""
    resizes = [Resize((1, 3, 224, 300), (1.0, 1.0, 224 / 480, 300 / 640), mode) for mode in ("nearest", "linear")]
    for resize in resizes:
        (op,) = make_case("far", Sample(resize, (np.zeros((1, 3, 480, 640), np.float32),))).module.main.ops
        kernel = lower(op, TargetDescription.named(level))
        assert kernel is not None
        assert "masked.gather" not in kernel.text
