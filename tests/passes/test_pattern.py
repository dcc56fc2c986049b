"""Patterns, rewrites and the driver that applies them."""

from __future__ import annotations

import numpy as np
import pytest
from before_after import canonical, parse

from tilewright.errors import PassError
from tilewright.ir.core import Module, Value
from tilewright.ir.ops.elementwise import Add, Mul
from tilewright.ir.ops.shape import Reshape
from tilewright.ir.ops.unary import Abs, Neg
from tilewright.ir.verify import verify
from tilewright.passes.base import Record
from tilewright.passes.pattern import Const, Driver, Match, Rule, match, node, scalar


def apply(rules: list[Rule], module: Module) -> dict[str, int]:
    record = Record("test")
    changed = Driver(rules).run(module, record)
    verify(module)
    assert changed == bool(record.counts)
    return dict(record.counts)


def double_negation(found: Match) -> Value:
    return found["x"]


DOUBLE_NEGATION = Rule("double_negation", node(Neg, node(Neg, "x")), double_negation)


def test_rewrites_until_nothing_matches() -> None:
    module = parse("""
      func @main(%x: f32[2]) -> (%y: f32[2]) {
        %a = neg(%x) : f32[2]
        %b = neg(%a) : f32[2]
        %c = neg(%b) : f32[2]
        %d = neg(%c) : f32[2]
        %y = neg(%d) : f32[2]
        return %y
      }
    """)
    assert apply([DOUBLE_NEGATION], module) == {"double_negation": 2}
    assert [op.name for op in module.ops] == ["neg"]


def test_what_is_scheduled_for_the_accelerator_stays_as_it_is() -> None:
    """One op with a tile is enough, be it the last that a pattern names or the first."""
    module = parse("""
      func @main(%x: f32[1,2,2,2]) -> (%y: f32[1,2,2,2]) {
        %a = neg(%x) [tile=[1, 1, 1, 1]] : f32[1,2,2,2]
        %b = neg(%a) : f32[1,2,2,2]
        %c = neg(%b) [tile=[1, 1, 1, 1]] : f32[1,2,2,2]
        %y = neg(%c) [tile=[1, 1, 1, 1]] : f32[1,2,2,2]
        return %y
      }
    """)
    assert apply([DOUBLE_NEGATION], module) == {}
    assert [op.name for op in module.ops] == ["neg"] * 4


def test_ops_are_found_by_name_and_may_be_of_any_operator() -> None:
    found: list[str] = []

    def look(m: Match) -> None:
        found.append(m.op("inner").name)
        found.append(m.op("inner", Abs, Neg).name)
        with pytest.raises(AssertionError, match=r"'inner' is neg, not \['Abs', 'Mul'\]"):
            m.op("inner", Abs, Mul)
        with pytest.raises(AssertionError, match=r"the pattern calls no op 'outer'; it knows \['inner'\]"):
            m.op("outer")
        with pytest.raises(AssertionError, match=r"the pattern calls no value 'y'; it knows \['x'\]"):
            m["y"]

    module = parse("""
      func @main(%x: f32[2]) -> (%y: f32[2]) {
        %a = neg(%x) : f32[2]
        %y = abs(%a) : f32[2]
        return %y
      }
    """)
    assert apply([Rule("look", node(Abs, node(Neg, "x", name="inner")), look)], module) == {}
    assert found == ["neg", "neg"]


def test_inner_ops_used_elsewhere_do_not_match() -> None:
    text = """
      func @main(%x: f32[2]) -> (%a: f32[2], %y: f32[2]) {
        %a = neg(%x) : f32[2]
        %y = neg(%a) : f32[2]
        return %a, %y
      }
    """
    assert apply([DOUBLE_NEGATION], parse(text)) == {}
    shared = Rule("shared", node(Neg, node(Neg, "x", single_use=False)), double_negation)
    module = parse(text)
    assert apply([shared], module) == {"shared": 1}
    assert module.main.results[1] is module.main.parameters[0]


def test_the_same_name_is_the_same_value() -> None:
    rule = Rule("square", node(Mul, "x", "x"), lambda m: m.emit(Abs(), m["x"]))
    module = parse("""
      func @main(%x: f32[2], %y: f32[2]) -> (%a: f32[2], %b: f32[2]) {
        %a = mul(%x, %x) : f32[2]
        %b = mul(%x, %y) : f32[2]
        return %a, %b
      }
    """)
    assert apply([rule], module) == {"square": 1}
    assert [op.name for op in module.ops] == ["abs", "mul"]


def test_commutative_operands_match_in_either_order() -> None:
    pattern = node(Add, node(Mul, "x", scalar(2.0), commutative=True), Const("c"), commutative=True)
    for inner in ("%x, @two", "@two, %x"):
        for outer in ("%m, @c", "@c, %m"):
            module = parse(f"""
              const @two : f32[] = [0x1.0p1]
              const @c : f32[2] = [0x1.0p0, 0x1.0p0]
              func @main(%x: f32[2]) -> (%y: f32[2]) {{
                %m = mul({inner}) : f32[2]
                %y = add({outer}) : f32[2]
                return %y
              }}
            """)
            found = match(pattern, module, list(module.ops)[1])
            assert found is not None
            assert found["x"] is module.main.parameters[0]
            np.testing.assert_array_equal(found.constant("c").array, [1, 1])


def test_scalar_compares_values() -> None:
    where = scalar(0.5).where
    assert where is not None
    assert where(np.full((1, 3), 0.5, np.float32))
    assert not where(np.array([0.5, 0.6], np.float32))
    assert not where(np.zeros(0, np.float32))
    zero = scalar(0.0).where
    assert zero is not None
    assert not zero(np.array(1e-30))


def test_replacement_keeps_name_and_source_nodes() -> None:
    rule = Rule(
        "merge",
        node(Reshape, node(Reshape, "x"), name="outer"),
        lambda m: m.emit(m.op("outer", Reshape).operator, m["x"]),
    )
    module = parse("""
      func @main(%x: f32[2,3]) -> (%y: f32[6]) {
        %a = reshape(%x) {shape=[3,2]} : f32[3,2] loc("one")
        %b = reshape(%a) {shape=[6]} : f32[6] loc("two", "one")
        return %b
      }
    """)
    apply([rule], module)
    assert canonical(module) == canonical(
        parse("""
          func @main(%x: f32[2,3]) -> (%y: f32[6]) {
            %b = reshape(%x) {shape=[6]} : f32[6] loc("one", "two")
            return %b
          }
        """)
    )
    assert next(module.ops).result.name == "b"


def test_a_rewrite_may_say_which_ops_it_replaces() -> None:
    """Those that it finds beyond its pattern, and those of them that an op which it makes stands for."""

    def merged(found: Match) -> Value:
        first = found.root.inputs[0].producer
        assert first is not None
        found.ops = (found.root, first)
        whole = found.emit(Reshape((6,)), found.root.inputs[0])
        found.origin = [found.root]
        return found.emit(Neg(), whole)

    module = parse("""
      func @main(%x: f32[2,3]) -> (%b: f32[6]) {
        %a = abs(%x) : f32[2,3] loc("one")
        %b = reshape(%a) {shape=[6]} : f32[6] loc("two")
        return %b
      }
    """)
    assert apply([Rule("merged", node(Reshape, where=lambda op: op.loc == ("two",)), merged)], module) == {"merged": 1}
    assert [op.loc for op in module.ops] == [("one",), ("one", "two"), ("two",)]


def test_a_rewrite_that_declines_leaves_nothing_behind() -> None:
    def decline(found: Match) -> None:
        found.emit(Abs(), found.emit(Neg(), found["x"]))

    module = parse("""
      func @main(%x: f32[2]) -> (%y: f32[2]) {
        %y = neg(%x) : f32[2]
        return %y
      }
    """)
    before = str(module)
    assert apply([Rule("decline", node(Neg, "x"), decline)], module) == {}
    assert str(module) == before


def test_a_rule_whose_op_is_refused_leaves_the_op_with_a_reason() -> None:
    def build(found: Match) -> Value:
        found.add_constant("unread", np.zeros(2, np.float32))
        return found.emit(Reshape((3,)), found.emit(Abs(), found["x"]))

    module = parse("""
      func @main(%x: f32[2]) -> (%y: f32[2]) {
        %y = neg(%x) : f32[2]
        return %y
      }
    """)
    before = str(module)
    record = Record("test")
    assert not Driver([Rule("build", node(Neg, "x"), build)]).run(module, record)
    assert str(module) == before
    assert record.declined == {
        "y": "build: reshape: a reshape keeps the number of elements; expected 2 elements as in [2], found [3]"
    }


def test_ops_are_visited_in_proportion_to_their_number() -> None:
    def visits(length: int) -> int:
        module = parse("func @main(%x: f32[2]) -> (%x: f32[2]) {\n  return %x\n}")
        value = module.main.parameters[0]
        for _ in range(length):
            value = module.main.append(Neg(), [value]).result
        module.main.set_results([value], ["y"])
        seen: list[str] = []
        counted = Rule("count", node(Neg, where=lambda op: bool(seen.append(op.name))), lambda match: None)
        assert apply([counted, DOUBLE_NEGATION], module) == {"double_negation": length // 2}
        return len(seen)

    assert visits(2000) == 10 * visits(200)


def test_a_rule_that_fires_for_ever_is_named() -> None:
    swap = Rule("swap", node(Add, "x", "y"), lambda m: m.emit(Add(), m["y"], m["x"]))
    module = parse("""
      func @main(%x: f32[2], %y: f32[2]) -> (%z: f32[2]) {
        %z = add(%x, %y) : f32[2] loc("Add_3")
        return %z
      }
    """)
    with pytest.raises(PassError, match="add: node 'Add_3': rule swap fires for ever; found 100 times so far"):
        apply([swap], module)


def test_a_rule_must_keep_types() -> None:
    wrong = Rule("wrong", node(Neg, "x"), lambda m: m.emit(Reshape((1, 2)), m["x"]))
    module = parse("""
      func @main(%x: f32[2]) -> (%y: f32[2]) {
        %y = neg(%x) : f32[2]
        return %y
      }
    """)
    with pytest.raises(PassError, match=r"rule wrong changed a type; expected f32\[2\], found f32\[1,2\]"):
        apply([wrong], module)


def test_earlier_rules_win() -> None:
    first = Rule("first", node(Neg, "x"), lambda m: m.emit(Abs(), m["x"]))
    module = parse("""
      func @main(%x: f32[2]) -> (%y: f32[2]) {
        %a = neg(%x) : f32[2]
        %y = neg(%a) : f32[2]
        return %y
      }
    """)
    assert apply([first, DOUBLE_NEGATION], module) == {"first": 2}
