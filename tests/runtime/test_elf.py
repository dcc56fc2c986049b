"""The loader of object code: executed on this machine, checked on the bytes for the other architecture."""

from __future__ import annotations

import ctypes
import random
import struct
from functools import cache
from pathlib import Path

import pytest
from artifact_samples import LINUX_TRIPLES, PROGRAM, compile_object

from tilewright.errors import ArtifactError
from tilewright.runtime.native import host
from tilewright.runtime.native.elf import ElfObject, parse
from tilewright.runtime.native.link import ImageLayout, exported, kind_of, lay_out, link
from tilewright.runtime.native.mapping import NativeObject, supported
from tilewright.runtime.native.relocation import ARCHITECTURES

SAMPLES = """
declare float @expf(float)
declare double @pow(double, double)
declare ptr @memset(ptr, i32, i64)

@numbers = internal constant [4 x i32] [i32 10, i32 20, i32 30, i32 40], align 64
@pointers = internal constant [2 x ptr] [ptr @double_it, ptr @negate], align 8
@counter = internal global i64 5
@scratch = internal global [32 x i8] zeroinitializer, align 32
@shared = global i32 77

define internal i64 @double_it(i64 %x) noinline { %y = add i64 %x, %x
  ret i64 %y }
define internal i64 @negate(i64 %x) noinline { %y = sub i64 0, %x
  ret i64 %y }

define i64 @constant(i64 %i) { %p = getelementptr i32, ptr @numbers, i64 %i
  %v = load i32, ptr %p
  %w = zext i32 %v to i64
  ret i64 %w }

define i64 @indirect(i64 %i, i64 %x) { %p = getelementptr ptr, ptr @pointers, i64 %i
  %f = load volatile ptr, ptr %p
  %v = call i64 %f(i64 %x)
  ret i64 %v }

define i64 @count() { %v = load i64, ptr @counter
  %w = add i64 %v, 1
  store i64 %w, ptr @counter
  ret i64 %w }

define i64 @zeros(i64 %i) { %p = getelementptr i8, ptr @scratch, i64 %i
  %v = load volatile i8, ptr %p
  %w = zext i8 %v to i64
  ret i64 %w }

define i64 @filled(i64 %i) { %ignored = call ptr @memset(ptr @scratch, i32 9, i64 %i)
  %p = getelementptr i8, ptr @scratch, i64 3
  %v = load volatile i8, ptr %p
  %w = zext i8 %v to i64
  ret i64 %w }

define i64 @global() { %v = load volatile i32, ptr @shared
  %w = zext i32 %v to i64
  ret i64 %w }

define float @exponential(float %x) { %v = call float @expf(float %x)
  ret float %v }

define double @power(double %x) { %v = call double @pow(double %x, double 2.5)
  ret double %v }

@byte = internal global i8 3
@half = internal global i16 300
@word = internal global i32 70000
@quad = internal global <4 x i32> <i32 1, i32 2, i32 3, i32 4>, align 16

define i64 @widths() { %a = load volatile i8, ptr @byte
  %b = load volatile i16, ptr @half
  %c = load volatile i32, ptr @word
  %d = load volatile <4 x i32>, ptr @quad
  %e = extractelement <4 x i32> %d, i32 3
  %x = zext i8 %a to i64
  %y = zext i16 %b to i64
  %z = zext i32 %c to i64
  %w = zext i32 %e to i64
  %xy = add i64 %x, %y
  %zw = add i64 %z, %w
  %sum = add i64 %xy, %zw
  ret i64 %sum }

define float @tail(float %x) { %v = tail call float @expf(float %x)
  ret float %v }

define i64 @table(i64 %x) {
  switch i64 %x, label %other [ i64 0, label %a
                                i64 1, label %b
                                i64 2, label %c
                                i64 3, label %d
                                i64 4, label %e ]
a: %va = call i64 @double_it(i64 7)
  ret i64 %va
b: %vb = call i64 @negate(i64 9)
  ret i64 %vb
c: %vc = call i64 @count()
  ret i64 %vc
d: %vd = call i64 @zeros(i64 1)
  ret i64 %vd
e: %ve = call i64 @constant(i64 3)
  ret i64 %ve
other: ret i64 -1
}
"""

MODELS = [("small", "static"), ("small", "pic"), ("large", "static"), ("jitdefault", "default")]

needs_native = pytest.mark.skipif(not supported(), reason="object code runs on Linux on some architectures only")


def call(native: NativeObject, name: str, *arguments: int) -> int:
    function = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * len(arguments))(native.address(name))
    return function(*arguments)


@needs_native
@pytest.mark.parametrize(("model", "relocation"), MODELS)
def test_every_kind_of_reference_executes(model: str, relocation: str) -> None:
    native = NativeObject(compile_object(SAMPLES, code_model=model, relocation=relocation))
    assert [call(native, "constant", i) for i in range(4)] == [10, 20, 30, 40]
    assert call(native, "indirect", 0, 21) == 42
    assert call(native, "indirect", 1, 21) == -21
    assert [call(native, "count") for _ in range(3)] == [6, 7, 8]
    assert [call(native, "zeros", i) for i in (0, 31)] == [0, 0]
    assert call(native, "filled", 32) == 9
    assert call(native, "global") == 77
    assert call(native, "widths") == 3 + 300 + 70000 + 4
    assert [call(native, "table", i) for i in (0, 1, 2, 3, 4, 5)] == [14, -9, 9, 9, 40, -1]
    for name in ("exponential", "tail"):
        exponential = ctypes.CFUNCTYPE(ctypes.c_float, ctypes.c_float)(native.address(name))
        assert exponential(1.0) == pytest.approx(2.7182817)
    power = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double)(native.address("power"))
    assert power(4.0) == 32.0


@needs_native
def test_two_copies_share_nothing() -> None:
    content = compile_object(SAMPLES)
    first, second = NativeObject(content), NativeObject(content)
    assert call(first, "count") == 6
    assert call(second, "count") == 6


def rights_at(address: int) -> str:
    for line in Path("/proc/self/maps").read_text().splitlines():
        pages, rights = line.split()[:2]
        start, end = pages.split("-")
        if int(start, 16) <= address < int(end, 16):
            return rights
    raise AssertionError(f"{address:#x} is not mapped")


@needs_native
def test_no_page_is_writable_and_executable() -> None:
    content = compile_object(SAMPLES)
    before = Path("/proc/self/maps").read_text().count(" rwx")
    native = NativeObject(content)
    assert rights_at(native.address("count")) == "r-xp"
    assert rights_at(native.address("shared")) == "rw-p"
    assert Path("/proc/self/maps").read_text().count(" rwx") == before


@needs_native
@pytest.mark.parametrize("name", ["system", "dlopen", "printf", "open", "mprotect", "__extendhfsf2"])
def test_only_listed_functions_can_be_called(name: str) -> None:
    text = f"declare i32 @{name}(ptr)\ndefine i32 @f() {{ %v = call i32 @{name}(ptr null)\n ret i32 %v }}"
    with pytest.raises(ArtifactError, match=f"calls '{name}', which is not among the functions"):
        NativeObject(compile_object(text))


@needs_native
def test_missing_export_is_named() -> None:
    with pytest.raises(ArtifactError, match="does not export 'tilewright_run'"):
        NativeObject(compile_object(SAMPLES)).address("tilewright_run")
    # Of a function that cannot return nothing is left: the object is empty.
    assert not NativeObject(compile_object("define void @f() { unreachable }")).exports("f")


@needs_native
def test_objects_for_another_architecture_are_refused() -> None:
    other = next(name for name in LINUX_TRIPLES if name != host.architecture())
    with pytest.raises(ArtifactError, match=f"cannot run here; expected Linux on {other}, found linux on"):
        NativeObject(compile_object(SAMPLES, LINUX_TRIPLES[other]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("@x = thread_local global i32 0\ndefine ptr @f() { ret ptr @x }", "what the loader does not offer"),
        (
            "@llvm.global_ctors = appending global [1 x { i32, ptr, ptr }] [{ i32, ptr, ptr } "
            "{ i32 1, ptr @f, ptr null }]\ndefine void @f() { ret void }",
            "what the loader does not offer: section '.ctors",
        ),
    ],
)
def test_objects_that_need_more_are_refused(text: str, message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        parse(compile_object(text, LINUX_TRIPLES["x86_64"]))


def resolve_far(name: str) -> int:
    """An address that no short distance reaches."""
    return 0x7FFF_0000_0000 + 16 * len(name)


@cache
def foreign(architecture: str, model: str, relocation: str, text: str = SAMPLES) -> bytes:
    return compile_object(text, LINUX_TRIPLES[architecture], code_model=model, relocation=relocation)


def target_of(elf: ElfObject, layout: ImageLayout, base: int, index: int) -> int:
    """Where a relocation must lead, from the definition: S + A, with the stub in place of a function far away."""
    relocation = elf.relocations[index]
    kind = kind_of(elf, relocation)
    symbol = elf.symbols[relocation.symbol]
    if kind.table:
        return base + layout.table[relocation.symbol] + relocation.addend
    if symbol.section == 0:
        stub = kind.near and base + layout.stubs[relocation.symbol]
        return (stub or resolve_far(symbol.name)) + relocation.addend
    assert symbol.section is not None
    return base + layout.sections[symbol.section] + symbol.value + relocation.addend


def bits(word: int, high: int, low: int) -> int:
    return word >> low & ((1 << (high - low + 1)) - 1)


def signed(value: int, width: int) -> int:
    return value - (1 << width) if value >> (width - 1) else value


@pytest.mark.parametrize("base", [0x10000, 0x5555_5555_0000, 0xFFFF_8000_0000])
@pytest.mark.parametrize(("model", "relocation"), MODELS)
def test_aarch64_fields_hold_what_the_instructions_read(model: str, relocation: str, base: int) -> None:
    """Decode every relocated instruction as the Arm manual defines it and compare with where it must lead."""
    elf = parse(foreign("aarch64", model, relocation))
    layout = lay_out(elf, 65536)
    image = link(elf, layout, base, resolve_far)
    seen: set[str] = set()
    for index, entry in enumerate(elf.relocations):
        offset = layout.sections[entry.section] + entry.offset
        source, target = base + offset, target_of(elf, layout, base, index)
        (word,) = struct.unpack_from("<I", image, offset)
        kind = kind_of(elf, entry).name.removeprefix("R_AARCH64_")
        seen.add(kind)
        if kind in ("CALL26", "JUMP26"):
            assert bits(word, 30, 26) == 0b00101
            assert source + 4 * signed(bits(word, 25, 0), 26) == target
        elif kind in ("ADR_PREL_PG_HI21", "ADR_GOT_PAGE"):
            assert (bits(word, 31, 31), bits(word, 28, 24)) == (1, 0b10000)
            page = signed(bits(word, 23, 5) << 2 | bits(word, 30, 29), 21)
            assert (source >> 12) + page == target >> 12
        elif kind == "ADD_ABS_LO12_NC":
            assert bits(word, 30, 22) == 0b001000100
            assert bits(word, 21, 10) == target & 0xFFF
        elif "LO12_NC" in kind:
            scale = {"LDST8": 0, "LDST16": 1, "LDST32": 2, "LDST64": 3, "LDST128": 4, "LD64": 3}[kind.split("_")[0]]
            assert bits(word, 29, 27) == 0b111
            assert bits(word, 21, 10) << scale == target & 0xFFF
        elif kind.startswith("MOVW_UABS_G"):
            group = int(kind[11])
            assert bits(word, 22, 21) == group
            assert bits(word, 20, 5) == target >> (16 * group) & 0xFFFF
        elif kind == "ABS64":
            assert struct.unpack_from("<Q", image, offset)[0] == target
        elif kind in ("PREL32", "PREL64"):
            (value,) = struct.unpack_from("<i" if kind == "PREL32" else "<q", image, offset)
            assert source + value == target
        else:
            raise AssertionError(f"not checked: {kind}")
    common = {"CALL26", "JUMP26", "ABS64", "ADR_GOT_PAGE", "LD64_GOT_LO12_NC"}
    small = {f"LDST{width}_ABS_LO12_NC" for width in (8, 16, 32, 64, 128)} | {"ADR_PREL_PG_HI21", "ADD_ABS_LO12_NC"}
    large = {"MOVW_UABS_G0_NC", "MOVW_UABS_G1_NC", "MOVW_UABS_G2_NC", "MOVW_UABS_G3"}
    assert seen == common | (small if model == "small" else large)
    for offset in layout.stubs.values():
        load, branch, address = struct.unpack_from("<IIQ", image, offset)
        assert (load, branch) == (0x58000050, 0xD61F0200), "ldr x16, .+8 and br x16"
        assert address >= 0x7FFF_0000_0000


def patched(kind: int, target: int, place: int, word: int = 0) -> int:
    image = bytearray(struct.pack("<Q", word))
    ARCHITECTURES["aarch64"].kinds[kind].apply(image, 0, target, place)
    return struct.unpack("<Q", image)[0]


def test_aarch64_fields_that_llvm_seldom_uses() -> None:
    assert patched(260, 0x1000, 0x1008) == 2**64 - 8, "PREL64"
    assert patched(261, 0x1000, 0x1008) == 2**32 - 8, "PREL32"
    assert patched(273, 0x1008, 0x1000, 0x58000000) == 0x58000040, "ldr x0, .+8"
    assert patched(274, 0x1005, 0x1000, 0x10000000) == 0x30000020, "adr x0, .+5"
    assert patched(279, 0x0FFC, 0x1000, 0x36000000) == 0x3607FFE0, "tbz w0, #0, .-4"
    assert patched(280, 0x1010, 0x1000, 0x54000000) == 0x54000080, "b.eq .+16"
    assert patched(263, 0xABCD, 0, 0xD2800000) == 0xD29579A0, "movz x0, #0xabcd"
    assert patched(265, 0xABCD0000, 0, 0xD2A00000) == 0xD2B579A0, "movz x0, #0xabcd, lsl 16"
    assert patched(267, 0xABCD00000000, 0, 0xD2C00000) == 0xD2D579A0, "movz x0, #0xabcd, lsl 32"


@pytest.mark.parametrize(
    ("kind", "target"),
    [(283, 1 << 27), (283, 2), (280, 1 << 20), (279, -(1 << 15) - 4), (275, 1 << 33), (261, 1 << 31), (263, 1 << 16)],
)
def test_aarch64_fields_that_are_too_small_are_refused(kind: int, target: int) -> None:
    with pytest.raises(ArtifactError, match="does not fit where it was mapped"):
        patched(kind, target, 0)


def test_aarch64_loads_of_unaligned_data_are_refused() -> None:
    with pytest.raises(ArtifactError, match="refers to unaligned data; expected a multiple of 8, found 4"):
        patched(286, 4, 0)


RISCV = {18: "CALL", 19: "CALL", 20: "UPPER", 23: "UPPER", 24: "LOWER", 25: "STORE", 2: "ADDRESS", 35: "SUM", 39: "SUM"}


@pytest.mark.parametrize("base", [0x10000, 0x5555_5555_0000, 0x3F_8000_0000])
def test_riscv64_fields_hold_what_the_instructions_read(base: int) -> None:
    """Pairs of instructions lead where the first one's relocation says, as the manual of RISC-V adds them up."""
    elf = parse(foreign("riscv64", "small", "pic"))
    layout = lay_out(elf, 4096)
    image = link(elf, layout, base, resolve_far)
    upper: dict[int, tuple[int, int]] = {}
    lower: list[tuple[int, int]] = []
    sums: dict[int, int] = {}
    seen: set[str] = set()
    for index, entry in enumerate(elf.relocations):
        offset = layout.sections[entry.section] + entry.offset
        source, target = base + offset, target_of(elf, layout, base, index)
        first, second = struct.unpack_from("<II", image, offset) if offset + 8 <= len(image) else (0, 0)
        kind = RISCV[entry.kind]
        seen.add(kind)
        if kind in ("CALL", "UPPER"):
            assert bits(first, 6, 0) == 0b0010111, "auipc"
            upper[source] = source + (signed(bits(first, 31, 12), 20) << 12), target
        if kind == "CALL":
            assert bits(second, 6, 0) == 0b1100111, "jalr"
            lower.append((source, signed(bits(second, 31, 20), 12)))
        elif kind == "LOWER":
            lower.append((target, signed(bits(first, 31, 20), 12)))
        elif kind == "STORE":
            assert bits(first, 6, 0) == 0b0100011, "sd"
            lower.append((target, signed(bits(first, 31, 25) << 5 | bits(first, 11, 7), 12)))
        elif kind == "ADDRESS":
            assert struct.unpack_from("<Q", image, offset)[0] == target
        elif kind == "SUM":
            sums[source] = sums.get(source, 0) + (target if entry.kind == 35 else -target)
    for source, low in lower:
        page, target = upper[source]
        assert page + low == target
    for source, distance in sums.items():
        assert struct.unpack_from("<i", image, source - base)[0] == distance
    assert seen == set(RISCV.values())
    for offset in layout.stubs.values():
        words = struct.unpack_from("<III", image, offset)
        assert words == (0x00000317, 0x01033303, 0x00030067), "auipc t1, 0; ld t1, 16(t1); jr t1"
        assert struct.unpack_from("<Q", image, offset + 16)[0] >= 0x7FFF_0000_0000
        assert (base + offset) % 8 == 0


def test_riscv64_fields_that_cannot_be_filled_are_refused() -> None:
    kinds = ARCHITECTURES["riscv64"].kinds
    with pytest.raises(ArtifactError, match="does not fit where it was mapped"):
        kinds[23].apply(bytearray(8), 0, 1 << 31, 0)
    elf = parse(foreign("riscv64", "small", "pic"))
    alone = elf._replace(relocations=[each for each in elf.relocations if each.kind not in (20, 23)])
    with pytest.raises(ArtifactError, match="refers to the relocation of an instruction that has none"):
        link(alone, lay_out(alone, 4096), 0x10000, resolve_far)


@pytest.mark.parametrize(("model", "relocation"), MODELS)
def test_x86_64_fields_hold_distances_and_addresses(model: str, relocation: str) -> None:
    elf = parse(foreign("x86_64", model, relocation))
    layout = lay_out(elf, 4096)
    base = 0x1000_0000
    image = link(elf, layout, base, resolve_far)
    for index, entry in enumerate(elf.relocations):
        offset = layout.sections[entry.section] + entry.offset
        kind = kind_of(elf, entry)
        (value,) = struct.unpack_from("<i" if kind.size == 4 else "<q", image, offset)
        relative = "PC" in kind.name or "PLT" in kind.name
        assert value + (base + offset if relative else 0) == target_of(elf, layout, base, index)
    if relocation == "static" and model == "small":
        assert layout.low
        with pytest.raises(ArtifactError, match="does not fit where it was mapped"):
            link(elf, layout, 0x7000_0000_0000, resolve_far)


@pytest.mark.parametrize("architecture", LINUX_TRIPLES)
def test_parts_lie_on_pages_of_their_own(architecture: str) -> None:
    elf = parse(foreign(architecture, "small", "pic"))
    layout = lay_out(elf, 4096)
    ends = (layout.text_end, layout.read_only_end, layout.size)
    assert [end % 4096 for end in ends] == [0, 0, 0]
    assert sorted(ends) == list(ends)
    for index, section in elf.sections.items():
        start = layout.sections[index]
        low, high = (
            (0, ends[0]) if section.executable else (ends[1], ends[2]) if section.writable else (ends[0], ends[1])
        )
        assert low <= start <= start + section.size <= high
        assert start % section.alignment == 0
    assert set(exported(elf, layout)) == {
        "constant", "indirect", "count", "zeros", "filled", "global", "exponential", "power", "table", "shared",
        "widths", "tail",
    }  # fmt: skip


@pytest.mark.parametrize("architecture", LINUX_TRIPLES)
def test_damaged_objects_never_do_worse_than_an_artifact_error(architecture: str) -> None:
    content = foreign(architecture, "small", "pic", PROGRAM)
    random_source = random.Random(3)
    refused = 0
    for round_number in range(1500):
        damaged = bytearray(content)
        if round_number % 3 == 0:
            del damaged[random_source.randrange(len(content)) :]
        for _ in range(random_source.randrange(1, 4)):
            if damaged:
                place_in_file = random_source.randrange(len(damaged))
                # Half of the changes go to the section table, which is at the end.
                if round_number % 2:
                    place_in_file = max(0, len(damaged) - 1 - random_source.randrange(1024))
                damaged[place_in_file] = random_source.choice([0, 1, 0x7F, 0xFF, random_source.randrange(256)])
        try:
            elf = parse(bytes(damaged))
            link(elf, lay_out(elf, 4096), 0x10000, resolve_far)
        except ArtifactError:
            refused += 1
    assert refused > 500
