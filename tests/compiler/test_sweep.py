"""`tilewright sweep`: which machines, what is told of each, what a file keeps, who computes it, and the picture."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
from json_results import result_of
from shared_files import made_once

import tilewright
from tilewright.__main__ import main
from tilewright.compiler.demo import MODEL, load_digits
from tilewright.compiler.options import CompileOptions
from tilewright.compiler.report.scale import Scale
from tilewright.compiler.sweep import evaluation
from tilewright.compiler.sweep.evaluation import Figures, Outcome, combinations, outcomes, parse_settings
from tilewright.compiler.sweep.picture import Point, front, picture
from tilewright.compiler.sweep.sweep import read_table, write_table
from tilewright.errors import MachineError, ModelError, UsageError
from tilewright.runtime.cluster import processes
from tilewright.runtime.machines import machine
from tilewright.runtime.machines.fields import read_number
from tilewright.runtime.report.simulation import simulate_artifact
from tilewright.runtime.report.table import show_seconds

Capture = pytest.CaptureFixture[str]
S256 = machine.load_file("s256")
FIGURES = Figures(100, 1e-6, 0.5, 0.25, 64, 1.0, 1e-6, 2.0)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits network, quantised."""

    def make(path: Path) -> None:
        digits = load_digits()
        samples = digits.prepare(digits.calibration_images)
        tilewright.export(MODEL, path, quantized="qdq", calibration=samples)

    return made_once(tmp_path_factory, "digits_qdq.onnx", make)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The machines that are asked for, none of which is computed."""
    found: list[dict[str, Any]] = []

    def evaluate(model: object, options: object, text: str) -> Outcome:
        found.append(json.loads(text))
        return Outcome(replace(FIGURES, cycles=found[-1]["maps_bytes"]))

    monkeypatch.setattr(evaluation, "evaluate", evaluate)
    return found


def test_numbers_have_units() -> None:
    spelled = {"4": 4, "64Ki": 65536, "1.5Ki": 1536, "2k": 2000, "19.2G": 19_200_000_000, "0.85": 0.85, "3Mi": 3 << 20}
    assert {text: read_number(text) for text in spelled} == spelled
    assert all(type(read_number(text)) is type(number) for text, number in spelled.items())
    for text in ("", "k", "4K", "4ki", "1e9", "nan", "inf", "0x10", "4 ", "٤", "1" * 21):
        with pytest.raises(ValueError, match="is no number such as"):
            read_number(text)


def test_settings_are_read() -> None:
    assert parse_settings(["maps_bytes=64Ki,128Ki", "timing.divide=2"]) == {
        "maps_bytes": [65536, 131072],
        "timing.divide": [2],
    }
    for texts, message in (
        (["maps_bytes"], r"wrong --set: '' is no number such as 4, 0.85, 19.2G or 64Ki; expected FIELD=NUMBER,… such"),
        (["clusters=1,"], r"wrong --set: '' is no number .* found clusters=1,"),
        (["clusters=1", "clusters=2"], r"--set clusters=… is given twice. Give all values of a field at once."),
    ):
        with pytest.raises(UsageError, match=message):
            parse_settings(texts)


def test_every_combination_is_a_machine() -> None:
    found = combinations(S256, {"clusters": [2, 1], "timing.divide": [8], "energy.idle_watts": [1.5, 0.5]})
    assert [each.values for each in found] == [(1, 8, 0.5), (1, 8, 1.5), (2, 8, 0.5), (2, 8, 1.5)]
    for each in found:
        assert each.file is not None
        assert each.file.energy is not None
        assert (each.file.machine.clusters, each.file.machine.timing.divide, each.file.energy.idle_watts) == each.values
        changed = each.file.machine.differences(S256.machine)
        assert {line.partition(":")[0] for line in changed} <= {"clusters", "timing.divide"}
        assert each.file.machine.name == "S256"


def test_what_is_no_machine_is_told_in_its_place() -> None:
    small, good, odd = combinations(S256, {"maps_bytes": [1, 65537, 65536]})
    assert (small.file, odd.values, good.values, good.error) == (None, (65537,), (65536,), "")
    assert small.error.endswith("is out of range; expected 1024 to 16777216 B, found 1")


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(MachineError, match=r"a machine has no field 'map_byte'. Did you mean 'maps_bytes'\?"):
        combinations(S256, {"map_byte": [1]})
    with pytest.raises(MachineError, match=r"machine 'S256' states no energy model to set 'energy.idle_watts' of"):
        combinations(S256._replace(energy=None), {"energy.idle_watts": [1]})
    for settings, message in (
        ({}, "a sweep has nothing to vary"),
        ({"clusters": []}, "the values of 'clusters' must differ; expected one at least"),
        ({"clusters": [1, 1]}, "the values of 'clusters' must differ"),
        ({"clusters": [True]}, "a value of 'clusters' is no number; expected int or float, found True"),
        ({"clusters": ["1"]}, "a value of 'clusters' is no number"),
        ({"clusters": range(200), "cards": range(200)}, "too many machines; expected at most 10000, found 40000"),
    ):
        with pytest.raises(UsageError, match=message):
            combinations(S256, settings)  # pyright: ignore[reportArgumentType]


WORDS = ("--machine", "s256", "--effort", "quick")


def test_figures_are_those_of_compile_and_simulate(model: Path, tmp_path: Path, capsys: Capture) -> None:
    """On two processes as on one, to the last digit; and what is wrong with one machine stops no other."""
    table, svg = tmp_path / "table.csv", tmp_path / "times.svg"
    words = ["sweep", str(model), *WORDS, "--set", "maps_bytes=1,32Ki,64Ki", "--set", "cards=1,2", "--cards", "2"]
    assert main([*words, "--jobs", "2", "-o", str(table), "--svg", str(svg), "--json"]) == 0
    rows = result_of(capsys.readouterr().out)
    assert [tuple(row["values"].values()) for row in rows] == [(m, c) for m in (1, 32768, 65536) for c in (1, 2)]
    values = {"maps_bytes": [1, 32768, 65536], "cards": [1, 2]}
    alone = tilewright.sweep(model, machine="s256", effort="quick", cards=2, set=values)
    assert json.loads(json.dumps(alone.records())) == rows
    assert all("'maps_bytes'" in row["error"] and row["seconds"] is None for row in rows[:2])
    assert all(row["error"] == "--cards: out of range for machine S256; expected 1, found 2" for row in rows[2::2])
    for row in rows[3::2]:
        path = tmp_path / "machine.json"
        path.write_text(json.dumps({"format": 1, **replace(S256.machine, **row["values"]).to_dictionary()}))
        artifact = tilewright.compile(model, machine=path, effort="quick", engines="device", cards=2)
        total = simulate_artifact(artifact).total
        assert (row["cycles"], row["seconds"], row["dram_bytes"]) == (total.cycles, total.seconds, total.dram_bytes)
        assert (row["multipliers"], row["error"], row["device_macs_share"]) == (512, "", 1)
        assert row["board_watts"] > 0.5
    assert [row["on_front"] for row in rows] == [
        False,
        False,
        False,
        True,
        False,
        rows[5]["cycles"] < rows[3]["cycles"],
    ]
    drawn = ElementTree.fromstring(svg.read_text(encoding="utf-8"))
    assert len(list(drawn.iter("{http://www.w3.org/2000/svg}circle"))) == 2 * 2
    assert main([*words, "-o", str(table)]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("digits_qdq on S256 with maps_bytes and cards, modelled, not measured on silicon\n")
    assert "why not" in shown


def test_what_is_done_is_not_computed_again(model: Path, tmp_path: Path, asked: list[dict[str, Any]]) -> None:
    table = tmp_path / "table.csv"

    def rows(*values: int) -> list[float | None]:
        found = tilewright.sweep(model, machine="s256", set={"maps_bytes": values}, output=table)
        return [row.figures and row.figures.cycles for row in found.rows]

    assert rows(65536, 32768, 1) == [None, 32768, 65536]
    before = table.read_text()
    assert before.startswith("maps_bytes,cycles,seconds,mac_utilization,")
    assert (len(asked), before.count("\n")) == (2, 4)
    assert rows(65536, 32768, 1) == [None, 32768, 65536]
    assert (len(asked), table.read_text()) == (2, before)
    # Others are added to what there is.
    assert rows(16384, 32768) == [None, 16384, 32768, 65536]
    assert len(asked) == 3
    table.write_text(before[: before.rindex("\n", 0, -1) + 1])
    assert rows(65536) == [None, 32768, 65536]
    assert len(asked) == 4


def test_a_file_of_another_sweep_is_refused(model: Path, tmp_path: Path, asked: list[dict[str, Any]]) -> None:
    table, common = tmp_path / "table.csv", {"machine": "s256", "set": {"maps_bytes": [65536]}}
    tilewright.sweep(model, output=table, **common)
    kept = table.read_bytes()
    for changed, message in (
        ({"model": MODEL, "calibration": "random"}, f"{table} holds a sweep of another model; expected model "),
        ({"machine": "m4096"}, "holds a sweep over another machine; expected machine "),
        ({"effort": "quick"}, "holds a sweep with other options, or by another version; expected options "),
        ({"set": {"clusters": [1]}}, "holds a sweep of other fields; expected clusters, found maps_bytes"),
    ):
        with pytest.raises(UsageError, match=message) as caught:
            tilewright.sweep(**{"model": model, "output": table, **common, **changed})
        assert caught.value.hint == "Give the table another name with --output, or take the file away."
        assert table.read_bytes() == kept
    for content in (b"", b"a,b\n1,2\n", kept + b"x", kept[:-20] + b"\n", b"\xff\x00" * 9, b'maps_bytes,"\n'):
        table.write_bytes(content)
        with pytest.raises(UsageError, match=r"table.csv (is no table of a sweep|holds a sweep)"):
            tilewright.sweep(model, output=table, **common)
        assert table.read_bytes() == content
    head, row = kept.splitlines()
    for place, number in ((2, b""), (2, b"nan"), (2, b"-1"), (2, b"1e400"), (0, b"inf")):
        cells = row.split(b",")
        cells[place] = number
        table.write_bytes(b"\n".join((head, b",".join(cells), b"")))
        with pytest.raises(UsageError, match=r"table.csv is no table of a sweep: .*(convert|finite|below 0)"):
            tilewright.sweep(model, output=table, **common)
    assert len(asked) == 1


def test_results_do_not_replace_each_other_or_what_they_are_made_of(model: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.json"
    own.write_text(json.dumps({"format": 1, **S256.machine.to_dictionary()}))
    common = {"machine": own, "set": {"clusters": [1]}}
    with pytest.raises(UsageError, match=r"two results would be one file; found .*x\. Choose another output\."):
        tilewright.sweep(model, output=tmp_path / "x", svg=tmp_path / "x", **common)
    with pytest.raises(UsageError, match=r"the output would replace an input; found .*own\.json"):
        tilewright.sweep(model, svg=own, **common)


def test_a_file_of_places_belongs_to_the_sweep(model: Path, tmp_path: Path, asked: list[dict[str, Any]]) -> None:
    places = tmp_path / "places.json"
    sweep = {"machine": "s256", "set": {"maps_bytes": [65536]}, "output": tmp_path / "t.csv", "affinity": places}
    places.write_text("{}")
    tilewright.sweep(model, **sweep)
    places.write_text("{} ")
    with pytest.raises(UsageError, match="holds a sweep with other options"):
        tilewright.sweep(model, **sweep)


def test_tensors_in_other_files_belong_to_the_sweep(tmp_path: Path, asked: list[dict[str, Any]]) -> None:
    path = tmp_path / "net.onnx"
    onnx.save(onnx.load(MODEL), path, save_as_external_data=True, location="net.data", size_threshold=0)
    words = {"machine": "s256", "set": {"maps_bytes": [65536]}, "output": tmp_path / "t.csv", "calibration": "random"}
    tilewright.sweep(path, **words)
    data = tmp_path / "net.data"
    data.write_bytes(data.read_bytes()[:-1] + b"\x01")
    with pytest.raises(UsageError, match="holds a sweep of another model"):
        tilewright.sweep(path, **words)
    data.write_bytes(data.read_bytes()[:-9])
    with pytest.raises(ModelError, match=r"lie beyond the end of 'net.data'"):
        tilewright.sweep(path, **words)


def test_samples_belong_to_the_sweep(tmp_path: Path, asked: list[dict[str, Any]]) -> None:
    samples = tmp_path / "samples"
    samples.mkdir()
    (samples / "one.png").write_bytes(b"1")
    words = {"machine": "s256", "set": {"maps_bytes": [65536]}, "output": tmp_path / "t.csv"}
    for given in (samples, f"image={samples}", {"image": samples}):
        words |= {"calibration": given, "output": tmp_path / f"{len(asked)}.csv"}
        tilewright.sweep(MODEL, **words)
        tilewright.sweep(MODEL, **words)
        with open(samples / "one.png", "ab") as file:
            file.write(b"1")
        with pytest.raises(UsageError, match="holds a sweep with other options"):
            tilewright.sweep(MODEL, **words)
    assert len(asked) == 3


def test_an_interrupted_sweep_goes_on(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    calls: list[str] = []

    def evaluate(model: object, options: object, text: str) -> Outcome:
        calls.append(text)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return Outcome(FIGURES)

    monkeypatch.setattr(evaluation, "evaluate", evaluate)
    table = tmp_path / "table.csv"
    words = ["sweep", str(model), *WORDS, "--set", "maps_bytes=16Ki,32Ki,64Ki", "-o", str(table)]
    assert main(words) == 130
    note = f"note: what is done stands in {table}; the same command goes on with the rest\nerror: interrupted\n"
    assert capsys.readouterr() == ("", note)
    assert table.read_text().count("\n") == 2
    assert main(words) == 0
    assert len(calls) == 4
    assert table.read_text().count("\n") == 4
    calls.clear()
    assert main(words[:-2]) == 130
    told = f"without --output nothing is kept; modelled by then: maps_bytes=16.0 KiB: {show_seconds(FIGURES.seconds)}"
    assert capsys.readouterr().err == f"warning: {told}\nerror: interrupted\n"


def test_a_process_that_ends_is_told_and_tried_again(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [each.text for each in combinations(S256, {"clusters": [1, 2, 3]})]
    monkeypatch.setattr(processes, "_PROGRAM", "import os; os.kill(os.getpid(), 9)")
    found = dict(outcomes(model, CompileOptions(), texts, 2))
    gone = Outcome(None, "the process that computed it ended by signal 9", is_final=False)
    assert found == {0: gone, 1: gone, 2: gone}
    table = tmp_path / "table.csv"
    with pytest.raises(tilewright.errors.ArtifactError, match="can run the network; found the process"):
        tilewright.sweep(model, machine="s256", set={"clusters": [1, 2]}, output=table, jobs=2)
    assert table.read_text().count("\n") == 1


def test_what_is_wrong_everywhere_ends_the_sweep(tmp_path: Path, capsys: Capture) -> None:
    table = tmp_path / "table.csv"
    for jobs in ("1", "2"):
        words = ["sweep", str(MODEL), *WORDS, "--set", "clusters=1,2", "--jobs", jobs, "-o", str(table)]
        assert main(words) == 1
        shown = capsys.readouterr()
        assert shown.out == ""
        assert "int8 needs sample inputs to derive scales from" in shown.err
        assert not table.exists()
    assert main(["sweep", str(tmp_path / "no.onnx"), "--set", "clusters=1"]) == 1
    assert "no.onnx" in capsys.readouterr().err
    assert main(["sweep", str(MODEL)]) == 2
    assert "a sweep has nothing to vary. Give it fields with --set maps_bytes=64Ki,128Ki." in capsys.readouterr().err
    with pytest.raises(UsageError, match="a sweep is of int8 on the accelerator"):
        tilewright.sweep(MODEL, set={"clusters": [1]}, precision="fp32")


def test_a_mistake_of_ours_is_told_in_the_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> Figures:
        raise AssertionError("no such thing")

    monkeypatch.setattr(evaluation, "_figures", fail)
    found = evaluation.evaluate(MODEL, CompileOptions(), "{}")
    assert found == Outcome(None, "internal error: AssertionError: no such thing", is_final=False)


def test_the_front_is_what_nothing_beats() -> None:
    assert front([(1, 5), (2, 3), (2, 4), (3, 3), (4, 1), (1, 5)]) == {(1, 5), (2, 3), (4, 1)}


def test_machines_that_leave_work_to_the_host_are_on_no_front(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They may be faster because they do less."""

    def evaluate(model: object, options: object, text: str) -> Outcome:
        size = json.loads(text)["maps_bytes"]
        return Outcome(replace(FIGURES, seconds=size * 1e-9, device_macs_share=1.0 if size > 1024 else 0.2))

    monkeypatch.setattr(evaluation, "evaluate", evaluate)
    found = tilewright.sweep(model, machine="s256", set={"maps_bytes": [1024, 2048, 4096]})
    assert [row.on_front for row in found.rows] == [False, True, False]
    drawn = ElementTree.fromstring(found.svg())
    circles = list(drawn.iter("{http://www.w3.org/2000/svg}circle"))
    assert ["fill" in each.get("style", "") for each in circles] == [False] * 4 + [True, False]
    assert "maps_bytes 1.0 KiB: 1.02 µs, the rest on the host" in [each[0].text for each in circles]


@pytest.mark.parametrize("numbers", [[1e-5, 9e-3], [3e-6], [2e-4, 2.1e-4], [1.0, 9.99], [1.0, 10.01], [4096], [7e9]])
def test_scales_hold_what_they_show(numbers: list[float]) -> None:
    scale = Scale(numbers, 0, 100)
    places = [scale(each) for each in numbers]
    assert all(0 <= place <= 100 for place in places)
    assert places == sorted(places)
    ticks = [scale(each) for each in scale.ticks]
    assert 3 <= len(ticks) <= 16
    assert (ticks[0], ticks[-1]) == (0, pytest.approx(100))


@pytest.mark.parametrize("fields", [1, 2, 3, 4])
def test_the_picture_has_every_machine(fields: int) -> None:
    names, counts = ("maps_bytes", "clusters", "cards", "a<b")[:fields], (4, 3, 2, 2)
    machines: list[tuple[int, ...]] = [()]
    for count in counts[:fields]:
        machines = [(*each, value) for each in machines for value in range(1, count + 1)]
    points = [Point(each, 1e-3 / each[0], 256 * each[0], 1024.0, True) for each in machines]
    text = picture("net & co\x1b\u202e", names, [str] * fields, points)
    drawn = ElementTree.fromstring(text)
    space = "{http://www.w3.org/2000/svg}"
    # Times by the field and by multipliers; the memory is the same everywhere.
    assert len(list(drawn.iter(f"{space}circle"))) == 2 * len(points)
    titles = [each.text for each in drawn.iter(f"{space}text") if each.get("class") == "title"]
    assert titles == [r"net & co\x1b\u202e", "Time by maps_bytes", "Time by multipliers"]
    hints = {each.text for each in drawn.iter(f"{space}title")}
    assert len(hints) == len(points)
    assert all(f"{names[-1]} {point.values[-1]}" in "".join(filter(None, hints)) for point in points)
    assert "prefers-color-scheme: dark" in text
    assert ">Modelled, not measured on silicon<" in text


def test_a_table_that_was_cut_off_says_where(tmp_path: Path) -> None:
    own = {"model": "0", "machine": "0", "options": "0"}
    table = tmp_path / "table.csv"
    write_table(table, ["clusters"], own, {(1,): Outcome(None, "too small"), (2,): Outcome(None, "too small")})
    assert len(read_table(table, ["clusters"], own)) == 2
    table.write_text(table.read_text(encoding="utf-8")[:-6], encoding="utf-8")
    with pytest.raises(UsageError, match="is no table of a sweep: line 3 has not a value for each column"):
        read_table(table, ["clusters"], own)
