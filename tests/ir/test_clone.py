"""Cloned modules."""

from __future__ import annotations

import numpy as np

from tilewright.ir import ops  # noqa: F401
from tilewright.ir.clone import clone_module
from tilewright.ir.text.parser import parse_module
from tilewright.ir.text.printer import print_module
from tilewright.ir.verify import verify

TEXT = """module @net {
  meta producer = "test"
  const @w : f32[2] = [0x1.0p+0, 0x1.0p+1]
  func @main(%x: f32[2]) -> (%y: f32[2], %again: f32[2]) [arena_bytes=64] {
    %a = add(%x, @w) [on=cpu] : f32[2] loc("first")
    %b = mul(%a, %a) : f32[2]
    return %b, %a
  }
}
"""


def test_a_clone_prints_the_same_and_verifies() -> None:
    module = parse_module(TEXT)
    copy = clone_module(module)
    verify(copy)
    assert print_module(copy) == print_module(module)


def test_changing_the_clone_leaves_the_original_alone() -> None:
    module = parse_module(TEXT)
    before = print_module(module)
    copy = clone_module(module)
    for op in copy.main.ops:
        op.annotations["on"] = "device"
    last = list(copy.main.ops)[-1]
    copy.main.set_results([last.operands[0]], ["y"])  # pyright: ignore[reportArgumentType]
    last.erase()
    copy.metadata["producer"] = "other"
    assert print_module(module) == before
    assert np.shares_memory(copy.constants["w"].array, module.constants["w"].array)
