"""Networks of convolutions that read and make maps of 16 bits."""

from __future__ import annotations

import numpy as np

from tilewright.ir.core import Function, Module, Value
from tilewright.ir.op import Operator
from tilewright.ir.ops.activation import Sigmoid, Swish
from tilewright.ir.ops.convolution import Conv
from tilewright.ir.ops.elementwise import Mul
from tilewright.ir.ops.movement import Concat, DepthToSpace
from tilewright.ir.ops.pooling import GlobalMaxPool, MaxPool
from tilewright.ir.types import DType, Quantization, TensorType

I8, I16 = DType.I8, DType.I16


class WideNetwork:
    """Convolutions of one image, one after the other."""

    def __init__(self, rng: np.random.Generator, dtype: DType, *shape: int) -> None:
        self.rng = rng
        self.module = Module("network")
        self.function = self.module.add_function(Function("main", [("x", self.type(dtype, shape))]))
        self.x = self.function.parameters[0]

    def type(self, dtype: DType, shape: tuple[int, ...]) -> TensorType:
        scale = float(self.rng.uniform(1e-4, 2e-4) if dtype is I16 else self.rng.uniform(0.02, 0.04))
        return TensorType(shape, dtype, Quantization.per_tensor(scale, 0 if dtype is I16 else 5))

    def conv(self, x: Value, dtype: DType, outputs: int, kernel: int, stride: int = 1, **other: object) -> Value:
        """Depthwise where it has as many groups as channels; padded."""
        group, residual, act = other.get("group", 1), other.get("residual"), str(other.get("act", "none"))
        assert isinstance(group, int)
        shape = (outputs, x.type.shape[1] // group, kernel, kernel)
        weights = self.rng.integers(-127, 128, shape).astype(np.int8)
        scales = self.rng.uniform(0.5, 1.0, outputs) / (np.sqrt(np.prod(shape[1:])) * 127)
        zeros = [int(self.rng.integers(-3, 4))] * outputs
        quant = Quantization.per_channel(scales, 0, zeros)
        w = self.module.add_constant("w", weights, TensorType(shape, I8, quant))
        b = self.module.add_constant("b", self.rng.integers(-(2**16), 2**16, outputs).astype(np.int32))
        pad = kernel // 2
        operator = Conv((stride,) * 2, (pad,) * 4, (1, 1), group, act, (0.0, 3.0) if act == "clip" else ())
        extents = [-(-extent // stride) for extent in x.type.shape[2:]]
        assert isinstance(residual, Value | None)
        type = self.type(dtype, (x.type.shape[0], outputs, *extents))
        operands = [x, w, b, residual] if residual is not None else [x, w, b]
        return self.function.append(operator, operands, [type], names=["y"]).result

    def append(self, operator: Operator, *operands: Value, shape: tuple[int, ...] = ()) -> Value:
        """An op of 16 bits, whose result has the shape of the first operand unless it is given."""
        type = self.type(I16, shape or operands[0].type.shape)
        if isinstance(operator, GlobalMaxPool):
            type = operands[0].type.with_shape(shape)
        return self.function.append(operator, [*operands], [type], names=["z"]).result


def wide_network(rng: np.random.Generator) -> Module:
    """All ways in which convolutions read and make maps of 16 bits, a maximum of windows, maps that are joined or made
    of phases, a function, and products with another map and with a number for each channel."""
    made = WideNetwork(rng, I8, 1, 5, 9, 7)
    a = made.conv(made.x, I16, 40, 3, act="relu")
    b = made.conv(a, I16, 40, 3, stride=2, group=40, act="clip")
    b = made.conv(made.conv(b, I8, 40, 3, group=40), I16, 40, 3, group=40)
    c = made.conv(b, I16, 32, 1)
    c = made.append(Mul(), c, made.append(Swish(), c))
    gates = made.append(Sigmoid(), made.conv(made.append(GlobalMaxPool(), c, shape=(1, 32, 1, 1)), I16, 32, 1))
    c = made.append(Mul(), made.conv(made.append(Mul(), c, gates), I16, 32, 1), c)
    c = made.function.append(DepthToSpace(2), [made.conv(c, I16, 128, 1)], names=["s"]).result
    pooled = made.function.append(MaxPool((3, 2), (1, 1), (1, 0, 1, 1), (1, 1)), [c], names=["p"]).result
    joined = made.function.append(Concat(1), [c, pooled], names=["j"]).result
    d = made.conv(joined, I16, 32, 3, residual=c)
    e = made.conv(d, I8, 20, 3)
    f = made.conv(e, I8, 20, 1, residual=e)
    made.function.set_results([made.conv(f, I16, 33, 1)])
    return made.module
