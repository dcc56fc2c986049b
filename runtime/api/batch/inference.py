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
from ..classify.results import Accuracy, accuracy, read_labels
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


class Running(Immutable):
    """Runs a network, which it loads when it is called first, on some of the samples."""

    artifact: bytes
    engine: str
    samples: CalibrationSet
    shape: Mapping[str, tuple[int, ...]]

    @cached_property
    def _session(self) -> Session:
        return load(_opened(self.artifact, self.shape), engine=self.engine)

    def __call__(self, shard: Sequence[int]) -> dict[str, np.ndarray]:
        """Outputs by name of the samples from one number to before another."""
        from ....compiler.calibration.sample_sets import between

        with _samples_are_inputs():
            found = [self._session.run(inputs) for inputs in between(self.samples, *shard)]
        batch = self._session.inputs[0].shape[:1]
        joins = {
            spec.name: np.concatenate if batch and spec.shape[:1] == batch else np.stack
            for spec in self._session.outputs
        }
        return {name: join([outputs[name] for outputs in found]) for name, join in joins.items()}

    def __reduce__(self) -> tuple[object, ...]:
        return Running, (self.artifact, self.engine, self.samples, self.shape)


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
) -> list[Part]:
    """Run a network on samples and write its outputs, a file for each shard, and what is where, as ``index.json``.

    Files are ``.npz`` of outputs by name, which go on from sample to sample along their first dimension if that is the
    batch; others have one more before it. Where a network takes several images at once, these are a sample, and the
    last ones are filled up from the first.

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
        Of each file its name, and the number of its first sample and how many follow.

    Raises:
        TilewrightError: the artifact or the samples are wrong, or as `Job` says.
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

    def keep(number: int, outputs: dict[str, np.ndarray]) -> str:
        name, content = f"part-{number:06}.npz", io.BytesIO()
        write_outputs(content, outputs)
        write(f"{folder}/{name}", content.getvalue())
        return name

    folder = output.rstrip("/") or "/"
    if not is_url(output):
        os.makedirs(output, exist_ok=True)
    names = job(running, shards, files_of(samples), keep)
    parts = [
        Part(file=name, first=first, samples=last - first) for name, (first, last) in zip(names, shards, strict=True)
    ]
    images = samples.files if isinstance(samples, ImageFiles) else None
    write(f"{folder}/index.json", json_text({"parts": parts, "images": images}).encode())
    return parts


class Evaluation(Immutable):
    """What came of pictures, in order of their names.

    Attributes:
        rated: None where none has a label.
        notes: what was assumed, in sentences.
    """

    results: list[Classified]
    skipped: list[Skipped]
    rated: Accuracy | None
    notes: tuple[str, ...]


class Classifying(Immutable):
    """Classifies files with a network that it loads when it is called first.

    Attributes:
        artifact: its content.
        shape: as for `infer`.
        options: of `Application`.
    """

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
            if not is_url(each.file) and not os.path.exists(each.file):
                hint = "On every machine of a cluster, files must have the same paths; or name them by URLs."
                raise InputError("a file that was listed is not there", found=each.file, hint=hint)
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
        TilewrightError: as `Job` says.
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
    return Evaluation(results, skipped, accuracy(results, right), classifier.notes)
