"""What operators say about operands and attributes that do not fit."""

from __future__ import annotations

import math
import re

import pytest

from tilewright.errors import IRError
from tilewright.ir.op import Operator
from tilewright.ir.ops.activation import PRelu
from tilewright.ir.ops.comparison import And, Where
from tilewright.ir.ops.convolution import Conv, ConvTranspose
from tilewright.ir.ops.elementwise import Add
from tilewright.ir.ops.matmul import MatMul
from tilewright.ir.ops.movement import Pad
from tilewright.ir.ops.normalization import BatchNorm, GroupNorm, LayerNorm, LpNorm, Lrn
from tilewright.ir.ops.pooling import AveragePool, GlobalAveragePool, GlobalLpPool, LpPool, MaxPool
from tilewright.ir.ops.resize import Resize
from tilewright.ir.types import DType, TensorType


def f32(*shape: int) -> TensorType:
    return TensorType(shape, DType.F32)


def i64(*shape: int) -> TensorType:
    return TensorType(shape, DType.I64)


@pytest.mark.parametrize(
    ("operator", "operands", "text"),
    [
        (Add(), (f32(2),), "add: operand 'y' is missing"),
        (Add(), (f32(2), f32(3)), "add: the shapes do not broadcast"),
        (Add(), (f32(2), i64(2)), "add: the element types differ; expected f32, found i64"),
        (And(), (f32(2), f32(2)), "and: element type is not allowed; expected bool, found f32"),
        (Where(), (f32(2), f32(2), f32(2)), "where: element type is not allowed; expected bool, found f32"),
        (PRelu(), (f32(2), f32(3, 2)), "prelu: the slope does not broadcast to x; expected [2], found [3, 2]"),
        (Pad((0, 2), "reflect"), (f32(2),), "reflected pads are too large; expected less than 2, found (0, 2)"),
        (
            Conv((1,), (0, 0), (1,)),
            (f32(1, 0, 4), f32(2, 0, 3)),
            "x has no channels; expected at least 1, found [1, 0, 4]",
        ),
        (MatMul(), (f32(2), f32(2, 3)), "matmul: x and w need ranks of at least 2"),
        (MatMul(), (f32(4, 2), f32(3, 5)), "matmul: the inner extents of x and w differ; found [4, 2] and [3, 5]"),
        (MatMul(), (f32(4, 2), f32(2, 5), f32(4)), "b needs one element for each column; expected [5], found [4]"),
        (MatMul(), (f32(4, 2), f32(2, 5), None, f32(5)), "residual needs the shape of the result; expected [4, 5]"),
        (MatMul(act="relo"), (f32(4, 2), f32(2, 5)), "matmul: unknown activation"),
        (MaxPool((2,), (1,), (0, 0), (1,)), (f32(1, 1, 4, 4),), "do not match the spatial dimensions of x"),
        (MaxPool((5,), (1,), (0, 0), (1,)), (f32(1, 1, 4),), "the window is larger than the padded x"),
        (MaxPool((2,), (0,), (0, 0), (1,)), (f32(1, 1, 4),), "kernel, strides and dilations are at least 1"),
        (MaxPool((2,), (1,), (-1, 0), (1,)), (f32(1, 1, 4),), "pads at least 0"),
        (
            AveragePool((2,), (1,), (0, 0), (1,), False, ()),
            (f32(1, 1, 4),),
            "overhang is wrong; expected 1 of at least 0",
        ),
        (
            AveragePool((2,), (1,), (0, 0), (1,), False, (-1,)),
            (f32(1, 1, 4),),
            "of at least 0, found [-1]",
        ),
        (LpPool((2,), (1,), (0, 0), (1,), 0), (f32(1, 1, 4),), "lp_pool: p must be at least 1; found 0"),
        (GlobalLpPool(0), (f32(1, 1, 4),), "global_lp_pool: p must be at least 1; found 0"),
        (
            ConvTranspose((1,), (0, 0), (-1,), (0,)),
            (f32(1, 1, 4), f32(1, 1, 2)),
            "kernel, strides and dilations are at least 1, pads at least 0; found [2], [1], [-1] and [0, 0]",
        ),
        (
            ConvTranspose((1,), (0, 0), (1,), ()),
            (f32(1, 1, 4), f32(1, 1, 2)),
            "output_padding is wrong; expected 1 of at least 0, found []",
        ),
        (GlobalAveragePool(), (f32(1, 4, 0),), "global_average_pool: there is nothing to pool; found [1, 4, 0]"),
        (
            Resize((2**21 + 1,), (2.0,)),
            (f32(2**20),),
            "resize: a resampled dimension is too long; expected at most 2097152 positions, for nearest, found 2097153",
        ),
        (
            Resize((2**19 + 1,), (2.0,), "cubic"),
            (f32(2**18),),
            "resize: a resampled dimension is too long; expected at most 524288 positions, for cubic, found 524289",
        ),
        (Resize((2,), (1e-60,)), (f32(2),), "extents and scales need one positive number a dimension"),
        (
            Resize((2,), (1.0,), coordinates="tf_crop_and_resize", roi=(0.0, math.inf)),
            (f32(2),),
            "roi needs numbers; found [0.0, inf]",
        ),
        (
            Conv((1,), (0, 0), (1,)),
            (f32(1, 1, 4), i64(1, 1, 1)),
            "conv: the element types of the operands differ; expected f32, found i64",
        ),
        (
            LpPool((2,), (1,), (0, 0), (1,), 2),
            (i64(1, 1, 4),),
            "lp_pool: element type is not allowed; expected f16, f32",
        ),
        (GlobalLpPool(2), (i64(1, 1, 4),), "global_lp_pool: element type is not allowed; expected f16, f32, f64"),
        (GlobalAveragePool(), (f32(1, 4),), "global_average_pool: x needs spatial dimensions"),
        (BatchNorm(1e-5), (f32(1, 3), *[f32(3)] * 3, f32(4)), "var needs one element for each channel; expected [3]"),
        (LayerNorm(2, 1e-5), (f32(1, 3), f32(3)), "layer_norm: the axis is out of range; expected 0 to 1, found 2"),
        (LayerNorm(1, 1e-5), (f32(1, 3), f32(1)), "scale needs the shape of what is normalised; expected [3]"),
        (GroupNorm(2, 1e-5), (f32(1, 3, 4), f32(3), f32(3)), "the channels do not divide into groups"),
        (Lrn(0, 1.0, 1.0, 1.0), (f32(1, 3),), "lrn: size must be at least 1; found 0"),
        (LpNorm(1, 3), (f32(1, 3),), "lp_norm: there is no such norm; expected p of 1 or 2"),
    ],
)
def test_operands_that_do_not_fit_are_refused(
    operator: Operator, operands: tuple[TensorType | None, ...], text: str
) -> None:
    with pytest.raises(IRError, match=re.escape(text)):
        operator.result_types(operands)


def test_operands_without_types_are_never_absent() -> None:
    own = type("Own", (Operator,), {"infer": lambda self, x, y: x})
    assert (own.OPERANDS, own.REQUIRED) == (("x", "y"), 2)
