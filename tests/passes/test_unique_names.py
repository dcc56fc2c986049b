"""Names of values."""

from __future__ import annotations

from tilewright.ir.text.parser import parse_module
from tilewright.passes.base import Verification
from tilewright.passes.simplify.unique_names import UniqueNames

TEXT = """module @net {
  func @main(%x: f32[2]) -> (%y: f32[2]) {
    %a = relu(%x) : f32[2]
    %b = relu(%a) : f32[2]
    %c = relu(%b) : f32[2]
    return %c
  }
}
"""


def test_the_last_value_of_a_name_keeps_it() -> None:
    module = parse_module(TEXT)
    ops = list(module.main.ops)
    for op in ops:
        op.result.name = "act"
    ops[0].result.name = "x"
    record = UniqueNames().run(module, verification=Verification.FULL)
    assert [op.result.name for op in ops] == ["x.1", "act.1", "act"]
    assert module.main.parameters[0].name == "x"
    assert record.modified


def test_unique_names_stay() -> None:
    assert not UniqueNames().run(parse_module(TEXT), verification=Verification.FULL).modified
