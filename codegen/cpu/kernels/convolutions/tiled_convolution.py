"""Quantised convolution on the tiles of AMX."""

from dataclasses import replace

from .....ir.core import Op
from .....ir.layout import CHANNEL_BLOCK
from .....ir.ops.convolution import MOST_COPIED, Conv
from .....ir.types import DType
from ...kernel import Kernel
from ...llvm import tiles
from ...llvm.builder import FunctionBuilder
from ...llvm.target import TargetDescription
from ...llvm.types import Register, Registers
from ..output_channels import VECTOR_BYTES, QuantizedOutput, channels_of
from ..products.blocking import Work
from ..products.tile_product import Ending, each_four_rows, pays, signed_weights
from ..window_walk import Values
from .quantized_convolution import QuantizedConvolution
from .tiled_window import TiledWindow


class TiledConvolution(TiledWindow, QuantizedOutput):
    """Of bytes: bias, activation and requantisation."""

    @property
    def fill(self) -> int:
        return self.constants.fill

    def pays(self, work: Work, target: TargetDescription) -> bool:
        """Whether it is estimated to take less time than the kernel on vectors that does this ``work``."""
        cut = self.cut(target)
        image, rows = self.image(cut), self.tile_rows(cut)
        across = cut.row_block * (-(-self.columns.output // rows))
        if image.is_line:
            across = -(-cut.row_block * self.columns.output // rows)
        blocks = cut.row_blocks * -(-across // 2)
        packed = cut.row_blocks * cut.in_group * image.bytes // image.pixel
        return image.bytes <= MOST_COPIED and pays(work, image.steps, rows, blocks, packed, target)

    def copied(self, b: FunctionBuilder, part: Register) -> Register:
        return part

    def of_columns(self, b: FunctionBuilder, arguments: Values, block: Register, vector_bytes: int) -> Values:
        tables = {name: b.at(arguments[name], b.multiply(block, VECTOR_BYTES)) for name in ("start", "factors")}
        return {"w": b.at(arguments["tiles"], b.multiply(block, vector_bytes)), **tables}

    def ending(self, rows: int) -> Ending:
        plane = self.rows.output * self.columns.output * CHANNEL_BLOCK

        def stored(b: FunctionBuilder, values: Values, row: int, column: int, _: int, sums: Register) -> None:
            def some(first: Register, totals: Registers) -> None:
                def address(name: str) -> Register:
                    return b.at(values[f"{name}{row}"], column * plane, b.multiply(first, CHANNEL_BLOCK))

                self.requantize(b, values, column, totals, (), address)

            each_four_rows(b, rows, sums, some)

        return stored


def tiled_convolution(op: Op[Conv], spec: QuantizedConvolution, target: TargetDescription) -> Kernel | None:
    """The kernel on tiles for a convolution of bytes in blocked layouts, where the processor has them and that pays."""
    is_possible = tiles.has_tiles(target, "tdpbusd") and not spec.plain_input
    found = signed_weights(op) if is_possible else None
    if found is None:
        return None
    weights, is_signed = found
    constants = replace(channels_of(op, None).without_zeros, missing=())
    product = tiles.byte_product(op.operands.x.type.dtype is DType.I8, is_signed)
    image = spec.batch, spec.channels, spec.rows, spec.columns, spec.outputs, spec.groups
    tiled = TiledConvolution(*image, product, constants=constants, has_bias=spec.has_bias)
    return tiled.kernel(target).reading(tiled.weights_of(weights, target)) if tiled.pays(spec.work, target) else None
