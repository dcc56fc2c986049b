"""Rules for convolutions."""

from __future__ import annotations

from ....ir.core import Constant, Op
from ....ir.feature_map import window_of
from ....ir.quantized import EIGHT_BIT
from ....runtime.machines.machine import DILATION_LIMIT, KERNEL_LIMIT, ORIGIN_LIMIT, STRIDE_LIMIT, Machine
from .rule import Found, Rule, at_most


def one_or_two_spatial_dimensions(op: Op, machine: Machine) -> Found | None:
    """A convolution slides over one or two dimensions."""
    rank = op.inputs[0].type.rank
    return Found(op.inputs[0], f"{rank - 2} dimensions") if rank not in (3, 4) else None


def weights_are_constants(op: Op, machine: Machine) -> Found | None:
    """Weights and bias are constants."""
    return next((Found(v, "a computed tensor") for v in op.inputs[1:] if not isinstance(v, Constant)), None)


def weights_of_eight_bits(op: Op, machine: Machine) -> Found | None:
    """Weights are i8 or u8, quantised, with one zero point for all channels."""
    w = op.inputs[1]
    if w.type.quant is None or w.type.dtype not in EIGHT_BIT:
        return Found(w, f"{w.type.dtype.value}, {'quantised' if w.type.quant else 'not quantised'}")
    zeros = sorted(set(w.type.quant.zero_point))
    return Found(w, f"zero points from {zeros[0]} to {zeros[-1]}") if len(zeros) > 1 else None


def kernel_size(op: Op, machine: Machine) -> Found | None:
    """The kernel of a convolution has at most 31 rows and columns."""
    kernel = window_of(op).kernel
    return Found(op.inputs[1], f"{kernel[0]} x {kernel[1]}") if max(kernel) > KERNEL_LIMIT else None


RULES: tuple[Rule, ...] = (
    one_or_two_spatial_dimensions,
    weights_are_constants,
    weights_of_eight_bits,
    kernel_size,
    at_most(STRIDE_LIMIT, "Strides of a convolution are at most 31.", lambda op: window_of(op).stride),
    at_most(DILATION_LIMIT, "Dilations of a convolution are at most 31.", lambda op: window_of(op).dilation),
    at_most(
        ORIGIN_LIMIT,
        "A convolution pads with at most 4095 rows and columns on each side.",
        lambda op: op.operator.pads,
    ),
)
