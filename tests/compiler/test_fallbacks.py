"""Equal reasons for running on the CPU stand together, and a summary says them in a few lines."""

from __future__ import annotations

from tilewright.compiler.report.details import ADDED, ROUTINE
from tilewright.ir.annotations import Reason
from tilewright.passes.placement.device_support import CONVERSION
from tilewright.passes.placement.partition import FASTER, FREE
from tilewright.runtime.report.details import PlacedOp
from tilewright.runtime.report.placement import LINES, Fallback, fallback_lines, fallbacks, placement_table


def record(op: str, name: str, on: str, why: str | Reason, macs: int = 0) -> PlacedOp:
    reason = Reason(why, "", "") if isinstance(why, str) else why
    return PlacedOp(name, op, (), on, reason.text(op), *reason, macs, reason.rule in ROUTINE)


RULE = "A pooling window has no dilation"
RECORDS = [
    record("quantize", "q", "cpu", CONVERSION),
    record("conv", "c", "device", "supported", 9),
    record("add", "a", "cpu", "affinity of 'a: b'"),
    *(record("softmax", f"s{i}", "cpu", "the device has no softmax") for i in range(5)),
    record("max_pool", "p", "cpu", Reason(RULE, "%p", "2 and 2")),
    record("max_pool", "r", "cpu", Reason(RULE, "%r", "3 and 3")),
    record("conv", "d", "cpu", Reason("Weights and bias are constants", "@w", "a computed tensor"), 7),
    record("reshape", "v", "cpu", FREE),
    record("reorder", "o", "cpu", ADDED),
    record("add", "x", "cpu", Reason(FASTER, "", "1.0 us, against 0.5 us on the device and 6.0 us to start")),
    record("add", "y", "cpu", Reason(FASTER, "", "2.0 us, against 0.5 us on the device and 6.0 us to start")),
]


def test_reasons_are_grouped_without_op_and_tensor() -> None:
    assert fallbacks(RECORDS) == [
        Fallback("Weights and bias are constants; found a computed tensor", 1, ("conv d",)),
        Fallback("the device has no softmax", 5, tuple(f"softmax s{i}" for i in range(5))),
        Fallback(f"{RULE}; found 2 and 2, or 3 and 3", 2, ("max_pool p", "max_pool r")),
        Fallback("faster on the host", 2, ("add x", "add y")),
        Fallback(CONVERSION, 1, ("quantize q",)),
        Fallback("affinity of 'a: b'", 1, ("add a",)),
        Fallback(FREE, 1, ("reshape v",)),
        Fallback(ADDED, 1, ("reorder o",)),
    ]


def test_ops_on_the_cpu_have_the_numbers_of_their_reasons() -> None:
    found = {row["name"]: row["on"] for row in placement_table(RECORDS).records()}
    assert found == {
        **dict.fromkeys(("q",), "cpu (5)"),
        **dict.fromkeys((f"s{i}" for i in range(5)), "cpu (2)"),
        "p": "cpu (3)",
        "r": "cpu (3)",
        "d": "cpu (1)",
        "v": "cpu (7)",
        "o": "cpu (8)",
        "x": "cpu (4)",
        "y": "cpu (4)",
        "a": "cpu (6)",
        **{each.name: "device" for each in RECORDS if each.on == "device"},
    }


def test_a_summary_leaves_out_what_every_network_has() -> None:
    assert fallback_lines(RECORDS) == [
        "conv d: Weights and bias are constants; found a computed tensor",
        "softmax s0, softmax s1, softmax s2 and 2 more: the device has no softmax",
        f"max_pool p, max_pool r: {RULE}; found 2 and 2, or 3 and 3",
        "add x, add y: faster on the host",
        "add a: affinity of 'a: b'",
    ]


def test_a_summary_is_short() -> None:
    operators = ("softmax", "erf", "pow", "transpose", "gather", "where", "mod")
    records = [record(op, "x", "cpu", f"the device has no {op}") for op in operators]
    lines = fallback_lines(records)
    assert len(lines) == LINES
    assert lines[-1] == "3 more reasons, which `tilewright inspect` lists"
