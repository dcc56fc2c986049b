"""The choice of layouts for the CPU on quantised networks."""

from __future__ import annotations

import numpy as np
from before_after import run_pass

from tilewright.ir.core import Function, Module, Value
from tilewright.ir.op import Operator
from tilewright.ir.ops.convolution import Conv
from tilewright.ir.ops.elementwise import Add
from tilewright.ir.ops.integer_products import MatMulInteger
from tilewright.ir.ops.matmul import MatMul
from tilewright.ir.ops.pooling import GlobalAveragePool
from tilewright.ir.ops.quantization import Requantize
from tilewright.ir.types import DType, Quantization, TensorType

QUANT = Quantization.per_tensor(0.5, 3)


class Network:
    """A module under construction, every activation of one quantised type."""

    def __init__(self, *shape: int) -> None:
        self.module = Module("network")
        self.function = self.module.add_function(Function("main"))
        self.x = self.function.add_parameter("x", TensorType(shape, DType.I8, QUANT))

    def op(self, operator: Operator, *operands: Value, quant: Quantization = QUANT, dtype: DType = DType.I8) -> Value:
        shape = operator.result_types([value.type for value in operands])[0].shape
        result = TensorType(shape, dtype, quant)
        op = self.function.append(operator, operands, [result])
        op.annotations["on"] = "cpu"
        return op.result

    def conv(self, x: Value, *weights: int, group: int = 1, bias: Value | None = None, dilation: int = 1) -> Value:
        w = self.module.add_constant(
            "w", np.ones(weights, np.int8), TensorType(weights, DType.I8, Quantization.per_tensor(0.25))
        )
        pads = tuple(dilation * (extent // 2) for extent in weights[2:]) * 2
        operands = (x, w) if bias is None else (x, w, bias)
        return self.op(Conv((1, 1), pads, (dilation, dilation), group), *operands)

    def laid_out(self, result: Value) -> list[tuple[str, ...]]:
        """Each op after the pass: name, layouts of its operands, layout of its result."""
        self.function.set_results([result])
        run_pass("choose_layouts", self.module)
        return [(op.name, *(v.type.layout for v in (*op.inputs, op.result))) for op in self.module.ops]


def test_network() -> None:
    net = Network(1, 3, 8, 8)
    stem = net.conv(net.x, 24, 3, 3, 3)
    depthwise = net.conv(stem, 24, 1, 3, 3, group=24)
    pointwise = net.conv(depthwise, 24, 24, 1, 1)
    # Sums of channels that fill no whole block are no obstacle: what absent channels hold does not matter.
    mean = net.op(GlobalAveragePool(), net.op(Add(), pointwise, depthwise))
    assert net.laid_out(mean) == [
        ("conv", "", "o16k4", "c16"),
        ("conv", "c16", "o16k4", "c16"),
        ("conv", "c16", "o16i4", "c16"),
        ("add", "c16", "c16", "c16"),
        ("global_average_pool", "c16", "c16"),
        ("reorder", "c16", ""),
    ]


def test_stems_that_cannot_read_rows() -> None:
    """Four neighbours must be neighbours in memory, and of one row."""
    net = Network(1, 3, 8, 8)
    dilated = net.laid_out(net.conv(net.x, 16, 3, 3, 3, dilation=2))
    assert [op for op in dilated if op[0] == "conv"] == [("conv", "c16", "o16i4", "c16")]
    net = Network(1, 3, 8, 3)
    narrow = net.laid_out(net.conv(net.x, 16, 3, 3, 3))
    assert [op for op in narrow if op[0] == "conv"] == [("conv", "c16", "o16i4", "c16")]


def test_grouped() -> None:
    net = Network(1, 32, 4, 4)
    whole = net.laid_out(net.conv(net.x, 32, 16, 1, 1, group=2))
    assert ("conv", "c16", "o16i4", "c16") in whole
    net = Network(1, 24, 4, 4)
    # Kernels join the groups in weights of their own.
    assert ("conv", "c16", "", "c16") in net.laid_out(net.conv(net.x, 24, 12, 1, 1, group=2))
    net = Network(1, 34, 4, 4)
    assert net.laid_out(net.conv(net.x, 68, 2, 1, 1, group=17)) == [("conv", "", "", "")]


def test_computed_bias_and_parameters_by_channel_stay_row_major() -> None:
    net = Network(1, 16, 4, 4)
    bias = net.function.add_parameter("bias", TensorType((16,), DType.I32))
    assert net.laid_out(net.conv(net.x, 16, 16, 1, 1, bias=bias)) == [("conv", "", "", "", "")]
    net = Network(1, 16, 4, 4)
    by_channel = Quantization.per_channel(np.full(16, 0.5, np.float32), 1)
    changed = net.op(Requantize(), net.conv(net.x, 16, 16, 1, 1), quant=by_channel)
    assert net.laid_out(changed)[-1] == ("requantize", "", "")


def test_matrix_products() -> None:
    """Weights get an order of their own, activations stay row-major; rows without a quad stay as they are."""
    quant = Quantization.per_tensor(0.25)
    for inner, transposed, layout in ((20, True, "o16i4"), (21, False, "i4o16"), (3, True, "")):
        net = Network(3, inner)
        shape = (7, inner) if transposed else (inner, 7)
        w = net.module.add_constant("w", np.ones(shape, np.int8), TensorType(shape, DType.I8, quant))
        y = net.op(MatMul(transpose_b=transposed), net.x, w, dtype=DType.I16 if inner == 21 else DType.I8)
        assert net.laid_out(y) == [("matmul", "", layout, "")]


def test_products_of_plain_integers() -> None:
    """So do known matrices whose zero points are known too."""
    for inner, known, layout in ((20, True, "i4o16"), (21, True, "i4o16"), (3, True, ""), (20, False, "")):
        net = Network(3, inner)
        x = net.function.add_parameter("a", TensorType((3, inner), DType.U8))
        w = net.module.add_constant("w", np.ones((inner, 7), np.int8))
        zero = net.module.add_constant("z", np.ones(7, np.int8)) if known else None
        zero = net.function.add_parameter("z", TensorType((7,), DType.I8)) if zero is None else zero
        op = net.function.append(MatMulInteger(), [x, w, None, zero])
        op.annotations["on"] = "cpu"
        assert net.laid_out(op.result)[-1][2] == layout
