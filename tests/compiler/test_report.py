"""`tilewright report`: the page, what it tells, where things lie in its pictures, and that a browser shows it."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from json_results import result_of
from shared_files import made_once

import tilewright
from tilewright.__main__ import main
from tilewright.compiler.demo import MODEL, load_digits
from tilewright.compiler.network_page import charts, graph, occupancy
from tilewright.compiler.network_page.layers import ACCELERATOR, CPU, NOWHERE, Layer, layers_of, read_comparison
from tilewright.compiler.network_page.page import page
from tilewright.errors import InputError
from tilewright.runtime.artifact.artifact import Artifact
from tilewright.runtime.isa.accesses import MemoryAccess, Space
from tilewright.runtime.report.page import paragraphs
from tilewright.runtime.report.simulation import SimulatedProgram, simulate_artifact
from tilewright.runtime.report.summary import summarize

Capture = pytest.CaptureFixture[str]
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits network in int8, for the accelerator and the CPU."""

    def make(path: Path) -> None:
        digits = load_digits()
        samples = digits.prepare(digits.calibration_images)
        tilewright.compile(MODEL, output=path, calibration=samples, effort="quick")

    return made_once(tmp_path_factory, "digits_report.twa", make)


class Elements(HTMLParser):
    """Checks that elements are closed as they were opened, and keeps them with their attributes."""

    EMPTY = ("meta", "input", "br")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_a_page_needs_nothing_else_and_has_every_layer(compiled: Path, tmp_path: Path, capsys: Capture) -> None:
    assert main(["report", str(compiled), "-o", str(tmp_path / "new"), "--measure", "--threads", "1", "--json"]) == 0
    told = result_of(capsys.readouterr().out)
    text = Path(told["page"]).read_text()
    assert told == {"page": str(tmp_path / "new" / "digits_report.html"), "bytes": len(text.encode())}
    elements = Elements(text).found
    loading = {"src", "href", "srcset", "data", "action", "poster", "xlink:href"}
    assert not any(loading & attributes.keys() for _, attributes in elements)
    assert "url(" not in text and "@import" not in text
    artifact = Artifact.open(compiled)
    count = len(layers_of(artifact, "device", None, None, {}))
    for tag in ("g", "tr"):
        numbers = [int(own["data-layer"] or "") for each, own in elements if each == tag and "data-layer" in own]
        assert numbers == list(range(count))
    titles = re.findall("<h2>(.*?)</h2>", text)
    assert titles == [
        "Network",
        "Layers",
        "Roofline of the accelerator",
        "Timeline",
        "Memory of the accelerator",
        "Roofline of the CPU",
        "Work memory of engine device",
        "Work memory of engine software",
    ]


def test_inspect_writes_the_same_page(compiled: Path, tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "digits.html"
    assert main(["inspect", str(compiled), "--html", str(file)]) == 0
    assert "engine device" in capsys.readouterr().out
    assert file.read_text(encoding="utf-8") == page(Artifact.open(compiled))
    assert main(["inspect", str(compiled), "--html", str(compiled)]) == 2
    assert main(["inspect", str(MODEL), "--html", str(file)]) == 2
    assert "`tilewright report` compiles a model for its page." in capsys.readouterr().err


def test_an_operator_and_its_time_have_room_beside_each_other(compiled: Path, tmp_path: Path) -> None:
    assert main(["inspect", str(compiled), "--html", str(tmp_path / "x.html")]) == 0
    text = (tmp_path / "x.html").read_text(encoding="utf-8")
    boxes = re.findall(r'<text class="op"[^>]*>([^<]*)</text><text class="time"[^>]*>([^<]*)<', text)
    assert any(operator.startswith("max_pool") for operator, _ in boxes)
    assert max(len(html.unescape(operator)) + len(time) for operator, time in boxes) <= 21


def test_layers_have_the_times_of_the_simulation_and_the_reasons_of_the_placement(compiled: Path) -> None:
    artifact = Artifact.open(compiled)
    simulation = simulate_artifact(artifact)
    layers = layers_of(artifact, "device", simulation, None, {})
    assert {each.place for each in layers} == {ACCELERATOR, CPU, NOWHERE}
    # A reshape of what lies there already: the summary does not count it either.
    assert [each.op for each in layers if each.place == NOWHERE] == ["reshape"]
    engine = summarize(artifact).engines["device"]
    counts = [sum(each.place == place for each in layers) for place in (ACCELERATOR, CPU)]
    assert counts == [engine.on_device, engine.operators - engine.on_device]
    assert all((each.seconds is not None) == (each.place == ACCELERATOR) for each in layers)
    # Each is a whole number of cycles of 4 ns.
    assert sum(each.seconds or 0 for each in layers) == pytest.approx(simulation.total.seconds, abs=2e-9 * len(layers))
    assert {each.why for each in layers if each.op == "softmax"} == {"the device has no softmax"}
    assert sum(each.macs for each in layers) == simulation.total.macs


def test_names_of_strangers_are_text(compiled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = Artifact.open(compiled)
    name = "</title><script>alert(1)</script>\n"
    model = replace(artifact.manifest.model, name=name)
    manifest = replace(artifact.manifest, model=model)
    monkeypatch.setattr(Artifact, "manifest", property(lambda _: manifest))
    text = page(artifact)
    assert [tag for tag, _ in Elements(text).found].count("script") == 1
    layer = Layer('"><script>' + "\u2028" * 20, "<b>", (1,), (), CPU, "'\"<i>")
    assert {tag for tag, _ in Elements(graph.picture([layer], {})).found} <= {
        "div",
        "svg",
        "path",
        "g",
        "title",
        "rect",
        "text",
    }
    (shown,) = re.findall(r'<text x="8" y="14">(.*?)</text>', graph.picture([layer], {}))
    assert len(html.unescape(shown)) == graph._LETTERS
    strip = Elements(graph.picture([layer] * (graph.MOST + 1), {})).found
    assert {tag for tag, _ in strip} == {"div", "i"} and len(strip) == graph.MOST + 2


def test_layers_of_a_rank_lie_apart_and_a_chain_straight(rng: np.random.Generator) -> None:
    for count in (1, 2, 40):
        edges = sorted({(int(rng.integers(0, target)), target) for target in range(1, count) for _ in range(2)})
        found = graph.drawing(edges, count)
        assert all(found.middles[source][1] < found.middles[target][1] for source, target in edges)
        rows: dict[float, list[float]] = {}
        for x, y in found.middles:
            assert 0 < x < found.width and 0 < y < found.height
            rows.setdefault(y, []).append(x)
        for row in rows.values():
            assert all(np.diff(sorted(row)) >= graph._WIDTH + graph._GAP - 1e-6)
        for (source, target), points in zip(edges, found.edges, strict=True):
            assert points[0] == found.middles[source] and points[-1] == found.middles[target]
            assert all(np.diff([y for _, y in points]) > 0)
    chain = graph.drawing([(0, 1), (1, 2), (2, 3), (0, 3), (3, 4)], 5)
    assert np.ptp([x for x, _ in chain.middles]) < 1
    bend = chain.edges[3][1]
    assert abs(bend[0] - chain.middles[1][0]) >= (graph._WIDTH + graph._BEND) / 2


def test_memory_is_taken_from_its_first_write_to_its_last_read() -> None:
    counter = occupancy._Counter(cycles=float(occupancy.POINTS))
    memory = occupancy._Memory(4, 16, counter, -1.0)

    def touch(write: bool, start: float, end: float) -> None:
        memory.touch(MemoryAccess(Space.MAPS, 16, (), 32, write, cluster=0), start, end)

    for write, start, end in (
        (True, 2, 3),
        (True, 3, 4),
        (False, 4, 5.25),
        (True, 8, 9),
        (False, 9, 10),
        (True, 12, 13),
    ):
        touch(write, start, end)
    memory.finish()
    expected = [0, 0, 32, 32, 32, 8, 0, 0, 32, 32, 0, 0, 0, 0]
    assert counter.taken[: len(expected)] == pytest.approx(expected)
    assert counter.taken.max() == 32


def test_memory_is_taken_where_an_access_has_gaps() -> None:
    counter = occupancy._Counter(cycles=float(occupancy.POINTS))
    memory = occupancy._Memory(8, 16, counter, -1.0)
    for write, time in ((True, 2), (False, 4)):
        memory.touch(MemoryAccess(Space.MAPS, 16, ((3, 32),), 16, write, cluster=0), time, time + 1)
    memory.finish()
    assert counter.taken[:7] == pytest.approx([0, 0, 48, 48, 48, 0, 0])
    assert np.flatnonzero(memory._first >= 0).tolist() == [1, 3, 5]


def test_no_memory_of_a_network_is_fuller_than_full(compiled: Path) -> None:
    programs: list[SimulatedProgram] = []
    simulate_artifact(Artifact.open(compiled), observe=programs.append)
    found = occupancy.memories(programs)
    for taken, size in found.scratchpads.values():
        assert taken.min() > -1e-3 and 0 < taken.max() <= size * (1 + 1e-9)
    inputs = sum(r.size for r in programs[0].ordered.programs[0].regions if r.kind.value == "input")
    assert found.dram["inputs"][0] == pytest.approx(inputs) and 0 <= found.dram["inputs"][-1] < 1e-3
    assert found.busy.min() >= 0 and 0.5 < found.busy.max() <= 1
    busy = sum(each.end - each.start for each in programs[0].traffic.dram[0])
    assert found.busy.sum() * programs[0].timeline.cycles / occupancy.POINTS == pytest.approx(busy)


def test_a_roof_has_its_corner_where_both_limits_meet() -> None:
    drawn = charts.roofline(
        "", [charts.Point(0, 1.0, 1e9, "p0", ""), charts.Point(1, 100.0, 2e10, "p0", "")], 2e10, 2e9
    )
    roof = re.search('class="roof" points="(.*?)"', drawn)
    assert roof is not None
    (_, low), (corner, top), (_, level) = (map(float, each.split(",")) for each in roof[1].split())
    dots = [(float(x), float(y)) for x, y in re.findall('cx="(.*?)" cy="(.*?)"', drawn)]
    assert top == level == dots[1][1] < low
    # Halfway between 1 and 100 on a logarithmic scale lies 10.
    assert corner == pytest.approx(sum(x for x, _ in dots) / 2, abs=0.2)


def test_slices_too_thin_to_be_seen_join(compiled: Path) -> None:
    slices = [{"name": "a", "ts": each / 10, "dur": 0.1} for each in range(10_000)]
    drawn = charts.timeline("", [("card", "unit", slices), ("card", "other", slices[:1])], {"a": 3}, 1e-3)
    assert drawn.count("<rect") == 2 and drawn.count('data-layer="3"') == 2


def test_a_comparison_is_read_by_node(compiled: Path, tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "c.json"
    values = [
        {"name": "x", "nodes": ["residual", "residual_relu"], "sqnr": 12.5},
        {"name": "probabilities", "nodes": [], "sqnr": "inf"},
        {"name": "other", "nodes": [], "sqnr": "nan"},
    ]
    file.write_text(json.dumps({"result": {"values": values}}))
    assert read_comparison(file) == {"x": 12.5, "residual_relu": 12.5, "probabilities": 1e3, "other": 0.0}
    assert main(["report", str(compiled), "-o", str(tmp_path / "a.HTML"), "--compared", str(file)]) == 0
    text = (tmp_path / "a.HTML").read_text()
    assert "<h2>Quantisation by layer</h2>" in text and ">12.5</text>" in text
    unnamed, no_number = '{"name": "x"}', '{"name": "x", "nodes": [], "sqnr": "y"}'
    for content in ("[", "[]", *(f'{{"result": {{"values": [{each}]}}}}' for each in (unnamed, no_number))):
        file.write_text(content)
        message = f"{file} holds no comparison; expected JSON with result.values, each with 'name', 'nodes' and a "
        with pytest.raises(InputError, match=f"^{re.escape(message)}number 'sqnr'. `tilewright compare MODEL X.twa"):
            read_comparison(file)


def test_what_is_wrong_is_told(compiled: Path, tmp_path: Path, capsys: Capture) -> None:
    for words, message in (
        (["--threads", "1"], "--threads is for measuring. Add --measure, or leave --threads out."),
        (["--calibration", "random"], f"--calibration is for models; found {compiled}"),
        (["-o", str(tmp_path / "a.txt")], "another format; expected a name that ends in .html"),
    ):
        assert main(["report", str(compiled), "-o", str(tmp_path), *words]) != 0
        assert message in capsys.readouterr().err
    assert not [*tmp_path.iterdir()]


@pytest.mark.skipif(BROWSER is None, reason="no browser is installed")
def test_a_browser_sorts_and_shows_what_is_chosen(compiled: Path, tmp_path: Path) -> None:
    text = page(Artifact.open(compiled))
    act = """<script>
      const heads = [...document.querySelectorAll("th button")];
      heads.find(each => each.textContent == "MACs").click();
      document.querySelector('g[data-layer="1"] rect').dispatchEvent(new MouseEvent("click", {bubbles: true}));
      document.getElementById("by-t").click();
      const name = document.querySelector("tbody td:nth-child(2)");
      name.textContent = document.querySelector("p").textContent = "n".repeat(1000);
      const rows = [...document.querySelector("tbody").rows], fill = number =>
        getComputedStyle(document.querySelector(`g[data-layer="${number}"] rect`)).fill;
      document.title = JSON.stringify({
        order: rows.map(row => +row.dataset.layer), on: document.querySelectorAll(".on").length,
        shown: document.querySelector("aside dl").textContent, same: fill(0) == fill(1),
        wide: document.documentElement.scrollWidth, window: innerWidth, name: name.offsetWidth});
    </script>"""
    file = tmp_path / "page.html"
    file.write_text(text.replace("</body>", f"{act}</body>"))
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=500,900", "--dump-dom"]
    command = [str(BROWSER), *flags, f"--user-data-dir={tmp_path / 'profile'}", file.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    title = re.search("<title>(.*?)</title>", done.stdout)
    assert title is not None, done.stderr
    told = json.loads(title[1].replace("&amp;", "&"))
    layers = layers_of(Artifact.open(compiled), "device", None, None, {})
    macs = [layers[number].macs for number in told["order"]]
    assert sorted(told["order"]) == list(range(len(layers))) and macs == sorted(macs, reverse=True)
    assert layers[1].name in told["shown"] and told["on"] > 2 and not told["same"]
    # Nothing sticks out of a narrow window: what is wide scrolls by itself, and long names are cut or broken.
    assert told["wide"] <= told["window"] > told["name"]


def test_sentences_hold_no_characters_that_turn_the_text() -> None:
    assert paragraphs(["relu a\u202eb\x1b<c>\nd"]) == "<p>relu a\\u202eb\\x1b&lt;c&gt;\\nd</p>\n"
