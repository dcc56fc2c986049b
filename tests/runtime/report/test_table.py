"""One table in its three spellings."""

from __future__ import annotations

import json

import pytest

from tilewright.runtime.report.table import Column, Table, json_text


@pytest.fixture
def table() -> Table:
    layers = Table(
        [
            Column("name", "layer"),
            Column("op", "operator"),
            Column("milliseconds", "time (ms)", show="{:.2f}".format, right=True),
        ],
        title="Layers",
    )
    layers.add(name="stem|0", op="conv", milliseconds=1.23456)
    layers.add(name="[red]evil\x1b", op="relu")
    return layers


def test_markdown_escapes_bars_and_aligns_numbers(table: Table) -> None:
    assert table.markdown() == (
        "**Layers**\n"
        "\n"
        "| layer | operator | time (ms) |\n"
        "|:--|:--|--:|\n"
        "| stem\\|0 | conv | 1.23 |\n"
        "| [red]evil\\x1b | relu |  |\n"
    )


def test_json_keeps_values_exact_and_every_key(table: Table) -> None:
    assert json.loads(json_text(table.records())) == [
        {"name": "stem|0", "op": "conv", "milliseconds": 1.23456},
        {"name": "[red]evil\x1b", "op": "relu", "milliseconds": None},
    ]


def test_text_takes_names_literally_and_is_not_cut_in_a_pipe(table: Table) -> None:
    name = "block/" * 60
    table.add(name=name, op="add", milliseconds=12.0)
    lines = table.text().splitlines()
    assert lines[0].strip() == "Layers"
    assert any(line.split() == ["[red]evil\\x1b", "relu"] for line in lines)
    assert any(line.split() == [name, "add", "12.00"] for line in lines)


def test_a_value_without_a_column_is_refused(table: Table) -> None:
    with pytest.raises(KeyError, match="no column for macs; there are name, op, milliseconds"):
        table.add(name="x", macs=1)
    with pytest.raises(KeyError, match="no column for macs"):
        Table(table.columns, rows=[{"macs": 1}])
