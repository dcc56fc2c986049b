"""Random networks of the device whose maps mostly fill blocks of 16 channels, so that many can stay on chip."""

from __future__ import annotations

import math

import numpy as np

from tilewright.ir.annotations import FUSED, KEPT, MACS, ON, SPLIT, STATIONARY, TILE
from tilewright.ir.core import Constant, Function, Module, Value
from tilewright.ir.op import Operator
from tilewright.ir.ops.convolution import Conv
from tilewright.ir.ops.elementwise import Add, Sub
from tilewright.ir.ops.movement import Concat, DepthToSpace, Slice, Transpose
from tilewright.ir.ops.pooling import AveragePool, GlobalMaxPool, MaxPool
from tilewright.ir.ops.quantization import Dequantize, Quantize
from tilewright.ir.ops.resize import Resize
from tilewright.ir.ops.shape import Reshape
from tilewright.ir.types import DType, Quantization, TensorType
from tilewright.passes.device.fused_pairs import pairs_brought_together
from tilewright.passes.device.kept.chip_places import obstacle

QUANT = Quantization.per_tensor(0.25, 3)


class ChipGraph:
    """``main`` of a module, op by op; every tensor has the same scale.

    Args:
        images: how many the input holds; 1 to 3 by default.
        is_real: whether the input is one of real numbers, which the first op makes integers.
    """

    def __init__(self, rng: np.random.Generator, images: int | None = None, is_real: bool = False) -> None:
        self.rng = rng
        self.dtype = DType.I8 if rng.integers(2) else DType.U8
        self.module = Module("network")
        shape = (
            images or int(rng.choice([1, 1, 2, 3])),
            int(rng.choice([16, 32, 20])),
            *(int(n) for n in rng.integers(2, 9, 2)),
        )
        stored = TensorType(shape, self.dtype, QUANT)
        given = TensorType(shape, DType.F32) if is_real else stored
        self.function = self.module.add_function(Function("main", [("x", given)]))
        self.values = [self.function.parameters[0]]
        if is_real:
            self.values = [self.function.append(Quantize(), self.values, [stored], names=["stored"]).result]

    def op(self, operator: Operator, *operands: Value | None, shape: tuple[int, ...]) -> None:
        name = f"v{len(self.values)}"
        op = self.function.append(operator, operands, [TensorType(shape, self.dtype, QUANT)], names=[name], loc=[name])
        ON.set(op, "device")
        self.values.append(op.result)

    def some(self) -> Value:
        """One of the last values, most likely."""
        back = min(int(self.rng.geometric(0.4)), len(self.values))
        return self.values[-back]

    def of_as_many_pixels(self, x: Value) -> list[Value]:
        images, _, *extents = x.type.shape
        return [v for v in self.values if (v.type.shape[0], *v.type.shape[2:]) == (images, *extents)]

    def convolution(self, x: Value) -> None:
        channels, rng = x.type.shape[1], self.rng
        group = int(rng.choice([n for n in (1, 1, 1, 2, channels) if channels % n == 0]))
        outputs = channels if group == channels else group * int(rng.choice([16, 16, 32, 24]))
        self.convolve(x, outputs, group, int(rng.choice([1, 1, 2])))

    def convolve(self, x: Value, outputs: int, group: int, stride: int, residual: Value | None = None) -> None:
        images, channels, height, width = x.type.shape
        kernel = int(self.rng.choice([1, 1, 3]))
        pad = kernel // 2
        size = tuple((extent + 2 * pad - kernel) // stride + 1 for extent in (height, width))
        weights = self.rng.integers(-9, 10, (outputs, channels // group, kernel, kernel)).astype(np.int8)
        type = TensorType(weights.shape, DType.I8, Quantization.per_tensor(2.0**-6))
        constant = self.module.add_constant("w", weights, type)
        conv = Conv((stride, stride), (pad,) * 4, (1, 1), group)
        added = () if residual is None else (None, residual)
        self.op(conv, x, constant, *added, shape=(images, outputs, *size))

    def residual(self, x: Value) -> None:
        others = [
            v for v in self.values if (v.type.shape[0], *v.type.shape[2:]) == (x.type.shape[0], *x.type.shape[2:])
        ]
        other = others[int(self.rng.integers(len(others)))]
        if self.rng.integers(2):
            self.convolve(x, other.type.shape[1], 1, 1, other)
            return
        self.convolve(x, other.type.shape[1], 1, 1)
        made = self.values[-1]
        self.op(Add(), *((other, made) if self.rng.integers(2) else (made, other)), shape=made.type.shape)

    def pooling(self, x: Value) -> None:
        images, channels, height, width = x.type.shape
        stride = int(self.rng.choice([1, 2]))
        size = tuple((extent - 1) // stride + 1 for extent in (height, width))
        window = ((3, 3), (stride, stride), (1, 1, 1, 1), (1, 1))
        operator = MaxPool(*window) if self.rng.integers(2) else AveragePool(*window, False, (0, 0))
        self.op(operator, x, shape=(images, channels, *size))

    def joining(self, x: Value) -> None:
        same = self.of_as_many_pixels(x)
        others = [same[-1 - int(n) % len(same)] for n in self.rng.integers(0, 4, int(self.rng.integers(1, 4)))]
        parts = [others[0], x, *others[1:]]
        channels = sum(part.type.shape[1] for part in parts)
        if channels <= 400:
            self.op(Concat(1), *parts, shape=(x.type.shape[0], channels, *x.type.shape[2:]))

    def spreading(self, x: Value) -> None:
        images, _, height, width = x.type.shape
        if height * width <= 64:
            outputs = int(self.rng.choice([64, 64, 48]))
            self.convolve(x, outputs, 1, 1)
            self.op(DepthToSpace(2), self.values[-1], shape=(images, outputs // 4, 2 * height, 2 * width))

    def slicing(self, x: Value) -> None:
        begin, extent = [0] * 4, [*x.type.shape]
        for axis in range(4):
            if self.rng.integers(3) == 0:
                unit = 16 if axis == 1 and self.rng.integers(4) else 1
                begin[axis] = int(self.rng.integers(0, extent[axis]) // unit * unit)
                extent[axis] = int(self.rng.integers(1, extent[axis] - begin[axis] + 1))
                if axis == 1 and self.rng.integers(4):
                    extent[1] = max(extent[1] // 16 * 16, min(16, x.type.shape[1] - begin[1]))
        self.op(Slice(tuple(begin), tuple(extent), (1,) * 4), x, shape=tuple(extent))

    def adding(self, x: Value) -> None:
        images, channels, height, width = x.type.shape
        fitting = {x.type.shape, (1, *x.type.shape[1:]), (images, channels, 1, 1), (images, channels, height, 1)}
        fitting.discard((images, channels, width, height))
        others = [v for v in self.values if v.type.shape in fitting | {x.type.shape}]
        other = others[int(self.rng.integers(len(others)))]
        self.op(Add() if self.rng.integers(2) else Sub(), x, other, shape=x.type.shape)

    def reshaping(self, x: Value) -> None:
        images, channels, height, width = x.type.shape
        self.op(Reshape((images, channels, width, height)), x, shape=(images, channels, width, height))

    def enlarging(self, x: Value) -> None:
        images, channels, height, width = x.type.shape
        if height * width <= 64:
            shape = (images, channels, 2 * height, 2 * width)
            self.op(Resize(shape, (1.0, 1.0, 2.0, 2.0), "nearest", "asymmetric", "floor"), x, shape=shape)


def random_chip_graph(
    rng: np.random.Generator, ops: int = 10, images: int | None = None, is_real: bool = False
) -> Module:
    """A network of so many ops; the values that nothing reads are its results, and sometimes another one.

    Args:
        is_real: input and results are real numbers.
    """
    graph = ChipGraph(rng, images, is_real)
    makers = [*(graph.convolution,) * 4, graph.pooling, *(graph.joining,) * 3, *(graph.slicing,) * 2]
    makers += [*(graph.residual,) * 2, graph.adding, graph.reshaping, graph.enlarging, graph.spreading]
    while len(graph.values) <= ops:
        makers[int(rng.integers(len(makers)))](graph.some())
    made = graph.values[1:]
    results = [v for v in made if not v.uses or rng.integers(12) == 0]
    if is_real:
        results = [graph.function.append(Dequantize(), [v], names=[f"{v.name}_real"]).result for v in results]
    graph.function.set_results(results)
    ON.set(graph.function, "device")
    return graph.module


def half_blocks_and_tokens(rng: np.random.Generator) -> Module:
    """A network of one image with what half blocks, single pixels and tokens have of their own: a pool of 24 channels,
    a convolution that makes the same eight channels twice and one that reads both, maxima of a map with eight channels,
    and a product between exchanges of channels and pixels."""
    graph = ChipGraph(rng, images=1)
    graph.convolve(graph.values[0], 24, 1, 1)
    graph.pooling(graph.values[-1])
    graph.convolve(graph.values[-1], 16, 1, 1)
    *_, op = graph.function.ops
    weights = op.inputs[1]
    assert isinstance(weights, Constant)
    op.set_operand(1, graph.module.add_constant("twice", np.tile(weights.array[:8], (2, 1, 1, 1)), weights.type))
    graph.module.drop_unused_constants()
    MACS.set(op, op.macs)
    graph.convolve(graph.values[-1], 32, 2, 1)
    mixed = graph.values[-1]
    graph.convolve(mixed, 8, 1, 1)
    graph.op(GlobalMaxPool(), graph.values[-1], shape=(1, 8, 1, 1))
    tokens = math.prod(mixed.type.shape[2:])
    graph.op(Reshape((1, 32, tokens, 1)), mixed, shape=(1, 32, tokens, 1))
    graph.op(Transpose((0, 2, 1, 3)), graph.values[-1], shape=(1, tokens, 32, 1))
    graph.convolve(graph.values[-1], tokens, 1, 1)
    graph.op(Transpose((0, 2, 1, 3)), graph.values[-1], shape=(1, *graph.values[-1].type.shape[2:0:-1], 1))
    graph.function.set_results([value for value in graph.values[1:] if not value.uses])
    ON.set(graph.function, "device")
    return graph.module


def fuse_by_chance(function: Function, rng: np.random.Generator) -> int:
    """Compute some element-wise ops of a tiled function with the tiles of convolutions; how many."""
    count = 0
    for conv, user in pairs_brought_together(function):
        if rng.integers(2):
            FUSED.set(conv, True)
            for annotation in (TILE, STATIONARY, SPLIT):
                user.annotations.pop(annotation.key, None)
                if annotation.is_at(conv):
                    user.annotations[annotation.key] = conv.annotations[annotation.key]
            count += 1
    return count


def keep_by_chance(function: Function, rng: np.random.Generator, share: float) -> int:
    """Keep about such a share of the maps on chip that can be; how many."""
    found = [op for op in function.ops if obstacle(op.result) is None and rng.random() < share]
    for op in found:
        KEPT.set(op, True)
    return len(found)
