"""QuantizeLinear, DequantizeLinear and DynamicQuantizeLinear of ONNX, and the typed forms written with them."""

from __future__ import annotations

import numpy as np
import onnx

from .....ir.core import Constant, Op, Value
from .....ir.ops.quantization import (
    Dequantize,
    DequantizeLinear,
    DynamicQuantizeLinear,
    FakeQuantize,
    Quantize,
    QuantizeLinear,
    Requantize,
    StorageCast,
)
from .....ir.types import DType
from ..exporter import Exporter, exports
from ..importer import Importer, Node, imports
from ..one_to_one import exports_as, one_to_one
from ..tensors import element_type

exports_as("DequantizeLinear", DequantizeLinear)
one_to_one("DynamicQuantizeLinear", DynamicQuantizeLinear)


def scale_and_zero_point(node: Node, index: int, dtype: DType | None = None) -> tuple[Value, Value | None]:
    """Inputs ``index`` and ``index + 1``; what of them is known is such that it means something.

    Args:
        dtype: of the integers, ``None`` where it is the zero point that says so.

    Raises:
        ModelError: a scale is no number, not positive or not finite.
        UnsupportedError: the zero point is none of the integers.
    """
    scale, zero = node.input(index), node.optional(index + 1)
    if isinstance(scale, Constant) and scale.type.dtype.is_float:
        # Engines compute in float32, where a tiny scale is 0 and a huge one infinite.
        scales = scale.array.reshape(-1).astype(np.float32)
        bad = np.flatnonzero(~(np.isfinite(scales) & (scales > 0)))
        if bad.size:
            found = scale.array.reshape(-1)[bad[0]].item()
            where = f" for channel {bad[0]}" if scales.size > 1 else ""
            raise node.model_error(f"scale {scale.name!r} is not positive and finite", found=f"{found}{where}")
    if zero is not None and dtype is not None and zero.type.dtype is not dtype:
        message = f"zero point {zero.name!r} is of another type than the integers"
        raise node.unsupported(message, expected=dtype.value, found=zero.type.dtype.value)
    return scale, zero


def quantized_axis(node: Node, x: Value, scale: Value) -> int | None:
    """The dimension that the scales run along, ``None`` where there is one for the whole tensor."""
    if node.int("block_size", 0):
        raise node.unsupported("scales of blocks are not supported", found=f"block_size {node.int('block_size')}")
    # The axis means nothing for a single scale, and files hold any number there.
    if scale.type.elements == 1 or not x.type.rank:
        return None
    return node.axis(x.type.rank, 1)


@imports("QuantizeLinear")
def import_quantize_linear(node: Node, importer: Importer) -> Value:
    x = node.input(0)
    axis = quantized_axis(node, x, node.input(1))
    scale, zero = scale_and_zero_point(node, 1)
    if zero is not None:
        to = zero.type.dtype
    else:
        code = node.int("output_dtype", 0)
        to = element_type(code, node.name) if code else DType.U8
    return importer.emit_one(QuantizeLinear(to, axis), x, scale, zero)


@exports(QuantizeLinear)
def export_quantize_linear(op: Op[QuantizeLinear], exporter: Exporter) -> None:
    quantize = op.operator
    has_zero = len(op.inputs) == 3
    code = onnx.helper.np_dtype_to_tensor_dtype(quantize.to.numpy)
    exporter.write_as(op, "QuantizeLinear", op.operands, axis=quantize.axis, output_dtype=None if has_zero else code)


@imports("DequantizeLinear")
def import_dequantize_linear(node: Node, importer: Importer) -> Value:
    x = node.input(0)
    axis = quantized_axis(node, x, node.input(1))
    scale, zero = scale_and_zero_point(node, 1, x.type.dtype)
    return importer.emit_one(DequantizeLinear(axis), x, scale, zero)


@exports(FakeQuantize)
def export_fake_quantize(op: Op[FakeQuantize], exporter: Exporter) -> None:
    x, scale, low, high = op.operands
    whole = exporter.node("Round", [exporter.node("Div", [x, scale])])
    above = exporter.node("Max", [exporter.node("Mul", [whole, scale]), low])
    exporter.write_as(op, "Min", [above, high])


@exports(Quantize)
def export_quantize(op: Op[Quantize], exporter: Exporter) -> None:
    exporter.define(op, exporter.quantize(op.operands.x, op.result.type))


@exports(Dequantize)
def export_dequantize(op: Op[Dequantize], exporter: Exporter) -> None:
    exporter.define(op, exporter.dequantize(op.operands.x))


@exports(Requantize)
def export_requantize(op: Op[Requantize], exporter: Exporter) -> None:
    real = exporter.dequantize(op.operands.x)
    exporter.define(op, exporter.quantize(real, op.result.type))


@exports(StorageCast)
def export_storage_cast(op: Op[StorageCast], exporter: Exporter) -> None:
    exporter.define(op, exporter.name(op.operands.x))
