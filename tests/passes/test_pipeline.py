"""Pipelines as text, and the instruments around them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from before_after import parse

from tilewright.errors import ParseError
from tilewright.ir.core import Module
from tilewright.ir.text.printer import print_module
from tilewright.passes.base import Pass, Record
from tilewright.passes.instruments import Dump, Print, Timing, instruments_from_environment, load_dump
from tilewright.passes.pipeline import Pipeline
from tilewright.passes.simplify.eliminate_dead_code import EliminateDeadCode
from tilewright.passes.simplify.fold_constants import FoldConstants

TEXT = """
  const @k : f32[2,3] = [0x1.0p0, 0x1.0p1, 0x1.8p1, 0x1.0p2, 0x1.4p2, 0x1.8p2]
  func @main(%x: f32[2,3]) -> (%y: f32[6], %z: f32[6]) {
    %y = reshape(%x) {shape=[6]} : f32[6]
    %z = reshape(@k) {shape=[6]} : f32[6]
    return %y, %z
  }
"""


class Sample(Pass):
    """Options of every kind."""

    count: int
    ratio: float = 0.5
    flag: bool = False
    label: str | None = None
    names: tuple[str, ...] = ()

    def apply(self, module: Module, record: Record) -> bool:
        return False


KNOWN: dict[str, type[Pass]] = {"sample": Sample, "fold_constants": FoldConstants}


@pytest.mark.parametrize(
    "current",
    [
        Sample(3),
        Sample(-1, ratio=1e-9, flag=True),
        Sample(0, ratio=float("inf"), label="two words, and more"),
        Sample(1, label="inf", names=("a", "b c", "true")),
        Sample(1, ratio=3.0, names=("x",)),
    ],
)
def test_text_round_trip(current: Sample) -> None:
    pipeline = Pipeline((current, FoldConstants(), current))
    assert Pipeline.parse(str(pipeline), KNOWN) == pipeline


def test_spelling() -> None:
    text = "fold_constants,sample{count=3,ratio=0.25,names=[a,b]}"
    pipeline = Pipeline.parse(" fold_constants ,\n sample{ count = 3, names=[a, b], ratio=0.25 }", KNOWN)
    assert pipeline == Pipeline((FoldConstants(), Sample(3, ratio=0.25, names=("a", "b"))))
    assert str(pipeline) == text
    assert Pipeline.parse("", KNOWN) == Pipeline(())


@pytest.mark.parametrize(
    ("text", "message", "column"),
    [
        ("fold_constant", "unknown pass 'fold_constant'. Did you mean 'fold_constants'?", 1),
        ("zzz", "unknown pass 'zzz' (known: sample, fold_constants)", 1),
        ("fold_constants{max_byte=3}", "pass fold_constants has no option 'max_byte'. Did you mean 'max_bytes'?", 16),
        ("sample{count=1,zzz=3}", "pass sample has no option 'zzz' (known: count, ratio, flag, label, names)", 16),
        ("sample{count=x}", "count: attribute of the wrong type; expected int, found 'x'", 14),
        ("sample{count=1, count=2}", "option 'count' is given twice", 17),
        ("sample{ratio=0.5}", "pass sample needs option 'count'", 1),
        ("sample{count=1", "expected ',', found 'end of text'", 15),
        ("sample{count=}", "expected a value, found '}'", 14),
        ("sample{count 1}", "expected '=', found '1'", 14),
        ("sample{count=1} sample", "expected ',', found 'sample'", 17),
        ("sample{count=1},", "expected the name of a pass, found 'end of text'", 17),
        ("sample{count=[1,}", "expected a value, found '}'", 17),
        ("sample;", "unexpected character ';'", 7),
        ('sample{count=1,label="\\q"}', "malformed string", 22),
    ],
)
def test_malformed_text(text: str, message: str, column: int) -> None:
    with pytest.raises(ParseError) as caught:
        Pipeline.parse(text, KNOWN)
    assert caught.value.message == message
    assert (caught.value.line, caught.value.column) == (1, column)
    assert str(caught.value).splitlines()[-1] == " " * (column - 1) + "^"


def test_error_on_a_later_line() -> None:
    with pytest.raises(ParseError) as caught:
        Pipeline.parse("fold_constants,\n  nope,\nfold_constants", KNOWN)
    assert (caught.value.line, caught.value.column) == (2, 3)
    assert str(caught.value).endswith("  nope,\n  ^")


def test_run_returns_a_record_for_each_pass() -> None:
    records = Pipeline.parse("fold_constants,fold_constants").run(parse(TEXT))
    assert [(r.name, r.modified) for r in records] == [("fold_constants", True), ("fold_constants", False)]
    assert dict(records[0].counts) == {"reshape": 1, "unused constant": 1}
    assert all(r.seconds > 0 for r in records)


def test_timing_lists_every_pass() -> None:
    timing = Timing()
    Pipeline.parse("fold_constants,eliminate_dead_code").run(parse(TEXT), instruments=[timing])
    text = str(timing)
    assert "reshape 1, unused constant 1" in text
    assert {line.split()[0] for line in text.splitlines()} == {"pass", "fold_constants", "eliminate_dead_code", "total"}


@pytest.mark.parametrize(
    ("passes", "expected"),
    [
        (["*"], ["// after fold_constants", "// after eliminate_dead_code (no change)"]),
        (["eliminate_dead_code"], ["// after eliminate_dead_code (no change)"]),
    ],
)
def test_print_shows_selected_passes(
    passes: list[str], expected: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    instruments = [Print(passes)]
    Pipeline.parse("fold_constants,eliminate_dead_code").run(parse(TEXT), instruments=instruments)
    assert [line for line in capsys.readouterr().err.splitlines() if line.startswith("//")] == expected


def test_dump_is_numbered_and_loads_back(tmp_path: Path, rng: np.random.Generator) -> None:
    module = parse(TEXT)
    big = module.add_constant("big", rng.standard_normal((5, 7)).astype(np.float32))
    module.main.set_results([*module.main.results, big], [*module.main.result_names, "big"])
    Pipeline.parse("eliminate_dead_code,fold_constants").run(module, instruments=[Dump(tmp_path / "dump")])
    folder = tmp_path / "dump" / "01_pipeline"
    assert sorted(file.name for file in folder.glob("*.tw")) == ["00_input.tw", "02_fold_constants.tw"]
    again = load_dump(folder / "02_fold_constants.tw")
    assert print_module(again) == print_module(module)
    np.testing.assert_array_equal(again.constants["big"].array, big.array)


def test_dumps_have_a_folder_for_each_pipeline(tmp_path: Path) -> None:
    dump = Dump(tmp_path)
    for name in ("first", "second", "first"):
        Pipeline((EliminateDeadCode(), FoldConstants()), name).run(parse(TEXT), instruments=[dump])
    files = ["00_input.tw", "02_fold_constants.tw"]
    assert sorted(str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*.tw")) == [
        f"{folder}/{file}" for folder in ("01_first", "02_second", "03_first") for file in files
    ]


def test_dump_folder_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("TILEWRIGHT_DUMP", raising=False)
    assert instruments_from_environment() == []
    monkeypatch.setenv("TILEWRIGHT_DUMP", str(tmp_path))
    (dump,) = instruments_from_environment()
    assert isinstance(dump, Dump)
    assert dump.folder == tmp_path
