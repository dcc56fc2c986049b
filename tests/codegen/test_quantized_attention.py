"""Attention of integers by products of bytes: what random numbers rarely meet."""

from __future__ import annotations

import math

import numpy as np
import pytest
from kernel_harness import TARGETS
from operator_samples import make_case
from quantized_cases import check
from samples import Sample, quantized_type

from tilewright.ir.ops.attention import Attention
from tilewright.ir.types import DType


@pytest.mark.parametrize("target", TARGETS)
def test_weights_of_each_step_of_an_octave(target: str) -> None:
    """Two of them lie in the middle between two integers, the even one below; a result shows which was taken."""
    views = (0, 0, 1, 1), (0, 2, 1, 1), (0, 0, 1, 1), (0, 1, 1, 1)
    attention = Attention((256,), 1, 2, 1, 1, (256, 1, 1), *views, scale=math.log(2) / 256)
    keys = np.stack([np.full(256, 255), 255 - np.arange(256)], 1).astype(np.uint8)
    arrays = np.array([1], np.uint8), keys, np.array([0, 127], np.uint8)
    scales = 1.0, 1.0, 2.5
    types = [quantized_type(DType.U8, array.shape, scale) for array, scale in zip(arrays, scales, strict=True)]
    result = quantized_type(DType.U8, (256, 1, 1), 1.0)
    check([make_case("octave", Sample(attention, (*arrays, None), frozenset(), (*types, None), (result,)))], target)
