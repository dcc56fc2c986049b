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
from ....ir.ops.comparison import Equal, Where
from ....ir.ops.elementwise import Add, BitShift, BitwiseAnd, BitwiseOr, Sub
from ....ir.ops.indexing import Gather
from ....ir.ops.shape import BitCast
from ....ir.types import DType
from ..builder import ModuleBuilder
from ..shape import cast

STORED = {
    code: DType.U16 if name == "BFLOAT16" else DType.I8 if name.startswith("INT") else DType.U8
    for name, code in onnx.TensorProto.DataType.items()
    if name in ("BFLOAT16", "INT2", "INT4", "UINT2", "UINT4") or name.startswith(("FLOAT8", "FLOAT6", "FLOAT4"))
}
"""By the ONNX code of such a type: the integers that hold its elements."""

_BFLOAT16 = onnx.TensorProto.BFLOAT16
_FLOAT8E8M0 = onnx.TensorProto.DataType.Value("FLOAT8E8M0")

MOVING = frozenset(
    (
        "Concat",
        "DepthToSpace",
        "Expand",
        "Flatten",
        "Gather",
        "GatherElements",
        "GatherND",
        "Identity",
        "Pad",
        "Reshape",
        "ReverseSequence",
        "Slice",
        "SpaceToDepth",
        "Split",
        "Squeeze",
        "Tile",
        "Transpose",
        "Trilu",
        "Unsqueeze",
        "Where",
    )
)
"""Operators whose results hold elements of their operands and nothing else, whatever these stand for."""

TYPED = frozenset(
    (
        "BitCast",
        "Cast",
        "CastLike",
        "DequantizeLinear",
        "GatherBlockQuantized",
        "Optional",
        "OptionalGetElement",
        "OptionalHasElement",
        "QuantizeLinear",
        "SequenceConstruct",
        "SequenceInsert",
        "Shape",
        "Size",
        "SplitToSequence",
    )
)
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
        shift = importer.constant(np.asarray(16, np.uint32), "sixteen")
        return importer.emit_one(
            BitCast(DType.F32), importer.emit_one(BitShift(left=True), cast(importer, x, DType.U32), shift)
        )
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
    bits = importer.emit_one(BitCast(DType.U32), x)
    if code == _BFLOAT16:
        return _bfloat16(importer, x, bits)
    # Sixteen bits of a float, the last of them set where any bit behind it is, round as the float does ("round to
    # odd", Boldo and Melquiond, IEEE Transactions on Computers 57(4), 2008): no type here has as many but three.
    every = (np.arange(1 << 16, dtype=np.uint32) << 16).view(np.float32)
    table = importer.constant(stored(_rounded(every, code, saturate, mode)), f"to_{name_of(code)}")
    behind = importer.emit_one(BitwiseAnd(), bits, _number(importer, 0xFFFF))
    is_exact = importer.emit_one(Equal(), behind, _number(importer, 0))
    last = importer.emit_one(Where(), is_exact, _number(importer, 0), _number(importer, 1))
    index = importer.emit_one(BitwiseOr(), _shifted(importer, bits), last)
    return importer.emit_one(Gather(0), table, cast(importer, index, DType.I32))


@np.errstate(all="ignore")
def _rounded(x: np.ndarray, code: int, saturate: bool, mode: str) -> np.ndarray:
    if code == _FLOAT8E8M0:
        if mode not in ("up", "down", "nearest"):
            raise ModelError("unknown rounding mode", stage="import", expected="up, down or nearest", found=mode)
        return onnx.numpy_helper.to_float8e8m0(x, saturate, mode)
    is_saturated = saturate and code != _BFLOAT16
    return onnx.numpy_helper.saturate_cast(x, _numpy(code)) if is_saturated else x.astype(_numpy(code))


def _number(importer: ModuleBuilder, value: int) -> Value:
    return importer.constant(np.asarray(value, np.uint32), f"{value:#x}")


def _shifted(importer: ModuleBuilder, bits: Value) -> Value:
    return importer.emit_one(BitShift(left=False), bits, _number(importer, 16))


def _bfloat16(importer: ModuleBuilder, x: Value, bits: Value) -> Value:
    """The upper half of the bits, rounded to the nearest by the lower half, ties to even; NaN stays one."""
    odd = importer.emit_one(BitwiseAnd(), _shifted(importer, bits), _number(importer, 1))
    bias = importer.emit_one(Add(), odd, _number(importer, 0x7FFF))
    upper = _shifted(importer, importer.emit_one(Add(), bits, bias))
    is_number = importer.emit_one(Equal(), x, x)
    return cast(importer, importer.emit_one(Where(), is_number, upper, _number(importer, 0x7FC0)), DType.U16)


def _truncated(importer: ModuleBuilder, x: Value, code: int) -> Value:
    low, _ = bounds_of(code)
    offset = importer.constant(np.asarray(-low, np.int32), "offset")
    mask = importer.constant(np.asarray((1 << bits_of_element(code)) - 1, np.int32), "mask")
    shifted = importer.emit_one(Add(), cast(importer, x, DType.I32), offset)
    whole = importer.emit_one(Sub(), importer.emit_one(BitwiseAnd(), shifted, mask), offset)
    return cast(importer, whole, STORED[code])
