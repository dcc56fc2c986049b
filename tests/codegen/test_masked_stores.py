"""Stores of some lanes of a vector, as LLVM writes them for processors that need not be there."""

from __future__ import annotations

import re

import pytest

from tilewright.codegen.cpu.llvm.builder import FunctionBuilder
from tilewright.codegen.cpu.llvm.module import module_text, parse
from tilewright.codegen.cpu.llvm.target import TargetDescription, machine
from tilewright.codegen.cpu.llvm.types import F32, I8, I16, I32, PTR, Type, partial_mask

WIDE = re.compile(r"^\t(vextractps\s+\$0, %xmm\d+, \(|vmov(ss|d)\s+%xmm\d+, \(|movl\s+%e\w+, \()", re.MULTILINE)
"""Writes four bytes to memory."""


@pytest.mark.parametrize("target", ["v3", "v4", "avx512-vnni", "amx"])
@pytest.mark.parametrize("element", [I8, I16])
def test_a_lane_that_is_made_narrower_writes_its_own_bytes(target: str, element: Type) -> None:
    description = TargetDescription.named(target)
    lanes = description.lanes
    b = FunctionBuilder(description, "f", [("x", PTR), ("y", PTR)])
    x, y = b.arguments
    value = b.binary("fadd", *2 * [b.load(F32.of(lanes), x)])
    narrow = b.convert("trunc", b.convert("bitcast", value, I32.of(lanes)), element.of(lanes))
    b.store_masked(narrow, y, partial_mask(lanes, 1))
    b.return_()
    assembly = machine(description).emit_assembly(parse(module_text([b]), "f", description))
    assert "(%rsi)" in assembly
    assert not WIDE.search(assembly), assembly
