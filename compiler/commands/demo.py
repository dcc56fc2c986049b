"""Compile and run a network for handwritten digits.

It comes with Tilewright. Prints its accuracy, and the time of an image, on each engine.

Examples:
  tilewright demo
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tilewright.errors import OutputError
from tilewright.immutable import Immutable

from ...runtime.commands.console import progress_bar
from ...runtime.commands.parser import add_output
from ..options import CompileOptions

if TYPE_CHECKING:
    from ...runtime.report.simulation import SimulatedTotal
    from ...runtime.report.summary import EngineSummary
    from ..demo import Digits
    from ..progress import ProgressReport

DESCRIPTIONS = {
    "device": "int8 on the simulated accelerator",
    "software": "int8 on the CPU",
    "float": "fp32 on the CPU",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_output(parser, "FOLDER", "Where to put the artifact. Default: the user's cache folder.")


def run(arguments: argparse.Namespace) -> str | DemoResult:
    with progress_bar(quiet=arguments.quiet) as report:
        result = run_demo(arguments.output, report)
    return result if arguments.json else result.to_text()


class EngineResult(Immutable):
    """How one engine did on the held-out images.

    Attributes:
        correct: images whose digit was recognised.
        milliseconds: median time of one image on this machine's CPU; for the device, of its simulation.
    """

    correct: int
    milliseconds: float


class DemoResult(Immutable):
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
        from ...runtime.report.table import show_seconds

        lines = [
            f"Compiled a network for handwritten digits in {self.compile_seconds:.1f} s: {self.artifact}",
            f"Ran it on {self.images} images that it was not trained on:",
        ]
        for name, result in self.engines.items():
            accuracy = result.correct / self.images
            what = " to simulate" if name == "device" else ", measured on this CPU"
            lines.append(
                f"  {DESCRIPTIONS[name]:<34} {accuracy:7.2%} correct ({result.correct} of {self.images}), "
                f"{show_seconds(result.milliseconds / 1e3)} per image{what}"
            )
        total = self.modelled
        lines += [
            f"On the accelerator: {self.partition.on_device} of {self.partition.operators} ops, "
            f"{self.partition.device_macs_share:.1%} of the multiply-accumulates.",
            f"Modelled on {self.machine}: {total.cycles:,} cycles per image, {show_seconds(total.seconds)} "
            "(modelled, not measured on silicon).",
            f"Next: tilewright inspect {self.artifact}",
        ]
        return "\n".join(lines) + "\n"


def run_demo(folder: Path | None, report: ProgressReport) -> DemoResult:
    """Compile the digits network into ``folder``, by default the user's cache, and run every engine on the images.
    Raises OutputError: the folder cannot be written to, or there is none."""
    from ...runtime.files.output_file import make_folder
    from ...runtime.report.simulation import simulate_artifact
    from ...runtime.report.summary import summarize
    from ...runtime.trust.private_files import cached
    from ..demo import MODEL, load_digits
    from ..driver import compile_to_file

    place = folder or cached("demo")
    if place is None:
        raise OutputError("there is no home folder to keep the demo in", hint="Name a folder with --output.")
    make_folder(place)
    path = Path(place, "digits.twa")
    digits = load_digits()
    start = time.perf_counter()
    samples = digits.prepare(digits.calibration_images)
    options = CompileOptions(precision="int8", engines=tuple(DESCRIPTIONS), calibration=samples, report=report)
    artifact = compile_to_file(MODEL, path, options)
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
    import numpy as np

    from ...runtime.session import load

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
