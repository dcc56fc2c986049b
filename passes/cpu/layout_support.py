"""Which ops the CPU kernels run on activations in blocks of 16 channels: the one file to change with a new kernel."""

import math
from collections.abc import Callable
from dataclasses import field
from typing import Any

from tilewright.immutable import Immutable

from ...ir.accumulators import is_byte_product, is_word_product, word_parts
from ...ir.annotations import ON
from ...ir.core import Constant, Op, is_op
from ...ir.layout import CHANNEL_BLOCK, HALVES, QUAD, STEM_CHANNELS, WINDOW, bytes_of
from ...ir.ops.convolution import MOST_COPIED, Conv, NarrowConv, copied_bytes, joined_groups
from ...ir.ops.elementwise import Elementwise, Mul
from ...ir.ops.fused import FusedElementwise
from ...ir.ops.integer_products import MatMulInteger
from ...ir.ops.matmul import MatMul
from ...ir.ops.movement import Concat, Interleave
from ...ir.ops.pooling import AveragePool, GlobalAveragePool, GlobalMaxPool, MaxPool, Pool
from ...ir.ops.quantization import Requantize
from ...ir.ops.resize import Resize
from ...ir.ops.unary import Unary
from ...ir.ops.weight_only import WeightOnlyMatMul
from ...ir.quantized import EIGHT_BIT
from ...ir.types import DType
from ...ir.windows import SHORT

ACTIVATIONS = "c16"
"""Layout of blocked activations."""

MACS_PER_BYTE, SLOW_MACS_PER_BYTE, DEPTHWISE_ROW = 12, 4, 128
"""What row-major order costs convolutions: as much as a byte for so many products, or for fewer of short rows and with
strides, as so many for a depthwise row, of nine taps at most; of more it grows with the square of their number."""

LONG_ROW = 32
"""Neighbouring results that convolutions in row-major order compute as fast as those of blocks, about."""

FEW_OUTPUTS = 8
"""Up to so many output channels, of rows of as many, a convolution computes faster in row-major order."""

_ABSENT_COST = 3
"""Products of which a block saves as much as one of an absent output takes, where weights are computed."""

_MOST_JOINED = 4
"""Groups that are multiplied as one on tiles, so often with zero: vectors take several times as long without that."""


class Support(Immutable):
    """How an op runs on blocked activations.

    Attributes:
        operands: indices of those that are blocked when the result is.
        weights: layouts of constant operands, by index.
        is_required: there is no kernel for the op in row-major order.
        penalty: bytes of memory traffic that the blocked form is worth, or below 0 that the other form is worth.
        stem_weights: layouts of constant operands where operand 0 stays row-major although the result is blocked;
            ``None`` where that is not possible.
    """

    operands: tuple[int, ...]
    weights: dict[int, str] = field(default_factory=dict)
    is_required: bool = False
    penalty: int = 0
    stem_weights: dict[int, str] | None = None


def _convolution(op: Op[Conv]) -> Support | None:
    """Over 1 or 2 dimensions: plain, in groups of whole blocks, depthwise; quantised ones in other groups, too, if not
    too many of them make whole blocks. Of a quantised convolution all that depends on the output channel is known;
    other weights that are computed are put in order in the run, where that costs less than it saves.

    Four inputs of a quantised channel, or four neighbours of a kernel row, stand side by side in its weights; its stem
    reads rows of four bytes at least. In floating point, products of one pixel each or along long rows, and depthwise
    ones, are almost as fast in row-major order."""
    conv, (x, w, b, _) = op.operator, op.operands
    is_quantized = x.type.quant is not None
    is_known = isinstance(w, Constant)
    if is_quantized and not (is_known and isinstance(b, Constant | None)):
        return None
    if max(w.type.shape[2:]) > SHORT:
        return None
    # What it costs to write weights in another order.
    ordered = 0 if is_known else 2 * bytes_of(w.type)
    outputs, channels = w.type.shape[:2]
    operands = (0, 3) if op.operands.residual is not None else (0,)
    dense, narrow = ({1: "o16i4"}, {1: "o16k4"}) if is_quantized else ({1: "o16i16"}, {1: "o16"})
    if conv.group == 1:
        reads_rows = not is_quantized or (conv.dilations[-1] == 1 and x.type.shape[-1] >= QUAD)
        stem = narrow if x.type.shape[1] <= STEM_CHANNELS and reads_rows else None
        kernel, steps = w.type.shape[2:], {*conv.strides}
        products = math.prod(w.type.shape[1:]) * op.result.type.elements
        is_few = 0 < outputs <= FEW_OUTPUTS <= op.result.type.shape[-1]
        is_winograd = is_known and kernel == (WINDOW, WINDOW)
        has_rows = is_few or math.prod(kernel) == 1 or (op.result.type.shape[-1] >= LONG_ROW and not is_winograd)
        is_slow = not has_rows or steps != {1}
        # In blocks, outputs that are absent are multiplied, too; by Winograd's algorithm a quarter of the times.
        absent = products * (-outputs % CHANNEL_BLOCK) // max(1, outputs)
        gain = products if is_known else products - _ABSENT_COST * absent
        penalty = gain // (SLOW_MACS_PER_BYTE if is_slow else MACS_PER_BYTE) - ordered
        if is_few:
            penalty -= absent // (8 if is_winograd else 2)
        is_required = is_quantized or (is_slow and is_known)
        return Support(operands, dense, is_required, 0 if is_required else penalty, stem)
    if channels == 1 and outputs == conv.group:
        rows = op.result.type.elements // max(1, op.result.type.shape[-1])
        penalty = rows * conv.strides[-1] * DEPTHWISE_ROW * max(1, math.prod(w.type.shape[2:]) ** 2 // WINDOW**4)
        is_required = is_quantized or conv.strides[-1] > 2
        return Support(operands, narrow, is_required, 0 if is_required else penalty - ordered)
    joined = joined_groups(conv.group, x.type.shape[1], outputs)
    if joined == 1:
        return Support(operands, dense, is_required=True)
    # Kernels have weights of their own, in which the groups are joined.
    return Support(operands, is_required=True) if is_quantized and joined is not None else None


def _word_convolution(op: Op[Conv]) -> Support | None:
    """As those of 8 bits, of i16 whose sums fit 32 bits, in parts; kernels have weights in a form of their own."""
    found = _convolution(op) if is_word_product(op) else None
    parts = word_parts(op) if found is not None else None
    if found is None or parts is None:
        return None
    # Joined groups are cut elsewhere.
    channels, outputs = op.inputs[0].type.shape[1], op.result.type.shape[1]
    is_whole = parts == 1 or joined_groups(op.operator.group, channels, outputs) == 1
    return Support(found.operands, is_required=True) if is_whole else None


def _narrow_convolution(op: Op[NarrowConv] | Op[Conv]) -> Support | None:
    """Over 1 or 2 dimensions, in groups of which few make whole blocks. Weights, which kernels have in a form of their
    own, and the bias are known."""
    x, w, *_ = op.inputs
    conv, bias = op.operator, op.operands.b
    joined = joined_groups(conv.group, x.type.shape[1], w.type.shape[0])
    is_known = isinstance(w, Constant) and isinstance(bias, Constant | None)
    if joined is None or joined > _MOST_JOINED or not is_known or max(w.type.shape[2:]) > SHORT:
        return None
    stem = {} if conv.group == 1 and x.type.shape[1] <= STEM_CHANNELS else None
    return Support((0, 3) if op.operands.residual is not None else (0,), is_required=True, stem_weights=stem)


def can_be_narrow(op: Op[Conv], least: int) -> bool:
    """Whether a convolution can be one of numbers in bfloat16, and has ``least`` channels at both ends, or taps as well
    where it has few, to gain by it."""
    outputs, channels, *kernel = op.inputs[1].type.shape
    # Taps of a row that lie side by side are multiplied at once.
    joins = op.operator.group == op.operator.dilations[-1] == 1 and channels <= STEM_CHANNELS and kernel[-1] > 1
    few = outputs < least or (channels * math.prod(kernel) < CHANNEL_BLOCK if joins else channels < least)
    types = [value.type for value in (*op.inputs, op.result)]
    is_float = types[0].rank in (3, 4) and all(type.dtype is DType.F32 and type.quant is None for type in types)
    if few or not is_float or _narrow_convolution(op) is None:
        return False
    # Kernels copy one row of results at least, and more in caches alone.
    return copied_bytes(op.operator, types[0].shape, types[1].shape) <= MOST_COPIED // 2


def _pool(op: Op) -> Support | None:
    if isinstance(op.operator, Pool) and max(op.operator.kernel) > SHORT:
        return None
    return Support((0,), penalty=bytes_of(op.inputs[0].type))


def _concat(op: Op[Concat]) -> Support | None:
    """Along the channels, every part but the last in whole blocks."""
    whole = all(part.type.shape[1] % CHANNEL_BLOCK == 0 for part in op.inputs[:-1])
    return Support(tuple(range(len(op.operands)))) if op.operator.axis == 1 and whole else None


def _interleave(op: Op[Interleave]) -> Support | None:
    """Phases of whole blocks."""
    return None if op.result.type.shape[1] % CHANNEL_BLOCK else Support((0,), penalty=bytes_of(op.result.type))


def _resize(op: Op[Resize]) -> Support | None:
    """Images."""
    x, resize = op.inputs[0].type, op.operator
    keeps = all(resize.keeps(d, x.shape[d]) for d in range(2))
    return Support((0,), penalty=bytes_of(op.result.type)) if keeps else None


def _elementwise(op: Op) -> Support | None:
    """Whole blocks, so that no padding has to stay zero; other operands are like the result, vary along batch and
    channels only, or are scalars. No element type but float32 and truth values inside of fused ops."""
    shape = op.result.type.shape
    if shape[1] % CHANNEL_BLOCK:
        return None
    if isinstance(op.operator, FusedElementwise):
        inner = op.operator.step_types(tuple(value.type for value in op.inputs))
        if any(type.dtype not in (DType.F32, DType.BOOL) for type in inner):
            return None
    blocked: list[int] = []
    for index, value in enumerate(op.inputs):
        extents = (1,) * (len(shape) - value.type.rank) + value.type.shape
        if math.prod(extents) == 1:
            continue
        spatial_matches = extents[2:] == shape[2:] or set(extents[2:]) == {1}
        if extents[1] != shape[1] or not spatial_matches:
            return None
        if value.type.rank == len(shape) and not (isinstance(value, Constant) and set(extents[2:]) == {1}):
            blocked.append(index)
        elif set(extents[2:]) != {1}:
            return None
    return Support(tuple(blocked))


def _quantized_elementwise(op: Op) -> Support | None:
    """Operands like the result, or scalars; what absent channels hold does not matter."""
    blocked = [i for i, value in enumerate(op.inputs) if value.type.shape == op.result.type.shape]
    others = [value for i, value in enumerate(op.inputs) if i not in blocked]
    return Support(tuple(blocked)) if all(value.type.elements == 1 for value in others) else None


def _requantize(op: Op) -> Support | None:
    """Between tensors quantised per tensor, or numbers."""
    quants = [value.type.quant for value in (*op.inputs, op.result)]
    return Support((0,)) if all(quant is None or quant.axis is None for quant in quants) else None


SUPPORT: dict[type, Callable[[Op[Any]], Support | None]] = {
    Conv: _convolution,
    NarrowConv: _narrow_convolution,
    MaxPool: _pool,
    AveragePool: _pool,
    GlobalAveragePool: _pool,
    GlobalMaxPool: _pool,
    Concat: _concat,
    Interleave: _interleave,
    Resize: _resize,
    Elementwise: _elementwise,
}
"""By operator class; a subclass is found under its base. ``None`` says that this op cannot."""

QUANTIZED_SUPPORT: dict[type, Callable[[Op[Any]], Support | None]] = {
    **SUPPORT,
    Elementwise: _quantized_elementwise,
    Requantize: _requantize,
}
"""The same where all activations are bytes of quantised types."""

WORD_SUPPORT: dict[type, Callable[[Op[Any]], Support | None]] = {
    Conv: _word_convolution,
    MaxPool: _pool,
    GlobalMaxPool: _pool,
    Concat: _concat,
    Unary: _quantized_elementwise,
    Mul: _quantized_elementwise,
}
"""The same where all activations are quantised integers of 16 bits, signed."""


def matrix_layout(op: Op) -> str | None:
    """The layout of the known weights of a product of matrices, whose activations stay row-major; ``None`` if they stay
    as they are.

    Of 8-bit matrices all that depends on the column is known, and there are rows for a dot product; results may have 16
    bits."""
    matmul = op.operator
    if ON.get(op) == "cpu" and isinstance(matmul, MatMulInteger):
        a, w = op.inputs[:2]
        _, _, a_zero, w_zero = op.operands
        is_known = isinstance(w, Constant) and isinstance(w_zero, Constant | None) and w.type.rank == 2
        is_alone = a_zero is None or (a_zero.type.elements == 1 and a_zero.type.dtype in EIGHT_BIT)
        inner = a.type.shape[-1]
        return "i4o16" if is_known and is_alone and a.type.elements and inner >= QUAD else None
    if ON.get(op) == "cpu" and isinstance(matmul, WeightOnlyMatMul) and isinstance(op.inputs[1], Constant):
        w = op.inputs[1].array
        # A word of layout `HALVES` holds eight rows.
        is_narrow = w.size > 0 and matmul.block % 8 == 0 and w.min() >= -8 and w.max() <= 7
        return HALVES if is_narrow else "i4o16"
    if ON.get(op) != "cpu" or not isinstance(matmul, MatMul):
        return None
    x, w, *bias = op.inputs
    if w.type.dtype is DType.F32:
        columns, uses = op.result.type.shape[-1], w.uses
        is_factor = all(isinstance(user, Op) and is_op(user, MatMul) and index == 1 for user, index in uses)
        is_known = isinstance(w, Constant) and w.type.rank == 2 and w.type.elements > 0
        # Panels are filled up, which must not take much memory.
        is_wide = 2 * (-columns % CHANNEL_BLOCK) <= columns
        return ("o16" if matmul.transpose_b else "io16") if is_known and is_factor and is_wide else None
    if matmul.transpose_a:
        return None
    is_known = all(isinstance(value, Constant) for value in (w, *bias))
    if not is_known or not is_byte_product(op) or w.type.rank != 2 or x.type.shape[-1] < QUAD:
        return None
    return "o16i4" if matmul.transpose_b else "i4o16"


def blocked_support(op: Op) -> Support | None:
    """How ``op`` runs on blocked activations, ``None`` if it does not: only float32 or 8-bit quantised tensors on the
    CPU, with 1 or 2 spatial dimensions and one result, do, and some ops of 16 bits."""
    if ON.get(op) != "cpu" or len(op.results) != 1 or op.result.type.rank not in (3, 4):
        return None
    types = [value.type for value in (*op.inputs, op.result)]
    activations = types
    if is_op(op, Conv):
        # Weights and biases have types of their own.
        residual = op.operands.residual
        activations = [types[0], types[-1], *([residual.type] if residual is not None else [])]
    if all(type.dtype is DType.F32 for type in types):
        support = SUPPORT
    elif all(type.dtype in EIGHT_BIT and type.quant is not None for type in activations):
        support = QUANTIZED_SUPPORT
    elif all(type.dtype is DType.I16 and type.quant is not None for type in activations):
        support = WORD_SUPPORT
    else:
        return None
    for base in op.operator.__class__.__mro__:
        if base in support:
            return support[base](op)
    return None
