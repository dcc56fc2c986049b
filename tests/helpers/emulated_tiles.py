"""AMX on processors without it: kernels whose tile instructions are functions on memory.

What each does is written after its operation in Intel's manual (Intel 64 and IA-32 Architectures Software Developer's
Manual, volume 2, LDTILECFG, TILELOADD, TILESTORED, TDPBSSD and its kin, TDPBF16PS), with all that raises an exception
there: it ends the process here. The tiles lie behind the work memory of a kernel, so that several threads have their
own, and a kernel that returns without having released them ends the process as well.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import pytest

from tilewright.codegen.cpu import program
from tilewright.codegen.cpu.families import lower
from tilewright.codegen.cpu.kernel import Kernel
from tilewright.codegen.cpu.llvm.builder import FunctionBuilder
from tilewright.codegen.cpu.llvm.module import module_text
from tilewright.codegen.cpu.llvm.target import TargetDescription
from tilewright.codegen.cpu.llvm.types import (
    BF16,
    F32,
    I1,
    I8,
    I16,
    I32,
    I64,
    PTR,
    Register,
    Registers,
    Type,
    constant,
    zero,
)
from tilewright.codegen.cpu.llvm.vector_arithmetic import single_to_narrow
from tilewright.ir.core import Op
from tilewright.runtime.native.host import missing

_INSTRUCTION = r"llvm\.x86\.(ldtilecfg|tile\w+|tdp\w+)\("
_FILE_BYTES = 64 + 8 * 1024
_LANES = 16


def emulated_target(name: str = "amx", base: str = "x86-64-v3") -> TargetDescription:
    """A target with the tiles of the one of this name and otherwise what ``base`` has, which must run here."""
    whole, plain = TargetDescription.named(name), TargetDescription.named(base)
    if reason := missing(plain.triple, plain.features):
        pytest.skip(reason)
    features = {*plain.features, *(each for each in whole.features if each.startswith("amx"))}
    return TargetDescription.of(plain.triple, plain.cpu, features, whole.cache_bytes)


def emulate_networks(monkeypatch: pytest.MonkeyPatch) -> list[Kernel]:
    """From now on networks are compiled with emulated tiles; the kernels that have some."""
    found: list[Kernel] = []

    def lowered(op: Op, target: TargetDescription) -> Kernel | None:
        kernel = lower(op, target)
        if kernel is None or "tdpb" not in kernel.text:
            return kernel
        found.append(kernel)
        return emulated(kernel)

    monkeypatch.setattr(program, "lower", lowered)
    return found


def emulated(kernel: Kernel) -> Kernel:
    """The same kernel on a processor without tiles."""
    if not re.search(_INSTRUCTION, kernel.text):
        return kernel
    used = sorted(set(re.findall(_INSTRUCTION, kernel.text)))
    text = re.sub(rf"declare void @{_INSTRUCTION}.*\n", "", kernel.text)
    text = re.sub(rf"@{_INSTRUCTION}(?=\))", r"@\1(ptr %scratch", text)
    text = re.sub(rf"@{_INSTRUCTION}", r"@\1(ptr %scratch, ", text)
    text = text.replace(f"@{kernel.name}(", "@with_tiles(")
    head = re.search(r"define i32 @with_tiles\((.*?)\)", text)
    assert head is not None
    names = [re.split(" ", parameter)[-1][1:] for parameter in head[1].split(", ")]
    types = [I64 if name in ("begin", "end") else PTR for name in names]
    target = TargetDescription.named("x86-64-v3")
    size = kernel.scratch_bytes

    def function(name: str, *parameters: Type) -> FunctionBuilder:
        named = [("scratch", PTR), *((f"p{i}", type) for i, type in enumerate(parameters))]
        return FunctionBuilder(target, name, named, internal=True)

    outer = FunctionBuilder(target, kernel.name, list(zip(names, types, strict=True)), I32)
    palette = outer.at(outer.arguments[names.index("scratch")], size)
    outer.store(constant(I8, 0), palette)
    status = outer.call("with_tiles", I32, outer.arguments)
    _require(outer, outer.compare("eq", outer.load(I8, palette), 0))
    outer.return_(status)
    functions = [outer]
    for name in used:
        if name == "ldtilecfg":
            b = function(name, PTR)
            _configure(b, b.at(b.arguments[0], size))
        elif name == "tilerelease":
            b = function(name)
            _tile(b, b.at(b.arguments[0], size), constant(I8, 0))
            b.store(constant(I8, 0), b.arguments[0], size)
        elif name in ("tileloadd64", "tilestored64"):
            b = function(name, I8, PTR, I64)
            _move(b, b.at(b.arguments[0], size), loads=name == "tileloadd64")
        else:
            b = function(name, I8, I8, I8)
            _multiply(b, b.at(b.arguments[0], size), name)
        b.return_()
        functions.append(b)
    return replace(kernel, text=_with_functions(text, functions), scratch_bytes=size + _FILE_BYTES)


def _with_functions(text: str, functions: Sequence[FunctionBuilder]) -> str:
    """A module with further functions, every declaration once."""
    known = set(re.findall("^declare .*", text, re.MULTILINE))
    lines = module_text(functions).splitlines(keepends=True)
    return text + "".join(line for line in lines if line.strip() not in known)


def with_plain_products(kernel: Kernel) -> Kernel:
    """A kernel for vectors of bfloat16 (VDPBF16PS, VCVTNEPS2BF16) on a processor without these instructions."""
    target, pairs, sums, text = TargetDescription.named("x86-64-v3"), BF16.of(2 * _LANES), F32.of(_LANES), kernel.text
    product = FunctionBuilder(target, "product", [("t", sums), ("x", pairs), ("w", pairs)], sums, internal=True)
    total, *factors = product.arguments
    x, w = (product.convert("bitcast", each, I32.of(_LANES)) for each in factors)
    even, odd = _pairs(product, (zero(sums), total), x, w)
    product.return_(product.binary("fadd", even, odd))
    rounding = FunctionBuilder(target, "rounding", [("x", sums)], BF16.of(_LANES), internal=True)
    rounded = single_to_narrow(rounding, rounding.arguments[0])
    rounding.return_(rounding.convert("bitcast", rounded, BF16.of(_LANES)))
    for name, function in (("dpbf16ps", product), ("cvtneps2bf16", rounding)):
        full = f"llvm.x86.avx512bf16.{name}.512"
        text = re.sub(rf"declare .*@{re.escape(full)}\(.*\n", "", text).replace(f"@{full}(", f"@{function.name}(")
    return replace(kernel, text=_with_functions(text, [product, rounding]))


def _require(b: FunctionBuilder, condition: Register) -> None:
    b.if_(condition, lambda: None, lambda: (b.intrinsic("llvm.trap", None, []), ())[1])


def _copy(b: FunctionBuilder, to: Register, source: Register, count: Register) -> None:
    b.intrinsic("llvm.memcpy.p0.p0.i64", None, [to, source, count, constant(I1, False)])


def _clear(b: FunctionBuilder, address: Register, count: int) -> None:
    b.intrinsic("llvm.memset.p0.i64", None, [address, constant(I8, 0), constant(I64, count), constant(I1, False)])


def _number(b: FunctionBuilder, type: Type, address: Register) -> Register:
    return b.convert("zext", b.load(type, address), I64)


def _configure(b: FunctionBuilder, file: Register) -> None:
    source = b.arguments[1]
    _require(b, b.compare("eq", b.load(I8, source), 1))
    for reserved in (*range(1, 16), *range(32, 48), *range(56, 64)):
        _require(b, b.compare("eq", b.load(I8, source, reserved), 0))
    for tile in range(8):
        width, rows = _number(b, I16, b.at(source, 16 + 2 * tile)), _number(b, I8, b.at(source, 48 + tile))
        _require(b, b.binary("and", b.compare("ule", width, 64), b.compare("ule", rows, 16)))
        _require(b, b.compare("eq", b.compare("eq", width, 0), b.compare("eq", rows, 0)))
    _copy(b, file, source, constant(I64, 64))
    _clear(b, b.at(file, 64), 8 * 1024)


def _tile(b: FunctionBuilder, file: Register, number: Register) -> tuple[Register, Register, Register]:
    """Address, rows and bytes in a row of a tile that has been configured."""
    _require(b, b.compare("eq", b.load(I8, file), 1))
    number = b.convert("zext", number, I64)
    _require(b, b.compare("ult", number, 8))
    rows, width = _number(b, I8, b.at(file, 48, number)), _number(b, I16, b.at(file, 16, b.multiply(number, 2)))
    _require(b, b.compare("ne", rows, 0))
    return b.at(file, 64, b.multiply(number, 1024)), rows, width


def _move(b: FunctionBuilder, file: Register, *, loads: bool) -> None:
    _, number, memory, stride = b.arguments
    tile, rows, width = _tile(b, file, number)
    if loads:
        _clear(b, tile, 1024)

    def row(index: Register) -> None:
        here, there = b.at(tile, b.multiply(index, 64)), b.at(memory, b.multiply(index, stride))
        _copy(b, *((here, there) if loads else (there, here)), width)

    b.each(0, rows, row)


def _multiply(b: FunctionBuilder, file: Register, name: str) -> None:
    _, *numbers = b.arguments
    (c, c_rows, c_width), (a, a_rows, a_width), (w, w_rows, w_width) = (_tile(b, file, each) for each in numbers)
    for left, right in ((0, 1), (0, 2), (1, 2)):
        _require(b, b.compare("ne", numbers[left], numbers[right]))
    for width in (c_width, a_width):
        _require(b, b.compare("eq", b.remainder(width, 4), 0))
    quads = b.divide(a_width, 4)
    for left, right in ((c_rows, a_rows), (quads, w_rows), (c_width, w_width)):
        _require(b, b.compare("eq", left, right))
    is_float = name == "tdpbf16ps"
    vector = (F32 if is_float else I32).of(_LANES)

    def times(sums: Registers, x: Register, w: Register) -> Registers:
        return _pairs(b, sums, x, w) if is_float else (_quads(b, sums[0], x, w, name[4:6]),)

    def row(m: Register) -> None:
        total = b.at(c, b.multiply(m, 64))
        start = (zero(vector), zero(vector)) if is_float else (b.load(vector, total),)

        def step(k: Register, sums: Registers) -> Registers:
            x = b.load(I32, b.at(a, b.multiply(m, 64), b.multiply(k, 4)))
            return times(sums, b.splat(x, _LANES), b.load(I32.of(_LANES), b.at(w, b.multiply(k, 64))))

        sums = b.loop(0, quads, step, start)
        if is_float:
            sums = (_flushed(b, b.binary("fadd", sums[0], sums[1])),)
            sums = (_flushed(b, b.binary("fadd", _flushed(b, b.load(vector, total)), sums[0])),)
        # Lanes beyond the width are sums of zeros.
        b.store(sums[0], total)

    b.each(0, c_rows, row)

    def upper(m: Register) -> None:
        _clear(b, b.at(c, b.multiply(m, 64)), 64)

    b.each(c_rows, 16, upper)


def _quads(b: FunctionBuilder, total: Register, x: Register, w: Register, signs: str) -> Register:
    for byte in range(4):
        factors = []
        for each, sign in zip((x, w), signs, strict=True):
            high = b.binary("shl", each, constant(each.type, 24 - 8 * byte))
            factors.append(b.binary("ashr" if sign == "s" else "lshr", high, constant(each.type, 24)))
        total = b.binary("add", total, b.binary("mul", *factors))
    return total


def _pairs(b: FunctionBuilder, sums: Registers, x: Register, w: Register) -> Registers:
    """One multiply-add each of the even and of the odd numbers, denormal ones counting as zero."""
    high, found = constant(x.type, 16), []
    for total, is_even in zip(sums, (True, False), strict=True):
        factors = []
        for each in (x, w):
            bits = b.binary("shl", each, high) if is_even else b.binary("shl", b.binary("lshr", each, high), high)
            factors.append(_flushed(b, b.convert("bitcast", bits, F32.of(_LANES))))
        found.append(_flushed(b, b.fma(factors[0], factors[1], total)))
    return tuple(found)


def _flushed(b: FunctionBuilder, value: Register) -> Register:
    tiny = b.compare("olt", b.unary_intrinsic("fabs", value), constant(value.type, 2.0**-126))
    return b.select(tiny, zero(value.type), value)
