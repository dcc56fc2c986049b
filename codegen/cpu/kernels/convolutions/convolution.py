"""Convolution operators: which kernels they get, and what direct convolution does with floats."""

import math
from collections.abc import Sequence
from typing import Any, ClassVar

from .....ir.accumulators import is_word_product, word_parts
from .....ir.core import Op
from .....ir.layout import CHANNEL_BLOCK, QUAD
from .....ir.ops.convolution import Conv, joined_groups
from .....ir.windows import SHORT
from ...kernel import Kernel, lowers
from ...llvm.byte_dot_product import saturates
from ...llvm.target import TargetDescription
from ...llvm.types import F32, I1, Register, Registers, constant, partial_mask, zero
from ...tensors import is_float, is_plain
from ..activation import FEW_PRODUCTS, what_follows
from ..output_channels import VECTOR_BYTES, Channels, FloatOutput, channels_of, has_constant_channels
from ..products.blocking import Blocking, choose_tile
from ..window import Axis, rows_and_columns, walked
from .convolution_tile import ConvolutionTile
from .depthwise import Depthwise, QuantizedDepthwise, WordDepthwise, multiplies_words
from .direct_convolution import DirectConvolution
from .few_outputs import MOST_COLUMNS, MOST_OUTPUTS, FewOutputs
from .joined_convolution import JoinedConvolution, joined_weights, with_joined_groups
from .line_convolution import LineConvolution
from .paired_convolution import PairedConvolution
from .quantized_convolution import QuantizedConvolution
from .row_major_convolution import RowMajorConvolution
from .tiled_convolution import tiled_convolution
from .word_convolution import WordConvolution
from .word_winograd import word_winograd

VECTOR = F32.of(CHANNEL_BLOCK)


class Convolution(FloatOutput, DirectConvolution):
    """Convolution over an image, then bias, residual and activation; single precision.

    Arguments: x; w, layout ``o16i16`` (``o16``, where ``plain_input``); bias [outputs]; residual and result, layout
    ``c16``. The result may lie where the residual lies."""

    STEP: ClassVar[int] = 1

    @property
    def unrolled(self) -> int:
        # A column of a plain input is one step, about as long as what a loop takes.
        return 128 if self.plain_input else 0

    @property
    def present_steps(self) -> int:
        return self.input_blocks if self.plain_input else self.channels // self.groups

    def choose_blocking(self, target: TargetDescription) -> Blocking:
        """Channel chunks whose weights, row blocks or pieces of rows whose inputs stay in the second level cache."""
        merge, pixels, vectors = choose_tile(self.work, target)
        first, second = target.cache_bytes
        rows, columns = self.work.merged(merge)
        block_bytes = self.rows.kernel * self.column_steps * VECTOR_BYTES
        # A tile of few pixels reads weights faster than the second level cache gives them: there, weights are cut so
        # far that the other tiles find them in the first level.
        is_hungry = pixels < 10 and rows.output * columns.output >= 4 * pixels and rows.kernel * columns.kernel > 1
        weights_budget = first // 2 if is_hungry else second // 4
        chunks = 1 if self.plain_input else -(-self.input_blocks * vectors * block_bytes // weights_budget)
        chunk = -(-self.input_blocks // max(1, min(chunks, self.input_blocks)))
        weight_bytes = self.input_blocks * block_bytes * self.output_blocks
        row_bytes = chunk * self.x_pixel * columns.input * rows.stride
        budget = second // 8 if weight_bytes <= second // 2 else second // 2
        row_block = max(1, min(rows.output, budget // max(1, row_bytes)))
        seen = self.input_blocks * self.x_pixel * columns.input * min(rows.kernel, rows.input)
        pieces = -(-seen // (second // 2)) if row_block == 1 and vectors < self.output_blocks else 1
        return Blocking(
            merge, pixels, vectors, chunk, *self.cut_for_threads(merge, (pixels, vectors), row_block, pieces)
        )

    def start(self, tile: ConvolutionTile) -> Sequence[Register]:
        return [tile.arguments[f"start{q}"] if self.starts_with_bias(tile) else zero(VECTOR) for _, q in tile.positions]

    def step(
        self, tile: ConvolutionTile, masks: Sequence[int], pointers: Registers, step: int, sums: list[Register]
    ) -> None:
        b, (x, w) = tile.b, pointers
        if b.target.is_aarch64 or self.plain_input:
            b.fence()
        vectors = range(tile.vectors)
        weights = [b.load(VECTOR, b.at(w, q * tile.distances.vector + step * VECTOR_BYTES)) for q in vectors]
        for p, mask in enumerate(masks):
            if mask:
                value = b.splat(b.load(F32, b.at(x, p * tile.distances.pixel + 4 * step)), CHANNEL_BLOCK)
                for q in vectors:
                    index = p * tile.vectors + q
                    sums[index] = b.fma(value, weights[q], sums[index])

    def starts_with_bias(self, tile: ConvolutionTile) -> bool:
        """Whether the bias comes before all products."""
        products = self.present_steps * self.rows.kernel * self.columns.kernel
        return "first" not in tile.arguments and products <= FEW_PRODUCTS

    def with_rest(self, tile: ConvolutionTile, sums: Registers) -> Registers:
        """The sums of a chunk with what is added to them: bias and residual, or the sums of the chunks before.

        Last, as each product would be rounded to the precision of what may be far larger."""
        a, b = tile.arguments, tile.b

        def plus(values: Registers, name: str) -> Registers:
            loaded = (b.load(VECTOR, tile.output(name, *position)) for position in tile.positions)
            return tuple(b.binary("fadd", *pair) for pair in zip(values, loaded, strict=True))

        def first() -> Registers:
            values = sums
            if self.has_bias and not self.starts_with_bias(tile):
                values = tuple(b.binary("fadd", sums[i], a[f"start{q}"]) for i, (_, q) in enumerate(tile.positions))
            # The result, which later chunks read, may lie where the residual lies.
            return plus(values, "residual") if self.has_residual else values

        return b.if_(a.get("first", constant(I1, True)), first, lambda: plus(sums, "y"))

    def end(self, tile: ConvolutionTile, sums: Registers) -> None:
        a, b, sums = tile.arguments, tile.b, self.with_rest(tile, sums)

        def activated(value: Register, q: int) -> Register:
            value = self.activation.apply(b, value)
            mask = partial_mask(CHANNEL_BLOCK, tile.active) if q == tile.vectors - 1 else None
            return value if mask is None else b.select(mask, value, zero(VECTOR))

        def suspend(values: Sequence[Register]) -> None:
            for value, position in zip(values, tile.positions, strict=True):
                b.store(value, tile.output("y", *position))

        def finish() -> None:
            if self.activation.is_light:
                return suspend([activated(value, q) for (_, q), value in zip(tile.positions, sums, strict=True)])
            suspend(sums)

            def pixel(index: Register) -> None:
                base = b.at(a["y"], b.multiply(index, VECTOR_BYTES))
                for q in range(tile.vectors):
                    address = b.at(base, q * tile.distances.output_vector)
                    b.store(activated(b.load(VECTOR, address), q), address)

            return b.each(0, tile.pixels, pixel)

        b.if_(a.get("last", constant(I1, True)), finish, lambda: suspend(sums))


@lowers(Conv)
def convolution(op: Op[Conv], target: TargetDescription) -> Kernel | None:
    """Direct or depthwise convolution of floats, or of integers by known weights; the result in layout ``c16``."""
    conv, operands = op.operator, op.operands
    has_words, is_quantized = is_word_product(op), has_constant_channels(op)
    if not (has_words or is_quantized or is_float(op)) or op.result.type.layout != "c16":
        return None
    if operands.residual is not None and operands.residual.type.layout != "c16":
        return None
    x, w = operands.x.type, operands.w.type
    # Neighbours of a kernel row that lie side by side in its weights are those of the last dimension.
    axes = rows_and_columns(walked(conv.windows(x.shape, w.shape)), turns=w.layout != "o16k4")
    if axes is None or max(axis.kernel for axis in axes) > SHORT:
        return None
    (batch, channels), outputs = x.shape[:2], w.shape[0]
    single, blocked = ("", "") if has_words else ("o16k4", "o16i4") if is_quantized else ("o16", "o16i16")
    is_depthwise = (x.layout, w.layout) == ("c16", single) and conv.group == channels == outputs
    is_plain = (x.layout, w.layout) == ("", single) and conv.group == 1 and not has_words
    if is_quantized:
        is_plain = is_plain and axes[1].dilation == 1 and axes[1].input >= QUAD
    is_whole = conv.group == 1 or not any(count // conv.group % CHANNEL_BLOCK for count in (channels, outputs))
    is_blocked = (x.layout, w.layout) == ("c16", blocked) and is_whole
    joined = None
    if (has_words or is_quantized) and (x.layout, w.layout) == ("c16", "") and not (is_depthwise or is_whole):
        joined = joined_groups(conv.group, channels, outputs)
    if not (is_depthwise or is_plain or is_blocked or joined):
        return None
    op = op if joined is None else with_joined_groups(op, joined)
    parts = word_parts(op) if has_words else 1
    if parts is None:
        # Sums that do not fit.
        return None
    image, group = (batch, channels, *axes), op.operator.group
    has_bias = operands.b is not None

    def known(channels: Channels | None = None) -> dict[str, Any]:
        return {"constants": (channels or channels_of(op, None)).without_zeros, "has_bias": has_bias}

    if is_depthwise and (has_words or (is_quantized and multiplies_words(target))):
        spec = WordDepthwise(*image, **known())
        return spec.kernel(target).reading(spec.words(op, target))
    if has_words:
        spec = WordConvolution(*image, outputs, group, joined=joined or 1, parts=parts, **known())
        return spec.kernel(target).reading(spec.words(op))
    if is_quantized:
        if is_plain and saturates(target):
            spec = LineConvolution(*image, outputs, **known())
            if spec.is_small:
                return spec.kernel(target).reading(spec.words(op))
        constants = channels_of(op, target)
        if is_depthwise:
            return QuantizedDepthwise(*image, constants=constants, has_bias=has_bias).kernel(target)
        kind = QuantizedConvolution if joined is None else JoinedConvolution
        # Zero points of weights are multiplied with sums over all channels, and weights between groups are zero points.
        together = joined or 1 if not constants.zeros else 1
        spec = kind(*image, outputs, group, is_plain, joined=together, constants=constants, has_bias=has_bias)
        tiled = tiled_convolution(op, spec, target)
        are_few = is_blocked and group == 1 and outputs <= MOST_OUTPUTS and axes[1].kernel <= MOST_COLUMNS
        if tiled is None and are_few and operands.residual is None and target.is_x86_64:
            spec = FewOutputs(*image, outputs, **known())
            return spec.kernel(target).reading(spec.words(op))
        if tiled is None and saturates(target) and not is_plain:
            spec = PairedConvolution(*image, outputs, group, **known(constants))
            exact = word_winograd(op, target) if is_blocked else None
            return exact or spec.kernel(target).reading(spec.records(op, target))
        return tiled or spec.kernel(target).reading(b"" if joined is None else joined_weights(op))
    if is_depthwise:
        return Depthwise(*image, **what_follows(op)).kernel(target)
    return Convolution(*image, outputs, conv.group, is_plain, **what_follows(op)).kernel(target)


@lowers(Conv, needs=(is_float, is_plain))
def plain_convolution(op: Op[Conv], target: TargetDescription) -> Kernel:
    """Any convolution whose tensors are all row-major."""
    conv, operands = op.operator, op.operands
    x, w = operands.x.type, operands.w.type
    (batch, channels), image = x.shape[:2], x.shape[2:]
    axes = walked(conv.windows(x.shape, w.shape))
    if all(axis.is_pointwise for axis in axes):
        axes = (Axis.line(math.prod(image)),)
    spec = RowMajorConvolution(batch, channels, w.shape[0], axes, conv.group, **what_follows(op))
    return spec.kernel(target)
