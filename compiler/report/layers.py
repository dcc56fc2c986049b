"""The shape of each layer, written down for the artifact."""

from __future__ import annotations

from ...ir.annotations import STATIONARY, TILE
from ...ir.calls import called_ops
from ...ir.core import Constant, Module, Op, is_op
from ...ir.ops.convolution import Conv, ConvTranspose
from ...runtime.report.layers import Layer


def layers(module: Module) -> list[Layer]:
    """Each op of a planned module, those of device functions included, in order of execution."""
    return [_layer(each) for op in module.main.ops for each in called_ops(module, op) if each.results]


def _layer(op: Op) -> Layer:
    operands = [value for value in op.inputs if not isinstance(value, Constant)]
    type = op.results[0].type
    quant = type.quant if type.quant is not None and len(type.quant.scale) == 1 else None
    return Layer(
        name=op.results[0].name,
        op=op.name,
        operands=tuple(value.name for value in operands),
        inputs=tuple(value.type.shape for value in operands),
        output=type.shape,
        kernel=_kernel(op),
        strides=_window(op, "strides"),
        dilations=_window(op, "dilations"),
        pads=_window(op, "pads"),
        output_padding=_window(op, "output_padding"),
        dtype=type.dtype.value,
        scale=quant.scale[0] if quant is not None else None,
        zero_point=quant.zero_point[0] if quant is not None else None,
        tile=TILE.get(op) or (),
        stationary=STATIONARY.get(op) or "",
    )


def _kernel(op: Op) -> tuple[int, ...]:
    if is_op(op, Conv, ConvTranspose):
        return op.operands.w.type.shape[2:]
    return _window(op, "kernel")


def _window(op: Op, attribute: str) -> tuple[int, ...]:
    """An attribute that operators with a window share by its name; empty where there is none."""
    found = getattr(op.operator, attribute, ())
    return tuple(found) if isinstance(found, tuple) and all(isinstance(each, int) for each in found) else ()
