"""Registers of AMX, which hold parts of matrices: eight tiles of up to 16 rows of 64 bytes.

A product adds up, for each row of the first factor and each column of the second one, groups of four bytes or of two
bfloat16 numbers. It is this file alone that names the instructions. LLVM ends the process where the number of a tile is
wrong or the target lacks the extension, so both are checked here. What a kernel configures it releases before it
returns: tiles in use make every switch between threads slower.
"""

from tilewright.errors import CodegenError, UnsupportedError

from .builder import FunctionBuilder
from .narrow_speed import products_gain
from .target import TargetDescription
from .types import I8, I64, Register, constant

ROWS, ROW_BYTES = 16, 64
TILE_BYTES = ROWS * ROW_BYTES

SUMS, LEFT, RIGHT = (0, 1, 2, 3), (4, 5), (6, 7)
"""Tiles of sums, row by row, of two rows of two; of the left factor; of the right one."""

NARROW_PRODUCT, VECTOR_PRODUCT = "tdpbf16ps", "vdpbf16ps"
"""The product of numbers in bfloat16, and that of vectors, which has the rows of tiles in registers of its own."""

_EXTENSIONS = {
    **{f"tdpb{x}{w}d": "amx-int8" for x in "su" for w in "su"},
    NARROW_PRODUCT: "amx-bf16",
    VECTOR_PRODUCT: "avx512bf16",
}
"""What each product needs."""

_LEAST_GAIN = 1.5
"""What vectors must gain at least, by instructions alone: numbers are rounded and copied before."""

_GAINS = {NARROW_PRODUCT: 16, VECTOR_PRODUCT: 2}
"""How many times as many numbers in bfloat16 are multiplied as in single precision; the most first."""


def has_tiles(target: TargetDescription, product: str) -> bool:
    """Whether a processor has a product, such as ``tdpbusd``."""
    return _EXTENSIONS[product] in target.features


def narrow_product(target: TargetDescription) -> str | None:
    """The best product of numbers in bfloat16 that a processor has."""
    return next((product for product in _GAINS if has_tiles(target, product)), None)


def narrow_gain(target: TargetDescription) -> int:
    """How many times as many numbers in bfloat16 a processor multiplies as in single precision. On processors of one
    extension vectors take half of the time, or twice as much: on that of this machine it is measured.
    Raises UnsupportedError: it has no products of such numbers, or slow ones."""
    product = narrow_product(target)
    if product == VECTOR_PRODUCT and not target.level and products_gain() < _LEAST_GAIN:
        product = None
    if product is None:
        raise UnsupportedError(
            f"precision bf16 is not faster than fp32 on target {target.name}",
            expected=" or ".join(f"the extension {_EXTENSIONS[each]}" for each in _GAINS),
            found=", ".join(target.features) or "no extensions",
            hint="Compile the model with --target amx or avx512-bf16, or with --precision fp32.",
        )
    return _GAINS[product]


def byte_product(x_is_signed: bool, w_is_signed: bool) -> str:
    """The product of bytes, each factor signed or not."""
    return f"tdpb{'us'[x_is_signed]}{'us'[w_is_signed]}d"


def configure(b: FunctionBuilder, rows: int, inner: int) -> None:
    """Set the shapes of all tiles, which become zero.
    ``rows``: of the sums and of the left factor.
    ``inner``: bytes in a row of the left factor; the right one has a row of 64 bytes for each four of them."""
    if not (0 < rows <= ROWS and 0 < inner <= ROW_BYTES and inner % 4 == 0):
        raise CodegenError("no tile is so large", expected=f"{ROWS} rows of {ROW_BYTES} bytes", found=(rows, inner))
    widths = [ROW_BYTES] * 4 + [inner] * 2 + [ROW_BYTES] * 2
    heights = [rows] * 6 + [inner // 4] * 2
    # Palette 1; widths in 16 bits from byte 16 on, heights in 8 bits from byte 48 on.
    numbers = [1, *[0] * 15, *(n for width in widths for n in (width, 0)), *[0] * 16, *heights, *[0] * 8]
    _call(b, "ldtilecfg", b.table(f"{b.name}_tiles", I8, numbers))


def release(b: FunctionBuilder) -> None:
    """Give the tiles back."""
    _call(b, "tilerelease")


def load(b: FunctionBuilder, tile: int, address: Register, stride: int) -> None:
    """Fill a tile from rows so many bytes apart; none apart, all are the same."""
    _call(b, "tileloadd64", _number(tile), address, constant(I64, stride))


def store(b: FunctionBuilder, tile: int, address: Register) -> None:
    """Write a tile as rows of 64 bytes side by side."""
    _call(b, "tilestored64", _number(tile), address, constant(I64, ROW_BYTES))


def multiply(b: FunctionBuilder, product: str, total: int, left: int, right: int) -> None:
    """Add a product of two tiles to a third one."""
    if not has_tiles(b.target, product):
        raise CodegenError("the target lacks an extension", expected=_EXTENSIONS[product], found=b.target.name)
    _call(b, product, *map(_number, (total, left, right)))


def _number(tile: int) -> Register:
    if tile not in (*SUMS, *LEFT, *RIGHT):
        raise CodegenError("there is no such tile", expected="0 to 7", found=tile)
    return constant(I8, tile)


def _call(b: FunctionBuilder, name: str, *arguments: Register) -> None:
    b.intrinsic(f"llvm.x86.{name}", None, arguments)
