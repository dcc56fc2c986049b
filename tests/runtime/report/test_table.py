"""One table in its three spellings."""

from __future__ import annotations

import io
import json

import pytest

from tilewright.runtime.report.table import WIDEST, Column, Table, json_text, on_lines, shortened


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


def test_text_aligns_columns(table: Table) -> None:
    assert table.text().splitlines() == [
        "Layers",
        "  layer          operator  time (ms)",
        "  ──────────────────────────────────",
        "  stem|0         conv           1.23",
        "  [red]evil\\x1b  relu",
    ]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_line_for_each_row_that_fits(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr("sys.stdout", Terminal())
    table.add(name="block_1/expand/Relu6;block_1/expand/Conv2D", op="depthwise_convolution", milliseconds=1234.5)
    table.add(name="the first of many layers", op="conv", milliseconds=None)
    assert table.text().splitlines() == [
        "Layers",
        "  layer         operator      time (ms)",
        "  ─────────────────────────────────────",
        "  stem|0        conv               1.23",
        "  [red]e…l\\x1b  relu",
        "  block_…onv2D  depthw…ution    1234.50",
        "  the first o…  conv",
    ]


def test_words_are_cut_after_names_and_columns_that_can_be_spared_go(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = [Column("name", "layer"), Column("where", "result on chip"), Column("cycles", "cycles", right=True)]
    spare = [Column("share", "of machine", right=True, spare=True), Column("op", "operator", spare=True)]
    table = Table([*columns, *spare])
    table.add(name="block_1/expand/Relu6;block_1", where="56 rows, in %block_1", cycles=123456789, share=1, op="conv")
    empty = Table([*columns, *spare])
    empty.add(name="pool", op="max_pool")  # what has no number in any row goes alone, and only if it can be spared
    assert empty.text().split() == ["layer", "result", "on", "chip", "cycles", "operator", "─" * 39, "pool", "max_pool"]
    monkeypatch.setattr("sys.stdout", Terminal())
    found = {}
    for width in (88, 76, 56, 50):
        monkeypatch.setenv("COLUMNS", str(width))
        found[width] = table.text().splitlines()[-1]
    assert found == {
        88: "  block_1/expand/Relu6;block_1  56 rows, in %block_1  123456789           1  conv",
        76: "  block_1/e…6;block_1  56 rows, in %block_1  123456789           1  conv",
        56: "  block_1/ex…u6;block_1  56 rows, in %block_1  123456789",
        50: "  block_1/…block_1  56 rows, in %block…  123456789",
    }


def test_one_long_name_does_not_widen_all_rows_in_a_pipe(table: Table) -> None:
    table.add(name="x" * 500, op="add", milliseconds=12.0)
    lines = table.text().splitlines()
    assert [len(line) for line in lines if line.startswith("  ──")] == [2 + WIDEST + 2 + 8 + 2 + 9]
    assert lines[-1].split() == ["x" * 500, "add", "12.00"]


def test_sentences_are_folded_on_a_terminal_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    sentence = "  (1) converts between real numbers and integers, which the host does\n: 4 ops"
    assert on_lines(sentence, 6) == sentence.replace("\n", r"\n") + "\n"
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr("sys.stdout", Terminal())
    assert on_lines(sentence, 6).splitlines() == [
        "  (1) converts between real numbers and",
        r"      integers, which the host does\n: 4",
        "      ops",
    ]


def test_line_breaks_in_names_are_escaped() -> None:
    table = Table([Column("name", "layer")], rows=[{"name": "a\nerror: b"}])
    assert table.text().splitlines()[-1] == r"  a\nerror: b"
    assert table.markdown().splitlines()[-1] == r"| a\nerror: b |"


def test_a_value_without_a_column_is_refused(table: Table) -> None:
    with pytest.raises(KeyError, match="no column for macs; there are name, op, milliseconds"):
        table.add(name="x", macs=1)
    with pytest.raises(KeyError, match="no column for macs"):
        Table(table.columns, rows=[{"macs": 1}])


def test_wide_characters_take_two_columns_and_accents_none(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("畳み込み層", "cafe\u0301", "🙂🙂", "plain")
    table = Table([Column("name", "name"), Column("count", "count", right=True)])
    for name in names:
        table.add(name=name, count=1)
    assert table.text().splitlines()[2:] == [
        "  畳み込み層      1",
        "  cafe\u0301            1",
        "  🙂🙂            1",
        "  plain           1",
    ]
    assert shortened("畳み込み層の名前", 9) == "畳み…名前"
    assert shortened("cafe\u0301", 4) == "cafe\u0301"
