"""The files that ``Compile`` writes and ``Init`` reads: artifacts that also say which batch they were compiled for."""

import os
from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated

from tilewright.errors import ArtifactError
from tilewright.immutable import Immutable

from ....artifact.artifact import Artifact, write_with
from ....artifact.json_dataclasses import Bounds, Source, read

_DETAIL = "accelerator"
_SOURCE = Source("what the artifact says of its batch", ArtifactError, "Init")


class Batch(Immutable):
    """How many images are computed at once, and where.

    Attributes:
        cards: cards that the batch is divided among.
        clusters: clusters of each card.
        images: images that each cluster takes at once.
        together: 1 if the clusters of a card work on one image together, 0 if each has its own.
    """

    cards: Annotated[int, Bounds(1, 1 << 16)] = 1
    clusters: Annotated[int, Bounds(1, 1 << 16)] = 1
    images: Annotated[int, Bounds(1, 1 << 20)] = 1
    together: Annotated[int, Bounds(0, 1)] = 0

    @property
    def size(self) -> int:
        """Images of the whole batch."""
        return self.cards * (1 if self.together else self.clusters) * self.images


def save(path: str | os.PathLike[str], artifact: Artifact, batch: Batch) -> None:
    """Write an artifact that `load` takes, and ``tilewright.load`` as well."""
    write_with(path, artifact, _DETAIL, asdict(batch))


def load(path: str | os.PathLike[str]) -> tuple[Artifact, Batch]:
    """An artifact and the batch that it was compiled for; any other artifact is for one image."""
    artifact = Artifact.open(path)
    details = artifact.manifest.details.get(_DETAIL)
    return artifact, read(Batch, details, _SOURCE) if isinstance(details, Mapping) else Batch()
