"""The memory plan, its heuristics and the independent check of its addresses."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from before_after import assert_rewrites, parse, run_pass

from tilewright.errors import PassError
from tilewright.ir.core import Module, Op
from tilewright.passes.cpu.check_cpu_memory import check_cpu_memory
from tilewright.passes.memory.plan import HEURISTICS, Buffer, Rivals, pack, peak, reuse, rivals_of

CHAIN = """
  func @main(%x: f32[1,32]) -> (%y: f32[1,32]) {
    %a = neg(%x) : f32[1,32]
    %b = neg(%a) : f32[1,32]
    %c = add(%a, %b) : f32[1,32]
    %d = reshape(%c) {shape=[32]} : f32[32]
    %e = neg(%d) : f32[32]
    %f = reshape(%e) {shape=[1,32]} : f32[1,32]
    %y = add(%f, %x) : f32[1,32]
    return %y
  }
"""


def test_addresses_of_a_chain(rng: np.random.Generator) -> None:
    before = parse(CHAIN)
    run_pass("plan_cpu_memory", before)
    assert before.main.annotations == {"arena_bytes": 384}
    ops = {op.results[0].name: op for op in before.main.ops}
    assert ops["d"].annotations == {"alias": 0, "at": ops["c"].annotations["at"]}
    assert ops["y"].annotations == {"at": (None,)}


def test_aliases_of_inputs_have_no_address() -> None:
    module = parse("""
      func @main(%x: f32[4]) -> (%y: f32[2,2]) {
        %r = reshape(%x) {shape=[2,2]} : f32[2,2]
        %y = neg(%r) : f32[2,2]
        return %y
      }
    """)
    run_pass("plan_cpu_memory", module)
    assert [op.annotations for op in module.ops] == [{"alias": 0, "at": (None,)}, {"at": (None,)}]


def test_what_is_an_output_under_another_shape_is_written_there() -> None:
    module = parse("""
      func @main(%x: f32[4]) -> (%y: f32[2,2], %z: f32[1,4], %v: f32[4,1]) {
        %a = neg(%x) : f32[4]
        %y = reshape(%a) {shape=[2,2]} : f32[2,2]
        %z = reshape(%a) {shape=[1,4]} : f32[1,4]
        %b = concat(%a, %x) {axis=0} : f32[8]
        %c = reduce_max(%b) {axes=[0], keepdims=true} : f32[1]
        %d = add(%a, %c) : f32[4]
        %w = reshape(%x) {shape=[4,1]} : f32[4,1]
        %v = reorder(%w) : f32[4,1]
        return %y, %z, %v
      }
    """)
    run_pass("plan_cpu_memory", module)
    found = {op.results[0].name: op for op in module.ops}
    assert [name for name, op in found.items() if "alias" in op.annotations] == ["y", "w"]
    # The first of two outputs that are the same bytes, which other ops may read, and no input.
    assert [name for name, op in found.items() if op.annotations["at"] == (None,)] == ["a", "y", "z", "w", "v"]
    found["z"].annotations["alias"] = 0
    with pytest.raises(PassError, match="reshape: an output does not lie in the caller's buffer"):
        check_cpu_memory(module.main)


def test_integers_that_stay_as_they_are_are_not_copied() -> None:
    module = parse("""
      func @main(%x: u8[4]) -> (%y: u8[4]) {
        %a = storage_cast(%x) : u8[4]<s=0x1.0p-1, z=3>
        %b = requantize(%a) : u8[4]<s=0x1.0p-2, z=3>
        %y = storage_cast(%b) : u8[4]
        return %y
      }
    """)
    run_pass("plan_cpu_memory", module)
    cast, requantize, back = module.ops
    assert cast.annotations == back.annotations == {"alias": 0, "at": (None,)}
    assert requantize.annotations == {"at": (None,)}


def test_blocked_order_of_one_position_is_row_major_order() -> None:
    module = parse("""
      func @main(%x: f32[2,32,1,1], %z: f32[2,20,1,1]) -> (%y: f32[2,32], %w: f32[2,20]) {
        %b = reorder(%x) : f32[2,32,1,1]#c16
        %n = neg(%b) : f32[2,32,1,1]#c16
        %p = reorder(%n) : f32[2,32,1,1]
        %y = reshape(%p) {shape=[2,32]} : f32[2,32]
        %c = reorder(%z) : f32[2,20,1,1]#c16
        %q = reorder(%c) : f32[2,20,1,1]
        %w = reshape(%q) {shape=[2,20]} : f32[2,20]
        return %y, %w
      }
    """)
    run_pass("plan_cpu_memory", module)
    assert ["alias" in op.annotations for op in module.ops] == [True, False, True, False, False, False, True]


def test_outputs_are_copied_apart(rng: np.random.Generator) -> None:
    assert_rewrites(
        "isolate_outputs",
        """
        const @k : f32[2] = [0x1.0p0, 0x1.0p1]
        func @main(%x: f32[2]) -> (%a: f32[2], %b: f32[2], %c: f32[2], %d: f32[2]) {
          %a = neg(%x) : f32[2] loc("node")
          return %a, %a, %x, @k
        }
        """,
        """
        const @k : f32[2] = [0x1.0p0, 0x1.0p1]
        func @main(%x: f32[2]) -> (%a: f32[2], %b: f32[2], %c: f32[2], %d: f32[2]) {
          %a = neg(%x) : f32[2] loc("node")
          %b = reorder(%a) [on=cpu] : f32[2] loc("node")
          %c = reorder(%x) [on=cpu] : f32[2]
          %d = reorder(@k) [on=cpu] : f32[2]
          return %a, %b, %c, %d
        }
        """,
        rng,
    )


def test_needs_outputs_of_their_own() -> None:
    text = "func @main(%x: f32[2]) -> (%y: f32[2]) {\n return %x\n}"
    with pytest.raises(PassError, match="needs a module that is outputs apart"):
        run_pass("plan_cpu_memory", parse(text))


def lower_bound(buffers: Sequence[Buffer]) -> int:
    """The most bytes that are live at one step: no arena can be smaller."""
    change: dict[int, int] = {}
    for buffer in buffers:
        change[buffer.first] = change.get(buffer.first, 0) + buffer.bytes
        change[buffer.last + 1] = change.get(buffer.last + 1, 0) - buffer.bytes
    most = live = 0
    for step in sorted(change):
        live += change[step]
        most = max(most, live)
    return most


def meets(a: Buffer, b: Buffer) -> bool:
    return a.first <= b.last and b.first <= a.last


def heuristic(function: Callable[[Sequence[Buffer], Rivals], list[int]]) -> Callable[[Sequence[Buffer]], list[int]]:
    def run(buffers: Sequence[Buffer]) -> list[int]:
        rivals = rivals_of(buffers, 10_000)
        assert rivals is not None
        for i, buffer in enumerate(buffers):
            assert sorted(rivals[i]) == [j for j, other in enumerate(buffers) if i != j and meets(buffer, other)]
        return function(buffers, rivals)

    return run


@pytest.mark.parametrize("allocate", [*map(heuristic, HEURISTICS), pack, reuse])
def test_heuristics_keep_buffers_apart(
    allocate: Callable[[Sequence[Buffer]], list[int]], rng: np.random.Generator
) -> None:
    for _ in range(50):
        definitions = rng.integers(0, 30, 40)
        buffers = [
            Buffer(64 * int(size), int(first), int(first + life))
            for size, first, life in zip(rng.integers(0, 9, 40), definitions, rng.integers(0, 9, 40), strict=True)
        ]
        offsets = allocate(buffers)
        for i, (a, at) in enumerate(zip(buffers, offsets, strict=True)):
            for b, bt in zip(buffers[:i], offsets[:i], strict=True):
                assert not meets(a, b) or at + a.bytes <= bt or bt + b.bytes <= at
        assert lower_bound(buffers) <= peak(buffers, offsets) <= sum(b.bytes for b in buffers)


def test_buffers_that_are_all_live_at_once_are_not_compared_with_each_other() -> None:
    buffers = [Buffer(64, 0, 10) for _ in range(100)]
    assert rivals_of(buffers, 1000) is None
    assert sorted(pack(buffers, 1000)) == sorted(pack(buffers)) == [64 * index for index in range(100)]


def test_lower_bound_is_the_busiest_step() -> None:
    buffers = [Buffer(64, 0, 2), Buffer(128, 1, 1), Buffer(256, 2, 3), Buffer(64, 4, 4)]
    assert lower_bound(buffers) == 320
    assert lower_bound([]) == 0


def planned() -> tuple[Module, dict[str, Op]]:
    module = parse(CHAIN)
    run_pass("plan_cpu_memory", module)
    ops = {op.results[0].name: op for op in module.main.ops}
    for name, address in {"a": 0, "b": 128, "c": 256, "d": 256, "e": 0, "f": 0}.items():
        ops[name].annotations["at"] = (address,)
    check_cpu_memory(module.main)
    return module, ops


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"b": {"at": (0,)}}, "neg: result %b overwrites operand %a"),
        ({"b": {"at": (64,)}}, "neg: result %b overwrites operand %a"),
        (
            {"c": {"at": (13,)}},
            "add: result %c has a wrong address; expected a multiple of 64 within 384 bytes, found 13",
        ),
        (
            {"c": {"at": (320,)}},
            "add: result %c has a wrong address; expected a multiple of 64 within 384 bytes, found 320",
        ),
        (
            {"c": {"at": (-64,)}},
            "add: result %c has a wrong address; expected a multiple of 64 within 384 bytes, found -64",
        ),
        ({"c": {"at": (None,)}}, "add: result %c has no address and is no output"),
        ({"c": {"at": ()}}, "add: the op needs one address for each result; expected 1, found ()"),
        ({"d": {"at": (0,)}}, "reshape: an alias lies elsewhere than its operand; expected 256, found 0"),
        ({"d": {"alias": 3}}, "reshape: alias names no operand of the result's size; found 3"),
        ({"y": {"at": (256,)}}, "add: an output does not lie in the caller's buffer"),
        ({"e": {"at": (256,)}}, "neg: result %e overwrites operand %d"),
    ],
)
def test_the_check_finds_wrong_addresses(change: dict[str, dict], message: str) -> None:
    module, ops = planned()
    for name, changed in change.items():
        ops[name].annotations.update(changed)
    with pytest.raises(PassError) as caught:
        check_cpu_memory(module.main)
    assert str(caught.value) == message


def test_the_check_finds_a_value_overwritten_by_a_later_op() -> None:
    module = parse("""
      func @main(%x: f32[16]) -> (%y: f32[16]) {
        %a = neg(%x) : f32[16]
        %b = abs(%x) : f32[16]
        %c, %d = split(%b) {axis=0, sizes=[8,8]} : f32[8], f32[8]
        %e = concat(%c, %d) {axis=0} : f32[16]
        %y = add(%a, %e) : f32[16]
        return %y
      }
    """)
    run_pass("plan_cpu_memory", module)
    a, _, split, concat, _ = module.main.ops
    address = a.annotations["at"]
    split.annotations["at"] = (split.annotations["at"][0],) * 2  # pyright: ignore
    with pytest.raises(PassError, match="split: results %c and %d overlap"):
        check_cpu_memory(module.main)
    module.main.annotations["arena_bytes"] = 4096
    split.annotations["at"] = (1024, 2048)
    concat.annotations["at"] = address
    with pytest.raises(PassError, match="add: operand %a at 0 has been overwritten before this op reads it"):
        check_cpu_memory(module.main)


JOINED = """
  func @main(%x: f32[1,16,4,4], %z: f32[1,16,4,4]) -> (%y: f32[1,48,4,4], %w: f32[1,16,4,4]) {
    %a = neg(%x) : f32[1,16,4,4]#LAYOUT
    %b = abs(%z) : f32[1,16,4,4]#LAYOUT
    %c = concat(%b, %a) {axis=1} : f32[1,32,4,4]#LAYOUT
    %d = exp(%a) : f32[1,16,4,4]#LAYOUT
    %e = concat(%c, %d) {axis=1} : f32[1,48,4,4]#LAYOUT
    %y = sqrt(%e) : f32[1,48,4,4]
    %w = neg(%a) : f32[1,16,4,4]
    return %y, %w
  }
"""


@pytest.mark.parametrize("layout", ["", "#c16"])
def test_parts_are_written_where_the_whole_wants_them(layout: str) -> None:
    module = parse(JOINED.replace("#LAYOUT", layout))
    run_pass("plan_cpu_memory", module)
    assert module.main.annotations == {"arena_bytes": 3072}
    addresses = {op.results[0].name: (op.annotations.get("alias"), op.annotations["at"]) for op in module.main.ops}
    assert addresses == {
        "a": (None, (1024,)),
        "b": (None, (0,)),
        "c": (0, (0,)),
        "d": (None, (2048,)),
        "e": (0, (0,)),
        "y": (None, (None,)),
        "w": (None, (None,)),
    }
    run = [op for op in module.main.ops if op.results[0].name == "a"]
    run[0].annotations["at"] = (2048,)
    with pytest.raises(PassError, match=r"concat: part %a does not lie where the result wants it; expected 1024"):
        check_cpu_memory(module.main)


@pytest.mark.parametrize(
    ("body", "shape"),
    [
        ("%a = neg(%x) : f32[2,16]\n%b = abs(%x) : f32[2,16]\n%c = concat(%a, %b) {axis=1} : f32[2,32]", "2,32"),
        ("%a = neg(%x) : f32[2,16]\n%c = concat(%a, %a) {axis=0} : f32[4,16]", "4,16"),
        ("%a = neg(%x) : f32[2,16]\n%c = concat(%a, %x) {axis=0} : f32[4,16]", "4,16"),
        (
            "%a = neg(%k) : f32[1,3]\n%b = abs(%k) : f32[1,3]\n%c = concat(%a, %b) {axis=0} : f32[2,3]",
            "2,3",
        ),
    ],
)
def test_other_concatenations_copy(body: str, shape: str) -> None:
    module = parse(f"""
      func @main(%x: f32[2,16], %k: f32[1,3]) -> (%y: f32[{shape}]) {{
        {body}
        %y = exp(%c) : f32[{shape}]
        return %y
      }}
    """)
    run_pass("plan_cpu_memory", module)
    assert all("alias" not in op.annotations for op in module.main.ops)


def test_a_part_belongs_to_one_whole() -> None:
    module = parse("""
      func @main(%x: f32[1,16]) -> (%y: f32[2,16], %z: f32[2,16]) {
        %a = neg(%x) : f32[1,16]
        %b = abs(%x) : f32[1,16]
        %c = concat(%a, %b) {axis=0} : f32[2,16]
        %d = concat(%b, %a) {axis=0} : f32[2,16]
        %y = exp(%c) : f32[2,16]
        %z = exp(%d) : f32[2,16]
        return %y, %z
      }
    """)
    run_pass("plan_cpu_memory", module)
    assert ["alias" in op.annotations for op in module.main.ops] == [False, False, True, False, False, False]
