"""The page of the zoo: what it says of rows, its picture, and that README says the same."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

from zoo import RANDOM
from zoo_document import DOCS, ROWS, document, headline, picture, ratio

ROOT = Path(__file__).parents[2]


def row(ours: float, peer: float, apart: tuple[str, ...] = ()) -> dict[str, Any]:
    machine = {"seconds": 1e-3, "joules": 2e-3, "share": 0.5, "host": ["softmax"], "host_ops": 1, "ops": 9}
    return {
        "made": "2026-01-02",
        "modelled": "2026-01-03",
        "processor": "a processor",
        "versions": {"tilewright": "0", "onnxruntime": "1"},
        "rounds": 9,
        "macs": 1_500_000,
        "machines": {name: {**machine, "why": {"the device has no softmax": 1}} for name in ("m4096", "s256")},
        "cpu": {"int8": {"times": {"tilewright": ours, "onnxruntime": peer, "openvino": 9.0}, "apart": [*apart]}},
    }


TWO = {"one": row(1.0, 4.0), "two": row(2.0, 2.0, ("onnxruntime",))}


def test_the_faster_peer_counts_whatever_it_computes() -> None:
    assert [ratio(each) for each in TWO.values()] == [{"int8": 4.0}, {"int8": 1.0}]
    assert "**2.00** times as long in int8 (2 networks, least 1.00)" in headline(TWO)
    assert "fp32" not in headline(TWO)


def test_the_page_has_a_row_of_each_network_in_each_table() -> None:
    text = document(TWO, ("two",))
    assert "| one | int8 | 1.00 | 4.00 | 9.00 | 4.00 |" in text
    assert "| two | int8 | 2.00 | 2.00 † | 9.00 | 1.00 |" in text
    assert "| one | 1.5 M | 1,000 | 2.00 | 1,000 | 2.00 | 50.0% |" in text
    assert "- **two**: 1 of 9 ops: softmax. Why: the device has no softmax (1)." in text
    assert "on 2026-01-02 and 2026-01-03, a processor" in text.replace("\n", " ")
    assert "with tilewright 0, onnxruntime 1. The" in text.replace("\n", " ")


def test_a_network_that_the_host_computes_has_a_row_without_times() -> None:
    three = row(1.0, 4.0)
    del three["machines"]["s256"]["seconds"], three["machines"]["s256"]["joules"]
    text = document({**TWO, "three": three}, ())
    assert "| three | 1.5 M | 1,000 | 2.00 |  |  | 50.0% |" in text


def test_accuracies_are_those_of_the_page_of_networks() -> None:
    found = re.findall(r"^\| (resnet8_\w+) .*$", document(TWO, ()), re.MULTILINE)
    assert found == ["resnet8_float", "resnet8_int8_qdq"]


def test_the_picture_is_svg_with_a_bar_for_each_ratio() -> None:
    root = ET.fromstring(picture(TWO))
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert [each.get("class") for each in root.iter("{http://www.w3.org/2000/svg}rect")] == ["good", "good"]


def test_the_page_and_the_picture_are_those_of_the_rows_that_are_kept() -> None:
    rows = json.loads(ROWS.read_text(encoding="utf-8"))
    remake = "`python benchmarks/zoo.py --networks` makes it anew"
    assert (DOCS / "zoo.md").read_text(encoding="utf-8") == document(rows, RANDOM), remake
    drawn = (DOCS / "zoo.svg").read_text(encoding="utf-8")
    assert drawn == picture(rows), remake
    labels = re.findall(r'text-anchor="end">([^<]*)<', drawn)
    assert len({*labels}) == len(labels) > 0


def test_the_readme_says_what_the_page_says() -> None:
    page = (DOCS / "zoo.md").read_text(encoding="utf-8")
    (said,) = re.findall(r"^On one thread.*?\n\n", page, re.DOTALL | re.MULTILINE)
    assert said in (ROOT / "README.md").read_text(encoding="utf-8")
    assert (DOCS / "zoo.svg").stat().st_size < 20_000
