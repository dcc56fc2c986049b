"""Networks of convolutions in groups and of choices of channels, on quantised types."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tilewright.ir.annotations import ON
from tilewright.ir.core import Function, Module, Value
from tilewright.ir.op import Operator
from tilewright.ir.ops.activation import Tanh
from tilewright.ir.ops.convolution import Conv
from tilewright.ir.ops.elementwise import Add
from tilewright.ir.ops.indexing import Gather
from tilewright.ir.ops.movement import Concat, Slice, Transpose
from tilewright.ir.ops.pooling import GlobalAveragePool, MaxPool
from tilewright.ir.ops.shape import Reshape
from tilewright.ir.types import DType, Quantization, TensorType

QUANT = Quantization((0.05,), (3,))


class ChannelNetwork:
    """A device function of convolutions with random weights and of choices of channels."""

    def __init__(
        self, rng: np.random.Generator, channels: int, *, weights: DType = DType.I8, size: tuple[int, int] = (5, 4)
    ) -> None:
        self.rng, self.weights = rng, weights
        self.module = Module("network")
        self.function = self.module.add_function(
            Function("main", [("x", TensorType((1, channels, *size), DType.I8, QUANT))])
        )
        ON.set(self.function, "device")
        self.x: Value = self.function.parameters[0]

    def convolution(self, outputs: int, group: int, kernel: int = 1) -> None:
        """Weights for each channel scaled on their own, with a bias; u8 weights have a zero point."""
        shape = (outputs, self.x.type.shape[1] // group, kernel, kernel)
        zero = 120 if self.weights is DType.U8 else 0
        scales = tuple((2.0 ** -self.rng.integers(4, 7, outputs).astype(float)).tolist())
        type = TensorType(shape, self.weights, Quantization(scales, (zero,) * outputs, 0))
        stored = (self.rng.integers(-9, 10, shape) + zero).astype(self.weights.numpy)
        w = self.module.add_constant("w", stored, type)
        b = self.module.add_constant("b", self.rng.integers(-99, 100, outputs).astype(np.int32))
        pad = kernel // 2
        result = TensorType((1, outputs, *self.x.type.shape[2:]), DType.I8, QUANT)
        self.x = self._append(Conv((1, 1), (pad,) * 4, (1, 1), group), [self.x, w, b], result)

    def choice(self, channels: np.ndarray) -> None:
        indices = self.module.add_constant("channels", channels.astype(np.int64))
        self.x = self._append(
            Gather(1), [self.x, indices], self.x.type.with_shape((1, len(channels), *self.x.type.shape[2:]))
        )

    def shuffle(self, groups: int) -> None:
        channels = self.x.type.shape[1]
        self.choice(np.arange(channels).reshape(groups, -1).T.reshape(-1))

    def _append(self, operator: Operator, operands: Sequence[Value], type: TensorType) -> Value:
        op = self.function.append(operator, operands, [type])
        ON.set(op, "device")
        return op.result

    def table(self) -> None:
        self.x = self._append(Tanh(), [self.x], self.x.type)

    def pool(self, stride: int = 1) -> None:
        shape = [*self.x.type.shape[:2], *(-(-extent // stride) for extent in self.x.type.shape[2:])]
        pool = MaxPool((3, 3), (stride,) * 2, (1, 1, 1, 1), (1, 1))
        self.x = self._append(pool, [self.x], self.x.type.with_shape(shape))

    def mean(self, quant: Quantization = QUANT) -> None:
        """Over the whole map."""
        shape = (*self.x.type.shape[:2], 1, 1)
        self.x = self._append(GlobalAveragePool(), [self.x], TensorType(shape, DType.I8, quant))

    def add(self, other: Value) -> None:
        self.x = self._append(Add(), [self.x, other], self.x.type)

    def join(self, *others: Value) -> None:
        """With these behind it."""
        channels = sum(value.type.shape[1] for value in (self.x, *others))
        self.x = self._append(
            Concat(1), [self.x, *others], self.x.type.with_shape((1, channels, *self.x.type.shape[2:]))
        )

    def part(self, first: int, count: int) -> None:
        """So many channels, from one on."""
        shape = (1, count, *self.x.type.shape[2:])
        self.x = self._append(Slice((0, first, 0, 0), shape, (1,) * 4), [self.x], self.x.type.with_shape(shape))

    def ghost(self, channels: int) -> None:
        """As many channels as are given twice, every second of them made of one of the others alone."""
        self.convolution(channels, 1)
        first = self.x
        self.convolution(channels, channels, 3)
        last, self.x = self.x, first
        self.join(last)

    def exchanged_halves(self) -> None:
        """A unit of which half of the channels is computed, and a shuffle behind."""
        half = self.x.type.shape[1] // 2
        whole = self.x
        self.part(0, half)
        first, self.x = self.x, whole
        self.part(half, half)
        self.convolution(half, 1)
        self.convolution(half, half, 3)
        self.convolution(half, 1)
        last, self.x = self.x, first
        self.join(last)
        self.shuffle(2)

    def spelled_shuffle(self, groups: int) -> None:
        """A shuffle as models have it."""
        shape = self.x.type.shape
        split = (1, groups, shape[1] // groups, *shape[2:])
        parts = self._append(Reshape(split), [self.x], self.x.type.with_shape(split))
        axes = (0, 2, 1, 3, 4)
        moved = self._append(Transpose(axes), [parts], parts.type.with_shape([split[axis] for axis in axes]))
        self.x = self._append(Reshape(shape), [moved], self.x.type)

    def inputs(self) -> dict[str, np.ndarray]:
        x = self.function.parameters[0]
        return {x.name: self.rng.integers(-128, 128, x.type.shape).astype(np.int8)}
