"""How often a network names the right class: shards of pictures, classified wherever, counted here."""

import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from tilewright.errors import InputError
from tilewright.immutable import Immutable

from ...artifact.artifact import Artifact
from ...cluster.job import Job, in_shards
from ...files.input_file import is_url, listed
from ..classify.application import Application, list_files
from ..classify.classifier import Classifier, in_batches
from ..classify.pipeline import Classified, Skipped, Stamps
from ..classify.results import Accuracy, accuracy, read_labels

_NEVER = Stamps(*(0.0,) * len(Stamps._fields))


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
        options: of `Application`.
    """

    artifact: bytes
    options: Mapping[str, Any]

    @cached_property
    def _application(self) -> Application:
        return Application(Artifact.open(self.artifact), **self.options)

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
        return Classifying, (self.artifact, self.options)


def evaluate(
    artifact: bytes,
    images: str,
    labels: str,
    job: Job,
    *,
    size: int,
    engine: str | None = None,
    **options: Any,
) -> Evaluation:
    """Classify the pictures of a folder and compare with labels.

    Args:
        artifact: the content of an artifact.
        images, labels: a file or folder, and a file as `read_labels` reads it; or URLs.
        size: pictures of a shard; nothing depends on it.
        engine: as for `Application`.
        options: of `Classifier`.

    Raises:
        InputError: there are no pictures, or the network or the labels do not fit.
        TilewrightError: as `Job` says.
    """
    files = listed(images) if is_url(images) else sorted(list_files(images))
    classifier = Classifier(in_batches(Artifact.open(artifact), size), **options)
    right = read_labels(labels, classifier.classes)
    classifying = Classifying(artifact, {"engine": engine, "batch": size, **options})
    parts = job(classifying, in_shards(files, size), files)
    results = [Classified(file, np.array(best), _NEVER) for part in parts for file, best in part["classes"]]
    skipped = [Skipped(*each) for part in parts for each in part["skipped"]]
    if not results:
        raise InputError(f"none of the {len(files)} files can be classified", expected="images")
    return Evaluation(results, skipped, accuracy(results, right), classifier.notes)
