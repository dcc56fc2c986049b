"""What each relocation type means, for x86-64, AArch64 and RISC-V.

Sources: System V ABI, AMD64 supplement, section 4.4 (relocation types); ELF for the Arm 64-bit Architecture, section
5.7; RISC-V ELF psABI, section 8.4. S is the symbol's address, A the addend, P the address of the bytes that change, G
the address of the symbol's entry in the table of addresses (the GOT). A type that refers to a function by a short
distance receives, for a function outside the object, the address of a stub instead, which jumps any distance.
"""

import struct
from collections.abc import Callable
from typing import NamedTuple

from .elf import damaged

Apply = Callable[[bytearray, int, int, int], None]
"""Writes into (image, offset) the value for target S + A (or G + A) seen from P."""


class Kind(NamedTuple):
    """A relocation type: how many bytes it changes, what it writes, and what the symbol must have.

    Where `of_pair` is set, the symbol is an instruction, and the value is that of the relocation of this instruction.
    """

    name: str
    size: int
    apply: Apply
    near: bool = False
    table: bool = False
    low: bool = False
    of_pair: bool = False


class Architecture(NamedTuple):
    """Relocation types by number, and the stub that jumps to a 64-bit address, a multiple of 8 bytes."""

    kinds: dict[int, Kind]
    stub: Callable[[int], bytes]


def _nothing(image: bytearray, offset: int, target: int, address: int) -> None:
    """R_*_NONE."""


def _store(code: str, low: int, high: int, relative: bool) -> Apply:
    layout = struct.Struct(code)
    modulus = 1 << (8 * layout.size)

    def apply(image: bytearray, offset: int, target: int, address: int) -> None:
        value = target - address if relative else target
        if layout.size == 8:
            value = value % modulus
        elif not low <= value < high:
            raise damaged("does not fit where it was mapped", f"a distance or address from {low} to {high}", value)
        layout.pack_into(image, offset, value)

    return apply


def _word(image: bytearray, offset: int, clear: int, bits: int) -> None:
    """Replace the bits `clear` of an instruction word."""
    (word,) = struct.unpack_from("<I", image, offset)
    struct.pack_into("<I", image, offset, (word & ~clear) | (bits & clear))


def _signed(value: int, bits: int, scale: int) -> int:
    """A signed field of `bits` bits that counts units of 2**scale bytes."""
    if value & ((1 << scale) - 1) or not -(1 << (bits - 1)) <= value >> scale < 1 << (bits - 1):
        raise damaged("does not fit where it was mapped", f"{bits} signed bits times {1 << scale}", value)
    return value >> scale


def _branch(bits: int, position: int) -> Apply:
    def apply(image: bytearray, offset: int, target: int, address: int) -> None:
        field = _signed(target - address, bits, 2)
        _word(image, offset, ((1 << bits) - 1) << position, (field & ((1 << bits) - 1)) << position)

    return apply


def _address_page(shift: int) -> Apply:
    """ADR (shift 0) and ADRP (shift 12): 21 bits, the lowest two of them in bits 29 and 30."""

    def apply(image: bytearray, offset: int, target: int, address: int) -> None:
        field = _signed((target >> shift) - (address >> shift), 21, 0)
        _word(image, offset, 0x60FFFFE0, (field & 3) << 29 | (field >> 2 & 0x7FFFF) << 5)

    return apply


def _low_twelve(scale: int) -> Apply:
    """The 12-bit offset of ADD, and of loads and stores of 2**scale bytes."""

    def apply(image: bytearray, offset: int, target: int, address: int) -> None:
        if target & ((1 << scale) - 1):
            raise damaged("refers to unaligned data", f"a multiple of {1 << scale}", target)
        _word(image, offset, 0x003FFC00, (target & 0xFFF) >> scale << 10)

    return apply


def _move_wide(group: int, checked: bool) -> Apply:
    """16 bits of an address for MOVZ and MOVK."""

    def apply(image: bytearray, offset: int, target: int, address: int) -> None:
        if checked and target >> (16 * group + 16):
            raise damaged("does not fit where it was mapped", f"an address below 2**{16 * group + 16}", target)
        _word(image, offset, 0x001FFFE0, (target >> (16 * group) & 0xFFFF) << 5)

    return apply


def _upper_twenty(image: bytearray, offset: int, target: int, address: int) -> None:
    """AUIPC: a distance without what the twelve bits, signed, of the instruction with it add."""
    field = _signed((target - address + 0x800) >> 12, 20, 0)
    _word(image, offset, 0xFFFFF000, field << 12)


def _lower_twelve(image: bytearray, offset: int, target: int, address: int) -> None:
    """Of loads, ADDI and JALR."""
    _word(image, offset, 0xFFF00000, (target - address & 0xFFF) << 20)


def _lower_twelve_of_store(image: bytearray, offset: int, target: int, address: int) -> None:
    distance = target - address
    _word(image, offset, 0xFE000F80, (distance >> 5 & 0x7F) << 25 | (distance & 0x1F) << 7)


def _call(image: bytearray, offset: int, target: int, address: int) -> None:
    """AUIPC and JALR."""
    _upper_twenty(image, offset, target, address)
    _lower_twelve(image, offset + 4, target, address)


def _sum(sign: int) -> Apply:
    """Added to what 32 bits hold, or subtracted: with two of them the distance of two symbols."""

    def apply(image: bytearray, offset: int, target: int, address: int) -> None:
        (value,) = struct.unpack_from("<I", image, offset)
        struct.pack_into("<I", image, offset, (value + sign * target) % (1 << 32))

    return apply


_HALF = 1 << 31

_X86_64 = {
    0: Kind("R_X86_64_NONE", 0, _nothing),
    1: Kind("R_X86_64_64", 8, _store("<Q", 0, 0, False)),
    2: Kind("R_X86_64_PC32", 4, _store("<i", -_HALF, _HALF, True), near=True),
    4: Kind("R_X86_64_PLT32", 4, _store("<i", -_HALF, _HALF, True), near=True),
    9: Kind("R_X86_64_GOTPCREL", 4, _store("<i", -_HALF, _HALF, True), table=True),
    10: Kind("R_X86_64_32", 4, _store("<I", 0, 2 * _HALF, False), near=True, low=True),
    11: Kind("R_X86_64_32S", 4, _store("<i", -_HALF, _HALF, False), near=True, low=True),
    24: Kind("R_X86_64_PC64", 8, _store("<Q", 0, 0, True)),
    41: Kind("R_X86_64_GOTPCRELX", 4, _store("<i", -_HALF, _HALF, True), table=True),
    42: Kind("R_X86_64_REX_GOTPCRELX", 4, _store("<i", -_HALF, _HALF, True), table=True),
}

_AARCH64 = {
    0: Kind("R_AARCH64_NONE", 0, _nothing),
    256: Kind("R_AARCH64_NONE", 0, _nothing),
    257: Kind("R_AARCH64_ABS64", 8, _store("<Q", 0, 0, False)),
    260: Kind("R_AARCH64_PREL64", 8, _store("<Q", 0, 0, True)),
    261: Kind("R_AARCH64_PREL32", 4, _store("<i", -_HALF, _HALF, True), near=True),
    263: Kind("R_AARCH64_MOVW_UABS_G0", 4, _move_wide(0, True)),
    264: Kind("R_AARCH64_MOVW_UABS_G0_NC", 4, _move_wide(0, False)),
    265: Kind("R_AARCH64_MOVW_UABS_G1", 4, _move_wide(1, True)),
    266: Kind("R_AARCH64_MOVW_UABS_G1_NC", 4, _move_wide(1, False)),
    267: Kind("R_AARCH64_MOVW_UABS_G2", 4, _move_wide(2, True)),
    268: Kind("R_AARCH64_MOVW_UABS_G2_NC", 4, _move_wide(2, False)),
    269: Kind("R_AARCH64_MOVW_UABS_G3", 4, _move_wide(3, True)),
    273: Kind("R_AARCH64_LD_PREL_LO19", 4, _branch(19, 5), near=True),
    274: Kind("R_AARCH64_ADR_PREL_LO21", 4, _address_page(0), near=True),
    275: Kind("R_AARCH64_ADR_PREL_PG_HI21", 4, _address_page(12), near=True),
    277: Kind("R_AARCH64_ADD_ABS_LO12_NC", 4, _low_twelve(0), near=True),
    278: Kind("R_AARCH64_LDST8_ABS_LO12_NC", 4, _low_twelve(0), near=True),
    279: Kind("R_AARCH64_TSTBR14", 4, _branch(14, 5), near=True),
    280: Kind("R_AARCH64_CONDBR19", 4, _branch(19, 5), near=True),
    282: Kind("R_AARCH64_JUMP26", 4, _branch(26, 0), near=True),
    283: Kind("R_AARCH64_CALL26", 4, _branch(26, 0), near=True),
    284: Kind("R_AARCH64_LDST16_ABS_LO12_NC", 4, _low_twelve(1), near=True),
    285: Kind("R_AARCH64_LDST32_ABS_LO12_NC", 4, _low_twelve(2), near=True),
    286: Kind("R_AARCH64_LDST64_ABS_LO12_NC", 4, _low_twelve(3), near=True),
    299: Kind("R_AARCH64_LDST128_ABS_LO12_NC", 4, _low_twelve(4), near=True),
    311: Kind("R_AARCH64_ADR_GOT_PAGE", 4, _address_page(12), table=True),
    312: Kind("R_AARCH64_LD64_GOT_LO12_NC", 4, _low_twelve(3), table=True),
}

_RISCV64 = {
    0: Kind("R_RISCV_NONE", 0, _nothing),
    2: Kind("R_RISCV_64", 8, _store("<Q", 0, 0, False)),
    18: Kind("R_RISCV_CALL", 8, _call, near=True),
    19: Kind("R_RISCV_CALL_PLT", 8, _call, near=True),
    20: Kind("R_RISCV_GOT_HI20", 4, _upper_twenty, table=True),
    23: Kind("R_RISCV_PCREL_HI20", 4, _upper_twenty, near=True),
    24: Kind("R_RISCV_PCREL_LO12_I", 4, _lower_twelve, of_pair=True),
    25: Kind("R_RISCV_PCREL_LO12_S", 4, _lower_twelve_of_store, of_pair=True),
    35: Kind("R_RISCV_ADD32", 4, _sum(1)),
    39: Kind("R_RISCV_SUB32", 4, _sum(-1)),
    57: Kind("R_RISCV_32_PCREL", 4, _store("<i", -_HALF, _HALF, True), near=True),
}


def _stub_x86_64(address: int) -> bytes:
    """``movabs r11, address; jmp r11``: r11 is the register that linkage code may overwrite."""
    return b"\x49\xbb" + struct.pack("<Q", address) + b"\x41\xff\xe3" + b"\xcc" * 3


def _stub_aarch64(address: int) -> bytes:
    """``ldr x16, .+8; br x16`` and the address: x16 is the register that linkage code may overwrite."""
    return struct.pack("<IIQ", 0x58000050, 0xD61F0200, address)


def _stub_riscv64(address: int) -> bytes:
    """``auipc t1, 0; ld t1, 16(t1); jr t1``, room and the address: t1 is a register that no call keeps."""
    return struct.pack("<IIIIQ", 0x00000317, 0x01033303, 0x00030067, 0, address)


ARCHITECTURES = {
    "x86_64": Architecture(_X86_64, _stub_x86_64),
    "aarch64": Architecture(_AARCH64, _stub_aarch64),
    "riscv64": Architecture(_RISCV64, _stub_riscv64),
}
