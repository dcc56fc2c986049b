"""What the command prints of an artifact whose manifest a stranger wrote: details of any kind, names of any text."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from json_results import printed

import tilewright
from tilewright.__main__ import main
from tilewright.compiler.demo import MODEL
from tilewright.runtime.artifact.artifact import Artifact, write_artifact
from tilewright.runtime.artifact.container import Section
from tilewright.runtime.artifact.manifest import Manifest

Capture = pytest.CaptureFixture[str]

COMMANDS = (["inspect"], ["inspect", "--json"], ["inspect", "--engine", "float"], ["simulate"], ["simulate", "--json"])


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """The digits network in int8."""
    path = tmp_path_factory.mktemp("int8") / "digits.twa"
    return tilewright.compile(MODEL, output=path, engines="device,software,float", calibration="random", machine="s256")


def forge(path: Path, original: Artifact, manifest: Manifest) -> str:
    """An artifact like another one, with another manifest."""
    names = [name for name in original.sections if name != "manifest"]
    sections = [Section(name, original.sections[name].kind, original.copy(name)) for name in names]
    write_artifact(path, manifest, sections)
    return str(path)


def placed(artifact: Artifact) -> list[dict[str, Any]]:
    """A copy of the record of which op runs where."""
    return json.loads(artifact.manifest.to_json())["details"]["placement"]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
@pytest.mark.parametrize(
    ("odd", "flaw"),
    [
        ({"placement": 3}, "field 'placement' is not a list; found 3"),
        ({"placement": {}}, "field 'placement' is not a list; found {}"),
        ({"placement": [[]]}, "field 'placement[0]' is not an object; found []"),
        ({"placement": [{"op": "conv"}]}, "field 'placement[0].found' is missing. Also missing: "),
        ({"warnings": "none"}, "field 'warnings' is not a list; found 'none'"),
        ({"warnings": [[[]]]}, "field 'warnings[0]' is not a text; found [[]]"),
        ({"machine": [1.5]}, "field 'machine' is not a text; found [1.5]"),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_odd_details_are_refused(
    odd: dict[str, object], flaw: str, words: list[str], artifact: Artifact, tmp_path: Path, capsys: Capture
) -> None:
    path = forge(tmp_path / "odd.twa", artifact, replace(artifact.manifest, details=odd))
    assert main([words[0], path, *words[1:]]) == 1
    shown = capsys.readouterr()
    assert not shown.out or printed(shown.out)["error"]["text"].startswith(f"details of {path}: {flaw}")
    assert bool(shown.out) == ("--json" in words)
    assert shown.err.startswith(f"error: details of {path}: {flaw}")
    assert shown.err.count("\n") == 1


@pytest.mark.parametrize(
    ("field", "value", "flaw"),
    [
        ("macs", "many", "is not a whole number; found 'many'"),
        ("macs", True, "is not a whole number; found True"),
        ("macs", -1, "is out of range; expected 0 to 9223372036854775807, found -1"),
        ("macs", 2**63, "is out of range; expected 0 to 9223372036854775807, found 9223372036854775808"),
        ("on", "gpu", "is unknown; expected one of device, cpu, found 'gpu'"),
        ("routine", 1, "is neither true nor false; found 1"),
        ("name", None, "is not a text; found None"),
        ("nodes", [0], "is not a text; found 0"),
    ],
)
def test_odd_records_of_placement_are_refused(
    field: str, value: object, flaw: str, artifact: Artifact, tmp_path: Path, capsys: Capture
) -> None:
    records = placed(artifact)
    records[1][field] = value
    path = forge(tmp_path / "odd.twa", artifact, replace(artifact.manifest, details={"placement": records}))
    where = f"placement[1].{field}{'[0]' if isinstance(value, list) else ''}"
    for command in ("inspect", "simulate"):
        assert main([command, path]) == 1
        assert capsys.readouterr().err == f"error: details of {path}: field {where!r} {flaw}\n"


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("details", [{}, {"placement": [], "author": {"name": [None]}}], ids=json.dumps)
def test_details_are_nothing_that_an_artifact_needs(
    details: dict[str, object], words: list[str], artifact: Artifact, tmp_path: Path, capsys: Capture
) -> None:
    path = forge(tmp_path / "plain.twa", artifact, replace(artifact.manifest, details=details))
    assert main([words[0], path, *words[1:]]) == 0
    assert capsys.readouterr().err == ""


EVIL = "a\x1b[2J\r\u202e\nerror: b"


def test_names_play_no_tricks(artifact: Artifact, tmp_path: Path, capsys: Capture) -> None:
    manifest = artifact.manifest
    records = placed(artifact)
    for record in records:
        record.update(name=EVIL, op=EVIL, why=EVIL, rule=EVIL)
    program = manifest.cpu_programs["float"]
    path = forge(
        tmp_path / "evil.twa",
        artifact,
        replace(
            manifest,
            model=replace(manifest.model, name=EVIL),
            precision=EVIL,
            compiler_version=EVIL,
            details={"machine": EVIL, "placement": records},
            cpu_programs={
                **manifest.cpu_programs,
                "float": replace(program, steps=tuple(replace(s, name=EVIL, op=EVIL) for s in program.steps)),
            },
        ),
    )
    for words in (*COMMANDS, ["run", "--engine", "float", "--random", "1", "--profile"]):
        assert main([words[0], path, *words[1:]]) == 0
        shown = capsys.readouterr().out
        assert all(map(str.isprintable, shown.split("\n"))), words
        assert "\nerror" not in shown
        if "--json" in words:
            printed(shown)


def test_thousands_of_long_names(artifact: Artifact, tmp_path: Path, capsys: Capture) -> None:
    record, *_ = placed(artifact)
    long = {**record, "name": "x" * 100_000, "why": "y" * 100_000}
    details = {"placement": [long, *({**record, "name": f"op{index}"} for index in range(5000))]}
    path = forge(tmp_path / "long.twa", artifact, replace(artifact.manifest, details=details))
    assert main(["inspect", path]) == 0
    shown = capsys.readouterr().out
    assert f"  {'x' * 100_000}  quantize  cpu" in shown
    assert len(shown) < 5_000_000
    assert main(["simulate", path]) == 0
