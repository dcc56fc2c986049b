"""A small builder of LLVM's textual IR, and its only writer: functions in SSA form, with loops, vectors and memory."""

from collections.abc import Sequence

import numpy as np

from .types import F64, I32, I64, PTR, Register, Type, constant, mask_constant, zero
from .values import Integer as Integer
from .values import ValueBuilder

LONG_TABLE = 4096
"""Numbers beyond which a table is written as bytes."""


class FunctionBuilder(ValueBuilder):
    """Builds one function: to what it does with values comes how it reads and writes memory."""

    def allocate(self, type: Type, count: int = 1) -> Register:
        """Memory for so many values while the function runs; their size must be a power of two."""
        return self._define(PTR, f"alloca {type.text}, i64 {count}, align {type.bytes}")

    def table(self, symbol: str, type: Type, numbers: Sequence[float]) -> Register:
        """Constants in memory, aligned to cache lines; the symbol must be new in the module."""
        if len(numbers) > LONG_TABLE and type in (I64, F64):
            # Many times faster to write and to read, here and in LLVM.
            stored = np.array(numbers, "<i8" if type == I64 else "<f8").tobytes()
            what, elements = f"{len(stored)} x i8", 'c"\\' + stored.hex("\\") + '"'
        else:
            what = f"{len(numbers)} x {type.text}"
            elements = f"[{', '.join(str(constant(type, number)) for number in numbers)}]"
        text = f"@{symbol} = internal constant [{what}] {elements}, align 64"
        self.declarations[f"@{symbol}"] = text
        return Register(PTR, f"@{symbol}")

    def at(self, pointer: Register, *offsets: Integer) -> Register:
        """The address so many bytes further."""
        for offset in offsets:
            offset = self.integer(offset)
            if offset.constant != 0:
                pointer = self._define(PTR, f"getelementptr i8, ptr {pointer.text}, i64 {offset.text}")
        return pointer

    def number_of(self, pointer: Register) -> Register:
        """An address as a number."""
        return self._define(I64, f"ptrtoint {pointer} to i64")

    def load(self, type: Type, pointer: Register, offset: Integer = 0) -> Register:
        """Read from memory that is aligned to its elements."""
        align = type.element.bytes
        return self._define(type, f"load {type.text}, {self.at(pointer, offset)}, align {align}")

    def store(self, value: Register, pointer: Register, offset: Integer = 0) -> None:
        """Write to memory that is aligned to its elements."""
        self._emit(f"store {value}, {self.at(pointer, offset)}, align {value.type.element.bytes}")

    def load_masked(self, type: Type, pointer: Register, mask: Register | None) -> Register:
        """Read the lanes that the mask names, all without one; the others are zero and not touched."""
        if mask is None:
            return self.load(type, pointer)
        align = constant(I32, type.element.bytes)
        return self.intrinsic(f"llvm.masked.load.{type.suffix}.p0", type, [pointer, align, mask, zero(type)])

    def store_masked(self, value: Register, pointer: Register, mask: Register | None) -> None:
        """Write the lanes that the mask names, all without one."""
        if mask is None:
            self.store(value, pointer)
            return
        if mask.text == mask_constant(value.type.lanes, 1).text:
            # Where it makes one lane narrower in the same instruction, LLVM 22 writes the wide element for AVX-512.
            self.store(self.extract(value, 0), pointer)
            return
        align = constant(I32, value.type.element.bytes)
        self.intrinsic(f"llvm.masked.store.{value.type.suffix}.p0", None, [value, pointer, align, mask])

    def load_strided(self, type: Type, pointer: Register, stride: int, mask: Register) -> Register:
        """Read the lanes that the mask names, each ``stride`` bytes after the one before."""
        offsets = "<" + ", ".join(f"i64 {lane * stride}" for lane in range(type.lanes)) + ">"
        return self.gather(type, pointer, Register(I64.of(type.lanes), offsets), mask)

    def gather(self, type: Type, pointer: Register, offsets: Register, mask: Register | None) -> Register:
        """Read the lanes that the mask names, all without one, each from an offset of its own, in bytes."""
        pointers = PTR.of(type.lanes)
        addresses = self._define(pointers, f"getelementptr i8, {pointer}, {offsets}")
        mask = mask_constant(type.lanes, type.lanes) if mask is None else mask
        align = constant(I32, type.element.bytes)
        name = f"llvm.masked.gather.{type.suffix}.{pointers.suffix}"
        return self.intrinsic(name, type, [addresses, align, mask, zero(type)])

    def fence(self) -> None:
        """Keep loads on their side of this point.

        LLVM's scheduler would move them up as far as it can, and then lack registers for what they load. The fence
        is no instruction: an empty piece of assembly that claims to change memory."""
        self._emit('call void asm sideeffect "", "~{memory}"()')

    def system_call(self, number: int, first: int, second: int) -> Register:
        """The result of a call of Linux on x86-64 with two arguments."""
        arguments = ", ".join(f"i64 {each}" for each in (number, first, second))
        clobbered = "~{rcx},~{r11},~{memory}"
        text = f'call i64 asm sideeffect "syscall", "={{rax}},{{rax}},{{rdi}},{{rsi}},{clobbered}"({arguments})'
        return self._define(I64, text)

    def pinned(self, value: Register) -> Register:
        """A vector register of x86 as it is, of which LLVM knows nothing more: it keeps sums in the order in which they
        are written. It would add two products to each other first, and lack registers for them."""
        kind = "v" if value.type.bits == 512 else "x"
        return self._define(value.type, f'call {value.type.text} asm "", "={kind},0"({value})')

    def prefetch(self, pointer: Register) -> None:
        """Ask for the cache line of an address, which need not be valid, to be brought into the second level cache."""
        is_write, locality, is_data = constant(I32, 0), constant(I32, 2), constant(I32, 1)
        self.intrinsic("llvm.prefetch.p0", None, [pointer, is_write, locality, is_data])
