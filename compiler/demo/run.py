"""The main job on an example that comes with the program: compile, run, judge."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

import tilewright

from ..driver import CompileOptions, compile_to_file
from .digits import MODEL, Digits, load_digits

Report = Callable[[str, int, int], None]


@dataclass(frozen=True)
class EngineResult:
    """How one engine did on the held-out images.

    Attributes:
        correct: images whose digit was recognised.
        milliseconds: median time of one image on this machine's CPU.
    """

    correct: int
    milliseconds: float


@dataclass(frozen=True)
class DemoResult:
    """What the demo found; ``artifact`` is the path of the compiled network."""

    artifact: str
    images: int
    compile_seconds: float
    engines: dict[str, EngineResult]

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2) + "\n"

    def to_text(self) -> str:
        lines = [
            f"Compiled a network for handwritten digits in {self.compile_seconds:.1f} s: {self.artifact}",
            f"Ran it on {self.images} images that it was not trained on:",
        ]
        for name, result in self.engines.items():
            accuracy = result.correct / self.images
            lines.append(
                f"  {name:<9} {accuracy:7.2%} right ({result.correct} of {self.images}), "
                f"{result.milliseconds:.3f} ms per image on this CPU"
            )
        lines.append(f"Next: tilewright inspect {self.artifact}")
        return "\n".join(lines) + "\n"


def default_folder() -> Path:
    """Where the demo keeps its artifact: the user's cache folder."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "tilewright" / "demo"


def run_demo(folder: Path | None, report: Report) -> DemoResult:
    """Compile the digits network into ``folder`` and run it on the held-out images.

    Raises:
        ArtifactError: the folder cannot be written to.
    """
    folder = folder or default_folder()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "digits.twa"
    digits = load_digits()
    start = time.perf_counter()
    artifact = compile_to_file(MODEL, path, CompileOptions(report=report))
    seconds = time.perf_counter() - start
    engines = {name: judge(path, name, digits, report) for name in artifact.manifest.engines}
    return DemoResult(str(path), len(digits.images), seconds, engines)


def judge(path: Path, engine: str, digits: Digits, report: Report) -> EngineResult:
    """Run one engine on every held-out image, one at a time."""
    images = digits.prepare(digits.images)
    times: list[float] = []
    correct = 0
    with tilewright.load(path, engine=engine) as session:
        (tensor,) = session.inputs
        for index, label in enumerate(digits.labels):
            start = time.perf_counter()
            results = session.run({tensor.name: images[index : index + 1]})
            times.append(time.perf_counter() - start)
            (scores,) = results.values()
            correct += int(np.argmax(scores)) == int(label)
            report(f"run ({engine})", index + 1, len(images))
    return EngineResult(correct, float(np.median(times)) * 1e3)
