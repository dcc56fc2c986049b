"""Identical reasons for running on the CPU stand together."""

from __future__ import annotations

from tilewright.compiler.report.fallbacks import fallback_table


def record(op: str, name: str, on: str, why: str) -> dict[str, object]:
    return {"op": op, "name": name, "on": on, "why": why}


def test_reasons_are_grouped_without_op_and_tensor() -> None:
    rule = "The operator is one that the device has; found softmax"
    table = fallback_table(
        [
            record("conv", "c", "device", "supported"),
            record("add", "a", "cpu", "affinity of 'a: b'"),
            *(record("softmax", f"s{i}", "cpu", f"softmax %s{i}: {rule}") for i in range(5)),
        ]
    )
    assert table.records() == [
        {"why": rule, "count": 5, "ops": [f"softmax s{i}" for i in range(5)]},
        {"why": "affinity of 'a: b'", "count": 1, "ops": ["add a"]},
    ]
    assert "softmax s0, softmax s1, softmax s2 and 2 more" in table.markdown()
