"""mobilenet_v2 on photographs: each engine's own session gives the same classes, and its own weights change nothing."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from json_results import result_of

import tilewright
from tilewright.__main__ import main
from tilewright.compiler.weights import last_layer
from tilewright.runtime.artifact.artifact import Artifact
from tilewright.runtime.pictures.preprocessing import Preprocessing

PHOTOS = 10


@pytest.fixture(scope="module")
def photos(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for file in sorted((data_folder / "images" / "imagenet500").iterdir())[:PHOTOS]:
        os.symlink(file, folder / file.name)
    return folder


def classified(artifact: Path, photos: Path, *words: str, capsys: pytest.CaptureFixture[str]) -> dict[str, list[int]]:
    words = ("--xclbin", str(artifact), "--img_path", str(photos), "--preprocess", "mean=127.5", "--json", *words)
    assert main(["classify", *words]) == 0
    results = result_of(capsys.readouterr().out)["results"]
    return {os.path.basename(each["file"]): each["prediction"] for each in results}


def test_it_is_what_a_session_says(
    mobilenet: Path, photos: Path, data_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = {}
    with tilewright.load(mobilenet, engine="software") as session:
        (spec,), (output,) = session.inputs, session.outputs
        for file in photos.iterdir():
            image = Preprocessing(mean=(127.5,)).load(file, spec.shape, spec.numpy)
            scores = session.run({spec.name: image})[output.name][0, 1:]
            expected[file.name] = np.argsort(-scores, kind="stable")[:5].tolist()
    labels = data_folder / "images" / "imagenet500_labels.txt"
    known = {name: int(label) for name, label in (line.rsplit() for line in labels.read_text().splitlines())}
    assert sum(known[name] == best[0] for name, best in expected.items()) >= 0.8 * PHOTOS
    for options in ((), ("--max_bs", "16", "--preprocess_workers", "2")):
        assert classified(mobilenet, photos, *options, capsys=capsys) == expected
    weights = last_layer(Artifact.open(mobilenet), "software").weights
    assert weights.dtype == np.uint8
    (tmp_path / "fc.csv").write_text(",".join(map(str, weights.reshape(-1).tolist())) + ",")
    assert classified(mobilenet, photos, "--fcweights", str(tmp_path / "fc.csv"), capsys=capsys) == expected
    (tmp_path / "fc.csv").write_text(",".join(map(str, np.roll(weights, 1, 0).reshape(-1).tolist())))
    moved = classified(mobilenet, photos, "--fcweights", str(tmp_path / "fc.csv"), capsys=capsys)
    found = sum((moved[name][0] - best[0]) % 1000 == 1 for name, best in expected.items())
    assert found >= 0.8 * PHOTOS
