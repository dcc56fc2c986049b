"""Networks that are chains of ops with windows of all kinds, over maps that are higher than they are wide."""

from __future__ import annotations

import numpy as np

from tilewright.ir.annotations import CASCADE, KEPT, ON
from tilewright.ir.core import Function, Module, Op, Value
from tilewright.ir.op import Operator
from tilewright.ir.ops.activation import Sigmoid
from tilewright.ir.ops.convolution import Conv
from tilewright.ir.ops.elementwise import Add, Sub
from tilewright.ir.ops.movement import Concat
from tilewright.ir.ops.pooling import AveragePool, MaxPool
from tilewright.ir.ops.quantization import Dequantize, Quantize
from tilewright.ir.types import DType, Quantization, TensorType
from tilewright.passes.device.fused_pairs import fused_convolution
from tilewright.passes.device.kept.chip_places import obstacle

QUANT = Quantization.per_tensor(0.25, 3)


class ChainGraph:
    """``main`` of a module, op by op; every tensor has the same scale.

    Args:
        is_real: whether the input is one of real numbers, which the first op makes integers.
    """

    def __init__(self, rng: np.random.Generator, height: int, width: int, is_real: bool = False) -> None:
        self.rng = rng
        self.dtype = DType.I8 if rng.integers(2) else DType.U8
        self.module = Module("chain")
        type = TensorType((1, int(rng.choice([3, 16, 20])), height, width), self.dtype, QUANT)
        given = TensorType(type.shape, DType.F32) if is_real else type
        self.function = self.module.add_function(Function("main", [("x", given)]))
        self.values = [self.function.parameters[0]]
        if is_real:
            self.values = [self.function.append(Quantize(), self.values, [type], names=["stored"]).result]

    def op(self, operator: Operator, *operands: Value | None, shape: tuple[int, ...]) -> Value:
        name = f"v{len(self.values)}"
        type = TensorType(shape, self.dtype, QUANT)
        self.values.append(self.function.append(operator, operands, [type], names=[name], loc=[name]).result)
        return self.values[-1]

    def _window(self, x: Value) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int, int, int], tuple[int, int]]:
        """Kernel, stride, padding and size of the result."""
        rng, extents = self.rng, x.type.shape[2:]
        kernel = tuple(int(min(rng.choice([1, 1, 2, 3, 3, 5, 7]), extent)) for extent in extents)
        stride = tuple(int(rng.choice([1, 1, 1, 2, 3])) for _ in extents)
        begin, end = (tuple(int(rng.integers(0, min(k, 3))) for k in kernel) for _ in range(2))
        size = tuple(
            (extent + a + b - k) // s + 1
            for extent, a, b, k, s in zip(extents, begin, end, kernel, stride, strict=True)
        )
        return (kernel[0], kernel[1]), (stride[0], stride[1]), (*begin, *end), (size[0], size[1])  # pyright: ignore

    def convolution(self) -> Value:
        x, rng = self.values[-1], self.rng
        channels = x.type.shape[1]
        group = channels if channels >= 16 and rng.integers(3) == 0 else 1
        outputs = channels if group > 1 else int(rng.choice([16, 32, 48, 20]))
        kernel, stride, pads, size = self._window(x)
        return self.convolve(x, outputs, group, kernel, stride, pads, size)

    def convolve(
        self,
        x: Value,
        outputs: int,
        group: int,
        kernel: tuple[int, int],
        stride: tuple[int, int],
        pads: tuple[int, ...],
        size: tuple[int, int],
        residual: Value | None = None,
    ) -> Value:
        weights = self.rng.integers(-9, 10, (outputs, x.type.shape[1] // group, *kernel)).astype(np.int8)
        type = TensorType(weights.shape, DType.I8, Quantization.per_tensor(2.0**-6))
        constant = self.module.add_constant("w", weights, type)
        added = () if residual is None else (None, residual)
        return self.op(Conv(stride, pads, (1, 1), group), x, constant, *added, shape=(1, outputs, *size))

    def finish(self, is_real: bool = False) -> None:
        """What nothing reads is a result, as real numbers if so wanted; the device runs everything."""
        results = [v for v in self.values[1:] if not v.uses]
        if is_real:
            results = [self.function.append(Dequantize(), [v], names=[f"{v.name}_real"]).result for v in results]
        self.function.set_results(results)
        for each in (self.function, *self.function.ops):
            ON.set(each, "device")

    def pooling(self) -> Value:
        x = self.values[-1]
        stride = int(self.rng.choice([1, 2]))
        kernel = min(int(self.rng.choice([2, 3])), *x.type.shape[2:])
        pads = (kernel // 2, 0, 0, kernel // 2)
        size = tuple((extent + kernel // 2 - kernel) // stride + 1 for extent in x.type.shape[2:])
        window = ((kernel, kernel), (stride, stride), pads, (1, 1))
        operator = MaxPool(*window) if self.rng.integers(2) else AveragePool(*window, False, (0, 0))
        return self.op(operator, x, shape=(*x.type.shape[:2], *size))

    def residual(self) -> Value:
        """Of a map some way back."""
        x = self.values[-1]
        others = [v for v in self.values[-5:] if v.type.shape[2:] == x.type.shape[2:]]
        other = others[int(self.rng.integers(len(others)))]
        own = other if self.rng.integers(2) else None
        made = self.convolve(x, other.type.shape[1], 1, (1, 1), (1, 1), (0, 0, 0, 0), x.type.shape[2:], own)  # pyright: ignore
        if own is not None:
            return made
        operands = (other, made) if self.rng.integers(2) else (made, other)
        return self.op(Sub() if self.rng.integers(2) else Add(), *operands, shape=made.type.shape)

    def joining(self) -> Value:
        """Two branches."""
        x = self.values[-1]
        shape = x.type.shape[2:]
        left, right = (
            self.convolve(x, 16, 1, (k, k), (1, 1), (k // 2,) * 4, shape)  # pyright: ignore
            for k in (1, 3)
        )
        return self.op(Concat(1), left, right, shape=(1, 32, *shape))

    def table(self) -> Value:
        return self.op(Sigmoid(), self.values[-1], shape=self.values[-1].type.shape)


def random_chain(rng: np.random.Generator, ops: int, height: int = 0, width: int = 0, is_real: bool = False) -> Module:
    """A network of about so many ops; the last value is its result, and what nothing reads.

    Args:
        is_real: input and results are real numbers.
    """
    graph = ChainGraph(rng, height or int(rng.integers(6, 20)), width or int(rng.integers(2, 6)), is_real)
    makers = [*(graph.convolution,) * 5, graph.pooling, *(graph.residual,) * 2, graph.joining, graph.table]
    while len(graph.values) <= ops:
        makers[int(rng.integers(len(makers)))]()
    graph.finish(is_real)
    return graph.module


def cascade_by_chance(function: Function, rng: np.random.Generator) -> int:
    """Compute runs of the ops of a tiled function in turn, and keep most maps that only these touch, and some others;
    how many maps that is."""
    ops = [op for op in function.ops if fused_convolution(op) is None]
    number = place = 0
    for op in ops:
        if rng.integers(6) == 0:
            number, place = number + 1, 0
        if rng.integers(8):
            CASCADE.set(op, (number, place))
            place += 1
        else:
            number, place = number + 1, 0
    kept: list[Op] = [op for op in function.ops if obstacle(op.result) is None and rng.random() < 0.8]
    for op in kept:
        KEPT.set(op, True)
    return len(kept)
