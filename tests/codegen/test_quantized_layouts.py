"""Operators on quantised tensors in layout ``c16`` against the references, byte for byte."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_harness import TARGETS
from operator_samples import Case, make_case
from quantized_cases import check, integers, random_type
from samples import Sample

from tilewright.ir.op import Operator
from tilewright.ir.ops.activation import Sigmoid
from tilewright.ir.ops.elementwise import Add, Max, Mul
from tilewright.ir.ops.movement import Concat, Interleave, Reorder
from tilewright.ir.ops.pooling import AveragePool, GlobalAveragePool, GlobalMaxPool, MaxPool
from tilewright.ir.ops.quantization import Dequantize, Quantize, Requantize
from tilewright.ir.types import DType, TensorType

BYTES = (DType.I8, DType.U8)


def blocked(operator: Operator, operands: list[TensorType], result: TensorType, rng: np.random.Generator) -> Case:
    """An op on random operands, all tensors in layout ``c16`` that are of more than one element."""
    arrays = tuple(
        integers(rng, type) if type.quant else rng.standard_normal(type.shape).astype(type.dtype.numpy)
        for type in operands
    )
    sample = Sample(operator, arrays, types=tuple(operands), result_types=(result,))
    case = make_case(f"{operator} {operands} {result}", sample)
    (op,) = case.module.main.ops
    for value in (*op.inputs, op.result):
        value.type = value.type.with_layout("c16" if value.type.elements > 1 else "")
    return case


@pytest.mark.parametrize("target", TARGETS)
def test_pooling(target: str, rng: np.random.Generator) -> None:
    cases = []
    windows = [
        ((3, 3), (2, 2), (1, 1, 1, 1), (1, 1), (0, 0)),
        ((3, 2), (1, 2), (0, 1, 2, 0), (1, 1), (0, 0)),
        ((3, 3), (2, 2), (0, 1, 1, 0), (1, 1), (1, 1)),
        ((2, 3), (1, 1), (1, 0, 1, 1), (2, 2), (0, 0)),
    ]
    for index, (kernel, strides, pads, dilations, overhang) in enumerate(windows):
        for dtype in BYTES:
            x = random_type(rng, dtype, (2, 19, 9, 8))
            assert x.quant is not None
            largest = MaxPool(kernel, strides, pads, dilations)
            cases.append(blocked(largest, [x], largest.infer(x), rng))
            average = AveragePool(kernel, strides, pads, dilations, index % 2 == 0, overhang)
            y = random_type(rng, dtype, average.infer(x).shape, x.quant.scale[0] * (1, 0.7)[index % 2])
            cases.append(blocked(average, [x], y, rng))
        largest = MaxPool(kernel, strides, pads, dilations)
        x = random_type(rng, DType.I16, (2, 19, 9, 8))
        cases.append(blocked(largest, [x], largest.infer(x), rng))
    check(cases, target)


@pytest.mark.parametrize("target", TARGETS)
def test_global_pooling(target: str, rng: np.random.Generator) -> None:
    cases = []
    for dtype in BYTES:
        for shape in ((1, 32, 7, 7), (2, 5, 11)):
            x = random_type(rng, dtype, shape)
            y = random_type(rng, dtype, GlobalMaxPool().infer(x).shape)
            cases += [blocked(GlobalMaxPool(), [x], GlobalMaxPool().infer(x), rng)]
            cases += [blocked(GlobalAveragePool(), [x], y, rng)]
    x = random_type(rng, DType.I16, (2, 21, 5, 7))
    cases.append(blocked(GlobalMaxPool(), [x], GlobalMaxPool().infer(x), rng))
    check(cases, target)


@pytest.mark.parametrize("target", TARGETS)
def test_elementwise(target: str, rng: np.random.Generator) -> None:
    cases = []
    for dtype in BYTES:
        for shape in ((1, 32, 7, 5), (2, 19, 6)):
            x, y, z = (random_type(rng, dtype, shape, 0.01 * (i + 1)) for i in range(3))
            scalar = random_type(rng, dtype, (1,), 0.02)
            cases += [blocked(Add(), [x, y], z, rng), blocked(Mul(), [x, scalar], z, rng)]
            cases += [
                blocked(Max(), [x, x], x, rng),
                blocked(Sigmoid(), [x], y, rng),
                blocked(Requantize(), [x], y, rng),
            ]
            real = TensorType(shape, DType.F32)
            cases += [blocked(Quantize(), [real], x, rng), blocked(Dequantize(), [x], real, rng)]
    check(cases, target)


@pytest.mark.parametrize("target", TARGETS)
def test_concatenation(target: str, rng: np.random.Generator) -> None:
    x = random_type(rng, DType.I8, (2, 48, 5, 3))
    parts = [TensorType((2, channels, 5, 3), DType.I8, x.quant) for channels in (16, 32, 7)]
    result = TensorType((2, 55, 5, 3), DType.I8, x.quant)
    check([blocked(Concat(1), parts, result, rng)], target)


@pytest.mark.parametrize("target", TARGETS)
def test_interleaving(target: str, rng: np.random.Generator) -> None:
    cases = []
    for operator, channels, extents in (
        (Interleave((2, 3), (1, 2), (5, 6)), 192, (3, 3)),
        (Interleave((4,), (3,), (7,)), 64, (3,)),
        (Interleave((9,), (5,), (20,)), 288, (3,)),
    ):
        x = random_type(rng, DType.I8, (2, channels, *extents))
        cases.append(blocked(operator, [x], operator.infer(x), rng))
    check(cases, target)


@pytest.mark.parametrize("target", TARGETS)
def test_reorder(target: str, rng: np.random.Generator) -> None:
    cases = []
    for dtype in BYTES:
        for shape in ((1, 3, 9, 9), (2, 37, 5, 7), (1, 16, 4, 4), (3, 50), (1, 32, 17)):
            for source, target_layout in (("", "c16"), ("c16", "")):
                type = random_type(rng, dtype, shape)
                case = blocked(Reorder(), [type], type, rng)
                (op,) = case.module.main.ops
                op.inputs[0].type = type.with_layout(source)
                op.result.type = type.with_layout(target_layout)
                cases.append(case)
    check(cases, target)
