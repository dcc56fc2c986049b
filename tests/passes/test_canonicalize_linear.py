"""Canonical form around convolutions, matrix products and windows: what they take over, and what they must not."""

from __future__ import annotations

import numpy as np
import pytest
from before_after import assert_same_meaning, clone, run_pass

from tilewright.ir.core import Function, Module, Value
from tilewright.ir.op import Operator
from tilewright.ir.ops.activation import Clip, Relu
from tilewright.ir.ops.convolution import Conv, ConvTranspose
from tilewright.ir.ops.elementwise import Add, Div, Mul, Sub
from tilewright.ir.ops.matmul import MatMul
from tilewright.ir.ops.movement import Concat, Pad, Slice, Transpose
from tilewright.ir.ops.normalization import BatchNorm
from tilewright.ir.ops.pooling import AveragePool, MaxPool
from tilewright.ir.ops.reduction import ReduceMax, ReduceMean
from tilewright.ir.ops.shape import Reshape
from tilewright.ir.types import DType, TensorType


class Net:
    """A chain of ops on random numbers, in a few words."""

    def __init__(self, rng: np.random.Generator, *shape: int) -> None:
        self.rng = rng
        self.module = Module("test")
        self.function = self.module.add_function(Function("main", [("x", TensorType(shape, DType.F32))]))
        self.last: Value = self.function.parameters[0]

    def constant(self, *shape: int) -> Value:
        return self.module.add_constant("k", (0.5 + self.rng.random(shape)).astype(np.float32))

    def parameter(self, *shape: int) -> Value:
        return self.function.add_parameter(f"p{len(self.function.parameters)}", TensorType(shape, DType.F32))

    def then(self, operator: Operator, *others: Value | None, first: Value | None = None) -> Net:
        operands = [self.last, *others] if first is None else [first, self.last, *others]
        self.last = self.function.append(operator, operands).result
        return self

    def canonical(self) -> list[str]:
        """Names of the ops afterwards; checks that the meaning is the same."""
        self.function.set_results([self.last], ["y"])
        before = clone(self.module)
        run_pass("canonicalize", self.module)
        assert_same_meaning(before, self.module, self.rng)
        return [op.name for op in self.module.ops]


def conv(spatial: int = 2, pads: tuple[int, ...] | None = None, group: int = 1, **changes) -> Conv:
    ones = (1,) * spatial
    return Conv(ones, pads or (0,) * 2 * spatial, ones, group, **changes)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("group", [1, 2, 4])
def test_batch_norm_into_the_convolution_before(bias: bool, group: int, rng: np.random.Generator) -> None:
    net = Net(rng, 2, 4, 5, 5)
    b = net.constant(8) if bias else None
    net.then(conv(pads=(1, 1, 0, 1), group=group), net.constant(8, 4 // group, 3, 3), b)
    net.then(BatchNorm(1e-3), *(net.constant(8) for _ in range(4)))
    assert net.canonical() == ["conv"]


@pytest.mark.parametrize("group", [1, 2, 4])
def test_batch_norm_into_the_convolution_after(group: int, rng: np.random.Generator) -> None:
    net = Net(rng, 2, 4, 5, 5)
    net.then(BatchNorm(1e-3), *(net.constant(4) for _ in range(4)))
    net.then(conv(group=group), net.constant(8, 4 // group, 3, 3))
    assert net.canonical() == ["conv"]


def test_padding_keeps_summands_before_a_convolution(rng: np.random.Generator) -> None:
    net = Net(rng, 2, 4, 5, 5)
    net.then(BatchNorm(1e-3), *(net.constant(4) for _ in range(4)))
    net.then(conv(pads=(1, 1, 1, 1)), net.constant(8, 4, 3, 3))
    assert net.canonical() == ["mul", "add", "conv"]
    net = Net(rng, 2, 4, 5, 5)
    net.then(Mul(), net.constant(4, 1, 1)).then(conv(pads=(1, 1, 1, 1)), net.constant(8, 4, 3, 3))
    assert net.canonical() == ["conv"]


@pytest.mark.parametrize("group", [1, 2])
def test_batch_norm_around_a_transposed_convolution(group: int, rng: np.random.Generator) -> None:
    operator = ConvTranspose((2, 2), (0, 1, 0, 0), (1, 1), (0, 1), group)
    net = Net(rng, 2, 4, 3, 3)
    net.then(Mul(), net.constant(4, 1, 1)).then(operator, net.constant(4, 6 // group, 3, 3), net.constant(6))
    net.then(BatchNorm(1e-3), *(net.constant(6) for _ in range(4)))
    assert net.canonical() == ["conv_transpose"]
    net = Net(rng, 2, 4, 3, 3)
    net.then(Add(), net.constant(4, 1, 1)).then(operator, net.constant(4, 6 // group, 3, 3))
    assert net.canonical() == ["add", "conv_transpose"]


@pytest.mark.parametrize("outer", [Mul(), Add(), Sub(), Div()])
@pytest.mark.parametrize("shape", [(), (1,), (4, 1, 1), (1, 4, 1, 1), (1, 1, 1)])
def test_arithmetic_with_channels_after_a_convolution(
    outer: Operator, shape: tuple[int, ...], rng: np.random.Generator
) -> None:
    net = Net(rng, 1, 3, 5, 5)
    net.then(conv(), net.constant(4, 3, 2, 2), net.constant(4))
    assert net.then(outer, net.constant(*shape)).canonical() == ["conv"]


@pytest.mark.parametrize("shape", [(4,), (4, 4), (4, 1, 4), (1, 4, 4, 4), (2, 1, 1, 1), (1, 1, 4, 1, 1)])
def test_arithmetic_along_other_dimensions_stays(shape: tuple[int, ...], rng: np.random.Generator) -> None:
    net = Net(rng, 1, 3, 5, 5)
    net.then(conv(), net.constant(4, 3, 2, 2))
    assert net.then(Mul(), net.constant(*shape)).canonical() == ["conv", "mul"]


@pytest.mark.parametrize(("outer", "left"), [(Sub(), []), (Div(), ["div"])])
def test_a_constant_less_a_convolution_is_one_of_other_sign(
    outer: Operator, left: list[str], rng: np.random.Generator
) -> None:
    net = Net(rng, 1, 3, 5, 5)
    net.then(conv(), net.constant(4, 3, 2, 2))
    assert net.then(outer, first=net.constant(4, 1, 1)).canonical() == ["conv", *left]
    net = Net(rng, 1, 3, 5, 5)
    net.then(outer, first=net.constant(3, 1, 1)).then(conv(), net.constant(4, 3, 2, 2))
    assert net.canonical() == [*left, "conv"]


def of_two_kernels(rng: np.random.Generator, axis: int = 1) -> Net:
    """Two convolutions, whose results are joined."""
    net = Net(rng, 2, 4, 5, 5)
    x = net.last
    first = net.then(conv(), net.constant(2, 4, 1, 1)).last
    net.last = x
    net.then(conv(pads=(1, 1, 1, 1)), net.constant(3 if axis == 1 else 2, 4, 3, 3))
    return net.then(Concat(axis), first=first)


def test_what_follows_joined_convolutions_goes_into_each(rng: np.random.Generator) -> None:
    net = of_two_kernels(rng)
    net.then(BatchNorm(1e-3), *(net.constant(5) for _ in range(4))).then(Relu())
    assert net.canonical() == ["conv", "conv", "relu", "relu", "concat"]
    net = of_two_kernels(rng)
    net.then(Div(), net.constant(1)).then(Sub(), net.constant(1, 5, 1, 1)).then(Clip(-1.0, 1.0))
    assert net.canonical() == ["conv", "conv", "clip", "clip", "concat"]


def test_what_follows_a_join_stays_where_a_part_cannot_take_it(rng: np.random.Generator) -> None:
    net = of_two_kernels(rng)
    assert net.then(Mul(), net.constant(5)).canonical() == ["conv", "conv", "concat", "mul"]
    assert of_two_kernels(rng, axis=2).then(Relu()).canonical() == ["conv", "conv", "concat", "relu"]
    net = of_two_kernels(rng)
    assert net.then(Concat(1), net.parameter(2, 1, 5, 5)).then(Relu()).canonical() == ["conv", "conv", "concat", "relu"]
    net = of_two_kernels(rng)
    assert net.last.producer is not None
    net.then(Relu()).then(Concat(1), net.last.producer.inputs[0])
    assert net.canonical() == ["conv", "conv", "concat", "relu", "concat"]


def test_an_activation_or_second_reader_in_between_stops_the_fold(rng: np.random.Generator) -> None:
    net = Net(rng, 1, 3, 5, 5)
    net.then(conv(act="relu"), net.constant(4, 3, 2, 2)).then(Mul(), net.constant(1))
    assert net.canonical() == ["conv", "mul"]
    net = Net(rng, 1, 3, 5, 5).then(Relu())
    net.then(conv(), net.constant(4, 3, 1, 1))
    shared = net.last
    net.then(Mul(), net.constant(1)).then(Sub(), shared)
    assert net.canonical() == ["relu", "conv", "mul", "sub"]


def test_weights_that_would_overflow_stay(rng: np.random.Generator) -> None:
    net = Net(rng, 1, 3, 5, 5)
    net.then(conv(), net.constant(4, 3, 2, 2))
    net.then(Mul(), net.module.add_constant("huge", np.array(3e38, np.float32)))
    net.function.set_results([net.last], ["y"])
    run_pass("canonicalize", net.module)
    assert [op.name for op in net.module.ops] == ["conv", "mul"]


@pytest.mark.parametrize("transposed", [False, True])
def test_rows_into_matrix_products(transposed: bool, rng: np.random.Generator) -> None:
    def net() -> Net:
        it = Net(rng, 2, 3, 5)
        return it.then(MatMul(transpose_b=transposed), it.constant(*((4, 5) if transposed else (5, 4))))

    it = net()
    assert it.then(Add(), it.constant(4)).then(Mul(), it.constant(1, 4)).canonical() == ["matmul"]
    it = net()
    assert it.then(Mul(), it.constant(4)).then(Sub(), it.constant(1, 1, 4)).canonical() == ["matmul"]
    it = net()
    assert it.then(Add(), it.parameter(4)).canonical() == ["matmul"]
    it = net()
    assert it.then(Add(), first=it.parameter(4)).canonical() == ["matmul"]
    it = net()
    assert it.then(Add(), it.parameter(3, 1)).canonical() == ["matmul", "add"]
    it = net()
    assert it.then(Add(), it.constant(3, 1)).canonical() == ["matmul", "add"]
    # A column that a row makes a matrix.
    it = Net(rng, 3, 5)
    assert it.then(MatMul(), it.constant(5, 1)).then(Sub(), it.constant(4)).canonical() == ["matmul", "sub"]
    it = Net(rng, 2, 3, 5)
    it.then(Mul(), it.constant(5)).then(Sub(), it.constant(1))
    assert it.then(MatMul(transpose_b=transposed), it.constant(*((4, 5) if transposed else (5, 4)))).canonical() == [
        "matmul"
    ]


@pytest.mark.parametrize(
    ("arithmetic", "constant", "shape", "expected"),
    [
        (Add(), (4,), (2, 3, 4), ["matmul", "reshape"]),
        (Mul(), (1, 1, 4), (2, 3, 4), ["matmul", "reshape"]),
        (Sub(), (), (2, 1, 3, 4), ["matmul", "reshape"]),
        (Div(), (1,), (3, 2, 4), ["matmul", "reshape"]),
        (Add(), (3, 1), (2, 3, 4), ["matmul", "reshape", "add"]),
        (Add(), (3, 4), (2, 3, 4), ["matmul", "reshape", "add"]),
        (Add(), (2, 1, 1), (1, 6, 4), ["matmul", "reshape", "add"]),
        (Add(), (2,), (3, 4, 2), ["matmul", "reshape", "add"]),
    ],
)
def test_constants_behind_products_in_another_shape(
    arithmetic: Operator,
    constant: tuple[int, ...],
    shape: tuple[int, ...],
    expected: list[str],
    rng: np.random.Generator,
) -> None:
    """As Keras has dense layers of more than two dimensions."""
    net = Net(rng, 6, 5)
    net.then(MatMul(), net.constant(5, 4)).then(Reshape(shape)).then(arithmetic, net.constant(*constant))
    assert net.canonical() == expected


def test_row_onto_a_product_of_two_variables(rng: np.random.Generator) -> None:
    net = Net(rng, 2, 3, 5)
    net.then(MatMul(), net.parameter(2, 5, 4)).then(Add(), net.constant(4))
    assert net.canonical() == ["matmul"]


def test_operand_scaled_along_rows_stays(rng: np.random.Generator) -> None:
    net = Net(rng, 5, 3)
    net.then(Mul(), net.constant(5, 1)).then(MatMul(transpose_a=True), net.constant(5, 4))
    assert net.canonical() == ["matmul"]
    net = Net(rng, 5, 3)
    net.then(Mul(), net.constant(3)).then(MatMul(transpose_a=True), net.constant(5, 4))
    assert net.canonical() == ["mul", "matmul"]


@pytest.mark.parametrize("a", [False, True])
@pytest.mark.parametrize("b", [False, True])
def test_transposes_into_matrix_products(a: bool, b: bool, rng: np.random.Generator) -> None:
    net = Net(rng, *((2, 3, 5) if a else (2, 5, 3)))
    right = net.parameter(*((2, 3, 4) if b else (2, 4, 3)))
    right = net.function.append(Transpose((0, 2, 1)), [right]).result
    net.then(Transpose((0, 2, 1))).then(MatMul(transpose_a=not a, transpose_b=b), right)
    assert net.canonical() == ["matmul"]
    assert next(net.module.ops).operator == MatMul(transpose_a=a, transpose_b=not b)


def test_other_transposes_stay(rng: np.random.Generator) -> None:
    net = Net(rng, 2, 3, 5).then(Transpose((1, 0, 2)))
    assert net.then(MatMul(), net.parameter(5, 4)).canonical() == ["transpose", "matmul"]


def test_zero_padding_into_convolution(rng: np.random.Generator) -> None:
    net = Net(rng, 1, 3, 5, 6).then(Pad((0, 0, 1, 2, 0, 0, 3, 0)))
    assert net.then(conv(pads=(1, 0, 0, 1)), net.constant(4, 3, 3, 3)).canonical() == ["conv"]
    assert next(net.module.ops).operator == conv(pads=(2, 2, 3, 1))
    for pad in (Pad((0, 1, 0, 0, 0, 0, 0, 0)), Pad((0, 0, 1, 1, 0, 0, 1, 1), "edge"), Pad((0,) * 7 + (1,), value=1.0)):
        net = Net(rng, 1, 3, 5, 6).then(pad)
        assert net.then(conv(), net.constant(4, net.last.type.shape[1], 3, 3)).canonical() == ["pad", "conv"]


def test_what_is_cut_off_behind_a_convolution_is_padded_less(rng: np.random.Generator) -> None:
    """As causal networks in time cut off what sees the end, and decoders what transposed convolutions have too much."""

    def cut(operator: Operator, begin: tuple[int, ...], extent: tuple[int, ...]) -> Net:
        net = Net(rng, 1, 4, 6, 5)
        net.then(operator, net.constant(4, 4, 3, 3), net.constant(4))
        return net.then(Slice((0, 0, *begin), (1, net.last.type.shape[1], *extent), (1, 1, 1, 1))).then(Relu())

    strided = Conv((2, 1), (2, 2, 2, 2), (1, 1))
    cases = (
        (conv(pads=(2, 2, 2, 2)), (0, 0), (8, 5), conv(pads=(2, 2, 2, 0))),
        (conv(pads=(2, 2, 2, 2)), (1, 2), (7, 4), conv(pads=(1, 0, 2, 1))),
        (strided, (1, 0), (3, 6), Conv((2, 1), (0, 2, 2, 1), (1, 1))),
        (ConvTranspose((2, 2), (0, 0, 0, 1), (1, 1), (0, 1)), (1, 0), (10, 10), None),
    )
    for operator, begin, extent, padded in cases:
        net = cut(operator, begin, extent)
        assert net.canonical() == [operator.name, "relu"]
        assert padded is None or next(net.module.ops).operator == padded
    for operator, begin, extent in ((conv(pads=(2, 2, 0, 0)), (0, 0), (5, 5)), (strided, (2, 0), (2, 7))):
        assert "slice" in cut(operator, begin, extent).canonical()
    net = Net(rng, 1, 4, 6, 5)
    net.then(conv(pads=(2, 2, 2, 2)), net.constant(4, 4, 3, 3))
    assert net.then(Slice((0, 1, 0, 0), (1, 2, 8, 7), (1, 1, 1, 1))).canonical() == ["conv", "slice"]


@pytest.mark.parametrize(
    ("operator", "taps", "kept", "pads"),
    [
        (Conv((1, 1), (12, 36, 12, 36), (12, 36), 1), (3, 3), (1, 1), (0, 0, 0, 0)),
        (Conv((1, 1), (2, 4, 2, 4), (2, 4), 1), (3, 3), (3, 3), (2, 4, 2, 4)),
        (Conv((2, 1), (5, 6, 0, 3), (5, 3), 1), (2, 4), (1, 3), (0, 3, 0, 3)),
        (Conv((1, 1), (0, 0, 20, 9), (4, 9), 1), (3, 2), (2, 1), (0, 0, 16, 0)),
    ],
)
def test_taps_that_meet_nothing_but_padding_go(
    operator: Conv,
    taps: tuple[int, int],
    kept: tuple[int, int],
    pads: tuple[int, ...],
    rng: np.random.Generator,
) -> None:
    """As around small maps of networks that see far by dilations."""
    net = Net(rng, 1, 4, 5, 6)
    assert net.then(operator, net.constant(2, 4, *taps), net.constant(2)).canonical() == ["conv"]
    (op,) = net.module.ops
    assert (op.inputs[1].type.shape[2:], op.operator.pads) == (kept, pads)  # pyright: ignore[reportAttributeAccessIssue]


def window(**changes):
    return {"kernel": (3, 3), "strides": (2, 2), "pads": (0, 0, 0, 0), "dilations": (1, 1), **changes}


def test_zero_padding_into_average_pool(rng: np.random.Generator) -> None:
    pad = Pad((0, 0, 1, 0, 0, 0, 1, 2))
    net = Net(rng, 1, 3, 7, 8).then(pad).then(AveragePool(**window(), count_include_pad=False, overhang=(0, 0)))
    assert net.canonical() == ["average_pool"]
    padded = window(pads=(1, 1, 1, 1))
    net = Net(rng, 1, 3, 7, 8).then(pad).then(AveragePool(**padded, count_include_pad=True, overhang=(0, 1)))
    assert net.canonical() == ["average_pool"]
    net = Net(rng, 1, 3, 7, 8).then(pad).then(AveragePool(**padded, count_include_pad=False, overhang=(0, 0)))
    assert net.canonical() == ["pad", "average_pool"]


def test_padding_into_max_pool(rng: np.random.Generator) -> None:
    zeros, lowest = Pad((0, 0, 1, 0, 0, 0, 1, 2)), Pad((0, 0, 1, 0, 0, 0, 1, 2), value=-np.inf)
    assert Net(rng, 1, 3, 7, 8).then(lowest).then(MaxPool(**window())).canonical() == ["max_pool"]
    assert Net(rng, 1, 3, 7, 8).then(zeros).then(MaxPool(**window())).canonical() == ["pad", "max_pool"]
    for positive in (Relu(), Clip(0.0, 6.0)):
        net = Net(rng, 1, 3, 7, 8).then(positive).then(zeros).then(MaxPool(**window()))
        assert net.canonical() == [positive.name, "max_pool"]
    net = Net(rng, 1, 3, 7, 8).then(Clip(-1.0, 6.0)).then(zeros).then(MaxPool(**window()))
    assert net.canonical() == ["clip", "pad", "max_pool"]
    wide = Pad((0, 0, 3, 0, 0, 0, 1, 2))
    net = Net(rng, 1, 3, 7, 8).then(Relu()).then(wide).then(MaxPool(**window()))
    assert net.canonical() == ["relu", "pad", "max_pool"]


def test_means_and_maxima_over_images_become_global_pooling(rng: np.random.Generator) -> None:
    assert Net(rng, 2, 3, 4, 5).then(ReduceMean((2, 3), True)).canonical() == ["global_average_pool"]
    assert Net(rng, 2, 3, 4, 5).then(ReduceMean((2, 3), False)).canonical() == ["global_average_pool", "reshape"]
    assert Net(rng, 2, 3, 4, 5).then(ReduceMean((1, 2), False)).canonical() == ["reduce_mean"]
    assert Net(rng, 2, 3, 20).then(ReduceMax((2,), False)).canonical() == ["global_max_pool", "reshape"]
    assert Net(rng, 2, 3, 20).then(ReduceMean((2,), False)).canonical() == ["global_average_pool", "reshape"]
    net = Net(rng, 2, 3, 20)
    x = net.last
    assert net.then(ReduceMean((2,), True)).then(Sub(), first=x).canonical() == ["reduce_mean", "sub"]
    # Of rows or columns alone, as attention to coordinates takes them, but for what may be part of a normalisation.
    assert Net(rng, 2, 3, 4, 5).then(ReduceMean((3,), True)).canonical() == ["average_pool"]
    assert Net(rng, 2, 3, 4, 5).then(ReduceMax((2,), False)).canonical() == ["max_pool", "reshape"]
    net = Net(rng, 2, 3, 4, 5)
    x = net.last
    assert net.then(ReduceMean((3,), True)).then(Sub(), first=x).canonical() == ["reduce_mean", "sub"]
    net = Net(rng, 2, 3, 4, 5)
    assert net.then(Mul(), net.last).then(ReduceMean((3,), True)).canonical() == ["mul", "reduce_mean"]
    whole = AveragePool((4, 5), (1, 1), (0, 0, 0, 0), (1, 1), False, (0, 0))
    assert Net(rng, 2, 3, 4, 5).then(whole).canonical() == ["global_average_pool"]
    assert Net(rng, 2, 3, 4, 5).then(MaxPool(**window(kernel=(4, 5)))).canonical() == ["global_max_pool"]
    part = AveragePool((4, 4), (2, 2), (0, 0, 0, 0), (1, 1), False, (0, 0))
    assert Net(rng, 2, 3, 4, 5).then(part).canonical() == ["average_pool"]
