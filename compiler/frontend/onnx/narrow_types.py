"""Element types of ONNX that the module does not have: bfloat16, float8 and smaller, integers of 4 and 2 bits.

Their values are stored in integers, one element in each, and the importer remembers of which type they are. What only
moves elements moves those integers; every other operator computes in float32, and its results are rounded to the type.
The formats are those of the ml_dtypes package, which says what each of their codes stands for.
"""

import re

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper

from tilewright.errors import ModelError

from ....ir.core import Constant, Value
from ....ir.ops.comparison import Equal
from ....ir.ops.elementwise import BitShift, BitwiseAnd, BitwiseOr
from ....ir.ops.indexing import Gather
from ....ir.ops.shape import BitCast
from ....ir.types import DType
from ..builder import ModuleBuilder
from ..expression import Expression
from ..shape import cast

STORED = {
    code: DType.U16 if name == "BFLOAT16" else DType.I8 if name.startswith("INT") else DType.U8
    for name, code in onnx.TensorProto.DataType.items()
    if name in ("BFLOAT16", "INT2", "INT4", "UINT2", "UINT4") or name.startswith(("FLOAT8", "FLOAT6", "FLOAT4"))
}
"""By the ONNX code of such a type: the integers that hold its elements."""

_BFLOAT16 = onnx.TensorProto.BFLOAT16
_FLOAT8E8M0 = onnx.TensorProto.DataType.Value("FLOAT8E8M0")

_PICKING = ("Gather", "GatherElements", "GatherND", "Identity", "Slice", "Split", "Where")
_ARRANGING = ("Concat", "DepthToSpace", "Expand", "Pad", "ReverseSequence", "SpaceToDepth", "Tile", "Transpose")
MOVING = frozenset((*_PICKING, *_ARRANGING, "Flatten", "Reshape", "Squeeze", "Trilu", "Unsqueeze"))
"""Operators whose results hold elements of their operands and nothing else, whatever these stand for."""

_SEQUENCES = ("Optional", "OptionalGetElement", "OptionalHasElement", "SequenceConstruct", "SequenceInsert")
_CONVERSIONS = ("BitCast", "Cast", "CastLike", "DequantizeLinear", "GatherBlockQuantized", "QuantizeLinear")
TYPED = frozenset((*_SEQUENCES, *_CONVERSIONS, "Shape", "Size", "SplitToSequence"))
"""Operators whose importers look at the types of their operands themselves."""


def _numpy(code: int) -> np.dtype:
    return onnx.helper.tensor_dtype_to_np_dtype(code)


def name_of(code: int) -> str:
    """What a report calls the type: the name of its NumPy dtype."""
    return _numpy(code).name


CODES = {name_of(code): code for code in STORED}
"""The reverse of :func:`name_of`."""


def is_integer(code: int) -> bool:
    return "INT" in onnx.TensorProto.DataType.Name(code)


def bits_of_element(code: int) -> int:
    """How many bits an element takes in a file."""
    digits = re.search("[0-9]+", onnx.TensorProto.DataType.Name(code))
    assert digits is not None
    return int(digits.group())


def bounds_of(code: int) -> tuple[int, int]:
    """The smallest and the largest number of an integer type."""
    count = 1 << bits_of_element(code)
    return (-count // 2, count // 2 - 1) if STORED[code] is DType.I8 else (0, count - 1)


def stored(array: np.ndarray) -> np.ndarray:
    """An array of such a type as the integers that hold it; others as they are."""
    code = code_of(array.dtype)
    if code is None:
        return array
    integers = STORED[code].numpy
    return (
        array.astype(integers) if is_integer(code) else np.ascontiguousarray(array).view(integers).reshape(array.shape)
    )


def restored(array: np.ndarray, code: int) -> np.ndarray:
    """The reverse of :func:`stored`."""
    return array.astype(_numpy(code)) if is_integer(code) else array.view(_numpy(code))


def code_of(dtype: np.dtype) -> int | None:
    """The ONNX code of such a type, ``None`` for those that NumPy has itself."""
    if dtype.isbuiltin == 1:
        return None
    try:
        code = onnx.helper.np_dtype_to_tensor_dtype(dtype)
    except (KeyError, ValueError):
        return None
    return code if code in STORED else None


def widened(importer: ModuleBuilder, x: Value, code: int) -> Value:
    """The numbers that stored elements stand for: f32, or the integers themselves."""
    if is_integer(code):
        return x
    if isinstance(x, Constant):
        return importer.constant(restored(x.array, code).astype(np.float32), x.name)
    if code == _BFLOAT16:
        return Expression(importer, x).cast(DType.U32).apply(BitShift(left=True), 16).apply(BitCast(DType.F32)).value
    # Bits that a type does not have mean nothing, whatever they are.
    every = restored(np.arange(256, dtype=np.uint8), code)
    table = importer.constant(every.astype(np.float32), name_of(code))
    return importer.emit_one(Gather(0), table, cast(importer, x, DType.I32))


def narrowed(importer: ModuleBuilder, x: Value, code: int, saturate: bool = True, mode: str = "up") -> Value:
    """Numbers as stored elements of a type.
    ``saturate``: for float8: what is too large becomes the largest number, not infinity or NaN.
    ``mode``: ``up``, ``down`` or ``nearest``: how powers of two (FLOAT8E8M0) are rounded; all others are rounded to the
    nearest, ties to even. Integers are truncated to their bits."""
    if is_integer(code):
        return _truncated(importer, x, code)
    x = cast(importer, x, DType.F32)
    if isinstance(x, Constant):
        return importer.constant(stored(_rounded(x.array, code, saturate, mode)), x.name)
    bits = Expression(importer, x).apply(BitCast(DType.U32))
    upper = bits.apply(BitShift(left=False), 16)
    if code == _BFLOAT16:
        # The upper half, rounded to the nearest by the lower half, ties to even; NaN stays one.
        rounded = (bits + (upper.apply(BitwiseAnd(), 1) + 0x7FFF)).apply(BitShift(left=False), 16)
        return bits.where(importer.emit_one(Equal(), x, x), rounded, 0x7FC0).cast(DType.U16).value
    # Sixteen bits of a float, the last of them set where any bit behind it is, round as the float does ("round to
    # odd", Boldo and Melquiond, IEEE Transactions on Computers 57(4), 2008): no type here has as many but three.
    every = (np.arange(1 << 16, dtype=np.uint32) << 16).view(np.float32)
    table = importer.constant(stored(_rounded(every, code, saturate, mode)), f"to_{name_of(code)}")
    is_exact = bits.apply(BitwiseAnd(), 0xFFFF).equals(0)
    index = upper.apply(BitwiseOr(), bits.where(is_exact, 0, 1))
    return importer.emit_one(Gather(0), table, index.cast(DType.I32).value)


@np.errstate(all="ignore")
def _rounded(x: np.ndarray, code: int, saturate: bool, mode: str) -> np.ndarray:
    if code == _FLOAT8E8M0:
        if mode not in ("up", "down", "nearest"):
            raise ModelError("unknown rounding mode", stage="import", expected="up, down or nearest", found=mode)
        return onnx.numpy_helper.to_float8e8m0(x, saturate, mode)
    is_saturated = saturate and code != _BFLOAT16
    return onnx.numpy_helper.saturate_cast(x, _numpy(code)) if is_saturated else x.astype(_numpy(code))


def _truncated(importer: ModuleBuilder, x: Value, code: int) -> Value:
    offset = -bounds_of(code)[0]
    shifted = Expression(importer, x).cast(DType.I32) + offset
    return (shifted.apply(BitwiseAnd(), (1 << bits_of_element(code)) - 1) - offset).cast(STORED[code]).value
