"""The main job on an example that comes with the program: compile, run, judge."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tilewright.errors import OutputError

from ...runtime.files.output_file import make_folder
from ...runtime.report.simulation import SimulatedTotal, simulate_artifact
from ...runtime.report.summary import EngineSummary, summarize
from ...runtime.report.units import show_number
from ...runtime.session import load
from ...runtime.trust.private_files import cached
from ..driver import compile_to_file
from ..options import CompileOptions
from ..progress import ProgressReport
from .digits import MODEL, Digits, load_digits

DESCRIPTIONS = {
    "device": "int8 on the simulated accelerator",
    "software": "int8 on the CPU",
    "float": "fp32 on the CPU",
}


@dataclass(frozen=True)
class EngineResult:
    """How one engine did on the held-out images.

    Attributes:
        correct: images whose digit was recognised.
        milliseconds: median time of one image on this machine's CPU; for the device, of its simulation.
    """

    correct: int
    milliseconds: float


@dataclass(frozen=True)
class DemoResult:
    """What the demo found; ``artifact`` is the path of the compiled network.

    Attributes:
        partition: what runs where in engine ``device``.
        modelled: cost of one image on the accelerator, by the cycle model.
    """

    artifact: str
    images: int
    compile_seconds: float
    machine: str
    engines: dict[str, EngineResult]
    partition: EngineSummary
    modelled: SimulatedTotal

    def to_text(self) -> str:
        lines = [
            f"Compiled a network for handwritten digits in {self.compile_seconds:.1f} s: {self.artifact}",
            f"Ran it on {self.images} images that it was not trained on:",
        ]
        for name, result in self.engines.items():
            accuracy = result.correct / self.images
            what = " to simulate" if name == "device" else ", measured on this CPU"
            lines.append(
                f"  {DESCRIPTIONS[name]:<34} {accuracy:7.2%} correct ({result.correct} of {self.images}), "
                f"{result.milliseconds:.3f} ms per image{what}"
            )
        total = self.modelled
        lines += [
            f"On the accelerator: {self.partition.on_device} of {show_number(self.partition.operators, 'op')}, "
            f"{self.partition.device_macs_share:.1%} of the multiply-accumulates.",
            f"Modelled on {self.machine}: {total.cycles:,} cycles per image, {total.seconds * 1e6:.1f} µs "
            "(modelled, not measured on silicon).",
            f"Next: tilewright inspect {self.artifact}",
        ]
        return "\n".join(lines) + "\n"


def run_demo(folder: Path | None, report: ProgressReport) -> DemoResult:
    """Compile the digits network into ``folder``, by default the user's cache, and run every engine on the images.

    Raises:
        OutputError: the folder cannot be written to, or there is none.
    """
    folder = folder or cached("demo")
    if folder is None:
        raise OutputError("there is no home folder to keep the demo in", hint="Name a folder with --output.")
    make_folder(folder)
    path = folder / "digits.twa"
    digits = load_digits()
    start = time.perf_counter()
    samples = digits.prepare(digits.calibration_images)
    artifact = compile_to_file(MODEL, path, CompileOptions(precision="int8", calibration=samples, report=report))
    seconds = time.perf_counter() - start
    summary = summarize(artifact)
    simulation = simulate_artifact(artifact)
    engines = {name: judge(path, name, digits, report) for name in summary.engines}
    return DemoResult(
        artifact=str(path),
        images=len(digits.images),
        compile_seconds=seconds,
        machine=simulation.machine,
        engines=engines,
        partition=summary.engines["device"],
        modelled=simulation.total,
    )


def judge(path: Path, engine: str, digits: Digits, report: ProgressReport) -> EngineResult:
    """Run one engine on every held-out image, one at a time."""
    images = digits.prepare(digits.images)
    times: list[float] = []
    correct = 0
    with load(path, engine=engine) as session:
        (tensor,) = session.inputs
        for index, label in enumerate(digits.labels):
            start = time.perf_counter()
            results = session.run({tensor.name: images[index : index + 1]})
            times.append(time.perf_counter() - start)
            (scores,) = results.values()
            correct += int(np.argmax(scores)) == int(label)
            report(f"run ({engine})", index + 1, len(images))
    return EngineResult(correct, float(np.median(times)) * 1e3)
