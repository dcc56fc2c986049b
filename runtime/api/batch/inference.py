"""A network on many samples or pictures: shards, computed wherever, whose outputs become files, or whose classes are
counted, here."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from tilewright.blocks import cached_property
from tilewright.errors import CalibrationError, CalibrationWarning, InputError, warn
from tilewright.immutable import Immutable

from ...artifact.artifact import Artifact
from ...cluster.job import Job, in_shards
from ...compiler import compiler_for
from ...execution.shapes import shape_named, shape_of
from ...files.input_file import is_url, listed, write
from ...pictures.inputs import Declaration, chosen
from ...report.details import details_of
from ...report.execution import check_rate, write_outputs
from ...report.table import json_text
from ...session import Session, choose_engine, load
from ..classify.application import Application, list_files
from ..classify.classifier import Classifier, in_batches
from ..classify.pipeline import Classified, Skipped, Stamps
from ..classify.results import Accuracy, accuracy, doubts, read_labels
from ..network import accelerator_engine

if TYPE_CHECKING:
    from ....compiler.calibration.sample_sets import CalibrationSet

_NEVER = Stamps(*(0.0,) * len(Stamps._fields))


class Part(TypedDict):
    """A file of outputs, the number of the first sample in it, and how many there are."""

    file: str
    first: int
    samples: int


def _opened(artifact: bytes, shape: Mapping[str, tuple[int, ...]]) -> Artifact:
    """An artifact, in the one of its shapes that is given, if one is."""
    opened = Artifact.open(artifact)
    return shape_named(opened, shape) if shape else opened


def _warn_of_shapes(opened: Artifact, taken: Artifact) -> None:
    if (shapes := len(opened.in_shapes())) > 1:
        what = f"the artifact has {shapes} shapes, and samples are taken in {shape_of(taken)}"
        warn(f"{what}; --input-shape names another", CalibrationWarning)


class Inferred(TypedDict):
    """What a shard gives.

    Attributes:
        outputs: by name; in what is noted of it the name of their file, empty where there are none.
        skipped: numbers of samples whose pictures cannot be read, and why.
    """

    outputs: Any
    skipped: list[tuple[int, str]]


class Running(Immutable):
    """Runs a network, which it loads when it is called first, on some of the samples."""

    artifact: bytes
    engine: str
    samples: CalibrationSet
    shape: Mapping[str, tuple[int, ...]]

    @cached_property
    def _session(self) -> Session:
        return load(_opened(self.artifact, self.shape), engine=self.engine)

    def __call__(self, shard: Sequence[int]) -> Inferred:
        """Outputs of the samples from one number to before another."""
        from ....compiler.calibration.sample_sets import ImageFiles, between

        found: list[dict[str, np.ndarray]] = []
        skipped: list[tuple[int, str]] = []
        parts = [(each, each + 1) for each in range(*shard)] if isinstance(self.samples, ImageFiles) else [shard]
        for part in parts:
            try:
                with _samples_are_inputs():
                    found += [self._session.run(inputs) for inputs in between(self.samples, *part)]
            except InputError as error:
                if not isinstance(self.samples, ImageFiles):
                    raise
                for place in self.samples.files_of(part[0]):
                    _check_is_there(self.samples.files[place])
                skipped.append((part[0], str(error)))
        if not found:
            return {"outputs": {}, "skipped": skipped}
        batch = self._session.inputs[0].shape[:1]
        joins = {
            spec.name: np.concatenate if batch and spec.shape[:1] == batch else np.stack
            for spec in self._session.outputs
        }
        outputs = {name: join([each[name] for each in found]) for name, join in joins.items()}
        return {"outputs": outputs, "skipped": skipped}

    def __reduce__(self) -> tuple[object, ...]:
        return Running, (self.artifact, self.engine, self.samples, self.shape)


def _check_is_there(file: str) -> None:
    if not is_url(file) and not os.path.exists(file):
        hint = "On every machine of a cluster, files must have the same paths; or name them by URLs."
        raise InputError("a file that was listed is not there", found=file, hint=hint)


@contextmanager
def _samples_are_inputs() -> Iterator[None]:
    """What is wrong with samples, which are read as for calibration, is an error about inputs here."""
    try:
        yield
    except CalibrationError as error:
        parts = {name: getattr(error, name) for name in ("expected", "found", "hint")}
        raise InputError(error.message, stage="infer", **parts) from None


def infer(
    artifact: bytes,
    source: str,
    output: str,
    job: Job,
    *,
    size: int,
    engine: str | None = None,
    preprocessing: Declaration | None = None,
    force: bool = False,
    shape: Mapping[str, tuple[int, ...]] = {},
) -> tuple[list[Part], list[Skipped]]:
    """Run a network on samples and write its outputs, a file for each shard, and what is where, as ``index.json``.

    Files are ``.npz`` of outputs by name, which go on from sample to sample along their first dimension if that is the
    batch; others have one more before it. Where a network takes several images at once, these are a sample, and the
    last ones are filled up from the first. Samples of images that cannot be read are skipped, and named.

    Args:
        artifact: the content of an artifact.
        source: samples as ``tilewright.compile`` takes them for calibration: a folder of images, or a file ``.npy``,
            ``.npz``, ``.csv`` or ``.wav``.
        output: a folder, or the URL of one.
        size: samples of a shard.
        engine: by default the one that stands for the accelerator.
        preprocessing, force: how images become inputs, as for `chosen`.
        shape: of several the one to take samples in, as for `shape_named`; by default the first.

    Returns:
        Of each file its name, and the number of its first sample of those that are not skipped and how many follow; and
        the images that are skipped.
    """
    with compiler_for("reading samples"):
        from ....compiler.calibration.dataset import open_calibration_set
        from ....compiler.calibration.sample_sets import ImageFiles, files_of, rate_of, shards_of
        from ....ir.types import DType, TensorType

    opened = _opened(artifact, shape)
    inputs = opened.manifest.inputs
    if any(each.counts for each in opened.manifest.outputs):
        what = "outputs of many samples cannot be in one array where the data decide their extents"
        raise InputError(what, found=", ".join(str(each) for each in opened.manifest.outputs if each.counts))
    _warn_of_shapes(opened, opened)
    stored = details_of(opened).images or {}
    prepared = {
        each.name: chosen(each.name, stored, preprocessing, force=force, flag="--preprocess") for each in inputs
    }
    known = {name: each for name, each in prepared.items() if each is not None}
    types = {each.name: TensorType(tuple(each.shape), DType(each.dtype)) for each in inputs}
    with _samples_are_inputs():
        samples = open_calibration_set(source, types, preprocessing=known or None)
    for each in details_of(opened).calibration:
        check_rate(source, rate_of(samples, each.input), each.input, {each.input: each.rate})
    running = Running(artifact, choose_engine(opened, engine or accelerator_engine(opened)), samples, shape)
    shards = shards_of(samples, size)

    def keep(number: int, made: Inferred) -> Inferred:
        if not made["outputs"]:
            return {**made, "outputs": ""}
        name, content = f"part-{number:06}.npz", io.BytesIO()
        write_outputs(content, made["outputs"])
        write(f"{folder}/{name}", content.getvalue())
        return {**made, "outputs": name}

    folder = output.rstrip("/") or "/"
    if not is_url(output):
        os.makedirs(output, exist_ok=True)
    made: list[Inferred] = job(running, shards, files_of(samples), keep)
    parts: list[Part] = []
    done = 0
    for each, (first, last) in zip(made, shards, strict=True):
        if left := last - first - len(each["skipped"]):
            parts.append(Part(file=each["outputs"], first=done, samples=left))
            done += left
    reasons = {number: reason for each in made for number, reason in each["skipped"]}
    if not done:
        raise InputError("no picture can be read", stage="infer", found=next(iter(reasons.values()), "none"))
    images, skipped = None, list[Skipped]()
    if isinstance(samples, ImageFiles):
        batch = types[samples.input].shape[0]
        skipped = [Skipped(f, reasons[at // batch]) for at, f in enumerate(samples.files) if at // batch in reasons]
        images = [file for at, file in enumerate(samples.files) if at // batch not in reasons]
    write(f"{folder}/index.json", json_text({"parts": parts, "images": images, "skipped": skipped}).encode())
    return parts, skipped


class Evaluation(Immutable):
    """What came of pictures, in order of their names.

    Attributes:
        rated: None where none has a label.
        notes: what was assumed, in sentences.
        doubts: what to tell of the labels.
    """

    results: list[Classified]
    skipped: list[Skipped]
    rated: Accuracy | None
    notes: tuple[str, ...]
    doubts: list[str]


class Classifying(Immutable):
    """Classifies files with a network that it loads when it is called first.
    ``artifact``: its content.
    ``shape``: as for `infer`.
    ``options``: of `Application`."""

    artifact: bytes
    shape: Mapping[str, tuple[int, ...]]
    options: Mapping[str, Any]

    @cached_property
    def _application(self) -> Application:
        return Application(_opened(self.artifact, self.shape), **self.options)

    def __call__(self, files: Sequence[str]) -> dict[str, list[Any]]:
        """The best classes of each file, and those that are no images, with the reason."""
        found = self._application.classify(files)
        for each in found.skipped:
            _check_is_there(each.file)
        classes = [(each.file, each.prediction.tolist()) for each in found.results]
        return {"classes": classes, "skipped": [*found.skipped]}

    def __reduce__(self) -> tuple[object, ...]:
        return Classifying, (self.artifact, self.shape, self.options)


def evaluate(
    artifact: bytes,
    images: str,
    labels: str,
    job: Job,
    *,
    size: int,
    engine: str | None = None,
    shape: Mapping[str, tuple[int, ...]] = {},
    **options: Any,
) -> Evaluation:
    """Classify the pictures of a folder and compare with labels.

    Args:
        artifact: the content of an artifact.
        images, labels: a file or folder, and a file as `read_labels` reads it; or URLs.
        size: pictures of a shard; nothing depends on it.
        engine: as for `Application`.
        shape: as for `infer`; by default that which suits the size of shards.
        options: of `Classifier`.

    Raises:
        InputError: there are no pictures, or the network or the labels do not fit.
    """
    files = listed(images) if is_url(images) else sorted(list_files(images))
    opened = _opened(artifact, shape)
    taken = in_batches(opened, size)
    if len({each.shape[1:] for view in opened.in_shapes() for each in view.manifest.inputs[:1]}) > 1:
        _warn_of_shapes(opened, taken)
    classifier = Classifier(taken, **options)
    right = read_labels(labels, classifier.classes)
    classifying = Classifying(artifact, shape, {"engine": engine, "batch": size, **options})
    parts = job(classifying, in_shards(files, size), files)
    results = [Classified(file, np.array(best), _NEVER) for part in parts for file, best in part["classes"]]
    skipped = [Skipped(*each) for part in parts for each in part["skipped"]]
    if not results:
        raise InputError(f"none of the {len(files)} files can be classified", expected="images")
    doubtful = doubts(results, right, classifier.classes)
    return Evaluation(results, skipped, accuracy(results, right), classifier.notes, doubtful)
