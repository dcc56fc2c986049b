"""Operators that stand for several of the standard: products with what follows them, normalised sums, activations."""

from dataclasses import replace

import numpy as np

from ......ir.core import Value
from ......ir.ops.activation import Clip, Gelu, GeluTanh
from ......ir.ops.comparison import Where
from ......ir.ops.convolution import Conv
from ......ir.ops.elementwise import Add, Div, Mul
from ......ir.ops.indexing import Gather
from ......ir.ops.integer_products import MatMulInteger
from ......ir.ops.matmul import SINGLE_BITS, Determinant, MatMul
from ......ir.ops.normalization import LayerNorm, RmsNorm
from ......ir.ops.quantization import DequantizeLinear
from ......ir.ops.reduction import ReduceSum, ReduceSumSquare
from ......ir.ops.unary import Sqrt
from ......ir.types import DType
from ....elementwise import scaled
from ....expression import Expression
from ....matmul import gemm, product, product_by, quantized_product
from ....movement import transpose
from ....recurrent import ACTIVATIONS, activate, numbers_of
from ....shape import cast, reshape
from ...exporter import MICROSOFT
from ...importer import Importer, Node, imports
from ...narrow_types import restored, stored
from ..layers.convolution import convolution
from ..layers.pooling import channels_last, import_max_pool

_POSITIVE = 0, 1 / 192, 2 / 3, 1, 1 / 3, 1 / 2, 1 / 6, 1 / 4
_LEVELS = (
    (*_POSITIVE, *(-level for level in _POSITIVE)),
    (
        *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635),
        *(-0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725),
        *(0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
    ),
)
"""The numbers that the 4 bits of a weight stand for, in FP4 and in NF4."""

_COARSE_LEVEL, _COARSE_BITS = 4, 16
"""The level of accuracy that lets rows become integers of 8 bits with a scale, and the bits that they get. Levels 2 and
3 are of floats: beside a large number small ones keep their digits.
"""

_LARGEST_INVERSE = 16
"""Rows of a matrix whose inverse is made of determinants, which take its rows to the power of 5."""


def added(importer: Importer, x: Value, addend: Value | None) -> Value:
    """``x`` plus what may be absent."""
    return importer.emit_one(Add(), x, addend) if addend is not None else x


def _rows_behind_batch(importer: Importer, x: Value) -> Value:
    """Matrices whose rows are the first dimension, before those of the batch."""
    rank = x.type.rank
    return transpose(importer, x, (*range(1, rank - 1), 0, rank - 1)) if rank > 2 else x


@imports("FusedMatMul", "TransposeMatMul", domain=MICROSOFT)
def import_matmul(node: Node, importer: Importer) -> Value:
    x, w = node.input(0), node.input(1)
    x = _rows_behind_batch(importer, x) if node.bool("transBatchA", 0) else x
    w = _rows_behind_batch(importer, w) if node.bool("transBatchB", 0) else w
    transposed = node.bool("transA", 0), node.bool("transB", 0)
    y = product(node, importer, x, w, transpose_a=transposed[0], transpose_b=transposed[1])
    alpha = node.float("alpha", 1.0)
    return y if alpha == 1 else scaled(importer, y, alpha)


def _activated(node: Node, importer: Importer, x: Value, given: tuple[float, ...]) -> Value:
    """``x`` after the activation that a node names, if it does.
    ``given``: numbers of the activation, as many as there are."""
    name = node.word("activation", "")
    if not name:
        return x
    if name == "clip" and len(given) == 2:
        return importer.emit_one(Clip(*given), x)
    if name not in ACTIVATIONS:
        expected = ", ".join(("clip", *ACTIVATIONS))
        raise node.unsupported("this activation is not supported", expected=expected, found=name)
    defaults = numbers_of(name)
    return activate(name, *given[: len(defaults)], *defaults[len(given) :])(importer, x)


@imports("FusedGemm", domain=MICROSOFT)
def import_gemm(node: Node, importer: Importer) -> Value:
    operator = MatMul(transpose_a=node.bool("transA", 0), transpose_b=node.bool("transB", 0))
    alpha, beta = node.float("alpha", 1.0), node.float("beta", 1.0)
    y = gemm(importer, operator, node.input(0), node.input(1), node.optional(2), alpha, beta)
    names = (f"activation_{which}" for which in ("alpha", "beta"))
    return _activated(node, importer, y, tuple(node.float(name) for name in names if node.has(name)))


@imports("FusedConv", domain=MICROSOFT)
def import_conv(node: Node, importer: Importer) -> Value:
    x, w = node.input(0), node.input(1)
    y = importer.emit_one(convolution(node, Conv, x, w), x, w, node.optional(2))
    y = added(importer, y, node.optional(3))
    return _activated(node, importer, y, node.floats("activation_params", ()))


@imports("BiasGelu", "FastGelu", domain=MICROSOFT)
def import_gelu(node: Node, importer: Importer) -> Value:
    x = added(importer, node.input(0), node.optional(1))
    return importer.emit_one(GeluTanh() if node.op_type == "FastGelu" else Gelu(), x)


@imports("SkipLayerNormalization", "SkipSimplifiedLayerNormalization", domain=MICROSOFT)
def import_skip_norm(node: Node, importer: Importer) -> list[Value | None]:
    """The sum of two inputs and a bias, normalised; the fourth output is that sum. Mean and deviation are not given."""
    is_simplified = node.op_type == "SkipSimplifiedLayerNormalization"
    total = importer.emit_one(Add(), node.input(0), node.input(1))
    total = added(importer, total, node.optional(3 if is_simplified else 4))
    axis, epsilon = total.type.rank - 1, node.float("epsilon", 1e-12)
    if is_simplified:
        y = importer.emit_one(RmsNorm(axis, epsilon), total, node.input(2))
    else:
        y = importer.emit_one(LayerNorm(axis, epsilon), total, node.input(2), node.optional(3))
    return [y, None, None, total]


@imports("EmbedLayerNormalization", domain=MICROSOFT)
def import_embedding(node: Node, importer: Importer) -> list[Value]:
    """Normalised sums of the rows of tables; how long each sequence is, by its mask; the sums."""
    ids, segments, words, positions = node.input(0), node.optional(1), node.input(2), node.input(3)
    batch, length = ids.type.shape
    total = importer.emit_one(Gather(0), words, ids)
    places = node.optional(8)
    if places is None:
        places = importer.constant(np.arange(length, dtype=np.int32), f"{node.name}_positions")
    total = importer.emit_one(Add(), total, importer.emit_one(Gather(0), positions, places))
    if segments is not None:
        total = importer.emit_one(Add(), total, importer.emit_one(Gather(0), node.input(4), segments))
    y = importer.emit_one(LayerNorm(2, node.float("epsilon", 1e-12)), total, node.input(5), node.input(6))
    mask = node.optional(7)
    if mask is None:
        lengths: Value = importer.constant(np.zeros(batch, np.int32), f"{node.name}_lengths")
    else:
        lengths = importer.emit_one(ReduceSum((1,), keepdims=False), cast(importer, mask, DType.I32))
    return [y, lengths, total]


@imports("QEmbedLayerNormalization", domain=MICROSOFT)
def import_quantized_embedding(node: Node, importer: Importer) -> list[Value]:
    """As EmbedLayerNormalization, of tables and factors in integers, whose scales and zero points follow the mask."""
    real = [
        value and importer.emit_one(DequantizeLinear(), value, node.input(index + 6), node.optional(index + 11))
        for index in range(2, 7)
        for value in [node.optional(index)]
    ]
    return import_embedding(replace(node, inputs=(*node.inputs[:2], *real, node.optional(7))), importer)


@imports("ExpandDims", domain=MICROSOFT)
def import_expand(node: Node, importer: Importer) -> Value:
    x = node.input(0)
    axis = node.from_front(node.scalar(1, "the axis"), x.type.rank + 1)
    return reshape(importer, x, (*x.type.shape[:axis], 1, *x.type.shape[axis:]))


@imports("Inverse", domain=MICROSOFT)
def import_inverse(node: Node, importer: Importer) -> Value:
    """Determinants in which a unit vector stands for a row, over the determinant of the matrix: Cramer's rule."""
    x = node.input(0)
    *batch, size, columns = x.type.shape
    if size != columns or not 1 <= size <= _LARGEST_INVERSE:
        expected = f"square matrices of at most {_LARGEST_INVERSE} rows"
        raise node.unsupported("inverses of such matrices are not supported", expected=expected, found=x.type)
    wide = cast(importer, x, DType.F64)
    units = np.eye(size**2).reshape(size, size, size, size)
    is_row = importer.constant(np.eye(size, dtype=np.bool_).reshape(size, 1, size, 1), f"{node.name}_rows")
    rest = reshape(importer, wide, (*batch, 1, 1, size, size))
    replaced = importer.emit_one(Where(), is_row, importer.constant(units, f"{node.name}_units"), rest)
    cofactors = importer.emit_one(Determinant(), replaced)
    whole = reshape(importer, importer.emit_one(Determinant(), wide), (*batch, 1, 1))
    order = (*range(len(batch)), len(batch) + 1, len(batch))
    inverse = importer.emit_one(Div(), transpose(importer, cofactors, order), whole)
    return cast(importer, inverse, x.type.dtype)


@imports("CDist", domain=MICROSOFT)
def import_distances(node: Node, importer: Importer) -> Value:
    """Distances of each row of one matrix from each of another."""
    a, b = node.input(0), node.input(1)
    rows, width = a.type.shape
    apart = reshape(importer, a, (rows, 1, width)), reshape(importer, b, (1, *b.type.shape))
    squares = (Expression(importer, apart[0]) - apart[1]).apply(ReduceSumSquare((2,), keepdims=False))
    return (squares if node.word("metric", "sqeuclidean") == "sqeuclidean" else squares.apply(Sqrt())).value


@imports("NhwcMaxPool", domain=MICROSOFT)
def import_channels_last_pool(node: Node, importer: Importer) -> Value:
    return channels_last(node, importer, lambda node, importer: import_max_pool(node, importer)[0])


@imports("DynamicQuantizeMatMul", domain=MICROSOFT)
def import_dynamic_matmul(node: Node, importer: Importer) -> Value:
    x, w, scale, zero = node.input(0), node.input(1), node.input(2), node.optional(3)
    return added(importer, quantized_product(importer, x, w, scale, zero), node.optional(4))


@imports("MatMulIntegerToFloat", domain=MICROSOFT)
def import_integer_matmul(node: Node, importer: Importer) -> Value:
    y = integer_product(node, importer, 2, node.optional(4), node.optional(5))
    return added(importer, y, node.optional(6))


def integer_product(node: Node, importer: Importer, scales: int, x_zero: Value | None, w_zero: Value | None) -> Value:
    """The product in real numbers of inputs 0 and 1, integers.
    ``scales``: the input that is the scale of the first; that of the second follows."""
    x_scale, w_scale = node.input(scales), node.input(scales + 1)
    total = importer.emit_one(MatMulInteger(), node.input(0), node.input(1), x_zero, w_zero)
    scale = importer.emit_one(Mul(), reshape(importer, x_scale, ()), w_scale)
    return importer.emit_one(Mul(), cast(importer, total, DType.F32), scale)


@imports("MatMulNBits", domain=MICROSOFT)
def import_matmul_of_blocks(node: Node, importer: Importer) -> Value:
    """Weights of 2, 4 or 8 bits, with a scale for each block of a row: whole blocks stay integers, multiplied in single
    precision; others become real numbers when compiling."""
    x, dtype = node.input(0), node.input(0).type.dtype
    columns, rows = node.int("K"), node.int("N")
    bits, size = node.int("bits", 4), node.int("block_size")
    if bits not in (2, 4, 8) or size < 1 or columns < 1 or rows < 1 or x.type.shape[-1:] != (columns,):
        raise node.model_error("there are no such weights", found=f"{bits} bits, blocks of {size}, {rows} x {columns}")
    blocks = -(-columns // size)
    packed, scales = node.constant(1, "the weights"), node.constant(2, "the scales")
    zeros = node.optional_constant(3, "the zero points")
    if packed.dtype != np.uint8 or packed.size * 8 != rows * blocks * size * bits or scales.size != rows * blocks:
        raise node.model_error(
            "weights and scales do not fit what the node says of them",
            expected=f"{rows * blocks * size * bits // 8} bytes and {rows * blocks} scales",
            found=f"{packed.dtype}[{packed.size}] and {scales.size} scales",
        )
    group = np.arange(columns) // size
    if node.optional(4) is not None:
        group = np.asarray(node.integers(4, "the groups"))[:columns]
    if len(group) < columns or not 0 <= group.min() <= group.max() < blocks:
        expected = f"{columns} numbers of blocks, 0 to {blocks - 1}"
        raise node.model_error("the groups (g_idx) do not fit the weights", expected=expected, found=group.tolist())

    def weights() -> np.ndarray:
        integers = unpacked(packed.reshape(rows, blocks, -1), bits)[..., :size].reshape(rows, -1)[:, :columns]
        zero: np.ndarray | int = 1 << (bits - 1)
        if zeros is not None:
            each = zeros if zeros.dtype.kind == "f" else unpacked(zeros.reshape(rows, -1), bits)[:, :blocks]
            zero = each.reshape(rows, blocks)[:, group]
        real = (integers.astype(np.float32) - zero) * scales.reshape(rows, blocks)[:, group].astype(np.float32)
        return real.astype(dtype.numpy)

    has_real_zeros = zeros is not None and zeros.dtype.kind == "f"
    is_whole = np.array_equal(group, np.arange(blocks * size) // size)
    bias = node.optional(5)
    if not is_whole or dtype not in (DType.F32, DType.F16) or has_real_zeros:
        w = importer.described(node, (rows, columns), dtype, weights, "_weights")
        return added(importer, product(node, importer, x, w, transpose_b=True), bias)
    each = None if zeros is None else unpacked(zeros.reshape(rows, -1), bits)[:, :blocks]
    packed, scales = packed.reshape(rows * blocks, -1), scales.reshape(-1).astype(np.float32)
    real = rows_of_blocks(node, importer, packed, scales, each, bits, size, "_weights")
    x, bias = cast(importer, x, DType.F32), cast(importer, bias, DType.F32) if bias is not None else None
    is_coarse = node.int("accuracy_level", 0) == _COARSE_LEVEL
    operator = MatMul(transpose_b=True, x_bits=_COARSE_BITS if is_coarse else SINGLE_BITS)
    y = product_by(node, importer, operator, x, reshape(importer, real, (rows, columns)))
    return cast(importer, added(importer, y, bias), dtype)


def rows_of_blocks(
    node: Node,
    importer: Importer,
    packed: np.ndarray,
    scales: np.ndarray,
    zeros: np.ndarray | None,
    bits: int,
    size: int,
    name: str,
) -> Value:
    """Blocks as real numbers, [blocks, size], which are integers of 8 bits with a scale each.
    ``packed``: bytes of integers without sign, [blocks, bytes].
    ``scales``, ``zeros``: of each block; the middle where there are no zero points.
    ``name``: what the weights are called, behind the name of the node."""
    middle = 1 << (bits - 1)

    def integers() -> np.ndarray:
        return (unpacked(packed, bits)[:, :size].astype(np.int16) - middle).astype(np.int8)

    stored, zero = importer.described(node, (len(packed), size), DType.I8, integers, name), None
    if zeros is not None:
        zero = importer.constant((zeros.reshape(-1).astype(np.int16) - middle).astype(np.int8))
    return importer.emit_one(DequantizeLinear(0), stored, importer.constant(scales), zero)


@imports("MatMulBnb4", domain=MICROSOFT)
def import_matmul_of_levels(node: Node, importer: Importer) -> Value:
    """Weights that are one of 16 numbers times the largest of their block, which become real when compiling."""
    x, packed, most = node.input(0), node.constant(1, "the weights"), node.constant(2, "the largest of the blocks")
    columns, rows, size, kind = (node.int(name) for name in ("K", "N", "block_size", "quant_type"))
    count = rows * columns
    if kind not in (0, 1) or min(columns, rows, size) < 1:
        raise node.model_error("there are no such weights", found=f"type {kind}, blocks of {size}, {rows} x {columns}")
    if packed.dtype != np.uint8 or packed.size != -(-count // 2) or most.size != -(-count // size):
        raise node.model_error(
            "weights and blocks do not fit what the node says of them",
            expected=f"{-(-count // 2)} bytes and {-(-count // size)} blocks",
            found=f"{packed.dtype}[{packed.size}] and {most.size} blocks",
        )

    def weights() -> np.ndarray:
        halves = np.stack([packed.ravel() >> 4, packed.ravel() & 15], 1).ravel()[:count]
        real = np.array(_LEVELS[kind], np.float32)[halves] * most.ravel().astype(np.float32)[np.arange(count) // size]
        return real.reshape(rows, columns).astype(x.type.dtype.numpy)

    w = importer.described(node, (rows, columns), x.type.dtype, weights, "_weights")
    return product(node, importer, x, w, transpose_b=node.bool("transB", 1))


@imports("GatherBlockQuantized", domain=MICROSOFT)
def import_gather_of_blocks(node: Node, importer: Importer) -> Value:
    """Slices of a table of 4 or 8 bits, with a scale for each block, which become real numbers when compiling.

    Tables of bytes hold several integers in each along the last dimension, and the middle of their range stands for 0;
    others are of integers of 4 bits themselves, or of small floats."""

    def given(index: int, what: str) -> np.ndarray:
        code, array = importer.narrow.get(node.input(index)), node.constant(index, what)
        return array if code is None else restored(array, code)

    data, bits, size = node.input(0), node.int("bits", 4), node.int("block_size", 128)
    integers, scales = given(0, "the table"), given(2, "the scales")
    zeros = given(3, "the zero points") if node.optional(3) is not None else None
    rank, middle = integers.ndim, 0
    if data not in importer.narrow:
        if integers.dtype != np.uint8 or not rank or bits not in (4, 8):
            raise node.unsupported("only bytes are packed", found=f"{data.type} of {bits} bits")
        # What is larger by the last block alone is found out by the scales.
        integers, middle = unpacked(integers, bits), 1 << (bits - 1)
        zeros = unpacked(zeros, bits)[..., : scales.shape[-1]] if zeros is not None and scales.ndim else zeros
    axis, along = (node.from_front(node.int(f"{use}_axis", i), rank) for i, use in enumerate(("gather", "quantize")))
    extent = integers.shape[along]
    expected = (*integers.shape[:along], -(-extent // max(size, 1)), *integers.shape[along + 1 :])
    if size < 1 or scales.shape != expected or (zeros is not None and zeros.shape != expected):
        found = f"{list(scales.shape)} scales, blocks of {size}"
        raise node.model_error("scales and zero points do not fit the table", expected=list(expected), found=found)

    def table() -> np.ndarray:
        block = np.arange(extent) // size
        zero = middle if zeros is None else np.take(zeros, block, along).astype(np.float32)
        real = (integers.astype(np.float32) - zero) * np.take(scales, block, along).astype(np.float32)
        return stored(real.astype(scales.dtype))

    code, dtype = importer.narrow.get(node.input(2)), node.input(2).type.dtype
    found = importer.emit_one(
        Gather(axis), importer.described(node, integers.shape, dtype, table, "_table"), node.input(1)
    )
    return found if code is None else importer.stored_as(code, found)


def unpacked(packed: np.ndarray, bits: int) -> np.ndarray:
    """Integers of so many bits, the lowest of a byte first, along the last dimension."""
    parts = [packed.astype(np.uint8) >> shift & ((1 << bits) - 1) for shift in range(0, 8, bits)]
    return np.stack(parts, -1).reshape(*packed.shape[:-1], -1)
