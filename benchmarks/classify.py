"""Images a second: `tilewright classify` beside a plain script on onnxruntime. Remakes a section of a document.

    TILEWRIGHT_DATA=FOLDER python benchmarks/classify.py [--images 500] [--rounds 5] [--write docs/performance.md]

Both classify the same photographs with the same integers of mobilenet_v2, from the files to the five best classes. They
take turns in one process, so that whatever else the machine does concerns both. The script is what one writes first: a
pool of threads maps a function that decodes with Pillow and normalises with NumPy over the names of the files, and the
main thread runs the session on each result.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import PIL
from data_folder import data_folder
from PIL import Image
from report import replace_section

import tilewright
from tilewright.compiler.driver import compile_to_memory
from tilewright.compiler.options import CompileOptions
from tilewright.runtime.api.classify.application import Application
from tilewright.runtime.api.classify.pipeline import Stamps
from tilewright.runtime.api.classify.results import SPANS, accuracy, read_labels, spans
from tilewright.runtime.pictures.image_file import read_image
from tilewright.runtime.report.table import Column, Table

MODEL = "mobilenet_v2_1.0_224_qdq"
PREPROCESSING = "mean=127.5,scale=1/127.5"
SIZE, FRACTION = 224, 0.875


@dataclass
class Turn:
    """One round of one program: images a second by the clock, seconds of processor time an image, and accuracy."""

    rate: float
    processor: float
    top1: float | None = None
    top5: float | None = None


def plain_load(file: str) -> np.ndarray:
    """What `PREPROCESSING` says, as a script has it."""
    image = Image.open(file).convert("RGB")
    ratio = SIZE / FRACTION / min(image.size)
    width, height = round(image.width * ratio), round(image.height * ratio)
    left, top = (width - SIZE) // 2, (height - SIZE) // 2
    image = image.resize((width, height), Image.Resampling.BILINEAR).crop((left, top, left + SIZE, top + SIZE))
    array = (np.asarray(image, np.float32) - 127.5) * np.float32(1 / 127.5)
    return np.ascontiguousarray(array.transpose(2, 0, 1)[None])


def plain_script(
    session: onnxruntime.InferenceSession, files: Sequence[str], labels: dict[str, int], threads: int
) -> Turn:
    """The plain script; output 0 is the background."""
    name = session.get_inputs()[0].name
    start, used = time.perf_counter(), time.process_time()
    found = []
    with ThreadPoolExecutor(threads) as pool:
        for array in pool.map(plain_load, files):
            (scores,) = session.run(None, {name: array})
            found.append(np.argsort(-np.asarray(scores)[0, 1:], kind="stable")[:5])
    seconds, used = time.perf_counter() - start, time.process_time() - used
    known = [labels[os.path.basename(file)] for file in files]
    top1 = sum(label == best[0] for label, best in zip(known, found, strict=True)) / len(files)
    top5 = sum(label in best for label, best in zip(known, found, strict=True)) / len(files)
    return Turn(len(files) / seconds, used / len(files), top1, top5)


def ours(
    application: Application, files: Sequence[str], labels: dict[str, int], threads: int, stamps: list[Stamps]
) -> Turn:
    """`tilewright classify`, without the printing."""
    used = time.process_time()
    result = application.classify(files, threads=threads)
    used = time.process_time() - used
    rated = accuracy(result.results, labels)
    assert rated is not None and rated.labelled == len(files)
    stamps += [each.stamps for each in result.results]
    return Turn(len(files) / result.seconds, used / len(files), rated.top1, rated.top5)


def decoding_alone(application: Application, files: Sequence[str], threads: int) -> Turn:
    """What decoding leaves to be gained: two threads are twice as fast as one as far as Python's lock is let go."""
    start, used = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(application.classifier.load, files):
            pass
    return Turn(len(files) / (time.perf_counter() - start), (time.process_time() - used) / len(files))


def onnxruntime_session(model: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


RATES = (
    Column("threads", "decode threads", right=True),
    Column("program", "program"),
    Column("rate", "images/s", show=lambda rate: f"{rate:.0f}", right=True),
    Column("least", "least", show=lambda rate: f"{rate:.0f}", right=True),
    Column("most", "most", show=lambda rate: f"{rate:.0f}", right=True),
    Column("processor", "processor time an image (ms)", show=lambda ms: f"{ms:.2f}", right=True),
    Column("top1", "top-1", show=lambda share: f"{share:.3f}", right=True),
    Column("top5", "top-5", show=lambda share: f"{share:.3f}", right=True),
)
STAGES = (
    Column("stage", "stage"),
    Column("threads1", "1 decode thread (ms)", show=lambda ms: f"{ms:.3f}", right=True),
    Column("threads2", "2 decode threads (ms)", show=lambda ms: f"{ms:.3f}", right=True),
)


def decoding(application: Application, files: Sequence[str]) -> dict[str, float]:
    """Milliseconds of processor time that a decoding thread takes for an image: reading, and the rest."""
    start = time.thread_time()
    images = [read_image(file, "RGB") for file in files]
    read = time.thread_time() - start
    classifier = application.classifier
    start = time.thread_time()
    for image in images:
        classifier.preprocessing.apply(image, classifier.shape, np.dtype(np.float32))
    rest = time.thread_time() - start
    return {"decode": read / len(files) * 1e3, "resize, crop, normalise": rest / len(files) * 1e3}


def document(rates: Table, stages: Table, load: str, images: int, rounds: int) -> str:
    """The section of `docs/performance.md`."""
    versions = f"Tilewright {tilewright.__version__}, onnxruntime {onnxruntime.__version__}, Pillow {PIL.__version__}"
    machine = f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} processors"
    return f"""## A folder of images

Made by `python benchmarks/classify.py --write docs/performance.md` ({versions};
{machine}; {load}).

`tilewright classify` with the engine `software` beside a plain script on onnxruntime: a thread pool that decodes with
Pillow, and a session that runs the same quantised network, with the threads that it takes by default and with one.
{images} photographs, {MODEL}, from the files to the five best classes. The programs take turns, {rounds} rounds;
*images/s* is the median, *least* and *most* the extremes. *Decoding alone* is what `tilewright classify` does of it,
without the network: Pillow lets go of Python's lock while it decodes and resizes, so two threads decode faster.
Processor time is that of all threads, and hardly depends on what else the machine does.

{rates.markdown()}
### Time of each stage

Medians for an image in `tilewright classify`, batches of one image. The first two are processor time of a decoding
thread; latency and its parts are by the clock while everything runs at once, so that waiting for a processor counts.

{stages.markdown()}"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=500, help="how many photographs")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each program")
    parser.add_argument("--write", type=Path, help="the document whose section to replace")
    options = parser.parse_args()
    data = data_folder()
    folder, model = data / "images" / "imagenet500", data / "models" / f"{MODEL}.onnx"
    files = sorted(map(str, folder.iterdir()))[: options.images]
    labels = read_labels(data / "images" / "imagenet500_labels.txt", 1000)
    rates, medians = Table(RATES), {}
    before = os.getloadavg()[0]
    sessions = {
        "onnxruntime, its threads": onnxruntime_session(model, 0),
        "onnxruntime, 1 thread": onnxruntime_session(model, 1),
    }
    with Application(compile_to_memory(model, CompileOptions()), preprocessing=PREPROCESSING) as application:
        for threads in (1, 2):
            stamps: list[Stamps] = []
            programs: dict[str, Callable[[], Turn]] = {
                "tilewright classify": lambda n=threads, s=stamps: ours(application, files, labels, n, s),
                **{
                    name: lambda n=threads, s=session: plain_script(s, files, labels, n)
                    for name, session in sessions.items()
                },
                "decoding alone": lambda n=threads: decoding_alone(application, files, n),
            }
            turns: dict[str, list[Turn]] = {name: [] for name in programs}
            for _ in range(options.rounds):
                for name, program in programs.items():
                    turns[name].append(program())
            for name, found in turns.items():
                each = [turn.rate for turn in found]
                rates.add(
                    threads=threads,
                    program=name,
                    rate=float(np.median(each)),
                    least=min(each),
                    most=max(each),
                    processor=float(np.median([turn.processor for turn in found])) * 1e3,
                    top1=found[0].top1,
                    top5=found[0].top5,
                )
            times = np.median([spans(each) for each in stamps], axis=0) * 1e3
            medians[threads] = dict(zip(SPANS, times.tolist(), strict=True))
        alone = decoding(application, files)
    stages = Table(STAGES)
    for stage, milliseconds in alone.items():
        stages.add(stage=stage, threads1=milliseconds, threads2=milliseconds)
    for stage in SPANS:
        stages.add(stage=stage, threads1=medians[1][stage], threads2=medians[2][stage])
    # What runs here adds to it: two threads that are always ready are a load of 2.
    load = f"load of the machine {before:.1f} before and {os.getloadavg()[0]:.1f} after"
    print(rates.text(), stages.text(), load, sep="\n")
    if options.write is not None:
        replace_section(options.write, "classify", document(rates, stages, load, len(files), options.rounds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
