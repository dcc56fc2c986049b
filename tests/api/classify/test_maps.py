"""Images whose network answers for each pixel."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest
from json_results import result_of
from network_files import graph_model
from onnx import TensorProto, helper
from PIL import Image

import tilewright
from tilewright.__main__ import main
from tilewright.errors import CalibrationWarning, InputError
from tilewright.runtime.api.batch.inference import Inferred, Running, evaluate, infer
from tilewright.runtime.cluster.job import Job


def test_of_a_map_an_image_has_the_classes_of_most_pixels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nodes = [helper.make_node("Neg", ["x"], ["boxes"]), helper.make_node("Softmax", ["x"], ["y"], axis=1)]
    model = graph_model(nodes, [("x", TensorProto.FLOAT, [1, 3, "h", 4])], ["boxes", "y"])
    sizes = [{"h": (4,)}, {"h": (8,)}]
    tilewright.compile(model, output=tmp_path / "n.twa", preprocessing="resize=stretch,units=0-1", input_shapes=sizes)
    picture = Image.new("RGB", (4, 4), (0, 0, 255))
    picture.putpixel((1, 2), (255, 0, 0))
    picture.save(tmp_path / "sky.png")
    capsys.readouterr()
    assert main(["run", str(tmp_path / "n.twa"), str(tmp_path / "sky.png"), "--top", "3"]) == 0
    assert capsys.readouterr().out == "y, share of the pixels:\n      0.9375  [2]\n      0.0625  [0]\n"
    assert main(["run", str(tmp_path / "n.twa"), str(tmp_path / "sky.png"), "-o", str(tmp_path / "y.png")]) == 0
    # Of the outputs the first: blue of 1, taken away from 0, in one pixel red.
    assert "y.png shows output 'boxes', taken to be in units -1-1\n" in capsys.readouterr().err
    assert Image.open(tmp_path / "y.png").getpixel((1, 2)) == (0, 128, 128)
    for given in (tmp_path / "sky.png", f"x={tmp_path / 'sky.png'}"):
        assert main(["run", str(tmp_path / "n.twa"), str(given), "-o", str(tmp_path / "sky.png")]) == 2
        assert "the output would replace an input" in capsys.readouterr().err
    for words in ([], ["--input-shape", "h=8"]):
        command = ["classify", str(tmp_path / "n.twa"), "--img_path", str(tmp_path / "sky.png"), "--json"]
        assert main([*command, *words]) == 0
        shown = capsys.readouterr()
        assert ("note: of 2 shapes, this is x [1, 3, 4, 4]; --input-shape" in shown.err) == (not words)
        assert result_of(shown.out)["results"][0]["prediction"] == [2, 0, 1]
    content, done = (tmp_path / "n.twa").read_bytes(), cast("Job", lambda *shards: [{"outputs": "part", "skipped": []}])
    with pytest.warns(CalibrationWarning, match=r"has 2 shapes, and samples are taken in x \[1, 3, 4, 4\]"):
        infer(content, str(tmp_path / "sky.png"), str(tmp_path / "out"), done, size=1)
    with pytest.warns(CalibrationWarning, match=r"has 2 shapes"), pytest.raises(InputError):
        evaluate(content, str(tmp_path / "sky.png"), str(tmp_path / "none.txt"), done, size=1)
    found: list[Inferred] = []

    def run(running: Running, shards: list[tuple[int, int]], *_: object) -> list[Inferred]:
        found.append(running(shards[0]))
        return [{"outputs": "part", "skipped": []}]

    job = cast("Job", run)
    infer(content, str(tmp_path / "sky.png"), str(tmp_path / "out"), job, size=1, shape={"h": (8,)})
    outputs = found[0]["outputs"]
    assert not isinstance(outputs, str)
    assert outputs["y"].shape == (1, 3, 8, 4)
