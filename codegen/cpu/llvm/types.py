"""Types and registers of LLVM's textual IR, as far as kernels need them."""

from __future__ import annotations

import math
import struct

from tilewright.errors import CodegenError
from tilewright.immutable import Immutable

from ....ir.types import DType

_BYTES = {"i1": 1, "i8": 1, "i16": 2, "i32": 4, "i64": 8, "half": 2, "bfloat": 2, "float": 4, "double": 8, "ptr": 8}
_SUFFIX = {"half": "f16", "float": "f32", "double": "f64", "ptr": "p0"}


class Type(Immutable):
    """A scalar, or a vector of ``lanes`` of them."""

    scalar: str
    lanes: int = 1

    @property
    def text(self) -> str:
        """As LLVM writes it."""
        return self.scalar if self.lanes == 1 else f"<{self.lanes} x {self.scalar}>"

    @property
    def suffix(self) -> str:
        """As it stands in the name of an intrinsic function."""
        scalar = _SUFFIX.get(self.scalar, self.scalar)
        return scalar if self.lanes == 1 else f"v{self.lanes}{scalar}"

    @property
    def bytes(self) -> int:
        """Size in memory; a truth value takes one byte."""
        return _BYTES[self.scalar] * self.lanes

    @property
    def bits(self) -> int:
        """Width of one lane as LLVM counts it."""
        return 1 if self.scalar == "i1" else 8 * _BYTES[self.scalar]

    @property
    def is_float(self) -> bool:
        return self.scalar in ("half", "float", "double")

    @property
    def element(self) -> Type:
        """The type of one lane."""
        return Type(self.scalar)

    def of(self, lanes: int) -> Type:
        """A vector with the same kind of lanes."""
        return Type(self.scalar, lanes)

    def as_scalar(self, scalar: str) -> Type:
        """As many lanes of another kind."""
        return Type(scalar, self.lanes)


F16, BF16, F32, F64 = Type("half"), Type("bfloat"), Type("float"), Type("double")
I1, I8, I16, I32, I64 = Type("i1"), Type("i8"), Type("i16"), Type("i32"), Type("i64")
PTR = Type("ptr")

_OF_DTYPE = {
    DType.F16: F16,
    DType.F32: F32,
    DType.F64: F64,
    DType.BOOL: I1,
    **{d: Type(f"i{8 * d.bytes}") for d in DType if d.is_integer},
}


def type_of(dtype: DType, lanes: int = 1) -> Type:
    """The type that an element has in registers; a truth value is one bit there and one byte in memory."""
    return _OF_DTYPE[dtype].of(lanes)


class Register(Immutable):
    """Something computed, or a constant.
    ``text``: its name, or the constant as LLVM writes it.
    ``constant``: the number, where it is a constant scalar integer."""

    type: Type
    text: str
    constant: int | None = None

    def __str__(self) -> str:
        return f"{self.type.text} {self.text}"


Registers = tuple[Register, ...]


def _float_text(value: float, type: Type) -> str:
    if type.scalar == "half":
        return "0xH" + struct.pack(">e", value).hex().upper()
    if type.scalar == "float":
        # LLVM writes single precision constants as doubles that are exactly representable.
        try:
            value = struct.unpack("<f", struct.pack("<f", value))[0]
        except OverflowError:
            value = math.copysign(math.inf, value)
    return "0x" + struct.pack(">d", value).hex().upper()


def constant(type: Type, value: float | int | bool) -> Register:
    """A constant, the same in every lane. Raises CodegenError: an integer type cannot hold a fraction."""
    if type.is_float:
        scalar = _float_text(float(value), type)
    elif type.scalar == "i1":
        scalar = "true" if value else "false"
    elif int(value) == value:
        scalar = str(int(value))
    else:
        raise CodegenError("an integer constant has a fraction", expected=type.text, found=value)
    if type.lanes == 1:
        return Register(type, scalar, None if type.is_float else int(value))
    return vector_constant(type, [scalar] * type.lanes)


def vector_constant(type: Type, lanes: list[str]) -> Register:
    """A vector of constants given as LLVM writes them."""
    return Register(type, "<" + ", ".join(f"{type.scalar} {lane}" for lane in lanes) + ">")


def mask_constant(lanes: int, active: int) -> Register:
    """Truth values of which the first ``active`` are set."""
    return vector_constant(I1.of(lanes), ["true" if lane < active else "false" for lane in range(lanes)])


def partial_mask(lanes: int, active: int) -> Register | None:
    """The same, ``None`` for all lanes: what masked loads and stores take."""
    return mask_constant(lanes, active) if active < lanes else None


def zero(type: Type) -> Register:
    """Zero in every lane; for a pointer, null."""
    if type.lanes > 1:
        return Register(type, "zeroinitializer")
    return Register(type, "null") if type.scalar == "ptr" else constant(type, 0)


def poison(type: Type) -> Register:
    """Lanes that nothing reads."""
    return Register(type, "poison")
